"""A process of its own for what is computed: the lock of the server's stays free for its pages."""

import importlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

import cloudpickle
import loky
from loky.backend import get_context
from loky.process_executor import ShutdownExecutorError

from vae.errors import UserError
from vae.formats.user_code import factory
from vae.ui import policy
from vae.ui.results.task import Progress, Work

_IDLE_S = 900.0  # after which a process ends that nothing was asked of
_LOOKS_EVERY_S = 0.1  # at what it reports, and whether it is still wanted


class UnsendableError(Exception):
    """The work, or its result, cannot be sent to another process."""


class WorkerEndedError(UserError):
    """The process was ended from outside: for want of memory, as a rule."""


class Worker:
    """One process that does one work at a time; it begins with the first one.

    Args:
        niceness: that it runs at.
    """

    def __init__(self, niceness: int) -> None:
        self._niceness = niceness
        self._pool: loky.ProcessPoolExecutor | None = None
        self._reports: Any = None  # where it says how far it is

    def warm(self) -> None:
        """Begins the process, so that the first work finds it ready."""
        self._submit(_sent(_nothing))

    def run(self, work: Work, report: Progress, check: Callable[[], None]) -> Any:
        """What the work returns, done in the process.

        Args:
            work: as for `Store.start`.
            report: is called with what the work reports.
            check: is called several times a second; what it raises ends the process and is raised.

        Raises:
            UnsendableError: it has to be done elsewhere.
            WorkerEndedError: the process has died of it.
            BaseException: what the work raises.
        """
        future = self._submit(_sent(work))
        try:
            while not wait([future], _LOOKS_EVERY_S).done:
                self._pass_on(report)
                check()
        except BaseException:
            self.end()
            raise
        try:
            return pickle.loads(future.result())
        except BrokenProcessPool:
            self.end()
            raise WorkerEndedError(
                f"the process that computed it was ended; it may have needed more than the "
                f"{policy.current().most_memory_mb:,} MB that a computation may take here: ask "
                f"for fewer points, or whoever runs this server sets "
                f"{policy.variable('most_memory_mb')}"
            ) from None

    def end(self) -> None:
        """Kills the process, whatever it does."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, kill_workers=True)
            self._reports.close()

    def _submit(self, work: bytes) -> Any:
        for _ in range(2):
            if self._pool is None:
                self._begin()
            assert self._pool is not None
            with suppress(BrokenProcessPool, ShutdownExecutorError):
                return self._pool.submit(_done, work)
            self.end()  # it died while it was idle
        raise WorkerEndedError("no process could be begun for it; try again in a minute")

    def _begin(self) -> None:
        self._reports, reporting = get_context("loky").Pipe(duplex=False)
        settings = reporting, os.getpid(), self._niceness, policy.current().most_memory_mb
        self._pool = loky.ProcessPoolExecutor(
            1, timeout=_IDLE_S, initializer=_begin, initargs=settings
        )

    def _pass_on(self, report: Progress) -> None:
        while self._reports.poll():
            report(*self._reports.recv())


# In the process

_MOST_KEPT = 300_000_000  # bytes of what one work leaves for the next, as decoded lattices
_IMPORTED = tuple(f"vae.ui.results.{name}" for name in ("diagnosis", "inference", "readings"))
_reporting: Any = None
_reported = 0.0


def _begin(reporting: Any, server: int, niceness: int, memory_mb: int) -> None:
    """Prepares the process: what it imports is there before the first work comes."""
    global _reporting
    _reporting = reporting
    for name in _IMPORTED:
        importlib.import_module(name)
    importlib.import_module("vae.ui.results.store").RESULTS.max_bytes = _MOST_KEPT
    threading.Thread(target=_end_with, args=(server,), daemon=True).start()
    if sys.platform == "linux":
        import resource

        os.nice(niceness)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        bound = memory_mb * 10**6
        resource.setrlimit(
            resource.RLIMIT_DATA,
            (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard),
        )


def _end_with(server: int) -> None:
    """Ends the process with the server, however that ended."""
    while os.getppid() == server or sys.platform == "win32":
        time.sleep(2.0)
    os._exit(1)


def _sent(what: Any) -> bytes:
    """What is made another of in the other process: functions, too, with what they refer to."""
    for module in factory.MODULES:
        if module.__name__ in sys.modules:
            cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps(what)
    except Exception as error:  # whatever the objects in it raise
        raise UnsendableError(f"{type(error).__name__}: {error}") from None


def _done(work: bytes) -> bytes:
    try:
        return _sent(pickle.loads(work)(_report))
    except MemoryError:
        raise _out_of_memory() from None
    except RuntimeError as error:  # as PyTorch says it
        if "can't allocate memory" in str(error):
            raise _out_of_memory() from None
        raise


def _out_of_memory() -> UserError:
    return UserError(
        "it needs more memory than a computation may take here; ask for fewer points, or whoever "
        f"runs this server sets {policy.variable('most_memory_mb')}"
    )


def _report(done: float, total: float, what: str = "") -> None:
    global _reported
    now = time.monotonic()
    if now - _reported > _LOOKS_EVERY_S:
        _reported = now
        _reporting.send((done, total, what))


def _nothing(progress: Progress) -> None:
    """The work of a process that is to be ready."""
