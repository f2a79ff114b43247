"""Which latent dimensions are used."""

import numpy as np
import pandas as pd
import streamlit as st

from vae.analysis.axes import subscript
from vae.analysis.diagnosis import INACTIVE, Measurements
from vae.figures import diagnosis as figures
from vae.ui import charts
from vae.ui.session import selection
from vae.ui.view import View

_THRESHOLD = "active_above"
_THRESHOLDS = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def dimension_names(measured: Measurements) -> list[str]:
    """As the page writes them."""
    return [f"z{subscript(d)}" for d in range(measured.embedding.latent_dim)]


def show(view: View, measured: Measurements) -> None:
    """Mean KL and the variance of mu, against a threshold."""
    found, names = measured.units, dimension_names(measured)
    left, right = charts.columns(alignment="bottom")
    with right:
        selection.keep_within(_THRESHOLD, [INACTIVE, *_THRESHOLDS])
        threshold = st.select_slider(
            "A dimension is active above",
            _THRESHOLDS,
            key=_THRESHOLD,
            format_func=lambda value: f"{value:g}",
            persist_state="session",
        )
        by_kl, by_variance = found.active_by_kl(threshold), found.active_by_variance(threshold)
        one, two = st.columns(2, gap="small")
        one.metric(f"by mean KL > {threshold:g} nats", f"{by_kl.sum()} of {len(names)}")
        two.metric(f"by Var[μ] > {threshold:g}", f"{by_variance.sum()} of {len(names)}")
        charts.chart(
            figures.active_against_threshold(found.kl, found.variance, threshold, height=250),
            key="active",
            alt="Active dimensions against the threshold",
        )
        collapsed = np.flatnonzero(~(by_kl & by_variance))
        which = ", ".join(names[d] for d in collapsed[:24]) + ("…" if len(collapsed) > 24 else "")
        st.caption(f"Below the line: {which}." if len(collapsed) else "None is below the line.")
    with left:
        charts.chart(
            figures.kl_of_units(found.kl, found.kl_quantiles, found.variance, names, threshold),
            key="units",
            alt="Mean KL and variance of the mean of each latent dimension",
        )
        st.caption(
            f"Mean KL of {len(measured.embedding):,} points, equation (6), with the 5th to 95th "
            "percentile; Var[μ] over the points, Burda et al. (2016)."
        )
    if len(names) > 1:
        st.dataframe(
            pd.DataFrame(
                {
                    "dimension": names,
                    "mean KL": found.kl,
                    "sd of KL": found.kl_sd,
                    "Var[μ]": found.variance,
                }
            ),
            key="units_table",
            hide_index=True,
            width="content",
            column_config={
                name: st.column_config.NumberColumn(f"{name}{unit}", format="%.3g")
                for name, unit in (("mean KL", ", nats"), ("sd of KL", ", nats"), ("Var[μ]", ""))
            },
        )
