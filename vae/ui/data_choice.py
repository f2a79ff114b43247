"""What a model is shown of which no known data set has the shape: one question, three clicks."""

import hashlib

import streamlit as st

from vae import wording
from vae.analysis import prior
from vae.config import IMAGE
from vae.data import catalogue
from vae.data.dataset import DatasetError
from vae.errors import UserError
from vae.formats import AnyRun
from vae.ui.results import loaded, readings
from vae.ui.session.selection import DATA, SPLITS
from vae.ui.text import explained, plain

UNCHOSEN = ""
_HELD_OUT = next(iter(SPLITS))
_PRIOR = "prior-"


class UnchosenError(UserError):
    """No data set fits, and none was chosen."""


def options(run: AnyRun, resized: bool = True) -> list[str]:
    """What may be chosen for a run, its own first; UNCHOSEN first where nothing known fits it.

    Args:
        run: as it is listed.
        resized: also what it would be shown resized.
    """
    trained_on = run.train_config.held_out_dataset
    fitting = catalogue.names_for(run.model_config)
    names = list(dict.fromkeys(filter(None, [trained_on, *fitting])))
    found = [f"{name} {split}" for name in names for split in SPLITS]
    if not names:
        found = [UNCHOSEN]
        with_prior = f"{_prior_of(run)} {_HELD_OUT}"
        if st.session_state.get(DATA) == with_prior and _is_known(_prior_of(run)):
            found.append(with_prior)
    # Images can be resized; a table's columns cannot be made others.
    can_be = resized and run.model_config.kind == IMAGE
    others = [n for n in catalogue.names() if catalogue.describe(n).kind == IMAGE] if can_be else []
    return found + [f"{name} {split}" for name in others if name not in names for split in SPLITS]


def said(option: str) -> str:
    """An option in words."""
    if is_of_prior(option):
        return "noise from the prior"
    return option or "not chosen yet"


def is_of_prior(name: str) -> bool:
    """Whether a data set is noise from a model's prior."""
    return name.startswith(_PRIOR)


def offer(run: AnyRun) -> None:
    """The question."""
    kind, shape = run.model_config.kind, run.model_config.image_shape
    C, H, W = shape
    is_image, points = kind == IMAGE, wording.of(kind).points
    colour = ("colour " if C == 3 else "grey ") * is_image
    st.info(
        f"{plain(run.name)} reads {colour}{wording.size(kind, shape, ' x ')}, and no known data "
        "set has such. What shall it be shown?"
    )
    with st.container(horizontal=True, vertical_alignment="center", key="data_choice"):
        st.page_link(
            "pages/train.py",
            label="Your own data",
            icon=f":material/{'add_photo_alternate' if is_image else 'table'}:",
        )
        if is_image:
            nearest = catalogue.nearest(shape)
            st.button(
                f"{plain(nearest)}, resized to {H} x {W}",
                on_click=_choose,
                args=(nearest,),
                key="data_nearest",
            )
        st.button(
            "Noise from the prior",
            help=f"No {points} at all: z is drawn from the prior and decoded. The costs are of "
            "what the model itself draws.",
            on_click=_draw,
            args=(run,),
            key="data_prior",
        )


def _choose(name: str) -> None:
    st.session_state[DATA] = f"{name} {_HELD_OUT}"


def _draw(run: AnyRun) -> None:
    name = _prior_of(run)
    try:
        catalogue.give(name, prior.drawn(loaded.model(readings.as_chosen(run)), name), listed=False)
    except UserError as error:
        st.toast(explained(error), icon=":material/error:")
        return
    _choose(name)


def _prior_of(run: AnyRun) -> str:
    """Another one for other weights, and for another reading of them."""
    known_by = repr(loaded.weights(readings.as_chosen(run)))
    return f"{_PRIOR}{hashlib.sha256(known_by.encode()).hexdigest()[:16]}"


def _is_known(name: str) -> bool:
    try:
        catalogue.describe(name)
    except DatasetError:
        return False
    return True
