"""How files are read by this visitor's choice: each fact's value, by the checkpoint's name.

That of the chosen checkpoint is in the URL, as "input=[-1, 1];second head=sigma". It may say
anything, and so may what was chosen for another file of that name: who asks keeps what the file
offers.
"""

import streamlit as st

from vae.formats.card import Choices

IN_URL = "reading"
_CHOSEN = "_readings"
_MOST = 1000  # characters in the URL


def chosen(run: str) -> Choices:
    """What was chosen for the checkpoint of that name, by the fact's name."""
    return st.session_state.get(_CHOSEN, {}).get(run, {})


def choose(run: str, values: Choices) -> None:
    """Sets the values of some facts, and leaves the rest."""
    st.session_state.setdefault(_CHOSEN, {})[run] = {**chosen(run), **values}


def forget(run: str) -> None:
    """Leaves all of that checkpoint to the data again."""
    st.session_state.get(_CHOSEN, {}).pop(run, None)


def restore(query: dict[str, str], published: dict[str, str], run: str | None) -> None:
    """Takes the chosen checkpoint's from the URL where that says something new.

    A URL that says nothing of it is no news: the browser may not have got the new one yet.
    """
    text = query.get(IN_URL, "")[:_MOST]
    if run is None or not text or text == published.get(IN_URL, ""):
        return
    pairs = [part.partition("=") for part in text.split(";") if "=" in part]
    st.session_state.setdefault(_CHOSEN, {})[run] = {
        name.strip(): value.strip() for name, _, value in pairs
    }


def in_link(run: str | None) -> dict[str, str]:
    """What a link says of it."""
    values = chosen(run) if run is not None else {}
    said = ";".join(f"{name}={value}" for name, value in sorted(values.items()))
    return {IN_URL: said} if said else {}
