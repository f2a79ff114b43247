"""Whether a checkpoint is healthy: for now, how well neighbours stay neighbours on the map."""

from typing import NamedTuple

import numpy as np
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors


class Neighbourhood(NamedTuple):
    """How much of the images' neighbourhoods a latent space keeps.

    Attributes:
        knn_accuracy: share of the points whose label is that of most of their nearest others.
        trustworthiness: 1 if no point has neighbours in the latent space that are far in pixels.
    """

    knn_accuracy: float
    trustworthiness: float


def neighbourhood(
    mu: np.ndarray, labels: np.ndarray, images: np.ndarray, k: int = 5, n_neighbours: int = 12
) -> Neighbourhood:
    """Leave-one-out nearest-neighbour accuracy, and trustworthiness (Venna & Kaski, 2001).

    Memory grows with the square of N: about 2 GB for 10,000 points.

    Args:
        mu: where the points lie, shape (N, D).
        labels: shape (N,).
        images: any numbers, shape (N, ...); their distance is Euclidean.
        k: neighbours that vote.
        n_neighbours: whose trustworthiness is asked.

    Raises:
        ValueError: too few points for so many neighbours.
    """
    N = len(mu)
    if min(k, n_neighbours) < 1 or max(k, 2 * n_neighbours) >= N:
        raise ValueError(f"{N} points are too few for {k} and {n_neighbours} neighbours")
    # Asked about no point in particular, each is left out of its own neighbours.
    others = NearestNeighbors(n_neighbors=k).fit(mu).kneighbors(return_distance=False)
    votes = labels[others]  # (N, k)
    winners = np.array([np.bincount(row).argmax() for row in votes])
    flat = images.reshape(N, -1).astype(np.float32)
    return Neighbourhood(
        float((winners == labels).mean()),
        float(trustworthiness(flat, mu, n_neighbors=n_neighbours)),
    )
