"""Walks through latent space: along each dimension, between points, along a difference of groups.

Where a walk goes is decided here, and what it decodes to; how it is drawn is `vae.figures.sheets`'.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae import wording
from vae.analysis.embedding import Embedding
from vae.core.elbo import decodes_at_once
from vae.core.model import VAE
from vae.errors import UserError

PRIOR, POINT, POSTERIOR, DATA = KINDS = ("prior", "point", "posterior", "data")
STRAIGHT, SPHERICAL = WAYS = ("straight", "spherical")
QUANTILES = (0.01, 0.99)  # of the prior, from the first column to the last
REACH = 3.0  # around a point: the prior's sigmas, each way
SIGMAS = 2.0  # of a posterior, each way
PERCENTILES = (1, 99)  # of the data's means: a few extremes are not their range
LEAST_COLUMNS = 3  # with fewer nothing is seen to change
_MOST_NUMBERS = 2**25  # of decoded pixels that are held at once, 128 MiB
_NO_ANGLE = 1e-6  # radians
_Points = Sequence[int] | np.ndarray


class Traversal(NamedTuple):
    """One walk per latent dimension, the other dimensions held.

    Attributes:
        values: what dimension d takes along its row, ascending, float64, shape (D, n).
        base: where the others are held, float64, shape (D,).
    """

    values: Tensor
    base: Tensor

    @property
    def start(self) -> Tensor:
        """The column of each row that is nearest to the base, shape (D,)."""
        return (self.values - self.base[:, None]).abs().argmin(1)

    def latents(self, dimensions: Sequence[int]) -> Tensor:
        """The latent points of the rows of those dimensions, shape (R, n, D).

        Raises:
            UserError: a dimension that there is not.
        """
        D, n = self.values.shape
        if wrong := [d for d in dimensions if not 0 <= d < D]:
            raise UserError(f"dimension {wrong[0]} must be from 0 to {D - 1}")
        z = self.base.repeat(len(dimensions), n, 1)  # (R, n, D)
        for row, d in enumerate(dimensions):
            z[row, :, d] = self.values[d]
        return z


def traverse(embedding: Embedding, kind: str, n: int, index: int = 0) -> Traversal:
    """The values that each latent dimension takes in its row.

    "prior": quantiles of N(0, 1) at evenly spaced probabilities from 0.01 to 0.99, the others at 0,
    the prior's mean (Kingma & Welling, 2014, appendix A, through the inverse CDF as there).
    "point": mu - 3 to mu + 3 of a point's own mu, the others at it: sigmas of the prior.
    "posterior": mu - 2 sigma to mu + 2 sigma of the point's q(z|x), the others at its mu.
    "data": from the 1st to the 99th percentile of the means of all points, evenly; the others at
    the point's mu.

    Args:
        embedding: of the points.
        kind: one of KINDS.
        n: columns, at least 3; with an odd number the middle one of all but "data" is the base.
        index: of the point; unused for "prior".

    Raises:
        UserError: another kind, too few columns, no such point, or values that are not finite.
    """
    if kind not in KINDS:
        raise UserError(f"kind (={kind!r}) must be one of {', '.join(KINDS)}")
    if n < LEAST_COLUMNS:
        raise UserError(f"n (={n}) must be at least {LEAST_COLUMNS} columns")
    D = embedding.latent_dim
    if kind == PRIOR:
        shares = torch.linspace(*QUANTILES, n, dtype=torch.float64)
        return Traversal(
            _centred(torch.special.ndtri(shares)).repeat(D, 1), torch.zeros(D).double()
        )
    if not 0 <= index < len(embedding):
        raise UserError(f"point {index} must be from 0 to {len(embedding) - 1}")
    mu = torch.from_numpy(embedding.mu[index]).double()
    if kind == DATA:
        finite = np.isfinite(embedding.mu).all(1)
        if not finite.all():
            raise UserError(
                f"the data's range needs finite means, and {(~finite).sum():,} of "
                f"{len(embedding):,} points have others; choose the prior's values"
            )
        low, high = torch.from_numpy(np.percentile(embedding.mu, PERCENTILES, axis=0)).double()
        share = torch.linspace(0, 1, n, dtype=torch.float64)
        values = low[:, None] + share * (high - low)[:, None]
    else:
        width = torch.ones(D).double()
        reach = REACH
        if kind == POSTERIOR:
            width, reach = torch.from_numpy(embedding.sigma[index]).double(), SIGMAS
        steps = _centred(torch.linspace(-reach, reach, n, dtype=torch.float64))
        values = mu[:, None] + steps * width[:, None]
    if not (values.isfinite().all() and mu.isfinite().all()):
        raise UserError(
            f"q(z|x) of point {index} is not finite; choose another point, or the prior's values"
        )
    return Traversal(values, mu)


def _centred(values: Tensor) -> Tensor:
    """The same with the middle at zero, which rounding moves."""
    return (values - values.flip(0)) / 2


def by_kl(embedding: Embedding) -> tuple[np.ndarray, np.ndarray]:
    """The dimensions with the largest mean KL first, int64 (D,), and that KL in nats, (D,) by
    dimension.

    What is not finite comes first: it is what is wrong.
    """
    kl = embedding.kl_per_dim.mean(0, dtype=np.float64)
    return np.argsort(-np.nan_to_num(kl, nan=np.inf), kind="stable"), kl


@torch.no_grad()
def decode(model: VAE, z: Tensor) -> Tensor:
    """E[x|z] of latent points (..., D) as pixels in [0, 1], float32 on the CPU, (..., C, H, W).

    It is decoded in pieces of bounded memory.

    Raises:
        UserError: latent points of another dimension, more pictures than are held at once, or
            pixels that are not finite.
    """
    C, H, W = model.config.image_shape
    *batch, D = z.shape
    n = math.prod(batch)
    if n * C * H * W > _MOST_NUMBERS:
        raise UserError(
            f"{n:,} pictures of {C} x {H} x {W} are too many to be decoded at once; ask for at "
            f"most {_MOST_NUMBERS // (C * H * W):,}: fewer dimensions or columns"
        )
    weights = next(model.decoder.parameters(), torch.empty(0))
    parts = z.reshape(-1, D).to(weights.device, weights.dtype).split(decodes_at_once(model))
    images = torch.cat([model.decode_mean(part).float().cpu() for part in parts])
    if not images.isfinite().all():
        numbers = wording.of(model.config.kind).numbers
        raise UserError(
            f"the decoder gives {numbers} that are not finite; its weights may be broken"
        )
    return images.reshape(*batch, C, H, W)


def change(images: Tensor) -> Tensor:
    """How far the pixels move along each row: the mean |difference| of neighbouring pictures over
    their pixels, summed over the steps. 1 is from all black to all white, once.

    Args:
        images: rows of pictures in [0, 1], shape (R, n, C, H, W).

    Returns:
        Shape (R,).
    """
    return images.diff(dim=1).abs().mean((2, 3, 4)).sum(1)


def has_great_circle(a: Tensor, b: Tensor) -> bool:
    """Whether the two latent points, (D,) each, have different directions, and so one great circle.

    They have none where one is the origin, and where they are parallel or opposite.
    """
    lengths = a.norm() * b.norm()
    if not lengths > 1e-12:
        return False
    angle = _angle(a, b)
    return bool(_NO_ANGLE < angle < math.pi - _NO_ANGLE)


def interpolate(a: Tensor, b: Tensor, n: int, way: str) -> Tensor:
    """n latent points from a to b, both included, at even steps.

    "straight" is a + t (b - a). "spherical" turns the direction at a steady angle along the great
    circle (White, 2016: Sampling Generative Networks; Shoemake, 1985) while the length goes
    steadily from that of a to that of b, so equal lengths are kept; where there is no great circle
    (see `has_great_circle`) it is the straight way.

    Args:
        a, b: shape (D,).
        n: at least 2.
        way: one of WAYS.

    Returns:
        Shape (n, D), float64.

    Raises:
        UserError: another way, fewer than 2, shapes that differ, or ends that are not finite.
    """
    if way not in WAYS:
        raise UserError(f"way (={way!r}) must be one of {', '.join(WAYS)}")
    if n < 2:
        raise UserError(f"n (={n}) must be at least 2: the two ends")
    if a.shape != b.shape or a.ndim != 1:
        raise UserError(f"a {tuple(a.shape)} and b {tuple(b.shape)} must both be of shape (D,)")
    a, b = a.double(), b.double()
    if not (a.isfinite().all() and b.isfinite().all()):
        raise UserError("an end of the way is not finite; choose another point")
    t = torch.linspace(0, 1, n, dtype=torch.float64)[:, None]
    if way == STRAIGHT or not has_great_circle(a, b):
        return torch.lerp(a.expand(n, -1), b.expand(n, -1), t)
    angle = _angle(a, b)
    directions = ((1 - t) * angle).sin() * a / a.norm() + (t * angle).sin() * b / b.norm()
    lengths = torch.lerp(a.norm(), b.norm(), t)
    return lengths * directions / angle.sin()


def chain(stops: Tensor, n: int, way: str) -> Tensor:
    """The way through several stops, n steps from each to the next; `interpolate` says how.

    Args:
        stops: shape (S, D), at least two.
        n: steps per leg, at least 1.
        way: one of WAYS.

    Returns:
        Shape ((S - 1) n + 1, D), float64; stop s is row s n.

    Raises:
        UserError: fewer than two stops, or as `interpolate`.
    """
    if len(stops) < 2:
        raise UserError(f"a way needs two points at least, not {len(stops)}")
    if n < 1:
        raise UserError(f"n (={n}) must be at least 1 step")
    legs = [interpolate(a, b, n + 1, way)[:-1] for a, b in pairwise(stops)]
    return torch.cat([*legs, stops[-1:].double()])


def nearest_of_another_class(embedding: Embedding, index: int, taken: Sequence[int] = ()) -> int:
    """The point with another label whose mu is nearest to that of `index`; the nearest of all where
    there is no other label.

    Args:
        embedding: of the points, at least two.
        index: the point from which it is looked for.
        taken: points that it shall not be.

    Raises:
        UserError: no point is left.
    """
    return _nearest(embedding, embedding.mu[index], index, taken)


def on_the_other_side(embedding: Embedding, index: int) -> int:
    """The point with another label that is nearest to -mu of `index`: the straight way to it passes
    near the origin, the spherical one around it. The nearest of all where there is no other label.

    Raises:
        UserError: there is no other point.
    """
    return _nearest(embedding, -embedding.mu[index], index, ())


def _nearest(embedding: Embedding, place: np.ndarray, index: int, taken: Sequence[int]) -> int:
    away = np.linalg.norm(embedding.mu.astype(np.float64) - place, axis=1)
    away[[index, *taken]] = np.inf
    away[~np.isfinite(away)] = np.inf
    others = np.where(embedding.labels == embedding.labels[index], np.inf, away)
    found = others if np.isfinite(others).any() else away
    if not np.isfinite(found).any():
        raise UserError("there is no further point to go to")
    return int(found.argmin())


class Arithmetic(NamedTuple):
    """mean(C) + strength * (mean(A) - mean(B)) of latent points.

    Attributes:
        means: of A, B and C, float64, shape (3, D).
        difference: mean(A) - mean(B), shape (D,).
        sizes: how many points A, B and C have.
        length: of the difference.
        separation: d' of A against B along it: how many of their common standard deviations their
            means are apart, that being sqrt((Var A + Var B) / 2) (Green & Swets, 1966). NaN where
            both are single points, which have no spread.
    """

    means: Tensor
    difference: Tensor
    sizes: tuple[int, int, int]
    length: float
    separation: float

    def path(self, strengths: Tensor) -> Tensor:
        """The latent points at the strengths (n,), shape (n, D); 0 is mean(C)."""
        return self.means[2] + strengths.double()[:, None] * self.difference


def arithmetic(mu: np.ndarray, group_a: _Points, group_b: _Points, group_c: _Points) -> Arithmetic:
    """What sets group A apart from group B, to be added to group C.

    Larsen et al. (2016): Autoencoding beyond pixels using a learned similarity metric; White (2016)
    calls it an attribute vector.

    Args:
        mu: means of all points, shape (N, D).
        group_a, group_b, group_c: indices of points, each at least one; C may be a single one.

    Raises:
        UserError: an empty group, an index out of range, or means that are not finite.
    """
    N = len(mu)
    groups, sizes = [], []
    for name, indices in zip("ABC", (group_a, group_b, group_c), strict=True):
        rows = np.asarray(indices, dtype=np.int64)
        if not rows.size:
            raise UserError(f"group {name} is empty; choose points for it")
        wrong = rows[(rows < 0) | (rows >= N)]
        if wrong.size:
            raise UserError(f"group {name} has point {wrong[0]}, which must be from 0 to {N - 1}")
        members = torch.from_numpy(mu[rows]).double()
        if not members.isfinite().all():
            raise UserError(f"group {name} has a point whose mean is not finite; leave it out")
        groups.append(members)
        sizes.append(len(rows))
    means = torch.stack([members.mean(0) for members in groups])
    difference = means[0] - means[1]
    length = float(difference.norm())
    return Arithmetic(means, difference, tuple(sizes), length, _separation(groups, difference))


def _separation(groups: list[Tensor], difference: Tensor) -> float:
    if max(len(members) for members in groups[:2]) < 2:
        return math.nan
    length = difference.norm()
    if length == 0:
        return 0.0
    # A single point adds no spread of its own: the other group's is taken for both.
    along = [members @ (difference / length) for members in groups[:2] if len(members) > 1]
    spread = torch.stack([values.var() for values in along]).mean().sqrt()
    return float(length / spread)  # inf where neither spreads along it


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Between two directions, in radians; accurate for small and large angles (Kahan, 2006)."""
    u, v = a / a.norm(), b / b.norm()
    return 2 * torch.atan2((u - v).norm(), (u + v).norm())
