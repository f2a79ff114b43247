"""What is selected: one checkpoint, data set, point and colour for the whole app, kept in the URL.

Widgets bound to query parameters hold them, under the keys below; a page changes them through
`st.session_state` before the widget is drawn, or in a callback.
"""

import streamlit as st

RUN, DATA, POINT, COLOUR = "run", "data", "point", "colour"
GROUP = "group"  # the indices that a lasso chose, not in the URL


def point_from_chart(key: str) -> None:
    """Takes the selection of the chart with that key: a click is a point, a lasso a group."""
    indices = _indices(st.session_state[key]["selection"]["points"])
    if len(indices) == 1:
        st.session_state[POINT] = indices[0]
    elif indices:
        st.session_state[GROUP] = indices


def _indices(points: list[dict]) -> list[int]:
    """The points' own indices; rings and ellipses on the chart have none."""
    found = []
    for point in points:
        index = point.get("customdata")
        if isinstance(index, list):
            index = index[0] if index else None
        if index is not None:
            found.append(int(index))
    return found
