"""The points that cost far more than the others."""

import numpy as np
import pandas as pd
import streamlit as st
import torch

from vae.analysis.diagnosis import OUTLYING, Measurements
from vae.analysis.measures import modified_z
from vae.figures import diagnosis as figures
from vae.figures import theme
from vae.ui import charts, images, point, tables
from vae.ui.view import View


def show(view: View, measured: Measurements) -> None:
    """The costliest points, and how far from the others they are."""
    embedding = measured.embedding
    order = st.segmented_control(
        "By",
        list(theme.TERMS),
        key="diagnose_order",
        default="-ELBO",
        required=True,
        persist_state="session",
    )
    values = theme.term(embedding, order)
    if not np.isfinite(values).all():
        worst = np.flatnonzero(~np.isfinite(values))[:60]
        z = np.full(len(values), np.nan)
    else:
        z = modified_z(values)
        worst = np.argsort(-z, kind="stable")[:60]
    left, right = charts.columns()
    with left:
        _outlier_table(view, worst, z)
    with right:
        if np.isfinite(z).all():
            charts.chart(
                figures.costs(values, z, OUTLYING, order, words=view.words),
                key="costs",
                alt=f"Distribution of {order} over the points",
            )
            beyond = z > OUTLYING
            st.caption(
                f"{beyond.sum():,} of {len(z):,} points lie beyond the line, {OUTLYING:g} robust "
                "deviations above the median. A row chooses a point for all pages."
            )
            _per_class(view, beyond)


@torch.no_grad()
def _outlier_table(view: View, worst: np.ndarray, z: np.ndarray) -> None:
    mu = torch.from_numpy(view.embedding.mu[worst])
    decoded = view.given(worst).decode_mean(mu).numpy()
    terms = {name: theme.term(view.embedding, name)[worst] for name in theme.TERMS}
    tables.points(
        view,
        worst,
        {**terms, "deviations": z[worst]},
        key="outliers",
        column_config={
            "E[x|μ]": tables.picture("E[x|μ]", width=64),
            "deviations": st.column_config.NumberColumn(format="%.1f"),
            **tables.in_nats(list(theme.TERMS)),
        },
        pictures={"E[x|μ]": [images.data_url(picture) for picture in view.pictures(decoded)]},
        height=470,
        row_height=48,
    )
    if view.images is None:
        point.missing_image(view)


def _per_class(view: View, beyond: np.ndarray) -> None:
    labels = view.embedding.labels
    rows = [
        {
            "label": name,
            "beyond the line": int(beyond[labels == k].sum()),
            "points": int((labels == k).sum()),
        }
        for k, name in enumerate(view.embedding.class_names)
    ]
    table = pd.DataFrame(rows).sort_values("beyond the line", ascending=False)
    st.dataframe(table, key="outliers_per_class", hide_index=True, height=180)
