"""Annealed importance sampling against models whose log p(x) is known."""

import math
from itertools import pairwise

import pytest
import torch
from inference.known_models import shipped
from torch import Tensor
from torch.distributions import MultivariateNormal

from vae.config import LIKELIHOODS, ModelConfig
from vae.core import elbo, gaussian
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import to_unit
from vae.inference import annealing
from vae.inference.annealing import Annealed, annealed_log_px


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear_model(D: int, shape: tuple[int, int, int] = (1, 3, 4)) -> VAE:
    """p(x|z) = N(Wz + b, s^2 I), so p(x) = N(b, W W' + s^2 I) (Bishop, 2006, equation 2.115)."""
    model = VAE(ModelConfig(shape, D, hidden=(), likelihood="gaussian"), rng(1))
    with torch.no_grad():
        model.likelihood.logvar_x.fill_(-2.5)
    return model.requires_grad_(False)


def drawn_from(model: VAE, n: int) -> Tensor:
    mean = model.decode(gaussian.draw((n, model.config.latent_dim), rng(2)))
    return mean + (model.likelihood.logvar_x / 2).exp() * gaussian.draw(tuple(mean.shape), rng(3))


def exact_log_px(model: VAE, x: Tensor) -> Tensor:
    W, b = model.decoder.body[0].weight.double(), model.decoder.body[0].bias.double()
    s2 = model.likelihood.logvar_x.double().exp()
    cov = W @ W.T + s2 * torch.eye(len(b), dtype=torch.float64)
    return MultivariateNormal(b, cov).log_prob(x.flatten(1).double())


def small_model(likelihood: str = "bernoulli") -> VAE:
    """A decoder that reacts strongly to its two latent dimensions."""
    model = VAE(ModelConfig((1, 4, 5), 2, hidden=(8,), likelihood=likelihood), rng(0))
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(4)
    return model.requires_grad_(False)


def by_quadrature(model: VAE, x: Tensor) -> Tensor:
    """log of the integral of p(z) p(x|z) over the plane, by the trapezoidal rule."""
    h = 0.05
    side = torch.arange(-6, 6 + h / 2, h)
    z = torch.cartesian_prod(side, side)[:, None]  # (G, 1, 2)
    log_joint = elbo.log_likelihood(model, x, z) + gaussian.standard_normal_log_prob(z)
    return log_joint.double().logsumexp(0) + 2 * math.log(h)


def images(n: int) -> Tensor:
    return torch.rand(n, 1, 4, 5, generator=rng(4))


def quick(model: VAE, x: Tensor, seed: int = 0, **settings) -> Annealed:
    return annealed_log_px(
        model, x, rng(seed), **{"n_chains": 4, "n_temperatures": 6, "n_leapfrog": 2, **settings}
    )


@pytest.mark.parametrize(
    ("D", "shape"), [(1, (1, 3, 4)), (2, (1, 3, 4)), (5, (1, 3, 4)), (20, (1, 14, 14))]
)
def test_of_a_linear_gaussian_model_the_closed_form_is_found(D, shape):
    model = linear_model(D, shape)
    x = drawn_from(model, 8)
    found = annealed_log_px(model, x, rng(), 64, n_temperatures=300, n_leapfrog=4)
    deviation = found.log_px - exact_log_px(model, x)
    # A few chains with large weights make the error itself unsure, in 20 dimensions above all.
    assert (deviation.abs() < 5 * found.stderr).all()
    assert found.stderr.mean() < 0.02 * D + 0.08
    assert ((found.acceptance > 0.5) & (found.acceptance < 0.8)).all()
    assert ((found.ess >= 1) & (found.ess <= 64)).all()
    assert all(part.shape == (8,) and part.dtype == torch.float64 for part in found)


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_of_a_crooked_decoder_it_finds_what_quadrature_finds(likelihood):
    model, x = small_model(likelihood), images(8)
    # With fewer temperatures a few chains carry the weight, and the error is underestimated.
    found = annealed_log_px(model, x, rng(), n_temperatures=400)
    deviation = found.log_px - by_quadrature(model, x)
    # The error of 32 chains is itself an estimate.
    assert (deviation.abs() < 5 * found.stderr).all()
    assert found.stderr.max() < 0.5


def test_on_digits_it_agrees_with_quadrature():
    model = shipped()
    x = to_unit(catalogue.load("digits").images[:4])
    found = annealed_log_px(model, x, rng(), n_temperatures=150)
    with torch.no_grad():
        deviation = found.log_px - by_quadrature(model, x)
    assert (deviation.abs() < 4 * found.stderr).all()
    assert found.stderr.median() < 0.5


@pytest.mark.parametrize("D", [1, 3])
def test_its_error_is_honest_and_the_mean_weight_is_px(D):
    model = linear_model(D)
    n = 300  # repeats: points of one batch share no noise
    x = drawn_from(model, 1).expand(n, *model.config.image_shape)
    found = annealed_log_px(model, x, rng(), n_temperatures=150, n_leapfrog=4)
    deviation = found.log_px - exact_log_px(model, x)
    assert (deviation / found.stderr).std().item() == pytest.approx(1, abs=0.2)
    assert (found.stderr.square().mean() / deviation.var()).item() == pytest.approx(1, abs=0.25)
    ratio = deviation.exp()  # of the estimated p(x) to the true one
    assert (ratio.mean() - 1).abs() < 4 * ratio.std() / math.sqrt(n)


def test_the_error_shrinks_with_temperatures_and_with_chains():
    model = linear_model(5)
    x = drawn_from(model, 30)
    coarse = quick(model, x, n_chains=8, n_temperatures=30).stderr.mean()
    assert quick(model, x, n_chains=8, n_temperatures=240).stderr.mean() < 0.6 * coarse
    assert quick(model, x, n_chains=64, n_temperatures=30).stderr.mean() < 0.6 * coarse


def test_one_temperature_is_importance_sampling_from_the_prior():
    model, x = small_model(), images(3)
    found = annealed_log_px(model, x, rng(), n_chains=500, n_temperatures=1)
    z = gaussian.draw((500, 3, 2), rng())
    log_w = elbo.log_likelihood(model, x, z).double()
    torch.testing.assert_close(found.log_px, log_w.logsumexp(0) - math.log(500))
    w = log_w.exp()
    torch.testing.assert_close(found.stderr, w.std(0) / math.sqrt(500) / w.mean(0))
    torch.testing.assert_close(found.ess, w.sum(0) ** 2 / w.square().sum(0))
    assert found.acceptance.isnan().all()


@pytest.mark.parametrize("n", [1, 2, 10, 500])
def test_the_inverse_temperatures_rise_from_zero_to_one(n):
    betas = annealing._inverse_temperatures(n)
    assert len(betas) == n + 1
    assert (betas[0], betas[-1]) == (0.0, 1.0)
    assert all(a < b for a, b in pairwise(betas))


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_a_transition_leaves_its_density_as_it_is(beta):
    # Of a linear model the density is a Gaussian: begun there, the chains stay there.
    model = linear_model(2)
    x, n = drawn_from(model, 1), 20_000
    W, b = model.decoder.body[0].weight.double(), model.decoder.body[0].bias.double()
    s2 = model.likelihood.logvar_x.double().exp()
    precision = torch.eye(2, dtype=torch.float64) + beta * W.T @ W / s2
    cov = torch.linalg.inv(precision)
    mean = beta * cov @ (W.T @ (x.flatten().double() - b)) / s2
    z = mean + gaussian.draw((n, 2), rng()).double() @ torch.linalg.cholesky(cov).T
    state = annealing._evaluate(model, x, z.float()[:, None])
    generator = rng(1)
    for _ in range(3):
        state, accepted = annealing._transition(
            model, x, state, beta, torch.tensor([0.2]), 4, generator
        )
    assert 0.3 < accepted.item() < 1
    z = state.z[:, 0].double()
    standard = (z - mean) @ torch.linalg.cholesky(precision)
    assert (standard.mean(0).abs() < 4 / math.sqrt(n)).all()
    assert (torch.cov(standard.T) - torch.eye(2)).abs().max() < 4 * math.sqrt(2 / n)
    fresh = annealing._evaluate(model, x, state.z)  # what it carries belongs to where it is
    torch.testing.assert_close(fresh.log_px_given_z, state.log_px_given_z)
    torch.testing.assert_close(fresh.gradient, state.gradient, rtol=1e-4, atol=1e-3)


def test_the_same_generator_gives_the_same_answer_and_another_does_not():
    model, x = small_model(), images(3)
    first, again, other = quick(model, x), quick(model, x), quick(model, x, seed=1)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first.log_px, other.log_px)


def test_nothing_is_drawn_from_the_global_generator():
    model, x = small_model(), images(2)
    before = torch.get_rng_state()
    quick(model, x)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("numbers_at_once", [1, 70, 150, 2**20])
def test_results_do_not_depend_on_the_pieces_and_no_piece_is_large(monkeypatch, numbers_at_once):
    model, x = small_model().double(), images(5).double()
    whole = quick(model, x)
    decoded = []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda z: decoded.append(z[..., 0].numel()) or decode(z))
    monkeypatch.setattr(elbo, "_NUMBERS_AT_ONCE", numbers_at_once)
    for a, b in zip(quick(model, x), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert max(decoded) <= max(1, numbers_at_once // 20)
    assert sum(decoded) == 4 * 5 * (1 + 5 * 2)


def test_progress_is_told_after_each_temperature():
    told = []
    quick(small_model(), images(1), progress=lambda *counts: told.append(counts))
    assert told == [(i, 6) for i in range(1, 7)]


@pytest.mark.parametrize("learnable", [True, False])
def test_the_weights_and_the_images_stay_as_they_are(learnable):
    model, x = small_model().requires_grad_(learnable), images(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}, x.clone()
    with torch.no_grad():  # the caller's own setting neither matters nor changes
        found = quick(model, x)
        assert not torch.is_grad_enabled()
    assert all(torch.equal(value, before[0][name]) for name, value in model.state_dict().items())
    assert torch.equal(x, before[1])
    assert all(p.grad is None and p.requires_grad is learnable for p in model.parameters())
    assert not any(part.requires_grad for part in found)


# Likelihoods that are not finite


def spoil(model: VAE, monkeypatch, value: float, where=lambda z: z[..., 0] > 0.5) -> None:
    """Half a plane, or so, in which the decoder answers with that value."""
    decode = model.decode

    def spoilt(z: Tensor) -> Tensor:
        bad = where(z)[..., None, None, None]
        return torch.where(bad, torch.full_like(decode(z), value), decode(z))

    monkeypatch.setattr(model, "decode", spoilt)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_where_the_likelihood_is_not_finite_there_is_no_weight(monkeypatch, value):
    # What is left is the integral over the other part of the plane.
    model, x = small_model("gaussian"), images(4)
    whole = annealed_log_px(model, x, rng(), n_chains=64, n_temperatures=100, n_leapfrog=4)
    spoil(model, monkeypatch, value)
    found = annealed_log_px(model, x, rng(), n_chains=64, n_temperatures=100, n_leapfrog=4)
    assert all(part.isfinite().all() for part in found)
    h = 0.02
    side = torch.arange(-6 + h / 2, 6, h)
    z = torch.cartesian_prod(side[side < 0.5], side)[:, None]
    log_joint = elbo.log_likelihood(model, x, z) + gaussian.standard_normal_log_prob(z)
    exact = log_joint.double().logsumexp(0) + 2 * math.log(h)
    assert ((found.log_px - exact).abs() < 4 * found.stderr + 0.01).all()
    assert (found.log_px < whole.log_px + 4 * torch.hypot(found.stderr, whole.stderr)).all()


def test_a_point_without_any_likelihood_leaves_the_others_alone(monkeypatch):
    model, x = small_model(), images(3)
    whole = quick(model, x)
    x[1] = math.nan
    found = quick(model, x)
    assert found.log_px[1] == -math.inf
    assert found.ess[1] == 0
    assert found.acceptance[1] == 0
    assert found.stderr[1].isnan()
    for part, expected in zip(found, whole, strict=True):
        torch.testing.assert_close(part[[0, 2]], expected[[0, 2]])


# Errors


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("n_chains", 1, 2),
        ("n_chains", 0, 2),
        ("n_temperatures", 0, 1),
        ("n_temperatures", -3, 1),
        ("n_leapfrog", 0, 1),
    ],
)
def test_numbers_that_are_too_small_are_refused(name, value, least):
    with pytest.raises(ValueError, match=rf"^{name} \(={value}\) must be at least {least}$"):
        quick(small_model(), images(1), **{name: value})


@pytest.mark.parametrize("shape", [(1, 4, 5), (2, 1, 5, 4), (0, 1, 4, 5), (2, 20)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"^x \(.*\) must be images .* \(C, H, W\) = \(1, 4, 5\)$"):
        quick(small_model(), torch.zeros(shape))
