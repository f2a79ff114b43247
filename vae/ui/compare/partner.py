"""The second checkpoint beside the one in the sidebar: which can be, what it is, what changed."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from vae import wording
from vae.analysis import comparison
from vae.analysis.comparison import Difference
from vae.config import BINARISED, IMAGE
from vae.data.dataset import DatasetError
from vae.errors import UserError
from vae.formats import AnyRun
from vae.inference.evidence import Evidence
from vae.runs import folders
from vae.ui.results import evidence, loaded, waiting
from vae.ui.session import checkpoints, selection, widgets
from vae.ui.text import plain
from vae.ui.view import View, seen_through
from vae.wording import IMAGES, Words

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
    def words(self) -> Words:
        """What sentences call the points."""
        return self.first.words

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

    runs: list[AnyRun]
    left_out: str


def choice(view: View) -> Choice | None:
    """What the picker offers; None, with the reason said, if there is nothing to pick."""
    runs, _ = checkpoints.found()
    others = [run for run in runs if run.name != view.run.name]
    reasons = {run.name: why for run in others if (why := _reason_against(view.run, run))}
    # One whose map of this data is stored opens at once; one that ships is known to be good.
    offered = sorted(
        (run for run in others if run.name not in reasons),
        key=lambda run: (
            run.train_config.held_out_dataset != view.embedding.dataset,
            not folders.ships(run.path),
            run.name,
        ),
    )
    asked = st.session_state.get(selection.OTHER)
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


def picker(offered: Choice) -> AnyRun:
    """The second run, from a list."""
    names = [run.name for run in offered.runs]
    selection.keep_within(selection.OTHER, names)
    chosen = st.selectbox(
        "Compared with",
        names,
        width=190,
        help=offered.left_out or None,
        **widgets.widget(selection.OTHER),
    )
    return offered.runs[names.index(chosen)]


def swap(first: str, second: str) -> None:
    """What a button calls: the second becomes the first."""
    st.session_state[selection.RUN], st.session_state[selection.OTHER] = second, first


def load(view: View, other: AnyRun) -> Pair:
    """Both, on the data of the sidebar.

    Raises:
        UserError: of the second checkpoint or of the data, a point is not the same in both, or
            its terms are not finite.
    """
    name, split = view.embedding.dataset, view.embedding.split
    is_held_out = (name, split) == (other.train_config.held_out_dataset, "test")
    stored = loaded.stored_embedding(other) if is_held_out else None
    if stored is None and view.images is None:
        raise DatasetError(
            f"{other.name} has no stored map of this data, and without the {view.words.points} "
            f"none can be made: {view.images_problem}"
        )
    second = seen_through(other, name, split, view.condition)
    embedding = second.embedding
    comparison.check_same_points(view.embedding, embedding, view.words)
    for of_run, terms in ((view.run, view.embedding), (other, embedding)):
        known = np.isfinite(terms.neg_elbo) & np.isfinite(terms.mu).all(1)
        if not known.all():
            raise UserError(
                f"{int((~known).sum()):,} points of {of_run.name} have terms that are not finite"
            )
    return Pair(view, second)


def given(pair: Pair) -> str:
    """What those of both that have a condition are given, for a caption."""
    with_condition = [view for view in pair.views if view.n_classes]
    if not with_condition:
        return ""
    both = len(with_condition) == 2
    who = "Both are" if both else f"{plain(with_condition[0].run.name)} is"
    return f"{who} given {plain(with_condition[0].condition_text)}. "


def differences(pair: Pair) -> dict[str, Difference]:
    """The mean differences of the terms and, where both are known, of log p(x) and the gap."""
    found = _resampled(pair, comparison.term_differences, [v.embedding for v in pair.views])
    known = [evidence.found(view) for view in pair.views]
    if all(e is not None for e in known):
        found = found | _resampled(pair, comparison.evidence_differences, known)
    return found


def class_differences(pair: Pair) -> dict[int, dict[str, Difference]]:
    """Those of each class, by label."""
    return _resampled(pair, comparison.class_differences, [v.embedding for v in pair.views])


def change(pair: Pair) -> np.ndarray:
    """-ELBO of the second less that of the first, in nats, shape (N,)."""
    return comparison.change(pair.first.embedding, pair.second.embedding)


def _reason_against(first: AnyRun, other: AnyRun) -> str:
    """What the other is of, if that cannot be compared; nothing if it can."""
    (kind, shape), (own_kind, own) = (
        (run.model_config.kind, run.model_config.image_shape) for run in (other, first)
    )
    if (kind, shape) != (own_kind, own):
        is_clear = shape[0] == own[0] or {kind, own_kind} != {IMAGE}
        colour = "" if is_clear else "grey " if shape[0] == 1 else "colour "
        return f"{colour}{wording.size(kind, shape)}"
    trained_on = [run.train_config.dataset.removesuffix(BINARISED) for run in (first, other)]
    return "" if trained_on[0] == trained_on[1] else plain(trained_on[1])


def _left_out(reasons: dict[str, str]) -> str:
    if not reasons:
        return ""
    named = [f"{plain(name)} ({why})" for name, why in list(reasons.items())[:_MOST_NAMED]]
    more = len(reasons) - len(named)
    return f"Left out, of other data: {', '.join(named)}" + (f" and {more} more." if more else ".")


def _nothing_to_compare(view: View, reasons: dict[str, str]) -> None:
    H, W = view.run.model_config.image_shape[1:]
    size = f"{H} × {W}" if view.words == IMAGES else f"{W:,}"
    trained_on = plain(view.run.train_config.dataset)
    st.info(
        f"{plain(view.run.name)} is the only checkpoint of {trained_on}, {size} "
        f"{view.words.numbers}: train another on the same data to compare them."
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
            view.key,
            float(view.embedding.neg_elbo.sum(dtype=np.float64)),
        )
        for view in pair.views
    )


def _resampled(pair: Pair, compute: Callable[..., Any], of_both: Sequence[Any]) -> Any:
    # Of estimates of log p(x) that were made anew, too.
    sums = [float(one.log_px.sum()) for one in of_both if isinstance(one, Evidence)]
    return waiting.result(
        (_key(pair), compute.__name__, *sums),
        lambda progress: compute(*of_both, n_resamples=pair.n_resamples),
        "Resampling the points",
    )
