"""Which two directions of the latent space the map shows."""

from dataclasses import dataclass

import numpy as np
import streamlit as st
from sklearn.decomposition import PCA

from vae.embedding import Embedding

_COMPONENTS = "principal components"


@dataclass(frozen=True)
class Projection:
    """A plane in latent space.

    Attributes:
        origin: the latent point shown at (0, 0), shape (D,).
        directions: two orthonormal directions, shape (2, D).
        titles: of the axes.
        dimensions: the latent dimensions that lie in the plane, if it is one of those.
    """

    origin: np.ndarray
    directions: np.ndarray
    titles: tuple[str, str]
    dimensions: tuple[int, ...]

    @property
    def is_of_dimensions(self) -> bool:
        """Whether the axes are latent dimensions themselves, not mixtures of them."""
        return bool((np.count_nonzero(self.directions, axis=1) <= 1).all())

    def of(self, z: np.ndarray) -> np.ndarray:
        """Where latent points (N, D) stand on the map, (N, 2)."""
        return (z - self.origin) @ self.directions.T

    def ellipses(self, mu: np.ndarray, sigma: np.ndarray) -> list[np.ndarray]:
        """The outlines of N(mu, diag(sigma^2)) at 1 and 2 sigma on the map, each (n, 2)."""
        covariance = self.directions * sigma**2 @ self.directions.T  # (2, 2)
        values, vectors = np.linalg.eigh(covariance)
        angle = np.linspace(0, 2 * np.pi, 65)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        outline = circle * np.sqrt(values.clip(0)) @ vectors.T
        return [self.of(mu[None]) + radius * outline for radius in (1, 2)]


def choose(embedding: Embedding) -> Projection:
    """The plane chosen on the page; two dimensions need no choice."""
    D = embedding.latent_dim
    if D == 1:
        # A line has no second direction; the map spreads it by nothing.
        return Projection(np.zeros(1), np.array([[1.0], [0.0]]), ("z₁", ""), (0,))
    if D == 2:
        return _dimensions(D, (0, 1))
    by_kl = np.argsort(-embedding.kl_per_dim.mean(0), kind="stable")
    kind = st.selectbox(
        "Axes", ["dimensions", _COMPONENTS], key="axes", bind="query-params", width=190
    )
    if kind == _COMPONENTS:
        fitted = PCA(2, svd_solver="covariance_eigh").fit(embedding.mu)
        return Projection(fitted.mean_, fitted.components_, ("PC 1 of μ", "PC 2 of μ"), (0, 1))
    names = [f"z{d + 1}" for d in range(D)]
    chosen = tuple(
        names.index(
            st.selectbox(
                f"{side} axis",
                names,
                index=int(by_kl[place]),
                key=f"axis_{side}",
                bind="query-params",
                width=90,
            )
        )
        for place, side in enumerate("xy")
    )
    return _dimensions(D, chosen)


def subscript(dimension: int) -> str:
    """A latent dimension's number, from 1, as a subscript."""
    return str(dimension + 1).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _dimensions(D: int, chosen: tuple[int, ...]) -> Projection:
    titles = tuple(f"z{subscript(d)}" for d in chosen)
    return Projection(np.zeros(D), np.eye(D)[list(chosen)], titles, chosen)
