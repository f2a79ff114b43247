"""Two normal distributions to be compared: Pair, and where pairs come from."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae.analysis.embedding import Embedding
from vae.core import gaussian
from vae.errors import UserError


class Pair(NamedTuple):
    """P = N(mu1, cov1) and Q = N(mu2, cov2), as the functions of `vae.core.gaussian` take them.

    Attributes:
        mu1, mu2: shape (k,), float64.
        cov1, cov2: shape (k, k), float64.
    """

    mu1: Tensor
    cov1: Tensor
    mu2: Tensor
    cov2: Tensor

    @property
    def k(self) -> int:
        """The number of dimensions."""
        return len(self.mu1)

    @property
    def swapped(self) -> "Pair":
        """Q first: what the KL in the other direction is of."""
        return Pair(self.mu2, self.cov2, self.mu1, self.cov1)

    @property
    def is_diagonal(self) -> bool:
        """Whether neither covariance has an entry off its diagonal."""
        return all(torch.equal(cov, cov.diagonal().diag()) for cov in (self.cov1, self.cov2))

    @property
    def is_special(self) -> bool:
        """Whether equation (6) holds for it: P diagonal, Q = N(0, I)."""
        eye = torch.eye(self.k, dtype=self.cov2.dtype)
        return self.is_diagonal and torch.equal(self.cov2, eye) and not self.mu2.any()

    @property
    def per_dimension(self) -> Tensor:
        """KL(P, Q) of each dimension alone, (k,), in nats: a diagonal pair's KL is their sum."""
        mu1, cov1, mu2, cov2 = self
        variance1, variance2 = (cov.diagonal()[:, None, None] for cov in (cov1, cov2))
        return gaussian.kl_between(mu1[:, None], variance1, mu2[:, None], variance2)

    @property
    def places(self) -> Tensor:
        """Where a line shows both of a pair with k = 1: ascending, (n, 1)."""
        steps = torch.linspace(-6, 6, 601, dtype=torch.float64)
        sigmas = (self.cov1[0, 0].sqrt(), self.cov2[0, 0].sqrt())
        ends = [mu + steps * sigma for mu, sigma in zip((self.mu1, self.mu2), sigmas, strict=True)]
        return torch.cat(ends).sort().values[:, None]

    def with_dimensions(self, k: int) -> "Pair":
        """The first k dimensions of both; dimensions that they lack are standard normal."""
        if k <= self.k:
            return Pair(self.mu1[:k], self.cov1[:k, :k], self.mu2[:k], self.cov2[:k, :k])
        zeros = torch.zeros(k - self.k, dtype=torch.float64)
        eye = torch.eye(k - self.k, dtype=torch.float64)
        return Pair(
            torch.cat([self.mu1, zeros]),
            torch.block_diag(self.cov1, eye),
            torch.cat([self.mu2, zeros]),
            torch.block_diag(self.cov2, eye),
        )


def pair(mu1: object, cov1: object, mu2: object, cov2: object) -> Pair:
    """A Pair of anything that numpy reads as numbers.

    Raises:
        UserError: not numbers, shapes that do not fit, values that are not finite, or a covariance
            that is not symmetric and positive definite.
    """
    try:
        arrays = [np.asarray(values, dtype=np.float64) for values in (mu1, cov1, mu2, cov2)]
    except TypeError as error:
        raise UserError(f"means and covariances must be numbers: {error}") from None
    made = Pair(*map(torch.from_numpy, arrays))
    if made.mu1.ndim != 1 or made.mu2.ndim != 1:
        raise UserError("a pair's means must be of shape (k,)")
    if not all(torch.isfinite(mu).all() for mu in (made.mu1, made.mu2)):
        raise UserError("a mean has entries that are not finite")
    gaussian.kl_parts(*made)
    return made


def tilted(k: int) -> Pair:
    """Two Gaussians that differ in everything: mean, axes and, from two dimensions on, tilt."""
    i = np.arange(k)
    mu1 = np.where(i % 2 == 0, -0.9, 0.3) / (1 + i // 2)
    mu2 = np.where(i % 2 == 0, 0.9, -0.4) / (1 + i // 2)
    near = np.abs(i[:, None] - i) == 1
    cov1 = np.diag(np.where(i % 2 == 0, 0.9, 0.45)) + 0.3 * near
    cov2 = np.diag(np.where(i % 2 == 0, 1.1, 1.6)) - 0.35 * near
    return pair(mu1, cov1, mu2, cov2)


def near_singular(k: int) -> Pair:
    """P has almost no width in one direction: 1/50 of a standard deviation."""
    along = np.ones(k) / np.sqrt(k) if k > 1 else np.zeros(1)
    cov1 = np.outer(along, along) * (1 - 0.0004) + 0.0004 * np.eye(k)
    return pair(np.zeros(k), cov1, np.zeros(k), np.eye(k))


def identical(k: int) -> Pair:
    """P and Q are one and the same."""
    mu, cov = tilted(k)[:2]
    return Pair(mu, cov, mu.clone(), cov.clone())


def telling_dimensions(embedding: Embedding, n: int) -> tuple[int, ...]:
    """The n latent dimensions with the greatest mean KL, ascending; all if there are fewer."""
    by_kl = np.argsort(-np.asarray(embedding.means()["kl_per_dim"]), kind="stable")
    return tuple(sorted(by_kl[:n].tolist()))


def posterior_and_prior(embedding: Embedding, index: int, dimensions: tuple[int, ...]) -> Pair:
    """P = q(z|x) of a point and Q = p(z) = N(0, I), both in the given dimensions alone.

    Raises:
        UserError: as `pair`: the encoder's answer has no finite variance above 0.
    """
    chosen = list(dimensions)
    variance = np.exp(embedding.logvar[index, chosen].astype(np.float64))
    k = len(chosen)
    return pair(embedding.mu[index, chosen], np.diag(variance), np.zeros(k), np.eye(k))


def two_classes(embedding: Embedding, first: int, second: int, dimensions: tuple[int, ...]) -> Pair:
    """The aggregate posteriors of two classes as Gaussians of the same moments.

    Args:
        embedding: the points.
        first, second: labels; P is the first.
        dimensions: the latent dimensions that are looked at, k of them.

    Raises:
        UserError: a class without a point, or as `pair`.
    """
    found = []
    for label in (first, second):
        rows = embedding.labels == label
        mu, logvar = (
            torch.from_numpy(values[rows][:, list(dimensions)]).double()
            for values in (embedding.mu, embedding.logvar)
        )
        found += gaussian.mixture_moments(mu, logvar)
    return pair(*found)
