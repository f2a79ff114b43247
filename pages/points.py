"""Points: which points cost most, and which term costs it?"""

import zlib
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator

from vae import embed
from vae.analysis import answers
from vae.analysis.tables import as_csv, as_parquet
from vae.data.dataset import Dataset
from vae.figures import points as figures
from vae.figures import theme
from vae.inference.evidence import EXACT, Evidence
from vae.ui import charts, frame, heading, images, point, sections, tables
from vae.ui.results import evidence
from vae.ui.results.content import content
from vae.ui.results.store import RESULTS
from vae.ui.session import drawings, selection
from vae.ui.text import plain
from vae.ui.view import View, chosen_point, chosen_view, chosen_words, point_picker
from vae.wording import IMAGES, Words

frame.require("pages/points.py")

PER_PAGE = 100
SHARE = "KL share"
LOG_PX, GAP = "log p(x)", "gap"
WIDTHS = {"recon": 58, "KL": 44, "-ELBO": 58, LOG_PX: 62, GAP: 54, SHARE: 62}  # pixels
PAGE = "table_page"


def main() -> None:
    place = heading.ask(
        f"What does each {chosen_words().point} cost, and which term costs it?",
        *(heading.MAP, heading.WHY, heading.COMPARE),
    )
    view = chosen_view()
    heading.answer(place, answers.costs(view.embedding, view.words))
    found = evidence.found(view)
    terms = terms_of(view, found)
    left, right = charts.columns()
    with left:
        rows, shown, index = controls(view, terms)
        drawn_images(view)
        table(view, terms, found, shown, index)
        if found is not None:
            gap = f"; {GAP} = {LOG_PX} - ELBO, equation (8)" if GAP in terms else ""
            st.caption(
                f"In nats per {view.words.point}. {LOG_PX}: {view.words.said(found.how)}{gap}."
            )
        if view.n_classes:
            st.caption(plain(view.given_what))
        evidence.offer(view, "points")
    with right:
        scatter(view, rows, index)
        point.card(view, index)
    per_class, spread = charts.columns()
    with per_class:
        class_summary(view, terms, found)
        downloads(view, found)
    with spread:
        distributions(view, rows, index)


def terms_of(view: View, found: Evidence | None) -> dict[str, np.ndarray]:
    """One number per point and column, in nats but for the share."""
    embedding = view.embedding
    terms = {name: theme.term(embedding, name) for name in theme.TERMS}
    if found is not None:
        terms[LOG_PX] = found.log_px
        if np.isfinite(found.gap).any():  # what was annealed has no ELBO beside it
            terms[GAP] = found.gap
    return terms | {SHARE: embedding.kl_share}  # how much of -ELBO is KL


def controls(view: View, terms: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Order and filter; returns the points in order, the page of them, and the chosen one."""
    embedding = view.embedding
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"):
        by = ["-ELBO", *[name for name in terms if name != "-ELBO"], "index"]
        order = sections.choose("Costliest first by", "order", by)
        index = point_picker(embedding)
    names = list(embedding.class_names)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        page = st.container(width=130)
        classes = st.multiselect(
            "Classes", names, key="classes", placeholder="all classes", bind="query-params"
        )
        group = selection.group(len(embedding))
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
    tables.points(
        view,
        shown,
        {name: values[shown] for name, values in terms.items()},
        # A selection is a place in the table: another order or filter makes another table.
        key=f"table-{zlib.crc32(shown.tobytes())}",
        column_config=narrow_term_columns(found, view.words) if found else term_columns(),
        chosen=index,
        selection_mode="single-row-required" if index in shown else "single-row",
        height=560,
        row_height=44,
    )


def term_columns(found: Evidence | None = None, words: Words = IMAGES) -> dict[str, Any]:
    """How a table of points shows its columns."""
    return {
        "x": tables.picture(),
        **nats_columns(found, words),
        SHARE: st.column_config.ProgressColumn(SHARE, format="percent", min_value=0, max_value=1),
    }


def narrow_term_columns(found: Evidence, words: Words) -> dict[str, Any]:
    """The same with two columns more and no unit, which then stands below the table."""
    columns = term_columns(found, words)
    for name, width in WIDTHS.items():
        columns[name] |= {"label": name, "width": width}
    return columns


def nats_columns(found: Evidence | None, words: Words) -> dict[str, Any]:
    """Those that are numbers of nats; log p(x) and the gap say how they were found."""
    notes = {}
    if found is not None:
        own_elbo = "an integral" if found.method == EXACT else "over the same samples"
        notes = {
            LOG_PX: words.said(found.how),
            GAP: f"log p(x) - ELBO, whose ELBO is {own_elbo}; that in the table has fewer samples",
        }
    return {
        name: st.column_config.NumberColumn(f"{name}, nats", format="%.2f", help=notes.get(name))
        for name in (*theme.TERMS, LOG_PX, GAP)
    }


def drawn_images(view: View) -> None:
    """What was drawn on Explore and sent here, with the terms that the model gives it."""
    drawn = drawings.of_shape(view.run.model_config.image_shape)
    if not len(drawn):
        return
    yours = Dataset(
        name="your drawings",
        split="all",
        images=torch.from_numpy(drawn),
        labels=torch.zeros(len(drawn), dtype=torch.int64),
        class_names=("yours",),
    )
    # Under the class of the chosen point, as on Explore.
    embedding = embed(view.given(chosen_point(view.embedding)), yours)
    st.dataframe(
        pd.DataFrame(
            {
                "x": [images.data_url(image / 255) for image in drawn],
                "label": [f"your point {i + 1}" for i in range(len(drawn))],
                **{name: theme.term(embedding, name) for name in theme.TERMS},
                SHARE: embedding.kl_share,
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
        on_click=lambda: st.session_state.pop(drawings.KEY, None),
        type="tertiary",
    )


def scatter(view: View, rows: np.ndarray, index: int) -> None:
    embedding = view.embedding
    figure = charts.kept(
        "KL against recon",
        lambda: figures.kl_against_recon(embedding, rows, words=view.words),
        *(embedding.recon, embedding.kl, embedding.labels, embedding.class_names, rows, view.words),
    )
    charts.points_chart(
        figure.marked(figures.ring_at(embedding, index)),
        key="terms_scatter",
        alt=f"KL against recon of every point, in nats per {view.words.point}",
    )


def class_summary(view: View, terms: dict[str, np.ndarray], found: Evidence | None) -> None:
    def means() -> pd.DataFrame:
        table = pd.DataFrame({"label": tables.label_names(view), **terms})
        summary = table.groupby("label", sort=False).agg("mean")
        summary.insert(0, "points", table["label"].value_counts())
        return summary.sort_values("-ELBO", ascending=False)

    st.markdown("##### Mean terms per class")
    names, labels = view.embedding.class_names, view.embedding.labels
    of = tuple(content(values) for values in (labels, *terms.values()))
    st.dataframe(
        RESULTS.make(("means of classes", names, tuple(terms), of), means),
        key="class_summary",
        column_config={
            **nats_columns(found, view.words),
            SHARE: st.column_config.NumberColumn(format="percent"),
        },
    )


def downloads(view: View, found: Evidence | None) -> None:
    """The same columns as `python -m vae terms` writes; made when asked for."""
    name = f"{view.run.name}-{view.embedding.dataset}-{view.embedding.split}"
    with st.container(horizontal=True, gap="small"):
        for suffix, mime, write in (
            ("csv", "text/csv", as_csv),
            ("parquet", "application/vnd.apache.parquet", as_parquet),
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
    for name in theme.TERMS:
        values = theme.term(view.embedding, name)
        figure = charts.kept(
            "histogram",
            lambda values=values[rows], name=name: figures.histogram(
                values, name, words=view.words
            ),
            *(name, values[rows], view.words),
        )
        charts.chart(
            figure.marked(figures.line_at(float(values[index]))),
            key=f"histogram_{name}",
            alt=f"Distribution of {name} over the points, in nats per {view.words.point}",
        )


main()
