"""Equation (8) for one image: every part by itself, and the gap in two."""

import pytest
import torch
from inference.known_models import SHIPPED, images, known_log_px, known_posterior, ppca, shipped
from torch import Tensor

from vae.core import gaussian
from vae.core.elbo import bound_against_samples, log_likelihood
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import to_unit
from vae.inference import gap
from vae.inference.best_gaussian import best_gaussian
from vae.inference.density import Lattice
from vae.inference.estimators import gradient_estimates
from vae.inference.gap import N_WEIGHTS, best_of_image, infer, split_gap
from vae.inference.quadrature import exact_posterior
from vae.lessons import loss_steps
from vae.runs import checkpoint


@pytest.fixture(scope="module")
def digits() -> tuple[VAE, Tensor, Lattice]:
    model = shipped().requires_grad_(False)
    return model, to_unit(catalogue.load("digits").images[:6]), Lattice(model)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_an_optimal_encoder_leaves_no_gap(latent_dim):
    model = ppca(latent_dim)
    x = images(model, 1)[0]
    lattice = Lattice(model)
    found = infer(model, x, 0, lattice=lattice)
    assert found.log_px == pytest.approx(float(known_log_px(model, x[None])), abs=1e-4)
    assert 0 <= found.gap + 1e-6 < 1e-4
    assert abs(found.residual) < 4 * found.elbo_stderr + 1e-4
    # The weights are all alike then: every K has the bound of log p(x).
    assert found.ess == pytest.approx(N_WEIGHTS, rel=1e-3)
    split = split_gap(model, x, 0, found, lattice)
    assert abs(split.amortisation) < 1e-4
    assert abs(split.approximation) < 1e-4


def test_a_tilted_posterior_leaves_the_approximation_gap_that_is_known():
    model = ppca(2, upright=False)
    x = images(model, 1)[0]
    lattice = Lattice(model)
    found = infer(model, x, 0, lattice=lattice)
    split = split_gap(model, x, 0, found, lattice)
    mean, precision = known_posterior(model, x)
    # The best upright Gaussian has the precision's diagonal; KL by equation (5).
    best = torch.diag(1 / precision.diagonal())
    known = gaussian.kl_between(mean, best, mean, torch.linalg.inv(precision))
    assert float(known) > 0.01
    assert split.approximation == pytest.approx(float(known), abs=1e-4)
    assert split.amortisation == pytest.approx(found.gap - float(known), abs=1e-4)


def test_the_three_numbers_close_within_the_error_of_the_draws(digits):
    model, x, lattice = digits
    for index, one in enumerate(x):
        found = infer(model, one, index, lattice=lattice)
        assert abs(found.residual) < 4.5 * found.elbo_stderr
        assert found.elbo_stderr < 0.2
        assert found.gap > 0
        assert found.elbo < found.log_px + 4.5 * found.elbo_stderr
        bound, error = found.weighted(5000)
        assert bound < found.log_px + 4.5 * error


def test_the_parts_of_the_gap_add_up_and_neither_is_below_zero(digits):
    model, x, lattice = digits
    for index, one in enumerate(x[:3]):
        found = infer(model, one, index, lattice=lattice)
        split = split_gap(model, one, index, found, lattice)
        assert split.amortisation >= 0
        assert split.approximation > 0
        assert split.amortisation + split.approximation == pytest.approx(found.gap, abs=1e-9)


@pytest.mark.few(2)
@pytest.mark.parametrize("name", ["mnist-2d", "mnist-10d", "fashion-2d", "sprites-2d", "digits-2d"])
def test_the_search_is_no_worse_than_the_encoder_and_than_the_highest_peak(name):
    run = checkpoint.open_run(SHIPPED.with_name(name))
    model = run.load_model().requires_grad_(False)
    dataset = catalogue.load(run.train_config.held_out_dataset, "test")
    lattice = Lattice(model) if model.config.latent_dim <= 2 else None
    for index in (0, 11, 33):
        x = to_unit(dataset.images[index])
        mu, logvar = (values[0] for values in model.encode(x[None]))
        best = best_of_image(model, x, mu, logvar, lattice)
        assert best.neg_elbo <= best.neg_elbo_before
        if lattice:
            peak = exact_posterior(model, x[None], mu[None], logvar[None], lattice=lattice).mode[0]
            narrow = torch.full_like(mu, -4)
            nodes = gaussian.gauss_hermite(10, len(mu))
            from_peak = best_gaussian(model, x, peak.to(mu), narrow, *nodes)
            assert best.neg_elbo < from_peak.neg_elbo + 0.5
        if (name, index) == ("digits-2d", 11):  # of which the encoder takes the wrong peak
            assert best.neg_elbo < best.neg_elbo_before - 15


def test_without_a_lattice_all_are_estimates(digits):
    model, x, lattice = digits
    exact, estimated = infer(model, x[0], 0, lattice=lattice), infer(model, x[0], 0)
    assert estimated.exact is None
    assert estimated.log_px == pytest.approx(exact.log_px, abs=5 * estimated.log_px_error)
    assert estimated.gap == pytest.approx(exact.gap, abs=0.2)
    split = split_gap(model, x[0], 0, estimated, None)
    assert split.amortisation + split.approximation == pytest.approx(
        max(estimated.gap, split.amortisation + split.approximation), abs=0.1
    )


def test_the_same_point_has_the_same_numbers(digits):
    model, x, lattice = digits
    first, again = (infer(model, x[1], 1, lattice=lattice) for _ in range(2))
    assert first.elbo == again.elbo
    assert torch.equal(first.log_w, again.log_w)
    assert infer(model, x[1], 2, lattice=lattice).elbo != first.elbo  # another point's draws


def test_progress_is_told_in_order(digits):
    model, x, lattice = digits
    shares = []
    infer(model, x[0], 0, lattice=lattice, progress=lambda share, what: shares.append(share))
    assert shares == sorted(shares)
    assert len(shares) == 3


# The bound against K


def test_the_bound_of_one_sample_is_the_mean_and_of_all_the_logarithm_of_the_mean():
    log_w = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    bounds, errors = bound_against_samples(log_w, [1, 1000])
    assert bounds[0] == pytest.approx(float(log_w.double().mean()))
    assert bounds[1] == pytest.approx(float(log_w.double().exp().mean().log()))
    assert errors[0] == pytest.approx(float(log_w.std()) / 1000**0.5, rel=1e-5)


def test_the_bound_grows_with_k_and_its_errors_are_honest():
    # Weights that are log-normal: E[bound_1] = 0 and log E[w] = 1/2.
    stream = torch.Generator().manual_seed(2)
    sizes = [1, 10, 100, 1000]
    runs = [bound_against_samples(torch.randn(2000, generator=stream), sizes) for _ in range(200)]
    bounds = torch.stack([bound for bound, _ in runs])
    errors = torch.stack([error for _, error in runs])
    mean = bounds.mean(0)
    assert (mean.diff() > 0).all()
    assert mean[0] == pytest.approx(0, abs=0.01)
    assert mean[-1] == pytest.approx(0.5, abs=0.01)
    ratio = bounds.std(0) / errors.mean(0)
    assert ((ratio > 0.8) & (ratio < 1.25)).all()


@pytest.mark.parametrize("K", [0, -1, 11, 10**9])
def test_a_k_out_of_range_is_refused(K):
    with pytest.raises(ValueError, match=rf"K \(={K}\) must be from 1 to the 10 samples"):
        bound_against_samples(torch.zeros(10), [K])


# The derivation


def test_every_number_of_the_derivation_is_the_librarys(digits):
    model, x, lattice = digits
    found = infer(model, x[0], 0, lattice=lattice)
    split = split_gap(model, x[0], 0, found, lattice)
    eps = gaussian.noise_of_points([0], 1000, 2, 0)[:, 0]
    gradients = gradient_estimates(model, x[0], found.mu, found.logvar, eps)
    with torch.no_grad():
        at_mu = float(log_likelihood(model, x[:1], found.mu[None]))
    prior_at_mu = float(gaussian.standard_normal_log_prob(found.mu))
    steps = loss_steps.steps(found, at_mu, prior_at_mu, eps[0], gradients, split)
    text = {step.title: " ".join(step.numbers) for step in steps}
    expected = {
        "Bayes": [found.log_px, at_mu, prior_at_mu],
        "Two expectations": [found.log_px, found.kl, found.gap, found.residual],
        "The bound": [found.elbo, found.gap, split.amortisation, split.approximation],
        "A closed form": [*found.kl_per_dim.tolist(), found.kl],
        "Reparameterisation": [float(found.mu[0] + eps[0, 0] * torch.exp(found.logvar[0] / 2))],
        "Gradients": [float(gradients.pathwise.mu[:, 0].mean())],
        "A tighter bound": [float(found.weighted(N_WEIGHTS)[0]), found.ess],
    }
    assert set(expected) == set(text)
    for title, values in expected.items():
        for value in values:
            assert f"{value:.3f}" in text[title], (title, value)
    without = loss_steps.steps(found, at_mu, prior_at_mu, eps[0], gradients)
    assert "amortisation" not in " ".join(without[2].numbers)


def test_where_the_search_finds_nothing_better_the_encoder_is_the_best(digits, monkeypatch):
    model, x, lattice = digits
    found = infer(model, x[0], 0, lattice=lattice)

    def worse(model, x, mu, logvar, *rest):
        far = found.mu + 1
        return gap.BestGaussian(far, found.logvar, 0.0, 0.0)

    monkeypatch.setattr(gap, "best_gaussian", worse)
    split = split_gap(model, x[0], 0, found, lattice)
    assert split.amortisation == 0
    assert torch.equal(split.best.mu, found.mu)
