"""Folders, zips and single files from outside: what is in them, before anything is unpacked."""

import os
import stat
import struct
import zipfile
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

from vae.data.dataset import DatasetError
from vae.data.own import limits
from vae.data.own.member_names import names_of
from vae.names import composed, is_shown, printable

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
# Folders of thumbnails and of what was thrown away, by macOS, Synology and Windows.
_SYSTEM_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}
_LOCATOR, _RECORD = 20, 56  # bytes of the two that Zip64 puts before the end record
PathOrFile = str | Path | BinaryIO  # an open file has a `name`


@dataclass(frozen=True)
class Entry:
    """A picture in a folder or zip: its name relative to that, with slashes, and how to open it."""

    name: str
    n_bytes: int
    open: Callable[[], IO[bytes]]


class Listing:
    """The files of a folder or zip, told apart by their names.

    Attributes:
        entries: the pictures.
        bad: (name, reason) of the pictures that cannot be used.
        n_other: files that are no pictures.
        note: a sentence on how the names were read; mostly empty.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.bad: list[tuple[str, str]] = []
        self.n_other = 0
        self.note = ""

    def take(
        self, name: str, n_bytes: int, open_: Callable[[], IO[bytes]], problem: str = ""
    ) -> None:
        """Adds a file to the pictures, to those that cannot be used or to the others."""
        if os.path.splitext(name)[1].lower() not in SUFFIXES:
            self.n_other += 1
            return
        problem = name_problem(name) or problem
        if n_bytes > limits.MAX_PICTURE_BYTES:
            problem = problem or f"{amount(n_bytes)}; at most {amount(limits.MAX_PICTURE_BYTES)}"
        if problem:
            self.bad.append((shown(name), problem))
        else:
            self.entries.append(Entry(composed(name), n_bytes, open_))


def list_folder(root: Path) -> Listing:
    """The pictures of a folder and those below it. Raises DatasetError: there are too many."""
    root, listing, n_files = root.resolve(), Listing(), 0
    pending = deque([root])
    while pending:
        place = pending.popleft()
        try:
            items = os.scandir(place)
        except OSError as error:
            listing.bad.append((shown(place.relative_to(root).as_posix()), str(error.strerror)))
            continue
        with items:
            for item in items:
                n_files += 1
                if n_files > limits.MAX_FILES:
                    raise DatasetError(
                        f"{shown(root.name)} holds more than {limits.MAX_FILES:,} files and "
                        "folders; take fewer, or put the images into one .npy"
                    )
                if is_hidden([item.name]):
                    continue
                path = Path(item.path)
                name, problem = path.relative_to(root).as_posix(), ""
                if item.is_symlink():
                    target = Path(os.path.realpath(path))
                    if not target.is_relative_to(root):
                        listing.bad.append((shown(name), "a link that leads out of the folder"))
                        continue
                    if target.is_dir():
                        listing.bad.append((shown(name), "a link to a folder; none is followed"))
                        continue
                elif item.is_dir(follow_symlinks=False):
                    pending.append(path)
                    continue
                if not item.is_file():
                    problem = "not a file"
                n_bytes = 0 if problem else item.stat().st_size
                listing.take(name, n_bytes, partial(open, path, "rb"), problem)
    return listing


def list_zip(archive: zipfile.ZipFile, name: str) -> Listing:
    """The pictures of a zip. Raises DatasetError: it unpacks to too much."""
    listing = Listing()
    members: dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    names, page = names_of(infos)
    for info, member in zip(infos, names, strict=True):
        parts = [part for part in member.split("/") if part not in ("", ".")]
        if member.endswith("/") or is_hidden(parts):
            continue
        # Of two files of one name the later one counts, as when they are unpacked.
        members[member if member.startswith("/") else "/".join(parts)] = info
    for member, info in members.items():
        problem = member_problem(info)
        if not problem and stat.S_ISLNK(info.external_attr >> 16):
            problem = "a link"
        listing.take(member, info.file_size, lambda info=info: archive.open(info), problem)
    check_unpacked(sum(entry.n_bytes for entry in listing.entries), name)
    if page:
        listing.note = f"The zip does not say how its names are written; they were read as {page}."
    return listing


def is_hidden(parts: list[str]) -> bool:
    """Whether a path's parts lead to what programs keep for themselves, such as
    .ipynb_checkpoints, ._1.png and __MACOSX."""
    return any(
        (part.startswith(".") and part not in (".", "..")) or part.lower() in _SYSTEM_FOLDERS
        for part in parts
    )


def check_unpacked(n_bytes: int, name: str) -> None:
    """Raises DatasetError: what a zip says that it holds is too much."""
    if n_bytes > limits.MAX_UNPACKED_BYTES:
        raise DatasetError(
            f"{name} unpacks to {amount(n_bytes)}; at most {amount(limits.MAX_UNPACKED_BYTES)}"
        )


def member_problem(info: zipfile.ZipInfo) -> str:
    """Why an entry of a zip is not unpacked; empty if it may be."""
    if info.flag_bits & 1:
        return "encrypted"
    # Of the others Python unpacks as much as they hold at once, whatever size they claim.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "packed by another method than deflate"
    return ""


def check_zip(file: IO[bytes], name: str) -> None:
    """Holds a zip's own account of its table of contents against the limits, before it is parsed.

    Python's parser makes an object of every entry, whatever the count at the end says.
    """
    n_bytes = file.seek(0, os.SEEK_END)
    length = min(n_bytes, 65_557 + _LOCATOR)  # the end record and its longest comment
    file.seek(n_bytes - length)
    tail = file.read(length)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        raise DatasetError(f"{name} is cut short or no zip archive")
    n_entries, directory = struct.unpack("<HL", tail[at + 10 : at + 16])
    end = n_bytes - length + at
    if tail[max(0, at - _LOCATOR) : at].startswith(b"PK\x06\x07"):
        end -= _LOCATOR + _RECORD
        file.seek(max(0, end))
        record = file.read(_RECORD)
        if end < 0 or len(record) < _RECORD or not record.startswith(b"PK\x06\x06"):
            raise DatasetError(f"{name} is cut short or no zip archive")
        n_entries, directory = struct.unpack("<QQ", record[32:48])
    if n_entries > limits.MAX_FILES or directory > limits.MAX_DIRECTORY_BYTES:
        raise DatasetError(f"{name} holds more than {limits.MAX_FILES:,} files; take fewer")
    begin = end - directory
    if begin < 0:
        raise DatasetError(f"{name} is cut short or no zip archive")
    file.seek(begin)
    if file.read(directory).count(b"PK\x01\x02") > limits.MAX_FILES:
        raise DatasetError(f"{name} holds more than {limits.MAX_FILES:,} files; take fewer")
    file.seek(0)


def open_file(source: PathOrFile, stack: ExitStack) -> IO[bytes]:
    """The open file, at its beginning; one that is opened here is closed with the stack."""
    if isinstance(source, str | Path):
        if not stat.S_ISREG(os.stat(source).st_mode):  # reading a pipe would wait for ever
            raise DatasetError(f"{shown(str(source))} is neither a folder nor a file")
        return stack.enter_context(open(source, "rb"))
    return rewound(source)


def rewound(file: IO[bytes]) -> IO[bytes]:
    """The file, at its beginning."""
    file.seek(0)
    return file


def name_of(source: PathOrFile) -> str:
    """The last part of its path, as it may stand in a sentence."""
    path = source if isinstance(source, str | Path) else getattr(source, "name", "the file")
    return shown(Path(str(path)).name or Path(str(path)).resolve().name)


def name_problem(name: str) -> str:
    """Why the name of a file from outside is not used; empty if it may be."""
    if name.startswith("/") or ".." in name.split("/"):
        return "its name leads out of the folder"
    return text_problem(name)


def text_problem(text: str) -> str:
    """Why a name from outside is not used as a text; empty if it may be."""
    return "" if all(map(is_shown, text)) else "its name has characters that cannot be shown"


def shown(name: str) -> str:
    """A name from outside as it may stand in a sentence."""
    text = printable(name)
    return text if len(text) <= 80 else f"{text[:40]}...{text[-37:]}"


def amount(n_bytes: int) -> str:
    """Bytes as they stand in a sentence."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
