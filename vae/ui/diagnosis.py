"""What the Diagnose page computes for a view, once for all visitors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from vae import aggregate, diagnosis, diagnostics, gaussian
from vae.aggregate import MMD
from vae.diagnosis import Diagnosis, Measurements
from vae.diagnostics import MapsCompared
from vae.ui import cache, waiting
from vae.ui.background import Progress
from vae.ui.frame import View

CELLS = 110  # of the plane, along each dimension
SEED = 0
_DRAWS = 1000  # for what the verdict rests on
_SAMPLES_OF_MMD = 1000  # of q(z) and of p(z)
_PLANES_AT_ONCE = 8

_T = TypeVar("_T")


def measured(view: View) -> tuple[Measurements, Diagnosis]:
    """The diagnosis and what it rests on. Raises CheckpointError."""
    metrics = cache.metrics(view.run)

    def compute() -> tuple[Measurements, Diagnosis]:
        found = _measure(view, metrics)
        return found, diagnosis.diagnose(found)

    # The run may have grown by an epoch, or the images have come, since.
    name = f"measured {len(metrics)} {view.images is not None}"
    return _kept(view, name, "Examining the checkpoint", compute)


def _measure(view: View, metrics: list[dict[str, Any]]) -> Measurements:
    embedding = view.embedding
    information = marginals = holes = calibrated = without_z = None
    mu, logvar = posteriors(view)
    try:
        information = aggregate.information(mu, logvar, _DRAWS, SEED)
        marginals = aggregate.marginals(mu, logvar, SEED)
        holes = aggregate.holes(mu, logvar, _DRAWS, SEED) if len(embedding) > 1 else None
    except ValueError:
        pass  # the verdict then says what is not finite
    if view.images is not None:
        try:
            calibrated = diagnostics.calibration(view.model, embedding, view.images, seed=SEED)
        except ValueError:
            pass  # as above
        without_z = diagnostics.cost_without_z(view.images, view.run.model_config.likelihood)
    return diagnosis.measure(
        embedding,
        information,
        marginals,
        holes,
        calibrated,
        without_z,
        view.run.train_config,
        metrics,
    )


def posteriors(view: View) -> tuple[Tensor, Tensor]:
    """mu and logvar of all points, each (N, D)."""
    return torch.from_numpy(view.embedding.mu), torch.from_numpy(view.embedding.logvar)


def plane(view: View, dimensions: tuple[int, int], half: float) -> np.ndarray:
    """log q(z) - log p(z) of two dimensions, on CELLS x CELLS cells. Raises ValueError."""
    mu, logvar = (values[:, list(dimensions)] for values in posteriors(view))

    def compute() -> np.ndarray:
        return aggregate.on_a_plane(mu, logvar, half, CELLS).numpy()

    return _kept(view, f"plane {dimensions}", "Adding up the posteriors of all points", compute)


def mmd(view: View) -> MMD:
    """Draws from q(z) against draws from the prior. Raises ValueError."""

    def compute() -> MMD:
        z, _ = aggregate.draw(*posteriors(view), _SAMPLES_OF_MMD, SEED)
        generator = torch.Generator().manual_seed(SEED + 1)
        return aggregate.mmd(z, gaussian.draw(tuple(z.shape), generator), seed=SEED)

    return _kept(view, "mmd", "Comparing draws from q(z) and p(z)", compute)


def maps(view: View) -> MapsCompared:
    """Neighbourhoods of mu and of PCA; the images must be at hand. Raises ValueError."""
    embedding, images = view.embedding, view.images
    assert images is not None

    def compute() -> MapsCompared:
        return diagnostics.beside_pca(
            embedding.mu, embedding.labels, images.images.numpy(), seed=SEED
        )

    return _kept(view, "maps", "Looking up neighbours on both maps", compute)


def _kept(view: View, name: str, what: str, compute: Callable[[], _T]) -> _T:
    """What `compute` returns, once for all; it may not call Streamlit. Raises ValueError."""
    data = view.embedding.dataset, view.embedding.split
    key = (view.run.path, cache.stamp_of_model(view.run), *data, len(view.embedding))
    slot = _slot(*key)
    place = st.empty()
    if name not in slot:

        def work(progress: Progress) -> None:
            slot[name] = compute()

        waiting.until_done(("diagnosis", *key, name), work, what, place)
        for kind, most in (("plane", _PLANES_AT_ONCE), ("measured", 1)):
            of_kind = [key for key in list(slot) if key.startswith(kind)]
            for old in of_kind[:-most]:
                slot.pop(old, None)
    return slot[name]


@st.cache_resource(max_entries=16, show_spinner=False)
def _slot(
    path: Path, stamp: tuple[int, ...], name: str, split: str, n_points: int
) -> dict[str, Any]:
    # A place to put it: a cached function cannot show progress to the one who waits for it.
    return {}
