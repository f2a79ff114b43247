"""Train: train one and watch the space form; queue, resume, compare."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from vae import wording
from vae.config import ELBO, LATTICE, TrainConfig
from vae.errors import UserError
from vae.runs import checkpoint, folders, job, makers, queue
from vae.runs.checkpoint import Run
from vae.runs.status import Status, read_status, request_stop
from vae.training.remarks import remark
from vae.ui import faults, frame, heading, policy, roles
from vae.ui.objectives import family
from vae.ui.results import loaded
from vae.ui.session import selection
from vae.ui.text import explained, nats, plain
from vae.ui.train import charts, form, objectives, own_data
from vae.wording import Words

frame.require("pages/train.py")

WATCHED = "watched"
FOLLOWED = "followed"  # the selected checkpoint that WATCHED last followed
DELETED = "deleted"  # where the run lies that was deleted last
PROBLEM = "problem"  # what could not be done, to be said after the rerun
_MOST_NAMED = 3  # of the runs that one waits for
VIEWS = FILM, CURVES, ALL_RUNS, OBJECTIVES = ("Film", "Curves", "All runs", "Objectives")


def main() -> None:
    heading.ask("What does training do to the latent space?")
    left, right = st.columns([1, 3.3], gap="large")
    with left:
        if roles.may_change():
            new_runs, said = form.show()
            if new_runs:
                begin(new_runs, said)
        else:
            st.info(roles.SENTENCE)
    with right:
        if own_data.is_open() and roles.may_change():
            own_data.show()
        else:
            bench()


def begin(new_runs: form.NewRuns, said: DeltaGenerator) -> None:
    """Makes the folders of what the form asks for, and sees to it that they are trained."""
    try:
        roles.check()
        wanted = [(model, train) for _, model, train in new_runs.settings]
        policy.check_training(checkpoint.folder(), wanted, new_runs.at_once, n_waiting())
        for split in ("train", "test"):  # fetched here, where a missing network can be told
            loaded.dataset(new_runs.dataset, split)
        made = [job.create(*settings).path for settings in new_runs.settings]
        for path in made:
            makers.mark(path, roles.me())
        if new_runs.at_once:
            for path in made:
                queue.start_now(path)
        else:
            queue.start_worker(checkpoint.folder())
    except UserError as error:  # a setting, the data or the folder
        said.error(explained(error))
        return
    form.begun()
    st.session_state[WATCHED] = made[0].name
    own_data.close()
    st.rerun()


def n_waiting() -> int:
    """Runs of this visitor in the queue; 0 at home, where there is nobody else."""
    if roles.is_at_home():
        return 0
    return sum(map(roles.is_mine, queue.queued(checkpoint.folder())))


def bench() -> None:
    """The run that is watched, and what can be done with it."""
    undo()
    runs = [run for run in loaded.runs()[0] if isinstance(run, Run)]  # not other libraries' files
    if not runs:
        st.info("Nothing has been trained yet. Choose the data on the left and press Train.")
        return
    states = {run.name: read_status(run.path) for run in runs}
    active = any(status.state in ("running", "queued") for status in states.values())
    names = [run.name for run in sorted(runs, key=lambda run: recency(run, states), reverse=True)]
    choose_watched(names, is_training=states[names[0]].state == "running")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        name = st.selectbox(
            "Run", names, key=WATCHED, persist_state="session", width=150, on_change=select_watched
        )
        view = st.segmented_control(
            "View",
            VIEWS,
            default=FILM,
            required=True,
            key="train_view",
            persist_state="session",
        )
        run = next(run for run in runs if run.name == name)
        actions(run, states[name])
    run_every = 1.5 if active else None
    if view == OBJECTIVES:
        by_objective(run, runs)
    elif view == ALL_RUNS:
        faults.fragment(all_runs, run_every)(
            {name: status.state for name, status in states.items()}
        )
    else:
        faults.fragment(watch, run_every)(run, states[name].state, view)
    if states[name].state == "finished":
        onward(run)


def by_objective(run: Run, runs: list[Run]) -> None:
    """What the same network came to by other objectives, and a way to train those that lack."""
    st.markdown("**What does the bound cost?** The same network, trained by what it maximises.")
    there = family(run, runs)
    lacking = objectives.lacking(run, there)
    if lacking and roles.may_change():
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            others = " and ".join(settings.objective for _, settings in lacking)
            button(f"Train by {others}", "play_arrow", train_others, run, lacking)
            st.caption("With the settings of this run, one after another", width="content")
    if len(there) < 2:
        st.caption(
            "This run has a lattice encoder, which no training makes: beside it stands only a "
            "network that was refitted like it."
            if run.model_config.encoder == LATTICE
            else "A network that differs in its objective alone will stand beside this one when "
            "its training is finished."
        )
        return
    objectives.show(run, there)


def train_others(run: Run, lacking: list[tuple[str, TrainConfig]]) -> None:
    wanted = [(run.model_config, settings) for _, settings in lacking]
    policy.check_training(checkpoint.folder(), wanted, False, n_waiting())
    for name, settings in lacking:
        path = checkpoint.folder() / checkpoint.check_name(name)
        checkpoint.check_free(path)
        makers.mark(job.create(path, run.model_config, settings).path, roles.me())
    queue.start_worker(checkpoint.folder())
    st.toast("Waiting in the queue; All runs shows how far they are.")


def choose_watched(names: list[str], is_training: bool) -> None:
    """The run that is selected everywhere, unless something is being trained at this moment."""
    selected = st.session_state.get(selection.RUN)
    is_new = selected != st.session_state.get(FOLLOWED)
    if st.session_state.get(WATCHED) not in names or (is_new and not is_training):
        st.session_state[FOLLOWED] = selected
        is_here = selected in names and not is_training
        st.session_state[WATCHED] = selected if is_here else names[0]


def select_watched() -> None:
    """A run that is chosen here is selected everywhere."""
    st.session_state[selection.RUN] = st.session_state[FOLLOWED] = st.session_state[WATCHED]


def words_of(*runs: Run) -> Words:
    """What sentences call the points of the runs' data."""
    return wording.of(*(run.model_config.kind for run in runs))


def onward(run: Run) -> None:
    """What a finished run is looked at with."""
    with st.container(horizontal=True, gap="medium"):
        for page, text, icon in (
            ("traverse", "What does each dimension do?", "view_module"),
            ("points", f"Which {words_of(run).points} cost most?", "table_rows"),
            ("diagnose", "Is it healthy?", "stethoscope"),
            ("compare", "Better than another?", "compare_arrows"),
        ):
            st.page_link(
                f"pages/{page}.py",
                label=text,
                icon=f":material/{icon}:",
                query_params={"run": run.name},
                width="content",
            )


def recency(run: Run, states: dict[str, Status]) -> tuple[bool, float]:
    """Running ones first, then the newest: a run begins when its folder gets its settings."""
    try:
        began = (run.path / checkpoint.CONFIG).stat().st_mtime
    except OSError:
        began = 0.0
    return states[run.name].state == "running", began


def actions(run: Run, status: Status) -> None:
    """Stop or resume, and behind a menu what changes the folder."""
    with st.container(
        horizontal=True,
        gap="small",
        horizontal_alignment="right",
        vertical_alignment="center",
        width="stretch",
    ):
        may_alter = roles.may_alter(run.path)
        if may_alter and status.state in ("running", "queued"):
            button("Stop", "stop", stop, run)
        elif may_alter and status.state != "finished":
            button("Resume", "resume", resume, run)
        st.page_link(
            "pages/explore.py",
            label="Explore",
            icon=":material/explore:",
            query_params={"run": run.name},
            width="content",
        )
        if not roles.may_change():
            return
        button("Duplicate", "content_copy", form.start_from, run)
        if not may_alter:
            return
        with st.popover("More", icon=":material/more_horiz:"):
            st.text_input("New name", run.name, key=f"rename_{run.name}")
            button("Rename", "edit", rename, run)
            button("Delete", "delete", delete, run)


def button(label: str, icon: str, action: Callable[..., None], *arguments: Any) -> None:
    """A button that acts in its callback: the page's own polling can cut a rerun short."""
    st.button(
        label,
        icon=f":material/{icon}:",
        key=label.lower(),
        on_click=attempt,
        args=(action, *arguments),
        width="content",
    )


def attempt(action: Callable[..., None], *arguments: Any) -> None:
    """Does it, or leaves a sentence on why it could not be done."""

    def allowed() -> None:
        roles.check()
        if action not in (form.start_from, train_others):  # which take anybody's settings
            roles.check_alter(getattr(arguments[0], "path", arguments[0]))
        action(*arguments)

    st.session_state[PROBLEM] = faults.attempt(allowed)


def stop(run: Run) -> None:
    request_stop(run.path)  # no toast: it would lie over the button that goes on


def resume(run: Run) -> None:
    wanted = [(run.model_config, run.train_config)]
    policy.check_training(checkpoint.folder(), wanted, at_once=False, n_of_visitor=n_waiting())
    queue.enqueue(run.path)
    queue.start_worker(run.path.parent)


def rename(run: Run) -> None:
    name = st.session_state[f"rename_{run.name}"]  # as it is now, not as it was when drawn
    folders.rename(run.path, name)
    st.session_state[WATCHED] = name


def delete(run: Run) -> None:
    st.session_state[DELETED] = folders.discard(run.path)


def restore(place: Path) -> None:
    st.session_state.pop(DELETED)
    st.session_state[WATCHED] = folders.restore(place).name


def undo() -> None:
    """What went wrong last, and the way back from a deletion."""
    if problem := st.session_state.pop(PROBLEM, None):
        st.error(explained(problem))
    place: Path | None = st.session_state.get(DELETED)
    if place is None or not place.exists():
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"Deleted {plain(place.name)}.")
        button("Undo", "undo", restore, place)


def watch(run: Run, state_before: str, view: str) -> None:
    """How far the run is, and its film or its curves; polled while anything trains."""
    status = read_status(run.path)
    if status.state != state_before:
        st.rerun()  # the whole page: the picker and the buttons have changed
    try:
        rows = loaded.metrics(run)
        progress(run, status, rows)
        if view == FILM:
            charts.film(run)
        else:
            charts.curves({run.name: rows}, words_of(run))
    except UserError as error:
        st.error(explained(error))


def progress(run: Run, status: Status, rows: list[dict]) -> None:
    """One line on how it stands, the last epoch's figures, and what is remarkable."""
    epoch = rows[-1]["epoch"] if rows else 0
    text = f"epoch {epoch} of {run.train_config.epochs}"
    if status.state == "running":
        left = status.seconds_left
        text += f", {duration(left)} left" if left is not None else ", starting"
        st.progress(status.step / status.n_steps if status.n_steps else 0.0, text)
    elif status.state == "queued":
        st.info(f"In the queue at {text}.{waiting_for(run)}")
    elif status.state == "failed":
        st.error(plain(status.message or f"The training of this run failed at {text}."))
    elif status.is_unusable:
        st.warning(plain(f"How this run does is not known: {status.message}."))
    elif status.state == "interrupted":
        st.warning(
            f"The process that trained this run ended at {text}; that epoch is kept, and "
            "Resume goes on from it."
        )
    held_out = [row for row in rows if row["split"] == "test"]
    terms = loaded.held_out_terms(run)
    if not held_out or terms is None:
        return
    last = held_out[-1]
    if run.train_config.objective != ELBO:
        st.caption(f"Trained {plain(run.train_config.made_by)}.")
    if run.model_config.encoder == LATTICE:
        st.caption(
            "The film and the curves are of the training, with an encoder of layers; these figures "
            "are of the lattice encoder that took its place."
        )
    columns = st.columns(6, gap="small", vertical_alignment="bottom")
    columns[0].metric("held-out -ELBO, nats", nats(terms.neg_elbo))
    columns[1].metric("recon, nats", nats(terms.recon))
    columns[2].metric("KL, nats", nats(terms.kl))
    columns[3].metric(f"epochs, {status.state}", f"{epoch} of {run.train_config.epochs}")
    columns[4].metric(f"{words_of(run).points}/s", f"{last['images_per_s']:,.0f}")
    columns[5].metric("time", duration(sum(row["seconds"] for row in held_out)))
    early = status.state == "running" and epoch < run.train_config.epochs / 2
    if (note := remark(run.train_config, terms, words_of(run))) and not early:
        st.warning(note)


def waiting_for(run: Run) -> str:
    """What stands before a run in the queue."""
    folder = run.path.parent
    waiting = queue.queued(folder)
    before = (
        [path.name for path in waiting[: waiting.index(run.path)]] if run.path in waiting else []
    )
    if now := queue.in_training(folder):
        before = [now.name, *before]
    elif problem := queue.worker_problem(folder):
        return f" The process that trains the queue ended: {explained(problem)}"
    if not before:
        return " It is the next: the process that trains it is starting, which takes some seconds."
    more = f" and {len(before) - _MOST_NAMED} more" if len(before) > _MOST_NAMED else ""
    return f" It waits for {plain(', '.join(before[:_MOST_NAMED]))}{more}."


def all_runs(states_before: dict[str, str]) -> None:
    """The table of the runs, and those chosen in it in one chart of curves and one plane."""
    runs, broken = loaded.runs()
    runs = [run for run in runs if isinstance(run, Run)]
    states = {run.name: read_status(run.path) for run in runs}
    if {name: status.state for name, status in states.items()} != states_before:
        st.rerun()
    histories = {}
    for run in runs:
        try:
            rows = loaded.metrics(run)
            loaded.held_out_terms(run)  # which the table shows
        except UserError as error:
            broken = broken | {run.name: str(error)}
        else:
            histories[run.name] = rows
    chosen = charts.table([run for run in runs if run.name in histories], histories, states)
    if chosen:
        words = words_of(*(run for run in runs if run.name in chosen))
        charts.curves({name: histories[name] for name in chosen}, words)
    for name, problem in broken.items():
        st.caption(f"{plain(name)} cannot be opened: {explained(problem)}")


def duration(seconds: float) -> str:
    """A time as one says it."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"


main()
