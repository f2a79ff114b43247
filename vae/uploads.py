"""Checkpoints that one visitor has uploaded: held for that visitor alone, until they are kept.

Every visitor has a folder of their own that nobody else is told of, and that is deleted when their
visit ends. What is kept is copied into the folder of checkpoints under a name that is free, so
that nothing there is ever replaced. Only the weights and plain tables beside them are taken, and
they are opened as any checkpoint is (`vae.formats`): without running anything they bring along.
"""

import dataclasses
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from vae import checkpoint, formats
from vae.checkpoint import CheckpointError
from vae.formats import AnyRun, ForeignRun
from vae.formats.tensors import SUFFIXES

MAX_BYTES = 200_000_000  # of one upload
MAX_OF_VISITOR = 8  # uploads at once
MAX_HELD_BYTES = 2_000_000_000  # of all visitors together
MAX_FOLDER_BYTES = 50_000_000_000  # of the folder of checkpoints, beyond which nothing is kept

_BESIDE = (".json", ".jsonl")
_REFUSED = (".pkl", ".pickle", ".joblib")  # taken, so that opening them says what to do instead
_KEPT = ".kept"  # marks a folder that came by an upload: see `is_protected`
_MARK = " (yours)"  # behind the name, so that it is nobody else's

# What ships with the project: nobody who visits may take it away.
_SHIPPED = frozenset({"digits-2d", "sprites-2d", "mnist-2d", "mnist-10d", "fashion-2d"})

_held_lock = threading.Lock()
_held: dict[str, int] = {}  # bytes by visitor's folder


class Uploads:
    """One visitor's uploads.

    Attributes:
        runs: by name, the newest last.
    """

    def __init__(self) -> None:
        self.runs: dict[str, AnyRun] = {}
        self._kept: set[Path] = set()
        self._folders: dict[str, Path] = {}  # by name
        self._count = 0
        self._root = Path(tempfile.mkdtemp(prefix="elbo-room-"))  # readable by its owner alone
        weakref.finalize(self, _forget, self._root)

    def add(self, files: Sequence[BinaryIO]) -> AnyRun:
        """Takes a checkpoint: a file of weights, or that and the JSON files beside it.

        Args:
            files: open, each with a `name`; what belongs to no checkpoint is left out.

        Returns:
            The run, whose name no run of the server has.

        Raises:
            CheckpointError: too many, too large, or no checkpoint that can be opened; nothing of
                it is left then.
        """
        if len(self.runs) >= MAX_OF_VISITOR:
            raise CheckpointError(
                f"{len(self.runs)} uploads are open, and no more than {MAX_OF_VISITOR} can be; "
                "remove one"
            )
        names = [_plain_name(file.name) for file in files]
        _check_names(names)
        taken = [(name, file) for name, file in zip(names, files, strict=True) if _is_taken(name)]
        names, files = [name for name, _ in taken], [file for _, file in taken]
        total = sum(_size(file) for file in files)
        if total > MAX_BYTES:
            raise CheckpointError(
                f"the files have {total:,} bytes, and an upload at most {MAX_BYTES:,}; save the "
                "weights alone, without the optimiser's state, or put the file into the server's "
                "folder of checkpoints"
            )
        self._count += 1
        folder = self._root / str(self._count)
        try:
            self._reserve(total)
            run = self._opened(folder, names, files)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            self._reserve()
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
                folder is full or cannot be written; the upload then stays as it is.
        """
        if name not in self.runs:
            raise CheckpointError(f"there is no upload named {name!r}; upload it again")
        root = checkpoint.folder()
        path = root / checkpoint.check_name(kept_name)
        checkpoint.check_free(path)
        if _bytes_of(root) + _bytes_of(self._folders[name]) > MAX_FOLDER_BYTES:
            raise CheckpointError(
                f"{root} holds {MAX_FOLDER_BYTES:,} bytes already; ask who runs this server"
            )
        draft = None
        try:
            root.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=root))
            draft.chmod(0o755)
            for file in _files(self._folders[name]):
                shutil.copyfile(file, draft / file.name)
            (draft / _KEPT).touch()
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

    def _opened(self, folder: Path, names: list[str], files: Sequence[BinaryIO]) -> AnyRun:
        stem = PurePosixPath(names[0]).stem if len(names) == 1 else "checkpoint"
        place = folder / (stem if len(names) > 1 else "")
        place.mkdir(parents=True, mode=0o700)
        for name, file in zip(names, files, strict=True):
            file.seek(0)
            with open(place / name, "wb") as written:
                shutil.copyfileobj(file, written, 1 << 20)
        run = formats.open_run(place if len(names) > 1 else place / names[0])
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
        with _held_lock:
            others = sum(n for root, n in _held.items() if root != str(self._root))
            if more and others + mine + more > MAX_HELD_BYTES:
                raise CheckpointError(
                    "this server holds as many uploads as it can at the moment; try again later"
                )
            _held[str(self._root)] = mine + more


def is_protected(path: Path) -> bool:
    """Whether visitors may not rename or delete a checkpoint: it ships, or somebody uploaded it."""
    return path.name in _SHIPPED or (path / _KEPT).exists()


def _named(run: AnyRun, name: str) -> AnyRun:
    if isinstance(run, ForeignRun):
        return dataclasses.replace(run, name=name)
    # A run of ours is called as its folder is.
    return checkpoint.move(run, run.path.with_name(name))


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise CheckpointError(f"two files are called {names[0]!r}; upload one checkpoint at a time")
    weights = [name for name in names if Path(name).suffix.lower() in (*SUFFIXES, *_REFUSED)]
    if not weights:
        raise CheckpointError(
            f"{', '.join(names[:3]) or 'nothing'}: no file of weights is among them, which end in "
            + ", ".join(SUFFIXES)
        )


def _is_taken(name: str) -> bool:
    """Whether a file is part of a checkpoint: a README beside it may come along, and is left out.

    So is a training's state: others could go on with it, and it is as large as all the rest.
    """
    known = (*SUFFIXES, *_BESIDE, *_REFUSED)
    return Path(name).suffix.lower() in known and name != checkpoint.TRAINER


def _plain_name(name: str) -> str:
    """The last part of a file's name, of harmless characters only: it is used to write."""
    last = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.")[-80:].lstrip("-.")
    return plain or "checkpoint"


def _size(file: BinaryIO) -> int:
    file.seek(0, 2)
    return file.tell()


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


def _forget(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    with _held_lock:
        _held.pop(str(root), None)
