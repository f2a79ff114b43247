"""The second checkpoint beside the one in the sidebar: which can be, what it is, what changed."""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import streamlit as st

from vae import comparison
from vae.checkpoint import Run
from vae.comparison import Difference
from vae.config import BINARISED
from vae.datasets import DatasetError
from vae.ui import cache, checkpoints, evidence, state
from vae.ui.frame import View, plain

_MANY_POINTS = 20_000  # from here on fewer resamples: their intervals are narrow anyway
_RESAMPLES_OF_MANY = 2000
_MOST_NAMED = 6


@dataclass(frozen=True)
class Pair:
    """The same points seen through two models; `first` is the sidebar's."""

    first: View
    second: View

    @property
    def names(self) -> tuple[str, str]:
        """Of the two runs."""
        return self.first.run.name, self.second.run.name

    @property
    def views(self) -> tuple[View, View]:
        """First, second."""
        return self.first, self.second

    @property
    def n_resamples(self) -> int:
        """Behind every interval of this pair."""
        many = len(self.first.embedding) > _MANY_POINTS
        return _RESAMPLES_OF_MANY if many else comparison.N_RESAMPLES


@dataclass(frozen=True)
class Choice:
    """The runs that can be the second, at least one, and a sentence on those left out."""

    runs: list[Run]
    left_out: str


def choice(view: View) -> Choice | None:
    """What the picker offers; None, with the reason said, if there is nothing to pick."""
    runs, _ = checkpoints.found()
    others = [run for run in runs if run.name != view.run.name]
    reasons = {run.name: why for run in others if (why := _reason_against(view.run, run))}
    # One whose map of this data is stored opens at once.
    offered = sorted(
        (run for run in others if run.name not in reasons),
        key=lambda run: (run.train_config.held_out_dataset != view.embedding.dataset, run.name),
    )
    asked = st.session_state.get(state.OTHER)
    names = [run.name for run in offered]
    if asked not in (None, view.run.name, *names):
        if asked in reasons:
            problem = f"{plain(asked)} cannot be held against {plain(view.run.name)}: it is of "
            problem += reasons[asked]
        else:
            problem = f"There is no checkpoint named {plain(asked[:64])} that can be opened"
        st.warning(problem + (f"; showing {plain(names[0])}." if names else "."))
    if not offered:
        _nothing_to_compare(view, reasons)
        return None
    return Choice(offered, _left_out(reasons))


def picker(offered: Choice) -> Run:
    """The second run, from a list."""
    names = [run.name for run in offered.runs]
    state.keep_within(state.OTHER, names)
    chosen = st.selectbox(
        "Compared with",
        names,
        width=190,
        help=offered.left_out or None,
        **state.widget(state.OTHER),
    )
    return offered.runs[names.index(chosen)]


def swap(first: str, second: str) -> None:
    """What a button calls: the second becomes the first."""
    st.session_state[state.RUN], st.session_state[state.OTHER] = second, first


def load(view: View, other: Run) -> Pair:
    """Both, on the data of the sidebar.

    Raises:
        ValueError: of the second checkpoint or of the data, a point is not the same in both, or
            its terms are not finite.
    """
    name, split = view.embedding.dataset, view.embedding.split
    model = cache.model(other)
    is_held_out = (name, split) == (other.train_config.held_out_dataset, "test")
    stored = cache.stored_embedding(other) if is_held_out else None
    if stored is None and view.images is None:
        raise DatasetError(
            f"{other.name} has no stored map of this data, and without the images none can be "
            f"made: {view.images_problem}"
        )
    embedding = cache.embedding(other, name, split)
    comparison.check_same_points(view.embedding, embedding)
    for of_run, terms in ((view.run, view.embedding), (other, embedding)):
        known = np.isfinite(terms.neg_elbo) & np.isfinite(terms.mu).all(1)
        if not known.all():
            raise ValueError(
                f"{int((~known).sum()):,} points of {of_run.name} have terms that are not finite"
            )
    return Pair(view, View(other, model, embedding, view.images, view.images_problem))


def differences(pair: Pair) -> dict[str, Difference]:
    """The mean differences of the terms and, where both are known, of log p(x) and the gap."""
    found = _differences(_key(pair), pair)
    known = [evidence.found(view) for view in pair.views]
    if all(e is not None for e in known):
        found = found | _evidence_differences(
            (_key(pair), *(float(e.log_px.sum()) for e in known)), pair
        )
    return found


def class_differences(pair: Pair) -> dict[int, dict[str, Difference]]:
    """Those of each class, by label."""
    return _class_differences(_key(pair), pair)


def change(pair: Pair) -> np.ndarray:
    """-ELBO of the second less that of the first, in nats, shape (N,)."""
    return comparison.change(pair.first.embedding, pair.second.embedding)


def _reason_against(first: Run, other: Run) -> str:
    """What the other is of, if that cannot be compared; nothing if it can."""
    shape, own = other.model_config.image_shape, first.model_config.image_shape
    if shape != own:
        return f"{shape[1]} × {shape[2]} images" if shape[0] == own[0] else f"images {shape}"
    trained_on = [run.train_config.dataset.removesuffix(BINARISED) for run in (first, other)]
    return "" if trained_on[0] == trained_on[1] else plain(trained_on[1])


def _left_out(reasons: dict[str, str]) -> str:
    if not reasons:
        return ""
    named = [f"{plain(name)} ({why})" for name, why in list(reasons.items())[:_MOST_NAMED]]
    more = len(reasons) - len(named)
    return f"Left out, of other data: {', '.join(named)}" + (f" and {more} more." if more else ".")


def _nothing_to_compare(view: View, reasons: dict[str, str]) -> None:
    shape = " × ".join(map(str, view.run.model_config.image_shape[1:]))
    trained_on = plain(view.run.train_config.dataset)
    st.info(
        f"{plain(view.run.name)} is the only checkpoint of {trained_on}, {shape} pixels: train "
        "another on the same data to compare them."
        if reasons
        else f"{plain(view.run.name)} is the only checkpoint there is: train another on the same "
        "data to compare them."
    )
    if reasons:
        st.caption(_left_out(reasons))
    st.page_link("pages/train.py", label="Train a model", icon=":material/model_training:")


def _key(pair: Pair) -> Hashable:
    """Changes when what is compared does."""
    return tuple(
        (
            *(view.run.path, cache.stamp_of_model(view.run)),
            *(view.embedding.dataset, view.embedding.split),
            float(view.embedding.neg_elbo.sum(dtype=np.float64)),
        )
        for view in pair.views
    )


@st.cache_resource(max_entries=16, show_spinner="Resampling the points")
def _differences(key: Hashable, _pair: Pair) -> dict[str, Difference]:
    embeddings = (view.embedding for view in _pair.views)
    return comparison.term_differences(*embeddings, n_resamples=_pair.n_resamples)


@st.cache_resource(max_entries=16, show_spinner="Resampling the points")
def _evidence_differences(key: Hashable, _pair: Pair) -> dict[str, Difference]:
    found = (evidence.found(view) for view in _pair.views)
    return comparison.evidence_differences(*found, n_resamples=_pair.n_resamples)


@st.cache_resource(max_entries=16, show_spinner="Resampling the points of each class")
def _class_differences(key: Hashable, _pair: Pair) -> dict[int, dict[str, Difference]]:
    embeddings = (view.embedding for view in _pair.views)
    return comparison.class_differences(*embeddings, n_resamples=_pair.n_resamples)
