"""Diagnose: is this checkpoint healthy?"""

import numpy as np
import pandas as pd
import streamlit as st
import torch

from vae import diagnosis_figures, figures
from vae.aggregate import Holes, Information
from vae.diagnosis import (
    BROKEN,
    COLLAPSED,
    DOUBTFUL,
    HEALTHY,
    INACTIVE,
    NOTE,
    OUTLYING,
    SATURATED,
    Diagnosis,
    Measurements,
)
from vae.diagnostics import Residuals, modified_z
from vae.ui import diagnosis, frame, images, point, state
from vae.ui.frame import View, nats, plain
from vae.ui.projection import subscript

frame.require("pages/diagnose.py")

UNITS, AGGREGATE, MARGINALS, CALIBRATION, NEIGHBOURS, OUTLIERS = CHECKS = (
    *("Units", "Aggregate posterior", "Marginals", "Calibration", "Neighbours", "Outliers"),
)
CHECK, THRESHOLD, DIMENSION = "check", "active_above", "diagnose_dimension"
THRESHOLDS = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
ICONS = {
    HEALTHY: ":green[:material/check_circle:]",
    DOUBTFUL: ":orange[:material/error:]",
    BROKEN: ":red[:material/cancel:]",
    COLLAPSED: ":red[:material/cancel:]",
}
HALF = 3.5  # of the plane that is looked at
HOLES = 12  # that are shown
SIDE = 84
NONE = "There is no aggregate posterior: it needs finite posteriors of two points."
WIDE, PLOT = [1.38, 1], {"displayModeBar": False}


def main() -> None:
    view = frame.view()
    measured, told = diagnosis.measured(view)
    verdict(told)
    numbers(measured)
    state.keep_within(CHECK, CHECKS)
    check = st.segmented_control("Look at", CHECKS, key=CHECK, required=True, bind="query-params")
    show = {
        UNITS: units,
        AGGREGATE: aggregate_posterior,
        MARGINALS: marginals,
        CALIBRATION: calibration,
        NEIGHBOURS: neighbours,
        OUTLIERS: outliers,
    }[check]
    try:
        show(view, measured)
    except ValueError as error:
        text = str(error)
        st.warning(plain(f"{text[0].upper()}{text[1:]}."))


def verdict(told: Diagnosis) -> None:
    """What is wrong, if anything, and what to try."""
    serious = [f for f in told.findings if f.severity != NOTE]
    notes = [f for f in told.findings if f.severity == NOTE]
    parts = [plain(told.summary)] if told.summary else []
    for finding in serious:
        parts.append(f"**{plain(finding.sentence)}** {plain(finding.advice)}".rstrip())
    st.markdown(f"##### {ICONS[told.verdict]} {told.verdict}")
    st.markdown(" ".join(parts))
    if notes:
        st.caption(" ".join(plain(f"{note.sentence} {note.advice}").rstrip() for note in notes))


def numbers(measured: Measurements) -> None:
    """The figures that the verdict rests on."""
    info, holes = measured.information, measured.holes
    columns = st.columns(6, gap="small")
    D = measured.embedding.latent_dim
    columns[0].metric(
        "dimensions in use",
        f"{D - int(measured.unused.sum())} of {D}",
        help=f"Var_x\\[μ\\] and mean KL both above {INACTIVE:g}",
    )
    columns[1].metric("mean KL, nats", nats(float(measured.units.kl.sum())))
    columns[2].metric(
        "I(x; z), nats",
        nats(max(info.mutual, 0.0)) if info else "n/a",
        help=f"± {info.mutual_stderr:.2f}; at most log N = {info.ceiling:.2f}" if info else None,
    )
    columns[3].metric(
        "KL(q(z), p(z)), nats",
        nats(max(info.marginal, 0.0)) if info else "n/a",
        help=f"± {info.marginal_stderr:.2f}" if info else None,
    )
    columns[4].metric(
        "prior in holes",
        f"{holes.share:.0%}" if holes else "n/a",
        help=f"draws from p(z) that are further than {holes.threshold:.2f} from every μ; "
        "5% where q(z) is the prior"
        if holes
        else None,
    )
    found = measured.calibration
    columns[5].metric(
        "calibration error",
        f"{found.error:.1%}" if found else "n/a",
        help="of pixel values" if found else "needs the images",
    )


def names_of(measured: Measurements) -> list[str]:
    return [f"z{subscript(d)}" for d in range(measured.embedding.latent_dim)]


# --- units ----------------------------------------------------------------------------------------


def units(view: View, measured: Measurements) -> None:
    found, names = measured.units, names_of(measured)
    left, right = st.columns(WIDE, gap="medium", vertical_alignment="bottom")
    with right:
        state.keep_within(THRESHOLD, [INACTIVE, *THRESHOLDS])
        threshold = st.select_slider(
            "A dimension is active above",
            THRESHOLDS,
            key=THRESHOLD,
            format_func=lambda value: f"{value:g}",
            persist_state="session",
        )
        by_kl, by_variance = found.active_by_kl(threshold), found.active_by_variance(threshold)
        one, two = st.columns(2, gap="small")
        one.metric(f"by mean KL > {threshold:g} nats", f"{by_kl.sum()} of {len(names)}")
        two.metric(f"by Var[μ] > {threshold:g}", f"{by_variance.sum()} of {len(names)}")
        st.plotly_chart(
            diagnosis_figures.active_against_threshold(
                found.kl, found.variance, threshold, height=250
            ),
            key="active",
            config=PLOT,
            alt="Active dimensions against the threshold",
        )
        collapsed = np.flatnonzero(~(by_kl & by_variance))
        which = ", ".join(names[d] for d in collapsed[:24]) + ("…" if len(collapsed) > 24 else "")
        st.caption(f"Below the line: {which}." if len(collapsed) else "None is below the line.")
    with left:
        st.plotly_chart(
            diagnosis_figures.kl_of_units(
                found.kl, found.kl_quantiles, found.variance, names, threshold
            ),
            key="units",
            config=PLOT,
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


# --- the aggregate posterior ----------------------------------------------------------------------


def aggregate_posterior(view: View, measured: Measurements) -> None:
    info, holes = measured.information, measured.holes
    if info is None or holes is None:
        st.caption(NONE)
        return
    D, names = measured.embedding.latent_dim, names_of(measured)
    deepest = holes.deepest(HOLES)
    left, right = st.columns(WIDE, gap="medium")
    with left:
        if D == 1:
            line(measured, names)
        else:
            plane(view, measured, names, holes.z[deepest].numpy())
    with right:
        split(info)
        from_holes(view, holes, deepest)


def line(measured: Measurements, names: list[str]) -> None:
    found = measured.marginals
    st.plotly_chart(
        diagnosis_figures.marginal(
            found.edges.numpy(), found.mass[0].numpy(), found.prior_mass.numpy(), names[0], 480
        ),
        key="line",
        config=PLOT,
        alt="The aggregate posterior over the prior",
    )
    st.caption("q(z), the mean of all posteriors, over the prior p(z).")


def plane(view: View, measured: Measurements, names: list[str], at: np.ndarray) -> None:
    dimensions = (0, 1) if len(names) == 2 else two_of(measured, names)
    log_ratio = diagnosis.plane(view, dimensions, HALF)
    pair = list(dimensions)
    st.plotly_chart(
        diagnosis_figures.ratio_map(
            log_ratio,
            HALF,
            (names[pair[0]], names[pair[1]]),
            measured.embedding.mu[:, pair],
            at[:, pair],
            height=520 if len(names) == 2 else 405,
        ),
        key="ratio",
        config={"scrollZoom": True, "displaylogo": False},
        alt="log q(z) - log p(z) over the latent plane, with holes numbered",
    )
    of_two = "" if len(names) == 2 else f" The marginals of two of {len(names)} dimensions."
    st.caption(
        "Green: more posteriors than prior; orange: prior without data. The rings: p(z) at 1, 2 "
        f"and 3 σ; the dots: μ; the numbers: holes.{of_two}"
    )


def two_of(measured: Measurements, names: list[str]) -> tuple[int, int]:
    """The two dimensions of the picture: at first those with most KL."""
    by_kl = np.argsort(-measured.units.kl, kind="stable")
    chosen = []
    with st.container(horizontal=True, gap="small"):
        for place, side in enumerate("xy"):
            key = f"{DIMENSION}_{side}"
            if st.session_state.get(key) not in range(len(names)):
                st.session_state[key] = int(by_kl[place])
            chosen.append(
                st.selectbox(
                    f"{side} axis",
                    range(len(names)),
                    format_func=names.__getitem__,
                    key=key,
                    width=90,
                    persist_state="session",
                )
            )
    return chosen[0], chosen[1]


def split(info: Information) -> None:
    st.plotly_chart(
        diagnosis_figures.split_of_kl(info.mutual, info.marginal, info.ceiling),
        key="split",
        config=PLOT,
        alt="Mean KL as the sum of I(x; z) and KL(q(z), p(z)), in nats",
    )
    near = (
        " I is at its ceiling: KL(q(z), p(z)) says more of N than of the model."
        if info.mutual > info.ceiling - SATURATED
        else ""
    )
    st.caption(
        f"Mean KL {float(info.kl.mean()):.2f} = I(x; z) {info.mutual:.2f} ± "
        f"{info.mutual_stderr:.2f} + KL(q(z), p(z)) {info.marginal:.2f} ± "
        f"{info.marginal_stderr:.2f} nats, left over {abs(info.left_over):.2f} "
        f"(Hoffman & Johnson, 2016).{near}"
    )


@torch.no_grad()
def from_holes(view: View, holes: Holes, deepest: torch.Tensor) -> None:
    """What is decoded where the prior has mass and no data lies."""
    st.markdown("###### Decoded from the holes")
    if not len(deepest):
        st.caption(
            f"None of {len(holes.z):,} draws from the prior, in 90 % of its mass, met a hole."
        )
        return
    decoded = view.model.decode_mean(holes.z[deepest].float()).numpy()
    columns = st.columns(6, gap="small")
    for i, image in enumerate(decoded):
        with columns[i % 6]:
            ratio = float(holes.log_ratio[deepest[i]])
            images.show(images.enlarged(image, SIDE), f"{i + 1}: {ratio:.1f}", width="stretch")
    st.caption(
        "E[x|z], and log q(z) - log p(z) in nats. A hole: further than "
        f"{holes.threshold:.2g} from every μ, as 1 in 20 draws from q(z) is from the others'. "
        f"{holes.share:.0%} ± {holes.share_stderr:.0%} of {len(holes.z):,} draws from p(z) are; "
        "5% would be, were q(z) the prior."
    )


# --- marginals ------------------------------------------------------------------------------------


def marginals(view: View, measured: Measurements) -> None:
    found, names = measured.marginals, names_of(measured)
    if found is None:
        st.caption(NONE)
        return
    kl, distance = found.kl.numpy(), found.distance.numpy()
    chosen = 0
    if len(names) > 1:
        if st.session_state.get(DIMENSION) not in range(len(names)):
            st.session_state[DIMENSION] = int(np.argmax(kl))
        chosen = st.selectbox(
            "Dimension",
            range(len(names)),
            format_func=lambda d: f"{names[d]}: {kl[d]:.3f} nats",
            key=DIMENSION,
            width=190,
            persist_state="session",
        )
    shares = torch.linspace(0.002, 0.998, 250, dtype=torch.float64)
    left, middle, right = st.columns([1, 1, 0.8], gap="medium")
    with left:
        st.plotly_chart(
            diagnosis_figures.marginal(
                found.edges.numpy(),
                found.mass[chosen].numpy(),
                found.prior_mass.numpy(),
                names[chosen],
            ),
            key="marginal",
            config=PLOT,
            alt="The aggregate posterior of one dimension over the prior",
        )
        st.caption(
            f"KL(q({names[chosen]}), p({names[chosen]})) = {kl[chosen]:.3f} nats; Kolmogorov's "
            f"distance {distance[chosen]:.3f}."
        )
    with middle:
        st.plotly_chart(
            diagnosis_figures.quantiles_against_prior(
                torch.special.ndtri(shares).numpy(),
                found.quantiles(shares).numpy(),
                names,
                chosen,
            ),
            key="quantiles",
            config=PLOT,
            alt="Quantiles of q against those of the prior",
        )
        rest = " The others in grey." if len(names) > 1 else ""
        st.caption(f"Q-Q: on the diagonal q({names[chosen]}) is the prior.{rest}")
    with right:
        test = diagnosis.mmd(view)
        st.plotly_chart(
            diagnosis_figures.mmd_null(test.null.numpy(), test.value, height=330),
            key="mmd",
            config=PLOT,
            alt="MMD² of q(z) and the prior, over its distribution by chance",
        )
        at_least = 1 / (1 + len(test.null))
        p = f"at most {at_least:.3f}" if test.p_value <= at_least else f"{test.p_value:.3f}"
        st.caption(
            f"MMD² = {test.value:.2e}, p {'' if p.startswith('at') else '= '}{p}: 1,000 draws from "
            f"q(z) and from p(z), kernel width {test.bandwidth:.2f}, "
            f"{len(test.null)} permutations. With enough draws any model fails."
        )


# --- calibration ----------------------------------------------------------------------------------


def calibration(view: View, measured: Measurements) -> None:
    found = measured.calibration
    if found is None:
        point.missing_image(view)
        return
    left, right = st.columns(WIDE, gap="medium")
    if isinstance(found, Residuals):
        with left:
            st.plotly_chart(
                diagnosis_figures.residuals(found.edges, found.density),
                key="residuals",
                config=PLOT,
                alt="Standardised residuals over N(0, 1)",
            )
            st.caption(
                f"Mean {found.mean:.3f}, standard deviation {found.sd:.3f}: 0 and 1 if right."
            )
        with right:
            st.plotly_chart(
                diagnosis_figures.coverage(found.nominal, found.covered),
                key="coverage",
                config=PLOT,
                alt="Coverage of central intervals",
            )
            st.caption(f"Mean distance from the diagonal: {found.error:.1%} of the pixels.")
        return
    with left:
        st.plotly_chart(
            diagnosis_figures.reliability(found.predicted, found.observed, found.count),
            key="reliability",
            config=PLOT,
            alt="Mean pixel against E[x|z]",
        )
        st.caption(
            "Pixels in bins of what the decoder says, one z ~ q(z|x) per image: their mean should "
            "be what it said."
        )
    with right:
        full = found.count > 0
        st.metric("expected calibration error", f"{found.error:.2%}", help="of the pixels' range")
        st.dataframe(
            pd.DataFrame(
                {
                    "E[x|z]": found.predicted[full],
                    "mean pixel": found.observed[full],
                    "pixels": found.count[full],
                }
            ),
            key="bins",
            hide_index=True,
            height=330,
            column_config={
                "E[x|z]": st.column_config.NumberColumn(format="%.3f"),
                "mean pixel": st.column_config.NumberColumn(format="%.3f"),
                "pixels": st.column_config.NumberColumn(format="localized"),
            },
        )


# --- neighbours -----------------------------------------------------------------------------------


def neighbours(view: View, measured: Measurements) -> None:
    if view.images is None:
        point.missing_image(view)
        return
    found, embedding = diagnosis.maps(view), measured.embedding
    D, names = embedding.latent_dim, names_of(measured)
    left, right = st.columns(WIDE, gap="medium")
    shown = np.sort(np.argsort(-measured.units.kl, kind="stable")[:2])
    with left:
        title = "μ" if D <= 2 else f"μ: {names[shown[0]]} and {names[shown[1]]}"
        st.plotly_chart(
            diagnosis_figures.two_maps(
                {title: embedding.mu[found.rows][:, shown], "PCA of the pixels": found.components},
                embedding.labels[found.rows],
                embedding.class_names,
            ),
            key="two_maps",
            config=PLOT,
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
            "pixels. Silhouette (Rousseeuw, 1987): of the labels, which the model has never seen."
        )


# --- outliers -------------------------------------------------------------------------------------


def outliers(view: View, measured: Measurements) -> None:
    embedding = measured.embedding
    order = st.segmented_control(
        "By",
        list(figures.TERMS),
        key="diagnose_order",
        default="-ELBO",
        required=True,
        persist_state="session",
    )
    values = figures.term(embedding, order)
    if not np.isfinite(values).all():
        worst = np.flatnonzero(~np.isfinite(values))[:60]
        z = np.full(len(values), np.nan)
    else:
        z = modified_z(values)
        worst = np.argsort(-z, kind="stable")[:60]
    left, right = st.columns(WIDE, gap="medium")
    with left:
        outlier_table(view, worst, z)
    with right:
        if np.isfinite(z).all():
            st.plotly_chart(
                diagnosis_figures.costs(values, z, OUTLYING, order),
                key="costs",
                config=PLOT,
                alt=f"Distribution of {order} over the points",
            )
            beyond = z > OUTLYING
            st.caption(
                f"{beyond.sum():,} of {len(z):,} points lie beyond the line, {OUTLYING:g} robust "
                "deviations above the median. A row chooses a point for all pages."
            )
            per_class(view, beyond)


@torch.no_grad()
def outlier_table(view: View, worst: np.ndarray, z: np.ndarray) -> None:
    """The points with image and reconstruction; choosing a row chooses the point."""
    embedding = view.embedding
    decoded = view.model.decode_mean(torch.from_numpy(embedding.mu[worst])).numpy()
    pictures = {}
    if view.images is not None:
        pictures["x"] = [images.data_url(view.images.images[i].numpy()) for i in worst]
    pictures["E[x|μ]"] = [images.data_url(np.nan_to_num(image) * 255) for image in decoded]

    st.dataframe(
        pd.DataFrame(
            {
                **pictures,
                "point": worst,
                "label": [embedding.class_names[label] for label in embedding.labels[worst]],
                **{name: figures.term(embedding, name)[worst] for name in figures.TERMS},
                "deviations": z[worst],
            }
        ),
        key="outliers",
        hide_index=True,
        height=470,
        row_height=48,
        on_select=lambda: state.point_from_table("outliers", worst),
        selection_mode="single-row",
        column_config={
            "x": st.column_config.ImageColumn("x", width=52),
            "E[x|μ]": st.column_config.ImageColumn("E[x|μ]", width=64),
            "deviations": st.column_config.NumberColumn(format="%.1f"),
            **{
                name: st.column_config.NumberColumn(f"{name}, nats", format="%.2f")
                for name in figures.TERMS
            },
        },
    )
    if view.images is None:
        point.missing_image(view)


def per_class(view: View, beyond: np.ndarray) -> None:
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


main()
