"""What a page looks at: a checkpoint, a data set seen through it, and the chosen point."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch

from vae import plots, wording
from vae.analysis.embedding import Embedding
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset, to_unit
from vae.errors import UserError
from vae.figures import theme
from vae.formats import AnyRun, ForeignRun
from vae.formats.gate import Verdict
from vae.inference.condition import OWN_LABEL, Condition, said
from vae.runs import checkpoint
from vae.runs.checkpoint import CheckpointError
from vae.ui import data_choice, reading, roles
from vae.ui.results import loaded, readings
from vae.ui.session import checkpoints, link, selection, widgets
from vae.ui.session.selection import COLOUR, DATA, POINT, RUN
from vae.ui.text import explained, plain
from vae.wording import IMAGES, Words


@dataclass(frozen=True)
class View:
    """What a page looks at: a run, its model, and a data set seen through it.

    Attributes:
        run, model, embedding: as chosen in the sidebar. A model with a condition has the class
            fixed that was chosen; under own labels it needs one (`given`).
        images: the data set behind the embedding; None if it is not at hand.
        images_problem: why not.
        condition: what a model with a condition is given: each point's own label, or a class.
        verdict: whether the data agree with how another program's file was read; None where
            nothing had to be inferred, or there are no images to ask.
        weights, data: what the model and the data are known by, to ask for results of theirs.
    """

    run: AnyRun
    model: VAE
    embedding: Embedding
    images: Dataset | None
    images_problem: str
    weights: Hashable
    data: Hashable
    condition: Condition = OWN_LABEL
    verdict: Verdict | None = None

    @property
    def key(self) -> Hashable:
        """Changes when anything that is computed of the model and the data would."""
        return self.weights, self.data, self.condition

    @property
    def words(self) -> Words:
        """What sentences call its points."""
        return wording.of(self.run.model_config.kind)

    @property
    def n_classes(self) -> int:
        """Of the label that the model is given; 0 for one without a condition."""
        return self.run.model_config.n_classes

    def label_of(self, index: int) -> int | None:
        """The class that the model is given for a point; None for one without a condition."""
        if not self.n_classes:
            return None
        own = self.condition == OWN_LABEL
        return int(self.embedding.labels[index]) if own else int(self.condition)

    def given(self, points: int | np.ndarray) -> VAE:
        """The model as it is for one point, or for several whose z are decoded together, (n, D)."""
        if not self.model.config.n_classes:
            return self.model
        return self.model.given(torch.as_tensor(self.embedding.labels[points]))

    def pictures(self, x: np.ndarray) -> np.ndarray:
        """Points (..., C, H, W) as pictures: images as they are, others plotted (`vae.plots`)."""
        return plots.pictures(x, self.run.model_config)

    def pictures_of(self, points: int | Sequence[int] | np.ndarray) -> np.ndarray:
        """The same of points of the data set, whose images must be at hand."""
        assert self.images is not None
        rows = torch.from_numpy(np.array(points, order="C"))  # reversed ones have to be copied
        return self.pictures(to_unit(self.images.images[rows]).numpy())

    @property
    def has_encoder(self) -> bool:
        """Whether mu and sigma are an encoder's; of a decoder alone they are the posterior's."""
        return not (isinstance(self.run, ForeignRun) and self.run.card.no_encoder)

    @property
    def given_what(self) -> str:
        """The condition for a caption, "Given class 3. "; empty for a model without one."""
        return f"Given {self.condition_text}. " if self.n_classes else ""

    @property
    def condition_text(self) -> str:
        """The condition in words."""
        return said(self.condition, loaded.class_names(self.run, self.embedding.dataset))


class NoCheckpointError(CheckpointError):
    """There is no checkpoint to choose."""


def chosen_view() -> View:
    """What the sidebar chose, loaded; says what is wrong and ends the page if that cannot be."""
    try:
        view = load_view()
    except NoCheckpointError:
        if not roles.may_change():
            st.info(
                "This server has no checkpoint that can be opened. Open a file of your own in the "
                "sidebar; whoever runs the server can add others."
            )
            st.stop()
        st.info(
            "This server has no checkpoint that can be opened. Train one: digits takes less than a "
            "minute."
        )
        st.page_link("pages/train.py", label="Train a model", icon=":material/model_training:")
        st.stop()
    except data_choice.UnchosenError:
        data_choice.offer(_chosen_run())
        st.stop()
    except UserError as error:
        st.error(explained(error))
        st.stop()
    _keep_within(view.embedding)
    reading.warning(view.run, view.verdict, view.images)
    return view


def _keep_within(embedding: Embedding) -> None:
    """Keeps to the points and colours that there are; says so where a link names others."""
    n, data = len(embedding), data_choice.said(st.session_state[DATA])
    selection.keep_point(n)
    selection.keep_within(COLOUR, colours(embedding))
    if asked := link.missed(POINT, st.session_state[POINT]):
        st.warning(
            f"There is no point {asked} in {plain(data)}, whose points are 0 to {n - 1:,}; "
            f"showing point {st.session_state[POINT]:,}."
        )
    if asked := link.missed(COLOUR, st.session_state[COLOUR]):
        st.warning(f"The map has no colour {asked}; showing {plain(st.session_state[COLOUR])}.")


def colours(embedding: Embedding) -> list[str]:
    """What the map can be coloured by."""
    return ["label", *theme.TERMS, *embedding.factors]


def load_view() -> View:
    """What the sidebar chose, loaded, for a page that goes on without.

    Raises:
        NoCheckpointError: there is nothing to choose.
        UserError: of the checkpoint, of the data, images of another size.
    """
    run = _chosen_run()
    if st.session_state[DATA] == data_choice.UNCHOSEN:
        raise data_choice.UnchosenError(f"no data are chosen for {run.name}; choose them")
    return seen_through(run, *selection.data(), selection.condition())


def chosen_words() -> Words:
    """What sentences call the points of the chosen run, before it is loaded."""
    try:
        return wording.of(_chosen_run().model_config.kind)
    except NoCheckpointError:
        return IMAGES


def _chosen_run() -> AnyRun:
    runs, _ = checkpoints.found()
    run = next((run for run in runs if run.name == st.session_state.get(RUN)), None)
    if run is None:
        raise NoCheckpointError(f"no checkpoint can be opened in {checkpoint.folder()}")
    return run


def seen_through(run: AnyRun, name: str, split: str, condition: Condition = OWN_LABEL) -> View:
    """The data seen through the run's model. Raises UserError.

    Where the model has no condition, or no such class, that of the points' own labels is meant.
    """
    if condition != OWN_LABEL and not int(condition) < run.model_config.n_classes:
        condition = OWN_LABEL
    run, verdict = readings.settled(run, name, split)
    weights = loaded.weights(run)
    model, embedding = loaded.model(run), loaded.embedding(run, name, split, condition)
    if condition != OWN_LABEL:
        model = model.given(int(condition))
    images, problem = loaded.at_hand(run, name, split)
    data = catalogue.fingerprint(name) if images is None else images.fingerprint
    of_data = name, split, data
    return View(run, model, embedding, images, problem, weights, of_data, condition, verdict)


def under_one_class(view: View, index: int) -> str:
    """Of what class a picture is that belongs to no point of its own, for a caption."""
    label = view.label_of(index)
    if label is None:
        return ""
    whose = f", that of point {index:,}" if view.condition == OWN_LABEL else ""
    name = loaded.class_names(view.run, view.embedding.dataset)[label]
    return f"Decoded given class {plain(name)}{whose}. "


def chosen_point(embedding: Embedding) -> int:
    """The chosen point's index, on a page that shows no field for it."""
    return min(st.session_state[POINT], len(embedding) - 1)


def point_picker(embedding: Embedding, name: str = "Point") -> int:
    """The chosen point's index, as a field that can be typed into; `name` is what it is called."""
    last = len(embedding) - 1
    selection.keep_point(len(embedding))
    return st.number_input(
        f"{name}, 0 to {last:,}", 0, last, width=170, **widgets.widget(POINT, "value")
    )
