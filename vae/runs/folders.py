"""Run folders: renaming, removal and its undoing, and which are protected from both."""

import os
import shutil
import time
from pathlib import Path

from vae.runs import checkpoint, lock
from vae.runs.files import CheckpointError
from vae.runs.status import read_status

_DISCARDED = ".discarded"
UPLOADED = ".kept"  # marks a folder that came by an upload
# What ships with the project: nobody who visits may take it away.
_SHIPPED = frozenset({"digits-2d", "sprites-2d", "mnist-2d", "mnist-10d", "fashion-2d"})


def rename(run_path: Path, name: str) -> Path:
    """Gives a run another name; returns where it is now.

    Raises:
        CheckpointError: it is protected (`is_protected`) or being trained, or the name
            cannot be used or is taken.
    """
    checkpoint.check_free(run_path.parent / checkpoint.check_name(name))
    _check_may(run_path, "renamed")
    return checkpoint.move(checkpoint.open_run(run_path), run_path.with_name(name)).path


def discard(run_path: Path) -> Path:
    """Takes a run away, to a place from which `restore` brings it back; returns that place.

    What was discarded more than a day ago is deleted for good.

    Raises:
        CheckpointError: it is protected (`is_protected`) or being trained, or cannot be
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


def ships(path: Path) -> bool:
    """Whether it is one of the checkpoints that come with ELBO Room, by its name."""
    return path.name in _SHIPPED


def is_protected(path: Path) -> bool:
    """Whether visitors may not rename or delete a checkpoint: it ships, or somebody uploaded it."""
    return ships(path) or (path / UPLOADED).exists()


def _check_may(run_path: Path, what: str) -> None:
    if is_protected(run_path):
        raise CheckpointError(
            f"{run_path.name} came with ELBO Room or by an upload and cannot be {what} from here; "
            f"who runs this server can, in {run_path.parent}"
        )
    if read_status(run_path).state == "running" or lock.is_claimed(run_path):
        raise CheckpointError(f"{run_path.name} is being trained; stop it before it is {what}")
