"""What is selected: one checkpoint, data set, point and colour for the whole app, kept in the URL.

Streamlit forgets a widget's value, and its bound query parameter, on a page that does not draw it.
So the selection lives in session state under the keys below, apart from the widgets that show and
change it (see `widget`); the frame restores it at the start of every run and publishes it at the
end, whichever page is shown.
"""

import math
from typing import Any

import numpy as np
import streamlit as st

RUN, DATA, POINT, COLOUR = "run", "data", "point", "colour"
OTHER = "other"  # the checkpoint that Compare holds against the chosen one
_KEYS = (RUN, DATA, POINT, COLOUR, OTHER)
_PUBLISHED = "_published"  # what the URL was last given
GROUP = "group"  # (data, indices) that a lasso chose, not in the URL
HAND = (
    "hand"  # the q that the hand has set: {"point": key of its point, "mu": [...], "sigma": [...]}
)
LIVE = "live_settings"  # of the live panel: seed, S, follow, smooth, manifold
DRAWINGS = "drawings"  # images that were drawn and sent to Points, newest last
WITHOUT_WEBGL = "without_webgl"  # the browser said so
_HAND_IN_URL = 16  # dimensions; a longer q would make no link
_MOST_DRAWINGS = 20
# Names in the URL, in the panel's settings, and what they may be.
_SETTINGS = {
    "eps": ("seed", range(2**31)),
    "samples": ("S", range(1, 65)),
    "follow": ("follow", range(2)),
}


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
    _restore_hand(published)


def publish() -> None:
    """Writes the selection into the URL, so that the address bar is a link to this view."""
    selection = {key: str(st.session_state[key]) for key in _KEYS if key in st.session_state}
    selection |= _hand_as_text()
    for key in set(st.session_state.get(_PUBLISHED, {})) - set(selection):
        st.query_params.pop(key, None)
    for key, value in selection.items():
        if st.query_params.get(key) != value:
            st.query_params[key] = value
    st.session_state[_PUBLISHED] = selection


def take_hand(hand: dict[str, Any]) -> None:
    """Keeps what the live panel says the hand has set; values that make no sense are left out."""
    q = {name: _numbers(hand.get(name)) for name in ("mu", "sigma")}
    if q["mu"] and q["sigma"] and min(q["sigma"]) > 0:
        st.session_state[HAND] = {"point": str(hand.get("point")), **q}
    settings = {}
    for name, allowed in _SETTINGS.values():
        value = hand.get(name)
        if isinstance(value, int) and value in allowed:
            settings[name] = value
    settings |= {name: hand.get(name) is True for name in ("smooth", "manifold")}
    st.session_state[LIVE] = settings


def hand(point: str, latent_dim: int) -> dict[str, Any] | None:
    """The q that the hand set for that point (its key), if it did: {"mu": ..., "sigma": ...}."""
    held = st.session_state.get(HAND)
    if held is None:
        return None
    if held["point"] is None:  # from a link, which names the point apart from this
        held["point"] = point
    fits = held["point"] == point and len(held["mu"]) == len(held["sigma"]) == latent_dim
    return held if fits else None


def forget_other_hands(point: str) -> None:
    """Drops what the hand set for another point than that of the key: choosing one begins anew."""
    held = st.session_state.get(HAND)
    if held is not None and held["point"] not in (None, point):
        del st.session_state[HAND]


def keep_drawing(image: np.ndarray) -> None:
    """Adds an image that was drawn, (C, H, W) uint8, for the Points page."""
    drawings = st.session_state.setdefault(DRAWINGS, [])
    drawings.append(image)
    del drawings[:-_MOST_DRAWINGS]


def drawings(image_shape: tuple[int, int, int]) -> np.ndarray:
    """The drawings that fit a model, uint8, shape (n, C, H, W)."""
    fitting = [d for d in st.session_state.get(DRAWINGS, []) if d.shape == image_shape]
    return np.stack(fitting) if fitting else np.empty((0, *image_shape), dtype=np.uint8)


def _restore_hand(published: dict[str, str]) -> None:
    query = st.query_params
    if any(name in query and query[name] != published.get(name) for name in ("mu", "sigma")):
        q = {name: _numbers(query.get(name, "").split(",")) for name in ("mu", "sigma")}
        if q["mu"] and len(q["mu"]) == len(q["sigma"]) and min(q["sigma"]) > 0:
            st.session_state[HAND] = {"point": None, **q}
    for key, (name, allowed) in _SETTINGS.items():
        text = query.get(key, "")
        if text != published.get(key, "") and text.isdecimal() and int(text[:12]) in allowed:
            settings = st.session_state.setdefault(LIVE, {})
            settings[name] = bool(int(text)) if len(allowed) == 2 else int(text)


def _hand_as_text() -> dict[str, str]:
    found = {}
    held = st.session_state.get(HAND)
    current = f"/{st.session_state.get(POINT)}"
    if held and (held["point"] is None or held["point"].endswith(current)):
        for name in ("mu", "sigma"):
            if len(held[name]) <= _HAND_IN_URL:
                found[name] = ",".join(f"{value:.5g}" for value in held[name])
    settings = st.session_state.get(LIVE, {})
    if settings.get("seed"):
        found["eps"] = str(settings["seed"])
    if "S" in settings:
        found["samples"] = str(settings["S"])
    if settings.get("follow"):
        found["follow"] = "1"
    return found


def _numbers(values: Any) -> list[float]:
    """Finite floats, or nothing if one is not."""
    try:
        numbers = [float(value) for value in values or ()]
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) and len(numbers) <= 1024 else []


def widget(key: str, default: str = "") -> dict[str, Any]:
    """What a widget is given so that it shows a part of the selection and changes it.

    Args:
        key: of the selection.
        default: see `showing`.
    """
    widget_key = f"pick_{key}"

    def take() -> None:
        # The widget of a page that was just left may report once more, when that of the next one,
        # which has the same key, is not there yet.
        if widget_key in st.session_state:
            st.session_state[key] = st.session_state[widget_key]

    return {**showing(widget_key, st.session_state[key], default), "on_change": take}


def showing(widget_key: str, value: Any, default: str = "") -> dict[str, Any]:
    """What a widget is given so that it shows the value, on whichever page.

    It is set only where another one stands: what is set in a redraw, equal or not, replaces what
    somebody enters at that very moment.

    Args:
        widget_key: of the widget, which takes `persist_state`.
        value: to be shown.
        default: the widget's argument for what it shows at first, if it takes the value itself;
            without it another value flashes up first.
    """
    options = {"key": widget_key, "persist_state": "session"}
    shows_it = widget_key in st.session_state and st.session_state[widget_key] == value
    if default and (shows_it or widget_key not in st.session_state):
        options[default] = value
    elif not shows_it:
        st.session_state[widget_key] = value
    return options


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


def point_from_table(key: str, indices: np.ndarray) -> None:
    """Takes the row that was chosen in the table with that key; `indices` are its rows' points."""
    if chosen := st.session_state[key]["selection"]["rows"]:
        st.session_state[POINT] = int(indices[chosen[0]])


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
