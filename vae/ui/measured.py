"""A point that is no image, drawn as what it is: a vector's features, or a series."""

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
import streamlit as st
import torch

from vae.config import VECTOR
from vae.core.likelihood import Measured
from vae.data.dataset import to_unit
from vae.features import Feature, as_measured, on_axis
from vae.figures import measured as figures
from vae.ui import charts
from vae.ui.view import View


def spread(view: View, index: int) -> tuple[np.ndarray, np.ndarray]:
    """E[x|z] and the standard deviation of x given z, at the mean of q: each (C, H, W)."""
    model, mu = view.given(index), torch.from_numpy(view.embedding.mu[index])
    with torch.no_grad():
        raw = model.decode(mu)
        mean = model.likelihood.mean(raw)
        if isinstance(model.likelihood, Measured):
            return mean.numpy(), model.likelihood.variance(raw).sqrt().numpy()
        return mean.numpy(), np.zeros_like(mean.numpy())


def show(view: View, index: int, cost: np.ndarray) -> None:
    """x beside its reconstruction.

    Args:
        view: whose images are at hand.
        index: of the point.
        cost: what each number adds to recon, in nats, (C, H, W).
    """
    assert view.images is not None
    config = view.run.model_config
    x = to_unit(view.images.images[index]).numpy()
    mean, sd = spread(view, index)
    draw = _vector if config.kind == VECTOR else _series
    charts.chart(
        draw(config.features, _Numbers(x, mean, sd, cost)),
        key="measured_point",
        alt=f"The {config.kind} x, its reconstruction, and what each number costs, in nats",
    )
    missing = int(np.isnan(x).sum())
    n = figures.MOST_FEATURES
    parts = [f"The {n} that cost most of {x.size:,} features."] * (
        config.kind == VECTOR and x.size > n
    )
    if missing:
        parts.append(f"{missing:,} of {x.size:,} values are missing, and cost nothing.")
    if parts:
        st.caption(" ".join(parts))


class _Numbers(NamedTuple):
    """Of a point, each (C, H, W): x, E[x|z] and its spread as the model reads them, and nats."""

    x: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    cost: np.ndarray


def _vector(features: tuple[Feature, ...], of: _Numbers) -> go.Figure:
    flat = of.x[0, 0], of.mean[0, 0]
    own = [as_measured(values[None], features)[0] for values in flat]
    told = [
        (written(float(own[0][f]), feature), written(float(own[1][f]), feature))
        for f, feature in enumerate(features)
    ]
    on = [on_axis(values[None, None], features, VECTOR)[0, 0] for values in flat]
    # Where the axis is not the model's own, as of counts, the spread goes there by its ends.
    above = on_axis((flat[1] + of.sd[0, 0])[None, None], features, VECTOR)[0, 0]
    names = [feature.name for feature in features]
    return figures.vector(names, on[0], on[1], np.abs(above - on[1]), of.cost[0, 0], told)


def _series(features: tuple[Feature, ...], of: _Numbers) -> go.Figure:
    own = [as_measured(values[None, :, 0], features)[0] for values in (of.x, of.mean)]
    scale = np.array([feature.scale for feature in features])[:, None]
    names = [f"{f.name}, {f.unit}" if f.unit else f.name for f in features]
    t = np.arange(of.x.shape[2])
    return figures.series(t, names, own[0], own[1], of.sd[:, 0] * scale, of.cost[:, 0])


def written(value: float, feature: Feature) -> str:
    """A value with its unit, in as many digits as one reads."""
    if np.isnan(value):
        return "missing"
    return f"{value:.4g} {feature.unit}".strip()
