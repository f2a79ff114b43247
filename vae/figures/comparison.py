"""Figures of two checkpoints: numpy in, plotly Figure out. The pair has the same two colours
in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from vae.figures.explore import latent_map
from vae.figures.theme import (
    NO_HOVER,
    PRIOR_COLOUR,
    SELECTED_LINE,
    bars,
    class_colour,
    escaped,
    plain_layout,
    traces,
)
from vae.wording import IMAGES, Words

if TYPE_CHECKING:
    from vae.analysis.comparison import Difference
    from vae.analysis.embedding import Embedding

# Of the two runs: none of the classes', whose maps they stand over; pink and lime stay apart for
# colour-blind eyes.
FIRST_COLOUR, SECOND_COLOUR = PAIR = "#d6529b", "#8fb51f"
# Each side in the colour of the one that is cheaper there; the middle shows on light and dark.
CHANGE_SCALE = [[0.0, SECOND_COLOUR], [0.5, PRIOR_COLOUR], [1.0, FIRST_COLOUR]]
_WIDER = 1.3  # at least, on a laptop's screen
_OUT_OF_GROUP, _OUTLINE = 0.18, "rgba(0, 0, 0, 0.4)"


def linked_map(
    embedding: Embedding,
    positions: np.ndarray,
    change: np.ndarray | None,
    axis_titles: tuple[str, str],
    prior_centre: np.ndarray,
    reach: float,
    selected: int | None = None,
    group: Sequence[int] = (),
    ring_scale: float = 1.0,
    showlegend: bool = True,
    height: int = 400,
) -> go.Figure:
    """One of two maps of the same points: the chosen point ringed, the chosen group lit.

    Args:
        embedding: the points' labels.
        positions: where they stand on the map, shape (N, 2).
        change: colours the points, second - first in nats, shape (N,); their labels do if None.
        axis_titles: of x and y.
        prior_centre: where z = 0 stands, shape (2,).
        reach: how far from there the map goes up and down at first, see `reach_of`.
        selected: the chosen point.
        group: the points that stay bright while the others fade; nobody fades if it is empty.
        ring_scale: how much larger than in latent space the map shows a length.
        showlegend: of the classes; one of two maps is enough.
        height: in pixels.
    """
    by_class = change is None
    figure = latent_map(
        embedding,
        positions,
        "label" if by_class else "-ELBO",
        axis_titles,
        prior_centre,
        selected=selected,
        height=height,
    )
    marks = [trace for trace in traces(figure) if trace.customdata is not None]  # no ring
    if not by_class:
        limit = change_limit(change)
        for trace in marks:
            trace.marker.update(
                **{"color": change[trace.customdata], "colorscale": CHANGE_SCALE},
                **{"cmin": -limit, "cmax": limit},
            )
            trace.marker.colorbar.title.text = "second<br>- first<br>nats"
    # The ring and the lit group say what is chosen, in both maps alike; plotly's own way of
    # showing it would dim the one map that was clicked.
    opacity = _OUT_OF_GROUP if len(group) else 1.0
    for trace in marks:
        trace.marker.opacity = opacity
        trace.selected = trace.unselected = {"marker": {"opacity": opacity}}
    if len(group):
        _light(figure, embedding, positions, np.asarray(group), change)
    if ring_scale != 1:
        _scale_rings(figure, prior_centre, ring_scale)
    cy = float(prior_centre[1])
    return figure.update_layout(
        showlegend=showlegend,
        # In the map, not above it: only one of two has it, and both must be of one size.
        legend={
            **{"font": {"size": 11}, "orientation": "v", "bgcolor": "rgba(128, 128, 128, 0.06)"},
            **{"x": 1, "xanchor": "right", "y": 0.95, "yanchor": "top"},
        },
        # The x axis follows: both have one scale.
        yaxis={"range": [cy - reach, cy + reach]},
        xaxis={"range": [float(prior_centre[0]) + sign * reach for sign in (-1, 1)]},
        # Another place for the points must not keep the old view.
        uirevision=f"linked {axis_titles} {reach:.4g}",
    )


def reach_of(positions: np.ndarray, prior_centre: np.ndarray) -> float:
    """How far up and down from the prior's centre a map goes that shows nearly all points, and
    the prior's rings; to the sides it goes further, being wider than it is high.

    Args:
        positions: shape (N, 2).
        prior_centre: shape (2,).
    """
    # A few means fly far; all others would shrink for them.
    across, upwards = np.percentile(np.abs(positions - prior_centre), 99.8, axis=0)
    return max(3.4, 1.05 * float(max(across / _WIDER, upwards)))


def change_limit(change: np.ndarray) -> float:
    """The end of a scale that is the same on both sides of zero; a few extremes lie beyond it."""
    return float(np.percentile(np.abs(change), 98)) or 1.0


def class_differences(
    names: Sequence[str],
    differences: Sequence[Difference],
    pair: tuple[str, str],
    height: int | None = None,
    words: Words = IMAGES,
) -> go.Figure:
    """Each class's mean difference in nats per point with its interval; a line at none.

    Args:
        names: of the classes, in the order from top to bottom.
        differences: theirs.
        pair: the names of the first and the second run.
        height: in pixels.
    """
    means = np.array([d.mean for d in differences])
    low = np.array([d.low for d in differences])
    high = np.array([d.high for d in differences])
    figure = go.Figure(
        go.Scatter(
            x=means,
            y=[escaped(name) for name in names],
            mode="markers",
            marker={
                "size": 9,
                "color": [cheaper_colour(d) for d in differences],
            },
            error_x={
                **{"type": "data", "symmetric": False},
                **{"array": np.nan_to_num(high - means), "arrayminus": np.nan_to_num(means - low)},
                **{"thickness": 1.5, "width": 4, "color": PRIOR_COLOUR},
            },
            customdata=np.stack([low, high, [d.n for d in differences]], axis=1),
            hovertemplate="%{y}: %{x:+.2f} nats, %{customdata[0]:+.2f} to %{customdata[1]:+.2f}, "
            "%{customdata[2]:,} points<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"color": PRIOR_COLOUR, "width": 1})
    height = height or 70 + 30 * len(names)
    figure = plain_layout(figure, height, _less(pair, words), "", showlegend=False)
    return figure.update_layout(
        yaxis={"autorange": "reversed", "type": "category"}, hovermode="closest"
    )


def kl_by_rank(
    ranked: Sequence[tuple[np.ndarray, np.ndarray]],
    pair: tuple[str, str],
    most: int = 32,
    height: int = 330,
    words: Words = IMAGES,
) -> go.Figure:
    """The mean KL of the latent dimensions of both, by rank, in nats.

    Args:
        ranked: of each, its dimensions by mean KL, (D,), and those means, (D,).
        pair: the names of the first and the second run.
        most: ranks that are drawn.
        height: in pixels.
    """
    figure = go.Figure()
    for (order, means), name, colour in zip(ranked, pair, PAIR, strict=True):
        label = escaped(name)
        figure.add_bar(
            x=np.arange(1, len(order[:most]) + 1),
            y=means[:most],
            name=label,
            marker={"color": colour, "line": {"width": 0}},
            customdata=order[:most] + 1,
            hovertemplate="z<sub>%{customdata}</sub>: %{y:.3f} nats<extra>" + label + "</extra>",
        )
    y = f"mean KL, nats per {words.point}"
    figure = plain_layout(figure, height, "rank of the dimension", y)
    return figure.update_layout(
        barmode="group",
        bargap=0.25,
        margin={"t": 28},
        xaxis={"dtick": 1 if max(len(order) for order, _ in ranked) <= 16 else None},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
    )


def correlations(
    values: np.ndarray,
    orders: Sequence[np.ndarray],
    pair: tuple[str, str],
    most: int = 32,
    height: int = 330,
) -> go.Figure:
    """|correlation| of the dimensions' mu over the points; both sides ranked by KL, most first.

    Args:
        values: shape (D1, D2), -1 to 1.
        orders: the dimensions of the first and of the second, by rank.
        pair: the names of the first and the second run.
        most: ranks that are drawn of each.
        height: in pixels.
    """
    first, second = (order[:most] for order in orders)
    shown = values[np.ix_(first, second)]
    figure = go.Figure(
        go.Heatmap(
            z=np.abs(shown),
            x=[f"z<sub>{d + 1}</sub>" for d in second],
            y=[f"z<sub>{d + 1}</sub>" for d in first],
            customdata=shown,
            # From nothing, where the page shows through, to the ink of neither run.
            colorscale=[[0, "rgba(138, 145, 153, 0.05)"], [1, "rgba(138, 145, 153, 1)"]],
            zmin=0,
            zmax=1,
            **{"xgap": 1, "ygap": 1},
            hovertemplate="%{y}, %{x}: %{customdata:.2f}<extra></extra>",
            colorbar={"thickness": 8, "outlinewidth": 0, "nticks": 3},
        )
    )
    names = [escaped(name) for name in pair]
    figure = plain_layout(figure, height, f"dimension of {names[1]}", f"of {names[0]}")
    return figure.update_layout(
        margin={"t": 28},
        xaxis={"type": "category", "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False},
    )


def change_histogram(
    change: np.ndarray,
    pair: tuple[str, str],
    selected: float | None = None,
    height: int = 190,
    words: Words = IMAGES,
) -> go.Figure:
    """How many points changed by how much; each side in the colour of the cheaper one there.

    Args:
        change: second - first of every point in nats, shape (N,).
        pair: the names of the first and the second run.
        selected: that of the chosen point.
        height: in pixels.
    """
    change = change[np.isfinite(change)].clip(-1e300, 1e300)
    ends = np.percentile(change, (0.2, 99.8)) if len(change) else (0, 0)
    low, high = (float(end) for end in ends)
    low, high = min(low, 0.0), max(high, 0.0)
    width = (high - low) / min(80, max(16, round(len(change) ** 0.5))) or 1.0
    # An edge at zero: no bar belongs to both.
    edges = width * np.arange(np.floor(low / width) - 1, np.ceil(high / width) + 2)
    counts, _ = np.histogram(change, bins=edges)
    middles = (edges[:-1] + edges[1:]) / 2
    sides = {"color": np.where(middles > 0, FIRST_COLOUR, SECOND_COLOUR), "line": {"width": 0}}
    figure = go.Figure(bars(counts, edges, "%{x:+.1f} nats: %{y} points", marker=sides))
    if selected is not None:
        figure.add_vline(x=selected, line=SELECTED_LINE)
    return plain_layout(figure, height, _less(pair, words), "points", showlegend=False)


def _less(pair: tuple[str, str], words: Words) -> str:
    first, second = (escaped(name) for name in pair)
    return f"-ELBO of {second} less that of {first}, nats per {words.point}"


def cheaper_colour(difference: Difference) -> str:
    """The colour of the one that costs less; a neutral one where that is not clear."""
    if not difference.is_clear:
        return PRIOR_COLOUR
    return SECOND_COLOUR if difference.mean < 0 else FIRST_COLOUR


def _light(
    figure: go.Figure,
    embedding: Embedding,
    positions: np.ndarray,
    group: np.ndarray,
    change: np.ndarray | None,
) -> None:
    """The group once more, over all others; the points underneath take the clicks."""
    base = traces(figure)[0].marker
    colour = {"color": [class_colour(k) for k in embedding.labels[group]]}
    if change is not None:
        colour = {
            **{"color": change[group], "colorscale": CHANGE_SCALE},
            **{"cmin": base.cmin, "cmax": base.cmax},
        }
    figure.add_scattergl(
        x=positions[group, 0],
        y=positions[group, 1],
        mode="markers",
        marker={**colour, "size": base.size + 2, "line": {"width": 0.7, "color": _OUTLINE}},
        **NO_HOVER,
        unselected={"marker": {"opacity": 1}},
    )


def _scale_rings(figure: go.Figure, centre: np.ndarray, scale: float) -> None:
    cx, cy = (float(value) for value in centre)
    for shape in figure.layout.shapes:
        shape.update(
            **{"x0": cx + scale * (shape.x0 - cx), "x1": cx + scale * (shape.x1 - cx)},
            **{"y0": cy + scale * (shape.y0 - cy), "y1": cy + scale * (shape.y1 - cy)},
        )
    for note in figure.layout.annotations:
        note.y = cy + scale * (note.y - cy)
