"""One computation, from the wish to its result."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

WAITING, RUNNING = "waiting", "running"
FINISHED, FAILED = "finished", "failed"
CANCELLED, LEFT = "cancelled", "left"  # by somebody's wish; by all who asked for it

Progress = Callable[..., None]  # (done, total), and what is done, in words, where that changes
Work = Callable[[Progress], Any]


class Cancelled(BaseException):
    """Raised inside the work once it is cancelled or left; nothing there should catch it."""


@dataclass
class Task:
    """One computation and its result.

    Attributes:
        version: of the files that it reads; a result of another version counts for nothing.
        state: one of the six above.
        done, total: as last reported; both 0 before the first report.
        what: is being done, in words; "" if that was not reported.
        value: the result, once it is finished.
        error: why it failed.
        over: set when it is no longer waited for.
        visitors: who asked for it, the first one first; None is nobody in particular.
        n_readers: how many pages wait for it now.
        began: when its work did, by the monotonic clock.
    """

    version: object = None
    state: str = WAITING
    done: float = 0
    total: float = 0
    what: str = ""
    value: Any = None
    error: BaseException | None = None
    over: threading.Event = field(default_factory=threading.Event)
    visitors: list[str | None] = field(default_factory=list)
    n_readers: int = 0
    began: float = 0.0
    _n_bytes: int = 0
    _was_read: bool = False
    _reported: float = 0.0
    _ended: float = 0.0

    @property
    def is_active(self) -> bool:
        """Whether it is still to be waited for."""
        return self.state in (WAITING, RUNNING)

    @property
    def asked_by(self) -> str | None:
        """Whose turn it takes."""
        return self.visitors[0] if self.visitors else None

    @property
    def problem(self) -> str:
        """Why it failed, in one sentence; "" if it did not."""
        return "" if self.error is None else str(self.error)

    @property
    def share(self) -> float:
        """Of the work that is done, in [0, 1]; 0 before the first report."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.began if self.state == RUNNING else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Roughly, at the pace so far; None before the first report."""
        if self.state != RUNNING or not self.done:
            return None
        # Counted from the report, so that it does not grow while the next one is awaited.
        pace = (self._reported - self.began) / self.done
        return max(0.0, pace * (self.total - self.done) - (time.monotonic() - self._reported))

    def report(self, done: float, total: float, what: str = "") -> None:
        """What the work calls, however often; ends it if it was cancelled or left."""
        self.check()
        self.done, self.total, self.what = done, total, what
        self._reported = time.monotonic()

    def check(self) -> None:
        """Raises Cancelled once it is cancelled or left."""
        if self.state in (CANCELLED, LEFT):
            raise Cancelled

    def stop(self, state: str) -> None:
        """Ends it without a result, as CANCELLED or as LEFT; the lock of its store is held."""
        if self.is_active:
            self.state = state
            self.over.set()
