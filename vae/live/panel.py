"""What the live panel is told beside the packs: plain values that JSON can hold."""

import base64
from typing import Any

import numpy as np

from vae.analysis.axes import Layout, Projection
from vae.analysis.embedding import Embedding
from vae.core import gaussian
from vae.inference.condition import OWN_LABEL, Condition, name_of
from vae.live.constants import MOST_SAMPLES, SIGMA_RANGE

_MOST_EPS_DIMENSIONS = 64


def sigma_of(embedding: Embedding) -> np.ndarray:
    """Sigma of every point, (N, D), within what a slider and an ellipse can show."""
    return embedding.sigma.clip(*SIGMA_RANGE)


def mu_range(mu: np.ndarray) -> tuple[float, float]:
    """What a slider for one dimension of mu covers, from the data's own (N,)."""
    reach = max(3.0, float(np.ceil(np.abs(mu).max() + 0.5)))
    return -reach, reach


def sigma_range(sigma: np.ndarray) -> tuple[float, float]:
    """What a slider for one dimension of sigma covers, from the data's own (N,)."""
    return min(0.005, float(sigma.min())), max(1.5, float(np.ceil(sigma.max() * 2) / 2))


def ranges(embedding: Embedding) -> list[dict[str, tuple[float, float]]]:
    """What the sliders of each latent dimension cover."""
    sigma = sigma_of(embedding)
    return [
        {"mu": mu_range(embedding.mu[:, d]), "sigma": sigma_range(sigma[:, d])}
        for d in range(embedding.latent_dim)
    ]


def plane(axes: Projection | Layout) -> dict[str, Any] | None:
    """The plane in latent space that the map shows; None of a layout."""
    if isinstance(axes, Layout):
        return None
    dims = list(axes.dimensions) if axes.is_of_dimensions else None
    return {"origin": axes.origin.tolist(), "directions": axes.directions.tolist(), "dims": dims}


def identity(embedding: Embedding, index: int, run: str) -> dict[str, Any]:
    """Which point it is: of which data, seen through which checkpoint."""
    return {"run": run, "data": embedding.dataset, "split": embedding.split, "index": index}


def point(
    embedding: Embedding, index: int, run: str, image: np.ndarray | None = None
) -> dict[str, Any]:
    """A data point as the panel shows it.

    Args:
        embedding: the data set seen through the model.
        index: of the point.
        run: name of the checkpoint.
        image: as of `Dataset`, (C, H, W), if it is at hand.
    """
    D = embedding.latent_dim
    told = {
        "id": identity(embedding, index, run),
        "label": embedding.class_names[embedding.labels[index]],
        "class": int(embedding.labels[index]),
        "mu": embedding.mu[index].tolist(),
        "sigma": sigma_of(embedding)[index].tolist(),
        "x": None if image is None else base64_of(image),
    }
    if D <= _MOST_EPS_DIMENSIONS:
        # The very noise behind the stored terms: with as many samples the panel shows those.
        eps = gaussian.noise_of_points([index], MOST_SAMPLES, D, embedding.seed)[:, 0]
        told["eps"] = base64_of(eps.numpy().astype("<f4"))
    return told


def classes(
    n_classes: int, class_names: tuple[str, ...], condition: Condition
) -> dict[str, Any] | None:
    """What the panel of a model with a condition offers, and is given now; None for another.

    Args:
        n_classes: of the model's condition.
        class_names: what they are called.
        condition: each point's own label, or a class.
    """
    if not n_classes:
        return None
    names = [name_of(label, class_names) for label in range(n_classes)]
    return {"names": names, "given": None if condition == OWN_LABEL else int(condition)}


def base64_of(array: np.ndarray) -> str:
    """The array's bytes as base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
