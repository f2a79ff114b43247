import copy
import math
import os

import pytest
import torch
import torch.nn.functional as F
from inference.known_models import (
    SHIPPED,
    digits,
    images,
    known_log_px,
    known_posterior,
    linear_model,
    ppca,
    two_peaks,
)
from torch import Tensor

from vae.config import ModelConfig
from vae.core import elbo, gaussian
from vae.core.elbo import log_likelihood
from vae.core.likelihood import Terms
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import to_unit
from vae.inference import density, quadrature
from vae.inference.density import Lattice, density_on_grid, posterior_density
from vae.inference.quadrature import exact_posterior
from vae.runs import checkpoint


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
    monkeypatch.setattr(quadrature, "_PAIRS_AT_ONCE", 60_000)
    monkeypatch.setattr(quadrature, "_POINTS_AT_ONCE", 8)
    seen = []
    again = exact_posterior(model, x, mu, logvar, progress=lambda *done: seen.append(done))
    assert seen == [(8, 12), (12, 12)]
    assert torch.allclose(before.log_px, again.log_px, rtol=0, atol=1e-5)


def test_a_smaller_tolerance_brings_a_smaller_error():
    model, x = digits(6)
    model.requires_grad_(False)
    q = model.encode(x)
    rough, fine = (exact_posterior(model, x, *q, tolerance) for tolerance in (0.3, 1e-6))
    assert (fine.error < 1e-5).all()  # the decoder's float32 alone makes 1e-6
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


@pytest.fixture
def evaluated(monkeypatch) -> list[int]:
    """How many pairs each level evaluates."""
    seen, look = [], quadrature._Refinement._evaluated

    def counted(self, pairs, spacing):
        seen.append(len(pairs.point))
        return look(self, pairs, spacing)

    monkeypatch.setattr(quadrature._Refinement, "_evaluated", counted)
    return seen


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("sigma", [1e-2, 1e-4])
@pytest.mark.parametrize("place", [0.3, 4.0])
def test_a_narrow_q_does_not_have_a_broad_posterior_cut(evaluated, latent_dim, sigma, place):
    """As of a training with beta = 0."""
    model = ppca(latent_dim)
    x = images(model, 3)
    mu, logvar = model.encode(x)
    broad = exact_posterior(model, x, mu, logvar)
    evaluated.clear()
    mu, logvar = torch.full_like(mu, place), torch.full_like(logvar, 2 * math.log(sigma))
    narrow = exact_posterior(model, x, mu, logvar)
    assert sum(evaluated) < 20_000
    assert not narrow.ended.any()
    torch.testing.assert_close(narrow.log_px, broad.log_px, atol=1e-5, rtol=0)
    covariance = torch.linalg.inv(known_posterior(model, x[0])[1])
    mean = torch.stack([known_posterior(model, one)[0] for one in x])
    q = mu.double(), torch.diag_embed(logvar.double().exp())
    torch.testing.assert_close(
        narrow.gap, gaussian.kl_between(*q, mean, covariance), atol=1e-3, rtol=1e-5
    )


def spike(at: float, width: float, height: float) -> VAE:
    """log p(x|z) of x = 1 is flat but for a narrow spike, of that height in nats."""
    config = ModelConfig((1, 1, 1), 1, hidden=(3,), activation="relu", likelihood="gaussian")
    model = VAE(config).requires_grad_(False)
    first, last = model.decoder.body[0], model.decoder.body[2]
    first.weight.fill_(1 / width)
    first.bias.copy_(-torch.tensor([at - width, at, at + width]) / width)
    last.weight.copy_(torch.tensor([[1.0, -2, 1]]))
    last.bias.zero_()
    model.likelihood.logvar_x.fill_(-math.log(2 * height))
    return model


@pytest.mark.parametrize("height", [9.0, 12.0])
def test_a_peak_that_only_the_cells_of_q_show_is_found_and_said(height):
    model, x = spike(0.52, 0.002, height), torch.ones(1, 1, 1, 1)
    found = exact_posterior(model, x, torch.tensor([[0.52]]), torch.tensor([[-14.0]]))
    z = ((torch.arange(2**21) + 0.5) * 2**-17 - 8)[:, None]
    terms = model.likelihood.log_prob(x, model.decode(z)).flatten().double()
    joint = terms + gaussian.standard_normal_log_prob(z.double())
    expected = float(joint.logsumexp(0)) - 17 * math.log(2)
    assert float(found.log_px) == pytest.approx(expected, abs=0.05)
    assert found.error > 1
    assert found.ended.all()


@pytest.mark.parametrize("budget", [0, 100, 10_000, 200_000])
@pytest.mark.parametrize("width", [0.1, 0.002])
def test_a_budget_ends_the_integrals_and_the_error_says_so(evaluated, width, budget):
    model, x = two_peaks(width)
    mu, logvar = torch.tensor([[1.003, 0.0]]), torch.full((1, 2), 2 * math.log(width))
    found = exact_posterior(model, x, mu, logvar, budget=budget)
    assert sum(evaluated) <= 2 * budget
    x_itself = torch.distributions.Normal(0.0, (1 + width**2) ** 0.5)
    expected = math.log(2) + float(x_itself.log_prob(x.double()))
    assert bool(found.ended) == (budget < 1_000 or width < 0.01)
    assert abs(float(found.log_px) - expected) <= float(found.error)
    if not found.ended:
        assert found.error < 1e-3


def test_of_points_that_need_less_than_the_budget_nothing_changes():
    model, x = digits(12)
    model.requires_grad_(False)
    mu, logvar = model.encode(x)
    lattice = Lattice(model)
    free = exact_posterior(model, x, mu, logvar, lattice=lattice, budget=2**40)
    assert not free.ended.any()
    usual = exact_posterior(model, x, mu, logvar, lattice=lattice)
    for before, after in zip(free, usual, strict=True):
        assert torch.equal(before, after)
    budget = int(free.n_nodes.median())
    few = exact_posterior(model, x, mu, logvar, lattice=lattice, budget=budget)
    assert 0 < few.ended.sum() < 12
    for before, after in zip(free, few, strict=True):
        torch.testing.assert_close(before[~few.ended], after[~few.ended], atol=1e-5, rtol=0)


def test_a_negative_budget_is_refused():
    model = ppca(1)
    x = images(model, 1)
    with pytest.raises(ValueError, match=r"budget \(=-1\) must be at least 0"):
        exact_posterior(model, x, *model.encode(x), budget=-1)


class Closed(torch.nn.Module):
    """A decoder whose weights nobody can copy, as a session of onnxruntime."""

    def __init__(self, decoder: torch.nn.Module) -> None:
        super().__init__()
        self.decoders = (decoder,)

    def forward(self, z: Tensor) -> Tensor:
        return self.decoders[0](z)


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize(
    ("likelihood", "sigma"),
    [("gaussian", 1e-2), ("gaussian", 1e-3), ("gaussian", 1e-4), ("bernoulli", 1.0)],
)
def test_the_error_covers_what_float32_does(monkeypatch, likelihood, sigma, latent_dim, is_closed):
    config = ModelConfig((1, 6, 6), latent_dim, hidden=(16,), likelihood=likelihood)
    stream = torch.Generator().manual_seed(3)
    model = VAE(config, stream).requires_grad_(False)
    for weights in model.decoder.parameters():
        weights.mul_(1.5)
    z = torch.randn(16, latent_dim, generator=stream)
    x = model.likelihood.mean(model.decode(z))
    if likelihood == "gaussian":
        model.likelihood.logvar_x.fill_(2 * math.log(sigma))
        x += sigma * torch.randn(x.shape, generator=stream)
    q = z, torch.full_like(z, 2 * math.log(sigma))
    parts = config, model.encoder, Closed(model.decoder), model.likelihood
    # A tolerance that leaves little but float32's own part in the error.
    found = exact_posterior(VAE.of_parts(*parts) if is_closed else model, x, *q, tolerance=1e-6)
    wide = copy.deepcopy(model).double()

    def decode(_, z: Tensor) -> Terms:
        return wide.likelihood.terms(wide.decode(z))

    for module in (quadrature, density):
        monkeypatch.setattr(module, "decode", decode)
    truth = exact_posterior(model, x, *q, tolerance=1e-6)
    off = (found.log_px - truth.log_px).abs()
    assert (off <= found.error).all()
    # Any one point's may happen to be 0, and below 1e-6 nats both are.
    assert (found.error < 100 * off.square().mean().sqrt() + 1e-6).all()


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("VAE_DATA"), reason="needs the environment variable VAE_DATA: MNIST's folder"
)
def test_on_mnist_the_integral_is_that_of_a_uniform_grid_and_above_importance_weighting():
    run = checkpoint.open_run(SHIPPED.parent / "mnist-2d")
    model = run.load_model().requires_grad_(False)
    x = to_unit(catalogue.load("mnist", "test").images[:100])
    mu, logvar = model.encode(x)
    found = exact_posterior(model, x, mu, logvar)

    def joint(z: Tensor, x: Tensor) -> Tensor:
        eta, A = model.likelihood.terms(model.decode(z.float()))
        given = x.flatten(1).double() @ eta.double().T - A
        return given + gaussian.standard_normal_log_prob(z.double())

    # A uniform grid; where there is mass its cells are cut 8 x 8, for peaks narrower than a cell.
    n, cuts = 768, 8
    size = 12 / n
    axis = (torch.arange(n, dtype=torch.float64) + 0.5) * size - 6
    centres = torch.cartesian_prod(axis, axis)
    coarse = torch.cat([joint(z, x[:25]) for z in centres.split(8192)], 1)
    places = ((torch.arange(cuts, dtype=torch.float64) + 0.5) / cuts - 0.5) * size
    for i, of_image in enumerate(coarse):
        held = (of_image > of_image.max() - 30).float().view(1, 1, n, n)
        near = F.max_pool2d(held, 5, 1, 2).flatten() > 0
        fine = (centres[near][:, None] + torch.cartesian_prod(places, places)).flatten(0, 1)
        parts = [joint(z, x[i : i + 1]).logsumexp(1) for z in fine.split(8192)]
        log_px = torch.cat(parts).logsumexp(0) + 2 * math.log(size / cuts)
        assert abs(float(found.log_px[i] - log_px)) < 1e-4

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


@pytest.mark.parametrize("sigma", [pytest.param(1e-3, marks=pytest.mark.slow), 1.0, 1e5, 1e30])
@pytest.mark.parametrize("mean", [0.0, 30.0, 1e6])
def test_a_q_that_no_lattice_reaches_costs_no_search(monkeypatch, mean, sigma):
    """As of a training that diverged; log p(x) has nothing to do with q."""
    model = linear_model(2)
    x = torch.full((3, *model.config.image_shape), 0.4)
    mu, logvar = torch.full((3, 2), mean), torch.full((3, 2), 2 * math.log(sigma))
    evaluated = 0
    look = quadrature._Refinement._evaluated

    def counted(self, pairs, spacing):
        nonlocal evaluated
        evaluated += len(pairs.point)
        return look(self, pairs, spacing)

    monkeypatch.setattr(quadrature._Refinement, "_evaluated", counted)
    found = exact_posterior(model, x, mu, logvar)
    if mean + 6 * sigma > 24:
        assert evaluated < 1_000_000
        assert found.error.isinf().all()
    torch.testing.assert_close(found.log_px, known_log_px(model, x).double(), atol=0.01, rtol=1e-3)
