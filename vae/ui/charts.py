"""How a page shows a figure, and the two columns that most pages have."""

from collections.abc import Callable, Hashable
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from vae.figures import svg
from vae.figures.prepared import Prepared
from vae.live.constants import STAGE_ZOOM
from vae.ui import stage, webgl
from vae.ui.results.content import content
from vae.ui.results.store import RESULTS
from vae.ui.session import selection

_STILL = {"displayModeBar": False}
_MAP = {"scrollZoom": True, "displaylogo": False}


def columns(
    right: float = 1, left: float = 1.38, alignment: Literal["top", "bottom"] = "top"
) -> tuple[DeltaGenerator, DeltaGenerator]:
    """What is looked at to the left, what is said of it to the right: their shares of the width."""
    first, second = st.columns([left, right], gap="medium", vertical_alignment=alignment)
    return first, second


def kept(name: str, build: Callable[[], go.Figure], *of: Hashable | np.ndarray) -> Prepared:
    """A figure that is built once for all visitors.

    Args:
        name: of the figure.
        build: makes it.
        of: all that it depends on; arrays are known by their content.
    """
    key = "figure", name, *(content(part) if isinstance(part, np.ndarray) else part for part in of)
    return RESULTS.make(key, lambda: Prepared.of(build()))


def chart(
    figure: go.Figure | Prepared, key: str, alt: str, zooms: bool = False, **options: Any
) -> None:
    """A figure without tools; `alt` says what it shows to those who do not see it.

    Args:
        figure, key, alt: of Streamlit's.
        zooms: under the mouse's wheel.
        options: more of `st.plotly_chart`.
    """
    config = {**_STILL, "scrollZoom": zooms}
    st.plotly_chart(_drawable(figure), key=key, config=config, alt=alt, **options)


def map_chart(figure: go.Figure | Prepared, key: str, alt: str, **options: Any) -> None:
    """A figure that is moved and zoomed into.

    Args:
        figure, key, alt: see `chart`.
        options: more of `st.plotly_chart`.
    """
    st.plotly_chart(_drawable(figure), key=key, config=_MAP, alt=alt, **options)


def points_chart(figure: go.Figure | Prepared, key: str, alt: str) -> None:
    """One that is moved, and whose points are chosen: a click is the point, a lasso the group."""
    map_chart(
        figure,
        key,
        alt,
        on_select=lambda: selection.point_from_chart(key),
        selection_mode=("points", "lasso"),
    )
    thinned(figure)


def thinned(figure: go.Figure | Prepared) -> None:
    """Says so where the browser is not shown all points of a figure."""
    every = 1 if webgl.is_there() else svg.thinning(_whole(figure))
    if every > 1:
        st.caption(f"This browser has no WebGL, so one point in {every} is drawn.")


def _drawable(figure: go.Figure | Prepared) -> go.Figure | Prepared:
    drawn = figure if webgl.is_there() else svg.without_webgl(_whole(figure))
    if not stage.is_shown():
        return drawn
    return (drawn if isinstance(drawn, Prepared) else Prepared.of(drawn)).enlarged(STAGE_ZOOM)


def _whole(figure: go.Figure | Prepared) -> go.Figure:
    return figure.whole if isinstance(figure, Prepared) else figure
