"""Zip archives whose table of contents is bounded before it is parsed, with one part of a name."""

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from vae.formats.containers.surveyed import MAX_PARTS, too_many
from vae.formats.refusal import SAVE_WEIGHTS, Refusal
from vae.formats.wording import quoted

_MAX_DIRECTORY_BYTES = 4 * 2**20  # of which MAX_PARTS take less


class _LongDirectory(Exception):
    pass


class _Guarded:
    """A file that gives no more at once than a table of contents may take, until it is trusted."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.is_trusted = file, False

    def read(self, size: int = -1) -> bytes:
        """As of any file. Raises _LongDirectory."""
        if self.is_trusted:
            return self._file.read(size)
        most = _MAX_DIRECTORY_BYTES
        data = self._file.read(most + 1 if size < 0 else min(size, most + 1))
        if len(data) > most:
            raise _LongDirectory
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def opened(path: Path, stream: BinaryIO | None = None) -> Iterator[zipfile.ZipFile]:
    """An archive, to be read.

    Args:
        path: of it.
        stream: of its bytes, which stays open; None to open the path.

    Raises:
        CheckpointError: it has too many parts.
        OSError, ValueError, zipfile.BadZipFile: as `zipfile.ZipFile`.
    """
    with ExitStack() as stack:
        file = _Guarded(stack.enter_context(open(path, "rb")) if stream is None else stream)
        try:
            archive = zipfile.ZipFile(file)  # pyright: ignore[reportCallIssue, reportArgumentType]
        except _LongDirectory:
            raise Refusal(
                path,
                f"is a zip archive whose table of contents has more than "
                f"{_MAX_DIRECTORY_BYTES:,} bytes",
                f"at most {MAX_PARTS:,} parts are read",
                SAVE_WEIGHTS,
            ) from None
        file.is_trusted = True
        with archive:
            if len(archive.infolist()) > MAX_PARTS:
                raise too_many(path, len(archive.infolist()))
            yield archive


def check_names(path: Path, names: Iterable[str]) -> None:
    """Raises CheckpointError if two parts have names that some reader takes for one.

    torch finds a part without regard to case; others drop "./" or take a backslash for a slash.
    What is followed here would then not be what they read.
    """
    found: dict[str, str] = {}
    for name in names:
        steps = name.replace("\\", "/").casefold().split("/")
        bare = "/".join(step for step in steps if step not in ("", "."))
        if ".." in steps or bare in found:
            other = f" and {quoted(found[bare])}" if bare in found else ""
            raise Refusal(
                path,
                f"is a zip archive with the part {quoted(name)}{other}",
                "each part must have one name, and that of no other in another spelling",
                SAVE_WEIGHTS,
            )
        found[bare] = name
