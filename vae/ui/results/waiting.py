"""Waiting on a page for what is computed in the background: how far it is, a way to cancel it."""

import copy
import time
from collections.abc import Hashable
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from vae.ui import turns
from vae.ui.results.lines import SHORT
from vae.ui.results.store import RESULTS
from vae.ui.results.task import CANCELLED, FAILED, LEFT, WAITING, Task, Work
from vae.ui.text import plain

_SHOWN_AFTER_S = 0.4  # what is over sooner shows nothing


def result(
    key: Hashable,
    work: Work,
    what: str,
    place: DeltaGenerator | None = None,
    unit: str = "",
    line: str = SHORT,
) -> Any:
    """What the work returns, done once for all who ask; waits for it, and shows how far it is.

    A rerun of the page ends the waiting only. Once it is cancelled, by whomever, the page ends
    here, with a button that begins it again.

    Args:
        key: what is computed, as for `Store.start`.
        work: as for `Store.start`.
        what: names it, as in "Encoding".
        place: an `st.empty()` to show it in; here if there is none. It must be made in runs that
            need not wait, too: what follows on the page would else move up by one, and its widgets
            lose the focus.
        unit: of its progress, as in "points"; without one only the time is shown.
        line: that it waits in.

    Raises:
        UserError: it failed, in its words.
    """
    place = place or st.empty()

    def begin() -> None:
        RESULTS.start(key, work, line)

    task = RESULTS.task(key)
    if task is not None and task.state == CANCELLED:
        with place.container():
            st.info(f"{plain(what)} was cancelled.")
            st.button("Begin again", icon=":material/play_arrow:", key=_key(key), on_click=begin)
        st.stop()
    if task is None or task.state == FAILED:
        task = RESULTS.start(key, work, line)
    with RESULTS.awaited(task):
        if task.is_active:
            _watch(task, key, what, place, unit)
        if task.state in (CANCELLED, LEFT):
            st.rerun()
        if task.error is not None:
            raise copy.copy(task.error)  # which must not hold on to this page's frames
        return task.value


def bar_with_cancel(key: Hashable, widget_key: str, share: float, text: str) -> DeltaGenerator:
    """How far the task with that key is, beside a button that ends it; returns the bar."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        bar = st.progress(share, text)
        st.button(
            "Cancel",
            key=widget_key,
            icon=":material/close:",
            on_click=RESULTS.cancel,
            args=(key,),
        )
    return bar


def _watch(task: Task, key: Hashable, what: str, place: DeltaGenerator, unit: str) -> None:
    turns.leave()
    began, bar = time.monotonic(), None
    while not task.over.wait(0.02 if bar is None else 0.2):
        if bar is None and time.monotonic() - began > _SHOWN_AFTER_S:
            with place:
                bar = bar_with_cancel(key, _key(key), 0.0, plain(what))
        if bar is not None:
            bar.progress(task.share, _sentence(task, what, unit))
    place.empty()


def _sentence(task: Task, what: str, unit: str) -> str:
    if task.state == WAITING:
        return f"{plain(what)}: waiting for another computation to end"
    if task.what:
        return f"{plain(task.what)}, {task.seconds:.0f} s"
    if not (unit and task.total):
        return f"{plain(what)}, {task.seconds:.0f} s"
    text = f"{plain(what)} {task.done:,} of {task.total:,} {unit}"
    left = task.seconds_left
    return text if left is None else f"{text}, about {left:.0f} s left"


def _key(key: Hashable) -> str:
    return f"waiting_{hash(key)}"
