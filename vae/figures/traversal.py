"""Figures of walks through latent space: numpy in, plotly Figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vae.figures.explore import latent_map
from vae.figures.theme import (
    HALO,
    NO_HOVER,
    PRIOR_COLOUR,
    PRIOR_LINE,
    Q_COLOUR,
    bars,
    escaped,
    normal_density,
    plain_layout,
    traces,
)

if TYPE_CHECKING:
    from vae.analysis.embedding import Embedding

_DASHES = ("solid", "dot")  # of the first way and of the second, in both figures
_FADED = 0.22
MEANS_COLOUR = "rgba(0, 163, 131, 0.35)"  # q's, thinned: what all posteriors' means are
_BAND = "rgba(138, 145, 153, 0.16)"


def map_of_ways(
    embedding: Embedding,
    positions: np.ndarray,
    axis_titles: tuple[str, str],
    prior_centre: np.ndarray,
    ways: Sequence[np.ndarray],
    stops: np.ndarray,
    height: int = 360,
) -> go.Figure:
    """The latent map with the ways between chosen points on it.

    Args:
        embedding: the points' labels.
        positions: where they stand on the map, shape (N, 2).
        axis_titles: of x and y.
        prior_centre: where z = 0 stands, shape (2,).
        ways: at most two lines, each (T, 2).
        stops: the numbered places on them, shape (S, 2).
        height: in pixels.
    """
    figure = _map(embedding, positions, axis_titles, prior_centre, height, opacity=0.55)
    for line, dash in zip(ways, _DASHES, strict=False):
        for colour, width, its_dash in ((HALO, 7, "solid"), (Q_COLOUR, 3.5, dash)):
            figure.add_scattergl(
                x=line[:, 0],
                y=line[:, 1],
                mode="lines",
                line={"color": colour, "width": width, "dash": its_dash},
                **NO_HOVER,
            )
    # Two stops may be one place.
    _letter(figure, stops, [str(number) for number in range(1, len(stops) + 1)])
    return figure


def map_of_groups(
    embedding: Embedding,
    positions: np.ndarray,
    axis_titles: tuple[str, str],
    prior_centre: np.ndarray,
    groups: Sequence[np.ndarray],
    means: np.ndarray,
    end: np.ndarray,
    height: int = 360,
) -> go.Figure:
    """The latent map with groups A, B and C: their points lit, their means lettered, and arrows
    from B to A and from C to where the sum ends.

    Args:
        embedding: the points' labels.
        positions: where they stand on the map, shape (N, 2).
        axis_titles: of x and y.
        prior_centre: where z = 0 stands, shape (2,).
        groups: the indices of A, B and C.
        means: where their means stand, shape (3, 2).
        end: where the sum stands, shape (2,).
        height: in pixels.
    """
    figure = _map(embedding, positions, axis_titles, prior_centre, height, _FADED)
    lit = np.unique(np.concatenate(groups))
    for trace in traces(figure):
        own = trace.customdata
        if own is None:
            continue
        at = lit[np.isin(lit, own)]
        figure.add_scattergl(
            x=positions[at, 0],
            y=positions[at, 1],
            mode="markers",
            marker={"color": trace.marker.color, "size": trace.marker.size},
            **NO_HOVER,
        )
    for tail, head in ((means[1], means[0]), (means[2], end)):
        figure.add_annotation(
            **{"x": head[0], "y": head[1], "ax": tail[0], "ay": tail[1]},
            **{"xref": "x", "yref": "y", "axref": "x", "ayref": "y"},
            **{"showarrow": True, "arrowhead": 2, "arrowwidth": 2.5, "arrowcolor": Q_COLOUR},
            text="",
        )
    _letter(figure, means, list("ABC"))
    return figure


def values_among_means(
    mu: np.ndarray, values: np.ndarray, names: Sequence[str], height: int = 225
) -> go.Figure:
    """Where the means lie along some dimensions, over the prior, and the values that are decoded.

    Args:
        mu: means of all points along each of them, shape (N, R).
        values: shape (R, n).
        names: of the dimensions, R of them.
        height: in pixels.
    """
    figure = make_subplots(1, len(names), horizontal_spacing=0.05)
    reach = max(3.2, float(np.abs(values).max()), float(np.percentile(np.abs(mu), 99.5)))
    z = np.linspace(-reach, reach, 121)
    density = normal_density(z)
    for column, name in enumerate(names, 1):
        edges = np.linspace(-reach, reach, 61)
        # Of all means: those outside belong to the whole.
        counts, _ = np.histogram(mu[:, column - 1], edges)
        share = counts / len(mu) / np.diff(edges)
        at = {"row": 1, "col": column}
        marker = {"color": MEANS_COLOUR, "line": {"width": 0}}
        figure.add_trace(bars(share, edges, f"{name} = %{{x:.2f}}", marker=marker), 1, column)
        line = {"color": PRIOR_COLOUR, "width": 2, "dash": "dot"}
        figure.add_scatter(x=z, y=density, mode="lines", line=line, hoverinfo="skip", **at)
        figure.add_scatter(
            x=values[column - 1],
            y=np.full(values.shape[1], -0.07 * max(share.max(), density.max())),
            mode="markers",
            marker={"symbol": "triangle-up", "size": 11, "color": Q_COLOUR},
            hovertemplate=f"{name} = %{{x:.3f}}<extra></extra>",
            **at,
        )
    plain_layout(figure, height, "", "", showlegend=False)
    for column, name in enumerate(names, 1):
        figure.update_xaxes(title=name, range=[-reach, reach], zeroline=False, row=1, col=column)
    return figure.update_yaxes(showticklabels=False, showgrid=False, zeroline=False)


def squared_norms(
    norms: Mapping[str, np.ndarray], latent_dim: int, stops: Sequence[str], height: int = 360
) -> go.Figure:
    """||z||^2 along each way, over what draws from the prior have: k on average, with a standard
    deviation of sqrt(2 k), as the chi-squared distribution has.

    Args:
        norms: ||z||^2 of each step by the name of its way, each (T,); at most two.
        latent_dim: k.
        stops: the names of the stops, evenly spaced along every way.
        height: in pixels.
    """
    figure = go.Figure()
    sd = (2 * latent_dim) ** 0.5
    last = len(stops) - 1
    for (name, values), dash in zip(norms.items(), _DASHES, strict=False):
        figure.add_scatter(
            x=np.linspace(0, last, len(values)),
            y=values,
            name=escaped(name),
            mode="lines",
            line={"color": Q_COLOUR, "width": 3, "dash": dash},
            hovertemplate=f"%{{y:.2f}}<extra>{escaped(name)}</extra>",
        )
    figure.add_hrect(max(0.0, latent_dim - sd), latent_dim + sd, fillcolor=_BAND, line_width=0)
    figure.add_hline(
        latent_dim,
        line=PRIOR_LINE,
        annotation={"text": f"k = {latent_dim}", "font": {"color": PRIOR_COLOUR}},
    )
    figure = plain_layout(figure, height, "", "‖z‖²")
    figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}, margin={"t": 30}
    )
    names = [escaped(stop) for stop in stops]
    margin = 0.06 * last  # room for the names at both ends
    figure.update_xaxes(
        range=[-margin, last + margin], tickvals=list(range(len(stops))), ticktext=names
    )
    return figure.update_yaxes(rangemode="tozero")


def _map(
    embedding: Embedding,
    positions: np.ndarray,
    axis_titles: tuple[str, str],
    prior_centre: np.ndarray,
    height: int,
    opacity: float,
) -> go.Figure:
    figure = latent_map(embedding, positions, "label", axis_titles, prior_centre, height=height)
    for trace in traces(figure):
        # What is chosen is drawn; plotly's own way of showing it would dim the rest once more.
        trace.marker.opacity = opacity
        trace.selected = trace.unselected = {"marker": {"opacity": opacity}}
    return figure.update_layout(legend={"font": {"size": 11}}, uirevision=f"walk {axis_titles}")


def _letter(figure: go.Figure, places: np.ndarray, names: Sequence[str]) -> None:
    for (x, y), name in zip(places, names, strict=True):
        figure.add_annotation(
            **{"x": x, "y": y, "text": f"<b>{name}</b>", "showarrow": False},
            **{"font": {"color": "white", "size": 13}, "bgcolor": Q_COLOUR, "borderpad": 3},
        )
