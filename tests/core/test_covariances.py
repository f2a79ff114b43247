"""Gaussians of full covariance, and mixtures: densities, samples, moments."""

import math

import numpy as np
import pytest
import torch
from core.random_gaussians import posteriors, random_gaussians, rng
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from vae.core import gaussian


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_density_with_a_full_covariance_equals_torch_distributions(k):
    mu, cov = (values[0] for values in random_gaussians(1, k, seed=k))
    x = 3 * torch.randn(7, 4, k, generator=rng(8), dtype=torch.float64)
    expected = MultivariateNormal(mu, cov).log_prob(x)
    torch.testing.assert_close(gaussian.full_log_prob(x, mu, cov), expected)
    torch.testing.assert_close(gaussian.log_det(cov), torch.logdet(cov))


@pytest.mark.parametrize("k", [1, 2])
def test_the_kls_integrand_equals_torch_distributions_and_integrates_to_the_kl(k):
    pair = TILTED if k == 2 else tuple(v[:1] if v.ndim == 1 else v[:1, :1] for v in TILTED)
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    x = torch.cartesian_prod(*[axis] * k).reshape(-1, k)
    p, q = MultivariateNormal(*pair[:2]), MultivariateNormal(*pair[2:])
    found = gaussian.kl_integrand(x, *pair)
    expected = p.log_prob(x).exp() * (p.log_prob(x) - q.log_prob(x))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-9)
    total = float(found.sum()) * float(axis[1] - axis[0]) ** k
    assert total == pytest.approx(float(kl_divergence(p, q)), rel=1e-9)


TILTED = tuple(
    torch.tensor(values, dtype=torch.float64)
    for values in ([0.3, -0.8], [[0.8, 0.3], [0.3, 0.5]], [-0.4, 0.5], [[1.5, -0.6], [-0.6, 0.9]])
)


@pytest.mark.parametrize("k", [1, 2, 6])
def test_samples_agree_with_equations_1_3_and_4_within_their_errors(k):
    mu1, cov1 = (values[0] for values in random_gaussians(1, k, seed=k))
    mu2, cov2 = (values[0] for values in random_gaussians(1, k, seed=50 + k))
    parts = gaussian.kl_parts(mu1, cov1, mu2, cov2)
    exact = {
        "kl": parts.kl,
        "quadratic_1": torch.tensor(float(k)),
        "quadratic_2": parts.trace + parts.mahalanobis,
    }
    sample = gaussian.sample_kl(mu1, cov1, mu2, cov2, 40_000, rng(3))
    for name, value in exact.items():
        found, error = (float(getattr(sample, n)) for n in (name, f"{name}_stderr"))
        assert error > 0
        assert abs(found - float(value)) < 4.5 * error, name


def test_the_standard_errors_are_those_of_repeated_samples():
    repeated = [gaussian.sample_kl(*TILTED, 500, rng(seed)) for seed in range(400)]
    for name in ("kl", "quadratic_1", "quadratic_2"):
        means = torch.stack([getattr(sample, name) for sample in repeated])
        claimed = torch.stack([getattr(sample, f"{name}_stderr") for sample in repeated]).mean()
        assert float(means.std()) == pytest.approx(float(claimed), rel=0.15), name


def test_samples_of_a_batch_are_of_its_shape_and_of_its_own_pairs():
    mu1, cov1 = random_gaussians(3, 2, seed=0)
    mu2, cov2 = (values[0] for values in random_gaussians(1, 2, seed=1))
    sample = gaussian.sample_kl(mu1, cov1, mu2, cov2, 20_000, rng(0))
    assert {values.shape for values in sample} == {torch.Size([3])}
    exact = gaussian.kl_between(mu1, cov1, mu2, cov2)
    assert ((sample.kl - exact).abs() < 4.5 * sample.kl_stderr).all()


def test_samples_depend_on_their_generator_alone():
    first, again, other = (gaussian.sample_kl(*TILTED, 100, rng(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first.kl != other.kl


def test_one_sample_has_no_standard_error():
    with pytest.raises(ValueError, match=r"n_samples \(=1\) must be at least 2"):
        gaussian.sample_kl(*TILTED, 1, rng(0))


def test_the_moments_of_a_mixture_are_those_of_torch_distributions():
    mu, logvar = posteriors(40, 3, seed=9)
    mean, cov = gaussian.mixture_moments(mu, logvar)
    mixture = MixtureSameFamily(
        Categorical(torch.ones(40, dtype=torch.float64)),
        Independent(Normal(mu, (logvar / 2).exp()), 1),
    )
    torch.testing.assert_close(mean, mixture.mean)
    torch.testing.assert_close(cov.diagonal(), mixture.variance)
    spread = torch.from_numpy(np.cov(mu.numpy().T, bias=True))
    torch.testing.assert_close(cov - torch.diag(logvar.exp().mean(0)), spread)


def test_the_moments_of_one_gaussian_are_its_own():
    mu, logvar = posteriors(1, 3, seed=9)
    mean, cov = gaussian.mixture_moments(mu, logvar)
    torch.testing.assert_close(mean, mu[0])
    torch.testing.assert_close(cov, logvar[0].exp().diag())


@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((3,), (3,)), ((0, 3), (0, 3))])
def test_mixture_moments_refuse_what_is_no_mixture(shapes):
    with pytest.raises(ValueError, match=r"must both be \(N, D\)"):
        gaussian.mixture_moments(*(torch.zeros(shape) for shape in shapes))


def test_a_covariance_of_three_entries_is_symmetric():
    cov = gaussian.covariance_2d(2.0, -0.5, 1.0)
    assert cov.tolist() == [[2.0, -0.5], [-0.5, 1.0]]
    assert cov.dtype == torch.float64


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ((1, 2, 1), r"^s12 of P \(=2\) must lie between -1 and 1"),
        ((4, -3, 1), r"^s12 of P \(=-3\) must lie between -2 and 2"),
        ((1, 1, 1), r"^s12 of P \(=1\) must lie between -1 and 1"),
        ((-1, 0, 1), r"^s11 of P \(=-1\) is a variance and must be above 0"),
        ((1, 0, 0), r"^s22 of P \(=0\) is a variance and must be above 0"),
        ((math.nan, 0, 1), r"^s11 of P \(=nan\)"),
    ],
)
def test_three_entries_that_make_no_covariance_are_named(entries, message):
    with pytest.raises(ValueError, match=message):
        gaussian.covariance_2d(*entries, name="P")
