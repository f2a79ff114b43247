"""The live panel on a page: the model runs in the browser, Python hears what the hand let go of.

The browser is sent a model's weights once, as a pack (see vae.live.pack): in the first run that
shows the model, and again only if it asks. While something is dragged nothing crosses the wire.
"""

import base64
import binascii
from typing import Any

import numpy as np
import streamlit as st
import torch
from streamlit.components.v2 import component

from vae.analysis.axes import Layout, Projection
from vae.config import IMAGE, MAX_CLASSES
from vae.data.dataset import to_unit
from vae.errors import UserError
from vae.inference.gap import best_of_image
from vae.live import pack, source
from vae.live import panel as told
from vae.live.constants import MOST_SAMPLES
from vae.live.recording import ProgramError
from vae.ui import faults
from vae.ui.results import inference, loaded
from vae.ui.results.store import RESULTS
from vae.ui.session import drawings, manual_q, map_view, selection
from vae.ui.text import capitalised
from vae.ui.view import View

KEY = "live"
_MOST_POINTS_BYTES = 16_000_000  # of mu and logvar; beyond, a click on a point asks the server
_SENT = "_packs_sent"  # ids of the packs that this visitor's browser has been given
_BEST = "_best_q"

_component = component("elbo_room_live", js=source.module("streamlit.js"), css=source.css("live"))


def problem(view: View) -> ProgramError | None:
    """Why this model cannot run in the browser; None if it can."""
    found = _model_pack(view)
    return found if isinstance(found, ProgramError) else None


@faults.fragment
def panel(
    view: View, axes: Projection | Layout, index: int, only: tuple[str, ...] | None = None
) -> None:
    """Everything beside the map; only this is run again when the hand lets go.

    What the hand did is taken in callbacks: a run may be cut off by the next message, and what it
    was told would be lost. The whole page follows as soon as it shows something else than chosen.

    Args:
        view: what is looked at.
        axes: of the map.
        index: the chosen point, as the page now shows it.
        only: the tools that are offered, of "manifold" and "draw", where the panel shows the
            pictures alone: for who knows none of the field's words yet.
    """
    packs = {header["id"]: data for header, data in _packs(view)}
    ids = list(packs)
    best = st.session_state.get(_BEST)
    _component(
        key=KEY,
        data={
            "chart": "map",
            "model": ids[0],
            "points": ids[1] if len(ids) > 1 else None,
            "plane": told.plane(axes),
            "ranges": told.ranges(view.embedding),
            "point": told.point(
                view.embedding,
                index,
                view.run.name,
                None if view.images is None else view.images.images[index].numpy(),
            ),
            "q": manual_q.of_point(point_id(view, index), view.embedding.latent_dim),
            "classes": told.classes(
                view.n_classes,
                loaded.class_names(view.run, view.embedding.dataset),
                view.condition,
            ),
            "settings": settings(view),
            "best": best,
            **({} if only is None else {"only": list(only)}),
        },
        on_hand_change=_take_hand,
        on_point_change=lambda: _choose(len(view.embedding)),
        on_best_change=lambda: _search_best(view, index),
        on_drawn_change=lambda: _keep_drawing(view),
        on_need_change=_forget_sent,
        on_problem_change=lambda: None,
        on_view_change=lambda: map_view.take(st.session_state[KEY]["view"]),
    )
    sent = st.session_state.setdefault(_SENT, set())
    for place, (identity, data) in enumerate(packs.items()):
        if identity not in sent:
            sent.add(identity)
            _component(key=f"pack_{place}", data=data)
    selection.publish()
    shown = (index, view.condition)
    if shown != (
        st.session_state[selection.POINT],
        selection.condition() if view.n_classes else view.condition,
    ):
        st.rerun()


def point_id(view: View, index: int) -> dict[str, Any]:
    """Which point of which data set it is, seen through which run."""
    return told.identity(view.embedding, index, view.run.name)


def _packs(view: View) -> list[tuple[dict[str, Any], bytes]]:
    model = _model_pack(view)
    assert not isinstance(model, ProgramError)  # else the page shows `problem`
    packs = [model]
    if view.embedding.mu.nbytes * 2 <= _MOST_POINTS_BYTES:
        packs.append(_points_pack(view))
    return packs


def _model_pack(view: View) -> tuple[dict[str, Any], bytes] | ProgramError:
    key = "model pack", view.weights, view.run.train_config.held_out_dataset
    return RESULTS.make(key, lambda: _built_model_pack(view))


def _points_pack(view: View) -> tuple[dict[str, Any], bytes]:
    key = "points pack", view.key
    labels = {"labels": view.embedding.labels.astype(np.int32)} if view.n_classes else {}
    return RESULTS.make(key, lambda: _with_header(pack.points_pack(view.embedding, **labels)))


def _built_model_pack(view: View) -> tuple[dict[str, Any], bytes] | ProgramError:
    try:
        model = loaded.model(view.run)  # of any class, which is chosen over there
        return _with_header(pack.model_pack(model, view.run.train_config.held_out_dataset))
    except ProgramError as error:
        return error  # kept in the place of a pack: it would be the same again


def _with_header(data: bytes) -> tuple[dict[str, Any], bytes]:
    return pack.header_of(data), data


def settings(view: View) -> dict[str, Any]:
    """Of the panel: samples, noise and switches, as the hand left them."""
    samples = min(view.embedding.n_samples, MOST_SAMPLES)
    return {"S": samples} | st.session_state.get(manual_q.SETTINGS, {})


def _take_hand() -> None:
    hand = st.session_state[KEY]["hand"]
    if isinstance(hand, dict):
        manual_q.take(hand)
        label = hand.get("label", "")  # of a model without a condition it says nothing
        if label is None:
            st.session_state[selection.CLASS] = selection.OWN
        elif isinstance(label, int) and 0 <= label < MAX_CLASSES:
            st.session_state[selection.CLASS] = str(label)


def _forget_sent() -> None:
    st.session_state[_SENT] = set()


def _choose(n_points: int) -> None:
    index = st.session_state[KEY]["point"]
    if isinstance(index, int) and 0 <= index < n_points:
        st.session_state[selection.POINT] = index


def _image(view: View, text: Any) -> torch.Tensor | None:
    """What was drawn and sent, (C, H, W), as the data set has it; None if of another shape."""
    shape = view.run.model_config.image_shape
    dtype = torch.uint8 if view.run.model_config.kind == IMAGE else torch.float32
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return None
    if len(data) != int(np.prod(shape)) * dtype.itemsize:
        return None
    image = torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)
    return image if bool(image.isfinite().all()) else None


def _keep_drawing(view: View) -> None:
    image = _image(view, st.session_state[KEY]["drawn"])
    if image is None:
        return
    drawings.keep(image.numpy())
    st.toast("Your drawing is on Points.", icon=":material/draw:")


def _search_best(view: View, index: int) -> None:
    """The best q for the chosen point, or for the drawing that came with the wish."""
    asked = st.session_state[KEY]["best"]
    if not isinstance(asked, dict):
        return
    found: dict[str, Any] = {"id": asked.get("id")}
    st.session_state[_BEST] = found
    if "x" in asked:
        image = _image(view, asked["x"])
    elif view.images is not None and asked.get("point") == point_id(view, index):
        image = view.images.images[index]
    else:
        image = None
    if image is None:
        kind = view.words.kind
        found["problem"] = f"The {kind} is not at hand, so no better q can be searched."
        return
    x, model = to_unit(image), view.given(index)
    with torch.no_grad():
        mu, logvar = model.encode(x[None])
    try:
        best = best_of_image(model, x, mu[0], logvar[0], inference.lattice(view, index))
    except UserError as error:
        found["problem"] = f"{capitalised(str(error))}."
        return
    found["mu"] = best.mu.tolist()
    found["sigma"] = (best.logvar / 2).exp().tolist()
