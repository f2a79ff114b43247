"""log p(x) of every point of a view: what is stored, and the way to have it computed."""

from collections.abc import Hashable

import streamlit as st

from vae.analysis import objectives
from vae.analysis.objectives import Outcome
from vae.errors import UserError
from vae.formats import ForeignRun
from vae.inference import evidence
from vae.inference.condition import OWN_LABEL
from vae.inference.evidence import USUAL_SAMPLES, Evidence
from vae.runs import checkpoint
from vae.runs.checkpoint import CheckpointError, Run
from vae.ui import faults, policy, roles
from vae.ui.results import loaded, waiting
from vae.ui.results.store import RESULTS
from vae.ui.results.task import WAITING, Progress, Task
from vae.ui.text import explained, plain
from vae.ui.view import View


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
            st.caption(f"log p(x) is kept only until the server ends: {explained(problem)}.")
        return
    task = RESULTS.task(_key(view))
    if task is not None and task.is_active:
        faults.fragment(_watch, run_every=1.0)(view, key)
        return
    if problem:
        st.error(explained(problem))
    if view.images is None:
        st.caption(
            f"log p(x) needs the {view.words.points}, and they are not at hand: "
            f"{plain(view.images_problem)}."
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


def outcome(view: View) -> Outcome:
    """What the training of the view's run came to, which is one of ours."""
    known, run = found(view), view.run
    assert isinstance(run, Run)
    return RESULTS.make(
        ("outcome of an objective", view.key, known is None),
        lambda: objectives.outcome(run.train_config, view.embedding, known),
    )


def _look(view: View) -> tuple[Evidence | None, str]:
    """What there is, and what is wrong with it or with where it should be."""
    stored, problem = None, ""
    try:
        data = view.embedding.dataset, view.embedding.split
        if view.condition == OWN_LABEL:  # what is kept in the folder is of own labels
            stored = loaded.evidence(view.run, *data, view.images)
    except CheckpointError as error:
        problem = str(error)
    # Else of another version of the data, or of its first points only.
    if stored is not None and len(stored) == len(view.embedding):
        return stored, problem
    return RESULTS.get(_key(view)) or (None, problem)


def _key(view: View) -> Hashable:
    return view.key, "log p(x)"


def _start(view: View) -> None:
    run, model, images = view.run, view.model, view.images
    assert images is not None
    may_write = roles.may_change() and (not roles.owners() or roles.may_alter(run.path))

    def work(progress: Progress) -> tuple[Evidence, str]:
        if evidence.offers_exact(model):
            result = evidence.exact(model, images, progress=progress)
        else:
            result = evidence.importance_weighted(model, images, USUAL_SAMPLES, progress=progress)
        return result, _keep(result)

    def _keep(result: Evidence) -> str:
        """Writes it into the run's folder; why it could not be, in words."""
        if not may_write:
            return "on this server you may not add to what others made"
        if isinstance(run, ForeignRun):
            return f"nothing is written beside {run.path.name}, which another library made"
        if view.condition != OWN_LABEL:
            return "what is kept with a run is of own labels"
        if loaded.weights(run) != view.weights:  # it would be stored as that of the new ones
            return "the checkpoint's weights were replaced meanwhile"
        try:
            policy.check_room(run.path)
            checkpoint.save_evidence(run, result)
        except UserError as error:
            return str(error)
        return ""

    RESULTS.start(_key(view), work)


def _watch(view: View, key: str) -> None:
    """How far it is, with a way to end it; polled for as long as it takes."""
    task = RESULTS.task(_key(view))
    if task is None or not task.is_active:
        st.rerun()  # the whole page: there are columns now, or the button again
    sentence = _sentence(task, len(view.embedding))
    waiting.bar_with_cancel(_key(view), f"{key}_cancel", task.share, sentence)


def _sentence(task: Task, n_points: int) -> str:
    if task.state == WAITING:
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
