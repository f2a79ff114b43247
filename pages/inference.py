"""Inference: how far is q(z|x) from the true p(z|x)?"""

from dataclasses import replace

import streamlit as st
import torch

from vae.analysis import answers
from vae.core import gaussian
from vae.core.elbo import log_likelihood
from vae.errors import UserError
from vae.inference.gap import GapSplit, Inference
from vae.lessons import loss_steps
from vae.ui import charts, frame, heading, point, sections
from vae.ui.inference import estimates, posterior, whole_set
from vae.ui.results import inference
from vae.ui.text import explained, sentence
from vae.ui.view import View, chosen_view, point_picker

frame.require("pages/inference.py")

WEIGHTS, DRAWS, GRADIENTS, WHOLE_SET = SECTIONS = (
    *("Importance weights", "Monte Carlo", "Gradients"),
    "The whole set",
)
SECTION = "section"
SHOWS = {"weights": WEIGHTS, "draws": DRAWS, "gradients": GRADIENTS}  # a step of the derivation
PLACES = {"map": "Show it on the map", "sum": "Show it among the bars"}  # ids on the page


def main() -> None:
    place = heading.ask("How far is q(z|x) from the true p(z|x)?", heading.MAP, heading.COMPARE)
    view = chosen_view()
    index = point_picker(view.embedding)
    if view.images is None:
        point.missing_image(view)
        whole_set.show(view, index)
        return
    try:
        found = inference.of_point(view, index)
    except UserError as error:
        st.warning(f"Nothing can be inferred: {explained(error)}.")
        whole_set.show(view, index)
        return
    split = inference.known_split(view, index)
    by_the_best = None if split is None else split.approximation
    heading.answer(place, answers.gap(index, found.gap, by_the_best))
    left, right = charts.columns()
    with left:
        posterior.shape(view, index, found, split)
    with right:
        posterior.pictures(view, index, found)
        searching = posterior.equation_8(found, split, view.words)
    details(view, index, found)
    derivation(view, index, found, split)
    if split is None:
        with searching:
            try:
                inference.split(view, index, found)
            except UserError as error:
                st.caption(f"The gap cannot be split: {explained(error)}.")
                return
        st.rerun()


def details(view: View, index: int, found: Inference) -> None:
    """One of the page's lower parts."""
    offered = [s for s in SECTIONS if s != WEIGHTS or found.exact]
    section = sections.choose("Below", SECTION, offered)
    try:
        if section == WEIGHTS:
            estimates.importance_weights(view, index, found)
        elif section == DRAWS:
            estimates.monte_carlo(view, index, found)
        elif section == GRADIENTS:
            estimates.gradients(view, index, found)
        else:
            whole_set.show(view, index)
    except UserError as error:
        st.warning(sentence(error))


def derivation(view: View, index: int, found: Inference, split: GapSplit | None) -> None:
    """The loss step by step, with this point's numbers."""
    try:
        gradients = inference.gradients(view, index, found, 1000, 0)
    except UserError:
        return  # the section that shows gradients says why
    with torch.no_grad():
        log_px_given_mu = log_likelihood(
            view.given(index), inference.image(view, index)[None], found.mu[None]
        )
    steps = loss_steps.steps(
        found,
        float(log_px_given_mu),
        float(gaussian.standard_normal_log_prob(found.mu)),
        inference.noise(index, found, 1, 0)[0],
        gradients,
        split,
    )

    def link_of(shown: str) -> str:
        return f" [{PLACES[shown]}](#{shown})" if shown in PLACES else ""

    def button(step: loss_steps.Step) -> None:
        if section := SHOWS.get(step.shown):
            st.button(
                f"Show {section.lower()}",
                key=f"show_{step.title}",
                type="tertiary",
                on_click=lambda: st.session_state.update({SECTION: section}),
            )

    steps = [replace(step, text=view.words.said(step.text)) for step in steps]
    heading = "Why: step by step, with this point's numbers"
    sections.derivation(heading, steps, link_of, button)


main()
