"""Figures for a browser without WebGL: their points are elements of the page, and fewer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from vae.figures.theme import traces

MOST_POINTS = 4000  # of a figure: each is an element of the page
_FEW = 100  # points of a trace that only marks something: all are kept


def thinning(figure: go.Figure) -> int:
    """One point in so many is drawn."""
    points = [len(t.x) for t in traces(figure) if _is_webgl(t) and _is_cloud(t)]
    return sum(points) // MOST_POINTS + 1


def without_webgl(figure: go.Figure) -> go.Figure:
    """The same figure in SVG, of at most MOST_POINTS points and its marks."""
    every = thinning(figure)
    drawn = [_in_svg(trace, trace, every) for trace in traces(figure)]
    frames = [
        go.Frame(
            name=frame.name,
            data=[_in_svg(t, base, every) for t, base in zip(frame.data, figure.data, strict=True)],
        )
        for frame in figure.frames
    ]
    return go.Figure(data=drawn, layout=figure.layout, frames=frames)


def _is_webgl(trace: Any) -> bool:
    return trace.type == "scattergl"


def _is_cloud(trace: Any) -> bool:
    return trace.mode == "markers" and trace.x is not None and len(trace.x) > _FEW


def _in_svg(trace: Any, base: Any, every: int) -> Any:
    """A trace, or what a frame changes of its `base`."""
    if not _is_webgl(trace):
        return trace
    properties = {name: value for name, value in trace.to_plotly_json().items() if name != "type"}
    if every > 1 and _is_cloud(base):
        n = len(trace.x)
        properties = _each(properties, n, every)
        if "marker" in properties:
            properties["marker"] = _each(properties["marker"], n, every)
    return go.Scatter(properties)


def _each(properties: dict[str, Any], n: int, every: int) -> dict[str, Any]:
    """One value in so many of what has one for each of n points."""

    def is_of_points(value: object) -> bool:
        return isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str)

    return {
        name: value[::every] if is_of_points(value) and len(value) == n else value
        for name, value in properties.items()
    }
