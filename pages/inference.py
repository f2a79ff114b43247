"""Inference: how far is q(z|x) from the true p(z|x)?"""

import numpy as np
import pandas as pd
import streamlit as st
import torch

from vae import estimators, figures, gaussian, inference_figures, loss_derivation
from vae.elbo import bound_against_samples, log_likelihood
from vae.evidence import Evidence
from vae.inference import MOST_K, N_WEIGHTS, GapSplit, Inference
from vae.ui import evidence as evidence_ui
from vae.ui import frame, images, inference, point, projection, state
from vae.ui.frame import View, nats, plain
from vae.ui.projection import subscript

frame.require("pages/inference.py")

WEIGHTS, DRAWS, GRADIENTS, WHOLE_SET = SECTIONS = (
    *("Importance weights", "Monte Carlo", "Gradients"),
    "The whole set",
)
SECTION, SEED, ASKED_TO_ANNEAL = "section", "inference_seed", "inference_anneal"
SIZES = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
SHOWN_K = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, MOST_K)
SHOWS = {"weights": WEIGHTS, "draws": DRAWS, "gradients": GRADIENTS}  # a step of the derivation
PLACES = {"map": "Show it on the map", "sum": "Show it among the bars"}  # ids on the page
SIDE = 92


def main() -> None:
    view = frame.view()
    index = frame.point_picker(view.embedding)
    if view.images is None:
        point.missing_image(view)
        whole_set(view, index)
        return
    try:
        found = inference.of_point(view, index)
    except ValueError as error:
        st.warning(f"Nothing can be inferred: {plain(str(error))}.")
        whole_set(view, index)
        return
    split = inference.known_split(view, index)
    left, right = st.columns([1.38, 1], gap="medium")
    with left:
        (neighbourhood if found.exact else estimates_only)(view, index, found, split)
    with right:
        pictures(view, index, found, split)
        searching = the_sum(found, split)
    details(view, index, found)
    derivation(view, index, found, split)
    if split is None:
        with searching:
            try:
                inference.split(view, index, found)
            except ValueError as error:
                st.caption(f"The gap cannot be split: {plain(str(error))}.")
                return
        st.rerun()


def neighbourhood(view: View, index: int, found: Inference, split: GapSplit | None) -> None:
    """p(z|x), q(z|x) and the prior where this point lives."""
    log_density, shown = inference.density(view, index, found, split)
    gaussians = {"q(z|x)": (found.mu, found.logvar)}
    if split:
        gaussians["best Gaussian"] = (split.best.mu, split.best.logvar)
    if len(found.mu) == 1:
        figure = inference_figures.line_neighbourhood(
            log_density,
            shown,
            {name: (float(m), float(torch.exp(v / 2))) for name, (m, v) in gaussians.items()},
        )
    else:
        axes = projection.choose(view.embedding)
        figure = inference_figures.neighbourhood(
            log_density,
            shown,
            {
                name: axes.ellipses(m.numpy(), torch.exp(v / 2).numpy())
                for name, (m, v) in gaussians.items()
            },
            axes.of(view.embedding.mu),
            axes.titles,
        )
    st.html("<span id='map'></span>")
    st.plotly_chart(
        figure,
        key="neighbourhood",
        config={"scrollZoom": True, "displaylogo": False},
        alt="The true posterior of the point as contours, with q and the best Gaussian over it",
    )
    st.caption(
        "The true posterior p(z|x) ∝ p(x|z) p(z), integrated on "
        f"{int(found.exact.n_nodes):,} cells of its own: a contour for each tenth of its mass. "
        "q at 1 and 2 σ: a Gaussian with upright axes, whatever shape p(z|x) has."
    )


def estimates_only(view: View, index: int, found: Inference, split: GapSplit | None) -> None:
    """What is left where the latent space has too many dimensions to integrate over."""
    climb(view, index, found, height=520)
    st.caption(
        f"With k = {len(found.mu)} latent dimensions p(z|x) cannot be integrated: a lattice needs "
        "k at most 2. What importance samples from q, and annealing, say of log p(x) are estimates."
    )


def pictures(view: View, index: int, found: Inference, split: GapSplit | None) -> None:
    """The image, and what the model decodes at the three places that matter."""
    label = view.embedding.class_names[view.embedding.labels[index]]
    places = {"E[x|z = μ]": found.mu}
    if found.exact:
        places["at the peak of p(z|x)"] = found.exact.mode[0].to(found.mu)
    columns = st.columns(4, gap="small")
    with columns[0]:
        x = inference.image(view, index).numpy()
        images.show(images.enlarged(x, SIDE), f"x: {plain(label)}", width=SIDE)
    for column, (name, z) in zip(columns[1:], places.items(), strict=False):
        with column, torch.no_grad():
            decoded = view.model.decode_mean(z).numpy()
            images.show(images.enlarged(decoded, SIDE), name, width=SIDE)


def the_sum(found: Inference, split: GapSplit | None) -> st.delta_generator.DeltaGenerator:
    """Equation (8): three numbers, each by itself, and whether they add up; returns where the
    search for the best Gaussian may show itself.
    """
    numbers = st.columns(4, gap="small")
    about = "integral over the latent space" if found.exact else f"{N_WEIGHTS:,} importance samples"
    numbers[0].metric(
        "log p(x), nats", nats(found.log_px), help=f"{about}, ± {found.log_px_error:.1g}"
    )
    numbers[1].metric(
        "ELBO, nats",
        nats(found.elbo),
        help=f"{len(found.recon.values):,} draws, ± {found.elbo_stderr:.2g}; closed-form KL",
    )
    numbers[2].metric(
        "gap, nats",
        nats(found.gap),
        help="KL(q(z|x), p(z|x)), integrated under q" if found.exact else "log p(x) - ELBO",
    )
    numbers[3].metric(
        "left over",
        f"{found.residual:+.3f}",
        help=f"log p(x) - ELBO - gap; the draws' standard error is {found.elbo_stderr:.2g}",
    )
    st.html("<span id='sum'></span>")
    parts = {"gap": max(found.gap, 0.0)}
    if split:
        parts = {"amortisation": split.amortisation, "approximation": split.approximation}
    st.plotly_chart(
        inference_figures.equation_8(-found.elbo - found.kl, found.kl, found.log_px, parts),
        key="sum",
        config={"displayModeBar": False},
        alt="recon + KL = -ELBO above -log p(x) + gap, in nats",
    )
    if split:
        st.caption(
            f"Equation (8). Of the gap the encoder could close {nats(split.amortisation)} nats "
            f"(amortisation), no Gaussian of its family the other {nats(split.approximation)} "
            "(approximation)."
        )
    else:
        st.caption("Equation (8): the bars have one length; below, their ends.")
    if not found.exact and found.ess < N_WEIGHTS / 100:
        st.caption(
            f"The weights' effective sample size is {found.ess:,.0f} of {N_WEIGHTS:,}: log p(x) is "
            "probably higher than this estimate."
        )
    return st.container()


def details(view: View, index: int, found: Inference) -> None:
    """One of the page's lower parts."""
    sections = [s for s in SECTIONS if s != WEIGHTS or found.exact]
    state.keep_within(SECTION, sections)
    section = st.segmented_control(
        "Below", sections, key=SECTION, required=True, bind="query-params"
    )
    try:
        if section == WEIGHTS:
            importance_weights(view, index, found)
        elif section == DRAWS:
            monte_carlo(view, index, found)
        elif section == GRADIENTS:
            gradients(view, index, found)
        else:
            whole_set(view, index)
    except ValueError as error:
        st.warning(f"{plain(str(error)).capitalize()}.")


def importance_weights(view: View, index: int, found: Inference) -> None:
    left, right = st.columns([1.38, 1], gap="medium")
    with left:
        climb(view, index, found, height=330)
    with right:
        bound, error = (float(value) for value in found.weighted(MOST_K))
        st.metric(
            f"bound at K = {MOST_K:,}, nats", nats(bound), help=f"standard error {error:.2g} nats"
        )
        st.metric(
            f"effective samples of {N_WEIGHTS:,}",
            f"{found.ess:,.0f}",
            help="(Σ w)² / Σ w²: how many equally weighted samples theirs are worth",
        )
        short = found.log_px - bound
        st.caption(
            f"{nats(abs(short))} nats {'below' if short > 0 else 'above'} log p(x). "
            "The samples' own error knows nothing of a peak that q never visits: where q misses "
            "one, the bound stays below log p(x) and its error says little."
        )


def climb(view: View, index: int, found: Inference, height: int) -> None:
    bounds, errors = bound_against_samples(found.log_w, list(SHOWN_K))
    figure = inference_figures.bound_against_samples(
        SHOWN_K,
        bounds.numpy(),
        errors.numpy(),
        found.elbo,
        found.log_px if found.exact else None,
        height,
    )
    asked = st.session_state.pop(ASKED_TO_ANNEAL, False)
    annealed = inference.annealed(view, index, asked)
    if annealed is not None:
        log_px, error = float(annealed.log_px), float(annealed.stderr)
        inference_figures.add_level(figure, log_px, "annealed", figures.PRIOR_COLOUR)
    st.plotly_chart(
        figure,
        key="climb",
        config={"displayModeBar": False},
        alt="The importance-weighted bound against the number of samples, in nats",
    )
    if annealed is None:
        st.button(
            "Anneal from the prior",
            on_click=lambda: st.session_state.update({ASKED_TO_ANNEAL: True}),
            help="Annealed importance sampling: chains that begin at the prior find what q misses.",
        )
    else:
        st.caption(
            f"Annealed from the prior: log p(x) = {nats(log_px)} ± {error:.2f} nats, "
            f"{float(annealed.acceptance):.0%} of the moves accepted, effective chains "
            f"{float(annealed.ess):.1f}"
            + ("; below 3 the error says little." if annealed.ess < 3 else ".")
        )


def size_and_seed(key: str) -> tuple[int, int]:
    """L and the seed of the draws."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        n = st.select_slider(
            "L, draws",
            SIZES,
            1000,
            key=f"inference_L_{key}",
            format_func="{:,}".format,
            width=420,
            persist_state="session",
        )
        seed = st.number_input(
            "Seed", 0, 2**31 - 1, 0, key=SEED, width=130, persist_state="session"
        )
        st.button("Draw again", on_click=lambda: st.session_state.update({SEED: seed + 1}))
    return n, seed


def monte_carlo(view: View, index: int, found: Inference) -> None:
    n, seed = size_and_seed("draws")
    recon, kl = inference.running(view, index, found, n, seed)
    exact = float(found.exact.recon) if found.exact else float(found.recon.mean[-1])
    left, right = st.columns(2, gap="medium")
    for column, running, level, name, of in (
        (left, recon, exact, "-E_q log p(x|z)", "integral" if found.exact else "4,096 draws"),
        (right, kl, found.kl, "KL(q, p(z))", "closed form"),
    ):
        with column:
            mean, error = float(running.mean[-1]), float(running.stderr[-1])
            st.plotly_chart(
                inference_figures.running(
                    running.mean.numpy(), float(running.values.std()), level, f"{name}, L draws", of
                ),
                key=f"running_{name}",
                config={"displayModeBar": False},
                alt=f"The running estimate of {name} against the number of draws",
            )
            st.caption(
                f"{n:,} draws with seed {seed}: {mean:.3f} ± {error:.3f} nats; {of} {level:.3f}."
            )


def gradients(view: View, index: int, found: Inference) -> None:
    n, seed = size_and_seed("gradients")
    estimates = inference.gradients(view, index, found, n, seed)
    of = st.segmented_control(
        "With respect to",
        ["μ", "log σ"],
        key="inference_gradient_of",
        default="μ",
        required=True,
        persist_state="session",
    )
    name = "mu" if of == "μ" else "log_sigma"
    by_name = {
        "score function": estimates.score,
        "with a baseline": estimates.score_baseline,
        "pathwise": estimates.pathwise,
    }
    components = {label: getattr(values, name).numpy()[:, :2] for label, values in by_name.items()}
    variances = {
        label: float(getattr(estimators.variance(values), name).sum())
        for label, values in by_name.items()
    }
    left, right = st.columns([1.6, 1], gap="medium")
    titles = tuple(f"∂L/∂{of}{subscript(d)}" for d in range(2))
    with left:
        st.plotly_chart(
            inference_figures.gradient_clouds(components, titles),
            key="clouds",
            config={"displayModeBar": False},
            alt="What single draws say of the gradient, by estimator",
        )
        st.caption(
            "Each dot is one draw's estimate of the gradient of L = -ELBO, each cross a mean of "
            f"{n:,}. Right: the pathwise ones alone."
        )
    with right:
        st.plotly_chart(
            inference_figures.variance_against_draws(variances, SIZES[-1]),
            key="variances",
            config={"displayModeBar": False},
            alt="The variance of the estimators against the number of draws",
        )
        ratios = [
            getattr(estimators.variance_ratio(values, estimates.pathwise), name)
            for values in (estimates.score, estimates.score_baseline)
        ]
        st.caption(
            "All three have the same mean. The score function's variance is "
            f"{ratios[0]:,.0f} times the pathwise one's, {ratios[1]:,.0f} times with the other "
            "draws' average as a baseline: so many times more draws it needs for the same error."
        )
    st.dataframe(
        pd.DataFrame(
            {
                "estimator": list(by_name),
                **{
                    f"∂L/∂{of}{subscript(d)}": [
                        f"{c[:, d].mean():.3f} ± {c[:, d].std(ddof=1) / np.sqrt(n):.3f}"
                        for c in components.values()
                    ]
                    for d in range(min(2, len(found.mu)))
                },
                "variance of a draw": [f"{v:.4g}" for v in variances.values()],
            }
        ),
        key="gradient_table",
        hide_index=True,
        width="content",
    )


def whole_set(view: View, index: int) -> None:
    """The gap over the data set."""
    found = evidence_ui.found(view)
    if found is None:
        evidence_ui.offer(view, "inference")
        return
    embedding, gap = view.embedding, found.gap
    if not np.isfinite(gap).all():
        st.caption(f"log p(x) is known, but not the gap: {found.how}.")
        return
    left, right = st.columns([1.38, 1], gap="medium")
    with left:
        st.plotly_chart(
            inference_figures.gap_against_kl(embedding.kl, gap, embedding.neg_elbo, index),
            key="gaps",
            on_select=lambda: state.point_from_chart("gaps"),
            selection_mode=("points", "lasso"),
            config={"scrollZoom": True, "displaylogo": False},
            alt="The gap of every point against its KL, in nats",
        )
        st.plotly_chart(
            inference_figures.gap_histogram(gap, float(gap[index])),
            key="gap_histogram",
            config={"displayModeBar": False},
            alt="How many points have which gap",
        )
        st.caption(
            f"log p(x) of {len(found):,} points, {found.how}: mean {found.log_px.mean():.2f} nats; "
            f"mean gap {gap.mean():.2f}, median {np.median(gap):.2f}. A click chooses a point."
        )
    with right:
        worst_gaps(view, found)
        per_class(view, found)


def worst_gaps(view: View, found: Evidence) -> None:
    embedding, gap = view.embedding, found.gap
    worst = np.argsort(-gap, kind="stable")[:50]
    columns = {
        "point": worst,
        "label": [embedding.class_names[label] for label in embedding.labels[worst]],
        "gap": gap[worst],
        "log p(x)": found.log_px[worst],
    }
    if view.images is not None:
        columns = {
            "x": [images.data_url(view.images.images[i].numpy()) for i in worst],
            **columns,
        }

    st.dataframe(
        pd.DataFrame(columns),
        key="worst_gaps",
        hide_index=True,
        height=300,
        row_height=40,
        on_select=lambda: state.point_from_table("worst_gaps", worst),
        selection_mode="single-row",
        column_config={
            "x": st.column_config.ImageColumn("x", width=52),
            "gap": st.column_config.NumberColumn("gap, nats", format="%.2f"),
            "log p(x)": st.column_config.NumberColumn("log p(x), nats", format="%.2f"),
        },
    )


def per_class(view: View, found: Evidence) -> None:
    table = pd.DataFrame(
        {
            "label": [view.embedding.class_names[label] for label in view.embedding.labels],
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
        column_config={
            name: st.column_config.NumberColumn(f"{name}, nats", format="%.2f")
            for name in summary.columns
        },
    )


def derivation(view: View, index: int, found: Inference, split: GapSplit | None) -> None:
    """The loss step by step, with this point's numbers."""
    try:
        gradients = inference.gradients(view, index, found, 1000, 0)
    except ValueError:
        return  # the section that shows gradients says why
    with torch.no_grad():
        log_px_given_mu = log_likelihood(
            view.model, inference.image(view, index)[None], found.mu[None]
        )
    steps = loss_derivation.steps(
        found,
        float(log_px_given_mu),
        float(gaussian.standard_normal_log_prob(found.mu)),
        inference.noise(index, found, 1, 0)[0],
        gradients,
        split,
    )
    st.markdown("##### Why: step by step, with this point's numbers")
    tabs = st.tabs([f"{i}. {step.title}" for i, step in enumerate(steps, 1)], key="walk_through")
    for tab, step in zip(tabs, steps, strict=True):
        with tab:
            link = f" [{PLACES[step.shown]}](#{step.shown})" if step.shown in PLACES else ""
            st.markdown(step.text + link)
            st.latex(step.formula)
            for line in step.numbers:
                st.latex(line)
            if section := SHOWS.get(step.shown):
                st.button(
                    f"Show {section.lower()}",
                    key=f"show_{step.title}",
                    type="tertiary",
                    on_click=lambda section=section: st.session_state.update({SECTION: section}),
                )


main()
