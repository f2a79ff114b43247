"""Figures of the lessons: the graph of a computation, and slopes as draws arrive."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vae.figures.theme import PRIOR_COLOUR, Q_COLOUR, RECON_COLOUR

STOPPED = "#d95f02"  # where a slope does not pass
_WIDE, _HIGH = 0.62, 0.3  # half of a node
# Where the nodes stand: x, y above the row's own line.
_NODES = {"x": (0, 0), "mu": (2.2, 0.45), "sigma": (2.2, -0.45), "z": (4.5, 0), "x_hat": (6.7, 0)}
_NODES |= {"L": (8.9, 0), "eps": (4.5, 1.25)}
_BEFORE = (
    *(("x", "mu"), ("x", "sigma"), ("mu", "z"), ("sigma", "z"), ("z", "x_hat"), ("x_hat", "L")),
)
_AFTER = (*_BEFORE, ("eps", "z"))
_WEIGHTS = {("x", "mu"): "φ", ("z", "x_hat"): "θ"}
_LINES = {"before": 3.3, "after": 0.0}


def computation_graph(values: Mapping[str, str], height: int = 600) -> go.Figure:
    """The way from x to the loss twice: z as a draw, and z as a function of mu, sigma and epsilon.

    Grey arrows run forward; beneath them the slope runs back, as far as it comes.

    Args:
        values: of the nodes "x", "mu", "sigma", "eps", "z", "x_hat" and "L", as text.
        height: in pixels.
    """
    figure = go.Figure()
    for row, edges in (("before", _BEFORE), ("after", _AFTER)):
        line = _LINES[row]
        is_random = row == "before"
        for begin, end in edges:
            is_stopped = is_random and (begin in ("x", "mu", "sigma"))
            _arrow(figure, begin, end, line, PRIOR_COLOUR, 0.0)
            if begin != "eps":
                _arrow(
                    figure,
                    end,
                    begin,
                    line,
                    STOPPED if is_stopped else Q_COLOUR,
                    -0.16,
                    dash=is_stopped,
                )
            if letter := _WEIGHTS.get((begin, end)):
                (x1, y1), (x2, y2) = _NODES[begin], _NODES[end]
                _text(figure, (x1 + x2) / 2, line + (y1 + y2) / 2 + 0.36, letter, 20)
        for name in _NODES:
            if name == "eps" and is_random:
                continue
            noise = name == "eps" or (name == "z" and is_random)
            _node(figure, name, line, values.get(name, ""), noise)
        says = (
            "Before: z is drawn from q. The slope stops there (orange)."
            if is_random
            else "After: the noise is an input. The slope (green) reaches φ."
        )
        _text(figure, -0.7, line + 1.75, says, 15, anchor="left")
    return figure.update_layout(
        height=height,
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
        xaxis={"visible": False, "range": [-0.8, 9.7], "fixedrange": True},
        yaxis={"visible": False, "range": [-1.1, 5.3], "fixedrange": True},
        showlegend=False,
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
    )


_SYMBOLS = {"x": "x", "mu": "μ", "sigma": "σ", "eps": "ε", "z": "z", "x_hat": "x̂", "L": "L"}


def _node(figure: go.Figure, name: str, line: float, value: str, is_random: bool) -> None:
    x, y = _NODES[name][0], _NODES[name][1] + line
    figure.add_shape(
        type="circle" if is_random else "rect",
        **{"x0": x - _WIDE, "x1": x + _WIDE, "y0": y - _HIGH, "y1": y + _HIGH},
        line={
            "color": STOPPED if name == "z" and is_random else PRIOR_COLOUR,
            "width": 2,
            "dash": "dash" if is_random else "solid",
        },
        fillcolor="rgba(138, 145, 153, 0.14)",
    )
    text = f"<b>{_SYMBOLS[name]}</b>" + (f" = {value}" if value else "")
    _text(figure, x, y, text, 14)


def _arrow(
    figure: go.Figure,
    begin: str,
    end: str,
    line: float,
    colour: str,
    below: float,
    dash: bool = False,
) -> None:
    (x1, y1), (x2, y2) = _NODES[begin], _NODES[end]
    if x1 == x2:
        start, stop = (x1, y1 - _HIGH), (x2, y2 + _HIGH)
    else:
        side = _WIDE if x2 > x1 else -_WIDE
        start, stop = (x1 + side, y1 + below), (x2 - side, y2 + below)
    figure.add_annotation(
        **{"x": stop[0], "y": stop[1] + line, "ax": start[0], "ay": start[1] + line},
        **{"xref": "x", "yref": "y", "axref": "x", "ayref": "y", "text": ""},
        **{"showarrow": True, "arrowhead": 2, "arrowsize": 1, "arrowwidth": 1.8},
        arrowcolor=colour,
        opacity=0.45 if dash else 1,
    )


def _text(
    figure: go.Figure, x: float, y: float, text: str, size: int, anchor: str = "center"
) -> None:
    figure.add_annotation(x=x, y=y, text=text, showarrow=False, xanchor=anchor, font={"size": size})


def slopes(
    draws: Mapping[str, np.ndarray], levels: Mapping[str, float], height: int = 600
) -> go.Figure:
    """Means of slopes as draws arrive, each with a band of two standard errors, over their level.

    Args:
        draws: what each draw says, (L,), by the name of the panel.
        levels: torch's own gradient, by the same names.
        height: in pixels.
    """
    figure = make_subplots(
        rows=len(draws),
        cols=1,
        shared_xaxes=True,
        subplot_titles=list(draws),
        vertical_spacing=0.09,
    )
    for row, (name, values) in enumerate(draws.items(), 1):
        n = np.arange(1, len(values) + 1)
        mean = values.cumsum() / n
        error = 2 * values.std() / np.sqrt(n)
        for sign in (1, -1):
            figure.add_scatter(
                x=n,
                y=levels[name] + sign * error,
                mode="lines",
                hoverinfo="skip",
                line={"width": 0},
                fill="tonexty" if sign < 0 else None,
                fillcolor="rgba(138, 145, 153, 0.22)",
                row=row,
                col=1,
            )
        figure.add_scatter(
            x=n,
            y=np.full(len(n), levels[name]),
            mode="lines",
            line={"color": PRIOR_COLOUR, "dash": "dash", "width": 1.5},
            hovertemplate="autograd: %{y:.4g}<extra></extra>",
            row=row,
            col=1,
        )
        figure.add_scatter(
            x=n,
            y=mean,
            mode="lines",
            line={"color": RECON_COLOUR if "score" in name else Q_COLOUR, "width": 2},
            hovertemplate="mean of %{x:,}: %{y:.4g}<extra></extra>",
            row=row,
            col=1,
        )
    figure.update_xaxes(type="log", showgrid=False)
    figure.update_xaxes(title={"text": "L, draws"}, row=len(draws), col=1)
    figure.update_yaxes(zeroline=False)
    return figure.update_layout(
        height=height, margin={"l": 8, "r": 8, "t": 30, "b": 8}, showlegend=False
    )
