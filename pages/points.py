"""Points: which points cost most, and which term costs it?"""

import zlib
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator

from vae import embed, figures, tables
from vae.datasets import Dataset
from vae.ui import frame, images, point, state
from vae.ui.frame import View

frame.require("pages/points.py")

PER_PAGE = 100
SHARE = "KL share"
PAGE = "table_page"


def main() -> None:
    view = frame.view()
    left, right = st.columns([1.38, 1], gap="medium")
    with left:
        rows, shown, index = controls(view)
        drawings(view)
        table(view, shown, index)
    with right:
        scatter(view, rows, index)
        point.card(view, index)
    per_class, spread = st.columns([1.38, 1], gap="medium")
    with per_class:
        class_summary(view)
        downloads(view)
    with spread:
        distributions(view, rows, index)


def controls(view: View) -> tuple[np.ndarray, np.ndarray, int]:
    """Order and filter; returns the points in order, the page of them, and the chosen one."""
    embedding = view.embedding
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        order = st.segmented_control(
            "Costliest first by",
            ["-ELBO", "recon", "KL", SHARE, "index"],
            key="order",
            default="-ELBO",
            required=True,
            bind="query-params",
        )
        index = frame.point_picker(embedding)
    names = list(embedding.class_names)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        page = st.container(width=130)
        classes = st.multiselect(
            "Classes", names, key="classes", placeholder="all classes", bind="query-params"
        )
        group = state.group(len(embedding))
        only_group = group and st.toggle(
            f"Only the {len(group):,} in the lasso", key="only_group", persist_state="session"
        )
    keep = np.ones(len(embedding), dtype=bool)
    if classes:
        keep &= np.isin(embedding.labels, [names.index(name) for name in classes])
    if only_group:
        keep &= np.isin(np.arange(len(embedding)), group)
    rows = np.flatnonzero(keep)
    if order != "index":
        values = share(view) if order == SHARE else figures.term(embedding, order)
        rows = rows[np.argsort(-values[rows], kind="stable")]
    return rows, page_of(page, rows), index


def page_of(place: DeltaGenerator, rows: np.ndarray) -> np.ndarray:
    """The part of the points that is shown: a browser should not be sent 70,000 pictures."""
    n_pages = max(1, -(-len(rows) // PER_PAGE))
    if n_pages == 1:
        return rows
    st.session_state[PAGE] = min(st.session_state.get(PAGE) or 1, n_pages)
    label = f"Page, 1 to {n_pages:,}"
    number = place.number_input(label, 1, n_pages, key=PAGE, persist_state="session")
    return rows[(number - 1) * PER_PAGE : number * PER_PAGE]


def share(view: View) -> np.ndarray:
    """How much of each point's -ELBO is KL."""
    return view.embedding.kl / view.embedding.neg_elbo


def table(view: View, shown: np.ndarray, index: int) -> None:
    """The shown points with their images and terms; choosing a row chooses the point."""
    embedding = view.embedding
    columns = {
        "point": shown,
        "label": [embedding.class_names[label] for label in embedding.labels[shown]],
        "recon": embedding.recon[shown],
        "KL": embedding.kl[shown],
        "-ELBO": embedding.neg_elbo[shown],
        SHARE: share(view)[shown],
    }
    if view.images is not None:
        pictures = [images.data_url(view.images.images[i].numpy()) for i in shown]
        columns = {"x": pictures, **columns}
    chosen = np.flatnonzero(shown == index)
    # A selection is a place in the table: another order or filter makes another table.
    key = f"table-{zlib.crc32(shown.tobytes())}"
    st.dataframe(
        pd.DataFrame(columns),
        key=key,
        hide_index=True,
        height=560,
        row_height=44,
        on_select=lambda: point_from_table(key, shown),
        selection_mode="single-row-required" if len(chosen) else "single-row",
        selection_default={"selection": {"rows": chosen.tolist()}} if len(chosen) else None,
        column_config=term_columns(),
    )


def term_columns() -> dict[str, Any]:
    """How a table of points shows its columns."""
    return {
        "x": st.column_config.ImageColumn("x", width=52),
        **{
            name: st.column_config.NumberColumn(f"{name}, nats", format="%.2f")
            for name in figures.TERMS
        },
        SHARE: st.column_config.ProgressColumn(SHARE, format="percent", min_value=0, max_value=1),
    }


def drawings(view: View) -> None:
    """What was drawn on Explore and sent here, with the terms that the model gives it."""
    drawn = state.drawings(view.run.model_config.image_shape)
    if not len(drawn):
        return
    yours = Dataset(
        name="your drawings",
        split="all",
        images=torch.from_numpy(drawn),
        labels=torch.zeros(len(drawn), dtype=torch.int64),
        class_names=("yours",),
    )
    embedding = embed(view.model, yours)
    st.dataframe(
        pd.DataFrame(
            {
                "x": [images.data_url(image) for image in drawn],
                "label": [f"your point {i + 1}" for i in range(len(drawn))],
                **{name: figures.term(embedding, name) for name in figures.TERMS},
                SHARE: embedding.kl / embedding.neg_elbo,
                "rank": [
                    int((view.embedding.neg_elbo > cost).sum()) + 1 for cost in embedding.neg_elbo
                ],
            }
        ),
        key="drawings",
        hide_index=True,
        row_height=44,
        column_config=term_columns(),
    )
    st.button(
        "Forget your drawings",
        on_click=lambda: st.session_state.pop(state.DRAWINGS, None),
        type="tertiary",
    )


def point_from_table(key: str, shown: np.ndarray) -> None:
    chosen = st.session_state[key]["selection"]["rows"]
    if chosen:
        st.session_state[state.POINT] = int(shown[chosen[0]])


def scatter(view: View, rows: np.ndarray, index: int) -> None:
    st.plotly_chart(
        figures.kl_against_recon(view.embedding, rows, index),
        key="terms_scatter",
        on_select=lambda: state.point_from_chart("terms_scatter"),
        selection_mode=("points", "lasso"),
        config={"scrollZoom": True, "displaylogo": False},
        alt="KL against recon of every point, in nats per image",
    )


def class_summary(view: View) -> None:
    embedding = view.embedding
    frame_ = pd.DataFrame(
        {
            "label": [embedding.class_names[label] for label in embedding.labels],
            **{name: figures.term(embedding, name) for name in figures.TERMS},
            SHARE: share(view),
        }
    )
    summary = frame_.groupby("label", sort=False).mean()
    summary.insert(0, "points", frame_["label"].value_counts())
    st.markdown("##### Mean terms per class")
    st.dataframe(
        summary.sort_values("-ELBO", ascending=False),
        key="class_summary",
        column_config={
            **{
                name: st.column_config.NumberColumn(f"{name}, nats", format="%.2f")
                for name in figures.TERMS
            },
            SHARE: st.column_config.NumberColumn(format="percent"),
        },
    )


def downloads(view: View) -> None:
    """The same columns as `python -m vae terms` writes; made when asked for."""
    name = f"{view.run.name}-{view.embedding.dataset}-{view.embedding.split}"
    with st.container(horizontal=True, gap="small"):
        for suffix, mime, write in (
            ("csv", "text/csv", tables.as_csv),
            ("parquet", "application/vnd.apache.parquet", tables.as_parquet),
        ):
            st.download_button(
                f"All points as {'CSV' if suffix == 'csv' else 'Parquet'}",
                lambda write=write: write(view.embedding),
                file_name=f"{name}-terms.{suffix}",
                mime=mime,
                on_click="ignore",
                icon=":material/download:",
            )


def distributions(view: View, rows: np.ndarray, index: int) -> None:
    if not len(rows):
        return
    for name in figures.TERMS:
        values = figures.term(view.embedding, name)
        st.plotly_chart(
            figures.histogram(values[rows], name, selected=float(values[index])),
            key=f"histogram_{name}",
            config={"displayModeBar": False},
            alt=f"Distribution of {name} over the points, in nats per image",
        )


main()
