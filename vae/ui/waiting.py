"""Waiting on a page for what is computed in the background: how far it is, a way to cancel it."""

import time
from collections.abc import Callable, Hashable

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from vae.ui import background
from vae.ui.background import Progress, Task
from vae.ui.text import plain

_SHOWN_AFTER_S = 0.4  # what is over sooner shows nothing


def until_done(
    key: Hashable,
    work: Callable[[Progress], None],
    what: str,
    place: DeltaGenerator,
    unit: str = "",
) -> None:
    """Has the work done in the line of the short ones, unless somebody began it, and waits for it.

    A rerun of the page ends the waiting only. Once it is cancelled, by whomever, the page ends
    here, with a button that begins it again.

    Args:
        key: what is computed.
        work: keeps its result where the next run of the page finds it.
        what: names it, as in "Encoding".
        place: an `st.empty()` to show it in, which must be made in runs that need not wait, too:
            what follows on the page would else move up by one, and its widgets lose the focus.
        unit: of its progress, as in "points"; without one only the time is shown.

    Raises:
        ValueError: it failed, in its words.
    """

    def begin() -> Task:
        return background.start(key, work, background.SHORT)

    task = background.task(key)
    if task is not None and task.state == background.CANCELLED:
        with place.container():
            st.info(f"{plain(what)} was cancelled.")
            st.button("Begin again", icon=":material/play_arrow:", key=_key(key), on_click=begin)
        st.stop()
    if task is None or not task.is_active:
        task = begin()
    began, bar = time.monotonic(), None
    while task.is_active:
        if bar is None and time.monotonic() - began > _SHOWN_AFTER_S:
            with place:
                bar = bar_with_cancel(key, _key(key), 0.0, plain(what))
        if bar is not None:
            bar.progress(task.share, _told(task, what, unit))
        time.sleep(0.02 if bar is None else 0.2)
    place.empty()
    if task.state == background.CANCELLED:
        st.rerun()
    if task.problem:
        raise ValueError(task.problem)


def bar_with_cancel(key: Hashable, widget_key: str, share: float, text: str) -> DeltaGenerator:
    """How far the task with that key is, beside a button that ends it; returns the bar."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        bar = st.progress(share, text)
        st.button(
            "Cancel",
            key=widget_key,
            icon=":material/close:",
            on_click=background.cancel,
            args=(key,),
        )
    return bar


def _told(task: Task, what: str, unit: str) -> str:
    if task.state == background.WAITING:
        return f"{plain(what)}: waiting for another computation to end"
    if not (unit and task.total):
        return f"{plain(what)}, {task.seconds:.0f} s"
    text = f"{plain(what)} {task.done:,} of {task.total:,} {unit}"
    left = task.seconds_left
    return text if left is None else f"{text}, about {left:.0f} s left"


def _key(key: Hashable) -> str:
    return f"waiting_{hash(key)}"
