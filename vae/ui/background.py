"""Long computations of the server: all visitors see the same ones, and anybody may cancel them.

A page's script must end before the page answers again, so what takes long runs in a thread of its
own, one computation of a line at a time: what a page waits for does not stand behind what takes
minutes. Nothing in those threads may call Streamlit.
"""

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch.overrides import TorchFunctionMode

# The lines: what takes minutes; what takes many seconds, while the page shows something else; and
# the seconds that a page waits for.
LONG, BESIDE, SHORT = "long", "beside", "short"
WAITING, RUNNING = "waiting", "running"
FINISHED, FAILED, CANCELLED = "finished", "failed", "cancelled"
_MOST_ENDED = 16  # tasks whose end is remembered
_NICENESS = 15

Progress = Callable[[int, int], None]
Work = Callable[[Progress], None]


class Cancelled(BaseException):
    """Raised inside the work once somebody has cancelled it; nothing there should catch it."""


@dataclass
class Task:
    """One computation as a page shows it.

    Attributes:
        state: one of the five above.
        done, total: as last reported; both 0 before the first report.
        problem: why it failed, in one sentence.
    """

    state: str = WAITING
    done: int = 0
    total: int = 0
    problem: str = ""
    _began: float = 0.0
    _reported: float = 0.0

    @property
    def is_active(self) -> bool:
        """Whether it is still to be waited for."""
        return self.state in (WAITING, RUNNING)

    @property
    def share(self) -> float:
        """Of the work that is done, in [0, 1]; 0 before the first report."""
        return self.done / self.total if self.total else 0.0

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


_lock = threading.Lock()  # of the three below and of every state
_tasks: dict[Hashable, Task] = {}  # the newest last
_lines: dict[str, deque[tuple[Task, Work]]] = {LONG: deque(), BESIDE: deque(), SHORT: deque()}
_threads: dict[str, threading.Thread] = {}  # that work off the lines


def start(key: Hashable, work: Work, line: str = LONG) -> Task:
    """Has the work done as soon as what was started before it in its line has ended.

    Args:
        key: what it computes. What already waits or runs under that key is not begun again.
        work: called with `progress(done, total)`, for it to call. Cancelling ends it there or in
            its next call of PyTorch. A ValueError or OSError that it raises is told in its words.

    Returns:
        The task, new or that of whoever came first.
    """
    with _lock:
        known = _tasks.pop(key, None)
        if known is not None and known.is_active:
            _tasks[key] = known
            return known
        task = _tasks[key] = Task()
        ended = [k for k, old in _tasks.items() if not old.is_active]
        for old_key in ended[:-_MOST_ENDED]:
            del _tasks[old_key]
        _lines[line].append((task, work))
        if line not in _threads:
            _threads[line] = threading.Thread(
                target=_work_off, args=(line,), name=f"background {line}", daemon=True
            )
            _threads[line].start()
    return task


def task(key: Hashable) -> Task | None:
    """What was last started under that key; None if nothing was, or that is long ago."""
    return _tasks.get(key)


def cancel(key: Hashable) -> None:
    """Ends what waits or runs under that key, if anything does."""
    with _lock:
        found = _tasks.get(key)
        if found is not None and found.is_active:
            found.state = CANCELLED


def _work_off(line: str) -> None:
    _step_back()
    waiting = _lines[line]
    while True:
        with _lock:
            while waiting and waiting[0][0].state == CANCELLED:
                waiting.popleft()
            if not waiting:
                del _threads[line]
                return
            task, work = waiting.popleft()
            task.state, task._began = RUNNING, time.monotonic()
        _do(task, work)
        del task, work  # and with it the model and the images, while the next is awaited


def _do(task: Task, work: Work) -> None:
    def progress(done: int, total: int) -> None:
        if task.state == CANCELLED:
            raise Cancelled
        task.done, task.total, task._reported = done, total, time.monotonic()

    state, problem = FINISHED, ""
    try:
        with _UntilCancelled(task):
            work(progress)
    except Cancelled:
        state = CANCELLED
    except (ValueError, OSError) as error:
        state, problem = FAILED, str(error)
    except BaseException:  # whatever it is, the next in the line has its turn
        logging.getLogger(__name__).exception("A computation in the background failed")
        state, problem = FAILED, "it failed unexpectedly; see the server's log"
    with _lock:
        if task.state != CANCELLED:
            task.problem, task.state = problem, state


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


@atexit.register
def _end() -> None:
    """Python ends such threads by force, and inside PyTorch that aborts the whole process."""
    threads = list(_threads.values())
    for key in list(_tasks):
        cancel(key)
    for thread in threads:
        thread.join(timeout=5)


def _step_back() -> None:
    """Lowers the priority of this thread, and of those that its matrix products will start.

    On Linux it is each thread's own, so the pages stay as quick as they were.
    """
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            thread = threading.get_native_id()
            lowest_yet = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, max(lowest_yet, _NICENESS))
