"""Many runs: a queue that trains them one after another, and their renaming and removal.

The queue is the run folders whose status is "queued". One process per folder of runs, the worker,
takes them in turn, and ends when there are none; it needs no server and outlives the one that
started it.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vae import checkpoint, job, uploads
from vae.checkpoint import CheckpointError
from vae.training import EpochStats

WORKER_LOCK, WORKER_LOG = ".worker.lock", ".worker.log"
_DISCARDED = ".discarded"
_children: list[subprocess.Popen] = []
_NICENESS = 10


def queued(folder: Path) -> list[Path]:
    """The runs that wait, the next one first."""
    return [path for _, path in _waiting(folder)]


def _waiting(folder: Path) -> list[tuple[float, Path]]:
    """The runs that wait, and since when."""
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []
    found = [(job.status(path), path) for path in paths if (path / job.STATUS).exists()]
    return sorted((status.updated, path) for status, path in found if status.state == "queued")


def work(
    folder: Path,
    device: str | None = None,
    on_epoch: Callable[[Path, EpochStats], None] | None = None,
) -> None:
    """Trains the queued runs of a folder one after another, until none is left.

    A run that fails says so in its status, and the next one begins. If another worker has the
    folder already there is nothing to do.

    Args:
        folder: of the runs.
        device: as in `training.choose_device`.
        on_epoch: called with a run's folder after each of its epochs.

    Raises:
        CheckpointError: there is no such folder, or it cannot be written.
    """
    lock = FileLock(folder / WORKER_LOCK, thread_local=False)
    try:
        folder.stat()  # the lock would make it
        lock.acquire(timeout=1)
    except Timeout:
        return
    except OSError as error:
        raise CheckpointError(f"cannot write {lock.lock_file}: {error.strerror}") from error
    try:
        tried: set[tuple[float, Path]] = set()  # a folder that keeps its status is not tried twice
        while untried := [entry for entry in _waiting(folder) if entry not in tried]:
            tried.add(untried[0])
            path = untried[0][1]
            try:
                for stats in job.resume(path, device):
                    if on_epoch:
                        on_epoch(path, stats)
            except Exception as error:  # the next run must not suffer for it
                print(f"{path.name}: {error}", file=sys.stderr, flush=True)
                job.fail(path, " ".join(str(error).split()) or repr(error))
    finally:
        lock.release()


def start_worker(folder: Path) -> None:
    """Sees to it that a worker is at the folder's queue, in a process that outlives this one.

    Raises:
        CheckpointError: there is no such folder, or it cannot be written.
    """
    _start(["queue", f"--folder={folder.absolute()}"], folder / WORKER_LOG)


def worker_problem(folder: Path) -> str | None:
    """The last words of a worker that is gone, if it left any; None while one is at work."""
    if job.is_locked(folder / WORKER_LOCK):
        return None
    try:
        lines = (folder / WORKER_LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        return None
    return lines[-1] if lines else None


def start_now(run_path: Path) -> None:
    """Trains a run at once, in a process of its own, beside whatever else is being trained.

    Raises:
        CheckpointError: there is no such run, or the folder of runs cannot be written.
    """
    checkpoint.open_run(run_path)
    _start(["train", f"--resume={run_path.absolute()}"], run_path.parent / WORKER_LOG)


def _start(arguments: list[str], log_path: Path) -> None:
    # Anew once nobody writes there any more: its last line is what `worker_problem` tells.
    mode = "ab" if job.is_locked(log_path.with_name(WORKER_LOCK)) else "wb"
    try:
        log = open(log_path, mode)  # noqa: SIM115 - the next block closes it
    except OSError as error:
        raise CheckpointError(f"cannot write {log_path}: {error.strerror}") from error
    with log:
        process = subprocess.Popen(
            [sys.executable, "-m", "vae", arguments[0], "--background", *arguments[1:]],
            cwd=Path(__file__).resolve().parent.parent,
            env={**os.environ, "TQDM_DISABLE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,  # a Ctrl-C meant for the server must not end the training
        )
    # Kept, and asked now and then, so that one that has ended does not stay behind as a zombie.
    _children[:] = [child for child in _children if child.poll() is None] + [process]


def step_back() -> None:
    """Lowers this process's priority: a training must not slow the pages down that watch it."""
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    # Linux may share the processor between sessions first, and by niceness only within one.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(f"{_NICENESS}\n")


def rename(run_path: Path, name: str) -> Path:
    """Gives a run another name; returns where it is now.

    Raises:
        CheckpointError: it is protected (`uploads.is_protected`) or being trained, or the name
            cannot be used or is taken.
    """
    checkpoint.check_free(run_path.parent / checkpoint.check_name(name))
    _check_may(run_path, "renamed")
    return checkpoint.move(checkpoint.open_run(run_path), run_path.with_name(name)).path


def discard(run_path: Path) -> Path:
    """Takes a run away, to a place from which `restore` brings it back; returns that place.

    What was discarded more than a day ago is deleted for good.

    Raises:
        CheckpointError: it is protected (`uploads.is_protected`) or being trained, or cannot be
            moved.
    """
    _check_may(run_path, "deleted")
    bin_ = run_path.parent / _DISCARDED
    try:
        bin_.mkdir(exist_ok=True)
        for old in bin_.iterdir():
            if time.time() - old.stat().st_mtime > 24 * 3600:
                shutil.rmtree(old, ignore_errors=True)
        place = bin_ / f"{time.time_ns()}" / run_path.name
        place.parent.mkdir()
        os.rename(run_path, place)
    except OSError as error:
        raise CheckpointError(f"cannot delete {run_path}: {error.strerror}") from error
    return place


def restore(place: Path) -> Path:
    """Brings back what `discard` took away; returns where it is.

    Raises:
        CheckpointError: it is gone for good, or its name has been given to another run.
    """
    path = place.parent.parent.parent / place.name
    checkpoint.check_free(path)
    try:
        os.rename(place, path)
        place.parent.rmdir()
    except OSError as error:
        raise CheckpointError(f"cannot bring {place.name} back: {error.strerror}") from error
    return path


def _check_may(run_path: Path, what: str) -> None:
    if uploads.is_protected(run_path):
        raise CheckpointError(
            f"{run_path.name} came with ELBO Room or by an upload and cannot be {what} from here; "
            f"who runs this server can, in {run_path.parent}"
        )
    if job.status(run_path).state == "running" or job.is_claimed(run_path):
        raise CheckpointError(f"{run_path.name} is being trained; stop it before it is {what}")
