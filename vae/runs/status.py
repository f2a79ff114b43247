"""How far a training is: `status.json` in its folder, for whoever reads that.

The run folder is the only channel. The job keeps its status there fresh, so that a page or another
machine on a shared disk knows how far it is and whether it still lives; a file named `stop` asks it
to end.
"""

import dataclasses
import json
import math
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from vae.runs import files, lock
from vae.runs.files import CheckpointError

STATUS, STOP = "status.json", "stop"
_STATES = ("queued", "running", "finished", "stopped", "failed", "interrupted")
_SILENT_S = 15.0  # a job elsewhere that has not stirred for so long is taken for dead


@dataclass(frozen=True)
class Status:
    """How far a job is.

    Attributes:
        state: "queued", "running", "finished", "stopped" (asked to), "failed" (see message) or
            "interrupted" (its process is gone).
        step, n_steps: optimiser steps done and in all.
        seconds: spent on them.
        updated: when this was written, seconds since the Unix epoch.
        message: what went wrong, if anything.
        host: the machine that wrote it.
    """

    state: str
    step: int = 0
    n_steps: int = 0
    seconds: float = 0.0
    updated: float = 0.0
    message: str = ""
    host: str = ""

    @property
    def seconds_left(self) -> float | None:
        """What the rest takes at the pace so far; None while that is unknown."""
        if self.state != "running" or not self.step:
            return None
        return self.seconds * (self.n_steps - self.step) / self.step


def read_status(run_path: Path) -> Status:
    """How far the job in that folder is; "finished" for a folder that no job is known to fill."""
    try:
        found = Status(**json.loads((run_path / STATUS).read_bytes()))
        numbers = (found.step, found.n_steps, found.seconds, found.updated)
        texts = isinstance(found.message, str) and isinstance(found.host, str)
        if found.state not in _STATES or not texts or not all(map(math.isfinite, numbers)):
            return Status("finished")
        silent = time.time() - found.updated > _SILENT_S
    except (OSError, ValueError, TypeError, OverflowError, RecursionError):
        return Status("finished")
    if found.state != "running":
        return found
    # A lock may not reach across a shared disk; from elsewhere only the heartbeat is known.
    gone = silent if found.host != socket.gethostname() else not lock.is_claimed(run_path)
    return dataclasses.replace(found, state="interrupted") if gone else found


def write_status(path: Path, status: Status) -> None:
    """Says in that folder how its job does, as of now. Raises CheckpointError if it fails."""
    status = dataclasses.replace(status, updated=time.time(), host=socket.gethostname())
    files.write_atomic(path / STATUS, json.dumps(vars(status)).encode())


def request_stop(run_path: Path) -> None:
    """Asks the job in that folder to end, or takes it out of the queue; whole epochs are kept.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    found = read_status(run_path)
    if found.state == "queued":
        write_status(run_path, dataclasses.replace(found, state="stopped"))
    # To a queued run as well: a worker may have taken it up that still loads the data.
    try:
        (run_path / STOP).touch()
    except OSError as error:
        raise CheckpointError(f"cannot write {run_path / STOP}: {error.strerror}") from error


def forget_stop(run_path: Path) -> None:
    """Drops what was asked of an earlier process. Raises CheckpointError if it fails."""
    try:
        (run_path / STOP).unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot delete {run_path / STOP}: {error.strerror}") from error
