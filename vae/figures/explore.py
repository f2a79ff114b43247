"""The figure of Explore: the latent map. Other pages draw on it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from vae.figures import theme
from vae.figures.theme import BARE, NATS, PRIOR_COLOUR, Q_COLOUR

if TYPE_CHECKING:
    from vae.analysis.embedding import Embedding

MOST_WITHOUT_WEBGL = 4000  # points: each is an element of the page then


def latent_map(
    embedding: Embedding,
    positions: np.ndarray,
    colour: str,
    axis_titles: tuple[str, str],
    prior_centre: np.ndarray | None,
    ellipses: Sequence[np.ndarray] = (),
    selected: int | None = None,
    height: int = 700,
    webgl: bool = True,
) -> go.Figure:
    """The data set in the latent plane, under the prior's rings at 1, 2 and 3 sigma.

    Args:
        embedding: the points' terms and labels.
        positions: where they stand on the map, shape (N, 2).
        colour: "label", or a name that `theme.term` knows.
        axis_titles: of x and y.
        prior_centre: where z = 0 stands, shape (2,); None where no place but a point's own means
            anything: there are no rings then, and no numbers on the axes.
        ellipses: closed lines of q(z|x), each (n, 2).
        selected: the chosen point.
        height: in pixels.
        webgl: False for a browser without it: SVG points, and at most MOST_WITHOUT_WEBGL of them.
    """
    figure = go.Figure()
    every = 1 if webgl else thinning(len(positions))
    size = float(np.clip(13 - 2.1 * np.log10(len(positions)), 3, 9))
    if colour == "label":
        for label, name, rows in theme.by_class(embedding.labels, embedding.class_names):
            marker = {"color": theme.class_colour(label), "size": size}
            theme.add_points(
                figure, embedding, positions, rows[::every], webgl, name=name, marker=marker
            )
    else:
        rows = np.arange(0, len(positions), every)
        marker = {"size": size, **_by_value(embedding, colour, rows)}
        theme.add_points(figure, embedding, positions, rows, webgl, marker=marker, showlegend=False)
    if prior_centre is not None:
        _named_rings(figure, prior_centre)
    for line in ellipses:
        theme.add_mark(figure, line, mode="lines")
    if selected is not None:
        theme.add_ring(figure, positions[selected])
    # Another layout is another map: a zoom into the last one would miss it.
    revision = "map" if prior_centre is not None else f"map {axis_titles[0]}"
    return _map_layout(figure, axis_titles, height, revision, has_ticks=prior_centre is not None)


def thinning(n_points: int) -> int:
    """One point in so many is drawn where the browser has no WebGL."""
    return n_points // MOST_WITHOUT_WEBGL + 1


def _by_value(embedding: Embedding, name: str, rows: np.ndarray) -> dict[str, object]:
    """Markers coloured by a term or a known factor."""
    values = theme.term(embedding, name)
    low, high = np.percentile(values, (1, 99))  # a few extremes must not flatten the rest
    unit = "" if name in embedding.factors else "<br>nats"
    return {
        **{"color": values[rows], "colorscale": NATS, "cmin": low, "cmax": high},
        "colorbar": {
            "title": {"text": html.escape(name) + unit},
            **{"thickness": 12, "outlinewidth": 0},
        },
    }


def _named_rings(figure: go.Figure, centre: np.ndarray) -> None:
    theme.add_rings(figure, tuple(centre), layer="below")
    for radius in (1, 2, 3):
        figure.add_annotation(
            **{"x": centre[0], "y": centre[1] + radius, "text": f"{radius}σ"},
            **{"showarrow": False, "yshift": 8, "font": {"color": PRIOR_COLOUR, "size": 11}},
        )


def _map_layout(
    figure: go.Figure, titles: tuple[str, str], height: int, revision: str, has_ticks: bool
) -> go.Figure:
    ticks = {} if has_ticks else {"showticklabels": False, "ticks": ""}
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"title": {"text": titles[0]}, **BARE, **ticks},
        yaxis={"title": {"text": titles[1]}, **BARE, **ticks, "scaleanchor": "x"},
        legend={
            **{"itemsizing": "constant", "title": {"text": ""}},
            **{"x": 1, "xanchor": "right", "y": 0.95, "yanchor": "top"},
            "bgcolor": "rgba(128,128,128,0.06)",
        },
        dragmode="pan",
        hovermode="closest",
        uirevision=revision,
        # The live panel paints the decoded manifold underneath.
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        modebar={"bgcolor": "rgba(0, 0, 0, 0)", "color": PRIOR_COLOUR, "activecolor": Q_COLOUR},
    )
