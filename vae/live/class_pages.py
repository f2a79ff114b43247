"""The exported pages that a class is given: packed files in a hidden folder beside the checkpoints.

Each has a short code, by which every server over that folder finds it. A page holds the model and
the points itself, so it needs neither the checkpoint nor the server once it is on a phone.
"""

import gzip
import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vae.names import printable
from vae.runs import checkpoint, files
from vae.runs.files import CheckpointError

FOLDER = ".class-pages"
_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # none is taken for another
_LENGTH = 6
_IS_CODE = re.compile(f"[{_LETTERS}]{{{_LENGTH}}}")
_MOST_NOTE_BYTES = 4_000


@dataclass(frozen=True)
class ClassPage:
    """One that is here.

    Attributes:
        code: by which it is asked for.
        title: what it shows.
        run: the checkpoint's name, which may be gone.
        path: its file, packed by gzip.
        n_bytes: of that file.
        since: when it was given, in seconds since 1970.
    """

    code: str
    title: str
    run: str
    path: Path
    n_bytes: int
    since: float


def add(page: str, title: str, run: str, maker: str = "", root: Path | None = None) -> ClassPage:
    """Puts a page there. The same page of the same maker keeps its code.

    Args:
        page: what `export.page` gives.
        title, run: as of `ClassPage`.
        maker: who gives it; goes into the code alone.
        root: the folder of checkpoints; None: the one that is configured.

    Raises:
        CheckpointError: it cannot be written.
    """
    data = page.encode()
    code = _code(hashlib.sha256(maker.encode() + b"\0" + data).digest())
    path = (root or checkpoint.folder()) / FOLDER / _name(code)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot write {path.parent}: {error.strerror}") from error
    files.write_atomic(path, gzip.compress(data, 6, mtime=0))
    files.write_atomic(_note(path), json.dumps({"title": title, "run": run}).encode())
    return ClassPage(code, title, run, path, *_facts(path))


def find(code: str) -> ClassPage | None:
    """The page with that code, in small letters or large; None if there is none."""
    code = code.lower()
    if not _IS_CODE.fullmatch(code):
        return None
    path = checkpoint.folder() / FOLDER / _name(code)
    try:
        return ClassPage(code, *_told(path), path, *_facts(path))
    except OSError:
        return None


def all_pages() -> list[ClassPage]:
    """Every page there is, the newest first."""
    there = (checkpoint.folder() / FOLDER).glob(_name("*"))
    found = [page for path in there if (page := find(path.name.partition(".")[0]))]
    return sorted(found, key=lambda page: -page.since)


def take_down(page: ClassPage) -> None:
    """Nobody finds it from then on; a phone that has it keeps it.

    Raises:
        CheckpointError: it cannot be removed.
    """
    try:
        page.path.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot remove {page.path}: {error.strerror}") from error
    with suppress(OSError):
        _note(page.path).unlink(missing_ok=True)


def _name(code: str) -> str:
    return f"{code}.html.gz"


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name.partition('.')[0]}.json")


def _facts(path: Path) -> tuple[int, float]:
    found = path.stat()
    return found.st_size, found.st_mtime


def _told(path: Path) -> tuple[str, str]:
    try:
        told = files.parse_json(files.read_text(_note(path), _MOST_NOTE_BYTES), "the note")
        return printable(str(told["title"])), printable(str(told["run"]))
    except (CheckpointError, KeyError, TypeError):
        return "a page", "a model"  # its note is gone; the page is as good


def _code(digest: bytes) -> str:
    number, letters = int.from_bytes(digest[:8], "big"), ""
    for _ in range(_LENGTH):
        number, at = divmod(number, len(_LETTERS))
        letters += _LETTERS[at]
    return letters
