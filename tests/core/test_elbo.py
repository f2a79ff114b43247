import math

import numpy as np
import pytest
import torch
from torch import distributions
from torch.distributions import MultivariateNormal

from vae.config import LIKELIHOODS, ModelConfig
from vae.core import elbo, gaussian
from vae.core.model import VAE


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


def small_vae(likelihood: str = "bernoulli", latent_dim: int = 2, family: str = "mlp") -> VAE:
    """A nonlinear VAE in float64 whose decoder reacts strongly to z, with frozen weights."""
    config = ModelConfig((1, 4, 5), latent_dim, family, (8,), "tanh", likelihood)
    model = VAE(config, rng(0)).double().requires_grad_(False)
    for parameter in model.decoder.parameters():
        parameter.mul_(4)
    return model


def images(B: int, shape=(1, 4, 5), seed: int = 1) -> torch.Tensor:
    return torch.rand(B, *shape, generator=rng(seed), dtype=torch.float64)


class LinearGaussian:
    """x = W z + b + s * noise: the linear VAE (probabilistic PCA), where all is closed form.

    The columns of W are orthogonal, so that the exact posterior is a diagonal Gaussian and the
    encoder can hold it.
    """

    def __init__(self) -> None:
        P, D, self.s = 12, 3, 0.4
        columns, _ = torch.linalg.qr(randn(P, D, seed=2))
        self.W = columns * torch.tensor([1.5, 0.7, 0.2], dtype=torch.float64)
        self.b = randn(P, seed=3) / 2
        self.precision = torch.eye(D, dtype=torch.float64) + self.W.T @ self.W / self.s**2

        config = ModelConfig((1, 3, 4), D, "mlp", (), likelihood="gaussian")
        self.model = VAE(config).double().requires_grad_(False)
        decoder = next(m for m in self.model.decoder.modules() if isinstance(m, torch.nn.Linear))
        decoder.weight.copy_(self.W)
        decoder.bias.copy_(self.b)
        self.model.likelihood.logvar_x.fill_(2 * math.log(self.s))
        posterior_cov = torch.linalg.inv(self.precision)
        self.model.encoder.mu.weight.copy_(posterior_cov @ self.W.T / self.s**2)
        self.model.encoder.mu.bias.copy_(-self.model.encoder.mu.weight @ self.b)
        self.model.encoder.logvar.weight.zero_()
        self.model.encoder.logvar.bias.copy_(posterior_cov.diagonal().log())

        z, noise = randn(6, D, seed=4), randn(6, P, seed=5)
        self.x = (z @ self.W.T + self.b + self.s * noise).reshape(6, 1, 3, 4)

    def log_px(self) -> torch.Tensor:
        cov = self.W @ self.W.T + self.s**2 * torch.eye(12, dtype=torch.float64)
        return MultivariateNormal(self.b, cov).log_prob(self.x.flatten(1))

    def posterior(self) -> tuple[torch.Tensor, torch.Tensor]:
        cov = torch.linalg.inv(self.precision)
        return (self.x.flatten(1) - self.b) @ self.W @ cov / self.s**2, cov

    def worsen_encoder(self) -> None:
        self.model.encoder.mu.bias.add_(torch.tensor([0.3, -0.4, 0.5]))
        self.model.encoder.logvar.bias.add_(torch.tensor([0.6, -0.3, 0.2]))

    def exact_eps(self) -> torch.Tensor:
        """2D points with the mean and the covariance of the standard normal.

        Over them the average of any quadratic function, log p(x|z) among them, is exact.
        """
        D = 3
        corners = math.sqrt(D) * torch.cat([torch.eye(D), -torch.eye(D)]).double()
        return corners[:, None].expand(2 * D, len(self.x), D)


@pytest.fixture
def linear() -> LinearGaussian:
    return LinearGaussian()


# The terms, against torch.distributions


@pytest.mark.parametrize("family", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_terms_equal_torch_distributions(likelihood, family):
    model = small_vae(likelihood, latent_dim=3, family=family)
    x, eps = images(7), randn(5, 7, 3, seed=2)
    terms = elbo.point_terms(model, x, eps)

    mu, logvar = model.encode(x)
    q = distributions.Normal(mu, (logvar / 2).exp())
    out = model.decode(mu + eps * q.stddev)
    p = {
        "bernoulli": lambda: distributions.Bernoulli(logits=out, validate_args=False),
        "continuous-bernoulli": lambda: distributions.ContinuousBernoulli(logits=out),
        "gaussian": lambda: distributions.Normal(out, math.exp(-1)),
    }[likelihood]()
    log_p = p.log_prob(x.expand_as(out)).sum((2, 3, 4))  # (S, B)
    kl = distributions.kl_divergence(q, distributions.Normal(torch.zeros_like(mu), 1.0))

    torch.testing.assert_close(terms.recon, -log_p.mean(0), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(terms.recon_stderr, log_p.std(0) / math.sqrt(5))
    torch.testing.assert_close(terms.kl_per_dim, kl, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(terms.kl, kl.sum(1))
    torch.testing.assert_close(terms.neg_elbo, terms.recon + kl.sum(1))
    assert terms.recon.shape == terms.kl.shape == terms.neg_elbo.shape == (7,)


def test_one_sample_has_no_standard_error():
    terms = elbo.point_terms(small_vae(), images(3), randn(1, 3, 2, seed=2))
    assert terms.recon_stderr.isnan().all()
    assert terms.recon.isfinite().all()
    bound, stderr, *_ = elbo.importance_weighted_bound(
        small_vae(), images(3), randn(1, 3, 2, seed=2)
    )
    assert stderr.isnan().all()
    assert bound.isfinite().all()


def test_pixel_recon_sums_to_recon_and_averages_over_the_samples():
    model, x, eps = small_vae(), images(4), randn(50, 4, 2, seed=2)
    terms = elbo.point_terms(model, x, eps)
    for i in range(4):
        pixels = elbo.pixel_recon(model, x[i], eps[:, i])
        assert pixels.shape == (1, 4, 5)
        torch.testing.assert_close(pixels.sum(), terms.recon[i])
    mu, logvar = model.encode(x[:1])
    logits = model.decode(mu + eps[:, 0] * (logvar / 2).exp())
    p = distributions.Bernoulli(logits=logits, validate_args=False)
    torch.testing.assert_close(
        elbo.pixel_recon(model, x[0], eps[:, 0]), -p.log_prob(x[0].expand_as(logits)).mean(0)
    )


def test_the_gradient_of_the_loss_equals_finite_differences():
    # Equation (7): with its noise held fixed the estimate is a smooth function of phi and theta.
    config = ModelConfig((1, 2, 2), 2, "mlp", (3,), "tanh")
    model = VAE(config, rng(0)).double()
    x, eps = images(3, (1, 2, 2)), randn(4, 3, 2, seed=2)

    def loss(*_):
        return elbo.point_terms(model, x, eps).neg_elbo.mean()

    assert torch.autograd.gradcheck(loss, tuple(model.parameters()))


# Equation (7): the Monte Carlo estimate


def recon_of_repeats(model: VAE, L: int, repeats: int, seed: int) -> elbo.PointTerms:
    """The L-sample estimate for one image, made anew `repeats` times."""
    x = images(1).expand(repeats, 1, 4, 5)
    return elbo.point_terms(model, x, randn(L, repeats, 2, seed=seed))


@pytest.mark.parametrize("L", [1, 3, 10])
def test_the_estimate_of_recon_is_unbiased(L):
    model = small_vae()
    long_run = elbo.point_terms(model, images(1), randn(400_000, 1, 2, seed=7))
    repeats = recon_of_repeats(model, L, 20_000, seed=8).recon
    stderr = math.hypot(repeats.std() / math.sqrt(len(repeats)), long_run.recon_stderr)
    assert stderr < 0.03
    assert abs(repeats.mean() - long_run.recon) < 4 * stderr


def test_the_estimate_of_recon_is_unbiased_against_a_closed_form(linear):
    # E_q |x - W z - b|^2 = |x - W mu - b|^2 + tr(W S W'), the quadratic form of equation (4).
    linear.worsen_encoder()
    mu, logvar = linear.model.encode(linear.x)
    rest = (linear.x.flatten(1) - mu @ linear.W.T - linear.b).square().sum(1)
    spread = (linear.W.square().sum(0) * logvar.exp()).sum(1)
    normaliser = 12 * math.log(2 * math.pi * linear.s**2)
    expected = ((rest + spread) / linear.s**2 + normaliser) / 2

    terms = elbo.point_terms(linear.model, linear.x, randn(40_000, 6, 3, seed=9))
    assert ((terms.recon - expected).abs() < 4.5 * terms.recon_stderr).all()
    exact = elbo.point_terms(linear.model, linear.x, linear.exact_eps())
    torch.testing.assert_close(exact.recon, expected, rtol=1e-10, atol=1e-10)


def test_the_error_of_recon_falls_as_one_over_the_root_of_the_samples():
    model = small_vae()
    Ls = [1, 4, 16, 64, 256]
    spreads = [recon_of_repeats(model, L, 1500, seed=L).recon.std().item() for L in Ls]
    slope, _ = np.polyfit(np.log(Ls), np.log(spreads), 1)
    assert slope == pytest.approx(-0.5, abs=0.03)


def test_the_standard_error_of_recon_is_honest():
    # Its square is an unbiased estimate of the variance that repeats show.
    terms = recon_of_repeats(small_vae(), 32, 8000, seed=3)
    ratio = terms.recon_stderr.square().mean() / terms.recon.var()
    assert ratio.item() == pytest.approx(1, abs=0.1)
    z = (terms.recon - terms.recon.mean()) / terms.recon_stderr
    assert (z.abs() < 2).double().mean().item() == pytest.approx(0.945, abs=0.02)


# Equation (8), and the importance-weighted bound


def test_with_the_exact_posterior_the_elbo_is_log_px(linear):
    mu, logvar = linear.model.encode(linear.x)
    exact_mu, exact_cov = linear.posterior()
    torch.testing.assert_close(mu, exact_mu)
    torch.testing.assert_close(torch.diag_embed(logvar.exp()), exact_cov.expand(6, 3, 3))

    terms = elbo.point_terms(linear.model, linear.x, linear.exact_eps())
    torch.testing.assert_close(-terms.neg_elbo, linear.log_px(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("K", [1, 2, 1000])
def test_with_the_exact_posterior_every_importance_weight_is_px(linear, K):
    bound, stderr, *_ = elbo.importance_weighted_bound(
        linear.model, linear.x, randn(K, 6, 3, seed=6)
    )
    torch.testing.assert_close(bound, linear.log_px(), rtol=1e-10, atol=1e-10)
    if K > 1:
        assert (stderr < 1e-5).all()


def test_the_gap_between_log_px_and_elbo_is_the_kl_to_the_exact_posterior(linear):
    linear.worsen_encoder()
    mu, logvar = linear.model.encode(linear.x)
    gap = linear.log_px() + elbo.point_terms(linear.model, linear.x, linear.exact_eps()).neg_elbo
    q = MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
    expected = distributions.kl_divergence(q, MultivariateNormal(*linear.posterior()))
    assert (expected > 0.3).all()
    torch.testing.assert_close(gap, expected, rtol=1e-9, atol=1e-9)


def test_the_importance_weighted_bound_agrees_with_the_closed_form(linear):
    linear.worsen_encoder()
    bound, stderr, *_ = elbo.importance_weighted_bound(
        linear.model, linear.x, randn(50_000, 6, 3, seed=6)
    )
    assert (stderr < 0.05).all()
    assert ((bound - linear.log_px()).abs() < 4.5 * stderr).all()


def test_the_standard_error_of_the_importance_weighted_bound_is_honest(linear):
    linear.worsen_encoder()
    repeats = linear.x[:1].expand(500, 1, 3, 4)
    bound, stderr, *_ = elbo.importance_weighted_bound(
        linear.model, repeats, randn(2000, 500, 3, seed=6)
    )
    assert (stderr.square().mean() / bound.var()).item() == pytest.approx(1, abs=0.35)


def test_the_importance_weighted_bound_of_one_sample_is_an_elbo():
    model, x, eps = small_vae(), images(3), randn(1, 3, 2, seed=2)
    bound, *_ = elbo.importance_weighted_bound(model, x, eps)
    mu, logvar = model.encode(x)
    z = gaussian.reparameterise(mu, logvar, eps)
    q = distributions.Normal(mu, (logvar / 2).exp())
    prior = distributions.Normal(0.0, 1.0)
    log_w = elbo.log_likelihood(model, x, z) + (prior.log_prob(z) - q.log_prob(z)).sum(-1)
    torch.testing.assert_close(bound, log_w[0])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_importance_weighted_bound_grows_with_k_from_the_elbo(likelihood):
    # Its expectation does (Burda et al., 2016, theorem 1), so averages over repeats must.
    model, repeats = small_vae(likelihood), 2000
    x = images(1).expand(repeats, 1, 4, 5)
    elbo_of = elbo.point_terms(model, images(1), randn(100_000, 1, 2, seed=1))
    means, stderrs = [-elbo_of.neg_elbo.item()], [elbo_of.recon_stderr.item()]
    for K in (1, 4, 16, 64, 256):
        bound, *_ = elbo.importance_weighted_bound(model, x, randn(K, repeats, 2, seed=K))
        means.append(bound.mean().item())
        stderrs.append(bound.std().item() / math.sqrt(repeats))
    assert abs(means[1] - means[0]) < 4.5 * math.hypot(stderrs[0], stderrs[1])  # K = 1: the ELBO
    for i in range(1, len(means) - 1):
        assert means[i + 1] > means[i] - 4 * math.hypot(stderrs[i], stderrs[i + 1])
    assert means[-1] > means[0] + 10 * math.hypot(stderrs[0], stderrs[-1])


def test_extreme_importance_weights_stay_finite():
    # Weights from exp(-10^7) to exp(-1) in one sum; nothing but the log domain can hold them.
    model = small_vae("gaussian")
    for parameter in model.decoder.parameters():
        parameter.mul_(100)
    for dtype in (torch.float32, torch.float64):
        model, x, eps = model.to(dtype), images(4).to(dtype), randn(20_000, 4, 2, seed=1).to(dtype)
        bound, stderr, *_ = elbo.importance_weighted_bound(model, x, eps)
        assert bound.isfinite().all()
        assert stderr.isfinite().all()
        mu, logvar = model.encode(x)
        z = gaussian.reparameterise(mu, logvar, eps)
        log_w = (
            elbo.log_likelihood(model, x, z)
            + gaussian.standard_normal_log_prob(z)
            - gaussian.log_prob(z, mu, logvar)
        )
        assert (log_w.min(0).values < -1e5).all()
        # One weight outshines all the others, so the sum is that weight and the error is 1.
        best = log_w.max(0).values - math.log(20_000)
        assert (bound >= best * (1 + 1e-6)).all()
        assert (bound <= best + math.log(20_000)).all()
        assert (stderr <= 1 + 1e-3).all()


# Pieces


@pytest.mark.parametrize("numbers_at_once", [1, 50, 150, 2**10])
def test_results_do_not_depend_on_the_pieces_they_are_computed_in(monkeypatch, numbers_at_once):
    model, x, eps = small_vae(), images(3), randn(17, 3, 2, seed=2)
    terms = elbo.point_terms(model, x, eps)
    bound, stderr, *_ = elbo.importance_weighted_bound(model, x, eps)
    pixels = elbo.pixel_recon(model, x[0], eps[:, 0])

    decoded = []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda z: decoded.append(z.shape[0]) or decode(z))
    monkeypatch.setattr(elbo, "_NUMBERS_AT_ONCE", numbers_at_once)
    for ours, whole in zip(elbo.point_terms(model, x, eps), terms, strict=True):
        torch.testing.assert_close(ours, whole, rtol=1e-12, atol=1e-12)
    assert sum(decoded) == 17
    assert max(decoded) == max(1, min(17, numbers_at_once // 20 // 3))
    in_pieces = elbo.importance_weighted_bound(model, x, eps)
    torch.testing.assert_close(in_pieces[0], bound, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(in_pieces[1], stderr, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(elbo.pixel_recon(model, x[0], eps[:, 0]), pixels)


def test_no_piece_is_larger_than_its_bound():
    for shape in ((1, 1, 1), (1, 28, 28), (3, 512, 512)):
        for hidden in ((1,), (64, 64), (4096,)):
            config = ModelConfig(shape, family="conv", hidden=hidden)
            with torch.device("meta"):
                model = VAE(config)
            n = elbo.decodes_at_once(model)
            assert n >= 1
            assert n <= 4096
            assert n == 1 or n * math.prod(shape) <= 2**20
            assert n == 1 or n * model.footprint <= 2**26


# Errors


@pytest.mark.parametrize("shape", [(4, 2), (2, 4, 3), (2, 3, 2), (0, 4, 2), (1, 2, 4, 2)])
@pytest.mark.parametrize("function", [elbo.point_terms, elbo.importance_weighted_bound])
def test_noise_of_another_shape_is_refused(function, shape):
    with pytest.raises(ValueError, match=r"^eps \(.*\) must be \(S, B, D\).* = \(4, 2\)$"):
        function(small_vae(), images(4), torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("function", [elbo.point_terms, elbo.importance_weighted_bound])
def test_images_of_another_shape_are_refused(function):
    with pytest.raises(ValueError, match=r"the images are 1x5x4, .* reads 1x4x5"):
        function(small_vae(), images(4, (1, 5, 4)), randn(2, 4, 2, seed=0))
