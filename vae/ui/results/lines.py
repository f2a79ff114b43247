"""Who computes next, and where: a few lines, in each of which visitors take turns.

What a page waits for does not stand behind what takes minutes. A visitor has one place in a line,
and of those who wait the one goes first who was served longest ago. The work is done in processes
of their own (`results.workers`), so that the pages of others stay quick; downloads and what no
other process can be sent are done in a thread of the server. What all who asked for it have left
is given up.
"""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from torch.overrides import TorchFunctionMode

from vae.errors import UserError
from vae.formats.wording import printable
from vae.ui import policy
from vae.ui.results.task import FAILED, FINISHED, LEFT, RUNNING, Cancelled, Task, Work
from vae.ui.results.workers import UnsendableError, Worker
from vae.ui.session import visitor

# The lines: what takes minutes; what takes many seconds, while the page shows something else; the
# seconds that a page waits for; and downloads, which take no processor.
LONG, BESIDE, SHORT, FETCH = LINES = "long", "beside", "short", "fetch"
# What a page waits for gives way a little: it must not stand still beside a training.
_NICENESS = {LONG: 15, BESIDE: 10, SHORT: 5, FETCH: 0}
_GONE_S = 15.0  # a tab that is loaded anew comes back sooner
_UNAWAITED_S = 20.0  # so long goes on what a page waited for, and no page waits for any more

End = Callable[..., None]  # of a task: its state, and its value or error


class Lines:
    """Works off what was started, each line by as many threads as it has places.

    Args:
        lock: of every task's state.
        end: called with a task whose work is over, without the lock.
    """

    def __init__(self, lock: threading.Lock, end: End) -> None:
        self._lock, self._end = lock, end
        self._waiting: dict[str, list[tuple[Task, Work]]] = {line: [] for line in LINES}
        self._running: dict[str, list[Task]] = {line: [] for line in LINES}
        self._threads: dict[str, list[threading.Thread]] = {line: [] for line in LINES}
        self._idle: dict[str, list[Worker]] = {line: [] for line in LINES}
        self._served: dict[str | None, float] = {}  # when each visitor's last work began

    def add(self, line: str, task: Task, work: Work) -> None:
        """Has the work done when its turn has come; the lock is held."""
        n_processes = 0 if line == FETCH else policy.current().most_computing
        places = max(1, n_processes) if line == SHORT else 1
        if line == SHORT and task.asked_by is not None:
            # Whoever clicks on has no use for what they waited for before.
            for earlier, _ in self._waiting[line]:
                if earlier.visitors == [task.asked_by] and not earlier.n_readers:
                    earlier.stop(LEFT)
        self._waiting[line].append((task, work))
        if len(self._threads[line]) < places:
            thread = threading.Thread(
                target=self._work_off,
                args=(line, n_processes > 0),
                name=f"results {line}",
                daemon=True,
            )
            self._threads[line].append(thread)
            thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not any(self._threads.values())

    def close(self) -> None:
        """Waits for what was cancelled, and ends the processes."""
        for threads in self._threads.values():
            for thread in list(threads):
                thread.join(timeout=5)
        with self._lock:
            workers = [worker for idle in self._idle.values() for worker in idle]
            self._idle = {line: [] for line in LINES}
        for worker in workers:
            worker.end()

    def warm(self, line: str) -> None:
        """Begins a process for the line's first work, if it has none and the server wants some."""
        with self._lock:
            has_one = self._threads[line] or self._idle[line]
        if has_one or not policy.current().most_computing:
            return
        worker = Worker(_NICENESS[line])
        worker.warm()
        with self._lock:
            self._idle[line].append(worker)

    def _work_off(self, line: str, in_process: bool) -> None:
        worker = None
        if not in_process:
            _step_back(_NICENESS[line])
        while True:
            with self._lock:
                found = self._next(line)
                if found is None:
                    self._threads[line].remove(threading.current_thread())
                    if worker is not None:
                        self._idle[line].append(worker)
                    return
                task, work = found
                task.state, task.began = RUNNING, time.monotonic()
                self._running[line].append(task)
                if in_process and worker is None:
                    idle = self._idle[line]
                    worker = idle.pop() if idle else Worker(_NICENESS[line])
            try:
                self._do(line, task, work, worker)
            finally:
                with self._lock:
                    self._running[line].remove(task)
            del task, work, found  # and with it the model and the images, while the next is awaited

    def _next(self, line: str) -> tuple[Task, Work] | None:
        """Of a visitor without a place, the one served longest ago; takes it out of the line."""
        waiting = self._waiting[line]
        waiting[:] = [(task, work) for task, work in waiting if task.is_active]
        busy = {task.asked_by for task in self._running[line]} - {None}
        ready = [pair for pair in waiting if pair[0].asked_by not in busy]
        if not ready:
            return None
        chosen = min(ready, key=lambda pair: self._served.get(pair[0].asked_by, 0.0))
        waiting.remove(chosen)
        self._served = {who: at for who, at in self._served.items() if visitor.is_here(who)}
        if chosen[0].asked_by is not None:
            self._served[chosen[0].asked_by] = time.monotonic()
        return chosen

    def _do(self, line: str, task: Task, work: Work, worker: Worker | None) -> None:
        try:
            value = self._computed(line, task, work, worker)
        except Cancelled:
            with self._lock:
                task.stop(LEFT)  # if it was not cancelled
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

    def _computed(self, line: str, task: Task, work: Work, worker: Worker | None) -> Any:
        if worker is not None:
            wanted = _Wanted(task, is_awaited=line == SHORT)
            with suppress(UnsendableError):  # which is then done here
                return worker.run(work, task.report, wanted.check)
        with _UntilCancelled(task):
            return work(task.report)


class _Wanted:
    """Whether anybody still wants what is computed."""

    def __init__(self, task: Task, is_awaited: bool) -> None:
        self.task, self.is_awaited = task, is_awaited
        self.most_seconds = policy.current().most_seconds
        self.last_here = self.last_awaited = time.monotonic()

    def check(self) -> None:
        """Raises Cancelled if nobody does; LimitError if it takes too long."""
        self.task.check()
        now = time.monotonic()
        if any(visitor.is_here(who) for who in tuple(self.task.visitors)):
            self.last_here = now
        if self.task.n_readers or not self.is_awaited:
            self.last_awaited = now
        if now - self.last_here > _GONE_S or now - self.last_awaited > _UNAWAITED_S:
            raise Cancelled
        if self.task.seconds > self.most_seconds:
            raise policy.LimitError(
                f"it took longer than the {self.most_seconds:,} seconds that a computation may "
                f"take here; ask for less, or whoever runs this server sets "
                f"{policy.variable('most_seconds')}"
            )


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
        self.task.check()
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
