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
