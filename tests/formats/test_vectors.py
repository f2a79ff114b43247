"""Checkpoints of vectors that others made: trained here by plain PyTorch, then opened."""

import pytest
import torch
from torch import Tensor, nn

from vae import formats
from vae.core import gaussian
from vae.data import catalogue
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


@pytest.mark.parametrize(
    ("name", "how", "output", "act", "norm"),
    [
        ("wine", STANDARDISED, "linear", "ReLU", False),
        ("breast-cancer", TO_UNIT, "sigmoid", "ReLU", False),
        ("wine", TO_BOTH, "tanh", "tanh", False),
        ("diabetes", STANDARDISED, "linear", "ReLU", True),
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
    said = {fact.name: fact.value for fact in run.facts}
    assert said["input"] == how
    assert verdict.neg_elbo < verdict.constant
    model, x = run.load_model(), images.read_by(run.model_config).images
    with torch.no_grad():
        mu, logvar = theirs.q(test)
        expected = gaussian.kl_to_standard_normal(mu, logvar).sum(1).mean()
        error = (theirs.decoder(mu) - test).square().sum(1).mean()
        ours = model.encode(x)
        kl = gaussian.kl_to_standard_normal(*ours).sum(1).mean()
        away = (model.decode_mean(ours[0]) - x).square().sum((1, 2, 3)).mean()
    if verdict.passed and not verdict.doubts:
        assert float(kl) == pytest.approx(float(expected), rel=0.01)
        assert float(away) == pytest.approx(float(error), rel=0.01)
    assert [f.name for f in run.model_config.features] == [f.name for f in images.features]


def test_vectors_of_so_many_numbers_as_no_data_have_are_asked_about(tmp_path):
    torch.save(Theirs(57, "ReLU", "linear", False).state_dict(), tmp_path / "theirs.pt")
    run = formats.open_run(tmp_path / "theirs.pt")
    assert run.train_config.dataset == ""
    with pytest.raises(formats.run.CheckpointError, match="vectors of 57 numbers"):
        run.usual_dataset()
