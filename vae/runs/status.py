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

from vae.config import brief
from vae.runs import files, lock
from vae.runs.files import CheckpointError

STATUS, STOP = "status.json", "stop"
_STATES = ("queued", "running", "finished", "stopped", "failed", "interrupted")
_SILENT_S = 15.0  # a job elsewhere that has not stirred for so long is taken for dead
_AHEAD_S = 600.0  # so far the clocks of two machines may be apart
_MAX_BYTES = 100_000
_MOST_STEPS, _MOST_SECONDS = 10**12, 1e10
_MOST_MESSAGE = 1000  # characters


@dataclass(frozen=True)
class Status:
    """How far a job is.

    Attributes:
        state: "queued", "running", "finished", "stopped" (asked to), "failed" (see message) or
            "interrupted" (its process is gone).
        step, n_steps: optimiser steps done and in all.
        seconds: spent on them.
        updated: when this was written, seconds since the Unix epoch.
        message: what went wrong, if anything; also of a file that cannot be used.
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
    def is_unusable(self) -> bool:
        """Whether the file says what no job writes; `message` then says what."""
        return self.message.startswith(f"{STATUS} ")

    @property
    def seconds_left(self) -> float | None:
        """What the rest takes at the pace so far; None while that is unknown."""
        if self.state != "running" or not self.step:
            return None
        return self.seconds * (self.n_steps - self.step) / self.step


_NAMES = {field.name for field in dataclasses.fields(Status)}


def read_status(run_path: Path) -> Status:
    """How far the job in that folder is; "finished" for a folder that no job is known to fill.

    Of a file that says what no job writes nothing is taken but its state; `message` says so.
    """
    path = run_path / STATUS
    try:
        if not path.exists():
            return Status("finished")
        values = files.parse_json(files.read_text(path, _MAX_BYTES), STATUS)
    except OSError:  # a folder that may not be looked into
        return Status("finished")
    except CheckpointError as error:
        return _unusable(None, str(error).replace(str(path), STATUS))
    if not isinstance(values, dict) or not values.keys() <= _NAMES or "state" not in values:
        return _unusable(None, f"{STATUS} does not say how a training does")
    found = Status(**values)
    if problem := _problem(found):
        return _unusable(found.state, f"{STATUS} says {problem}")
    found = dataclasses.replace(found, message=found.message[:_MOST_MESSAGE])
    if found.state != "running":
        return found
    # A lock may not reach across a shared disk; from elsewhere only the heartbeat is known.
    silent = not -_AHEAD_S < time.time() - found.updated < _SILENT_S
    gone = silent if found.host != socket.gethostname() else not lock.is_claimed(run_path)
    return dataclasses.replace(found, state="interrupted") if gone else found


def _problem(found: Status) -> str:
    """What is said in a status that no job says, as a clause; "" if nothing is."""
    limits = {
        "n_steps": _MOST_STEPS,
        "step": found.n_steps,
        "seconds": _MOST_SECONDS,
        "updated": math.inf,
    }
    if not isinstance(found.state, str) or found.state not in _STATES:
        return f"that the state is {brief(found.state)}"
    for name, most in limits.items():
        value = getattr(found, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_whole = isinstance(value, int) or "step" not in name
        if not is_number or not is_whole or not 0 <= value <= most or value == math.inf:
            of = f" of {brief(most)}" if name == "step" else ""
            return f"that {name} is {brief(value)}{of}"
    for name in ("message", "host"):
        if not isinstance(getattr(found, name), str):
            return f"that {name} is {brief(getattr(found, name))}"
    return ""


def _unusable(state: object, why: str) -> Status:
    """The status of a run whose file cannot be used; what it says of progress is not passed on."""
    state = state if isinstance(state, str) and state in _STATES else "finished"
    is_open = state in ("running", "queued")  # nobody is seen to work there
    return Status("interrupted" if is_open else state, message=f"{why}; delete that file")


def write_status(path: Path, status: Status) -> None:
    """Says in that folder how its job does, as of now. Raises CheckpointError if it fails."""
    status = dataclasses.replace(
        status,
        updated=time.time(),
        host=socket.gethostname(),
        message=status.message[:_MOST_MESSAGE],
    )
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
