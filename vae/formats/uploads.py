"""Checkpoints that one visitor has uploaded: held for that visitor alone, until they are kept.

Every visitor has a folder of their own that nobody else is told of. A page that is loaded again is
another session; it is the same visitor's by a token that cannot be guessed (`Visit`). The folder is
deleted some time after their last session ended, or, if the server was killed, by the next one: its
lock is then held by nobody. What is kept is copied into the folder of checkpoints under a name that
is free, so that nothing there is ever replaced. Only the weights and plain tables beside them are
taken (`sent`), and they are opened as any checkpoint is (`vae.formats`): without running anything
they bring along.
"""

import dataclasses
import itertools
import math
import os
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from vae import formats
from vae.formats import AnyRun, ForeignRun, sent
from vae.formats.refusal import Refusal
from vae.formats.sent import Sent
from vae.runs import checkpoint, lock
from vae.runs.checkpoint import CheckpointError
from vae.runs.folders import UPLOADED

LINGERS_S = 900.0  # after the last session of a visitor

# Refuses, by raising a UserError, what is more than the limit of that name (`vae.ui.policy`).
Hold = Callable[[str, int], None]


def _hold_nothing(name: str, asked: int) -> None:
    """The limits of a server that has none."""


_PREFIX, _LOCK = "elbo-room-", ".lock"  # of a visitor's folder, and in it
_MARK = " (yours)"  # behind the name, so that it is nobody else's

# Of all that visitors share. A thread that holds it can be made to finish another's visit.
_lock = threading.RLock()
_held: dict[str, int] = {}  # bytes by visitor's folder


class Uploads:
    """One visitor's uploads.

    Args:
        max_bytes: of one upload, as the server takes them.
        hold: is asked before anything is taken or kept; without it only `max_bytes` limits.

    Attributes:
        runs: by name, the newest last.
    """

    def __init__(self, max_bytes: int, hold: Hold = _hold_nothing) -> None:
        self.max_bytes, self._hold = max_bytes, hold
        self.runs: dict[str, AnyRun] = {}
        self._kept: set[Path] = set()
        self._folders: dict[str, Path] = {}  # by name
        self._numbers = itertools.count(1)
        self._root, held = _own_folder()
        weakref.finalize(self, _forget, self._root, held)

    def add(self, files: Sequence[BinaryIO]) -> AnyRun:
        """Takes a checkpoint: a file of weights, or that and the JSON files beside it.

        Args:
            files: open, each with a `name`, as for `sent.taken`.

        Returns:
            The run, whose name no run of the server has.

        Raises:
            CheckpointError: too large, or no checkpoint that can be opened; nothing of it is left
                then.
            UserError: `hold` refuses it.
        """
        self._hold("most_open", len(self.runs) + 1)
        taken = sent.taken(files, self.max_bytes)
        folder = self._root / str(next(self._numbers))
        try:
            self._reserve(sum(file.n_bytes for file in taken))
            run = self._opened(folder, taken)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            self._reserve()
            if isinstance(error, Refusal):
                raise error.for_visitor() from error
            if isinstance(error, CheckpointError):
                # The visitor knows the file's name; the server's folders are nobody's business.
                raise CheckpointError(str(error).replace(f"{folder}/", "")) from error
            if isinstance(error, OSError):
                raise CheckpointError(f"the upload cannot be stored: {error.strerror}") from error
            raise
        self.runs[run.name] = run
        self._folders[run.name] = folder
        return run

    def remove(self, name: str) -> None:
        """Deletes an upload of this visitor's; nothing if there is none of that name."""
        if self.runs.pop(name, None) is not None:
            shutil.rmtree(self._folders.pop(name), ignore_errors=True)
            self._reserve()

    def keep(self, name: str, kept_name: str) -> Path:
        """Copies an upload into the folder of checkpoints, for everybody; returns where it is.

        Raises:
            CheckpointError: there is no such upload, the name cannot be used or is taken, or the
                folder cannot be written; the upload then stays as it is.
            UserError: `hold` refuses it.
        """
        if name not in self.runs:
            raise CheckpointError(f"there is no upload named {name!r}; upload it again")
        root = checkpoint.folder()
        path = root / checkpoint.check_name(kept_name)
        checkpoint.check_free(path)
        kept = sum(1 for _ in root.glob(f"*/{UPLOADED}"))
        self._hold("most_kept", kept + 1)
        n_bytes = _bytes_of(root) + _bytes_of(self._folders[name])
        self._hold("most_kept_mb", math.ceil(n_bytes / 10**6))
        draft = None
        try:
            root.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=root))
            draft.chmod(0o755)
            for file in _files(self._folders[name]):
                shutil.copyfile(file, draft / file.name)
            (draft / UPLOADED).touch()
            draft.rename(path)  # never onto a folder that holds anything
        except OSError as error:
            if draft is not None:
                shutil.rmtree(draft, ignore_errors=True)
            checkpoint.check_free(path)  # somebody else was faster
            raise CheckpointError(f"cannot write {path}: {error.strerror}") from error
        self._kept.add(path)
        self.remove(name)
        return path

    def kept(self) -> list[Path]:
        """What this visitor has kept, as far as it is still there, by name."""
        return sorted(path for path in self._kept if path.is_dir())

    def discard(self, path: Path) -> None:
        """Takes back what this visitor has kept; nothing if it was somebody else."""
        if path in self._kept:
            self._kept.discard(path)
            shutil.rmtree(path, ignore_errors=True)

    def _opened(self, folder: Path, files: list[Sent]) -> AnyRun:
        place = folder if len(files) == 1 else folder / "checkpoint"
        place.mkdir(parents=True, mode=0o700)
        for file in files:
            with open(place / file.name, "wb") as written:
                file.write(written)
        run = formats.open_run(place if len(files) > 1 else place / files[0].name)
        self._hold("most_dimensions", run.model_config.latent_dim)
        self._hold("most_pixels", math.prod(run.model_config.image_shape))
        run.load_model()  # damaged or infinite weights are told now, not on some page
        taken = {*self.runs, *(run.name for run in formats.list_runs()[0])}
        shown, number = f"{run.name}{_MARK}", 1
        while shown in taken:
            number += 1
            shown = f"{run.name} {number}{_MARK}"
        return _named(run, shown)

    def _reserve(self, more: int = 0) -> None:
        """Counts what this visitor holds, and refuses what all of them have no room for."""
        mine = _bytes_of(self._root)
        with _lock:
            others = sum(n for root, n in _held.items() if root != str(self._root))
            if more:
                self._hold("most_open_mb", math.ceil((mine + more) / 10**6))
                self._hold("most_open_mb_in_all", math.ceil((others + mine + more) / 10**6))
            _held[str(self._root)] = mine + more


class Visit:
    """One session's hold on a visitor's uploads.

    Attributes:
        uploads: the visitor's.
        token: by which another session of theirs finds them.
    """

    def __init__(self, uploads: Uploads, token: str) -> None:
        self.uploads, self.token = uploads, token
        with _lock:
            known = _visits.setdefault(token, _Known(uploads))
            known.n_sessions += 1
        weakref.finalize(self, _left, token).atexit = False

    @classmethod
    def begun(cls, max_bytes: int, hold: Hold = _hold_nothing) -> "Visit":
        """That of a visitor who has uploaded nothing yet; arguments as for `Uploads`."""
        _end_visits()
        return cls(Uploads(max_bytes, hold), secrets.token_urlsafe(16))

    @classmethod
    def again(cls, token: str) -> "Visit | None":
        """That of a visitor who comes back; None if there is none, or it ended too long ago."""
        _end_visits()
        with _lock:
            known = _visits.get(token)
        return None if known is None else cls(known.uploads, token)


@dataclasses.dataclass
class _Known:
    uploads: Uploads
    n_sessions: int = 0
    left_at: float = 0.0


_visits: dict[str, _Known] = {}  # by token


def _left(token: str) -> None:
    with _lock:
        if known := _visits.get(token):
            known.n_sessions -= 1
            known.left_at = time.monotonic()


def _end_visits() -> None:
    """Deletes what visitors hold who left too long ago."""
    before = time.monotonic() - LINGERS_S
    with _lock:
        over = [t for t, k in _visits.items() if not k.n_sessions and k.left_at < before]
        ended = [_visits.pop(token) for token in over]
    del ended  # and with them their files


def _named(run: AnyRun, name: str) -> AnyRun:
    if isinstance(run, ForeignRun):
        return dataclasses.replace(run, name=name)
    # A run of ours is called as its folder is.
    return checkpoint.move(run, run.path.with_name(name))


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _bytes_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # gone meanwhile
            pass
    return total


def _own_folder() -> tuple[Path, FileLock]:
    """A new folder that its owner alone can read, and the lock by which it is seen to be in use.

    What servers that are gone have left behind is deleted first.
    """
    user = os.getuid() if hasattr(os, "getuid") else ""
    # One visitor at a time: a folder whose lock is not held yet looks as one that was left behind.
    guard = FileLock(Path(tempfile.gettempdir()) / f".{_PREFIX}{user}.lock", thread_local=False)
    try:
        guard.acquire(timeout=10)
        _sweep()
    except (Timeout, OSError):  # it cannot be had: what was left behind stays
        pass
    try:
        root = Path(tempfile.mkdtemp(prefix=_PREFIX))
        held = lock.take(root / _LOCK)
        assert held is not None  # nobody else knows the folder
        return root, held
    finally:
        guard.release()


def _sweep() -> None:
    """Deletes what servers that are gone have left behind."""
    for root in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            is_ours = not hasattr(os, "getuid") or root.lstat().st_uid == os.getuid()
            if not is_ours or root.is_symlink() or not (root / _LOCK).exists():
                continue
            held = lock.take(root / _LOCK)
        except (CheckpointError, OSError):  # deleted at this moment
            continue
        if held:
            shutil.rmtree(root, ignore_errors=True)
            held.release()  # without which Windows keeps its file
            shutil.rmtree(root, ignore_errors=True)


def _forget(root: Path, held: FileLock) -> None:
    held.release()
    shutil.rmtree(root, ignore_errors=True)
    with _lock:
        _held.pop(str(root), None)
