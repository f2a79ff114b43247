"""What is selected: one checkpoint, data set, point and colour for the whole app, kept in the URL.

Streamlit forgets a widget's value, and its bound query parameter, on a page that does not draw it.
So the selection lives in session state under the keys below, apart from the widgets that show and
change it (see `widgets`); the frame restores it at the start of every run and publishes it at the
end, whichever page is shown.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from vae.inference.condition import OWN_LABEL, Condition
from vae.ui.session import link, manual_q, readings

RUN, DATA, POINT, COLOUR = "run", "data", "point", "colour"
CLASS = "class"  # what a model with a condition is given: a class's number, or OWN
OWN = "own"
OTHER = "other"  # the checkpoint that Compare holds against the chosen one
VISIT = "visit"  # by which a page that is loaded again finds its visitor's uploads
_KEYS = (RUN, DATA, POINT, COLOUR, CLASS, OTHER, VISIT)
_PUBLISHED = "_published"  # what the URL was last given
_SEEN = "_seen"  # what it said before that, while a run goes on
GROUP = "group"  # (data, indices) that a lasso chose, not in the URL
SPLITS = {"held-out": "test", "training": "train", "all": "all"}  # as written: in code


def restore(opening: Callable[[], dict[str, str]] = dict) -> None:
    """Takes the selection from the URL where that says something new: a link was followed.

    Args:
        opening: gives the query of the view for who has followed no link to a checkpoint.
    """
    known = dict(st.session_state.get(_PUBLISHED, {}))
    seen, query = st.session_state.get(_SEEN, {}), dict(st.query_params)
    known |= {key: value for key, value in query.items() if value == seen.get(key)}
    # Noted at once: whoever presses a button ends this run, and what the button does must stand.
    st.session_state[_SEEN] = query
    if RUN not in st.session_state and RUN not in query:
        query = opening() | query
    for key in _KEYS:
        if key in query and query[key] != known.get(key):
            st.session_state[key] = query[key]
            link.asks(key, query[key])
    st.session_state[POINT] = _whole(st.session_state.get(POINT, 0))
    manual_q.restore(query, known, _point())
    readings.restore(query, known, st.session_state.get(RUN))


def publish() -> None:
    """Writes the selection into the URL, so that the address bar is a link to this view."""
    selection = {key: str(st.session_state[key]) for key in _KEYS if key in st.session_state}
    selection |= manual_q.in_link(_point())
    selection |= readings.in_link(st.session_state.get(RUN))
    before = st.session_state.get(_PUBLISHED, {})
    st.session_state[_PUBLISHED] = selection
    for key in {*before, *_KEYS, *manual_q.KEYS} - set(selection):
        st.query_params.pop(key, None)
    changed = {key: value for key, value in selection.items() if st.query_params.get(key) != value}
    if changed:
        st.query_params.update(changed)  # in one message
    st.session_state[_SEEN] = selection


def data() -> tuple[str, str]:
    """The data set's name and its split, as code calls it."""
    name, _, split = st.session_state[DATA].rpartition(" ")
    return name, SPLITS.get(split) or split


def data_name() -> str:
    """The data set's name; "" where nothing is selected."""
    return data()[0] if DATA in st.session_state else ""


def condition() -> Condition:
    """What models with a condition are given: each point's own label, or a class."""
    chosen = st.session_state.get(CLASS, OWN)
    return int(chosen) if str(chosen).isdecimal() else OWN_LABEL


def keep_within(key: str, options: list[Any], otherwise: Any = None) -> None:
    """Sets the selection to `otherwise` if it is none of the options: to the first, unless said."""
    is_there = st.session_state.get(key) in options
    if not is_there:
        st.session_state[key] = otherwise if otherwise in options else options[0]
    link.looked_up(key, is_there, st.session_state[key])


def keep_point(n_points: int) -> None:
    """Sets the point to the last one if there are not so many, as in a smaller data set."""
    is_there = st.session_state[POINT] < n_points and (link.asked(POINT) or "0").isdecimal()
    st.session_state[POINT] = min(st.session_state[POINT], n_points - 1)
    link.looked_up(POINT, is_there, st.session_state[POINT])


def point_from_chart(key: str) -> None:
    """Takes the selection of the chart with that key: a click is a point, a lasso a group."""
    indices = chart_indices(key)
    if len(indices) == 1:
        st.session_state[POINT] = indices[0]
    elif indices:
        st.session_state[GROUP] = (st.session_state[DATA], indices)


def point_from_table(key: str, indices: np.ndarray) -> None:
    """Takes the row that was chosen in the table with that key; `indices` are its rows' points."""
    if chosen := st.session_state[key]["selection"]["rows"]:
        st.session_state[POINT] = int(indices[chosen[0]])


def group(n_points: int) -> list[int]:
    """What a lasso chose among the n points now shown; nothing if it was in other data."""
    return of_this_data(st.session_state.get(GROUP), n_points)


def of_this_data(kept: tuple[str, list[int]] | None, n_points: int) -> list[int]:
    """Indices that were kept as (data, indices), if they are of the data now shown."""
    data, indices = kept or ("", [])
    return [i for i in indices if i < n_points] if data == st.session_state[DATA] else []


def chart_indices(key: str) -> list[int]:
    """Which points were chosen on the chart with that key; lines and letters on it have none."""
    found = []
    for point in st.session_state[key]["selection"]["points"]:
        index = point.get("customdata")
        if isinstance(index, list):
            index = index[0] if index else None
        if index is not None:
            found.append(int(index))
    return found


def _whole(number: Any) -> int:
    """Not negative; 0 where it is none: the URL may say anything."""
    try:
        return max(0, int(number))
    except ValueError:
        return 0


def _point() -> manual_q.Point | None:
    """The chosen point as the live panel names it; None while it is not known whose it is."""
    if RUN not in st.session_state or DATA not in st.session_state:
        return None
    name, split = data()
    return {
        "run": st.session_state[RUN],
        "data": name,
        "split": split,
        "index": st.session_state[POINT],
    }
