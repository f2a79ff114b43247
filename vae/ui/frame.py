"""What surrounds every page: the cold deep link, the checkpoint picker, the model card."""

import html
from dataclasses import dataclass

import streamlit as st

from vae import checkpoint, datasets
from vae.checkpoint import CheckpointError, Run
from vae.datasets import Dataset, DatasetError
from vae.embedding import Embedding
from vae.formats import AnyRun, ForeignRun
from vae.model import VAE
from vae.ui import cache, checkpoints, collector, state, upload
from vae.ui.state import DATA, POINT, RUN
from vae.ui.text import nats, plain

_FRAMED, _DEEP_LINK = "_framed", "_deep_link"
_DATA_OF = "_data_of"  # the checkpoint that the data were last chosen for
_SPLITS = {"held-out": "test", "training": "train", "all": "all"}  # as written: in code


@dataclass(frozen=True)
class View:
    """What a page looks at: a run, its model, and a data set seen through it.

    Attributes:
        run, model, embedding: as chosen in the sidebar.
        images: the data set behind the embedding; None if it is not at hand.
        images_problem: why not.
    """

    run: AnyRun
    model: VAE
    embedding: Embedding
    images: Dataset | None
    images_problem: str


class NoCheckpointError(CheckpointError):
    """There is no checkpoint to choose."""


_STYLE = """<style>
.stMainBlockContainer { padding-left: 2.5rem; padding-right: 2.5rem; }
/* What only carries bytes to the browser must leave no gap behind. */
[class*="st-key-pack_"] { position: absolute; }
dl.card { display: grid; grid-template-columns: auto 1fr; gap: .3rem .9rem; margin: 0;
  padding: 0; font-size: .87rem; line-height: 1.3; }
dl.card dt { opacity: .65; }
dl.card dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
</style>"""


def require(page: str) -> None:
    """The first line of every page: sees to it that the frame is around it.

    A cold server answers a deep link by running the page's file alone, without app.py. The page
    then remembers itself and hands over to app.py, which hands back (see `open_frame`).
    """
    if not st.session_state.pop(_FRAMED, False):  # set by app.py in this very run
        st.session_state[_DEEP_LINK] = (page, st.query_params.to_dict())
        st.switch_page("app.py", query_params=st.query_params.to_dict())


def open_frame() -> None:
    """The first line of app.py, after the pages are declared."""
    st.session_state[_FRAMED] = True
    st.html(_STYLE)
    state.restore()
    if waiting := st.session_state.pop(_DEEP_LINK, None):
        page, query = waiting
        st.switch_page(page, query_params=query)


def close_frame() -> None:
    """The last line of app.py."""
    state.publish()
    collector.collect()


def sidebar() -> None:
    """The checkpoint picker and the card of the chosen model."""
    runs, broken = checkpoints.found()
    names = [run.name for run in runs]
    asked = st.session_state.get(RUN)
    if asked is not None and asked not in names:
        st.warning(
            f"There is no checkpoint named {plain(asked[:64])} that can be opened"
            + (f"; showing {plain(names[0])}." if names else ".")
        )
    if problem := checkpoints.problem():
        st.error(f"{plain(problem)}. Mend it, and start the app again.")
    with st.sidebar:
        if names:
            state.keep_within(RUN, names)
            chosen = st.selectbox("Checkpoint", names, **state.widget(RUN))
            upload.offer()
            run = runs[names.index(chosen)]
            if st.session_state.get(_DATA_OF, run.name) != run.name:
                # Chosen for another checkpoint: kept where this one reads them as they are.
                state.keep_within(DATA, _data_options(run, resized=False))
            st.session_state[_DATA_OF] = run.name
            options = _data_options(run)
            state.keep_within(DATA, options)
            st.selectbox("Data", options, **state.widget(DATA))
            _data_note(run)
            _model_card(run)
        else:
            upload.offer()
        for name, reason in broken.items():
            st.caption(f":material/error: **{plain(name)}** cannot be opened: {plain(reason)}")


def view() -> View:
    """What the sidebar chose, loaded; says what is wrong and ends the page if that cannot be."""
    try:
        return load_view()
    except NoCheckpointError:
        st.info(
            f"No checkpoint can be opened in {plain(str(checkpoint.folder()))}. "
            "Train one: digits takes less than a minute."
        )
        st.page_link("pages/train.py", label="Train a model", icon=":material/model_training:")
        st.stop()
    except ValueError as error:
        st.error(plain(str(error)))
        st.stop()


def load_view() -> View:
    """What the sidebar chose, loaded, for a page that goes on without.

    Raises:
        NoCheckpointError: there is nothing to choose.
        ValueError: of the checkpoint, of the data, images of another size.
    """
    runs, _ = checkpoints.found()
    run = next((run for run in runs if run.name == st.session_state.get(RUN)), None)
    if run is None:
        raise NoCheckpointError(f"no checkpoint can be opened in {checkpoint.folder()}")
    name, _, split = st.session_state[DATA].rpartition(" ")
    model, embedding = cache.model(run), cache.embedding(run, name, _SPLITS[split])
    images, problem = _images(run, name, _SPLITS[split], len(embedding))
    return View(run, model, embedding, images, problem)


def _images(run: AnyRun, name: str, split: str, n_points: int) -> tuple[Dataset | None, str]:
    """The images behind a map if they are at hand, else why not: a map opens without a download."""
    try:
        source = datasets.describe(name)
        if not source.is_here():
            return None, f"{source.title} is not in {datasets.folder()}"
        images = cache.images(run, name, split)
    except DatasetError as error:
        return None, str(error)
    if images.image_shape != run.model_config.image_shape or len(images) != n_points:
        return None, "the stored map is of another version of this data set"
    return images, ""


def point_picker(embedding: Embedding) -> int:
    """The chosen point's index, as a field that can be typed into."""
    last = len(embedding) - 1
    # Another data set can be smaller than the one the point was chosen in.
    st.session_state[POINT] = min(st.session_state[POINT], last)
    return st.number_input(
        f"Point, 0 to {last:,}", 0, last, width=170, **state.widget(POINT, "value")
    )


def _data_options(run: AnyRun, resized: bool = True) -> list[str]:
    trained_on = run.train_config.held_out_dataset
    fitting = datasets.names_of_shape(run.model_config.image_shape)
    # Any images can be resized to what it reads. Another library's file may not name its data.
    others = datasets.names() if resized or not (trained_on or fitting) else ()
    names = dict.fromkeys(filter(None, [trained_on, *fitting, *others]))
    return [f"{name} {split}" for name in names for split in _SPLITS]


def _data_note(run: AnyRun) -> None:
    """Says so where the chosen data are not the model's own, or not of its size."""
    name = st.session_state[DATA].rpartition(" ")[0]
    trained_on, shape = run.train_config, run.model_config.image_shape
    notes = []
    if trained_on.held_out_dataset and name not in (
        trained_on.dataset,
        trained_on.held_out_dataset,
    ):
        notes.append(f"not what {run.name} was trained on")
    try:
        found = datasets.describe(name).image_shape
    except DatasetError:  # the page says what is missing
        return
    if found != shape:
        C, H, W = shape
        colour = "" if found[0] == C else ", grey" if C == 1 else ", colour"
        notes.append(f"resized to {H} x {W}{colour}")
    if notes:
        said = "; ".join(notes)
        st.caption(f"{plain(said[0].upper() + said[1:])}.")


def _model_card(run: AnyRun) -> None:
    rows = run.card.facts() if isinstance(run, ForeignRun) else _settings(run)
    try:
        rows["parameters"] = f"{cache.model(run).n_parameters:,}"
        embedding = cache.stored_embedding(run)
    except CheckpointError as error:
        st.error(plain(str(error)))
        return
    if embedding is not None:
        means = embedding.means()
        rows |= {
            "held-out recon": f"{nats(means['recon'])} nats",
            "held-out KL": f"{nats(means['kl'])} nats",
            "held-out -ELBO": f"{nats(means['neg_elbo'])} nats",
        }
    st.html(
        "<dl class='card'>"
        + "".join(
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
            for name, value in rows.items()
        )
        + "</dl>"
    )


def _settings(run: Run) -> dict[str, str]:
    """Of a run of ours, as label -> text."""
    config, train = run.model_config, run.train_config
    rows = {
        "trained on": train.dataset,
        "latent": f"k = {config.latent_dim}",
        "p(x|z)": config.likelihood,
        "network": f"{config.family} {'-'.join(map(str, config.hidden)) or 'linear'}",
    }
    return rows if train.beta == 1 else rows | {"β": f"{train.beta:g}"}
