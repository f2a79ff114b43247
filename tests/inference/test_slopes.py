"""The gradient for one weight of each network, against closed forms of a linear decoder."""

import math

import pytest
import torch

from vae.config import ModelConfig
from vae.core import gaussian
from vae.core.model import VAE
from vae.errors import UserError
from vae.inference.slopes import Slopes, slopes

L = 4000


@pytest.fixture(scope="module")
def model() -> VAE:
    """Linear networks, whose weights are not small."""
    config = ModelConfig((1, 3, 3), latent_dim=2, hidden=(), likelihood="gaussian")
    made = VAE(config, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return made


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def found(model, x) -> Slopes:
    return slopes(model, x, gaussian.noise_of_points([0], L, 2, 0)[:, 0])


def closed_form(model: VAE, x: torch.Tensor) -> torch.Tensor:
    """The loss with E_q |x - W z - b|^2 = |x - W mu - b|^2 + sum_d sigma_d^2 |W_d|^2."""
    mu, logvar = model.encode(x[None])
    at_zero = model.decode(torch.zeros(2)).flatten()
    columns = model.decode(torch.eye(2)).flatten(1) - at_zero  # W', (2, pixels)
    squares = (x.flatten() - at_zero - mu[0] @ columns).square().sum()
    squares = squares + (logvar[0].exp() * columns.square().sum(1)).sum()
    # What the library's own density makes of a square, read off two of its values.
    one, none = (
        model.likelihood.log_prob(torch.full((1, 1, 1), value), torch.zeros(1, 1, 1)).sum()
        for value in (1.0, 0.0)
    )
    prior = torch.distributions.Normal(0.0, 1.0)
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mu, (logvar / 2).exp()), prior
    )
    return (none - one).detach() * squares + kl.sum()


def true_slope(model: VAE, x: torch.Tensor, network: torch.nn.Module, name: str) -> float:
    tensor, _, place = name.rstrip("]").partition("[")
    (gradient,) = torch.autograd.grad(closed_form(model, x), network.get_parameter(tensor))
    return float(gradient[tuple(int(i) for i in place.split(", "))])


def assert_mean(draws: torch.Tensor, truth: float) -> None:
    assert abs(float(draws.mean()) - truth) < 4 * float(draws.std()) / math.sqrt(len(draws))


def test_every_estimate_of_the_encoders_slope_is_of_the_closed_forms(model, x, found):
    truth = true_slope(model, x, model.encoder, found.phi_name)
    assert found.phi_exact == pytest.approx(truth, rel=1e-4)
    assert_mean(found.phi, truth)
    assert_mean(found.phi_score, truth)
    assert found.phi_score.var() > found.phi.var()


def test_the_mean_of_the_decoders_slopes_is_the_closed_forms(model, x, found):
    truth = true_slope(model, x, model.decoder, found.theta_name)
    assert found.theta_exact == pytest.approx(truth, rel=1e-4)
    assert_mean(found.theta, truth)


def test_the_mean_over_draws_is_autograds_of_the_same_draws(found):
    assert float(found.phi.mean()) == pytest.approx(found.phi_autograd, rel=1e-4)
    assert float(found.theta.mean()) == pytest.approx(found.theta_autograd, rel=1e-4)


def test_the_models_weights_are_left_as_they_are(model, x):
    before = [(p.requires_grad, p.detach().clone()) for p in model.parameters()]
    slopes(model, x, torch.zeros(2, 2))
    for (wanted, value), parameter in zip(before, model.parameters(), strict=True):
        assert parameter.requires_grad == wanted
        assert parameter.grad is None
        assert torch.equal(parameter, value)


def test_weights_that_are_not_trained_have_slopes_too(model, x, found):
    frozen = VAE(model.config)
    frozen.load_state_dict(model.state_dict())
    again = slopes(frozen.requires_grad_(False), x, gaussian.noise_of_points([0], 10, 2, 0)[:, 0])
    assert torch.equal(again.phi, found.phi[:10])
    assert again.phi_exact == found.phi_exact


def test_a_network_without_a_weight_is_named(x):
    class Fixed(torch.nn.Module):
        def forward(self, z):
            return z.new_zeros(*z.shape[:-1], 1, 3, 3)

    config = ModelConfig((1, 3, 3), latent_dim=2, hidden=(), likelihood="gaussian")
    whole = VAE(config)
    fixed = VAE.of_parts(config, whole.encoder, Fixed(), whole.likelihood)
    with pytest.raises(UserError, match="the decoder has no weight"):
        slopes(fixed, x, torch.zeros(2, 2))
