"""What a link asks for and this server has not: said while something else stands in for it.

A page is often drawn twice before anybody has read it, so that saying it once is not enough.
"""

import streamlit as st

from vae.ui.text import plain

_ASKED = "_asked"  # key -> the text of a link that nobody has looked up yet
_MISSED = "_missed"  # key -> (what the link asked for, what is shown instead)
_LONGEST = 64  # characters of it that are repeated


def asks(key: str, text: str) -> None:
    """A link was followed that says so."""
    st.session_state.setdefault(_ASKED, {})[key] = text
    st.session_state.get(_MISSED, {}).pop(key, None)


def asked(key: str) -> str | None:
    """What a link says that nobody has looked up yet."""
    return st.session_state.get(_ASKED, {}).get(key)


def looked_up(key: str, is_there: bool, shown: object) -> None:
    """Whether what a link asked for is there was found out; if not, what is shown instead."""
    text = st.session_state.get(_ASKED, {}).pop(key, None)
    if text is not None and not is_there:
        st.session_state.setdefault(_MISSED, {})[key] = (text, shown)


def missed(key: str, shown: object) -> str | None:
    """What a link asked for in vain, plain; None if nothing was, or another thing is shown."""
    text, instead = st.session_state.get(_MISSED, {}).get(key, (None, None))
    return None if text is None or instead != shown else plain(text[:_LONGEST])
