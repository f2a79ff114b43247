"""Widgets that show a part of the session on every page that draws them, and change it."""

from typing import Any

import streamlit as st


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
