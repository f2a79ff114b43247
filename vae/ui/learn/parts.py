"""The live parts beside a step: those of the other pages, and three of the lessons' own."""

from collections.abc import Callable

import numpy as np
import streamlit as st
import torch

from vae.analysis.diagnosis import COLLAPSED
from vae.errors import UserError
from vae.figures import explore, lessons
from vae.formats import ForeignRun
from vae.inference.gap import Inference
from vae.lessons import trials
from vae.lessons.board import Board
from vae.lessons.gaussian_pair import Pair
from vae.lessons.lesson import Lesson, Part, Step
from vae.lessons.trials import BETAS, FREE_BITS, Trial
from vae.ui import charts, faults, images, latent_map, live, point, projection
from vae.ui.gaussians import plane as gaussians
from vae.ui.inference import estimates, posterior
from vae.ui.learn import subject
from vae.ui.learn.subject import Shown
from vae.ui.results import inference
from vae.ui.text import nats, plain, sentence
from vae.ui.train.charts import film
from vae.ui.view import View

# The map beside a step has less width than Explore's, so it is less high.
_HEIGHT = (
    "<style>div:has(> .st-key-window) {{ "
    "height: max(340px, min(100vh - 266px, {})) !important; }}</style>"
)
_CELLS, _REACH = 7, 2.0  # of the decoded lattice of a small model: a side, and how far it goes


def show(lesson: Lesson, step: Step, shown: Shown, is_hidden: bool) -> None:
    """The step's live part, with what gives the prediction away left out where it is hidden.

    Args:
        lesson, step: that it stands beside.
        shown: the point or the pair.
        is_hidden: a prediction is open.
    """
    try:
        _PARTS[step.part](step, shown, is_hidden)
    except UserError as error:
        st.warning(sentence(error))


def _places(step: Step, shown: Shown, is_hidden: bool) -> None:
    """The map and the pictures, without a word of the field."""
    _live_map(shown, step.tools)
    st.caption(
        "Each dot is a picture; its colour says what it shows. Click one, or move over them."
    )


def _map(step: Step, shown: Shown, is_hidden: bool) -> None:
    _live_map(shown, () if is_hidden else None)


def _live_map(shown: Shown, only: tuple[str, ...] | None) -> None:
    """The map, and beside it the live panel, or of it the pictures and some tools only."""
    view, index = shown.view, shown.index
    assert view is not None
    axes = projection.plane(view.embedding)
    problem = live.problem(view)
    st.html(_HEIGHT.format("34vw" if only is None else "46vw"))
    left, right = st.columns([1, 1.04] if only is None else [1.7, 1], gap="small")
    with left:
        drawn = latent_map.show(view, axes, index, not problem, is_plain=only is not None)
        charts.thinned(drawn)
    with right:
        latent_map.beside(view, axes, index, problem, only)


def _plane(step: Step, shown: Shown, is_hidden: bool) -> None:
    _dragged(is_hidden, shown)


@faults.fragment
def _dragged(is_hidden: bool, shown: Shown) -> None:
    """The plane; as soon as another pair is on it, the whole page is told anew."""
    gaussians.style()
    now = gaussians.shown()
    left, right = st.columns([1.5, 1], gap="small")
    with left:
        gaussians.plane()
        st.caption("P and Q at 1 and 2 σ: drag a mean, or an axis by its end.")
    with right:
        if is_hidden:
            st.caption("The numbers stand here once you have made your guess.")
        else:
            gaussians.numbers()
    told = shown.subject
    assert isinstance(told, Pair)
    if any((a != b).any() for a, b in zip(now.pairs[gaussians.PLANE], told, strict=True)):
        st.rerun()


def _inferred(shown: Shown) -> tuple[View, int, Inference]:
    """The view, the point and what is inferred of it; ends the page where its image is missing."""
    assert shown.view is not None
    _needs_image(shown)
    return shown.view, shown.index, inference.of_point(shown.view, shown.index)


def _posterior(step: Step, shown: Shown, is_hidden: bool) -> None:
    view, index, found = _inferred(shown)
    split = inference.known_split(view, index)
    left, right = charts.columns(left=1.15)
    with left:
        posterior.shape(view, index, found, split)
    with right:
        posterior.pictures(view, index, found)
        if is_hidden:
            st.caption("Equation (8) stands here once you have made your guess.")
        else:
            posterior.equation_8(found, split)


def _weights(step: Step, shown: Shown, is_hidden: bool) -> None:
    estimates.climbing_bound(*_inferred(shown), height=560)


def _draws(step: Step, shown: Shown, is_hidden: bool) -> None:
    estimates.monte_carlo(*_inferred(shown))


def _clouds(step: Step, shown: Shown, is_hidden: bool) -> None:
    estimates.gradients(*_inferred(shown))


def _graph(step: Step, shown: Shown, is_hidden: bool) -> None:
    board = shown.subject
    assert isinstance(board, Board)
    mu, sigma, eps = (float(values[0]) for values in (board.mu, board.sigma, board.eps))
    values = {"mu": mu, "sigma": sigma, "eps": eps, "z": mu + eps * sigma}
    said = {name: f"{value:.3f}" for name, value in values.items()}
    if board.x is not None:
        z = board.mu + board.eps * board.sigma
        loss = -board.log_likelihood_at(z) + float(board.embedding.kl[board.index])
        said["L"] = f"{loss:.1f}"
    said = {} if is_hidden else said
    charts.chart(
        charts.kept("graph", lambda: lessons.computation_graph(said), *said.items()),
        key="graph",
        alt="The graph of the computation from x to the loss, with z drawn, and with the noise "
        "outside; where the slope can run back",
    )
    st.caption(
        "The first latent dimension of this image and its first draw; L = -log p(x|z) + KL, in "
        "nats. Dashed circles are random."
    )


def _slopes(step: Step, shown: Shown, is_hidden: bool) -> None:
    board = shown.subject
    assert isinstance(board, Board)
    _needs_image(shown)
    if is_hidden:
        st.caption("Both estimates stand here once you have made your guess.")
        return
    found = board.slopes
    by_phi = "φ by the path", found.phi, found.phi_autograd
    panels = {
        "theta": (("θ", found.theta, found.theta_autograd),),
        "phi": (by_phi,),
        "score": (by_phi, ("φ by the score function", found.phi_score, found.phi_autograd)),
    }[step.key]
    charts.chart(
        lessons.slopes(
            {name: values.numpy() for name, values, _ in panels},
            {name: level for name, _, level in panels},
        ),
        key="slopes",
        alt="The mean slope with respect to one weight as draws arrive, about torch's own gradient",
    )
    st.caption(
        f"φ is {plain(found.phi_name)} of the encoder, θ {plain(found.theta_name)} of the decoder: "
        "of each network the weight that this image pulls at most. Dashed: autograd over the same "
        "draws; grey: two standard errors. Nats per unit of the weight."
    )


def _trials(step: Step, shown: Shown, is_hidden: bool) -> None:
    """A small model with settings of one's own, its map, what it decodes to, and its diagnosis."""
    if is_hidden:
        st.caption("The model is trained once you have made your guess.")
        return
    # By the query's own binding, so that a link opens the model that was made.
    beta_key, bits_key = (f"{name}_{step.key}" for name in ("beta", "free_bits"))
    with st.container(horizontal=True, gap="medium"):
        beta = st.select_slider(
            "β",
            BETAS,
            step.trial[0],
            key=beta_key,
            format_func=lambda v: f"{v:g}",
            width=330,
            bind="query-params",
        )
        bits = st.select_slider(
            "free bits, nats per dimension",
            FREE_BITS,
            step.trial[1],
            key=bits_key,
            format_func=lambda v: f"{v:g}",
            width=260,
            bind="query-params",
        )
    found = subject.trial(beta, bits)
    left, right = charts.columns(left=1.3)
    with left:
        embedding = found.embedding
        charts.chart(
            charts.kept(
                "map of a trial",
                lambda: explore.latent_map(
                    embedding, embedding.mu, "label", ("z₁", "z₂"), np.zeros(2), height=520
                ),
                embedding.mu,
            ),
            key="trial_map",
            alt="The held-out digits in the latent plane of the small model",
        )
    with right:
        _verdict(found)
    st.caption(
        "The held-out digits in the plane of a model that was trained here, 64 hidden units and "
        f"{trials.EPOCHS} epochs; the prior dotted. Nothing of it is kept."
    )


def _verdict(found: Trial) -> None:
    numbers = st.columns(3)
    numbers[0].metric("recon, nats", nats(found.recon))
    numbers[1].metric("KL, nats", nats(found.kl))
    numbers[2].metric("sum, nats", nats(found.recon + found.kl))
    images.show(_lattice(found), "what the model decodes places of its plane to", width="stretch")
    colour = "red" if found.found.verdict == COLLAPSED else "green"
    st.markdown(f"**:{colour}[{found.found.verdict}]** {plain(found.found.paragraph)}")


@torch.no_grad()
def _lattice(found: Trial) -> np.ndarray:
    """What it decodes to over the middle of its plane, as a picture."""
    steps = torch.linspace(-_REACH, _REACH, _CELLS)
    z = torch.cartesian_prod(steps.flip(0), steps).flip(1)  # rows downwards
    return images.row(found.model.decode_mean(z).numpy(), side=32, per_row=_CELLS, gap=2)


def _film(step: Step, shown: Shown, is_hidden: bool) -> None:
    """The map and what it decodes to, as they came to be."""
    assert shown.view is not None
    run = shown.view.run
    if isinstance(run, ForeignRun):
        st.caption(f"{plain(run.name)} was trained elsewhere, so there is no film of it.")
        return
    film(run)


def _needs_image(shown: Shown) -> None:
    assert isinstance(shown.subject, Board)
    if shown.subject.x is None and shown.view is not None:
        point.missing_image(shown.view)
        st.stop()


_PARTS: dict[str, Callable[[Step, Shown, bool], None]] = {
    Part.PLACES: _places,
    Part.MAP: _map,
    Part.PLANE: _plane,
    Part.POSTERIOR: _posterior,
    Part.WEIGHTS: _weights,
    Part.GRAPH: _graph,
    Part.DRAWS: _draws,
    Part.SLOPES: _slopes,
    Part.CLOUDS: _clouds,
    Part.TRIALS: _trials,
    Part.FILM: _film,
}
