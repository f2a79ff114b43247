"""Pages take turns: while many are asked for, one is run after the other.

Python runs one thread at a time. A hundred scripts at once are each interrupted for the ninety-nine
others, and so is the thread that sends what they made; one by one, the same pages are there sooner.
A page that takes longer than others, or waits for what is computed elsewhere, holds nobody up.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_ALONE_S = 0.25  # several times what most pages take; then the next one begins beside it


class _Turn:
    """Of one script, from its beginning until it is over or only waits."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.over = threading.Event()


_next = threading.Lock()  # held by the script whose turn comes next
_latest = _Turn()
_latest.over.set()
_own = threading.local()


@contextmanager
def turn() -> Iterator[None]:
    """Around the run of a page, or of a fragment alone."""
    global _latest
    if getattr(_own, "turn", None):  # a fragment in the run of its page
        yield
        return
    with _next:
        _latest.over.wait(max(0.0, _latest.began + _ALONE_S - time.monotonic()))
        _own.turn = _latest = _Turn()
    try:
        yield
    finally:
        leave()


def leave() -> None:
    """Ends the turn of this script, if it has one: from here on it waits for others' work."""
    if mine := getattr(_own, "turn", None):
        mine.over.set()
        _own.turn = None
