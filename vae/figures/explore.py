"""The figure of Explore: the latent map. Other pages draw on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from vae.figures import theme
from vae.figures.theme import BARE, NATS, NO_HOVER, PRIOR_COLOUR, Q_COLOUR

if TYPE_CHECKING:
    from vae.analysis.embedding import Embedding

_PARTS, _PARTS_FROM = 4, 1000  # of a class, from so many points on
_MOST_CLASSES_ABOVE = 12
_STRIP = (-1.4, 1.15)  # y of a line's map: the points below 0, the densities above


def latent_map(
    embedding: Embedding,
    positions: np.ndarray,
    colour: str,
    axis_titles: tuple[str, str],
    prior_centre: np.ndarray | None,
    selected: int | None = None,
    height: int | None = 700,
    is_strip: bool = False,
    has_rings: bool = True,
) -> go.Figure:
    """The data set in the latent plane, under the prior's rings at 1, 2 and 3 sigma.

    Args:
        embedding: the points' terms and labels.
        positions: where they stand on the map, shape (N, 2).
        colour: "label", or a name that `theme.term` knows.
        axis_titles: of x and y.
        prior_centre: where z = 0 stands, shape (2,); None where no place but a point's own means
            anything: there are no rings then, and no numbers on the axes.
        is_strip: of one dimension, whose points stand in rows under the prior's curve.
        has_rings: whether the prior is drawn.
        selected: the chosen point.
        height: in pixels; None where the page decides.
    """
    figure = go.Figure()
    many = np.log10(len(positions))
    size = float(np.clip(13 - 2.1 * many, 3, 9))
    opacity = float(np.clip(1.5 - 0.2 * many, 0.45, 1))
    if colour == "label":
        # Of each class a part at a time, or the class drawn last would hide the others.
        parts = _PARTS if len(positions) > _PARTS_FROM else 1
        for part in range(parts):
            for label, name, rows in theme.by_class(embedding.labels, embedding.class_names):
                marker = {"color": theme.class_colour(label), "size": size, "opacity": opacity}
                theme.add_points(
                    *(figure, embedding, positions, rows[part::parts]),
                    **{"name": name, "legendgroup": name, "showlegend": part == 0},
                    marker=marker,
                )
    else:
        rows = np.arange(len(positions))
        marker = {"size": size, "opacity": opacity, **_by_value(embedding, colour, rows)}
        theme.add_points(figure, embedding, positions, rows, marker=marker, showlegend=False)
    if is_strip and has_rings:
        _add_curve_of_prior(figure)
    elif prior_centre is not None and has_rings:
        _named_rings(figure, prior_centre)
    if selected is not None:
        theme.add_ring(figure, positions[selected])
    # Another layout is another map: a zoom into the last one would miss it.
    revision = "map" if prior_centre is not None else f"map {axis_titles[0]}"
    _lay_out(figure, axis_titles, height, revision, prior_centre is not None)
    if is_strip:
        figure.update_yaxes(
            **{"range": _STRIP, "scaleanchor": None, "fixedrange": True, "showticklabels": False}
        )
    return _with_legend(figure, embedding.class_names)


def marks_of_q(ellipses: Sequence[np.ndarray], place: np.ndarray) -> go.Figure:
    """What marks q on a map: closed lines, each (n, 2), and a ring at the chosen point, (2,)."""
    figure = go.Figure()
    for line in ellipses:
        theme.add_mark(figure, line, mode="lines")
    theme.add_ring(figure, place)
    return figure


def _add_curve_of_prior(figure: go.Figure) -> None:
    """The density of N(0, 1) over its peak."""
    x = np.linspace(-4, 4, 161)
    figure.add_scatter(x=x, y=np.exp(-(x**2) / 2), mode="lines", line=theme.PRIOR_LINE, **NO_HOVER)
    figure.add_annotation(
        **{"x": 0, "y": 1, "text": "p(z)", "showarrow": False, "yshift": 8},
        font={"color": PRIOR_COLOUR, "size": 11},
    )


def _by_value(embedding: Embedding, name: str, rows: np.ndarray) -> dict[str, object]:
    """Markers coloured by a term or a known factor."""
    values = theme.term(embedding, name)
    low, high = np.percentile(values, (1, 99))  # a few extremes must not flatten the rest
    unit = "" if name in embedding.factors else "<br>nats"
    return {
        **{"color": values[rows], "colorscale": NATS, "cmin": low, "cmax": high},
        "colorbar": {
            "title": {"text": theme.escaped(name) + unit},
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


def _lay_out(
    figure: go.Figure, titles: tuple[str, str], height: int | None, revision: str, has_ticks: bool
) -> None:
    ticks = {} if has_ticks else {"showticklabels": False, "ticks": ""}
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 34, "t": 30, "b": 8},  # to the right are the tools
        xaxis={"title": {"text": titles[0]}, **BARE, **ticks},
        yaxis={"title": {"text": titles[1]}, **BARE, **ticks, "scaleanchor": "x"},
        dragmode="pan",
        hovermode="closest",
        uirevision=revision,
        # The live panel paints the decoded manifold underneath.
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        modebar={
            **{"orientation": "v", "bgcolor": "rgba(0, 0, 0, 0)"},
            **{"color": PRIOR_COLOUR, "activecolor": Q_COLOUR},
        },
    )


def _with_legend(figure: go.Figure, class_names: Sequence[str]) -> go.Figure:
    """In a line above the map, or beside it where that would be many lines."""
    place = {"x": 1.02, "y": 1, "yanchor": "top"}
    if len(class_names) <= _MOST_CLASSES_ABOVE:
        place = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
        if max(map(len, class_names), default=0) <= 2:
            place |= {"entrywidth": 10, "indentation": -9}  # ten digits in one line of a laptop
    look = {"itemsizing": "constant", "title": {"text": ""}, "bgcolor": "rgba(0, 0, 0, 0)"}
    return figure.update_layout(legend=look | place)
