""""""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from core.random_gaussians import posteriors, random_gaussians, rng
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vae.core import gaussian


@pytest.mark.parametrize("k", range(1, 17))
def test_kl_between_equals_torch_distributions(k):
    mu1, cov1 = random_gaussians(64, k, seed=k)
    mu2, cov2 = random_gaussians(64, k, seed=100 + k)
    expected = kl_divergence(MultivariateNormal(mu1, cov1), MultivariateNormal(mu2, cov2))
    torch.testing.assert_close(
        gaussian.kl_between(mu1, cov1, mu2, cov2), expected, rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("k", [1, 2, 5, 16])
def test_each_part_equals_its_dense_formula(k):
    mu1, cov1 = random_gaussians(64, k, seed=k)
    mu2, cov2 = random_gaussians(64, k, seed=100 + k)
    parts = gaussian.kl_parts(mu1, cov1, mu2, cov2)

    for i in range(64):
        m1, S1, m2, S2 = (t[i].numpy() for t in (mu1, cov1, mu2, cov2))
        inverse = np.linalg.inv(S2)
        expected = {
            "log_det_ratio": np.linalg.slogdet(S2)[1] - np.linalg.slogdet(S1)[1],
            "minus_k": -k,
            "trace": np.trace(S1 @ inverse),
            "mahalanobis": (m1 - m2) @ inverse @ (m1 - m2),
        }
        found = {name: float(value[i]) for name, value in parts._asdict().items()}
        assert found == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_kl_is_half_the_sum_of_its_four_named_parts():
    mu1, cov1 = random_gaussians(8, 3, seed=0)
    mu2, cov2 = random_gaussians(8, 3, seed=1)
    parts = gaussian.kl_parts(mu1, cov1, mu2, cov2)
    assert parts._fields == ("log_det_ratio", "minus_k", "trace", "mahalanobis")
    half_sum = torch.stack(tuple(parts)).sum(0) / 2
    torch.testing.assert_close(parts.kl, half_sum, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gaussian.kl_between(mu1, cov1, mu2, cov2), half_sum)


@pytest.mark.parametrize(
    ("mu1", "variance1", "mu2", "variance2"),
    [(0.0, 1.0, 0.0, 1.0), (1.5, 0.3, -0.5, 2.0), (0.0, 4.0, 1.0, 0.7), (-2.0, 0.01, -1.9, 0.02)],
)
def test_kl_between_equals_the_integral_in_one_dimension(mu1, variance1, mu2, variance2):
    p = scipy.stats.norm(mu1, math.sqrt(variance1))
    q = scipy.stats.norm(mu2, math.sqrt(variance2))
    reach = 12 * math.sqrt(variance1)
    expected, _ = scipy.integrate.quad(
        lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), mu1 - reach, mu1 + reach, limit=200
    )
    found = gaussian.kl_between(
        torch.tensor([mu1], dtype=torch.float64),
        torch.tensor([[variance1]], dtype=torch.float64),
        torch.tensor([mu2], dtype=torch.float64),
        torch.tensor([[variance2]], dtype=torch.float64),
    )
    assert float(found) == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_equations_1_3_and_4_hold_by_quadrature_in_two_dimensions():
    mu1, mu2 = np.array([0.3, -0.8]), np.array([-0.4, 0.5])
    S1 = np.array([[0.8, 0.3], [0.3, 0.5]])
    S2 = np.array([[1.5, -0.6], [-0.6, 0.9]])
    # The trapezoidal rule converges geometrically for a bell that ends inside the square.
    axis = np.linspace(-9, 9, 601)
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    log_p = scipy.stats.multivariate_normal(mu1, S1).logpdf(x)
    log_q = scipy.stats.multivariate_normal(mu2, S2).logpdf(x)

    def expectation(values):
        inner = scipy.integrate.trapezoid(np.exp(log_p) * values, axis, axis=0)
        return scipy.integrate.trapezoid(inner, axis)

    def quadratic(mu, S):
        return np.einsum("...i,ij,...j", x - mu, np.linalg.inv(S), x - mu)

    parts = gaussian.kl_parts(*(torch.from_numpy(a) for a in (mu1, S1, mu2, S2)))
    assert float(parts.kl) == pytest.approx(expectation(log_p - log_q), rel=1e-9)
    assert -float(parts.minus_k) == pytest.approx(expectation(quadratic(mu1, S1)), rel=1e-9)
    assert float(parts.trace + parts.mahalanobis) == pytest.approx(
        expectation(quadratic(mu2, S2)), rel=1e-9
    )


@pytest.mark.parametrize("k", [1, 3, 16])
def test_kl_is_zero_for_equal_arguments(k):
    mu, cov = random_gaussians(32, k, seed=k)
    kl = gaussian.kl_between(mu, cov, mu, cov)
    torch.testing.assert_close(kl, torch.zeros_like(kl), rtol=0, atol=1e-12)


def test_kl_is_positive_and_not_symmetric():
    mu1, cov1 = random_gaussians(32, 3, seed=0)
    mu2, cov2 = random_gaussians(32, 3, seed=1)
    there = gaussian.kl_between(mu1, cov1, mu2, cov2)
    back = gaussian.kl_between(mu2, cov2, mu1, cov1)
    assert (there > 0).all()
    assert (back > 0).all()
    assert ((there - back).abs() > 1e-3).all()


@pytest.mark.parametrize(
    ("batch_mu1", "batch_cov1", "batch_mu2", "batch_cov2", "batch"),
    [
        ((), (), (), (), ()),
        ((5,), (), (), (), (5,)),
        ((), (5,), (), (), (5,)),
        ((), (), (), (5,), (5,)),
        ((4, 1), (5,), (), (4, 5), (4, 5)),
        ((1,), (4, 1), (5,), (), (4, 5)),
    ],
)
def test_batch_shapes_broadcast(batch_mu1, batch_cov1, batch_mu2, batch_cov2, batch):
    def pick(tensor, shape):
        return tensor[: math.prod(shape)].reshape(*shape, *tensor.shape[1:])

    mus, covs = random_gaussians(20, 2, seed=0)
    other_mus, other_covs = random_gaussians(20, 2, seed=1)
    given = (
        pick(mus, batch_mu1),
        pick(covs, batch_cov1),
        pick(other_mus, batch_mu2),
        pick(other_covs, batch_cov2),
    )
    parts = gaussian.kl_parts(*given)
    assert {part.shape for part in parts} == {torch.Size(batch)}
    mu1, mu2 = (given[i].expand(*batch, 2) for i in (0, 2))
    cov1, cov2 = (given[i].expand(*batch, 2, 2) for i in (1, 3))
    expected = kl_divergence(MultivariateNormal(mu1, cov1), MultivariateNormal(mu2, cov2))
    torch.testing.assert_close(parts.kl, expected, rtol=1e-9, atol=1e-9)


def test_gradients_of_the_kl_equal_those_of_torch_distributions():
    given = [*random_gaussians(4, 3, seed=0), *random_gaussians(4, 3, seed=1)]
    ours = [t.clone().requires_grad_() for t in given]
    theirs = [t.clone().requires_grad_() for t in given]
    gaussian.kl_between(*ours).sum().backward()
    kl_divergence(MultivariateNormal(*theirs[:2]), MultivariateNormal(*theirs[2:])).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        # How a gradient is shared between the two halves of a symmetric matrix is a convention.
        a, b = (g if g.ndim == 2 else g + g.mT for g in (a.grad, b.grad))
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


NOT_POSITIVE_DEFINITE = [
    [[1.0, 2.0], [2.0, 1.0]],
    [[1.0, 1.0], [1.0, 1.0]],
    [[-1.0, 0.0], [0.0, 1.0]],
    [[0.0, 0.0], [0.0, 0.0]],
]


@pytest.mark.parametrize("bad", NOT_POSITIVE_DEFINITE)
@pytest.mark.parametrize("name", ["cov1", "cov2"])
def test_a_matrix_that_is_not_positive_definite_is_named(name, bad):
    mu, good = torch.zeros(2), torch.eye(2)
    covs = {"cov1": good, "cov2": good, name: torch.tensor(bad)}
    with pytest.raises(ValueError, match=f"^{name} is not positive definite"):
        gaussian.kl_between(mu, covs["cov1"], mu, covs["cov2"])


def test_the_bad_matrix_of_a_batch_is_named_by_its_index():
    covs = torch.eye(2).repeat(3, 4, 1, 1)
    covs[1, 2] = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    mu, good = torch.zeros(2), torch.eye(2)
    with pytest.raises(ValueError, match=r"^cov2\[1, 2\] is not positive definite.* 2x2 block"):
        gaussian.kl_between(mu, good, mu, covs)
    covs[1, 2, 0, 1] = 0.5
    with pytest.raises(ValueError, match=r"^cov1\[1, 2\] is not symmetric"):
        gaussian.kl_between(mu, covs, mu, good)
    covs[0, 3, 1, 1] = math.nan
    with pytest.raises(ValueError, match=r"^cov1\[0, 3\] has entries that are not finite"):
        gaussian.kl_between(mu, covs, mu, good)


@pytest.mark.parametrize("name", ["cov1", "cov2"])
def test_an_asymmetric_matrix_is_refused_whatever_the_scales_on_its_diagonal(name):
    mu, good = torch.zeros(2), torch.eye(2)
    for bad in ([[1.0, 0.5], [0.4, 1.0]], [[1e4, 0.5], [-0.5, 1.0]], [[1e-6, 1e-7], [0, 1e-6]]):
        covs = {"cov1": good, "cov2": good, name: torch.tensor(bad)}
        with pytest.raises(ValueError, match=f"^{name} is not symmetric"):
            gaussian.kl_between(mu, covs["cov1"], mu, covs["cov2"])


def test_a_matrix_that_is_symmetric_up_to_rounding_is_accepted():
    generator = rng(0)
    for dtype in (torch.float32, torch.float64):
        A = torch.randn(200, 8, 8, generator=generator, dtype=dtype)
        inverse = torch.linalg.inv(A @ A.mT + torch.eye(8, dtype=dtype))
        assert not torch.equal(inverse, inverse.mT)
        assert torch.isfinite(gaussian.cholesky(inverse)).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["cov1", "cov2"])
def test_a_matrix_that_is_not_finite_is_refused(name, value):
    mu, good = torch.zeros(2), torch.eye(2)
    covs = {"cov1": good, "cov2": good, name: torch.diag(torch.tensor([1.0, value]))}
    with pytest.raises(ValueError, match=f"^{name} has entries that are not finite"):
        gaussian.kl_between(mu, covs["cov1"], mu, covs["cov2"])


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        (((2,), (3, 3), (2,), (2, 2)), ["cov1", "(3, 3)"]),
        (((2,), (2, 2), (2,), (2, 3)), ["cov2", "(2, 3)"]),
        (((2,), (2, 2), (3,), (3, 3)), ["mu2", "(3,)"]),
        (((2,), (2,), (2,), (2, 2)), ["cov1", "(2,)"]),
        (((), (1, 1), (1,), (1, 1)), ["mu1", "()"]),
        (((1,), (1, 1), (), (1, 1)), ["mu2", "()"]),
        (((0,), (0, 0), (0,), (0, 0)), ["mu1", "(0,)"]),
        (((3, 2), (4, 2, 2), (2,), (2, 2)), ["mu1", "(3, 2)", "cov1", "(4, 2, 2)"]),
        (((2,), (4, 2, 2), (2,), (3, 2, 2)), ["cov1", "(4, 2, 2)", "cov2", "(3, 2, 2)"]),
        (((3, 2), (2, 2), (4, 2), (2, 2)), ["mu1", "(3, 2)", "mu2", "(4, 2)"]),
    ],
)
def test_shapes_that_do_not_fit_are_told(shapes, told):
    def covariance(shape):
        return torch.eye(shape[-1]).expand(shape) if shape[-2:] == shape[-1:] * 2 else zeros(shape)

    zeros = torch.zeros
    mu1, cov1, mu2, cov2 = shapes
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is checked below
        gaussian.kl_between(zeros(mu1), covariance(cov1), zeros(mu2), covariance(cov2))
    for part in told:
        assert part in str(raised.value)


def test_cholesky_equals_numpy():
    _, cov = random_gaussians(16, 5, seed=0)
    np.testing.assert_allclose(
        gaussian.cholesky(cov).numpy(), np.linalg.cholesky(cov.numpy()), rtol=1e-9, atol=1e-12
    )


def test_kl_to_standard_normal_equals_torch_distributions():
    mu, logvar = posteriors(200, 7, seed=0)
    q, prior = Normal(mu, (logvar / 2).exp()), Normal(torch.zeros_like(mu), torch.ones_like(mu))
    kl = gaussian.kl_to_standard_normal(mu, logvar)
    torch.testing.assert_close(kl, kl_divergence(q, prior), rtol=1e-9, atol=1e-12)


def test_equation_6_is_equation_5_against_the_standard_normal():
    mu, logvar = posteriors(200, 7, seed=1)
    zero, identity = torch.zeros(7, dtype=torch.float64), torch.eye(7, dtype=torch.float64)
    general = gaussian.kl_between(mu, torch.diag_embed(logvar.exp()), zero, identity)
    torch.testing.assert_close(
        gaussian.kl_to_standard_normal(mu, logvar).sum(-1), general, rtol=1e-10, atol=1e-10
    )


def test_kl_to_standard_normal_is_zero_at_the_prior_and_nowhere_else():
    zero = torch.zeros(3, 4)
    assert (gaussian.kl_to_standard_normal(zero, zero) == 0).all()
    for mu, logvar in ((0.01, 0.0), (-0.01, 0.0), (0.0, 0.01), (0.0, -0.01)):
        assert (gaussian.kl_to_standard_normal(zero + mu, zero + logvar) > 0).all()


def test_kl_to_standard_normal_keeps_its_digits_near_the_prior():
    # exp(v) - 1 - v would be wrong by 6e-8 here, ten times the value at v = 1e-4.
    logvar = torch.cat([torch.logspace(-6, -1, 50), -torch.logspace(-6, -1, 50)])[:, None]
    found = gaussian.kl_to_standard_normal(torch.zeros_like(logvar), logvar).double()
    v = logvar.double()
    expected = v**2 / 4 + v**3 / 12 + v**4 / 48 + v**5 / 240
    allowed = torch.finfo(torch.float32).eps * v.abs() + 1e-9 * v**2
    assert ((found - expected).abs() <= allowed).all()
    assert (found >= -allowed).all()


def test_kl_to_standard_normal_in_float32_equals_float64():
    mu, logvar = posteriors(500, 4, seed=2, dtype=torch.float32)
    found = gaussian.kl_to_standard_normal(mu, logvar).double()
    expected = gaussian.kl_to_standard_normal(mu.double(), logvar.double())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_kl_to_standard_normal_refuses_shapes_that_differ():
    with pytest.raises(ValueError, match=r"mu \(5, 2\) and logvar \(5, 3\) must agree"):
        gaussian.kl_to_standard_normal(torch.zeros(5, 2), torch.zeros(5, 3))


@pytest.mark.parametrize("shape", [(5, 3), (4, 5, 3)])
def test_reparameterise_scales_and_shifts_the_noise(shape):
    mu, logvar = posteriors(5, 3, seed=3)
    eps = torch.randn(shape, generator=rng(4), dtype=torch.float64)
    z = gaussian.reparameterise(mu, logvar, eps)
    assert z.shape == shape
    q = Normal(mu, logvar.exp().sqrt())
    # The cumulative probability of z under q is that of eps under the standard normal.
    assert q.cdf(z).numpy() == pytest.approx(scipy.stats.norm.cdf(eps.numpy()), abs=1e-9)


def test_reparameterised_samples_have_the_gradients_of_equation_7():
    mu, logvar = (t.requires_grad_() for t in posteriors(5, 3, seed=3))
    eps = torch.randn(5, 3, generator=rng(4), dtype=torch.float64)
    gaussian.reparameterise(mu, logvar, eps).sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones_like(mu))
    torch.testing.assert_close(logvar.grad, eps * (logvar / 2).exp().detach() / 2)


def test_log_prob_equals_torch_distributions():
    mu, logvar = posteriors(5, 3, seed=5)
    z = 3 * torch.randn(4, 5, 3, generator=rng(6), dtype=torch.float64)
    q = Independent(Normal(mu, (logvar / 2).exp()), 1)
    torch.testing.assert_close(gaussian.log_prob(z, mu, logvar), q.log_prob(z))


def test_standard_normal_log_prob_equals_torch_distributions():
    z = 3 * torch.randn(4, 5, 3, generator=rng(7), dtype=torch.float64)
    prior = MultivariateNormal(
        torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    )
    torch.testing.assert_close(gaussian.standard_normal_log_prob(z), prior.log_prob(z))
    zero = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(
        gaussian.standard_normal_log_prob(z), gaussian.log_prob(z, zero, zero)
    )
