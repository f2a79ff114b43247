"""How a page shows a figure, and the two columns that most pages have."""

from typing import Any, Literal

import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from vae.ui.session import selection

_STILL = {"displayModeBar": False}
_MAP = {"scrollZoom": True, "displaylogo": False}


def columns(
    right: float = 1, left: float = 1.38, alignment: Literal["top", "bottom"] = "top"
) -> tuple[DeltaGenerator, DeltaGenerator]:
    """What is looked at to the left, what is said of it to the right: their shares of the width."""
    first, second = st.columns([left, right], gap="medium", vertical_alignment=alignment)
    return first, second


def chart(figure: go.Figure, key: str, alt: str) -> None:
    """A figure that stands still; `alt` says what it shows to those who do not see it."""
    st.plotly_chart(figure, key=key, config=_STILL, alt=alt)


def map_chart(figure: go.Figure, key: str, alt: str, **options: Any) -> None:
    """A figure that is moved and zoomed into.

    Args:
        figure, key, alt: see `chart`.
        options: more of `st.plotly_chart`.
    """
    st.plotly_chart(figure, key=key, config=_MAP, alt=alt, **options)


def points_chart(figure: go.Figure, key: str, alt: str) -> None:
    """One that is moved, and whose points are chosen: a click is the point, a lasso the group."""
    map_chart(
        figure,
        key,
        alt,
        on_select=lambda: selection.point_from_chart(key),
        selection_mode=("points", "lasso"),
    )


def has_webgl() -> bool:
    """Whether the visitor's browser has; it is asked on Explore."""
    return not st.session_state.get(selection.WITHOUT_WEBGL, False)
