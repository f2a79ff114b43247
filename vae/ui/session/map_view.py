"""What the hand made of Explore's map: the part that it zoomed to, and the classes that it hid.

Streamlit makes a chart anew when anything of its figure changes, and the zoom is gone. So the panel
reports it, and the next figure begins there. A figure that would not change otherwise is left as it
is, or each zoom would cost a drawing.
"""

import math
from collections.abc import Hashable
from typing import Any

import streamlit as st

from vae.figures.prepared import Prepared

_REPORTED = "_map_view"  # (of what, the report)
_DRAWN = "_map_drawn"  # (of what, which figure, the report that it began with)
_MOST_HIDDEN = 1000


def take(report: Any) -> None:
    """Keeps what the panel reports of the map that is shown; what makes no sense is left out."""
    if not isinstance(report, dict) or _DRAWN not in st.session_state:
        return
    of = st.session_state[_DRAWN][0]
    before_of, before = st.session_state.get(_REPORTED, (None, {}))
    kept = {name: _interval(report.get(name)) for name in ("x", "y")}
    # A map that is not coloured by class says nothing of them.
    hidden = report.get("hidden", before.get("hidden", []) if before_of == of else [])
    names = [name for name in hidden if isinstance(name, str)] if isinstance(hidden, list) else []
    st.session_state[_REPORTED] = of, kept | {"hidden": names[:_MOST_HIDDEN]}


def apply(figure: Prepared, of: Hashable, drawn: Hashable) -> Prepared:
    """The figure as it begins where the hand left the last one.

    Args:
        figure: of the map.
        of: what it shows: another model, data set or plane is another map.
        drawn: what else the figure depends on, such as its colour.
    """
    reported_of, report = st.session_state.get(_REPORTED, (None, None))
    if reported_of != of:
        report = None
    if (before := st.session_state.get(_DRAWN)) and before[:2] == (of, drawn):
        report = before[2]
    st.session_state[_DRAWN] = of, drawn, report
    if report is None:
        return figure
    if report["x"] and report["y"]:
        figure = figure.zoomed(xaxis=report["x"])
        if not figure.to_dict()["layout"].get("yaxis", {}).get("fixedrange"):
            figure = figure.zoomed(yaxis=report["y"])
    return figure.without_groups(report["hidden"])


def shown() -> dict[str, Any]:
    """What the hand made of the map that is shown, as it was reported; empty if nothing."""
    of, report = st.session_state.get(_REPORTED, (None, {}))
    if _DRAWN not in st.session_state or st.session_state[_DRAWN][0] != of:
        return {}
    return {name: value for name, value in report.items() if value}


def _interval(values: Any) -> list[float] | None:
    """Two finite numbers, the lower one first; else nothing."""
    if not isinstance(values, list) or len(values) != 2:
        return None
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        return None
    return values if values[0] < values[1] else None
