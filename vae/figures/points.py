"""The figures of points and their terms: Points, and the card of a point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from vae.figures import theme
from vae.figures.theme import NATS, Q_COLOUR, SELECTED_LINE, plain_layout
from vae.wording import IMAGES, Words

if TYPE_CHECKING:
    from vae.analysis.embedding import Embedding

LEAST_RANGE = 0.1  # nats per pixel: what costs less is not blown up
_NARROWEST = 150  # pixels: a page makes a narrower chart so wide, and then cuts it


def kl_against_recon(
    embedding: Embedding, rows: np.ndarray, height: int = 330, words: Words = IMAGES
) -> go.Figure:
    """Both terms of each of the given points, coloured by label."""
    figure = go.Figure()
    positions = np.stack([embedding.recon, embedding.kl], axis=1)
    for label, name, of_class in theme.by_class(embedding.labels, embedding.class_names, rows):
        marker = {"color": theme.class_colour(label), "size": 5}
        theme.add_points(figure, embedding, positions, of_class, name=name, marker=marker)
    x, y = (f"{term}, nats per {words.point}" for term in ("recon", "KL"))
    return plain_layout(figure, height, x, y, showlegend=False).update_layout(
        dragmode="pan", hovermode="closest", uirevision="terms"
    )


def histogram(values: np.ndarray, name: str, height: int = 150, words: Words = IMAGES) -> go.Figure:
    """The distribution of one term over points, in nats of each."""
    counts, edges = theme.binned(values, min(60, max(8, round(len(values) ** 0.5))))
    figure = go.Figure(theme.bars(counts, edges, "%{x:.1f} nats: %{y} points"))
    title = f"{name}, nats per {words.point}"
    return plain_layout(figure, height, title, "points", showlegend=False)


def line_at(value: float) -> go.Figure:
    """Marks a point's value in a histogram; nothing where that is not finite."""
    figure = go.Figure()
    if math.isfinite(value):
        ends = {"x0": value, "x1": value, "y0": 0, "y1": 1, "yref": "y domain"}
        figure.add_shape(type="line", line=SELECTED_LINE, **ends)
    return figure


def ring_at(embedding: Embedding, index: int) -> go.Figure:
    """Marks a point where `kl_against_recon` draws it."""
    figure = go.Figure()
    theme.add_ring(figure, np.array([embedding.recon[index], embedding.kl[index]]))
    return figure


def kl_bars(kl_per_dim: np.ndarray, height: int | None = None) -> go.Figure:
    """KL of each latent dimension, (D,), in nats: equation (6), term by term."""
    names = [f"z<sub>{d + 1}</sub>" for d in range(len(kl_per_dim))]
    figure = go.Figure(
        go.Bar(
            x=kl_per_dim,
            y=names,
            orientation="h",
            marker={"color": Q_COLOUR},
            texttemplate="%{x:.2f}" if len(names) <= 12 else None,
            hovertemplate="%{y}: %{x:.3f} nats<extra></extra>",
        )
    )
    figure = plain_layout(figure, height or 60 + 24 * len(names), "KL, nats", "", showlegend=False)
    return figure.update_layout(bargap=0.25, yaxis={"autorange": "reversed"})


def pixel_range(values: np.ndarray) -> tuple[float, float]:
    """From 0 to the most nats of a pixel; further down where a density makes some negative."""
    low = min(0.0, float(values.min()))
    return low, max(low + LEAST_RANGE, float(values.max()))


def pixel_map(values: np.ndarray, width: int) -> go.Figure:
    """What each pixel adds to the reconstruction term, (H, W), in nats; its width in pixels."""
    H, W = values.shape
    low, high = pixel_range(values)
    figure = go.Figure(
        go.Heatmap(
            z=values[::-1],
            zmin=low,
            zmax=high,
            colorscale=NATS,
            hovertemplate="%{z:.2f} nats<extra></extra>",
            colorbar={
                **{"orientation": "h", "thickness": 6, "outlinewidth": 0},
                # Both ends alone, and room for half of their numbers beside the bar.
                **{"tickvals": [low, high], "ticktext": [f"{low:.1f}", f"{high:.1f}"]},
                **{"len": 0.76, "xpad": 0, "ypad": 0, "y": 0, "yanchor": "top"},
                "tickfont": {"size": 10},
                "title": {"text": "nats per pixel", "side": "bottom", "font": {"size": 12}},
            },
        )
    )
    below = 46  # room for the colour bar, where the pictures beside it have their captions
    figure.update_layout(
        width=max(width, _NARROWEST),
        height=round(width * H / W) + below,
        margin={
            **{"l": 0, "r": max(0, _NARROWEST - width)},
            **{"t": 0, "b": below, "autoexpand": False},
        },
    )
    return figure.update_xaxes(visible=False).update_yaxes(visible=False)
