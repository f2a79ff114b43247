"""The chain of chosen points that a way leads through."""

from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st

from vae.analysis import traversal
from vae.analysis.embedding import Embedding
from vae.errors import UserError
from vae.ui.session import selection
from vae.ui.text import sentence

_CHAIN, _PROBLEM, _DRAWN = "traverse_chain", "traverse_problem", "traverse_drawn"
_FIELD = "walk_stops"
_MOST_STOPS = 8


def stops_of(embedding: Embedding, first: int) -> list[int]:
    """The chosen points in order, at least two where the data have them: the app's own first.

    Until one is added the way leads to the other side of the space.
    """
    later = selection.of_this_data(st.session_state.get(_CHAIN), len(embedding))
    if not later and len(embedding) > 1:
        later = [traversal.on_the_other_side(embedding, first)]
    return [first, *later]


def _keep(stops: Sequence[int]) -> None:
    st.session_state[selection.POINT] = int(stops[0])
    later = [int(i) for i in stops[1:_MOST_STOPS]]
    st.session_state[_CHAIN] = (st.session_state[selection.DATA], later)


def controls(embedding: Embedding, stops: list[int]) -> None:
    """The chain as a field that can be typed into, and buttons that add to it."""
    last = len(embedding) - 1
    is_full = len(stops) >= _MOST_STOPS

    def keep_if_possible(make: Callable[[], list[int]]) -> None:
        try:
            _keep(make())
        except UserError as error:
            st.session_state[_PROBLEM] = sentence(error)

    def typed() -> None:
        keep_if_possible(lambda: _parse(st.session_state[_FIELD], last))

    def nearest() -> None:
        other = traversal.nearest_of_another_class
        keep_if_possible(lambda: [*stops, other(embedding, stops[-1], stops[:-1])])

    def drawn() -> None:
        st.session_state[_DRAWN] = st.session_state.get(_DRAWN, 0) + 1
        generator = np.random.default_rng(st.session_state[_DRAWN])
        _keep([*stops, int(generator.integers(len(embedding)))])

    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"):
        st.session_state[_FIELD] = ", ".join(map(str, stops))
        st.text_input(
            f"Points, 2 to {_MOST_STOPS}, of 0 to {last:,}",
            key=_FIELD,
            on_change=typed,
            width=230,
            max_chars=120,
        )
        st.button("+ nearest of another class", on_click=nearest, disabled=is_full, key="nearest")
        st.button("+ random", on_click=drawn, disabled=is_full, key="random")
        st.button(
            "Drop last",
            on_click=lambda: _keep(stops[:-1]),
            disabled=len(stops) < 3,
            key="drop",
        )
    if problem := st.session_state.pop(_PROBLEM, ""):
        st.warning(problem)


def add_from_chart(key: str, embedding: Embedding, stops: list[int]) -> None:
    """What a click adds to the chain: the point; and a lasso: its point nearest to their mean."""
    indices = selection.chart_indices(key)
    if not indices or len(stops) >= _MOST_STOPS:
        return
    mu = embedding.mu[indices].astype(np.float64)
    nearest = int(np.linalg.norm(mu - mu.mean(0), axis=1).argmin())
    # The default second stop was nobody's choice.
    kept = (
        stops if selection.of_this_data(st.session_state.get(_CHAIN), len(embedding)) else stops[:1]
    )
    _keep([*kept, indices[nearest]])


def _parse(text: str, last: int) -> list[int]:
    words = text.replace(",", " ").replace(";", " ").split()
    if wrong := [word for word in words if not (word.isascii() and word.isdigit())]:
        raise UserError(f"{wrong[0][:20]!r} is not the number of a point; write 0, 12, 40")
    stops = [int(word[:12]) for word in words]
    if wrong := [stop for stop in stops if stop > last]:
        raise UserError(f"there is no point {wrong[0]}; the last is {last}")
    if not 2 <= len(stops) <= _MOST_STOPS:
        raise UserError(f"{len(stops)} points were given; a way has from 2 to {_MOST_STOPS}")
    return stops
