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

from vae import gaussian
from vae.datasets import to_unit
from vae.live import export, pack, source
from vae.live import panel as told
from vae.live.program import ProgramError
from vae.posterior import best_gaussian
from vae.ui import cache, state
from vae.ui.frame import View
from vae.ui.projection import Layout, Projection

KEY = "live"
_MOST_POINTS_BYTES = 16_000_000  # of mu and logvar; beyond, a click on a point asks the server
_SENT = "_packs_sent"  # ids of the packs that this visitor's browser has been given
_BEST = "_best_q"

_component = st.components.v2.component("elbo_room_live", js=source.module(), css=source.css())


def problem(view: View) -> ProgramError | None:
    """Why this model cannot run in the browser; None if it can."""
    found = _model_pack(view)
    return found if isinstance(found, ProgramError) else None


@st.fragment
def panel(view: View, axes: Projection | Layout, index: int, without_webgl: bool) -> None:
    """Everything beside the map; only this is run again when the hand lets go.

    What the hand did is taken in callbacks: a run may be cut off by the next message, and what it
    was told would be lost. The whole page follows as soon as it shows something else than chosen.

    Args:
        view: what is looked at.
        axes: of the map.
        index: the chosen point, as the page now shows it.
        without_webgl: whether the page's map is drawn without.
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
            "plane": _plane(axes),
            "ranges": told.ranges(view.embedding),
            "point": told.point(
                view.embedding,
                index,
                point_key(view, index),
                None if view.images is None else view.images.images[index].numpy(),
            ),
            "q": state.hand(point_key(view, index), view.embedding.latent_dim),
            "settings": _settings(view),
            "best": best,
        },
        on_hand_change=_take_hand,
        on_point_change=lambda: _choose(len(view.embedding)),
        on_best_change=lambda: _search_best(view, index),
        on_drawn_change=lambda: _keep_drawing(view),
        on_need_change=_forget_sent,
        on_problem_change=lambda: None,
        on_without_webgl_change=_take_without_webgl,
    )
    sent = st.session_state.setdefault(_SENT, set())
    for place, (identity, data) in enumerate(packs.items()):
        if identity not in sent:
            sent.add(identity)
            _component(key=f"pack_{place}", data=data)
    state.publish()
    shown = (index, without_webgl)
    if shown != (st.session_state[state.POINT], st.session_state.get(state.WITHOUT_WEBGL, False)):
        st.rerun()


def export_button(view: View) -> None:
    """One HTML file with what the page shows, for the course page or a mail."""
    size = export.rough_size(view.model, view.embedding, view.images)
    st.sidebar.download_button(
        f"Take it away: one HTML file, {size / 1e6:.1f} MB",
        lambda: export.page(
            view.model,
            view.embedding,
            view.run.name,
            view.images,
            view.run.train_config.held_out_dataset,
        ),
        file_name=f"{view.run.name}.html",
        mime="text/html",
        on_click="ignore",
        icon=":material/download:",
        type="tertiary",
        help="The map, the live panel and the model; it opens with no network and no Python.",
    )


def point_key(view: View, index: int) -> str:
    """Names a point of a data set seen through a run; its index stands last (see live.js)."""
    return f"{view.run.name}/{view.embedding.dataset}/{view.embedding.split}/{index}"


def _plane(axes: Projection | Layout) -> dict[str, Any] | None:
    if not axes.is_decodable:
        return None
    dimensions = axes.dimensions if axes.is_of_dimensions else None
    return told.plane(axes.origin, axes.directions, dimensions)


def _packs(view: View) -> list[tuple[dict[str, Any], bytes]]:
    packs = [_model_pack(view)]
    if view.embedding.mu.nbytes * 2 <= _MOST_POINTS_BYTES:
        packs.append(_points_pack(view))
    return packs


def _model_pack(view: View) -> tuple[dict[str, Any], bytes] | ProgramError:
    return cache.pack(view.run, "model", lambda: _built_model_pack(view))


def _points_pack(view: View) -> tuple[dict[str, Any], bytes]:
    name = f"{view.embedding.dataset}/{view.embedding.split}"
    return cache.pack(view.run, name, lambda: _with_header(pack.points_pack(view.embedding)))


def _built_model_pack(view: View) -> tuple[dict[str, Any], bytes] | ProgramError:
    try:
        return _with_header(pack.model_pack(view.model, view.run.train_config.held_out_dataset))
    except ProgramError as error:
        return error  # kept in the place of a pack: it would be the same again


def _with_header(data: bytes) -> tuple[dict[str, Any], bytes]:
    return pack.header_of(data), data


def _settings(view: View) -> dict[str, Any]:
    samples = min(view.embedding.n_samples, told.MOST_SAMPLES)
    return {"S": samples} | st.session_state.get(state.LIVE, {})


def _take_hand() -> None:
    hand = st.session_state[KEY]["hand"]
    if isinstance(hand, dict):
        state.take_hand(hand)


def _take_without_webgl() -> None:
    st.session_state[state.WITHOUT_WEBGL] = True


def _forget_sent() -> None:
    st.session_state[_SENT] = set()


def _choose(n_points: int) -> None:
    index = st.session_state[KEY]["point"]
    if isinstance(index, int) and 0 <= index < n_points:
        st.session_state[state.POINT] = index


def _image(view: View, text: Any) -> torch.Tensor | None:
    """An image that the browser sent, (C, H, W) uint8; None if it is not one of the model's."""
    shape = view.run.model_config.image_shape
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return None
    if len(data) != int(np.prod(shape)):
        return None
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(shape)


def _keep_drawing(view: View) -> None:
    image = _image(view, st.session_state[KEY]["drawn"])
    if image is None:
        return
    state.keep_drawing(image.numpy())
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
    elif view.images is not None and asked.get("point") == point_key(view, index):
        image = view.images.images[index]
    else:
        image = None
    if image is None:
        found["problem"] = "The image is not at hand, so no better q can be searched."
        return
    x = to_unit(image)
    D = view.embedding.latent_dim
    eps = gaussian.draw((128, D), torch.Generator().manual_seed(0))
    with torch.no_grad():
        mu, logvar = view.model.encode(x[None])
    try:
        best = best_gaussian(view.model, x, mu[0], logvar[0], eps)
    except ValueError as error:
        found["problem"] = f"{str(error)[0].upper()}{str(error)[1:]}."
        return
    found["mu"] = best.mu.tolist()
    found["sigma"] = (best.logvar / 2).exp().tolist()
