"""What the figures share: colours, the names of the terms, the scale of nats, axes and marks.

One colour means one thing in every figure. Colours are fixed here and legible on light and dark;
backgrounds, grids and fonts are left to the page's theme.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.colors
import plotly.graph_objects as go

from vae.names import printable

if TYPE_CHECKING:
    from vae.analysis.embedding import Embedding

# Petroff's ten colours, safe for colour-blind eyes (Petroff, 2021: Accessible color sequences).
CLASS_COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
Q_COLOUR = "#00a383"  # q(z|x) and whatever the hand has chosen
PRIOR_COLOUR = "#8a9199"  # p(z)
HALO = "rgba(255, 255, 255, 0.75)"  # around what must stand out from a cloud of points
# One scale for nats: plasma without its ends, which vanish on a dark or on a white page.
NATS = [
    [i / 8, plotly.colors.sample_colorscale("Plasma", 0.12 + 0.78 * i / 8)[0]] for i in range(9)
]
RECON_COLOUR = NATS[4][1]  # the reconstruction term beside the KL, which has q's

PRIOR_LINE = {"color": PRIOR_COLOUR, "width": 1.5, "dash": "dot"}
THRESHOLD_LINE = {"color": PRIOR_COLOUR, "width": 1.5, "dash": "dash"}
SELECTED_LINE = {"color": Q_COLOUR, "width": 2}
_LARGEST = 1e300  # in a histogram: the width of its bins is finite, too
BARE = {"showgrid": False, "zeroline": False}  # an axis
DECADES = {"type": "log", "dtick": 1, "exponentformat": "power"}  # an axis
NO_HOVER = {"hoverinfo": "skip", "showlegend": False}  # a trace that only marks something
# Plotly's own selection dims what is not chosen; a map must stay readable with one point chosen.
_UNSELECTED = {"marker": {"opacity": 0.45}}

TERMS = {"recon": "recon", "KL": "kl", "-ELBO": "neg_elbo"}  # as pages write them: in code


def term(embedding: Embedding, name: str) -> np.ndarray:
    """A value per point: a key of TERMS, or a known factor's name."""
    if name in TERMS:
        return getattr(embedding, TERMS[name])
    return embedding.factors[name]


def class_colour(label: int) -> str:
    """The colour that a class has everywhere."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]


def escaped(name: str) -> str:
    """A name as Plotly shows it to the letter; it would read HTML and templates in it."""
    return html.escape(printable(name), quote=False).replace("%{", "%&#123;")


def by_class(
    labels: np.ndarray, class_names: Sequence[str], rows: np.ndarray | None = None
) -> Iterator[tuple[int, str, np.ndarray]]:
    """Label, escaped name and rows of each class that has some; of the given rows, or of all."""
    rows = np.arange(len(labels)) if rows is None else rows
    for label, name in enumerate(class_names):
        of_class = rows[labels[rows] == label]
        if len(of_class):
            yield label, escaped(name), of_class


# --- layout ---------------------------------------------------------------------------------------


def plain_layout(
    figure: go.Figure, height: int, x_title: str, y_title: str, showlegend: bool = True
) -> go.Figure:
    """What plain charts share: small margins and the axes' titles."""
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"title": {"text": x_title}},
        yaxis={"title": {"text": y_title}},
        showlegend=showlegend,
    )


def legend_above(figure: go.Figure) -> go.Figure:
    """Puts the legend in a line over the chart."""
    return figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom"},
        margin={"t": 30},
    )


# --- pieces ---------------------------------------------------------------------------------------


def bars(counts: np.ndarray, edges: np.ndarray, hover: str, **options: object) -> go.Bar:
    """A histogram's bars without gaps between them.

    Args:
        counts: shape (n,).
        edges: of the bins, shape (n + 1,).
        hover: what is said of a bar, as a template of Plotly's.
        options: more of `go.Bar`.
    """
    usual = {"marker": {"color": PRIOR_COLOUR, "line": {"width": 0}}}
    return go.Bar(
        x=(edges[:-1] + edges[1:]) / 2,
        y=counts,
        width=np.diff(edges),
        hovertemplate=f"{hover}<extra></extra>",
        **(usual | options),
    )


def binned(values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A histogram of so many bins, whatever the values are; those that are not finite are left out.

    Values that are the same but for rounding have bins that are wider than the rounding, around
    them.

    Returns:
        The counts, shape (n,), and the bins' edges, (n + 1,), in float64.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)].clip(-_LARGEST, _LARGEST)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    least = 1e-6 * max(abs(low), abs(high), 1e-6)  # ten times the rounding of float32
    if high - low < least:
        middle = (low + high) / 2
        low, high = middle - least, middle + least
    return np.histogram(finite, n, (low, high))


def traces(figure: go.Figure) -> list[Any]:
    """A figure's traces; plotly does not say their type."""
    return list(figure.data)


def add_rings(
    figure: go.Figure, centre: Sequence[float] = (0, 0), width: float = 1, **options: object
) -> None:
    """The prior's rings at 1, 2 and 3 sigma around where z = 0 stands."""
    x, y = centre
    for radius in (1, 2, 3):
        figure.add_shape(
            type="circle",
            **{"x0": x - radius, "y0": y - radius, "x1": x + radius, "y1": y + radius},
            line={"color": PRIOR_COLOUR, "width": width, "dash": "dot"},
            **options,
        )


def add_points(
    figure: go.Figure,
    embedding: Embedding,
    positions: np.ndarray,
    rows: np.ndarray,
    **options: object,
) -> None:
    """Some of the points at their positions; a trace without a name says each one's class."""
    names = np.array([escaped(name) for name in embedding.class_names], dtype=object)
    figure.add_scattergl(
        x=positions[rows, 0],
        y=positions[rows, 1],
        mode="markers",
        # One number per point keeps 70,000 points light; what else hover shows is plotted anyway.
        customdata=rows.astype(np.int32),
        text=None if "name" in options else names[embedding.labels[rows]],
        hovertemplate="point %{customdata}<extra>"
        + ("%{fullData.name}" if "name" in options else "%{text}")
        + "</extra>",
        unselected=_UNSELECTED,
        **options,
    )


def add_ring(figure: go.Figure, position: np.ndarray) -> None:
    """Rings a point at (2,)."""
    add_mark(figure, position[None], mode="markers")


def add_mark(figure: go.Figure, line: np.ndarray, mode: str) -> None:
    """Something in q's colour over the points, (n, 2), with a halo to stand out from them."""
    for colour, width in ((HALO, 5), (Q_COLOUR, 2.5)):
        # WebGL lies over SVG: an ordinary trace would vanish beneath a dense cloud of points.
        figure.add_scattergl(
            x=line[:, 0],
            y=line[:, 1],
            mode=mode,
            line={"color": colour, "width": width},
            marker={
                **{"symbol": "circle-open", "size": 16, "color": colour},
                "line": {"width": width},
            },
            **NO_HOVER,
        )


def normal_density(x: np.ndarray) -> np.ndarray:
    """That of N(0, 1)."""
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
