"""What Monte Carlo says of one image, against closed forms, torch.distributions and autograd."""

import math

import numpy as np
import pytest
import torch
from inference.known_models import shipped
from torch import Tensor, distributions

from vae.config import ModelConfig
from vae.core import elbo, gaussian
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import to_unit
from vae.inference import estimators


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def linear_model(D: int = 3) -> VAE:
    """p(x|z) = N(Wz + b, s^2 I), so E_q log p(x|z) is quadratic in mu and sigma."""
    config = ModelConfig((1, 3, 4), D, hidden=(), likelihood="gaussian")
    return VAE(config, torch.Generator().manual_seed(1)).requires_grad_(False)


def q_of(D: int) -> tuple[Tensor, Tensor]:
    return noise(D, seed=2), noise(D, seed=3) / 2 - 1


def image(model: VAE) -> Tensor:
    return torch.rand(model.config.image_shape, generator=torch.Generator().manual_seed(4))


def digit(index: int = 0) -> tuple[VAE, Tensor, Tensor, Tensor]:
    """A trained model, one of its images, and the encoder's mu and logvar."""
    model = shipped().requires_grad_(False)
    x = to_unit(catalogue.load("digits").images[index])
    mu, logvar = model.encode(x[None])
    return model, x, mu[0], logvar[0]


def exact_gradient(model: VAE, x: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """dL/dmu and dL/dlog sigma of the linear model.

    E_q |x - Wz - b|^2 = |x - W mu - b|^2 + sum_i (W'W)_ii sigma_i^2.
    """
    W, b = model.decoder.body[0].weight.double(), model.decoder.body[0].bias.double()
    s2, sigma2 = model.likelihood.logvar_x.double().exp(), logvar.double().exp()
    mu = mu.double()
    along_mu = W.T @ (W @ mu + b - x.flatten().double()) / s2 + mu
    return along_mu, W.square().sum(0) * sigma2 / s2 + sigma2 - 1


def z_scores(drawn: Tensor, expected: Tensor, more: Tensor | float = 0.0) -> Tensor:
    """How many standard errors lie between the draws' mean and what is expected of it."""
    stderr = drawn.std(0) / math.sqrt(len(drawn))
    return (drawn.mean(0) - expected) / torch.sqrt(stderr.square() + more**2)


# Running means


def test_the_running_mean_and_its_error_are_those_of_numpy():
    model, x, mu, logvar = digit()
    eps = noise(300, 2)
    run = estimators.running_recon(model, x, mu, logvar, eps)
    q = distributions.Normal(mu, (logvar / 2).exp())
    logits = model.decode(q.mean + q.stddev * eps)
    p = distributions.Bernoulli(logits=logits, validate_args=False)
    values = -p.log_prob(x.expand_as(logits)).sum((1, 2, 3)).double().numpy()
    L = np.arange(1, 301)
    np.testing.assert_allclose(run.values, values, rtol=1e-6)
    np.testing.assert_allclose(run.mean, values.cumsum() / L, rtol=1e-6)
    for n in (2, 3, 17, 300):
        stderr = values[:n].std(ddof=1) / math.sqrt(n)
        assert run.stderr[n - 1].item() == pytest.approx(stderr, rel=1e-4)
    assert run.stderr[0].isnan()
    assert run.values.shape == run.mean.shape == run.stderr.shape == (300,)


def test_the_last_running_mean_is_the_term_of_the_point():
    model, x, mu, logvar = digit()
    eps = noise(64, 2)
    run = estimators.running_recon(model, x, mu, logvar, eps)
    terms = elbo.point_terms(model, x[None], eps[:, None])
    assert run.mean[-1].item() == pytest.approx(terms.recon.item(), rel=1e-6)
    assert run.stderr[-1].item() == pytest.approx(terms.recon_stderr.item(), rel=1e-5)


def test_the_running_reconstruction_approaches_the_closed_form():
    model, (mu, logvar) = linear_model(), q_of(3)
    x = image(model)
    run = estimators.running_recon(model, x, mu, logvar, noise(20_000, 3))
    W, s2 = model.decoder.body[0].weight, model.likelihood.logvar_x.exp()
    squares = (x - model.decode(mu)).square().sum() + W.square().sum(0) @ logvar.exp()
    exact = (squares / s2 + 12 * torch.log(2 * math.pi * s2)) / 2
    deviation = (run.mean - exact) / run.stderr
    assert deviation[[99, 999, 9_999, 19_999]].abs().max() < 3.5
    assert run.stderr[-1] < 0.05 * run.stderr[9]


@pytest.mark.parametrize("D", [1, 2, 10])
def test_the_running_kl_approaches_the_closed_form(D):
    mu, logvar = q_of(D)
    run = estimators.running_kl(mu, logvar, noise(50_000, D))
    q = distributions.Normal(mu.double(), (logvar.double() / 2).exp())
    prior = distributions.Normal(torch.zeros(D).double(), 1.0)
    exact = distributions.kl_divergence(q, prior).sum()
    torch.testing.assert_close(
        exact, gaussian.kl_to_standard_normal(mu, logvar).sum().double(), rtol=1e-5, atol=1e-5
    )
    deviation = (run.mean - exact) / run.stderr
    assert deviation[[99, 999, 9_999, 49_999]].abs().max() < 3.5
    z = q.mean + q.stddev * noise(50_000, D)
    torch.testing.assert_close(run.values, (q.log_prob(z) - prior.log_prob(z)).sum(1))


def test_a_q_that_is_the_prior_costs_nothing_in_any_draw():
    run = estimators.running_kl(torch.zeros(4), torch.zeros(4), noise(10, 4))
    assert (run.values == 0).all()
    assert (run.stderr[1:] == 0).all()


def test_a_small_spread_on_a_large_value_keeps_its_error():
    mu, logvar = torch.tensor([1e4]), torch.tensor([-20.0])
    run = estimators.running_kl(mu, logvar, noise(100, 1))
    assert run.stderr[-1].item() == pytest.approx(run.values.std().item() / 10, rel=1e-6)


# Gradients


@pytest.mark.parametrize("D", [1, 2, 5])
def test_all_three_agree_with_the_exact_gradient_of_a_linear_model(D):
    model, (mu, logvar) = linear_model(D), q_of(D)
    x = image(model)
    found = estimators.gradient_estimates(model, x, mu, logvar, noise(20_000, D))
    for name, estimate in found._asdict().items():
        for drawn, exact in zip(
            estimate, exact_gradient(model, x, mu, logvar), strict=True
        ):  # L = -ELBO
            assert drawn.shape == (20_000, D)
            assert z_scores(drawn, exact).abs().max() < 4, name


@pytest.mark.parametrize("index", [0, 3])
def test_all_three_agree_with_autograd_through_a_long_monte_carlo_run(index):
    model, x, mu, logvar = digit(index)
    mu, log_sigma = mu.clone().requires_grad_(), (logvar / 2).requires_grad_()
    parts = []
    for seed in range(40):  # of 2,000 draws each; their spread is the reference's own error
        z = mu + log_sigma.exp() * noise(2_000, 2, seed=100 + seed)
        p = distributions.Bernoulli(logits=model.decode(z), validate_args=False)
        recon = -p.log_prob(x.expand(2_000, *x.shape)).sum((1, 2, 3)).mean()
        q = distributions.Normal(mu, log_sigma.exp())
        kl = distributions.kl_divergence(q, distributions.Normal(0.0, 1.0)).sum()
        parts.append(torch.stack(torch.autograd.grad(recon + kl, (mu, log_sigma))))
    parts = torch.stack(parts).double()  # (40, 2, D)
    reference, error = parts.mean(0), parts.std(0) / math.sqrt(40)

    with torch.no_grad():  # the caller's own setting does not matter
        found = estimators.gradient_estimates(model, x, mu, 2 * log_sigma, noise(20_000, 2))
    for name, estimate in found._asdict().items():
        for drawn, expected, more in zip(estimate, reference, error, strict=True):
            assert z_scores(drawn, expected, more).abs().max() < 4, name


def test_a_single_pathwise_draw_is_autograds_own():
    model, x, mu, logvar = digit()
    eps = noise(5, 2)
    found = estimators.gradient_estimates(model, x, mu, logvar, eps).pathwise
    for one, along_mu, along_log_sigma in zip(eps, *found, strict=True):
        m, s = mu.clone().requires_grad_(), (logvar / 2).requires_grad_()
        z = gaussian.reparameterise(m, 2 * s, one)
        loss = -elbo.log_likelihood(model, x, z) + gaussian.kl_to_standard_normal(m, 2 * s).sum()
        expected = torch.autograd.grad(loss, (m, s))
        torch.testing.assert_close(along_mu.float(), expected[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(along_log_sigma.float(), expected[1], rtol=1e-3, atol=1e-3)


def test_the_score_is_the_gradient_of_the_density_of_torch_distributions():
    model, x, mu, logvar = digit()
    eps = noise(5, 2)
    found = estimators.gradient_estimates(model, x, mu, logvar, eps)
    f = estimators.running_recon(model, x, mu, logvar, eps).values
    z = gaussian.reparameterise(mu, logvar, eps)
    for i in range(5):
        m, s = mu.double().requires_grad_(), (logvar.double() / 2).requires_grad_()
        log_q = distributions.Normal(m, s.exp()).log_prob(z[i].double()).sum()
        kl = gaussian.kl_to_standard_normal(m, 2 * s).sum()
        others = f[torch.arange(5) != i].mean()
        for estimate, weight in ((found.score, f[i]), (found.score_baseline, f[i] - others)):
            expected = torch.autograd.grad(weight * log_q + kl, (m, s), retain_graph=True)
            torch.testing.assert_close(estimate.mu[i], expected[0], rtol=1e-3, atol=1e-2)
            torch.testing.assert_close(estimate.log_sigma[i], expected[1], rtol=1e-3, atol=1e-2)


def test_on_digits_the_score_function_varies_more_and_a_baseline_helps():
    for index in range(10):
        model, x, mu, logvar = digit(index)
        found = estimators.gradient_estimates(model, x, mu, logvar, noise(2_000, 2))
        plain = estimators.variance_ratio(found.score, found.pathwise)
        helped = estimators.variance_ratio(found.score_baseline, found.pathwise)
        for part in range(2):
            assert plain[part] > 1
            assert plain[part] > helped[part]
            assert math.isfinite(plain[part])


def test_the_variance_is_each_components_own():
    drawn = estimators.Gradient(noise(50, 3).double(), 2 * noise(50, 3, seed=2).double())
    spread = estimators.variance(drawn)
    np.testing.assert_allclose(spread.mu, drawn.mu.numpy().var(0, ddof=1))
    np.testing.assert_allclose(spread.log_sigma, drawn.log_sigma.numpy().var(0, ddof=1))
    ratio = estimators.variance_ratio(drawn, estimators.Gradient(2 * drawn.mu, drawn.log_sigma))
    assert ratio == pytest.approx((0.25, 1.0))


def test_where_nothing_varies_no_ratio_is_made_up():
    still = estimators.Gradient(torch.ones(5, 2), torch.ones(5, 2))
    moving = estimators.Gradient(noise(5, 2), torch.ones(5, 2))
    ratio = estimators.variance_ratio(moving, still)
    assert ratio.mu == math.inf
    assert math.isnan(ratio.log_sigma)
    assert estimators.variance_ratio(still, moving).mu == 0


def test_a_single_draw_has_no_baseline_and_no_variance():
    model, x, mu, logvar = digit()
    found = estimators.gradient_estimates(model, x, mu, logvar, noise(1, 2))
    assert found.score_baseline.mu.isnan().all()
    assert found.score.mu.isfinite().all()
    with pytest.raises(ValueError, match="at least 2 draws, not 1"):
        estimators.variance(found.score)


@pytest.mark.parametrize("numbers_at_once", [1, 1000, 2**22])
def test_results_do_not_depend_on_the_pieces(monkeypatch, numbers_at_once):
    model, x, mu, logvar = digit()
    eps = noise(50, 2)
    whole = estimators.gradient_estimates(model, x, mu, logvar, eps)
    run = estimators.running_recon(model, x, mu, logvar, eps)
    decoded = []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda z: decoded.append(len(z)) or decode(z))
    monkeypatch.setattr(elbo, "_NUMBERS_AT_ONCE", numbers_at_once)
    found = estimators.gradient_estimates(model, x, mu, logvar, eps)
    again = estimators.running_recon(model, x, mu, logvar, eps)
    assert sum(decoded) == 100
    assert max(decoded) == max(1, min(50, numbers_at_once // 64))
    for a, b in zip(found, whole, strict=True):
        torch.testing.assert_close(a.mu, b.mu, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(a.log_sigma, b.log_sigma, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(again.mean, run.mean, rtol=1e-6, atol=0)


@pytest.mark.parametrize("learnable", [True, False])
def test_the_weights_and_the_arguments_stay_as_they_are(learnable):
    model, x, mu, logvar = digit()
    model.requires_grad_(learnable)
    mu = mu.clone().requires_grad_()
    given = [x, mu, logvar, noise(8, 2)]
    before = [value.clone() for value in given]
    found = estimators.gradient_estimates(model, *given)
    run = estimators.running_recon(model, *given)
    assert all(map(torch.equal, given, before))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(t.requires_grad for t in (*found.pathwise, *found.score, *run))


# Errors


@pytest.mark.parametrize("shape", [(0, 2), (5, 3), (2,), (5, 1, 2)])
def test_noise_of_another_shape_is_refused(shape):
    model, x, mu, logvar = digit()
    message = r"^eps \(.*\) must be \(L, D\) with L >= 1 and D = 2$"
    for function in (estimators.running_recon, estimators.gradient_estimates):
        with pytest.raises(ValueError, match=message):
            function(model, x, mu, logvar, torch.zeros(shape))
    with pytest.raises(ValueError, match=message):
        estimators.running_kl(mu, logvar, torch.zeros(shape))


def test_images_and_q_of_another_shape_are_refused():
    model, x, mu, logvar = digit()
    for function in (estimators.running_recon, estimators.gradient_estimates):
        with pytest.raises(ValueError, match=r"^x \(1, 1, 8, 8\) must be one image.*\(1, 8, 8\)$"):
            function(model, x[None], mu, logvar, noise(4, 2))
        with pytest.raises(ValueError, match=r"^mu \(1, 2\) and logvar \(2,\) .* D = 2$"):
            function(model, x, mu[None], logvar, noise(4, 2))
        with pytest.raises(ValueError, match=r"^mu \(3,\) and logvar \(3,\) .* D = 2$"):
            function(model, x, *q_of(3), noise(4, 3))
    for bad in (torch.zeros(2, 1), torch.zeros(0), torch.tensor(0.0)):
        with pytest.raises(ValueError, match=r"^mu \(.*\) and logvar \(.*\) must both be \(D,\)"):
            estimators.running_kl(bad, logvar, noise(4, 2))


def test_a_likelihood_that_is_not_finite_is_refused():
    model, x, mu, logvar = digit()
    far = torch.tensor([math.nan, 0.0])
    for function in (estimators.running_recon, estimators.gradient_estimates):
        with pytest.raises(ValueError, match=r"log p\(x\|z\) is not finite for 4 of 4 draws"):
            function(model, x, far, logvar, noise(4, 2))
        with pytest.raises(ValueError, match=r"is not finite for 1 of 3 draws, first for eps\[2\]"):
            function(model, x, mu, logvar, torch.tensor([[0, 0], [1, 0], [0, math.inf]]))
    with pytest.raises(ValueError, match="not finite"):
        estimators.running_kl(mu, torch.tensor([math.inf, 0]), noise(4, 2))
