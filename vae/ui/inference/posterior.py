"""The true posterior of a point beside q, and equation (8) in numbers."""

import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator

from vae.analysis.axes import Projection
from vae.figures import inference as figures
from vae.inference.gap import N_WEIGHTS, GapSplit, Inference
from vae.ui import charts, images, projection
from vae.ui.inference import estimates
from vae.ui.results import inference
from vae.ui.text import nats, plain
from vae.ui.view import View
from vae.wording import IMAGES, Words

_SIDE = 92


def shape(view: View, index: int, found: Inference, split: GapSplit | None) -> None:
    """p(z|x) itself where it was integrated, else what estimates say of log p(x)."""
    if found.exact:
        _neighbourhood(view, index, found, split)
    else:
        _estimates_only(view, index, found)


def _neighbourhood(view: View, index: int, found: Inference, split: GapSplit | None) -> None:
    """p(z|x), q(z|x) and the prior where this point lives."""
    assert found.exact is not None  # else there are estimates only
    log_density, shown = inference.density(view, index, found, split)
    gaussians = {"q(z|x)": (found.mu, found.logvar)}
    if split:
        gaussians["best Gaussian"] = (split.best.mu, split.best.logvar)
    if len(found.mu) == 1:
        figure = figures.line_neighbourhood(
            log_density,
            shown,
            {name: (float(m), float(torch.exp(v / 2))) for name, (m, v) in gaussians.items()},
        )
    else:
        axes = projection.choose(view.embedding)
        assert isinstance(axes, Projection)  # no layout was offered
        figure = figures.neighbourhood(
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
    charts.map_chart(
        figure,
        key="neighbourhood",
        alt="The true posterior of the point as contours, with q and the best Gaussian over it",
    )
    st.caption(
        f"{plain(view.given_what)}The true posterior p(z|x) ∝ p(x|z) p(z), integrated on "
        f"{int(found.exact.n_nodes):,} cells of its own: a contour for each tenth of its mass. "
        "q at 1 and 2 σ: a Gaussian with upright axes, whatever shape p(z|x) has."
    )


def _estimates_only(view: View, index: int, found: Inference) -> None:
    """What is left where the latent space has too many dimensions to integrate over."""
    estimates.climbing_bound(view, index, found, height=520)
    st.caption(
        f"{plain(view.given_what)}With k = {len(found.mu)} latent dimensions p(z|x) cannot be "
        "integrated: a lattice needs k at most 2. What importance samples from q, and annealing, "
        "say of log p(x) are estimates."
    )


def pictures(view: View, index: int, found: Inference) -> None:
    """The image, and what the model decodes at the three places that matter."""
    label = view.embedding.class_names[view.embedding.labels[index]]
    places = {"E[x|z = μ]": found.mu}
    if found.exact:
        places["at the peak of p(z|x)"] = found.exact.mode[0].to(found.mu)
    columns = st.columns(4, gap="small")
    with columns[0]:
        x = inference.image(view, index).numpy()
        images.show(
            images.enlarged(view.pictures(x), _SIDE),
            f"the {view.words.kind} x",
            f"x: {plain(label)}",
            width=_SIDE,
        )
    for column, (name, z) in zip(columns[1:], places.items(), strict=False):
        with column, torch.no_grad():
            decoded = view.given(index).decode_mean(z).numpy()
            images.show(
                images.enlarged(view.pictures(decoded), _SIDE),
                "the decoded mean",
                name,
                width=_SIDE,
            )


def equation_8(found: Inference, split: GapSplit | None, words: Words = IMAGES) -> DeltaGenerator:
    """Equation (8): three numbers, each by itself, and whether they add up; returns where the
    search for the best Gaussian may show itself.
    """
    numbers = st.columns(4, gap="small", vertical_alignment="bottom")
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
    charts.chart(
        figures.equation_8(-found.elbo - found.kl, found.kl, found.log_px, parts, words=words),
        key="sum",
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
