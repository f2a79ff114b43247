"""What the address bar was given, so that a link that was followed is told from our own."""

import time
from collections.abc import Hashable
from typing import NamedTuple

import streamlit as st

_GIVEN = "_learn_address"  # part of the address -> what was last given
_LATE_S = 3.0  # so long a browser may go on asking by the link before


class _Given(NamedTuple):
    newest: Hashable
    before: Hashable
    at: float


def follow(part: str, said: Hashable) -> bool:
    """Whether an address says something that it was not given, and so is to be followed.

    A run may be asked for by a browser that has not yet got the newest link, so for a while the
    link before is no news, either; later it is what Back has brought.
    """
    given = _given().get(part)
    if given is not None:
        is_late = said == given.before and time.monotonic() < given.at + _LATE_S
        if said == given.newest or is_late:
            return False
    _given()[part] = _Given(said, None, time.monotonic())  # the browser has it: none is late
    return True


def note(part: str, said: Hashable) -> None:
    """The address says that from now on."""
    given = _given().get(part)
    if given is None or given.newest != said:
        before = None if given is None else given.newest
        _given()[part] = _Given(said, before, time.monotonic())


def _given() -> dict[str, _Given]:
    return st.session_state.setdefault(_GIVEN, {})
