"""A figure as it is sent: made once, and marked for each visitor without being made anew."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import plotly.graph_objects as go
from plotly.basedatatypes import BaseFigure

_templates: list[Any] = []


def _same(template: Any) -> Any:
    """A template that was met before, if there is an equal one."""
    for known in _templates:
        if known == template:
            return known
    _templates.append(template)
    return template


class Prepared(BaseFigure):
    """A figure by what Plotly's JSON is made of, which is read only.

    To build a figure takes ten times as long as to send it.

    Args:
        spec: "data" and "layout", as of `go.Figure.to_dict`.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec

    @classmethod
    def of(cls, figure: go.Figure) -> Prepared:
        """A figure that is not changed any more."""
        spec = figure.to_dict()
        template = spec["layout"].get("template")  # larger than most figures, and the same in all
        if template is not None:
            spec["layout"]["template"] = _same(template)
        return cls(spec)

    def to_dict(self) -> dict[str, Any]:
        """Its spec: what `st.plotly_chart` asks a figure for."""
        return self._spec

    @cached_property
    def whole(self) -> go.Figure:
        """The figure again, as plotly's own; not to be changed."""
        return go.Figure(self._spec)

    def marked(self, marks: go.Figure) -> Prepared:
        """With the traces and shapes of another figure over its own."""
        more, layout = marks.to_dict(), self._spec["layout"]
        shapes = [*layout.get("shapes", ()), *more["layout"].get("shapes", ())]
        return Prepared(
            {
                **self._spec,
                "data": [*self._spec["data"], *more["data"]],
                "layout": {**layout, "shapes": shapes} if shapes else layout,
            }
        )

    def zoomed(self, **ranges: list[float]) -> Prepared:
        """With its axes from one value to another, as in zoomed(xaxis=[0.0, 1.0])."""
        layout = dict(self._spec["layout"])
        for axis, values in ranges.items():
            # A chart is drawn in some other size first: widening ranges to keep both axes' scales
            # the same, as is usual here, it would widen them at each drawing.
            layout[axis] = {**layout.get(axis, {}), "range": values, "constrain": "domain"}
        return Prepared({**self._spec, "layout": layout})

    def without_groups(self, hidden: list[str]) -> Prepared:
        """With the traces of some groups of the legend hidden."""
        data = [
            {**trace, "visible": "legendonly"} if trace.get("legendgroup") in hidden else trace
            for trace in self._spec["data"]
        ]
        return Prepared({**self._spec, "data": data})

    def enlarged(self, factor: float) -> Prepared:
        """With type, lines and dots so many times as large, for a projector."""
        layout = dict(self._spec["layout"])
        font = layout.get("font", {})
        layout["font"] = {**font, "size": factor * font.get("size", _TYPE)}
        for name, part in layout.items():
            if name.startswith(("xaxis", "yaxis")):
                layout[name] = _with_larger_type(part, "tickfont", factor)
            elif name == "legend":
                layout[name] = _with_larger_type(part, "font", factor)
        for name in ("annotations", "shapes"):
            if name in layout:
                layout[name] = [_scaled(part, factor) for part in layout[name]]
        if layout.get("width"):
            layout["width"] = factor * layout["width"]
            layout["height"] = factor * layout["height"]
        elif layout.get("height"):
            layout["height"] = factor**0.5 * layout["height"]  # a screen is no higher than it was
        if "margin" in layout:
            scaled = {k: factor * v for k, v in layout["margin"].items() if k in "lrtb"}
            layout["margin"] = {**layout["margin"], **scaled}
        data = [_scaled(trace, factor) for trace in self._spec["data"]]
        return Prepared({**self._spec, "data": data, "layout": layout})


_TYPE = 12  # pixels: of Plotly's axes and legends where nothing is said, and the least


def _with_larger_type(part: dict[str, Any], font: str, factor: float) -> dict[str, Any]:
    """An axis or a legend, whose own type is so named."""

    def larger(of: dict[str, Any], name: str) -> dict[str, Any]:
        own = of.get(name, {})
        return {**of, name: {**own, "size": factor * max(_TYPE, own.get("size", _TYPE))}}

    part = larger(part, font)
    if isinstance(title := part.get("title"), dict):
        part["title"] = larger(title, "font")
    return part


def _scaled(part: Any, factor: float) -> Any:
    """A trace, shape or annotation with its sizes of type and dots, and widths of lines, larger."""
    if not isinstance(part, dict):
        return part
    made = {name: _scaled(value, factor) for name, value in part.items()}
    for owner, size in (
        ("font", "size"),
        ("textfont", "size"),
        ("marker", "size"),
        ("line", "width"),
    ):
        own = made.get(owner)
        if isinstance(own, dict) and isinstance(own.get(size), int | float):
            least = _TYPE if owner.endswith("font") else 0
            made[owner] = {**own, size: factor * max(least, own[size])}
    return made
