"""Who works in a folder: locks that the system lets go of when their process ends, however it ends.

Looking takes no lock that could keep anybody out: of those who look at once, none sees another.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vae.runs.files import CheckpointError

LOCK = ".lock"  # in a run's folder, held by who trains it

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    class _Overlapped(ctypes.Structure):
        _fields_ = (
            ("Internal", ctypes.c_void_p),
            ("InternalHigh", ctypes.c_void_p),
            ("Offset", wintypes.DWORD),
            ("OffsetHigh", wintypes.DWORD),
            ("hEvent", wintypes.HANDLE),
        )

    def _is_held(descriptor: int) -> bool:
        """Whether the first byte, which filelock locks for one alone, cannot be shared."""
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        handle, whole = wintypes.HANDLE(msvcrt.get_osfhandle(descriptor)), _Overlapped()
        fail_immediately, lock_violation = 1, 33
        if kernel.LockFileEx(handle, fail_immediately, 0, 1, 0, ctypes.byref(whole)):
            kernel.UnlockFileEx(handle, 0, 1, 0, ctypes.byref(whole))
            return False
        return ctypes.get_last_error() == lock_violation

else:
    import fcntl

    def _is_held(descriptor: int) -> bool:
        """Whether the file, which filelock locks for one alone, cannot be shared."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # until it is closed
        except (BlockingIOError, PermissionError):
            return True
        return False


def is_locked(path: Path) -> bool:
    """Whether a process on this machine holds that lock. Any number may look at once."""
    try:
        # A pipe of that name is not waited for.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:  # there is none, or a folder that may not be looked into
        return False
    try:
        return _is_held(descriptor)
    except OSError:  # a disk without locks
        return False
    finally:
        os.close(descriptor)


def is_claimed(run_path: Path) -> bool:
    """Whether a process on this machine trains in that folder."""
    return is_locked(run_path / LOCK)


def take(path: Path) -> FileLock | None:
    """The lock, held until it is released or dropped; None if somebody else has it.

    Raises:
        CheckpointError: its folder is gone, or cannot be written.
    """
    lock = FileLock(path, thread_local=False)
    try:
        path.parent.stat()  # renamed or deleted meanwhile? The lock would make the folder anew
        while not is_locked(path):
            try:
                lock.acquire(timeout=0.2)
                return lock
            except Timeout:
                pass  # by somebody who was looking, or is it taken now?
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error
    return None


@contextmanager
def claimed(run_path: Path) -> Iterator[None]:
    """Sole use of a run folder.

    Raises:
        CheckpointError: another process trains in it, or it cannot be written.
    """
    lock = take(run_path / LOCK)
    if lock is None:
        raise CheckpointError(
            f"{run_path} is being trained by another process; stop that one first, or wait for it"
        )
    try:
        yield
    finally:
        lock.release()
