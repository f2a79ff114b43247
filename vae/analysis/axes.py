"""What a map of the latent space shows: two of its directions, or a layout of its points."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.decomposition import PCA

from vae.analysis.embedding import Embedding
from vae.analysis.layout import EXAGGERATION, MOST_FITTED, NEIGHBOURS, T_SNE


@dataclass(frozen=True)
class Projection:
    """A plane in latent space.

    Attributes:
        origin: the latent point shown at (0, 0), shape (D,).
        directions: two orthonormal directions, shape (2, D).
        titles: of the axes.
        dimensions: the latent dimensions that lie in the plane, if it is one of those.
        instead_of: the kind of layout that was asked for and is not there yet, if one was.
    """

    origin: np.ndarray
    directions: np.ndarray
    titles: tuple[str, str]
    dimensions: tuple[int, ...]
    instead_of: str = ""

    @property
    def prior_centre(self) -> np.ndarray:
        """Where z = 0 stands on the map, (2,)."""
        return self.of(np.zeros((1, len(self.origin))))[0]

    @property
    def is_line(self) -> bool:
        """Whether there is but one dimension."""
        return len(self.origin) == 1

    @property
    def is_of_dimensions(self) -> bool:
        """Whether the axes are latent dimensions themselves, not mixtures of them."""
        return bool((np.count_nonzero(self.directions, axis=1) <= 1).all())

    def of(self, z: np.ndarray) -> np.ndarray:
        """Where latent points (N, D) stand on the map, (N, 2); NaN where one is nowhere."""
        with np.errstate(invalid="ignore"):  # infinity times 0, of a broken model
            return (z - self.origin) @ self.directions.T

    def places(self, embedding: Embedding) -> np.ndarray:
        """Where its points stand on the map, (N, 2); those of a line under it, by class."""
        return strip_places(embedding) if self.is_line else self.of(embedding.mu)

    def ellipses(self, mu: np.ndarray, sigma: np.ndarray) -> list[np.ndarray]:
        """The outlines of N(mu, diag(sigma^2)) at 1 and 2 sigma on the map, each (n, 2)."""
        covariance = self.directions * sigma**2 @ self.directions.T  # (2, 2)
        values, vectors = np.linalg.eigh(covariance)
        angle = np.linspace(0, 2 * np.pi, 65)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        outline = circle * np.sqrt(values.clip(0)) @ vectors.T
        return [self.of(mu[None]) + radius * outline for radius in (1, 2)]


@dataclass(frozen=True)
class Layout:
    """A map of the points alone: no other place on it means anything.

    Attributes:
        kind: one of vae.analysis.layout.KINDS.
        positions: where the points stand, shape (N, 2).
    """

    kind: str
    positions: np.ndarray

    prior_centre: ClassVar[None] = None
    is_line: ClassVar[bool] = False
    dimensions: ClassVar[tuple[int, ...]] = (0, 1)  # whose sliders come first
    instead_of: ClassVar[str] = ""

    @property
    def titles(self) -> tuple[str, str]:
        """Of the axes, which measure nothing."""
        return f"{self.kind} layout of μ", ""

    def places(self, embedding: Embedding) -> np.ndarray:
        """Where the points that it was made of stand on the map, (N, 2)."""
        return self.positions

    def ellipses(self, mu: np.ndarray, sigma: np.ndarray) -> list[np.ndarray]:
        """None: q has no place on a layout."""
        return []

    @property
    def name(self) -> str:
        """What it is, to stand in a sentence."""
        how = "" if self.kind == T_SNE else f" (t-SNE exaggerated {EXAGGERATION} times)"
        return f"{self.kind} layout{how}"

    @property
    def note(self) -> str:
        """A sentence on the points that only join it, if some do."""
        if len(self.positions) <= MOST_FITTED:
            return ""
        return (
            f"{MOST_FITTED:,} are fitted; each of the others stands at the median of its "
            f"{NEIGHBOURS} nearest."
        )


def line() -> Projection:
    """The one latent dimension there is; a line has no second direction."""
    return Projection(np.zeros(1), np.array([[1.0], [0.0]]), ("z₁", ""), (0,))


def dimensions(D: int, chosen: tuple[int, ...]) -> Projection:
    """Two of D latent dimensions."""
    x, y = (dimension_name(d) for d in chosen)
    return Projection(np.zeros(D), np.eye(D)[list(chosen)], (x, y), chosen)


def components(embedding: Embedding, instead_of: str = "") -> Projection:
    """The first two principal components of mu; `instead_of` as of `Projection`."""
    fitted = PCA(2, svd_solver="covariance_eigh").fit(embedding.mu)
    titles = ("PC 1 of μ", "PC 2 of μ")
    return Projection(fitted.mean_, fitted.components_, titles, (0, 1), instead_of)  # pyright: ignore[reportArgumentType]


def strip_places(embedding: Embedding) -> np.ndarray:
    """Where the points of a line stand, (N, 2): x is mu, y a row for each class, scattered in it.

    The scatter means nothing: it keeps points apart, and is the same at each look.
    """
    n_rows = max(1, len(embedding.class_names))
    scatter = np.random.default_rng(0).uniform(0.15, 0.85, len(embedding))
    y = -0.08 - (embedding.labels + scatter) / n_rows
    return np.stack([embedding.mu[:, 0], y], axis=1).astype(np.float32)


def subscript(dimension: int) -> str:
    """A latent dimension's number, from 1, as a subscript."""
    return str(dimension + 1).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def dimension_name(dimension: int) -> str:
    """A latent dimension as the pages write it, from 1."""
    return f"z{subscript(dimension)}"
