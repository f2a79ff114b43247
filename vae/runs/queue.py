"""Runs that wait: a queue that trains them one after another.

The queue is the run folders whose status is "queued". One process per folder of runs, the worker,
takes them in turn, and ends when there are none; it needs no server and outlives the one that
started it.
"""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vae.names import printable
from vae.runs import checkpoint, files, job, lock
from vae.runs.files import CheckpointError
from vae.runs.status import STATUS, Status, read_status, write_status
from vae.training.trainer import EpochStats

WORKER_LOCK, WORKER_LOG = ".worker.lock", ".worker.log"
_WORKER_RUN = ".worker.run"  # the name of the run that the worker has taken up
_MOST_LOG_BYTES = 1_000_000
_children: list[subprocess.Popen] = []
_NICENESS = 10


def enqueue(run_path: Path) -> None:
    """Puts a run into the queue, to be begun or resumed when its turn comes.

    Raises:
        CheckpointError: it is no run, running or finished, or the folder cannot be written.
    """
    checkpoint.open_run(run_path)
    found = read_status(run_path)
    if found.state in ("running", "finished"):
        raise CheckpointError(f"{run_path.name} is {found.state}: it cannot be queued")
    write_status(run_path, dataclasses.replace(found, state="queued", message=""))


def queued(folder: Path) -> list[Path]:
    """The runs that wait, the next one first."""
    return [path for _, path in _waiting(folder)]


def states(folder: Path) -> list[str]:
    """Of each run in a folder: "queued", "running", "finished" and so on."""
    return [status.state for status, _ in _statuses(folder)]


def _waiting(folder: Path) -> list[tuple[float, Path]]:
    """The runs that wait, and since when."""
    found = _statuses(folder)
    return sorted((status.updated, path) for status, path in found if status.state == "queued")


def _statuses(folder: Path) -> list[tuple[Status, Path]]:
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []
    return [(read_status(path), path) for path in paths if (path / STATUS).exists()]


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
    mine = lock.take(folder / WORKER_LOCK)
    if mine is None:
        return
    try:
        tried: set[tuple[float, Path]] = set()  # a folder that keeps its status is not tried twice
        while untried := [entry for entry in _waiting(folder) if entry not in tried]:
            tried.add(untried[0])
            path = untried[0][1]
            try:
                files.write_atomic(folder / _WORKER_RUN, path.name.encode())
                for stats in job.resume(path, device):
                    if on_epoch:
                        on_epoch(path, stats)
            except Exception as error:  # the next run must not suffer for it
                print(printable(f"{path.name}: {error}"), file=sys.stderr, flush=True)
                fail(path, " ".join(str(error).split()) or repr(error))
    finally:
        mine.release()


def in_training(folder: Path) -> Path | None:
    """The run that the folder's worker trains at this moment; what is trained beside it is none."""
    if not lock.is_locked(folder / WORKER_LOCK):
        return None
    try:
        path = folder / (folder / _WORKER_RUN).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return path if read_status(path).state == "running" else None


def fail(run_path: Path, message: str) -> None:
    """Notes that a run could not be begun or went wrong, unless its own job has said so."""
    found = read_status(run_path)
    if found.state in ("queued", "interrupted") and not lock.is_claimed(run_path):
        try:
            write_status(run_path, dataclasses.replace(found, state="failed", message=message))
        except CheckpointError:
            pass  # the folder that cannot be written may be what went wrong


def start_worker(folder: Path) -> None:
    """Sees to it that a worker is at the folder's queue, in a process that outlives this one.

    Raises:
        CheckpointError: there is no such folder, or it cannot be written.
    """
    _start(["queue", f"--folder={folder.absolute()}"], folder / WORKER_LOG)


def worker_problem(folder: Path) -> str | None:
    """The last words of a worker that is gone, if it left any since the last start; else None."""
    if lock.is_locked(folder / WORKER_LOCK):
        return None
    try:
        lines = (folder / WORKER_LOG).read_text(errors="replace").splitlines()
    except OSError:
        return None
    return lines[-1].strip() or None if lines else None


def start_now(run_path: Path) -> None:
    """Trains a run at once, in a process of its own, beside whatever else is being trained.

    Raises:
        CheckpointError: there is no such run, or the folder of runs cannot be written.
    """
    checkpoint.open_run(run_path)
    _start(["train", f"--resume={run_path.absolute()}"], run_path.parent / WORKER_LOG)


def _start(arguments: list[str], log_path: Path) -> None:
    try:
        with suppress(FileNotFoundError):
            if log_path.stat().st_size > _MOST_LOG_BYTES:  # who writes there still, writes on there
                log_path.replace(log_path.with_suffix(".old"))
        log = open(log_path, "ab")  # noqa: SIM115 - the next block closes it
        log.write(b"\n")  # what was said before is no longer the last line
        log.flush()
    except OSError as error:
        raise CheckpointError(f"cannot write {log_path}: {error.strerror}") from error
    with log:
        process = subprocess.Popen(
            [sys.executable, "-m", "vae", arguments[0], "--background", *arguments[1:]],
            cwd=Path(__file__).resolve().parents[2],
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
