"""Figures of two Gaussians: numpy in, plotly Figure out. P and Q have the colours of the plane."""

import numpy as np
import plotly.graph_objects as go

from vae.figures.theme import PRIOR_COLOUR
from vae.figures.theme import Q_COLOUR as P_COLOUR  # P plays the part of q(z|x)

OTHER_COLOUR = "#d95f02"  # Q; with the accent a pair that colour-blind eyes tell apart (Dark2)


def line(
    x: np.ndarray,
    densities: tuple[np.ndarray, np.ndarray],
    integrands: tuple[np.ndarray, np.ndarray],
    height: int = 540,
) -> go.Figure:
    """Two densities on a line, and under them the integrands of both KLs.

    Args:
        x: ascending, shape (n,).
        densities: of P and Q at x, each (n,).
        integrands: P log(P/Q) and Q log(Q/P) at x, each (n,), in nats per unit length.
        height: in pixels.
    """
    figure = go.Figure()
    rows = (
        ("P", densities[0], P_COLOUR, "y"),
        ("Q", densities[1], OTHER_COLOUR, "y"),
        ("P log(P/Q)", integrands[0], P_COLOUR, "y2"),
        ("Q log(Q/P)", integrands[1], OTHER_COLOUR, "y2"),
    )
    for name, values, colour, axis in rows:
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        figure.add_scatter(
            x=x,
            y=values,
            yaxis=axis,
            name=name,
            mode="lines",
            line={"color": colour, "width": 2},
            showlegend=axis == "y",
            fill="tozeroy",
            fillcolor=f"rgba({red}, {green}, {blue}, 0.16)",
            hovertemplate="%{x:.3f}: %{y:.4f}<extra>" + name + "</extra>",
        )
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 28, "b": 8},
        xaxis={"title": {"text": "x"}, "anchor": "y2", "zeroline": False},
        yaxis={"title": {"text": "density"}, "domain": [0.54, 1], "rangemode": "tozero"},
        yaxis2={
            **{"title": {"text": "P log(P/Q), Q log(Q/P); nats per unit"}, "domain": [0, 0.46]},
            **{"zeroline": True, "zerolinecolor": PRIOR_COLOUR, "zerolinewidth": 1},
        },
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"},
        hovermode="x unified",
        uirevision="line",
    )
