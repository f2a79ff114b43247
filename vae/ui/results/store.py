"""One store for whatever is computed for visitors: once however many ask, for all of them.

A result is known by a key: what was asked, of which weights and which data. `Store.make` computes
it in the thread that asks, `Store.start` in the background, since a page's script must end before
the page answers again: one computation of a line at a time, so that what a page waits for does not
stand behind what takes minutes, at a lowered priority, and anybody may cancel it. What was asked
for longest ago goes first when the results need more bytes than they may. No work may call
Streamlit.
"""

import atexit
import errno
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from torch.overrides import TorchFunctionMode

from vae.errors import UserError
from vae.formats.wording import printable
from vae.ui.results.size import n_bytes_of

# The lines: what takes minutes; what takes many seconds, while the page shows something else; the
# seconds that a page waits for; and downloads, which take no processor.
LONG, BESIDE, SHORT, FETCH = LINES = "long", "beside", "short", "fetch"
WAITING, RUNNING = "waiting", "running"
FINISHED, FAILED, CANCELLED = "finished", "failed", "cancelled"
MAX_BYTES = 1_400_000_000
_MOST_ENDED = 16  # computations without a result whose end is remembered
_UNREAD_S = 60.0  # so long a result stays for a page that asked for it and looks now and then
# What a page waits for gives way a little: it must not stand still beside a training.
_NICENESS = {LONG: 15, BESIDE: 10, SHORT: 5, FETCH: 0}

Progress = Callable[..., None]  # (done, total), and what is done, in words, where that changes
Work = Callable[[Progress], Any]


class Cancelled(BaseException):
    """Raised inside the work once somebody has cancelled it; nothing there should catch it."""


@dataclass
class Task:
    """One computation and its result.

    Attributes:
        version: of the files that it reads; a result of another version counts for nothing.
        state: one of the five above.
        done, total: as last reported; both 0 before the first report.
        what: is being done, in words; "" if that was not reported.
        value: the result, once it is finished.
        error: why it failed.
        over: set when it is no longer waited for.
    """

    version: Hashable = None
    state: str = WAITING
    done: float = 0
    total: float = 0
    what: str = ""
    value: Any = None
    error: BaseException | None = None
    over: threading.Event = field(default_factory=threading.Event)
    _n_bytes: int = 0
    _readers: int = 0  # who wait for it now
    _was_read: bool = False
    _began: float = 0.0
    _reported: float = 0.0
    _ended: float = 0.0

    @property
    def is_active(self) -> bool:
        """Whether it is still to be waited for."""
        return self.state in (WAITING, RUNNING)

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
        return time.monotonic() - self._began if self.state == RUNNING else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Roughly, at the pace so far; None before the first report."""
        if self.state != RUNNING or not self.done:
            return None
        # Counted from the report, so that it does not grow while the next one is awaited.
        pace = (self._reported - self._began) / self.done
        return max(0.0, pace * (self.total - self.done) - (time.monotonic() - self._reported))

    def report(self, done: float, total: float, what: str = "") -> None:
        """What the work calls, however often; ends it if it was cancelled."""
        if self.state == CANCELLED:
            raise Cancelled
        self.done, self.total, self.what = done, total, what
        self._reported = time.monotonic()


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
        self._lines: dict[str, deque[tuple[Task, Work]]] = {line: deque() for line in LINES}
        self._threads: dict[str, threading.Thread] = {}  # that work off the lines

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
            task = self._tasks[key] = Task()
            self._tasks.move_to_end(key)
            without = [k for k, old in self._tasks.items() if old.state in (FAILED, CANCELLED)]
            for old_key in without[:-_MOST_ENDED]:
                del self._tasks[old_key]
            self._lines[line].append((task, work))
            if line not in self._threads:
                self._threads[line] = threading.Thread(
                    target=self._work_off, args=(line,), name=f"results {line}", daemon=True
                )
                self._threads[line].start()
        return task

    def make(self, key: Hashable, work: Callable[[], Any], version: Hashable = None) -> Any:
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
                    task = self._tasks[key] = Task(version, RUNNING, _began=time.monotonic())
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
                task.over.wait()
                if task.error is not None and task.state == FAILED:
                    raise task.error
                if task.state == FINISHED:
                    return task.value

    @contextmanager
    def awaited(self, task: Task) -> Iterator[None]:
        """Keeps its result while somebody waits for it and reads it."""
        with self._lock:
            task._readers += 1
        try:
            yield
        finally:
            with self._lock:
                task._readers -= 1
                task._was_read |= task.state == FINISHED

    def cancel(self, key: Hashable) -> None:
        """Ends what waits or runs under that key, if anything does."""
        with self._lock:
            task = self._tasks.get(key)
            if task is not None and task.is_active:
                task.state = CANCELLED
                task.over.set()

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
        return not self._threads

    def clear(self) -> None:
        """Cancels what waits or runs and lets every result go."""
        with self._lock:
            keys, threads = list(self._tasks), list(self._threads.values())
        for key in keys:
            self.cancel(key)
        for thread in threads:
            thread.join(timeout=5)
        with self._lock:
            self._tasks.clear()

    def _find(self, key: Hashable) -> Task | None:
        if key in self._tasks:
            self._tasks.move_to_end(key)
        return self._tasks.get(key)

    def _end(
        self, task: Task, state: str, value: Any = None, error: BaseException | None = None
    ) -> None:
        n_bytes = n_bytes_of(value)
        with self._lock:
            if task.state == CANCELLED:
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
            is_wanted = task._readers or (not task._was_read and task._ended > unread_since)
            if task is not newest and task.state == FINISHED and not is_wanted:
                del self._tasks[key]
                kept -= task._n_bytes

    def _work_off(self, line: str) -> None:
        _step_back(_NICENESS[line])
        waiting = self._lines[line]
        while True:
            with self._lock:
                while waiting and waiting[0][0].state == CANCELLED:
                    waiting.popleft()
                if not waiting:
                    del self._threads[line]
                    return
                task, work = waiting.popleft()
                task.state, task._began = RUNNING, time.monotonic()
            self._do(task, work)
            del task, work  # and with it the model and the images, while the next is awaited

    def _do(self, task: Task, work: Work) -> None:
        try:
            with _UntilCancelled(task):
                value = work(task.report)
        except Cancelled:
            pass
        except (UserError, OSError) as error:
            told = error if isinstance(error, UserError) else UserError(_said(error))
            # Without the frames that it passed, and with them the model and the images.
            self._end(task, FAILED, error=told.with_traceback(None))
        except BaseException:  # whatever it is, the next in the line has its turn
            logging.getLogger(__name__).exception("A computation in the background failed")
            told = UserError("it failed unexpectedly; see the server's log")
            self._end(task, FAILED, error=told)
        else:
            self._end(task, FINISHED, value)


def _said(error: OSError) -> str:
    """What is wrong with which file, and what to do next: the system's own words say neither."""
    name = "" if error.filename is None else printable(str(error.filename), 200)
    if isinstance(error, FileNotFoundError):
        what, then = "is gone", "put it back"
    elif isinstance(error, PermissionError):
        what, then = "may not be read or written", "give this app's user the right to"
    elif error.errno == errno.ENOSPC:
        what, then = "has no room left on its disk", "free some"
    elif isinstance(error, ConnectionError | TimeoutError):
        what, then = "cannot be reached", "see whether the network is there"
    else:
        reason = error.strerror or type(error).__name__
        what, then = f"cannot be read or written ({reason})", "see whether its disk is sound"
    return f"{name or 'a file'} {what}; {then}, and try again"


class _UntilCancelled(TorchFunctionMode):
    """Ends this thread's work at its next call of PyTorch: between two reports minutes may pass."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if self.task.state == CANCELLED:
            raise Cancelled
        return func(*args, **(kwargs or {}))


def _step_back(niceness: int) -> None:
    """Lowers the priority of this thread, and of those that its matrix products will start.

    On Linux it is each thread's own, so the pages stay as quick as they were.
    """
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            thread = threading.get_native_id()
            lowest_yet = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, max(lowest_yet, niceness))


RESULTS = Store(MAX_BYTES)
# Python ends such threads by force, and inside PyTorch that aborts the whole process.
atexit.register(RESULTS.clear)
