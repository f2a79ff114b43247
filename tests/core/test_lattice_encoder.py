"""The encoder that reads p(z|x) off a lattice, against closed forms and the integral."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vae.config import LATTICE, ConfigError, ModelConfig, TrainConfig
from vae.core.elbo import point_terms
from vae.core.lattice_encoder import check_fits, fit_lattice_encoder
from vae.core.model import VAE, LatticeEncoder
from vae.data import catalogue
from vae.data.dataset import to_unit
from vae.errors import UserError
from vae.features import Feature
from vae.inference.quadrature import exact_posterior
from vae.runs import checkpoint
from vae.runs.checkpoint import open_run

ROOT = Path(__file__).resolve().parents[2]


def draws(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return to_unit(catalogue.load("digits", "test").images[:200])


@pytest.fixture(scope="module")
def trained() -> VAE:
    return open_run(ROOT / "checkpoints" / "digits-2d").load_model().requires_grad_(False)


@pytest.mark.parametrize("scale", [0.1, 0.3])
@pytest.mark.parametrize("D", [1, 2])
def test_of_a_linear_decoder_it_is_the_gaussian_of_the_closed_form(D, scale):
    """Bishop (2006), equations 2.116 and 2.117; the columns of W at right angles."""
    model = VAE(ModelConfig((1, 4, 4), D, hidden=(), likelihood="gaussian")).requires_grad_(False)
    W = torch.linalg.qr(draws(16, D)).Q * torch.tensor([1.0, 2.0])[:D]
    layer = model.decoder.body[0]
    layer.weight.copy_(W)
    layer.bias.fill_(0.5)
    model.likelihood.logvar_x.fill_(2 * torch.tensor(scale).log())
    z = draws(50, D)
    x = (layer(z) + scale * torch.randn(50, 16, generator=torch.Generator().manual_seed(1))).view(
        50, 1, 4, 4
    )
    mu, logvar = fit_lattice_encoder(model, x).encode(x)
    variance = 1 / (1 + W.square().sum(0) / scale**2)
    expected = (x.flatten(1) - 0.5) @ W / scale**2 * variance
    assert ((mu - expected).abs() / variance.sqrt()).quantile(0.9) < 0.15
    assert (logvar - variance.log()).abs().quantile(0.9) < 0.3


def test_it_leaves_less_open_than_the_layers_that_were_trained(trained, digits):
    made = fit_lattice_encoder(trained, digits)
    exact = exact_posterior(trained, digits, *trained.encode(digits)).log_px
    gaps = []
    for model in (trained, made):
        terms = point_terms(model, digits, draws(16, len(digits), 2))
        gaps.append((exact + terms.neg_elbo).mean().item())
    assert 0 < gaps[1] < gaps[0] / 2


def test_the_decoder_is_the_same_and_the_model_is_left_as_it_was(trained, digits):
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    state = torch.random.get_rng_state()
    made, again = (fit_lattice_encoder(trained, digits[:20]) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())
    assert all(
        torch.equal(tensor, again.state_dict()[name]) for name, tensor in made.state_dict().items()
    )
    z = draws(5, 2)
    assert torch.equal(made.decode(z), trained.decode(z))
    assert made.config.network.startswith("lattice encoder")
    assert ModelConfig.from_dict(made.config.to_dict()) == made.config


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (ModelConfig((1, 8, 8), 3), "3 latent dimensions"),
        (ModelConfig((1, 8, 8), 2, n_classes=10), "conditional on a label"),
        (ModelConfig((1, 512, 512), 2, hidden=(4,)), "more than 32,768 numbers"),
        (
            ModelConfig(
                (1, 1, 2),
                2,
                kind="vector",
                features=(Feature("a"), Feature("b")),
                likelihood="gaussian",
            ),
            "it reads a vector",
        ),
    ],
    ids=["k = 3", "condition", "large", "vector"],
)
def test_where_it_cannot_be_made_the_reason_is_said(config, reason):
    with pytest.raises(UserError, match=reason):
        check_fits(config)


@pytest.mark.parametrize("more", [{"latent_dim": 3}, {"n_classes": 4}, {"encoder": "lattices"}])
def test_a_config_of_none_is_refused(more):
    with pytest.raises(ConfigError, match="encoder"):
        ModelConfig((1, 8, 8), **{"encoder": LATTICE, **more})


def test_a_posterior_narrower_than_the_points_are_apart_is_found_between_them():
    model = VAE(ModelConfig((1, 4, 4), 2, hidden=(), likelihood="gaussian")).requires_grad_(False)
    layer = model.decoder.body[0]
    layer.weight.copy_(torch.linalg.qr(draws(16, 2)).Q)
    layer.bias.fill_(0.5)
    model.likelihood.logvar_x.fill_(2 * torch.tensor(0.01).log())  # the points are 0.03 apart
    z = draws(200, 2).clamp(-1, 1)
    x = layer(z).view(200, 1, 4, 4)
    made = fit_lattice_encoder(model, x)
    mu, logvar = made.encode(x)
    assert made.encoder.softness > 1
    assert (mu - z).abs().quantile(0.9) < 0.004
    assert (logvar - 2 * torch.tensor(0.01).log()).abs().quantile(0.9) < 0.7


def test_a_file_of_before_there_was_a_softness_opens(trained, digits, tmp_path):
    made = fit_lattice_encoder(trained, digits[:20])
    assert isinstance(made.encoder, LatticeEncoder)
    made.encoder.softness.fill_(1)
    run = checkpoint.create(tmp_path / "run", made.config, TrainConfig("digits", epochs=1))
    checkpoint.save_model(run, made)
    weights = load_file(run.path / "model.safetensors")
    del weights["encoder.softness"]
    save_file(weights, run.path / "model.safetensors")
    found = open_run(run.path).load_model()
    for ours, theirs in zip(found.encode(digits), made.encode(digits), strict=True):
        assert torch.equal(ours, theirs)
