"""The exact posterior and the best Gaussian, against models whose posterior is in closed form.

A linear decoder with Gaussian pixels is probabilistic PCA (Tipping & Bishop, 1999): p(x) and p(z|x)
are Gaussians.
"""

import math
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vae import checkpoint, datasets, elbo, gaussian, posterior
from vae.config import ModelConfig
from vae.datasets import to_unit
from vae.elbo import log_likelihood, point_terms
from vae.model import VAE
from vae.posterior import (
    Lattice,
    best_gaussian,
    density_on_grid,
    exact_posterior,
    posterior_density,
)

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints" / "digits-2d"


def linear_model(latent_dim: int = 3) -> VAE:
    """p(x|z) = N(Wz + b, s^2 I): the posterior is a Gaussian, whose covariance is not diagonal."""
    config = ModelConfig((1, 3, 4), latent_dim, hidden=(), likelihood="gaussian")
    model = VAE(config, torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.decoder.body[0].weight.mul_(0.6)
        model.likelihood.logvar_x.fill_(-2.5)
    return model.requires_grad_(False)


def known_posterior(model: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and precision of p(z|x); Bishop (2006), equations (2.116) and (2.117)."""
    W, b = model.decoder.body[0].weight.double(), model.decoder.body[0].bias.double()
    s2 = model.likelihood.logvar_x.double().exp()
    precision = W.T @ W / s2 + torch.eye(W.shape[1], dtype=torch.float64)
    return torch.linalg.solve(precision, W.T @ (x.flatten().double() - b) / s2), precision


def white_noise(n: int, D: int) -> Tensor:
    """Noise whose second moments are those of N(0, I) exactly: quadratic means have no error."""
    drawn = gaussian.draw((n, D), torch.Generator().manual_seed(2))
    return torch.linalg.qr(drawn).Q * n**0.5


def start(D: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return gaussian.draw((D,), generator), gaussian.draw((D,), generator)


def image(model: VAE) -> Tensor:
    return torch.rand(model.config.image_shape, generator=torch.Generator().manual_seed(4))


def digits(n: int) -> tuple[VAE, Tensor]:
    model = checkpoint.open_run(SHIPPED).load_model()
    return model, to_unit(datasets.load("digits").images[:n])


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_of_a_linear_gaussian_model_the_known_best_gaussian_is_found(latent_dim):
    model = linear_model(latent_dim)
    x = image(model)
    mean, precision = known_posterior(model, x)
    best = best_gaussian(model, x, *start(latent_dim), white_noise(64, latent_dim))
    assert torch.allclose(best.mu.double(), mean, atol=2e-3)
    # KL(q, p) of a diagonal q against a Gaussian p is least where 1 / variance is p's precision.
    assert torch.allclose(best.logvar.double(), -precision.diagonal().log(), atol=5e-3)
    off_diagonal = precision - precision.diagonal().diag()
    assert latent_dim == 1 or off_diagonal.abs().max() > 0.1  # so the exact posterior is not in it


def test_the_bounds_are_those_of_the_terms_over_the_same_noise():
    model = linear_model()
    x, (mu, logvar) = image(model), start(3)
    eps = gaussian.draw((32, 3), torch.Generator().manual_seed(5))
    best = best_gaussian(model, x, mu, logvar, eps)
    for m, v, stated in (
        (mu, logvar, best.neg_elbo_before),
        (best.mu, best.logvar, best.neg_elbo),
    ):
        z = gaussian.reparameterise(m[None], v[None], torch.cat([eps, -eps])[:, None])
        recon = -model.likelihood.log_prob(x, model.decode(z)).sum((-3, -2, -1)).mean()
        kl = gaussian.kl_to_standard_normal(m[None], v[None]).sum()
        assert stated == pytest.approx(float(recon + kl), rel=1e-5)
    assert best.neg_elbo < best.neg_elbo_before


@pytest.mark.parametrize("max_steps", [1, 2, 60])
def test_what_is_found_is_never_worse_than_the_start(max_steps):
    model, images = digits(12)
    with torch.no_grad():
        mu, logvar = model.encode(images)
    eps = gaussian.draw((8, 2), torch.Generator().manual_seed(6))
    far = torch.tensor([[30.0, -30.0], [0.0, 0.0]])
    starts = [*zip(images, mu, logvar, strict=True), (images[0], far[0], far[1])]
    for x, m, v in starts:
        best = best_gaussian(model, x, m, v, eps, max_steps=max_steps)
        assert best.neg_elbo <= best.neg_elbo_before
        assert torch.isfinite(torch.stack([best.mu, best.logvar])).all()


def test_at_the_best_one_it_stays():
    model = linear_model()
    x, eps = image(model), white_noise(64, 3)
    best = best_gaussian(model, x, *start(3), eps)
    again = best_gaussian(model, x, best.mu, best.logvar, eps)
    assert again.neg_elbo_before == pytest.approx(best.neg_elbo, abs=1e-4)
    assert torch.allclose(again.mu, best.mu, atol=2e-3)
    assert torch.allclose(again.logvar, best.logvar, atol=5e-3)


def test_on_digits_it_beats_the_encoder_on_noise_that_it_has_not_seen():
    model, images = digits(40)
    with torch.no_grad():
        mu, logvar = model.encode(images)
    eps = gaussian.draw((128, 2), torch.Generator().manual_seed(0))
    found = [best_gaussian(model, x, m, v, eps) for x, m, v in zip(images, mu, logvar, strict=True)]
    fresh = gaussian.draw((2000, 2), torch.Generator().manual_seed(7))[:, None]
    gained = []
    with torch.no_grad():
        for x, m, v, best in zip(images, mu, logvar, found, strict=True):
            bounds = [
                -model.likelihood.log_prob(
                    x, model.decode(gaussian.reparameterise(a[None], b[None], fresh))
                )
                .sum((-3, -2, -1))
                .mean()
                + gaussian.kl_to_standard_normal(a[None], b[None]).sum()
                for a, b in ((m, v), (best.mu, best.logvar))
            ]
            gained.append(float(bounds[0] - bounds[1]))
    assert sum(gained) / len(gained) > 0.1  # nats; the amortisation gap of this encoder
    assert min(gained) > -0.5  # 128 draws and their mirror images leave it about that unsure


@pytest.mark.parametrize("learnable", [True, False])
def test_the_models_weights_stay_as_they_are_and_gather_no_gradient(learnable):
    model, images = digits(1)
    model.requires_grad_(learnable)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():  # the caller's own setting neither matters nor changes
        best = best_gaussian(model, images[0], *start(2), white_noise(16, 2))
        assert not torch.is_grad_enabled()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name
        assert parameter.grad is None
        assert parameter.requires_grad is learnable
    assert not best.mu.requires_grad
    assert not best.logvar.requires_grad


def test_what_it_was_given_stays_as_it_is():
    model = linear_model()
    given = [image(model), *start(3), white_noise(16, 3)]
    before = [value.clone() for value in given]
    best_gaussian(model, *given)
    assert all(map(torch.equal, given, before))


@pytest.mark.parametrize(
    ("mu", "logvar"), [([torch.nan, 0, 0], [0, 0, 0]), ([0, 0, 0], [0, 500, 0])]
)
def test_a_bound_that_is_not_finite_is_refused(mu, logvar):
    model = linear_model()
    with pytest.raises(ValueError, match="not finite"):
        best_gaussian(
            model,
            image(model),
            torch.tensor(mu, dtype=torch.float32),
            torch.tensor(logvar, dtype=torch.float32),
            white_noise(16, 3),
        )


@pytest.mark.parametrize("n_samples", [1, 7])
def test_any_number_of_draws_will_do(n_samples):
    model = linear_model()
    x, eps = image(model), gaussian.draw((n_samples, 3), torch.Generator().manual_seed(8))
    best = best_gaussian(model, x, *start(3), eps)
    assert best.mu.shape == best.logvar.shape == (3,)
    mean, _ = known_posterior(model, x)
    if n_samples == 7:  # mirrored draws leave the mean of a linear model no error
        assert torch.allclose(best.mu.double(), mean, atol=2e-3)


def test_the_same_question_has_the_same_answer():
    model, images = digits(1)
    answers = [best_gaussian(model, images[0], *start(2), white_noise(16, 2)).mu for _ in range(2)]
    assert torch.equal(*answers)


def test_the_encoders_own_terms_are_where_the_search_begins():
    model, images = digits(1)
    with torch.no_grad():
        mu, logvar = model.encode(images)
    eps = gaussian.draw((64, 2), torch.Generator().manual_seed(9))
    best = best_gaussian(model, images[0], mu[0], logvar[0], eps)
    terms = point_terms(model, images, torch.cat([eps, -eps])[:, None])
    assert best.neg_elbo_before == pytest.approx(float(terms.neg_elbo.detach()), rel=1e-5)


# The exact posterior


def ppca(latent_dim: int = 2, upright: bool = True) -> VAE:
    """A linear model whose encoder gives the true posterior, as far as its family can.

    With orthogonal columns of W the posterior's axes are upright, so the encoder's is exact.
    """
    model = linear_model(latent_dim)
    decoder, encoder = model.decoder.body[0], model.encoder
    if upright:
        decoder.weight.copy_(torch.linalg.qr(decoder.weight).Q)
    _, precision = known_posterior(model, image(model))
    s2 = model.likelihood.logvar_x.double().exp()
    to_mean = torch.linalg.solve(precision, decoder.weight.double().T / s2)
    encoder.mu.weight.copy_(to_mean)
    encoder.mu.bias.copy_(-to_mean @ decoder.bias.double())
    encoder.logvar.weight.zero_()
    encoder.logvar.bias.copy_(-precision.diagonal().log())
    return model


def images(model: VAE, n: int = 7) -> Tensor:
    return torch.rand((n, *model.config.image_shape), generator=torch.Generator().manual_seed(8))


def known_log_px(model: VAE, x: Tensor) -> Tensor:
    W, b = model.decoder.body[0].weight.double(), model.decoder.body[0].bias.double()
    noise = model.likelihood.logvar_x.double().exp() * torch.eye(len(b), dtype=torch.float64)
    return torch.distributions.MultivariateNormal(b, W @ W.T + noise).log_prob(
        x.flatten(1).double()
    )


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("upright", [True, False])
def test_of_probabilistic_pca_every_integral_is_the_closed_form(latent_dim, upright):
    model = ppca(latent_dim, upright)
    x = images(model)
    mu, logvar = model.encode(x)
    found = exact_posterior(model, x, mu, logvar)
    assert (found.log_px - known_log_px(model, x)).abs().max() < 1e-4
    mean = torch.stack([known_posterior(model, one)[0] for one in x])
    cov = torch.linalg.inv(known_posterior(model, x[0])[1])
    assert (found.mean - mean).abs().max() < 1e-4
    assert (found.cov - cov).abs().max() < 1e-4
    assert ((found.mode - mean).abs() < 0.13).all()  # within the cell that holds it
    gap = gaussian.kl_between(mu.double(), torch.diag_embed(logvar.double().exp()), mean, cov)
    assert (found.gap - gap).abs().max() < 1e-4
    assert (gap.max() < 1e-9) == (upright or latent_dim == 1)
    assert (found.error < 1e-3).all()


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "gaussian"])
def test_the_three_numbers_of_equation_8_add_up(likelihood):
    config = ModelConfig((1, 5, 4), 2, hidden=(16,), likelihood=likelihood)
    model = VAE(config, torch.Generator().manual_seed(5)).requires_grad_(False)
    for linear in model.decoder.body[::2]:
        linear.weight.mul_(3)
    x = images(model, 20)
    mu, logvar = model.encode(x)
    mu, logvar = 2 * mu, logvar - 2
    found = exact_posterior(model, x, mu, logvar)
    kl = gaussian.kl_to_standard_normal(mu.double(), logvar.double()).sum(1)
    assert (found.log_px - (-found.recon - kl) - found.gap).abs().max() < 1e-5
    assert (found.gap >= 0).all()
    assert found.gap.max() > 0.05
    z = gaussian.reparameterise(
        mu, logvar, gaussian.draw((4000, 20, 2), torch.Generator().manual_seed(6))
    )
    sampled = -log_likelihood(model, x, z)
    assert ((sampled.mean(0) - found.recon).abs() < 5 * sampled.std(0) / 4000**0.5).all()


def brute_force(model: VAE, x: Tensor, span: tuple[Tensor, Tensor], n: int) -> float:
    """log p(x) by adding up a fine grid over a box, with no refinement at all."""
    low, high = span
    step = (high - low) / n
    axes = [low[d] + (torch.arange(n) + 0.5) * step[d] for d in range(2)]
    total = torch.tensor(-float("inf"), dtype=torch.float64)
    for z in torch.cartesian_prod(*axes).split(4096):
        joint = log_likelihood(model, x[None], z[:, None])[:, 0].double()
        joint += gaussian.standard_normal_log_prob(z.double())
        total = torch.logaddexp(total, joint.logsumexp(0))
    return float(total + step.double().log().sum())


def test_a_fine_grid_without_refinement_says_the_same():
    model, x = digits(4)
    model.requires_grad_(False)
    found = exact_posterior(model, x, *model.encode(x))
    for i in range(4):
        reach = 8 * found.cov[i].diagonal().sqrt()
        span = (found.mean[i] - reach).float(), (found.mean[i] + reach).float()
        assert brute_force(model, x[i], span, 300) == pytest.approx(
            float(found.log_px[i]), abs=1e-3
        )


def two_peaks(width: float) -> tuple[VAE, Tensor]:
    """p(x|z) depends on |z1| alone and is narrow: two equal peaks between the lattice's middles."""
    config = ModelConfig((1, 1, 1), 2, hidden=(4,), activation="relu", likelihood="gaussian")
    model = VAE(config).requires_grad_(False)
    first, last = model.decoder.body[0], model.decoder.body[2]
    first.weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 0], [0, 0]]))
    first.bias.zero_()
    last.weight.copy_(torch.tensor([[1.0, 1, 0, 0]]))
    last.bias.zero_()
    model.likelihood.logvar_x.fill_(2 * math.log(width))
    return model, torch.full((1, 1, 1, 1), 1.003)


@pytest.mark.parametrize("width", [0.1, 0.01, 0.002])
def test_both_of_two_narrow_peaks_are_found(width):
    model, x = two_peaks(width)
    mu, logvar = torch.tensor([[1.003, 0.0]]), torch.tensor([[2 * math.log(width), 0.0]])
    found = exact_posterior(model, x, mu, logvar)
    # z1 > 0: N(x; z1, width^2) N(z1; 0, 1) integrates to N(x; 0, 1 + width^2); both sides: twice.
    x_itself = torch.distributions.Normal(0.0, (1 + width**2) ** 0.5)
    expected = math.log(2) + float(x_itself.log_prob(x.double()))
    assert float(found.log_px) == pytest.approx(expected, abs=1e-4)
    assert found.mean[0].abs().max() < 1e-3
    assert float(found.cov[0, 0, 0]) == pytest.approx(1, abs=0.02)
    # A q on one of the peaks pays for the other with log 2.
    assert float(found.gap) == pytest.approx(math.log(2), abs=0.02)


def test_a_point_does_not_depend_on_the_others():
    model, x = digits(40)
    model.requires_grad_(False)
    mu, logvar = model.encode(x)
    together = exact_posterior(model, x, mu, logvar)
    rows = torch.tensor([3, 17, 29])
    alone = exact_posterior(model, x[rows], mu[rows], logvar[rows])
    for whole, part in zip(together, alone, strict=True):
        assert torch.allclose(whole[rows].double(), part.double(), rtol=0, atol=1e-5)


def test_many_cells_are_integrated_in_smaller_groups(monkeypatch):
    model, x = digits(12)
    model.requires_grad_(False)
    mu, logvar = model.encode(x)
    before = exact_posterior(model, x, mu, logvar)
    monkeypatch.setattr(posterior, "_PAIRS_AT_ONCE", 60_000)
    monkeypatch.setattr(posterior, "_POINTS_AT_ONCE", 8)
    seen = []
    again = exact_posterior(model, x, mu, logvar, progress=lambda *done: seen.append(done))
    assert seen == [(8, 12), (12, 12)]
    assert torch.allclose(before.log_px, again.log_px, rtol=0, atol=1e-5)


def test_a_smaller_tolerance_brings_a_smaller_error():
    model, x = digits(6)
    model.requires_grad_(False)
    q = model.encode(x)
    rough, fine = (exact_posterior(model, x, *q, tolerance) for tolerance in (0.3, 1e-6))
    assert (fine.error < 1e-6).all()
    assert (fine.n_nodes >= rough.n_nodes).all()
    assert ((rough.log_px - fine.log_px).abs() <= rough.error + 1e-6).all()


def test_a_posterior_far_out_is_followed():
    model = linear_model(1)
    decoder = model.decoder.body[0]
    decoder.weight.fill_(0.02)
    decoder.bias.zero_()
    model.likelihood.logvar_x.fill_(-9.0)
    x = torch.full((1, *model.config.image_shape), 0.2)  # z = 10 explains it best
    found = exact_posterior(model, x, torch.tensor([[9.0]]), torch.tensor([[-2.0]]))
    assert float(found.mean) > 8
    assert float(found.log_px) == pytest.approx(float(known_log_px(model, x)), abs=1e-4)


def test_a_lattice_that_ends_too_soon_says_so():
    model = linear_model(1)
    model.decoder.body[0].weight.fill_(0.001)
    model.decoder.body[0].bias.zero_()
    model.likelihood.logvar_x.fill_(-16.0)
    x = torch.full((1, *model.config.image_shape), 0.05)
    found = exact_posterior(model, x, torch.zeros(1, 1), torch.zeros(1, 1))
    assert math.isinf(float(found.error))


def test_the_density_integrates_to_one_and_has_the_known_shape():
    model = ppca(2, upright=False)
    x = images(model, 1)
    found = exact_posterior(model, x, *model.encode(x))
    mean, precision = known_posterior(model, x[0])
    z = (mean + 0.3 * torch.randn(50, 2, generator=torch.Generator().manual_seed(1))).float()
    known = torch.distributions.MultivariateNormal(mean, precision_matrix=precision)
    density = posterior_density(model, x[0], float(found.log_px), z)
    assert torch.allclose(density, known.log_prob(z.double()), atol=1e-3)
    reach = 6 * found.cov[0].diagonal().sqrt()
    low, high = (found.mean[0] - reach).float(), (found.mean[0] + reach).float()
    grid = density_on_grid(model, x[0], float(found.log_px), low, high, 120)
    cell = float((high - low).prod()) / 120**2
    assert float(grid.exp().sum()) * cell == pytest.approx(1, abs=1e-3)
    assert torch.isinf(grid).any()  # what nobody sees is not decoded


def test_the_best_gaussian_of_probabilistic_pca_is_the_posterior():
    model = ppca(2)
    x = images(model, 1)
    mean, precision = known_posterior(model, x[0])
    best = best_gaussian(model, x[0], *start(2), *gaussian.gauss_hermite(10, 2))
    assert torch.allclose(best.mu.double(), mean, atol=1e-3)
    assert torch.allclose(best.logvar.double(), -precision.diagonal().log(), atol=1e-2)
    found = exact_posterior(model, x, best.mu[None], best.logvar[None])
    assert 0 <= float(found.gap) < 1e-4


def test_of_several_starts_the_best_end_counts():
    model, x = two_peaks(0.1)
    model.decoder.body[2].weight.copy_(torch.tensor([[1.0, 0.5, 0, 0]]))  # the left peak: z1 = -2
    nodes = gaussian.gauss_hermite(12, 2)
    left, right = torch.tensor([-2.0, 0.0]), torch.tensor([1.0, 0.0])
    narrow = torch.tensor([-4.0, 0.0])
    ends = [best_gaussian(model, x[0], m, narrow, *nodes).neg_elbo for m in (left, right)]
    both = best_gaussian(
        model, x[0], torch.stack([left, right]), torch.stack([narrow, narrow]), *nodes
    )
    assert ends[1] < ends[0] - 0.5
    assert both.neg_elbo == pytest.approx(ends[1], abs=1e-4)
    assert both.neg_elbo_before > ends[1]


# Bad input


def test_more_dimensions_are_refused_with_what_to_do_instead():
    model = linear_model(3)
    with pytest.raises(ValueError, match=r"latent_dim \(=3\) must be at most 2 .* importance"):
        Lattice(model)


@pytest.mark.parametrize("tolerance", [0, -1, float("nan")])
def test_a_tolerance_must_be_positive(tolerance):
    model = ppca(1)
    x = images(model, 1)
    with pytest.raises(ValueError, match=r"tolerance .* must be above 0 nats"):
        exact_posterior(model, x, *model.encode(x), tolerance=tolerance)


def test_a_likelihood_that_is_finite_nowhere_is_one_sentence():
    model = ppca(2)
    model.decoder.body[0].bias.fill_(float("inf"))
    x = images(model, 1)
    with pytest.raises(ValueError, match="finite at none of the 9,216 latent points"):
        exact_posterior(model, x, torch.zeros(1, 2), torch.zeros(1, 2))


def test_where_the_decoder_is_not_finite_the_density_is_zero():
    model, x = digits(2)
    model.requires_grad_(False)
    whole = exact_posterior(model, x, *model.encode(x))
    decode = model.decode

    def broken(z: Tensor) -> Tensor:
        return torch.where((z[..., 0] > 5.5)[..., None, None, None], math.nan, decode(z))

    model.decode = broken
    again = exact_posterior(model, x, *model.encode(x))
    assert torch.allclose(whole.log_px, again.log_px, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("VAE_DATA"), reason="needs the environment variable VAE_DATA: MNIST's folder"
)
def test_on_mnist_the_integral_is_that_of_a_uniform_grid_and_above_importance_weighting():
    run = checkpoint.open_run(SHIPPED.parent / "mnist-2d")
    model = run.load_model().requires_grad_(False)
    x = to_unit(datasets.load("mnist", "test").images[:100])
    mu, logvar = model.encode(x)
    found = exact_posterior(model, x, mu, logvar)

    spacing = 1 / 128  # of 2.4 million cells, with no refinement
    axis = (torch.arange(1536) + 0.5) * spacing - 6
    total = torch.full((100,), -math.inf, dtype=torch.float64)
    for z1 in axis:
        z = torch.stack([z1.expand(len(axis)), axis], 1)
        eta, A = model.likelihood.terms(model.decode(z))
        joint = x.flatten(1).double() @ eta.double().T - A
        joint += gaussian.standard_normal_log_prob(z.double())
        total = torch.logaddexp(total, joint.logsumexp(1))
    assert (found.log_px - total - 2 * math.log(spacing)).abs().max() < 1e-3

    eps = gaussian.noise_of_points(range(100), 5000, 2, 0)
    parts = [
        elbo.importance_weighted_bound(model, x[rows], eps[:, rows])
        for rows in torch.arange(100).split(20)
    ]
    bound, stderr, ess, lower = (torch.cat(values).double() for values in zip(*parts, strict=True))
    assert (lower <= bound).all()
    above = (bound - found.log_px) / stderr
    assert (above < 4).all()  # never above log p(x) by more than its error
    # Where q misses a peak, the estimate is too low and its error does not tell: for a third.
    agree = above.abs() < 3
    print(f"agree {int(agree.sum())} of 100, ess of the others {ess[~agree].median():.0f} (median)")
    assert agree.sum() > 60
    assert float(found.gap.mean()) > 1.35
