"""Tables of points, whose rows choose the point, and columns of numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from vae.ui import images
from vae.ui.session import selection
from vae.ui.view import View


def picture(name: str = "x", width: int = 52) -> Any:
    """A column of pictures."""
    return st.column_config.ImageColumn(name, width=width)


def in_nats(names: Sequence[str]) -> dict[str, Any]:
    """Columns of numbers of nats, by name; the unit stands in the head."""
    return {name: st.column_config.NumberColumn(f"{name}, nats", format="%.2f") for name in names}


def label_names(view: View, rows: np.ndarray | slice = slice(None)) -> list[str]:
    """The class names of some points, or of all."""
    embedding = view.embedding
    return [embedding.class_names[label] for label in embedding.labels[rows]]


def points(
    view: View,
    rows: np.ndarray,
    columns: Mapping[str, Any],
    key: str,
    column_config: Mapping[str, Any],
    chosen: int | None = None,
    pictures: Mapping[str, list[str]] | None = None,
    **options: Any,
) -> None:
    """A row for each of the points, with its image where that is at hand; choosing a row chooses
    the point.

    Args:
        view: whose points they are.
        rows: their indices, shape (n,).
        columns: values by name, n of each, after the image, the number and the label.
        key: of the table; it must name the rows, too, where `chosen` is given.
        column_config: how the columns are shown.
        chosen: the point whose row is marked when the table is new.
        pictures: more of them by name, as data URLs, after the image.
        options: more of `st.dataframe`.
    """
    front: dict[str, Any] = {}
    if view.images is not None:
        front["x"] = [images.data_url(picture) for picture in view.pictures_of(rows)]
    front |= {**(pictures or {}), "point": rows, "label": label_names(view, rows)}
    marked = np.flatnonzero(rows == chosen).tolist() if chosen is not None else []
    st.dataframe(
        pd.DataFrame({**front, **columns}),
        key=key,
        hide_index=True,
        on_select=lambda: selection.point_from_table(key, rows),
        selection_mode=options.pop("selection_mode", "single-row"),
        selection_default={"selection": {"rows": marked}} if marked else None,
        column_config={"x": picture(), **column_config},
        **options,
    )
