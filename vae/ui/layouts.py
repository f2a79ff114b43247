"""Layouts of a view's points: computed in the background, once for all visitors."""

import hashlib
from collections.abc import Hashable

import numpy as np
import streamlit as st

from vae.layout import layout
from vae.ui import background, waiting
from vae.ui.background import Progress, Task
from vae.ui.frame import View, plain


def positions(view: View, kind: str) -> np.ndarray | None:
    """Where the view's points stand, (N, 2); None while that is computed, which this begins.

    What was cancelled or has failed waits for somebody to begin it again (see `wait`).
    """
    key = _key(view, kind)
    task = background.task(key)  # before the slot: what ends in between is then found there
    slot = _slot(*key)
    if slot:
        return slot[0]
    if task is None or task.state == background.FINISHED:  # or gone from the cache since
        _start(view, kind)
    return None


def wait(view: View, kind: str) -> None:
    """How far the computation is, with a way to end it; the page follows when it is done."""
    task = background.task(_key(view, kind))
    if task is None or task.is_active or task.state == background.FINISHED:
        st.fragment(_watch, run_every=1.0)(view, kind)
        return
    if task.problem:
        st.error(f"{kind} could not be computed: {plain(task.problem)}.")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            f"Compute {kind}",
            key="layout_compute",
            icon=":material/scatter_plot:",
            on_click=_start,
            args=(view, kind),
        )
        ended = "" if task.problem else f"{kind} was cancelled. "
        st.caption(f"{ended}The map shows the principal components.", width="content")


def _watch(view: View, kind: str) -> None:
    key = _key(view, kind)
    task = background.task(key)
    if task is None or not task.is_active:
        st.rerun()  # the whole page: there is a layout now, or the button
    told = _told(task, kind, len(view.embedding))
    waiting.bar_with_cancel(key, "layout_cancel", task.share, told)


def _told(task: Task, kind: str, n_points: int) -> str:
    meanwhile = "the map shows the principal components"
    if task.state == background.WAITING:
        return f"{kind}: waiting for another computation to end; {meanwhile}"
    step = f", step {min(task.done + 1, task.total)} of {task.total}" if task.total else ""
    return f"{kind} of {n_points:,} points{step}, {task.seconds:.0f} s; until then {meanwhile}"


def _start(view: View, kind: str) -> None:
    key, mu = _key(view, kind), view.embedding.mu
    slot = _slot(*key)

    def work(progress: Progress) -> None:
        slot[:] = [layout(mu, kind, progress=progress)]

    background.start(key, work, background.BESIDE)


def _key(view: View, kind: str) -> tuple[Hashable, ...]:
    # By content: the same points have the same layout, whichever run or file they come from.
    mu = np.ascontiguousarray(view.embedding.mu)
    return "layout", kind, mu.shape, hashlib.blake2b(mu, digest_size=16).hexdigest()


@st.cache_resource(max_entries=32, show_spinner=False)
def _slot(what: str, kind: str, shape: tuple[int, ...], digest: str) -> list[np.ndarray]:
    # A place to put it: the thread that computes it may not call Streamlit.
    return []
