"""Everything about normal distributions: divergences, samples, densities. All results in nats."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae.errors import UserError

LOG_2PI = math.log(2 * math.pi)


class KLParts(NamedTuple):
    """The four terms of equation (5), each of the batch's shape; KL is half their sum.

    Attributes:
        log_det_ratio: log(|S2| / |S1|).
        minus_k: -k, the dimension (equation 3).
        trace: tr(S1 S2^-1), the first part of equation (4).
        mahalanobis: (mu1 - mu2)' S2^-1 (mu1 - mu2), its second part.
    """

    log_det_ratio: Tensor
    minus_k: Tensor
    trace: Tensor
    mahalanobis: Tensor

    @property
    def kl(self) -> Tensor:
        """KL(N(mu1, S1), N(mu2, S2)) in nats."""
        return (self.log_det_ratio + self.minus_k + self.trace + self.mahalanobis) / 2


def kl_parts(mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor) -> KLParts:
    """The four terms whose half sum is KL(N(mu1, cov1), N(mu2, cov2)).

    Equation (5) of the derivation, by Cholesky factors S = L L': no matrix is inverted.

    Args:
        mu1, mu2: means, shape (..., k).
        cov1, cov2: covariances, shape (..., k, k); batch shapes broadcast.

    Raises:
        UserError: shapes that do not fit, or a covariance that is not symmetric and positive
            definite; the message names the argument and, in a batch, the matrix.
    """
    L1, L2 = _factors(mu1, cov1, mu2, cov2)
    *batch, k, _ = L1.shape

    log_diagonal_1 = L1.diagonal(dim1=-2, dim2=-1).log()
    log_diagonal_2 = L2.diagonal(dim1=-2, dim2=-1).log()
    log_det_ratio = 2 * (log_diagonal_2 - log_diagonal_1).sum(-1)
    # tr(S1 S2^-1) = || L2^-1 L1 ||_F^2, and the Mahalanobis term is || L2^-1 (mu1 - mu2) ||^2.
    trace = torch.linalg.solve_triangular(L2, L1, upper=False).square().sum((-2, -1))
    difference = (mu1 - mu2).expand(*batch, k).unsqueeze(-1)  # (..., k, 1)
    whitened = torch.linalg.solve_triangular(L2, difference, upper=False)
    mahalanobis = whitened.square().sum((-2, -1))
    return KLParts(log_det_ratio, torch.full_like(trace, -k), trace, mahalanobis)


def kl_between(mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor) -> Tensor:
    """KL(N(mu1, cov1), N(mu2, cov2)) in nats, of the batch's shape. Equation (5).

    Arguments and errors as in `kl_parts`.
    """
    return kl_parts(mu1, cov1, mu2, cov2).kl


class KLSample(NamedTuple):
    """What L samples of P = N(mu1, S1) say of the KL from it to Q = N(mu2, S2).

    Each a mean over the samples with its standard error, of the batch's shape.

    Attributes:
        kl, kl_stderr: of log P(x) - log Q(x), in nats: equation (1) by Monte Carlo.
        quadratic_1, quadratic_1_stderr: of (x - mu1)' S1^-1 (x - mu1), k by equation (3).
        quadratic_2, quadratic_2_stderr: of (x - mu2)' S2^-1 (x - mu2), for equation (4).
    """

    kl: Tensor
    kl_stderr: Tensor
    quadratic_1: Tensor
    quadratic_1_stderr: Tensor
    quadratic_2: Tensor
    quadratic_2_stderr: Tensor


def sample_kl(
    mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor, n_samples: int, generator: torch.Generator
) -> KLSample:
    """Equations (1), (3) and (4) by sampling x = mu1 + L1 eps from P = N(mu1, cov1).

    Args:
        mu1, mu2: means, shape (..., k).
        cov1, cov2: covariances, shape (..., k, k); batch shapes broadcast.
        n_samples: L, at least 2.
        generator: of eps, on the device of the means.

    Raises:
        UserError: as `kl_parts`, or fewer samples than a standard error needs.
    """
    if n_samples < 2:
        raise UserError(f"n_samples (={n_samples}) must be at least 2")
    L1, L2 = _factors(mu1, cov1, mu2, cov2)
    eps = draw((n_samples, *L1.shape[:-1]), generator).to(L1.dtype)  # (L, ..., k)
    x = mu1 + (L1 @ eps.unsqueeze(-1)).squeeze(-1)  # (L, ..., k)
    quadratic_1, quadratic_2 = _quadratic(x - mu1, L1), _quadratic(x - mu2, L2)  # (L, ...)
    log_ratio = (_log_det(L2) - _log_det(L1) - quadratic_1 + quadratic_2) / 2
    found = []
    for values in (log_ratio, quadratic_1, quadratic_2):
        found += [values.mean(0), values.std(0) / math.sqrt(n_samples)]
    return KLSample(*found)


def kl_integrand(x: Tensor, mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor) -> Tensor:
    """P(x) log(P(x) / Q(x)) for P = N(mu1, cov1) and Q = N(mu2, cov2): equation (1)'s integrand.

    Args:
        x: places, shape (..., k).
        mu1, mu2: means, shape (k,).
        cov1, cov2: covariances, shape (k, k).

    Returns:
        Shape (...), in nats per unit of volume.

    Raises:
        UserError: as `kl_parts`.
    """
    _factors(mu1, cov1, mu2, cov2)
    log_p = full_log_prob(x, mu1, cov1)
    return log_p.exp() * (log_p - full_log_prob(x, mu2, cov2))


def full_log_prob(x: Tensor, mu: Tensor, cov: Tensor) -> Tensor:
    """log N(x; mu, cov) with a full covariance, in nats.

    Args:
        x: shape (..., k).
        mu: shape (k,).
        cov: shape (k, k).

    Returns:
        Shape (...).

    Raises:
        UserError: as `cholesky`.
    """
    L = cholesky(cov)
    return -(mu.shape[-1] * LOG_2PI + _log_det(L) + _quadratic(x - mu, L)) / 2


def log_det(cov: Tensor) -> Tensor:
    """log |cov|, (..., k, k) -> (...). Raises UserError as `cholesky`."""
    return _log_det(cholesky(cov))


def mixture_moments(mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """The Gaussian with the moments of the equal mixture of N Gaussians.

    For the posteriors of many points the mixture is their aggregate posterior: its mean is that of
    mu, its covariance that of mu plus the mean of diag(exp(logvar)).

    Args:
        mu, logvar: shape (N, D), N at least 1.

    Returns:
        The mean (D,) and the covariance (D, D).

    Raises:
        UserError: the two shapes differ or hold no Gaussian; the message gives both.
    """
    if mu.shape != logvar.shape or mu.ndim != 2 or not len(mu):
        raise UserError(
            f"mu {tuple(mu.shape)} and logvar {tuple(logvar.shape)} must both be (N, D), N >= 1"
        )
    mean = mu.mean(0)
    away = mu - mean
    return mean, away.mT @ away / len(mu) + torch.diag(logvar.exp().mean(0))


def covariance_2d(s11: float, s12: float, s22: float, name: str = "cov") -> Tensor:
    """The covariance [[s11, s12], [s12, s22]], (2, 2), float64.

    Args:
        s11, s22: the variances.
        s12: the covariance.
        name: what to call the matrix in an error.

    Raises:
        UserError: it is not positive definite; the message says which entry would have to change,
            and to what.
    """
    for entry, value in (("s11", s11), ("s22", s22)):
        if not 0 < value < math.inf:
            raise UserError(f"{entry} of {name} (={value:g}) is a variance and must be above 0")
    cov = torch.tensor([[s11, s12], [s12, s22]], dtype=torch.float64)
    try:
        cholesky(cov, name)
    except ValueError:
        raise UserError(
            f"s12 of {name} (={s12:g}) must lie between -{math.sqrt(s11 * s22):.4g} and "
            f"{math.sqrt(s11 * s22):.4g}: its square below s11 s22 makes {name} positive definite"
        ) from None
    return cov


def _log_det(L: Tensor) -> Tensor:
    """log |L L'| of a Cholesky factor, (..., k, k) -> (...)."""
    return 2 * L.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _quadratic(away: Tensor, L: Tensor) -> Tensor:
    """away' (L L')^-1 away, (..., k) -> (...)."""
    # Many places share a factor: as columns of one right-hand side they take one solve.
    flat = away.reshape(-1, *L.shape[:-1]).movedim(0, -1)  # (..., k, places)
    whitened = torch.linalg.solve_triangular(L, flat, upper=False)
    return whitened.square().sum(-2).movedim(-1, 0).reshape(away.shape[:-1])


def cholesky(cov: Tensor, name: str = "cov") -> Tensor:
    """The lower Cholesky factor of a batch of covariances.

    Args:
        cov: shape (..., k, k).
        name: what to call it in an error.

    Raises:
        UserError: a matrix is not finite, not symmetric or not positive definite.
    """
    if not torch.isfinite(cov).all():
        raise UserError(f"{_first(name, ~torch.isfinite(cov))} has entries that are not finite")
    # torch reads the lower triangle alone, so an asymmetric matrix would pass unnoticed. Rounding
    # moves an entry by a share of the two standard deviations that it belongs to.
    sigma = cov.diagonal(dim1=-2, dim2=-1).abs().sqrt()
    tolerance = 1e3 * torch.finfo(cov.dtype).eps * sigma[..., :, None] * sigma[..., None, :]
    if (asymmetric := (cov - cov.mT).abs() > tolerance).any():
        raise UserError(f"{_first(name, asymmetric)} is not symmetric")
    factor, info = torch.linalg.cholesky_ex(cov)
    if info.any():
        minor = int(info[info > 0][0])
        raise UserError(
            f"{_first(name, info[..., None, None] > 0)} is not positive definite: "
            f"its leading {minor}x{minor} block is not"
        )
    return factor


def _factors(mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor) -> tuple[Tensor, Tensor]:
    """The Cholesky factors of a pair, (*batch, k, k); raises as `kl_parts` says."""
    k = mu1.shape[-1] if mu1.ndim else 0
    for name, mu, cov in (("1", mu1, cov1), ("2", mu2, cov2)):
        if mu.ndim < 1 or mu.shape[-1] != k or cov.shape[-2:] != (k, k) or k == 0:
            raise UserError(
                f"mu{name} {tuple(mu.shape)} and cov{name} {tuple(cov.shape)} must be "
                f"(..., k) and (..., k, k) with one k >= 1 for both distributions"
            )
    shapes = mu1.shape[:-1], cov1.shape[:-2], mu2.shape[:-1], cov2.shape[:-2]
    try:
        batch = torch.broadcast_shapes(*shapes)
    except RuntimeError:
        raise UserError(
            f"the batches of mu1 {tuple(mu1.shape)}, cov1 {tuple(cov1.shape)}, "
            f"mu2 {tuple(mu2.shape)} and cov2 {tuple(cov2.shape)} do not broadcast"
        ) from None
    L1 = cholesky(cov1, "cov1").expand(*batch, k, k)
    L2 = cholesky(cov2, "cov2").expand(*batch, k, k)
    return L1, L2


def _first(name: str, bad: Tensor) -> str:
    """What to call the first matrix that has a bad entry; `bad` is of shape (..., k, k)."""
    where = torch.nonzero(bad.any(-1).any(-1))[0].tolist()
    return f"{name}[{', '.join(map(str, where))}]" if where else name


def kl_to_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, diag(exp(logvar))), N(0, I)) for each latent dimension, in nats.

    Equation (6) of the derivation; Kingma & Welling (2014), appendix B.

    Args:
        mu: posterior means, shape (B, D).
        logvar: posterior log-variances, shape (B, D).

    Returns:
        Shape (B, D), never below zero beyond rounding. Sum over D for a point's KL.

    Raises:
        UserError: the two shapes differ; the message gives both.
    """
    if mu.shape != logvar.shape:
        raise UserError(f"mu {tuple(mu.shape)} and logvar {tuple(logvar.shape)} must agree")
    # expm1(logvar) - logvar keeps the digits that exp(logvar) - 1 - logvar loses near the prior.
    return (torch.expm1(logvar) - logvar + mu.square()) / 2


def reparameterise(mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """z = mu + eps * sigma, equation (7); Kingma & Welling (2014), section 2.4.

    Args:
        mu, logvar: shape (B, D).
        eps: standard normal noise, shape (B, D) or (S, B, D).

    Returns:
        z, of eps' shape.
    """
    return mu + eps * torch.exp(logvar / 2)


def log_prob(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mu, diag(exp(logvar))) summed over the last dimension, in nats.

    Args:
        z: shape (..., D).
        mu, logvar: broadcast against z.

    Returns:
        Shape (...).
    """
    return (-(LOG_2PI + logvar + (z - mu).square() * torch.exp(-logvar)) / 2).sum(-1)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I), the prior's density in nats; (..., D) -> (...)."""
    return -(LOG_2PI + z.square()).sum(-1) / 2


def draw(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal noise on the generator's device."""
    return torch.randn(shape, generator=generator, device=generator.device)


def gauss_hermite(n: int, latent_dim: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights with which expectations under N(0, I) become sums.

    Exact for polynomials up to degree 2n - 1 in each dimension (Golub & Welsch, 1969).

    Args:
        n: nodes per dimension.
        latent_dim: D; all n^D combinations are used, so it must be small.

    Returns:
        eps (n^D, D) and weights (n^D,) that sum to 1, float64.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    weights = torch.from_numpy(weights / weights.sum())
    eps = torch.cartesian_prod(*[torch.from_numpy(nodes)] * latent_dim).reshape(-1, latent_dim)
    products = torch.cartesian_prod(*[weights] * latent_dim).reshape(-1, latent_dim).prod(1)
    return eps, products


def noise_of_points(indices: Iterable[int], n_samples: int, latent_dim: int, seed: int) -> Tensor:
    """Standard normal noise that belongs to the points themselves.

    Each point has a random stream of its own, keyed by (seed, its index), so what a point is
    given depends neither on its batch nor on its order: Philox is a counter-based generator made
    for that (Salmon et al., 2011).

    Args:
        indices: the points' indices in their data set; B of them.
        n_samples: S, draws per point; the first draws are the same whatever S is.
        latent_dim: D.
        seed: 0 or more.

    Returns:
        Shape (S, B, D), float32.
    """
    indices = list(indices)
    eps = np.empty((n_samples, len(indices), latent_dim), dtype=np.float32)
    for position, index in enumerate(indices):
        stream = np.random.Generator(np.random.Philox(key=[seed, index]))
        eps[:, position] = stream.standard_normal((n_samples, latent_dim), dtype=np.float32)
    return torch.from_numpy(eps)
