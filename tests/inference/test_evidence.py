"""log p(x) of every point: against closed forms, and each point's whatever its companions are."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from inference.known_models import known_log_px, known_posterior, linear_model, shipped
from torch import distributions

from vae.analysis.embedding import embed
from vae.config import ModelConfig
from vae.core import elbo, gaussian
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset, to_unit
from vae.inference import evidence
from vae.inference.evidence import ANNEALED, EXACT, IMPORTANCE_WEIGHTED, Evidence


def make(latent_dim: int = 3) -> VAE:
    config = ModelConfig((1, 8, 8), latent_dim, "mlp", (6,))
    model = VAE(config, torch.Generator().manual_seed(0))
    for parameter in model.decoder.parameters():
        parameter.data.mul_(3)
    return model


def digits(n: int = 40) -> Dataset:
    return catalogue.load("digits", "test").first(n)


def reordered(dataset: Dataset, rows: list[int]) -> Dataset:
    return dataclasses.replace(dataset, images=dataset.images[rows], labels=dataset.labels[rows])


def linear_images(n: int) -> Dataset:
    drawn = torch.randint(0, 256, (n, 1, 3, 4), generator=torch.Generator().manual_seed(4))
    labels = torch.zeros(n, dtype=torch.int64)
    return Dataset("drawn", "all", drawn.to(torch.uint8), labels, ("a",))


def closed_form(model: VAE, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """log p(x) and KL(q, p(z|x)); Bishop (2006), equations (2.115) to (2.117)."""
    x = to_unit(data.images)
    mu, logvar = (values.double() for values in model.encode(x))
    precision = known_posterior(model, x[0])[1]
    mean = torch.stack([known_posterior(model, image)[0] for image in x])
    q = distributions.MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
    posterior = distributions.MultivariateNormal(mean, precision_matrix=precision)
    return known_log_px(model, x).numpy(), distributions.kl_divergence(q, posterior).numpy()


# Exact


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_of_a_linear_gaussian_model_the_closed_forms_are_found(latent_dim):
    model, data = linear_model(latent_dim), linear_images(40)
    found = evidence.exact(model, data)
    log_px, gap = closed_form(model, data)
    np.testing.assert_allclose(found.log_px, log_px, atol=1e-3)
    np.testing.assert_allclose(found.gap, gap, atol=2e-3)
    assert found.log_px.std() > 1  # the points differ, so their order is held as well
    assert (found.error < evidence.TOLERANCE).all()
    assert found.log_px.dtype == found.error.dtype == found.elbo.dtype == np.float64


def test_the_gap_is_log_px_less_the_elbo_and_no_bound_exceeds_what_it_bounds():
    model, data = shipped(), digits()
    found = evidence.exact(model, data)
    assert np.array_equal(found.gap, found.log_px - found.elbo)
    assert (found.gap > -1e-3).all()
    sampled = embed(model, data, n_samples=2000)
    z = (found.elbo + sampled.neg_elbo) / sampled.recon_stderr
    assert np.abs(z).max() < 5


def test_a_points_log_px_does_not_depend_on_the_others_nor_on_their_order():
    model, data = shipped(), digits(300)  # in more than one part
    whole = evidence.exact(model, data)
    rows = [299, 3, 150, 7]
    few = evidence.exact(model, reordered(data, rows))
    for name in ("log_px", "elbo"):
        np.testing.assert_allclose(getattr(few, name), getattr(whole, name)[rows], atol=2e-3)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_points_that_are_taken_together_lie_near_each_other(latent_dim):
    mu = torch.rand(4096, latent_dim, generator=torch.Generator().manual_seed(0))
    order = evidence._by_place(mu)
    assert sorted(order.tolist()) == list(range(4096))
    spread = torch.stack([mu[part].std(0).max() for part in order.split(256)]).mean()
    assert spread < 0.4 * mu.std(0).max()


@pytest.mark.parametrize("n", [1, 2])
def test_a_single_point_is_enough(n):
    assert len(evidence.exact(linear_model(2), linear_images(n))) == n


@pytest.mark.parametrize(("latent_dim", "offered"), [(1, True), (2, True), (3, False)])
def test_small_latent_spaces_alone_are_integrated_over(latent_dim, offered):
    assert evidence.offers_exact(make(latent_dim)) is offered


def test_a_larger_latent_space_is_refused():
    with pytest.raises(ValueError, match=r"latent_dim \(=3\) must be at most 2"):
        evidence.exact(make(3), digits(2))


# Importance-weighted


def test_it_is_the_importance_weighted_bound_of_each_point():
    model, data = make(), digits(20)
    found = evidence.importance_weighted(model, data, n_samples=64, seed=3)
    with torch.no_grad():
        eps = gaussian.noise_of_points(range(20), 64, 3, seed=3)
        expected = elbo.importance_weighted_bound(model, to_unit(data.images), eps)
    np.testing.assert_allclose(found.log_px, expected.bound.numpy(), rtol=1e-6)
    np.testing.assert_allclose(found.error, expected.stderr.numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.elbo, expected.elbo.numpy(), rtol=1e-6)
    assert found.log_px.shape == found.error.shape == found.elbo.shape == (20,)


def test_the_importance_weighted_lies_above_the_elbo():
    model, data = make(), digits(40)
    weighted = evidence.importance_weighted(model, data, n_samples=2000)
    found = embed(model, data, n_samples=256)
    error = np.hypot(weighted.error, found.recon_stderr)
    gap = weighted.log_px + found.neg_elbo  # equation (8): KL(q, p(z|x)), at least zero
    assert (gap > -5 * error).all()
    assert gap.mean() > 5 * error.mean()


def test_the_importance_weighted_does_not_depend_on_the_pieces():
    # Beyond 256 points it goes in pieces, and with many samples in smaller ones.
    model, data, seen = make(), digits(300), []
    values = evidence.importance_weighted(
        model, data, 2, progress=lambda *done: seen.append(done)
    ).log_px
    assert seen == [(256, 300), (300, 300)]
    first = evidence.importance_weighted(model, data.first(50), 2).log_px
    np.testing.assert_allclose(values[:50], first, rtol=1e-5, atol=1e-4)
    last = list(range(256, 300))
    with torch.no_grad():
        eps = gaussian.noise_of_points(last, 2, 3, seed=0)
        x = to_unit(data.images[last])
        alone, *_ = elbo.importance_weighted_bound(model, x, eps)
    np.testing.assert_allclose(values[256:], alone.numpy(), rtol=1e-5, atol=1e-4)


def test_the_seed_changes_the_noise():
    model, data = make(), digits(5)
    first, again, other = (
        evidence.importance_weighted(model, data, 8, seed).log_px for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_where_the_weights_are_even_it_agrees_with_the_integral():
    model, data, K = shipped(), digits(60), 5000
    exact, weighted = evidence.exact(model, data), evidence.importance_weighted(model, data, K)
    below, error = exact.log_px - weighted.log_px, np.hypot(weighted.error, exact.error)
    # From the delta method's variance, (K / ess - 1) / (K - 1).
    ess = K / (1 + np.square(weighted.error) * (K - 1))
    good = ess > K / 2
    assert good.sum() > 30
    assert np.abs(below[good]).max() < 0.05
    assert np.abs(exact.gap - weighted.gap)[good].max() < 0.1
    # What the samples did not meet is missing, and their error does not know; never too much.
    assert np.median(np.abs(below / error)) < 1
    assert (below > -4 * error).all()


# Annealed


def test_annealing_agrees_with_the_closed_form():
    model, data = linear_model(3), linear_images(6)
    found = evidence.annealed(model, data, n_temperatures=300, n_chains=16)
    log_px, _ = closed_form(model, data)
    assert (np.abs(found.log_px - log_px) < 5 * found.error + 0.05).all()
    assert np.isnan(found.gap).all()
    assert found.n_samples == 16


# Progress


def work(method: str, model: VAE, data: Dataset, progress) -> Evidence:
    if method == EXACT:
        return evidence.exact(model, data, progress=progress)
    if method == ANNEALED:
        return evidence.annealed(model, data, 5, n_chains=2, progress=progress)
    return evidence.importance_weighted(model, data, 4, progress=progress)


@pytest.mark.parametrize("method", evidence.METHODS)
def test_progress_rises_to_the_number_of_points(method):
    seen = []
    work(method, linear_model(2), linear_images(70), lambda *done: seen.append(done))
    done = [n for n, _ in seen]
    assert done == sorted(done)
    assert done[-1] == 70
    assert {total for _, total in seen} == {70}


@pytest.mark.parametrize("method", evidence.METHODS)
def test_what_progress_raises_ends_the_work(method):
    class Enough(Exception):
        pass

    def stop(done, total):
        raise Enough

    with pytest.raises(Enough):
        work(method, linear_model(2), linear_images(5), stop)
    assert torch.is_grad_enabled()


# What it says of itself


def of(method: str, error: list[float], log_px=(-10.0, -20.0, -30.0), gap=(1.0, 2.0, 6.0)):
    log_px = np.array(log_px)
    return Evidence("digits", "test", method, 7, 0, log_px, np.array(error), log_px - np.array(gap))


def test_means_are_those_of_the_points():
    found = of(IMPORTANCE_WEIGHTED, [3.0, 4.0, 12.0])
    assert found.means() == pytest.approx({"log_px": -20, "log_px_stderr": 13 / 3, "gap": 3})
    # A quadrature's errors may all have one sign, so they are not taken to cancel.
    assert of(EXACT, [3.0, 4.0, 12.0]).means() == pytest.approx(
        {"log_px": -20, "log_px_error": 19 / 3, "gap": 3}
    )


def test_means_hold_nothing_that_json_cannot():
    nan = [math.nan] * 3
    assert of(ANNEALED, nan, gap=nan).means() == {"log_px": -20, "log_px_stderr": None, "gap": None}
    assert of(EXACT, [0.0, math.inf, 0.0]).means()["log_px_error"] is None


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (EXACT, "exact, by quadrature"),
        (IMPORTANCE_WEIGHTED, "importance-weighted, K = 1,234"),
        (ANNEALED, "annealed importance sampling, 1234 chains"),
    ],
)
def test_it_says_how_it_was_found(method, words):
    assert dataclasses.replace(of(method, [0.0] * 3), n_samples=1234).how == words


def test_it_says_of_how_many_images_the_integral_was_ended_early(monkeypatch):
    model, data = linear_model(2), linear_images(30)
    model.likelihood.logvar_x.fill_(-8.0)  # narrow posteriors
    whole = evidence.exact(model, data)
    assert whole.n_ended == 0
    assert whole.doubt == ""
    assert "n_ended" not in whole.means()
    few = functools.partial(evidence.exact_posterior, budget=0)
    monkeypatch.setattr(evidence, "exact_posterior", few)
    ended = evidence.exact(model, data)
    assert ended.means()["n_ended"] == ended.n_ended == 30
    assert ended.doubt.startswith("Of 30 of 30 images the integral was ended early")
    assert ended.how == "exact, by quadrature, ended early for 30 of 30 images"
    assert (np.abs(ended.log_px - whole.log_px) <= ended.error + whole.error).all()


def test_it_says_whose_it_is():
    found = evidence.importance_weighted(make(), digits(4), 5, seed=6)
    told = (found.dataset, found.split, found.method, found.n_samples, found.seed)
    assert told == ("digits", "test", IMPORTANCE_WEIGHTED, 5, 6)
    assert len(found) == 4


def test_the_table_has_log_px_its_error_and_the_gap():
    found = of(EXACT, [0.0] * 3)
    table = found.table()
    assert list(table) == ["log_px", "log_px_error", "gap"]
    assert np.array_equal(table["gap"], [1, 2, 6])


# Errors


@pytest.mark.parametrize("method", evidence.METHODS)
def test_images_of_another_shape_are_refused(method):
    with pytest.raises(ValueError, match=r"1x32x32.*1x8x8|1, 32, 32.*1, 8, 8"):
        work(method, make(2), catalogue.load("sprites").first(3), None)


@pytest.mark.parametrize("method", evidence.METHODS)
def test_no_gradient_is_kept(method):
    model = make(2)
    work(method, model, digits(3), None)
    assert all(parameter.grad is None for parameter in model.parameters())
