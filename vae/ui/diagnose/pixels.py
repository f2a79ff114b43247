"""The model against the numbers of x: calibration, and what lies near what."""

import numpy as np
import pandas as pd
import streamlit as st

from vae.analysis.diagnosis import Measurements
from vae.analysis.measures import Residuals
from vae.figures import diagnosis as figures
from vae.ui import charts, point
from vae.ui.diagnose.units import dimension_names
from vae.ui.results import diagnosis
from vae.ui.view import View


def calibration(view: View, measured: Measurements) -> None:
    """Whether the numbers of x are what the decoder says."""
    found, words = measured.calibration, view.words
    if found is None:
        point.missing_image(view)
        return
    left, right = charts.columns()
    if isinstance(found, Residuals):
        with left:
            charts.chart(
                figures.residuals(found.edges, found.density, words=words),
                key="residuals",
                alt="Standardised residuals over N(0, 1)",
            )
            st.caption(
                f"Mean {found.mean:.3f}, standard deviation {found.sd:.3f}: 0 and 1 if right."
            )
        with right:
            charts.chart(
                figures.coverage(found.nominal, found.covered, words=words),
                key="coverage",
                alt="Coverage of central intervals",
            )
            st.caption(
                f"Mean distance from the diagonal: {found.error:.1%} of the {words.numbers}."
            )
        return
    mean = f"mean {words.number}"
    with left:
        charts.chart(
            figures.reliability(found.predicted, found.observed, found.count, words=words),
            key="reliability",
            alt=f"{mean.capitalize()} against E[x|z]",
        )
        st.caption(
            f"{words.numbers.capitalize()} in bins of what the decoder says, one z ~ q(z|x) per "
            f"{words.point}: their mean should be what it said."
        )
    with right:
        full = found.count > 0
        st.metric(
            "expected calibration error",
            f"{found.error:.2%}",
            help=f"of the {words.numbers}' range",
        )
        st.dataframe(
            pd.DataFrame(
                {
                    "E[x|z]": found.predicted[full],
                    mean: found.observed[full],
                    words.numbers: found.count[full],
                }
            ),
            key="bins",
            hide_index=True,
            height=330,
            column_config={
                "E[x|z]": st.column_config.NumberColumn(format="%.3f"),
                mean: st.column_config.NumberColumn(format="%.3f"),
                words.numbers: st.column_config.NumberColumn(format="localized"),
            },
        )


def neighbours(view: View, measured: Measurements) -> None:
    """The map of mu beside the principal components of x."""
    if view.images is None:
        point.missing_image(view)
        return
    x = view.images.images
    found, embedding = diagnosis.maps(view), measured.embedding
    D, names = embedding.latent_dim, dimension_names(measured)
    left, right = charts.columns()
    shown = np.sort(np.argsort(-measured.units.kl, kind="stable")[:2])
    with left:
        pca = f"PCA of the {view.words.numbers}"
        title = "μ" if D <= 2 else f"μ: {names[shown[0]]} and {names[shown[1]]}"
        charts.chart(
            figures.two_maps(
                {title: embedding.mu[found.rows][:, shown], pca: found.components},
                embedding.labels[found.rows],
                embedding.class_names,
            ),
            key="two_maps",
            alt="The same points by μ and by their principal components",
        )
    rows = (
        ("5 neighbours agree on the label", "knn_accuracy", "{:.1%}"),
        ("trustworthiness, at most 1", "trustworthiness", "{:.3f}"),
        ("silhouette, -1 to 1", "silhouette", "{:+.3f}"),
    )
    with right:
        st.dataframe(
            pd.DataFrame(
                [
                    {
                        "": name,
                        f"μ, k = {D}": form.format(getattr(found.model, key)),
                        f"PCA, {found.components.shape[1]}": form.format(getattr(found.pca, key)),
                    }
                    for name, key, form in rows
                ]
            ),
            key="maps",
            hide_index=True,
            row_height=44,
        )
        st.caption(
            f"Of {len(found.rows):,} points of {len(embedding):,}, each left out of its own "
            f"neighbours; always saying the largest class would be {found.chance:.1%} right. "
            "Trustworthiness (Venna & Kaski, 2001): whether 12 neighbours on the map are near in "
            f"{view.words.numbers}. Silhouette (Rousseeuw, 1987): of the labels, which the model "
            "has never seen."
            + (
                f" A value that is missing counts as its {view.words.number}'s mean."
                if x.is_floating_point() and bool(x.isnan().any())
                else ""
            )
        )
