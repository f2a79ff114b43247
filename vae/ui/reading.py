"""What was inferred of another program's file: the card, the warning, the choice."""

import html

import numpy as np
import streamlit as st

from vae import plots, wording
from vae.data.dataset import Dataset, to_unit
from vae.formats import AnyRun
from vae.formats.card import ASSUMED, CHOSEN, Choices, Fact
from vae.formats.gate import Reading, Verdict
from vae.formats.run import ForeignRun
from vae.formats.wording import nats
from vae.ui import images as pictures
from vae.ui.results import readings
from vae.ui.session import readings as chosen
from vae.ui.session import widgets
from vae.ui.text import capitalised, plain
from vae.wording import Words

_ANSWERED = "_reading_answered"  # paths of files that this visitor was asked about
_SIDE = 64  # of a picture, in pixels
_MOST_READINGS = 4  # that are shown side by side


def facts(run: ForeignRun, verdict: Verdict | None) -> None:
    """Every inferred fact with how it is known, and what it may be otherwise."""
    if not run.facts:
        return
    open_ones = [fact for fact in run.facts if len(fact.values) > 1]
    doubtful = verdict is not None and not verdict.passed
    words = wording.of(run.model_config.kind)
    with st.expander(_heading(run.facts), expanded=doubtful, key=f"facts_{run.name}"):
        st.html(_table([fact for fact in run.facts if fact not in open_ones], words))
        for fact in open_ones:
            key = f"fact_{run.name}_{fact.name}"
            st.selectbox(
                plain(capitalised(fact.name)),
                fact.values,
                on_change=_take,
                args=(run, fact.name, key),
                **widgets.showing(key, fact.value),
            )
            st.caption(f"{capitalised(words.said(fact.how))}.")
        if readings.chosen(run):
            st.button(
                "Read it as found",
                key=f"facts_as_found_{run.name}",
                on_click=chosen.forget,
                args=(run.name,),
            )


def warning(run: AnyRun, verdict: Verdict | None, images: Dataset | None) -> None:
    """Says so where the numbers of the page are not to be trusted; offers what would explain it.

    Args:
        run: as it is read now.
        verdict: of the data; None where none were asked.
        images: that are shown; None if they are not at hand.
    """
    if not isinstance(run, ForeignRun):
        return
    if run.card.no_encoder and (verdict is None or verdict.passed):
        st.info(f"{plain(run.name)} is a decoder alone: {run.card.no_encoder}.")
    if verdict is None:
        if run.facts:
            st.warning(
                f"{plain(run.name)} was not checked: there are no "
                f"{wording.of(run.model_config.kind).points} at hand to try it on, and "
                "how the file is meant is in part assumed."
            )
        return
    if not verdict.passed:
        st.warning("Do not trust the numbers below. " + plain(" ".join(verdict.reasons)))
    if verdict.doubts:
        st.info("In part this is an assumption. " + plain(" ".join(verdict.doubts)))
    is_answered = str(run.path) in st.session_state.get(_ANSWERED, set())
    if verdict.better and images is not None and not is_answered:
        _question(run, verdict, images)


def _question(run: ForeignRun, verdict: Verdict, images: Dataset) -> None:
    with st.container(border=True, key="which_reading"):
        st.markdown("**Which of these is your model?** The file does not say how it is meant.")
        words = wording.of(run.model_config.kind)
        x = to_unit(images.images[: readings.N_PICTURES]).numpy()
        _row(words, plots.pictures(x, run.model_config), f"the {words.points}")
        here = f"as it is read now  \n:small[{nats(verdict.neg_elbo)} nats]"
        _row(words, readings.pictures(run, images), here, "reading_now", run, {})
        # Readings that the data cannot tell apart may differ in what stands for one change.
        different: dict[str, Reading] = {}
        for other in verdict.better:
            different.setdefault(repr(other.changes(run)), other)
        for n, other in enumerate(list(different.values())[: _MOST_READINGS - 1]):
            changes = other.changes(run)
            changed = ", ".join(f"{name}: {value}" for name, value in changes.items())
            there = f"{plain(changed)}  \n:small[{nats(other.neg_elbo)} nats]"
            decoded = readings.pictures(run, images, other)
            _row(words, decoded, there, f"reading_{n}", run, changes)


def _row(
    words: Words, shown: np.ndarray, name: str, button: str = "", *answer: ForeignRun | Choices
) -> None:
    """Pictures with their name; with a button's key, and what it is to answer, that too."""
    left, middle, right = st.columns([3, 7, 2], vertical_alignment="center")
    left.markdown(name)
    with middle:
        pictures.show(
            pictures.row(shown, _SIDE, readings.N_PICTURES), f"some {words.points}, decoded"
        )
    if button:
        right.button("This one", key=button, on_click=_answer, args=answer)


def _answer(run: ForeignRun, choices: Choices) -> None:
    st.session_state.setdefault(_ANSWERED, set()).add(str(run.path))
    chosen.choose(run.name, choices)


def _take(run: ForeignRun, name: str, key: str) -> None:
    chosen.choose(run.name, {name: st.session_state[key]})


def _heading(all_facts: tuple[Fact, ...]) -> str:
    n = sum(fact.known == ASSUMED for fact in all_facts)
    is_chosen = any(fact.known == CHOSEN for fact in all_facts)
    said = f"{n} assumed" if n else "nothing assumed"
    return f"How it was read: {'as you chose' if is_chosen else said}"


def _table(fixed: list[Fact], words: Words) -> str:
    rows = "".join(
        f"<dt>{html.escape(fact.name)}</dt>"
        f"<dd>{html.escape(fact.value)}<br>"
        f"<small>{html.escape(words.said(fact.how))}</small></dd>"
        for fact in fixed
    )
    return f"<dl class='card'>{rows}</dl>"
