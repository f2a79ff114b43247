"""What a visitor sends as a checkpoint: files, those of a folder, or a zip archive of either."""

import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from vae.formats.containers import archives
from vae.formats.containers.surveyed import damaged
from vae.formats.containers.tensors import PICKLED, SUFFIXES
from vae.formats.refusal import OTHER_FILE, SAVE_WEIGHTS, Refusal, Step
from vae.formats.wording import listed, quoted
from vae.runs import checkpoint
from vae.runs.status import STATUS

_BESIDE = (".json", ".jsonl")
_PICKLED = (*PICKLED, ".joblib")  # taken, so that opening those without weights says what to do
_ZIP, _OF_TORCH = ".zip", "/data.pkl"  # the end of a name in what torch.save writes, a zip, too
_MOST_FILES = 2000
_PIECE = 2**20
_ONE = Step("choose the files of one checkpoint")


@dataclass(frozen=True)
class Sent:
    """A file of a checkpoint.

    Attributes:
        path: as it was sent: with its folders, and with whatever else somebody put there.
        n_bytes: how many it has.
        write: writes it to an open file.
    """

    path: str
    n_bytes: int
    write: Callable[[BinaryIO], None]

    @property
    def name(self) -> str:
        """The last part of its path, of harmless characters only: it is used to write."""
        last = re.split(r"[/\\]", self.path)[-1]
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.")[-80:].lstrip("-.")
        return plain or "checkpoint"

    @property
    def folders(self) -> list[str]:
        """Those that it lay in, the outermost first."""
        return re.split(r"[/\\]", self.path)[:-1]


def taken(files: Sequence[BinaryIO], max_bytes: int) -> list[Sent]:
    """What belongs to a checkpoint of what was sent.

    Of a folder with others in it, and of an archive, these are files of the one folder that holds
    weights; of several the outermost.

    Args:
        files: open, each with a `name`, which of a folder's files says where in it they are.
        max_bytes: of what is taken, together.

    Raises:
        CheckpointError: no weights are among them, or two of one name, or they are too large.
    """
    sent = [Sent(str(file.name), _size(file), partial(_copy, file)) for file in files]
    if len(sent) == 1 and sent[0].name.lower().endswith(_ZIP):
        sent = _unpacked(sent[0], files[0])
    weights = [one for one in sent if one.name.lower().endswith((*SUFFIXES, *_PICKLED))]
    if not weights:
        raise Refusal(
            "the upload",
            f"has {listed([one.name for one in sent], 3)}",
            "no file of weights is among them, which end in " + ", ".join(SUFFIXES),
            OTHER_FILE,
        ).for_visitor()
    folder = min((one.folders for one in weights), key=len)
    found = [one for one in sent if one.folders == folder and _is_taken(one.name)]
    names = [one.name for one in found]
    if twice := [name for name in names if names.count(name) > 1]:
        has = f"has two files called {quoted(twice[0])}"
        raise Refusal("the upload", has, "a checkpoint has one of each", _ONE)
    if (total := sum(one.n_bytes for one in found)) > max_bytes:
        raise Refusal(
            "the upload",
            f"has {total:,} bytes",
            f"at most {max_bytes:,} are taken, so without the optimiser's state",
            SAVE_WEIGHTS,
        )
    return found


def _unpacked(archive: Sent, stream: BinaryIO) -> list[Sent]:
    """The files in an archive; itself, under torch's ending, where torch.save wrote it."""
    try:
        with archives.opened(Path(archive.name), stream) as opened:
            parts = [part for part in opened.infolist() if not part.is_dir()]
    except Refusal as error:
        raise error.for_visitor() from error
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise damaged(Path(archive.name), error).for_visitor() from error
    if any(part.filename.endswith(_OF_TORCH) for part in parts):
        return [Sent(f"{archive.path[: -len(_ZIP)]}.pt", archive.n_bytes, archive.write)]
    if len(parts) > _MOST_FILES:
        has = f"has {len(parts):,} files"
        raise Refusal("the upload", has, f"at most {_MOST_FILES:,} are read", _ONE)
    return [
        Sent(part.filename, part.file_size, partial(_unpack, stream, part.filename))
        for part in parts
    ]


def _unpack(stream: BinaryIO, name: str, target: BinaryIO) -> None:
    try:
        with archives.opened(Path(name), stream) as opened, opened.open(name) as source:
            shutil.copyfileobj(source, target, _PIECE)  # no more than the size that was told
    except Exception as error:  # encrypted, of a method that is not known here, cut short
        raise damaged(Path(name), error) from error


def _copy(stream: BinaryIO, target: BinaryIO) -> None:
    stream.seek(0)
    shutil.copyfileobj(stream, target, _PIECE)


def _size(file: BinaryIO) -> int:
    file.seek(0, 2)
    return file.tell()


def _is_taken(name: str) -> bool:
    """Whether a file is part of a checkpoint: a README beside it may come along, and is left out.

    So is a training's state: others could go on with it, and it is as large as all the rest. How
    far a training was is said of a process elsewhere: no run that came by an upload is in progress.
    """
    known = (*SUFFIXES, *_BESIDE, *_PICKLED)
    return name.lower().endswith(known) and name not in (checkpoint.TRAINER, STATUS)
