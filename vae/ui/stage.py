"""The stage: a page large and alone, with a teacher's stops. The browser's part: live/js/stage."""

from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import streamlit as st
from streamlit.components.v2 import component
from streamlit.navigation.page import Page

from vae.lessons import course
from vae.live import source
from vae.live.constants import STAGE_ZOOM

KEY = "stage"
_SHOWN = "_on_stage"
_ASKED = "_stop"  # {"page": ..., "query": ...}: where the next run shall go
# The stops that come with the app: title, page, query.
TOUR = (
    ("Where the digits live", "explore", "run=mnist-2d&data=mnist+held-out&point=33&manifold=1"),
    ("A 2 that is taken for a 5", "inference", "run=digits-2d&data=digits+held-out&point=11"),
    ("How far one Gaussian is from another", "gaussians", "run=mnist-2d"),
    ("What it costs, picture by picture", "points", "run=mnist-2d&data=mnist+held-out&point=33"),
    ("Eight by eight pixels will do", "explore", "run=digits-2d&data=digits+held-out&point=100"),
    ("Why the KL needs no integral", "learn", "run=mnist-2d&lesson=closed-form"),
    ("Is it healthy?", "diagnose", "run=mnist-10d&data=mnist+held-out"),
)

_LESSON_RUN = "mnist-2d"  # whose numbers a lesson's stops tell

_component = component(
    "elbo_room_stage",
    js=source.module("stage/stage.js"),
    css="button { font: inherit; font-size: .9rem; color: inherit; background: none; border: 0; "
    "padding: .15rem .5rem; border-radius: .4rem; cursor: pointer; opacity: .8; } "
    "button:is(:hover, :focus-visible) { background: color-mix(in srgb, currentColor 12%, "
    "transparent); }",
)


def style() -> str:
    """The style sheet of the whole document for as long as the stage is shown."""
    return f"<style>:root {{ --stage-zoom: {STAGE_ZOOM}; }}\n{source.sheet('stage')}</style>"


def offer(pages: Sequence[Page], class_page: dict[str, str] | None) -> None:
    """The button, the keys and the stops; stands once in the frame.

    Args:
        class_page: the one that was given last, {"address": ..., "picture": URL of its QR code}.
        pages: that there are; a stop names one by its title in small letters. The first is the one
            at the root.
    """
    names = [page.title.lower() for page in pages]
    _component(
        key=KEY,
        data={
            "presenting": is_shown(),
            "pages": names,
            "tours": _tours(),
            "class_page": class_page,
        },
        on_presenting_change=_take,
        on_go_change=lambda: _ask(names),
    )


@cache
def _tours() -> list[dict[str, Any]]:
    """The stops that come with the app: a way through its pages, and one through each lesson."""
    names = "title", "page", "query"
    tours = [{"title": "The tour", "stops": [dict(zip(names, s, strict=True)) for s in TOUR]}]
    for lesson in course.LESSONS.values():
        query = f"run={_LESSON_RUN}&lesson={lesson.key}&step="
        stops = [
            {"title": step.title, "page": "learn", "query": query + step.key}
            for step in lesson.steps
        ]
        tours.append({"title": lesson.title, "stops": stops})
    return tours


def is_shown() -> bool:
    """Whether this visitor's page is on the stage: figures are then drawn larger."""
    return st.session_state.get(_SHOWN, False)


def follow() -> None:
    """Goes to the stop that was asked for, if one was."""
    asked: dict[str, Any] | None = st.session_state.pop(_ASKED, None)
    if asked is not None:
        query = dict(parse_qsl(asked["query"], keep_blank_values=True))
        st.switch_page(f"pages/{asked['page']}.py", query_params=query)


def _take() -> None:
    st.session_state[_SHOWN] = st.session_state[KEY]["presenting"] is True


def _ask(names: Sequence[str]) -> None:
    sent = st.session_state[KEY]["go"]
    if isinstance(sent, dict) and sent.get("page") in names and isinstance(sent.get("query"), str):
        st.session_state[_ASKED] = sent
