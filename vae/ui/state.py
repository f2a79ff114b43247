"""What is selected: one checkpoint, data set, point and colour for the whole app, kept in the URL.

Streamlit forgets a widget's value, and its bound query parameter, on a page that does not draw it.
So the selection lives in session state under the keys below, apart from the widgets that show and
change it (see `widget`); the frame restores it at the start of every run and publishes it at the
end, whichever page is shown.
"""

from typing import Any

import streamlit as st

RUN, DATA, POINT, COLOUR = "run", "data", "point", "colour"
_KEYS = (RUN, DATA, POINT, COLOUR)
_PUBLISHED = "_published"  # what the URL was last given
GROUP = "group"  # (data, indices) that a lasso chose, not in the URL


def restore() -> None:
    """Takes the selection from the URL where that says something new: a link was followed."""
    published = st.session_state.get(_PUBLISHED, {})
    for key in _KEYS:
        if key in st.query_params and st.query_params[key] != published.get(key):
            st.session_state[key] = st.query_params[key]
    try:
        st.session_state[POINT] = max(0, int(st.session_state.get(POINT, 0)))
    except ValueError:  # the URL may say anything
        st.session_state[POINT] = 0


def publish() -> None:
    """Writes the selection into the URL, so that the address bar is a link to this view."""
    selection = {key: str(st.session_state[key]) for key in _KEYS if key in st.session_state}
    for key, value in selection.items():
        if st.query_params.get(key) != value:
            st.query_params[key] = value
    st.session_state[_PUBLISHED] = selection


def widget(key: str) -> dict[str, Any]:
    """What a widget is given so that it shows a part of the selection and changes it."""
    widget_key = f"pick_{key}"
    st.session_state[widget_key] = st.session_state[key]

    def take() -> None:
        st.session_state[key] = st.session_state[widget_key]

    return {"key": widget_key, "on_change": take}


def keep_within(key: str, options: list[Any]) -> None:
    """Sets the selection to the first option if it is none of them."""
    if st.session_state.get(key) not in options:
        st.session_state[key] = options[0]


def point_from_chart(key: str) -> None:
    """Takes the selection of the chart with that key: a click is a point, a lasso a group."""
    indices = _indices(st.session_state[key]["selection"]["points"])
    if len(indices) == 1:
        st.session_state[POINT] = indices[0]
    elif indices:
        st.session_state[GROUP] = (st.session_state[DATA], indices)


def group(n_points: int) -> list[int]:
    """What a lasso chose among the n points now shown; nothing if it was in other data."""
    data, indices = st.session_state.get(GROUP, ("", []))
    return [i for i in indices if i < n_points] if data == st.session_state[DATA] else []


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
