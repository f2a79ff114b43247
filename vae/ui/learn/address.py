"""What the address bar was given, so that a link that was followed is told from our own."""

from collections.abc import Hashable

import streamlit as st

_GIVEN = "_learn_address"  # part of the address -> what was last given, and before that


def is_news(part: str, said: Hashable) -> bool:
    """Whether an address says something that it was not given.

    A run may be asked for by a browser that has not yet got the newest link, so that the last one
    but one is no news, either.
    """
    return said not in _given(part)


def note(part: str, said: Hashable) -> None:
    """The address says that from now on."""
    given = _given(part)
    if not given or given[-1] != said:
        st.session_state[_GIVEN][part] = (*given[-1:], said)


def _given(part: str) -> tuple[Hashable, ...]:
    return st.session_state.setdefault(_GIVEN, {}).get(part, ())
