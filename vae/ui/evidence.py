"""log p(x) of every point of a view: what is stored, and the way to have it computed."""

from collections.abc import Hashable

import streamlit as st

from vae import checkpoint, evidence
from vae.checkpoint import CheckpointError
from vae.evidence import USUAL_SAMPLES, Evidence
from vae.ui import background, cache, waiting
from vae.ui.background import Progress, Task
from vae.ui.frame import View, plain


def found(view: View) -> Evidence | None:
    """log p(x) of the view's points, if it has been computed; `offer` says what is wrong if not."""
    return _look(view)[0]


def offer(view: View, key: str) -> None:
    """Where there is no log p(x): the button that has it computed, or how far that is.

    Args:
        view: what the page looks at.
        key: a beginning for the keys of its widgets.
    """
    here, problem = _look(view)
    if here is not None:
        if problem:
            st.caption(f"log p(x) is kept only until the server ends: {plain(problem)}.")
        return
    task = background.task(_task_key(view))
    if task is not None and task.is_active:
        st.fragment(_watch, run_every=1.0)(view, key)
        return
    if problem:
        st.error(plain(problem))
    if view.images is None:
        st.caption(
            f"log p(x) needs the images, and they are not at hand: {plain(view.images_problem)}."
        )
        return
    if task is not None and task.problem:
        st.error(f"log p(x) could not be computed: {plain(task.problem)}")
    how = (
        "exact, by quadrature"
        if evidence.offers_exact(view.model)
        else f"importance-weighted, K = {USUAL_SAMPLES:,}"
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        # In a callback, so that the very run that the click causes shows the progress.
        st.button(
            f"Compute log p(x) of all {len(view.embedding):,} points",
            key=f"{key}_compute",
            icon=":material/functions:",
            on_click=_start,
            args=(view,),
        )
        st.caption(how, width="content")


def _look(view: View) -> tuple[Evidence | None, str]:
    """What there is, and what is wrong with it or with where it should be."""
    run, name, split = view.run, view.embedding.dataset, view.embedding.split
    here, problem = None, ""
    try:
        here = cache.evidence(run, name, split)
    except CheckpointError as error:
        problem = str(error)
    unstored = cache.unstored_evidence(run, name, split)
    if here is None and unstored:
        here, problem = unstored[0]
    # Else of another version of the data, or of its first points only.
    fits = here is not None and len(here) == len(view.embedding)
    return (here if fits else None), problem


def _task_key(view: View) -> Hashable:
    data = view.embedding.dataset, view.embedding.split
    return "log p(x)", view.run.path, cache.stamp_of_model(view.run), data


def _start(view: View) -> None:
    run, model, images = view.run, view.model, view.images
    stamp = cache.stamp_of_model(run)
    unstored = cache.unstored_evidence(run, images.name, images.split)

    def work(progress: Progress) -> None:
        if evidence.offers_exact(model):
            result = evidence.exact(model, images, progress=progress)
        else:
            result = evidence.importance_weighted(model, images, USUAL_SAMPLES, progress=progress)
        if cache.stamp_of_model(run) != stamp:
            # It would be stored as that of the new weights.
            raise ValueError("the checkpoint's weights were replaced meanwhile")
        try:
            checkpoint.save_evidence(run, result)
        except CheckpointError as error:
            unstored[:] = [(result, str(error))]

    background.start(_task_key(view), work)


def _watch(view: View, key: str) -> None:
    """How far it is, with a way to end it; polled for as long as it takes."""
    task = background.task(_task_key(view))
    if task is None or not task.is_active:
        st.rerun()  # the whole page: there are columns now, or the button again
    told = _told(task, len(view.embedding))
    waiting.bar_with_cancel(_task_key(view), f"{key}_cancel", task.share, told)


def _told(task: Task, n_points: int) -> str:
    if task.state == background.WAITING:
        return "log p(x): waiting for another computation to end"
    text = f"log p(x) of {task.done:,} of {n_points:,} points, {_duration(task.seconds)}"
    left = task.seconds_left
    return text if left is None else f"{text}, about {_duration(left)} left"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
