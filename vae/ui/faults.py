"""What a page shows when something goes wrong: a person's sentence, or that the fault is ours."""

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st

from vae.errors import UserError
from vae.ui import turns
from vae.ui.text import explained

SENTENCE = (
    "Something went wrong in ELBO Room itself, not in what you did; the log of the server says "
    "more. What you chose is kept: try again, or open another page."
)


@contextmanager
def shown() -> Iterator[None]:
    """Around a page, or a part that can fail alone: what goes wrong there is said in its place.

    Streamlit's own ways to leave a page (stop, rerun, switch) are no `Exception`, and pass.
    """
    try:
        yield
    except UserError as error:
        st.error(explained(error))
    except Exception:
        st.error(_log())


def fragment(function: Callable[..., Any], run_every: float | None = None) -> Callable[..., Any]:
    """As `st.fragment`: its reruns do not pass by app.py, so it sees to turns and faults itself."""

    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> None:
        with turns.turn(), shown():
            function(*arguments, **options)

    return st.fragment(guarded, run_every=run_every)


def attempt(action: Callable[..., Any], *arguments: Any) -> str | None:
    """Does it; what went wrong, for a callback, which cannot show anything in its place."""
    try:
        action(*arguments)
    except UserError as error:
        return str(error)
    except Exception:
        return _log()
    return None


def _log() -> str:
    logging.getLogger(__name__).exception("A fault in a page")
    return SENTENCE
