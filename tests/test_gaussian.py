import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from vae import gaussian


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_gaussians(n: int, k: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """n means and covariances whose scales span six orders of magnitude, in float64."""
    generator = rng(seed)
    mu = torch.randn(n, k, generator=generator, dtype=torch.float64)
    A = torch.randn(n, k, k, generator=generator, dtype=torch.float64)
    cov = A @ A.mT / k + 0.05 * torch.eye(k, dtype=torch.float64)
    exponent = torch.rand(n, 1, generator=generator, dtype=torch.float64) * 6 - 3
    return mu * 10 ** (exponent / 2), cov * 10 ** exponent[..., None]


# Equation (5): 16 dimensions x 64 pairs are 1,024 random pairs.


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


# Equation (6)


def posteriors(B: int, D: int, seed: int, dtype=torch.float64):
    generator = rng(seed)
    mu = 2 * torch.randn(B, D, generator=generator, dtype=dtype)
    logvar = 3 * torch.randn(B, D, generator=generator, dtype=dtype)
    return mu, logvar


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


# Equation (7), densities


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


# Noise


def test_draw_depends_on_its_generator_alone():
    torch.manual_seed(0)
    first = gaussian.draw((3, 4, 2), rng(5))
    torch.manual_seed(1)
    assert first.shape == (3, 4, 2)
    assert torch.equal(first, gaussian.draw((3, 4, 2), rng(5)))
    assert not torch.equal(first, gaussian.draw((3, 4, 2), rng(6)))


def test_a_points_noise_does_not_depend_on_its_companions_or_their_order():
    together = gaussian.noise_of_points(range(50), 4, 3, seed=9)
    assert together.shape == (4, 50, 3)
    assert together.dtype == torch.float32
    shuffled = [17, 3, 49, 0, 28]
    torch.testing.assert_close(
        gaussian.noise_of_points(shuffled, 4, 3, seed=9), together[:, shuffled], rtol=0, atol=0
    )
    for index in (0, 28, 49):
        alone = gaussian.noise_of_points([index], 4, 3, seed=9)
        assert torch.equal(alone[:, 0], together[:, index])


def test_a_points_first_draws_do_not_depend_on_how_many_follow():
    many = gaussian.noise_of_points(range(5), 64, 2, seed=0)
    for n_samples in (1, 7, 63):
        assert torch.equal(
            gaussian.noise_of_points(range(5), n_samples, 2, seed=0), many[:n_samples]
        )


def test_the_noise_of_points_is_the_same_on_every_machine():
    # Written down once: stored embeddings are compared with ones that are computed anew.
    noise = gaussian.noise_of_points([7, 0], 2, 2, seed=9)
    expected = [
        [[2.097939, 1.695651], [0.375342, -0.334904]],
        [[1.339948, -1.455661], [-0.633018, 0.848839]],
    ]
    np.testing.assert_allclose(noise.numpy(), expected, rtol=1e-5)


def test_noise_does_not_depend_on_any_global_generator():
    torch.manual_seed(0)
    np.random.seed(0)
    first = gaussian.noise_of_points(range(5), 2, 2, seed=0)
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(first, gaussian.noise_of_points(range(5), 2, 2, seed=0))


def test_noise_differs_between_seeds_points_samples_and_dimensions():
    noise = [gaussian.noise_of_points(range(40), 5, 3, seed) for seed in (0, 1, 2, 2**63 - 1)]
    values = torch.stack(noise).ravel()
    assert values.unique().numel() == values.numel()


def test_the_noise_of_points_is_standard_normal():
    N, S, D = 8000, 4, 3
    eps = gaussian.noise_of_points(range(N), S, D, seed=3).double()
    n = eps.numel()
    for power, (mean, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
        off = float((eps**power).mean()) - mean
        assert abs(off) < 4.5 * math.sqrt(variance / n)
    assert scipy.stats.kstest(eps.ravel().numpy(), "norm").pvalue > 1e-4


def test_the_noise_of_neighbours_samples_and_dimensions_is_uncorrelated():
    eps = gaussian.noise_of_points(range(8000), 4, 3, seed=3).double()
    other = gaussian.noise_of_points(range(8000), 4, 3, seed=4).double()
    pairs = {
        "points": (eps[:, :-1], eps[:, 1:]),
        "samples": (eps[:-1], eps[1:]),
        "dimensions": (eps[..., :-1], eps[..., 1:]),
        "seeds": (eps, other),
    }
    for name, (a, b) in pairs.items():
        assert abs(float((a * b).mean())) < 4.5 / math.sqrt(a.numel()), name


# Full covariances: densities, samples, moments


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
