"""The sheet and the animation to take away, and whether the page shows animations."""

from collections.abc import Callable

import streamlit as st

_MOVING, _WIDGET_MOVING = "traverse_moving", "moving"


def buttons(name: str, png: Callable[[], bytes], animation: Callable[[], bytes], what: str) -> None:
    """The buttons for the sheet and the animation, each made when it is asked for, and whether the
    page shows animations.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.download_button(
            f"{what} as PNG",
            png,
            file_name=f"{name}.png",
            mime="image/png",
            on_click="ignore",
            icon=":material/image:",
            key="download_png",
        )
        st.download_button(
            "Animation as GIF",
            animation,
            file_name=f"{name}.gif",
            mime="image/gif",
            on_click="ignore",
            icon=":material/animation:",
            key="download_gif",
        )
        st.session_state[_WIDGET_MOVING] = is_moving()

        def take() -> None:
            st.session_state[_MOVING] = st.session_state[_WIDGET_MOVING]

        st.toggle("Moving pictures", key=_WIDGET_MOVING, on_change=take)


def is_moving() -> bool:
    """Whether rows begin with an animation: what never stops must be possible to stop."""
    return st.session_state.get(_MOVING, True)
