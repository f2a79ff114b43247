"""One store for whatever is computed for visitors: once however many ask, for all of them.

A result is known by a key: what was asked, of which weights and which data. `Store.make` computes
it in the thread that asks, `Store.start` in the background (`results.lines`), since a page's script
must end before the page answers again; anybody may cancel that. What was asked for longest ago goes
first when the results need more bytes than they may. No work may call Streamlit.
"""

import atexit
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from vae.ui import turns
from vae.ui.results.lines import LONG, SHORT, Lines
from vae.ui.results.size import n_bytes_of
from vae.ui.results.task import (
    CANCELLED,
    FAILED,
    FINISHED,
    LEFT,
    RUNNING,
    Cancelled,
    Task,
    Work,
)
from vae.ui.session import visitor

MAX_BYTES = 1_400_000_000
_MOST_ENDED = 16  # computations without a result whose end is remembered
_UNREAD_S = 60.0  # so long a result stays for a page that asked for it and looks now and then


class Store:
    """Results by key, of at most so many bytes together; the newest stays even if it is larger.

    Nothing goes while somebody waits for it, or before a page that had it computed has read it,
    if it does so within a minute. What a reader holds stays alive until it lets go, too.

    Args:
        max_bytes: of all results together.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()  # of all below, and of every task's state
        self._tasks: OrderedDict[Hashable, Task] = OrderedDict()  # asked for longest ago first
        self._lines = Lines(self._lock, self._end)

    def task(self, key: Hashable) -> Task | None:
        """What waits, runs or has ended under that key; None if nothing has, or it is gone."""
        with self._lock:
            return self._find(key)

    def get(self, key: Hashable) -> Any:
        """The result under that key; None if there is none (yet)."""
        with self._lock:
            task = self._find(key)
            if task is None or task.state != FINISHED:
                return None
            task._was_read = True
            return task.value

    def start(self, key: Hashable, work: Work, line: str = LONG) -> Task:
        """Has the work done as soon as what was started before it in its line has ended.

        Args:
            key: what it computes. What is known, waits or runs under it is not begun again.
            work: called with `progress(done, total)`, for it to call; returns the result.
                Cancelling ends it there or in its next call of PyTorch. A UserError or OSError
                that it raises is told in its words.
            line: one of LINES.

        Returns:
            The task, new or that of whoever came first.
        """
        with self._lock:
            known = self._find(key)
            if known is not None and (known.is_active or known.state == FINISHED):
                return known
            task = Task(visitors=[visitor.current()])
            self._lines.add(line, task, work)
            self._tasks[key] = task
            self._tasks.move_to_end(key)
            without = [
                k for k, old in self._tasks.items() if old.state in (FAILED, CANCELLED, LEFT)
            ]
            for old_key in without[:-_MOST_ENDED]:
                del self._tasks[old_key]
        return task

    def make(self, key: Hashable, work: Callable[[], Any], version: object = None) -> Any:
        """The result, computed here and now if there is none; whoever else asks waits for it.

        Args:
            key: what it computes, which is never that of something `start`ed.
            work: returns the result. What it raises reaches all who ask meanwhile, and the next
                one tries again.
            version: of what it reads, such as a file's stamp: a result of another version is
                replaced.
        """
        while True:
            with self._lock:
                task = known = self._find(key)
                if task is None or task.version != version:
                    task = self._tasks[key] = Task(version, RUNNING, began=time.monotonic())
                    self._tasks.move_to_end(key)
            with self.awaited(task):
                if task is not known:
                    try:
                        self._end(task, FINISHED, work())
                    except BaseException as error:
                        is_ours = isinstance(error, Cancelled)  # the work of which this is a part
                        self._end(task, CANCELLED if is_ours else FAILED, error=error)
                        self.forget(key)
                        raise
                if not task.over.is_set():
                    turns.leave()
                    task.over.wait()
                if task.error is not None and task.state == FAILED:
                    raise task.error
                if task.state == FINISHED:
                    return task.value

    @contextmanager
    def awaited(self, task: Task) -> Iterator[None]:
        """Keeps its result while somebody waits for it and reads it."""
        with self._lock:
            task.n_readers += 1
        try:
            yield
        finally:
            with self._lock:
                task.n_readers -= 1
                task._was_read |= task.state == FINISHED

    def cancel(self, key: Hashable) -> None:
        """Ends what waits or runs under that key, if anything does."""
        with self._lock:
            task = self._tasks.get(key)
            if task is not None:
                task.stop(CANCELLED)

    def forget(self, key: Hashable) -> None:
        """Lets go what has ended under that key."""
        with self._lock:
            if key in self._tasks and not self._tasks[key].is_active:
                del self._tasks[key]

    def weigh(self, key: Hashable) -> None:
        """Counts the bytes of a result anew: of one that grows by being used."""
        task = self.task(key)
        if task is not None and task.state == FINISHED:
            n_bytes = n_bytes_of(task.value)
            with self._lock:
                task._n_bytes = n_bytes
                self._make_room(task)

    @property
    def bytes_kept(self) -> int:
        """Of all results together."""
        with self._lock:
            return sum(task._n_bytes for task in self._tasks.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or runs in the background."""
        return self._lines.is_idle

    def clear(self) -> None:
        """Cancels what waits or runs and lets every result go."""
        with self._lock:
            keys = list(self._tasks)
        for key in keys:
            self.cancel(key)
        self._lines.close()
        with self._lock:
            self._tasks.clear()

    def warm(self) -> None:
        """Begins a process, so that the first who has something computed need not wait for it."""
        self._lines.warm(SHORT)

    def _find(self, key: Hashable) -> Task | None:
        task = self._tasks.get(key)
        if task is None or task.state == LEFT:  # which is begun anew by whoever comes back
            return None
        self._tasks.move_to_end(key)
        who = visitor.current()
        if who is not None and task.is_active and who not in task.visitors:
            task.visitors.append(who)
        return task

    def _end(
        self, task: Task, state: str, value: Any = None, error: BaseException | None = None
    ) -> None:
        n_bytes = n_bytes_of(value)
        with self._lock:
            if task.state in (CANCELLED, LEFT):
                return
            task.state, task.value, task.error = state, value, error
            task._n_bytes, task._ended = n_bytes, time.monotonic()
            self._make_room(task)
        task.over.set()

    def _make_room(self, newest: Task) -> None:
        """Lets results go until the rest fits, the one that was asked for longest ago first."""
        kept = sum(task._n_bytes for task in self._tasks.values())
        unread_since = time.monotonic() - _UNREAD_S
        for key, task in list(self._tasks.items()):
            if kept <= self.max_bytes:
                return
            is_wanted = task.n_readers or (not task._was_read and task._ended > unread_since)
            if task is not newest and task.state == FINISHED and not is_wanted:
                del self._tasks[key]
                kept -= task._n_bytes

    def __reduce__(self) -> str:
        """Work that names RESULTS means, in another process, the one there."""
        if self is not RESULTS:
            raise TypeError("only RESULTS can be named in another process")
        return "RESULTS"


RESULTS = Store(MAX_BYTES)
# Python ends such threads by force, and inside PyTorch that aborts the whole process.
atexit.register(RESULTS.clear)
