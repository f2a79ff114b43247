"""Estimates of log p(x), of the terms of the loss and of their gradients, draw by draw."""

import numpy as np
import pandas as pd
import streamlit as st

from vae.analysis.axes import subscript
from vae.core.elbo import bound_against_samples
from vae.figures import inference as figures
from vae.figures import theme
from vae.inference import estimators
from vae.inference.gap import MOST_K, N_WEIGHTS, Inference
from vae.ui import charts
from vae.ui.results import inference
from vae.ui.text import nats
from vae.ui.view import View

_SEED, _ASKED_TO_ANNEAL = "inference_seed", "inference_anneal"
_SIZES = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
_SHOWN_K = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, MOST_K)


def importance_weights(view: View, index: int, found: Inference) -> None:
    """The bound against K, and what the samples are worth."""
    left, right = charts.columns()
    with left:
        climbing_bound(view, index, found, height=330)
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


def climbing_bound(view: View, index: int, found: Inference, height: int) -> None:
    """The importance-weighted bound climbing with K; annealing beside it where it was asked for."""
    bounds, errors = bound_against_samples(found.log_w, list(_SHOWN_K))
    figure = figures.bound_against_samples(
        _SHOWN_K,
        bounds.numpy(),
        errors.numpy(),
        found.elbo,
        found.log_px if found.exact else None,
        height,
    )
    asked = st.session_state.pop(_ASKED_TO_ANNEAL, False)
    annealed = inference.annealed(view, index, asked)
    if annealed is not None:
        log_px, error = float(annealed.log_px), float(annealed.stderr)
        figures.add_level(figure, log_px, "annealed", theme.PRIOR_COLOUR)
    charts.chart(
        figure,
        key="climb",
        alt="The importance-weighted bound against the number of samples, in nats",
    )
    if annealed is None:
        st.button(
            "Anneal from the prior",
            on_click=lambda: st.session_state.update({_ASKED_TO_ANNEAL: True}),
            help="Annealed importance sampling: chains that begin at the prior find what q misses.",
        )
    else:
        st.caption(
            f"Annealed from the prior: log p(x) = {nats(log_px)} ± {error:.2f} nats, "
            f"{float(annealed.acceptance):.0%} of the moves accepted, effective chains "
            f"{float(annealed.ess):.1f}"
            + ("; below 3 the error says little." if annealed.ess < 3 else ".")
        )


def monte_carlo(view: View, index: int, found: Inference) -> None:
    """Both terms of the loss as draws arrive."""
    n, seed = _size_and_seed("draws")
    recon, kl = inference.running(view, index, found, n, seed)
    exact = float(found.exact.recon) if found.exact else float(found.recon.mean[-1])
    left, right = st.columns(2, gap="medium")
    for column, running, level, name, of in (
        (left, recon, exact, "-E_q log p(x|z)", "integral" if found.exact else "4,096 draws"),
        (right, kl, found.kl, "KL(q, p(z))", "closed form"),
    ):
        with column:
            mean, error = float(running.mean[-1]), float(running.stderr[-1])
            charts.chart(
                figures.running(
                    running.mean.numpy(), float(running.values.std()), level, f"{name}, L draws", of
                ),
                key=f"running_{name}",
                alt=f"The running estimate of {name} against the number of draws",
            )
            st.caption(
                f"{n:,} draws with seed {seed}: {mean:.3f} ± {error:.3f} nats; {of} {level:.3f}."
            )


def gradients(view: View, index: int, found: Inference) -> None:
    """The estimators of the gradient, draw by draw, and their variances."""
    n, seed = _size_and_seed("gradients")
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
    left, right = charts.columns(left=1.6)
    titles = tuple(f"∂L/∂{of}{subscript(d)}" for d in range(2))
    with left:
        charts.chart(
            figures.gradient_clouds(components, titles),
            key="clouds",
            alt="What single draws say of the gradient, by estimator",
        )
        st.caption(
            "Each dot is one draw's estimate of the gradient of L = -ELBO, each cross a mean of "
            f"{n:,}. Right: the pathwise ones alone."
        )
    with right:
        charts.chart(
            figures.variance_against_draws(variances, _SIZES[-1]),
            key="variances",
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
    _gradient_table(components, variances, titles[: len(found.mu)], n)


def _gradient_table(
    components: dict[str, np.ndarray], variances: dict[str, float], titles: tuple[str, ...], n: int
) -> None:
    st.dataframe(
        pd.DataFrame(
            {
                "estimator": list(components),
                **{
                    title: [
                        f"{c[:, d].mean():.3f} ± {c[:, d].std(ddof=1) / np.sqrt(n):.3f}"
                        for c in components.values()
                    ]
                    for d, title in enumerate(titles)
                },
                "variance of a draw": [f"{v:.4g}" for v in variances.values()],
            }
        ),
        key="gradient_table",
        hide_index=True,
        width="content",
    )


def _size_and_seed(key: str) -> tuple[int, int]:
    """L and the seed of the draws."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        n = st.select_slider(
            "L, draws",
            _SIZES,
            1000,
            key=f"inference_L_{key}",
            format_func="{:,}".format,
            width=420,
            persist_state="session",
        )
        seed = st.number_input(
            "Seed", 0, 2**31 - 1, 0, key=_SEED, width=130, persist_state="session"
        )
        st.button("Draw again", on_click=lambda: st.session_state.update({_SEED: seed + 1}))
    return n, seed
