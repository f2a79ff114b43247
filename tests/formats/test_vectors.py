"""Checkpoints of vectors that others made: trained here by plain PyTorch, then opened."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from vae import formats
from vae.core import gaussian
from vae.data import catalogue
from vae.data.dataset import Dataset, DatasetError
from vae.features import AS_MEASURED, STANDARDISED, TO_BOTH, TO_UNIT, as_measured
from vae.formats import gate

ENDS = {"linear": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
ACTS = {"ReLU": nn.ReLU, "tanh": nn.Tanh}


class Theirs(nn.Module):
    """As people write it."""

    def __init__(self, n: int, act: str, output: str, norm: bool) -> None:
        super().__init__()
        norms, acts = [nn.BatchNorm1d(24)] if norm else [], ACTS[act]
        first = [nn.Linear(n, 24), *norms, acts()]
        self.encoder = nn.Sequential(*first, nn.Linear(24, 12), acts())
        self.fc_mu, self.fc_logvar = nn.Linear(12, 2), nn.Linear(12, 2)
        inner = [nn.Linear(2, 12), acts(), nn.Linear(12, 24), acts()]
        self.decoder = nn.Sequential(*inner, nn.Linear(24, n), ENDS[output]())

    def q(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(x)
        return self.fc_mu(h), self.fc_logvar(h)


def read_as(name: str, how: str) -> tuple[Tensor, Tensor]:
    """Training and held-out rows as somebody would have scaled them, by the training rows."""
    train, test = (
        torch.from_numpy(as_measured(d.images.flatten(1).numpy(), d.features))
        for d in (catalogue.load(name, "train"), catalogue.load(name))
    )
    low, high = train.min(0).values, train.max(0).values
    mean, scale = {
        STANDARDISED: (train.mean(0), train.std(0, correction=0)),
        TO_UNIT: (low, high - low),
        TO_BOTH: ((low + high) / 2, (high - low) / 2),
        AS_MEASURED: (torch.zeros(1), torch.ones(1)),
    }[how]
    return ((train - mean) / scale).float(), ((test - mean) / scale).float()


def trained(model: Theirs, x: Tensor) -> None:
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    spread = x.var().clamp_max(1)
    for _ in range(400):
        mu, logvar = model.q(x)
        z = mu + torch.randn_like(mu) * (logvar / 2).exp()
        error = (model.decoder(z) - x).square().sum(1) / (2 * 0.3 * spread)
        loss = (error + gaussian.kl_to_standard_normal(mu, logvar).sum(1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("name", "how", "output", "act", "norm"),
    [
        ("wine", STANDARDISED, "linear", "ReLU", True),
        ("breast-cancer", TO_UNIT, "sigmoid", "ReLU", False),
        ("wine", TO_BOTH, "tanh", "tanh", False),
        ("wine", STANDARDISED, "linear", "ReLU", False),
        ("breast-cancer", TO_UNIT, "linear", "tanh", False),
    ],
)
def test_it_opens_and_its_terms_are_those_of_the_class(tmp_path, name, how, output, act, norm):
    torch.manual_seed(0)
    train, test = read_as(name, how)
    theirs = Theirs(train.shape[1], act, output, norm)
    trained(theirs.train(), train)
    theirs.eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    images = catalogue.load(name)
    run, verdict = gate.settle(formats.open_run(tmp_path / "theirs.pt"), images)
    found = {fact.name: fact.value for fact in run.facts}
    assert found["input"] == how
    assert verdict.passed
    assert verdict.neg_elbo < verdict.constant
    assert [f.name for f in run.model_config.features] == [f.name for f in images.features]
    with torch.no_grad():
        mu, logvar = theirs.q(test)
        expected = (
            gaussian.kl_to_standard_normal(mu, logvar).sum(1),
            (theirs.decoder(mu) - test).square().sum(1),
        )
    true = {"hidden activation": act, "output": output}
    # What few rows do not decide is said, and is right once it is told.
    for fact, value in true.items():
        if found[fact] != value:
            assert any(doubt.startswith(fact.capitalize()) for doubt in verdict.doubts)
    told = run.read_with({**dict(run.choices), **true}).bound(images)
    for ours, theirs_ in zip(terms(told, images), expected, strict=True):
        torch.testing.assert_close(ours, theirs_, rtol=1e-3, atol=1e-3)


def terms(run: formats.ForeignRun, data: Dataset) -> tuple[Tensor, Tensor]:
    """KL in nats, and the squared error of the mean at mu, of each row (N,)."""
    model, x = run.load_model(), data.read_by(run.model_config).images
    with torch.no_grad():
        mu, logvar = model.encode(x)
        kl = gaussian.kl_to_standard_normal(mu, logvar).sum(1)
        return kl, (model.decode_mean(mu) - x).square().sum((1, 2, 3))


def of_wine(tmp_path, alter) -> tuple[formats.ForeignRun, gate.Verdict]:
    """A model that was trained on wine, and what altered rows of it (N, 1, 1, 13) say of it."""
    torch.manual_seed(0)
    train, _ = read_as("wine", STANDARDISED)
    theirs = Theirs(13, "ReLU", "linear", False)
    trained(theirs, train)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    wine = catalogue.load("wine")
    x = wine.images.clone()
    alter(x)
    return gate.settle(formats.open_run(tmp_path / "theirs.pt"), replace(wine, images=x))


def test_a_column_that_is_the_same_in_all_rows_shown_decides_nothing(tmp_path):
    _, verdict = of_wine(tmp_path, lambda x: x[..., 3].fill_(0.5))
    assert verdict.passed
    # 12 columns of variance 1, each at its mean: their entropy.
    assert verdict.constant == pytest.approx(12 * torch.distributions.Normal(0, 1).entropy().item())


def test_missing_values_are_told_of_in_one_sentence(tmp_path):
    with pytest.raises(DatasetError, match="wine lacks values in 2 of its 36 rows"):
        of_wine(tmp_path, lambda x: x[:2, ..., 5].fill_(torch.nan))


def test_nothing_is_called_an_image(tmp_path):
    _, good = of_wine(tmp_path, lambda x: None)
    _, bad = of_wine(tmp_path, lambda x: x.copy_(x[torch.randperm(len(x))] * -30))
    assert good.doubts
    assert bad.reasons
    assert not [said for said in (*good.doubts, *bad.reasons) if "image" in said or "pixel" in said]


def test_a_network_of_rows_without_q_is_refused_in_the_words_of_rows(tmp_path):
    decoder = Theirs(13, "ReLU", "linear", False).decoder
    torch.save(decoder.state_dict(), tmp_path / "theirs.pt")
    with pytest.raises(formats.run.CheckpointError, match="Gaussian q") as refusal:
        formats.open_run(tmp_path / "theirs.pt")
    assert "image" not in str(refusal.value)


def test_vectors_of_so_many_numbers_as_no_data_have_are_asked_about(tmp_path):
    torch.save(Theirs(57, "ReLU", "linear", False).state_dict(), tmp_path / "theirs.pt")
    run = formats.open_run(tmp_path / "theirs.pt")
    assert run.train_config.dataset == ""
    with pytest.raises(formats.run.CheckpointError, match="vectors of 57 numbers"):
        run.usual_dataset()
