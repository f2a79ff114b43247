"""Layouts of a view's points: computed in the background, once for all visitors."""

from collections.abc import Hashable

import numpy as np
import streamlit as st

from vae.analysis.layout import layout
from vae.ui import faults
from vae.ui.results import waiting
from vae.ui.results.content import content
from vae.ui.results.lines import BESIDE
from vae.ui.results.store import RESULTS
from vae.ui.results.task import FINISHED, WAITING, Task
from vae.ui.text import plain
from vae.ui.view import View


def positions(view: View, kind: str) -> np.ndarray | None:
    """Where the view's points stand, (N, 2); None while that is computed, which this begins.

    What was cancelled or has failed waits for somebody to begin it again (see `wait`).
    """
    key = _key(view, kind)
    if RESULTS.task(key) is None:
        _start(view, kind)
    return RESULTS.get(key)


def wait(view: View, kind: str) -> None:
    """How far the computation is, with a way to end it; the page follows when it is done."""
    task = RESULTS.task(_key(view, kind))
    if task is None or task.is_active or task.state == FINISHED:
        faults.fragment(_watch, run_every=1.0)(view, kind)
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
    task = RESULTS.task(key)
    if task is None or not task.is_active:
        st.rerun()  # the whole page: there is a layout now, or the button
    sentence = _sentence(task, kind, len(view.embedding))
    waiting.bar_with_cancel(key, "layout_cancel", task.share, sentence)


def _sentence(task: Task, kind: str, n_points: int) -> str:
    meanwhile = "the map shows the principal components"
    if task.state == WAITING:
        return f"{kind}: waiting for another computation to end; {meanwhile}"
    step = f", step {min(task.done + 1, task.total)} of {task.total}" if task.total else ""
    return f"{kind} of {n_points:,} points{step}, {task.seconds:.0f} s; until then {meanwhile}"


def _start(view: View, kind: str) -> None:
    mu = view.embedding.mu
    RESULTS.start(_key(view, kind), lambda progress: layout(mu, kind, progress=progress), BESIDE)


def _key(view: View, kind: str) -> Hashable:
    # By content: the same points have the same layout, whichever run or file they come from.
    return "layout", kind, content(view.embedding.mu)
