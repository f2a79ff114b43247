"""What the Inference page computes for a point, once for all visitors, with progress."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import streamlit as st
import torch

from vae import annealing, estimators, inference, posterior
from vae.annealing import Annealed
from vae.datasets import to_unit
from vae.estimators import GradientEstimates, Running
from vae.evidence import offers_exact
from vae.gaussian import noise_of_points
from vae.inference import GapSplit, Inference
from vae.inference_figures import Window, window
from vae.posterior import Lattice
from vae.ui import cache
from vae.ui.frame import View

CELLS = 200  # of the picture of p(z|x), along each dimension
_CELLS_OF_LINE = 2000
_ESTIMATES_AT_ONCE = 8  # of Monte Carlo and gradients that are kept for a point

_T = TypeVar("_T")


def of_point(view: View, index: int) -> Inference:
    """Equation (8) for the point and the encoder's q. Raises ValueError."""

    def compute() -> Inference:
        bar = st.progress(0.0, "Decoding the lattice")
        lattice = _lattice_of(view)
        try:
            return inference.infer(
                view.model,
                image(view, index),
                index,
                lattice=lattice,
                progress=lambda share, what: bar.progress(share, what),
            )
        finally:
            bar.empty()

    return _kept(view, index, "inference", compute)


def known_split(view: View, index: int) -> GapSplit | None:
    """The gap in two, if it has been computed."""
    return _slot_of(view, index).get("split")


def split(view: View, index: int, found: Inference) -> GapSplit:
    """The gap in two; takes seconds. Raises ValueError."""

    def compute() -> GapSplit:
        with st.spinner("Searching the best Gaussian for this image", show_time=True):
            return inference.split_gap(
                view.model, image(view, index), index, found, _lattice_of(view)
            )

    return _kept(view, index, "split", compute)


def density(
    view: View, index: int, found: Inference, best: GapSplit | None
) -> tuple[np.ndarray, Window]:
    """log p(z|x) in the cells of a window that holds q, the posterior and the best Gaussian."""
    exact = found.exact
    sds = exact.cov[0].diagonal().clamp_min(0).sqrt()
    gaussians = [(found.mu, found.logvar)]
    if best is not None:
        gaussians.append((best.best.mu, best.best.logvar))
    centres = [*(mu for mu, _ in gaussians), exact.mean[0], exact.mode[0]]
    reach = [*(3.2 * torch.exp(v / 2) for _, v in gaussians), 4 * sds, 0 * sds]
    shown = window(*(np.stack([np.asarray(t, np.float64) for t in ts]) for ts in (centres, reach)))

    def compute() -> np.ndarray:
        corners = (torch.from_numpy(side).float() for side in shown)
        n = CELLS if len(found.mu) == 2 else _CELLS_OF_LINE
        return posterior.density_on_grid(
            view.model, image(view, index), found.log_px, *corners, n
        ).numpy()

    return _kept(view, index, f"density {best is not None}", compute), shown


def annealed(view: View, index: int, compute_it: bool) -> Annealed | None:
    """log p(x) by annealing; None if it has not been asked for. Raises ValueError."""
    if not compute_it:
        return _slot_of(view, index).get("annealed")

    def compute() -> Annealed:
        bar = st.progress(0.0, "Annealing")
        try:
            return annealing.annealed_log_px(
                view.model,
                image(view, index)[None],
                torch.Generator().manual_seed(index),
                progress=lambda done, total: bar.progress(
                    done / total, f"Temperature {done:,} of {total:,}"
                ),
            )
        finally:
            bar.empty()

    return _kept(view, index, "annealed", compute)


def running(view: View, index: int, found: Inference, n: int, seed: int) -> tuple[Running, Running]:
    """recon and KL as n draws arrive. Raises ValueError."""

    def compute() -> tuple[Running, Running]:
        eps = noise(index, found, n, seed)
        q = found.mu, found.logvar
        recon = estimators.running_recon(view.model, image(view, index), *q, eps)
        return recon, estimators.running_kl(*q, eps)

    return _kept(view, index, f"running {n} {seed}", compute)


def gradients(view: View, index: int, found: Inference, n: int, seed: int) -> GradientEstimates:
    """The estimators of the gradient over n draws. Raises ValueError."""

    def compute() -> GradientEstimates:
        eps = noise(index, found, n, seed)
        return estimators.gradient_estimates(
            view.model, image(view, index), found.mu, found.logvar, eps
        )

    return _kept(view, index, f"gradients {n} {seed}", compute)


def noise(index: int, found: Inference, n: int, seed: int) -> torch.Tensor:
    """The draws' noise, (n, D): with seed 0 the first are those behind the stored terms."""
    return noise_of_points([index], n, len(found.mu), seed)[:, 0]


def image(view: View, index: int) -> torch.Tensor:
    """(C, H, W) in [0, 1]."""
    return to_unit(view.images.images[index])


def _lattice_of(view: View) -> Lattice | None:
    if not offers_exact(view.model):
        return None
    return _lattice(view.run.path, _stamp(view), view.model)


def _kept(view: View, index: int, name: str, compute: Callable[[], _T]) -> _T:
    slot = _slot_of(view, index)
    if name not in slot:
        slot[name] = compute()
        estimates = [key for key in slot if key.startswith(("running", "gradients"))]
        for old in estimates[:-_ESTIMATES_AT_ONCE]:
            slot.pop(old, None)
    return slot[name]


def _slot_of(view: View, index: int) -> dict[str, Any]:
    data = view.embedding.dataset, view.embedding.split
    return _slot(view.run.path, _stamp(view), *data, index)


def _stamp(view: View) -> tuple[int, ...]:
    return cache.stamp_of_model(view.run)


@st.cache_resource(max_entries=48, show_spinner=False)
def _slot(path: Path, stamp: tuple[int, ...], name: str, split: str, index: int) -> dict[str, Any]:
    # A place to put it: a cached function cannot show progress to the one who waits for it.
    return {}


@st.cache_resource(max_entries=3, show_spinner=False)
def _lattice(path: Path, stamp: tuple[int, ...], _model: Any) -> Lattice:
    return Lattice(_model)
