"""Widgets that show a part of the session on every page that draws them, and change it."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

_SAID = "_said"


def widget(key: str, default: str = "", words: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a widget is given so that it shows a part of the selection and changes it.

    Args:
        key: of the selection.
        default: see `showing`.
        words: of each option, if it is called something else. The browser chooses by them, and
            they may change (a run is found to have collapsed): it may still send the older ones.
    """
    widget_key = f"pick_{key}"
    said: dict[str, str] = st.session_state.setdefault(_SAID, {}).setdefault(key, {})
    said.update((text, option) for option, text in (words or {}).items())

    def take() -> None:
        # The widget of a page that was just left may report once more, when that of the next one,
        # which has the same key, is not there yet.
        if widget_key in st.session_state:
            value = st.session_state[widget_key]
            is_option = words is None or value in words
            st.session_state[key] = value if is_option else said.get(value, value)

    options = {**showing(widget_key, st.session_state[key], default), "on_change": take}
    return options if words is None else {**options, "format_func": words.__getitem__}


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
