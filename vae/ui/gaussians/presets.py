"""Where a pair of Gaussians comes from: a preset, or a checkpoint."""

import numpy as np
import streamlit as st

from vae.analysis.axes import subscript
from vae.analysis.embedding import Embedding
from vae.errors import UserError
from vae.lessons import gaussian_pair
from vae.lessons.gaussian_pair import Pair
from vae.lessons.kl_steps import Loss
from vae.ui.gaussians.plane import LINE, PLANE, PRESET, SPACE, Shown
from vae.ui.session import selection, widgets
from vae.ui.text import sentence
from vae.ui.view import load_view, point_picker

_TILTED, _POSTERIOR, _CLASSES = "Two Gaussians", "A posterior and the prior", "Two classes"
_NEAR_SINGULAR, _IDENTICAL = "Near-singular", "Identical"
_MOST_DIMENSIONS, _USUAL_K = 16, 4
_FIRST_CLASS, _SECOND_CLASS, _K = "gaussians_first_class", "gaussians_second_class", "gaussians_k"


def controls(now: Shown) -> str:
    """Where the pair lives, and the presets; puts the chosen one on the page."""
    st.session_state.setdefault(PRESET, None if now.pairs else _TILTED)
    with st.container(
        key="gaussians_controls", horizontal=True, vertical_alignment="bottom", gap="small"
    ):
        place = st.segmented_control(
            "In",
            [PLANE, LINE, SPACE],
            key="gaussians_in",
            default=PLANE,
            required=True,
            persist_state="session",
        )
        preset = st.pills(
            "Start from",
            [_TILTED, _POSTERIOR, _CLASSES, _NEAR_SINGULAR, _IDENTICAL],
            key=PRESET,
            required=True,
            persist_state="session",
        )
        if preset in (_POSTERIOR, _CLASSES):
            _from_the_model(now, preset, place)
        else:
            k = {PLANE: 2, LINE: 1}.get(place) or _dimensions_picker(now)
            if preset is not None and now.applied != (preset, place, k):
                maker = {
                    _TILTED: gaussian_pair.tilted,
                    _NEAR_SINGULAR: gaussian_pair.near_singular,
                }.get(preset, gaussian_pair.identical)
                _put(now, place, maker(k), (preset, place, k))
    if place not in now.pairs:
        now.put(place, gaussian_pair.tilted({PLANE: 2, LINE: 1}.get(place, _USUAL_K)))
    return place


def _dimensions_picker(now: Shown) -> int:
    """k of the pair in k dimensions; another k keeps the dimensions that both have."""

    def take() -> None:
        if SPACE in now.pairs:
            now.put(SPACE, now.pairs[SPACE].with_dimensions(st.session_state[_K]))

    k = now.pairs[SPACE].k if SPACE in now.pairs else _USUAL_K
    return st.number_input(
        "k", 1, _MOST_DIMENSIONS, on_change=take, width=120, **widgets.showing(_K, k, "value")
    )


def _put(now: Shown, place: str, pair: Pair, applied: tuple, note: str = "") -> None:
    """Shows a preset's pair."""
    now.put(place, pair)
    now.applied, now.note, now.axes, now.loss = applied, note, (), None
    now.special = False


def _from_the_model(now: Shown, preset: str, place: str) -> None:
    """The presets that look through a checkpoint; what they need stands beside them."""
    try:
        embedding = load_view().embedding
        n = {PLANE: 2, LINE: 1, SPACE: _MOST_DIMENSIONS}[place]
        dimensions = gaussian_pair.telling_dimensions(embedding, n)
        seen = (preset, place, st.session_state[selection.RUN], st.session_state[selection.DATA])
        if preset == _POSTERIOR:
            index = point_picker(embedding)
            if now.applied == (applied := (*seen, index)):
                return
            pair = gaussian_pair.posterior_and_prior(embedding, index, dimensions)
            note = f"P is q(z|x) of point {index:,}, Q the prior p(z)"
        else:
            first, second = _class_pickers(embedding)
            if now.applied == (applied := (*seen, first, second)):
                return
            pair = gaussian_pair.two_classes(embedding, first, second, dimensions)
            names = [embedding.class_names[label] for label in (first, second)]
            note = (
                f"P is class {names[0]}, Q class {names[1]}: Gaussians with the moments of their "
                "aggregate posteriors"
            )
    except UserError as error:
        st.caption(f"{sentence(error)} The other presets need no checkpoint.")
        return
    if place == PLANE and pair.k < 2:
        pair = pair.with_dimensions(2)
        note += "; the model has no second dimension"
    names = [f"z{subscript(d)}" for d in dimensions]
    if len(names) < embedding.latent_dim:
        note += f". Marginals: {', '.join(names)}, of {embedding.latent_dim} those with most KL"
    _put(now, place, pair, applied, f"{note}.")
    now.axes = (*names, "")[:2]
    if preset == _POSTERIOR:
        now.loss = Loss(index, float(embedding.recon[index]), float(embedding.kl[index]))
        now.special = True


def _class_pickers(embedding: Embedding) -> tuple[int, int]:
    """The labels of P and of Q."""
    labels = np.unique(embedding.labels).tolist()
    chosen = []
    for key, name, usual in ((_FIRST_CLASS, "P", 0), (_SECOND_CLASS, "Q", 1)):
        if st.session_state.get(key) not in labels:
            st.session_state[key] = labels[min(usual, len(labels) - 1)]
        chosen.append(
            st.selectbox(
                f"{name} is",
                labels,
                format_func=lambda label: embedding.class_names[label],
                key=key,
                persist_state="session",
                width=112,
            )
        )
    return chosen[0], chosen[1]
