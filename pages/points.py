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
from vae.evidence import EXACT, Evidence
from vae.ui import evidence, frame, images, point, state
from vae.ui.frame import View

frame.require("pages/points.py")

PER_PAGE = 100
SHARE = "KL share"
LOG_PX, GAP = "log p(x)", "gap"
WIDTHS = {"recon": 62, "KL": 54, "-ELBO": 62, LOG_PX: 68, GAP: 56, SHARE: 92}  # pixels
PAGE = "table_page"


def main() -> None:
    view = frame.view()
    found = evidence.found(view)
    terms = terms_of(view, found)
    left, right = st.columns([1.38, 1], gap="medium")
    with left:
        rows, shown, index = controls(view, terms)
        drawings(view)
        table(view, terms, found, shown, index)
        if found is not None:
            gap = f"; {GAP} = {LOG_PX} - ELBO, equation (8)" if GAP in terms else ""
            st.caption(f"In nats per image. {LOG_PX}: {found.how}{gap}.")
        evidence.offer(view, "points")
    with right:
        scatter(view, rows, index)
        point.card(view, index)
    per_class, spread = st.columns([1.38, 1], gap="medium")
    with per_class:
        class_summary(view, terms, found)
        downloads(view, found)
    with spread:
        distributions(view, rows, index)


def terms_of(view: View, found: Evidence | None) -> dict[str, np.ndarray]:
    """One number per point and column, in nats but for the share."""
    embedding = view.embedding
    terms = {name: figures.term(embedding, name) for name in figures.TERMS}
    if found is not None:
        terms[LOG_PX] = found.log_px
        if np.isfinite(found.gap).any():  # what was annealed has no ELBO beside it
            terms[GAP] = found.gap
    return terms | {SHARE: embedding.kl / embedding.neg_elbo}  # how much of -ELBO is KL


def controls(view: View, terms: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Order and filter; returns the points in order, the page of them, and the chosen one."""
    embedding = view.embedding
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"):
        order = st.segmented_control(
            "Costliest first by",
            ["-ELBO", *[name for name in terms if name != "-ELBO"], "index"],
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
        # The least likely point costs most.
        cost = -terms[order] if order == LOG_PX else terms[order]
        rows = rows[np.argsort(-cost[rows], kind="stable")]
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


def table(
    view: View,
    terms: dict[str, np.ndarray],
    found: Evidence | None,
    shown: np.ndarray,
    index: int,
) -> None:
    """The shown points with their images and terms; choosing a row chooses the point."""
    embedding = view.embedding
    columns = {
        "point": shown,
        "label": [embedding.class_names[label] for label in embedding.labels[shown]],
        **{name: values[shown] for name, values in terms.items()},
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
        on_select=lambda: state.point_from_table(key, shown),
        selection_mode="single-row-required" if len(chosen) else "single-row",
        selection_default={"selection": {"rows": chosen.tolist()}} if len(chosen) else None,
        column_config=narrow_term_columns(found) if found else term_columns(),
    )


def term_columns(found: Evidence | None = None) -> dict[str, Any]:
    """How a table of points shows its columns."""
    return {
        "x": st.column_config.ImageColumn("x", width=52),
        **nats_columns(found),
        SHARE: st.column_config.ProgressColumn(SHARE, format="percent", min_value=0, max_value=1),
    }


def narrow_term_columns(found: Evidence) -> dict[str, Any]:
    """The same with two columns more and no unit, which then stands below the table."""
    columns = term_columns(found)
    for name, width in WIDTHS.items():
        columns[name] |= {"label": name, "width": width}
    return columns


def nats_columns(found: Evidence | None) -> dict[str, Any]:
    """Those that are numbers of nats; log p(x) and the gap say how they were found."""
    notes = {}
    if found is not None:
        own_elbo = "an integral" if found.method == EXACT else "over the same samples"
        notes = {
            LOG_PX: found.how,
            GAP: f"log p(x) - ELBO, whose ELBO is {own_elbo}; that in the table has fewer samples",
        }
    return {
        name: st.column_config.NumberColumn(f"{name}, nats", format="%.2f", help=notes.get(name))
        for name in (*figures.TERMS, LOG_PX, GAP)
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


def scatter(view: View, rows: np.ndarray, index: int) -> None:
    st.plotly_chart(
        figures.kl_against_recon(view.embedding, rows, index),
        key="terms_scatter",
        on_select=lambda: state.point_from_chart("terms_scatter"),
        selection_mode=("points", "lasso"),
        config={"scrollZoom": True, "displaylogo": False},
        alt="KL against recon of every point, in nats per image",
    )


def class_summary(view: View, terms: dict[str, np.ndarray], found: Evidence | None) -> None:
    embedding = view.embedding
    names = [embedding.class_names[label] for label in embedding.labels]
    frame_ = pd.DataFrame({"label": names, **terms})
    summary = frame_.groupby("label", sort=False).mean()
    summary.insert(0, "points", frame_["label"].value_counts())
    st.markdown("##### Mean terms per class")
    st.dataframe(
        summary.sort_values("-ELBO", ascending=False),
        key="class_summary",
        column_config={
            **nats_columns(found),
            SHARE: st.column_config.NumberColumn(format="percent"),
        },
    )


def downloads(view: View, found: Evidence | None) -> None:
    """The same columns as `python -m vae terms` writes; made when asked for."""
    name = f"{view.run.name}-{view.embedding.dataset}-{view.embedding.split}"
    with st.container(horizontal=True, gap="small"):
        for suffix, mime, write in (
            ("csv", "text/csv", tables.as_csv),
            ("parquet", "application/vnd.apache.parquet", tables.as_parquet),
        ):
            st.download_button(
                f"All points as {'CSV' if suffix == 'csv' else 'Parquet'}",
                lambda write=write: write(view.embedding, found),
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
