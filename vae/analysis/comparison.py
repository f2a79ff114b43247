"""Two checkpoints on the same points: what changed, by how much, and whether that is chance.

Every difference is the second less the first, in nats per image: above zero the second costs more.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vae.analysis.embedding import Embedding
from vae.errors import UserError
from vae.inference.evidence import Evidence
from vae.wording import IMAGES, Words

N_RESAMPLES = 10_000
LEVEL = 0.95
TERMS = ("recon", "kl", "neg_elbo")
ABSENT = "not set"  # of a setting that only the other knows
_DRAWS_AT_ONCE = 2**21  # of points, which bounds the memory: 24 MB


@dataclass(frozen=True)
class Difference:
    """The mean of a paired difference, second - first, and how sure it is.

    Attributes:
        n: points.
        mean: in nats per image.
        low, high: the ends of its interval at `level`; NaN for a single point.
        p_value: how often points like these, with no difference between the two, would show a
            mean as far from zero; at least 1 / (resamples + 1). NaN for a single point.
        level: of the interval, 0 to 1.
        n_resamples: behind the interval and the share.
    """

    n: int
    mean: float
    low: float
    high: float
    p_value: float
    level: float
    n_resamples: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0

    @property
    def interval_text(self) -> str:
        """The mean with its interval: "-1.20 (-1.50 to -0.90)"."""
        if not np.isfinite(self.low):
            return f"{self.mean:+.2f}"
        return f"{self.mean:+.2f} ({self.low:+.2f} to {self.high:+.2f})"

    @property
    def p_text(self) -> str:
        """How often chance alone would do as much: "p = 0.03"."""
        if not np.isfinite(self.p_value):
            return "a single image"
        if self.p_value <= 1 / (self.n_resamples + 1):
            return f"p < {1 / self.n_resamples:.4g}"
        return f"p = {self.p_value:.2g}"


@dataclass(frozen=True)
class Alignment:
    """A similarity of R^D: z -> scale * (z - centre) @ rotation + target.

    Attributes:
        rotation: orthogonal, shape (D, D); its determinant is -1 where it reflects.
        scale: above 0; 1 if lengths are kept.
        centre: the mean of what was moved, shape (D,).
        target: the mean of what it was moved onto, shape (D,).
        residual: root mean square distance between the two after the move.
    """

    rotation: np.ndarray
    scale: float
    centre: np.ndarray
    target: np.ndarray
    residual: float

    def of(self, points: np.ndarray) -> np.ndarray:
        """Where points (N, D) are moved to, (N, D)."""
        return self.scale * (points - self.centre) @ self.rotation + self.target

    @property
    def reflects(self) -> bool:
        """Whether left becomes right."""
        return bool(np.linalg.det(self.rotation) < 0)

    @property
    def degrees(self) -> float:
        """The angle of a turn in the plane, -180 to 180, after a reflection of the first axis if
        it reflects; D must be 2.
        """
        if self.rotation.shape != (2, 2):
            raise UserError(f"rotation of shape {self.rotation.shape} has no single angle")
        turn = np.diag([-1.0, 1.0]) @ self.rotation if self.reflects else self.rotation
        return float(np.degrees(np.arctan2(turn[0, 1], turn[0, 0])))

    @property
    def text(self) -> str:
        """What is done to a map: "mirrored, turned by 30°, scaled by 1.20"; D must be 2."""
        parts = ["mirrored"] if self.reflects else []
        parts.append(f"turned by {self.degrees:.0f}°")
        if self.scale != 1:
            parts.append(f"scaled by {self.scale:.2f}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Setting:
    """A setting in which two configurations differ; ABSENT where one does not have it."""

    name: str
    first: Any
    second: Any

    @property
    def texts(self) -> tuple[str, str]:
        """Both values as a table shows them."""
        return _value_text(self.first), _value_text(self.second)


def check_same_points(first: Embedding, second: Embedding, words: Words = IMAGES) -> None:
    """Raises UserError unless an index means the same point in both."""
    of_first, of_second = (f"{e.dataset}, split '{e.split}'" for e in (first, second))
    if of_first != of_second:
        raise UserError(f"the second map is of {of_second}, the first of {of_first}")
    if len(first) != len(second):
        raise UserError(f"the second map has {len(second):,} points, the first {len(first):,}")
    if not np.array_equal(first.labels, second.labels):
        n = int((first.labels != second.labels).sum())
        raise UserError(f"{n:,} labels differ: a point is not the same {words.kind} in both maps")


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Difference:
    """The mean of second - first with a percentile interval and a two-sided significance level.

    Points are drawn with replacement, the pair of values of each together (Efron & Tibshirani,
    1993, chapters 13 and 16): what both models find hard does not blur their difference. The
    significance level is that of the mean's distance from zero among resamples of the differences
    moved to mean zero. Below some thirty points the percentile interval is a little too short.

    What is resampled are the points. That another seed of training would have given another
    checkpoint is not in it.

    Args:
        first, second: a value per point, shape (N,), in nats.
        n_resamples: at least 1.
        seed: of the draws.
        level: of the interval, between 0 and 1.

    Raises:
        UserError: no points, other shapes, a value that is not finite, or a number out of range.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if first.ndim != 1 or first.shape != second.shape:
        raise UserError(
            f"first {first.shape} and second {second.shape} must hold one value per point each"
        )
    return _bootstrap((second - first)[None], n_resamples, seed, level)[0]


def term_differences(
    first: Embedding,
    second: Embedding,
    rows: Sequence[int] | np.ndarray | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[str, Difference]:
    """`paired_bootstrap` of recon, kl and neg_elbo over the same resamples.

    Args:
        first, second: the same points seen through two models.
        rows: the points to compare; all if None.
        n_resamples, seed: as in `paired_bootstrap`.

    Raises:
        UserError: as there, or the embeddings are not of the same points.
    """
    check_same_points(first, second)
    chosen = slice(None) if rows is None else np.asarray(rows, dtype=np.int64)
    columns = np.stack([_change(first, second, name)[chosen] for name in TERMS])  # (3, N)
    return dict(zip(TERMS, _bootstrap(columns, n_resamples, seed, LEVEL), strict=True))


def class_differences(
    first: Embedding, second: Embedding, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> dict[int, dict[str, Difference]]:
    """`term_differences` of each class by its label; classes without a point are left out.

    Each interval holds at its own level: of twenty at 95 %, one may leave out the truth.
    """
    check_same_points(first, second)
    return {
        int(label): term_differences(
            first, second, np.flatnonzero(first.labels == label), n_resamples, seed
        )
        for label in np.unique(first.labels)
    }


def evidence_differences(
    first: Evidence, second: Evidence, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> dict[str, Difference]:
    """`paired_bootstrap` of log_px and, where both know it, of gap.

    Of log_px more is better: above zero the second gives the images more probability.

    Raises:
        UserError: as `paired_bootstrap`.
    """
    found = {"log_px": paired_bootstrap(first.log_px, second.log_px, n_resamples, seed)}
    if np.isfinite(first.gap).all() and np.isfinite(second.gap).all():
        found["gap"] = paired_bootstrap(first.gap, second.gap, n_resamples, seed)
    return found


def largest_changes(differences: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The points whose value rose most and those whose value fell most, most first.

    Args:
        differences: second - first, shape (N,).
        n: how many of each at most; a point that did not rise is in neither's way.

    Returns:
        Two arrays of indices: of risen values (regressions), of fallen ones (improvements).
    """
    order = np.argsort(-differences, kind="stable")
    risen, fallen = order[differences[order] > 0], order[differences[order] < 0][::-1]
    return risen[:n], fallen[:n]


def kl_by_rank(embedding: Embedding) -> tuple[np.ndarray, np.ndarray]:
    """The latent dimensions by mean KL, most first, and those means, both (D,), in nats.

    Dimension 3 of one model has nothing to do with dimension 3 of another, so two models are laid
    side by side by rank.
    """
    means = embedding.kl_per_dim.mean(0, dtype=np.float64)
    order = np.argsort(-means, kind="stable")
    return order, means[order]


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each dimension of one with each of the other, over the points.

    Args:
        first: posterior means, shape (N, D1).
        second: of the same points, shape (N, D2).

    Returns:
        Shape (D1, D2), from -1 to 1; 0 where a dimension is constant.

    Raises:
        UserError: the numbers of points differ, or there are none.
    """
    if len(first) != len(second) or not len(first):
        raise UserError(
            f"{len(first):,} points and {len(second):,}: they must be the same, and some"
        )

    def standard(values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        values = values - values.mean(0)
        length = np.linalg.norm(values, axis=0)
        # A constant column has a length of rounding alone.
        known = length > 1e-9 * max(1.0, float(length.max(initial=0)))
        return values * np.divide(1, length, where=known, out=np.zeros_like(length))

    return np.clip(standard(first).T @ standard(second), -1, 1)


def procrustes(a: np.ndarray, b: np.ndarray, scale: bool = False) -> Alignment:
    """The move of b onto a that leaves the least sum of squared distances.

    The closed form of the orthogonal Procrustes problem (Schönemann, 1966): with both centred and
    b'a = U S V', the best orthogonal matrix is U V' and the best scale tr(S) / |b|^2. A prior
    N(0, I) is blind to rotations and reflections, so they are what two trainings may differ by.

    Args:
        a: where to, shape (N, D).
        b: what is moved, of the same shape, row by row the same points.
        scale: also stretch or shrink; without it lengths are kept.

    Raises:
        UserError: the shapes differ or are no (N, D), there is no point, or a value that is not
            finite.
    """
    a, b = (np.asarray(points, dtype=np.float64) for points in (a, b))
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise UserError(f"a {a.shape} and b {b.shape} must be points (N, D) of one shape, N >= 1")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UserError("a and b must be finite")
    target, centre = a.mean(0), b.mean(0)
    a, b = a - target, b - centre
    U, S, Vt = np.linalg.svd(b.T @ a)
    size = float(np.square(b).sum())
    # Where all of b is one place, or a is, no scale is better than another.
    factor = float(S.sum()) / size if scale and size > 0 and S.sum() > 0 else 1.0
    rotation = U @ Vt
    residual = np.sqrt(np.square(a - factor * b @ rotation).sum(1).mean())
    return Alignment(rotation, factor, centre, target, float(residual))


def settings(config: Any) -> dict[str, Any]:
    """The settings of a configuration by name: of a dataclass, a mapping or any plain object.

    One inside another gets its name before its own settings: "optimiser.beta".
    """
    if dataclasses.is_dataclass(config):
        found = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    elif isinstance(config, Mapping):
        found = {str(name): value for name, value in config.items()}
    else:
        found = getattr(config, "__dict__", {})
        found = {name: value for name, value in found.items() if not name.startswith("_")}
    flat: dict[str, Any] = {}
    for name, value in found.items():
        inside = dataclasses.is_dataclass(value) or isinstance(value, Mapping)
        if inside and not isinstance(value, type):
            flat |= {f"{name}.{inner}": v for inner, v in settings(value).items()}
        else:
            flat[name] = value
    return flat


def settings_diff(first: Any, second: Any) -> tuple[list[Setting], list[str]]:
    """Where two configurations differ, and the names of the settings in which they do not.

    Args:
        first, second: dataclasses, mappings or plain objects, see `settings`; not necessarily of
            one class.
    """
    of_first, of_second = settings(first), settings(second)
    names = [*of_first, *(name for name in of_second if name not in of_first)]
    pairs = [Setting(n, of_first.get(n, ABSENT), of_second.get(n, ABSENT)) for n in names]
    changed = [pair for pair in pairs if repr(pair.first) != repr(pair.second)]
    different = {pair.name for pair in changed}
    return changed, [name for name in names if name not in different]


def change(first: Embedding, second: Embedding, name: str = "neg_elbo") -> np.ndarray:
    """second - first of one of TERMS for every point, float64, shape (N,).

    Raises:
        UserError: the embeddings are not of the same points.
    """
    check_same_points(first, second)
    return _change(first, second, name)


def _change(first: Embedding, second: Embedding, name: str) -> np.ndarray:
    return getattr(second, name).astype(np.float64) - getattr(first, name)


def _bootstrap(columns: np.ndarray, n_resamples: int, seed: int, level: float) -> list[Difference]:
    """A Difference per row of (C, N), all over the same resamples."""
    N = columns.shape[1]
    if not N:
        raise UserError("there are no points to compare")
    if n_resamples < 1:
        raise UserError(f"n_resamples (={n_resamples}) must be at least 1")
    if not 0 < level < 1:
        raise UserError(f"level (={level}) must be between 0 and 1")
    if not np.isfinite(columns).all():
        n = int((~np.isfinite(columns)).any(0).sum())
        raise UserError(f"{n:,} of {N:,} points have a value that is not finite")
    means = columns.mean(1)
    if N == 1:
        nan = float("nan")
        return [Difference(1, float(m), nan, nan, nan, level, n_resamples) for m in means]
    resampled = _resampled_means(columns, n_resamples, seed)
    ends = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=1)
    # Rounding must not tell apart resamples of one and the same value.
    far = np.abs(resampled - means[:, None]) >= np.abs(means)[:, None] * (1 - 1e-12)
    p_values = (1 + far.sum(1)) / (n_resamples + 1)
    return [
        Difference(N, float(m), float(low), float(high), float(p), level, n_resamples)
        for m, low, high, p in zip(means, *ends, p_values, strict=True)
    ]


def _resampled_means(columns: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Means over N points drawn with replacement: (C, N) -> (C, R), in pieces."""
    C, N = columns.shape
    generator = np.random.default_rng(seed)
    means = np.empty((C, n_resamples))
    at_once = max(1, _DRAWS_AT_ONCE // N)
    for start in range(0, n_resamples, at_once):
        stop = min(start + at_once, n_resamples)
        drawn = generator.integers(N, size=(stop - start, N), dtype=np.uint32)
        for column, of_column in zip(columns, means, strict=True):
            of_column[start:stop] = column[drawn].mean(1)
    return means


def _value_text(value: object) -> str:
    if isinstance(value, tuple | list):
        return "-".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
