"""A free name for a new run, that nobody else is offered meanwhile."""

import re
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from vae.runs import checkpoint

_FOLDER = ".names"  # of a lock for every name that was ever offered
_LONGEST = 40  # of a stem: a number and what a sweep appends come behind it


class Reservation:
    """A name that is free, and that no other reservation has while this one is held.

    It is let go of by `release`, with the last reference to it, and when the process ends. Nobody
    is kept from making a run of that name outright: who makes it first (`job.create`) has it.

    Attributes:
        name: of a run that does not exist.
        stem, root, tails: as in `reserve`.
    """

    def __init__(self, name: str, stem: str, root: Path, tails: Sequence[str]) -> None:
        self.name, self.stem, self.root, self.tails = name, stem, root, tuple(tails)
        # Let go of by another thread than took it, where a page is drawn by many.
        self._lock = FileLock(root / _FOLDER / f"{name}.lock", thread_local=False)

    def release(self) -> None:
        """Lets others have the name."""
        self._lock.release()

    def is_free(self) -> bool:
        """Whether there is still no run called so, whatever tail it has."""
        return not any((self.root / f"{self.name}{tail}").exists() for tail in self.tails)

    def _take(self) -> bool:
        """Whether nobody else holds the name, and no run has it."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError:  # where nothing can be written no run can be made either
            return self.is_free()
        if self.is_free():
            return True
        self._lock.release()
        return False


def reserve(
    stem: str,
    root: Path | None = None,
    tails: Sequence[str] = ("",),
    held: Reservation | None = None,
) -> Reservation:
    """A free name, held for the caller alone: the stem, or stem-2, stem-3 and so on.

    Two threads or processes that ask at once never get the same name. A form that is drawn again
    and again passes what it holds and keeps it as long as that serves:

        mine = reserve("digits-2d", held=mine)
        ...  # show mine.name; make the run
        mine.release()

    Args:
        stem: any text; what a name cannot have becomes a hyphen.
        root: the folder of runs [`checkpoint.folder()`]; made if it is not there.
        tails: what the caller will append to the name, once for each run of a sweep; the name is
            free if none of those runs exists.
        held: the caller's reservation so far: given back if it is of this stem and still free,
            else released.
    """
    root = root or checkpoint.folder()
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:_LONGEST] or "run"
    if held and (held.stem, held.root, held.tails) == (stem, root, tuple(tails)) and held.is_free():
        return held
    if held:
        held.release()
    try:
        (root / _FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError:
        pass  # nothing can be held there, and nothing made
    name, number = stem, 1
    while not (found := Reservation(name, stem, root, tails))._take():
        number += 1
        name = f"{stem}-{number}"
    return found
