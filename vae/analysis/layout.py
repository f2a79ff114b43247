"""Two-dimensional layouts of latent points: neighbours stay near, but no place can be decoded.

A layout is not a map of latent space: it has no inverse, its axes and its distances between groups
mean nothing, and a point that was not there has no place on it.
"""

from collections.abc import Callable

import numpy as np
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from vae.errors import UserError

T_SNE, UMAP_LIKE = "t-SNE", "UMAP-like"
KINDS = (T_SNE, UMAP_LIKE)
FEWEST_POINTS = 4
MOST_FITTED = 5000  # of the points: the time grows a little faster than their number
NEIGHBOURS = 5  # that tell where a point stands that was not fitted
EXAGGERATION = 4  # of UMAP_LIKE
_PERPLEXITY = 30
_ITERATIONS = 250  # of a leg, the fewest that scikit-learn makes
# How many times the attraction is exaggerated in each leg.
_LEGS = {T_SNE: (12, 1, 1), UMAP_LIKE: (12, EXAGGERATION, EXAGGERATION)}
_THREADS = 2

Progress = Callable[[int, int], None]


def layout(
    mu: np.ndarray,
    kind: str = T_SNE,
    seed: int = 0,
    progress: Progress | None = None,
    most_fitted: int = MOST_FITTED,
) -> np.ndarray:
    """Places in a plane where near points are near in latent space.

    T_SNE is that of van der Maaten & Hinton (2008), "Visualizing Data using t-SNE", by Barnes and
    Hut's tree, begun at the principal components. UMAP_LIKE is the same with the attraction
    exaggerated four times to the end, which gives nearly the layouts of UMAP: both lie on one
    spectrum, whose far end is the Laplacian eigenmaps of Belkin & Niyogi (2003) (Böhm, Berens &
    Kobak, 2022, "Attraction-Repulsion Spectrum in Neighbor Embeddings").

    Of many points some are fitted, drawn at random; each of the others stands at the median place
    of its nearest fitted ones (Kobak & Berens, 2019, "The art of using t-SNE").

    Args:
        mu: the points, shape (N, D).
        kind: one of KINDS.
        seed: of the draw.
        progress: called with (legs done, legs in all), before the first leg and after each. What it
            raises ends the work.
        most_fitted: how many points are fitted.

    Returns:
        Shape (N, 2), float32; the same for the same arguments on the same machine.

    Raises:
        UserError: no such kind; not (N, D) with D at least 1; a number that is not finite; fewer
            points than FEWEST_POINTS.
    """
    if kind not in KINDS:
        raise UserError(f"the layout '{kind}' is not known; choose one of {', '.join(KINDS)}")
    mu = np.asarray(mu, dtype=np.float64)
    if mu.ndim != 2 or mu.shape[1] < 1:
        raise UserError(f"mu has shape {mu.shape}; a layout needs (N, D) with D at least 1")
    N, _ = mu.shape
    if not np.isfinite(mu).all():
        wrong = int((~np.isfinite(mu).all(1)).sum())
        raise UserError(
            f"{wrong:,} of {N:,} points have a mu that is not finite, so there is no layout; "
            "look at the dimensions instead"
        )
    if min(N, most_fitted) < FEWEST_POINTS:
        raise UserError(
            f"a layout needs at least {FEWEST_POINTS} points, and there are {min(N, most_fitted)}"
        )
    points = _scaled(mu)
    generator = np.random.default_rng(seed)
    fitted = np.arange(N)
    if most_fitted < N:
        fitted = np.sort(generator.choice(N, most_fitted, replace=False))
    positions = np.empty((N, 2), dtype=np.float32)
    positions[fitted] = _fit(points[fitted], _LEGS[kind], generator, progress)
    others = np.setdiff1d(np.arange(N), fitted)
    if len(others):
        positions[others] = _place(points[others], points[fitted], positions[fitted])
    return positions


def _scaled(mu: np.ndarray) -> np.ndarray:
    """The same points about the origin and within reach of float32, (N, D): t-SNE has no scale."""
    small = mu / (np.abs(mu).max() or 1.0)  # first, so that no sum overflows
    centred = small - small.mean(0)
    return (centred / (np.abs(centred).max() or 1.0)).astype(np.float32)


def _fit(
    points: np.ndarray,
    legs: tuple[int, ...],
    generator: np.random.Generator,
    progress: Progress | None,
) -> np.ndarray:
    """t-SNE of points (n, D) in legs of which each begins where the last one ended: (n, 2)."""
    n = len(points)
    positions = _principal(points)
    # Points that coincide would never part. The size is that of scikit-learn's own beginnings.
    positions = 1e-4 * (positions + 1e-3 * generator.standard_normal(positions.shape))
    if progress:
        progress(0, len(legs))
    for done, exaggeration in enumerate(legs, start=1):
        # Two threads add up to the same in either order, more do not; others want theirs, too.
        with threadpool_limits(_THREADS, user_api="openmp"):
            positions = TSNE(
                perplexity=min(_PERPLEXITY, (n - 1) / 3),
                early_exaggeration=exaggeration,
                max_iter=_ITERATIONS,
                init=positions.astype(np.float32),  # pyright: ignore[reportArgumentType]
                random_state=0,  # it draws nothing: the beginning is given
            ).fit_transform(points)
        if progress:
            progress(done, len(legs))
    return positions


def _principal(points: np.ndarray) -> np.ndarray:
    """The first two principal components, (n, 2), the first with unit standard deviation."""
    n, D = points.shape
    out = np.zeros((n, 2))
    centred = points.astype(np.float64)
    centred -= centred.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)  # by rising eigenvalue
    out[:, : min(D, 2)] = centred @ vectors[:, ::-1][:, :2]
    return out / (out[:, 0].std() or 1.0)


def _place(others: np.ndarray, fitted: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Where points (m, D) belong among fitted ones (n, D) that stand at (n, 2): (m, 2).

    A mean would put a point whose neighbours stand in two groups into the gap between them.
    """
    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(fitted))).fit(fitted)
    return np.median(positions[search.kneighbors(others, return_distance=False)], axis=1)
