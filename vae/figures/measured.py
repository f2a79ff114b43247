"""One vector or series beside its reconstruction, and what each of its numbers costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vae.figures import theme
from vae.figures.theme import PRIOR_COLOUR, Q_COLOUR, RECON_COLOUR, plain_layout

MOST_FEATURES = 40  # with a row each; of more the costliest are shown
_ROW = 22  # pixels
_BAND = "rgba(0, 163, 131, 0.18)"  # of q's colour


def vector(
    names: Sequence[str],
    x: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    cost: np.ndarray,
    values: Sequence[tuple[str, str]],
) -> go.Figure:
    """A row for each feature, the costliest first: x, E[x|z] with its spread, and its nats.

    Args:
        names: of the F features.
        x, mean, sd: on the standardised axis, each (F,); NaN where x is missing.
        cost: what each adds to recon, in nats, (F,).
        values: of x and of E[x|z], as they are measured, with their unit.
    """
    order: list[int] = np.argsort(-cost, kind="stable")[:MOST_FEATURES].tolist()
    order.reverse()  # the axis goes upwards
    rows = [f"{theme.escaped(names[f])}  <b>{theme.escaped(values[f][0])}</b>" for f in order]
    figure = make_subplots(
        1, 2, shared_yaxes=True, column_widths=[0.7, 0.3], horizontal_spacing=0.03
    )
    told = [[names[f], *values[f], cost[f]] for f in order]
    hover = (
        "%{customdata[0]}: x %{customdata[1]}, E[x|z] %{customdata[2]}, %{customdata[3]:.2f} nats"
    )
    common = {"y": rows, "customdata": told, "hovertemplate": f"{hover}<extra></extra>"}
    figure.add_trace(
        go.Scatter(
            x=mean[order],
            error_x={"array": sd[order], "thickness": 5, "width": 0, "color": _BAND},
            mode="markers",
            name="E[x|z = μ] ± σ",
            marker={"symbol": "circle-open", "size": 10, "color": Q_COLOUR, "line": {"width": 2}},
            **common,
        ),
        1,
        1,
    )
    x_marker = {"size": 7, "color": RECON_COLOUR}
    figure.add_trace(
        go.Scatter(x=x[order], mode="markers", name="x", marker=x_marker, **common), 1, 1
    )
    nats = go.Bar(
        x=cost[order], orientation="h", marker={"color": PRIOR_COLOUR}, showlegend=False, **common
    )
    figure.add_trace(nats, 1, 2)
    plain_layout(figure, 90 + _ROW * len(order), "standardised", "")
    figure.update_yaxes(automargin=True, tickfont={"size": 12}, showgrid=True)
    figure.update_xaxes(title_text="nats", row=1, col=2)
    return theme.legend_above(figure)


def series(
    t: np.ndarray,
    channels: Sequence[str],
    x: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    cost: np.ndarray,
    height: int = 300,
) -> go.Figure:
    """The lines of x and of E[x|z] with a band of one standard deviation, over the nats of each.

    Args:
        t: places along the series, (L,).
        channels: names of the C channels.
        x, mean, sd: in each channel's own unit, each (C, L); NaN where x is missing.
        cost: what each number adds to recon, in nats, (C, L).
    """
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.72, 0.28], vertical_spacing=0.06)
    for c, name in enumerate(channels):
        named = f", {theme.escaped(name)}" if len(channels) > 1 else ""
        dash = ("solid", "dash", "dot")[c % 3]
        for y, fill in ((mean[c] - sd[c], None), (mean[c] + sd[c], "tonexty")):
            edge = go.Scatter(x=t, y=y, mode="lines", line={"width": 0}, fill=fill)
            figure.add_trace(edge.update(fillcolor=_BAND, **theme.NO_HOVER), 1, 1)
        for y, what, colour in ((x[c], "x", RECON_COLOUR), (mean[c], "E[x|z = μ] ± σ", Q_COLOUR)):
            line = {"color": colour, "width": 2, "dash": dash}
            figure.add_trace(go.Scatter(x=t, y=y, mode="lines", name=what + named, line=line), 1, 1)
    nats = go.Bar(x=t, y=cost.sum(0), marker={"color": PRIOR_COLOUR}, showlegend=False)
    figure.add_trace(nats.update(hovertemplate="%{x}: %{y:.2f} nats<extra></extra>"), 2, 1)
    plain_layout(figure, height, "", theme.escaped(channels[0]) if len(channels) == 1 else "")
    figure.update_layout(bargap=0)
    figure.update_yaxes(title_text="nats", row=2, col=1)
    return theme.legend_above(figure)
