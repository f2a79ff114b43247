"""What the Diagnose page computes for a view, once for all visitors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae.analysis import aggregate, diagnosis, measures
from vae.analysis.aggregate import MMD
from vae.analysis.diagnosis import Diagnosis, Measurements
from vae.analysis.measures import MapsCompared
from vae.config import LATTICE
from vae.core import gaussian
from vae.errors import UserError
from vae.inference.condition import OWN_LABEL
from vae.runs.checkpoint import Run
from vae.ui.results import loaded, waiting
from vae.ui.results.task import Progress
from vae.ui.view import View

CELLS = 110  # of the plane, along each dimension
SEED = 0
_DRAWS = 1000  # for what the verdict rests on
_SAMPLES_OF_MMD = 1000  # of q(z) and of p(z)


def measured(view: View) -> tuple[Measurements, Diagnosis]:
    """The diagnosis and what it rests on. Raises UserError."""
    run = view.run
    # A refitted run's curves are of another encoder, and those by log p(x) of two objectives: where
    # they end says nothing of how the model does.
    is_other = isinstance(run, Run) and (
        run.model_config.encoder == LATTICE or run.train_config.integrates
    )
    metrics = [] if is_other else loaded.metrics(run)

    def compute(progress: Progress) -> tuple[Measurements, Diagnosis]:
        found = _measure(view, metrics)
        return found, diagnosis.diagnose(found)

    # The run may have grown by an epoch, or the images have come, since.
    asked = "measured", run.train_config, len(metrics), view.images is not None
    return waiting.result((view.key, asked), compute, "Examining the checkpoint")


def _measure(view: View, metrics: list[dict[str, Any]]) -> Measurements:
    embedding = view.embedding
    information = marginals = holes = calibrated = without_z = None
    mu, logvar = posteriors(view)
    is_given_label = view.n_classes > 0 and view.condition == OWN_LABEL
    try:
        information = aggregate.information(mu, logvar, _DRAWS, SEED)
        marginals = aggregate.marginals(mu, logvar, SEED)
        holes = aggregate.holes(mu, logvar, _DRAWS, SEED) if len(embedding) > 1 else None
    except UserError:
        pass  # the verdict then says what is not finite
    if view.images is not None:
        try:
            calibrated = measures.calibration(view.model, embedding, view.images, seed=SEED)
        except UserError:
            pass  # as above
        likelihood = view.run.model_config.likelihood
        without_z = measures.cost_without_z(view.images, likelihood, is_given_label)
    return diagnosis.measure(
        embedding,
        information,
        marginals,
        holes,
        calibrated,
        without_z,
        view.run.train_config.beta,
        metrics,
        is_given_label,
        view.words,
    )


def posteriors(view: View) -> tuple[Tensor, Tensor]:
    """mu and logvar of all points, each (N, D)."""
    return torch.from_numpy(view.embedding.mu), torch.from_numpy(view.embedding.logvar)


def plane(view: View, dimensions: tuple[int, int], half: float) -> np.ndarray:
    """log q(z) - log p(z) of two dimensions, on CELLS x CELLS cells. Raises UserError."""
    mu, logvar = (values[:, list(dimensions)] for values in posteriors(view))
    return waiting.result(
        (view.key, "plane", dimensions, half),
        lambda progress: aggregate.on_a_plane(mu, logvar, half, CELLS).numpy(),
        "Adding up the posteriors of all points",
    )


def mmd(view: View) -> MMD:
    """Draws from q(z) against draws from the prior. Raises UserError."""

    def compute(progress: Progress) -> MMD:
        z, _ = aggregate.draw(*posteriors(view), _SAMPLES_OF_MMD, SEED)
        generator = torch.Generator().manual_seed(SEED + 1)
        return aggregate.mmd(z, gaussian.draw(tuple(z.shape), generator), seed=SEED)

    return waiting.result((view.key, "mmd"), compute, "Comparing draws from q(z) and p(z)")


def maps(view: View) -> MapsCompared:
    """Neighbourhoods of mu and of PCA; the images must be at hand. Raises UserError."""
    mu, labels, images = view.embedding.mu, view.embedding.labels, view.images
    assert images is not None
    return waiting.result(
        (view.key, "maps"),
        lambda progress: measures.beside_pca(mu, labels, images.images.numpy(), seed=SEED),
        "Looking up neighbours on both maps",
    )
