"""Files of a run: written whole or not at all, and read within bounds."""

import json
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from vae.errors import UserError
from vae.names import printable
from vae.runs import headers
from vae.runs.headers import LongHeader

MAX_JSON_BYTES = 1_000_000


class CheckpointError(UserError):
    """A run folder cannot be read or written; the message says which file and what is wrong."""


def temporary(path: Path) -> Path:
    """A hidden name beside it that no other writer has, in this process or in another."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file so that at any instant either the old one or the new one is there, whole.

    Raises:
        CheckpointError: the disk is full, the folder read-only or gone; nothing is left behind.
    """
    draft = temporary(path)
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise CheckpointError(
            f"cannot write {path}: {error.strerror}; make room there, or choose another folder"
        ) from error


def read(path: Path, at_most: int | None = None) -> bytes:
    """The file's bytes. Raises CheckpointError if it is no file, too long or cannot be read."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for ever
            raise CheckpointError(f"cannot read {path}: it is not a file")
        if at_most is not None and found.st_size > at_most:
            raise CheckpointError(f"{path} is far longer than anything a run writes")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def read_text(path: Path, at_most: int | None = None) -> str:
    """As `read`, decoded."""
    try:
        return read(path, at_most).decode()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not a text file") from error


def parse_json(text: str, where: str, at_most: int = MAX_JSON_BYTES) -> Any:
    """What a JSON text holds. Raises CheckpointError, which begins with `where`."""
    if len(text) > at_most:
        raise CheckpointError(f"{where} is far longer than anything a run writes")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} is not valid JSON: {str(error)[:100]}") from error


def read_tensors(
    path: Path, load: Callable[[bytes], dict[str, Any]], at_most: int | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """A safetensors file's tensors and its metadata, of one moment: it may be replaced meanwhile.

    Args:
        path: the file.
        load: safetensors.torch.load or safetensors.numpy.load.
        at_most: bytes.

    Raises:
        CheckpointError: it is no such file, or damaged.
    """
    data = read(path, at_most)
    try:
        headers.check_length(data[:8])
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise not_safetensors(path, error) from error
    return tensors, header.get("__metadata__") or {}


def not_safetensors(path: Path, error: Exception) -> CheckpointError:
    """The refusal of a file, with the reason that was met."""
    if isinstance(error, LongHeader):
        return CheckpointError(f"{path} {error.found}; {error.most}, and no run has more")
    # The reason may quote the file, and the file can hold anything.
    reason = printable(str(error)[:100])
    return CheckpointError(
        f"{path} is truncated or not a safetensors file ({reason}); "
        "copy it again from where it came"
    )
