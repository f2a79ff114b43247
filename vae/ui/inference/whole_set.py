"""The gap over the data set."""

import contextlib

import numpy as np
import pandas as pd
import streamlit as st

from vae.errors import UserError
from vae.figures import inference as figures
from vae.inference.evidence import Evidence
from vae.runs import refit
from vae.runs.checkpoint import Run
from vae.ui import charts, objectives, tables
from vae.ui.results import evidence
from vae.ui.session import checkpoints
from vae.ui.text import plain
from vae.ui.view import View, seen_through


def show(view: View, index: int) -> None:
    """The gap over the data set."""
    found = evidence.found(view)
    if found is None:
        evidence.offer(view, "inference")
        return
    embedding, gap, how = view.embedding, found.gap, view.words.said(found.how)
    if not np.isfinite(gap).all():
        st.caption(f"log p(x) is known, but not the gap: {how}.")
        return
    left, right = charts.columns()
    with left:
        charts.points_chart(
            figures.gap_against_kl(embedding.kl, gap, embedding.neg_elbo, index, words=view.words),
            key="gaps",
            alt="The gap of every point against its KL, in nats",
        )
        charts.chart(
            figures.gap_histogram(gap, float(gap[index]), words=view.words),
            key="gap_histogram",
            alt="How many points have which gap",
        )
        st.caption(
            f"log p(x) of {len(found):,} points, {how}: mean {found.log_px.mean():.2f} nats; "
            f"mean gap {gap.mean():.2f}, median {np.median(gap):.2f}. A click chooses a point."
        )
        if isinstance(view.run, Run) and refit.can_be(view.run):
            st.caption(
                f"`python -m vae refit` makes a copy of {plain(view.run.name)} with the same "
                "decoder, whose encoder reads p(z|x) off a lattice: often its gap is much smaller."
            )
        _objectives(view)
    with right:
        _worst_gaps(view, found)
        _per_class(view, found)


def _objectives(view: View) -> None:
    """What the bound cost, where the same network was trained by another objective too."""
    if not isinstance(view.run, Run):
        return
    runs = [run for run in checkpoints.found()[0] if isinstance(run, Run)]
    views = []
    for run in objectives.family(view.run, runs).values():
        with contextlib.suppress(UserError):
            embedding = view.embedding
            views.append(seen_through(run, embedding.dataset, embedding.split))
    if len(views) > 1 and (text := objectives.what_the_bound_cost(views)):
        st.markdown(text)


def _worst_gaps(view: View, found: Evidence) -> None:
    worst = np.argsort(-found.gap, kind="stable")[:50]
    tables.points(
        view,
        worst,
        {"gap": found.gap[worst], "log p(x)": found.log_px[worst]},
        key="worst_gaps",
        column_config=tables.in_nats(["gap", "log p(x)"]),
        height=300,
        row_height=40,
    )


def _per_class(view: View, found: Evidence) -> None:
    table = pd.DataFrame(
        {
            "label": tables.label_names(view),
            "mean gap": found.gap,
            "median gap": found.gap,
            "mean log p(x)": found.log_px,
        }
    )
    summary = table.groupby("label", sort=False).agg(
        {"mean gap": "mean", "median gap": "median", "mean log p(x)": "mean"}
    )
    st.dataframe(
        summary.sort_values("mean gap", ascending=False),
        key="gap_per_class",
        height=250,
        column_config=tables.in_nats(list(summary.columns)),
    )
