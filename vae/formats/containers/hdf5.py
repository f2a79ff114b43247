"""HDF5 files, read by a process of its own (`hdf5_child`)."""

import importlib.util
import json
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vae.formats.containers import hdf5_child
from vae.formats.containers.surveyed import damaged
from vae.formats.refusal import SAVE_KERAS, Refusal, install

MAGIC = b"\x89HDF\r\n\x1a\n"
_SECONDS = 60
_MAX_JSON_BYTES = 64 * 2**20
_MAX_KEPT = 32


@dataclass(frozen=True)
class Array:
    """An array of floating point in the file.

    Attributes:
        path: of its groups and its name.
        shape: as in the file.
        address: where it begins, which tells in what order arrays were written.
    """

    path: tuple[str, ...]
    shape: tuple[int, ...]
    address: int


@dataclass(frozen=True)
class Listing:
    """What a file holds.

    Attributes:
        arrays: those of floating point.
        attributes: those that Keras writes, by the path of their group, "" for the file itself.
    """

    arrays: tuple[Array, ...]
    attributes: dict[str, dict[str, Any]]


def is_installed() -> bool:
    """Whether h5py is."""
    return importlib.util.find_spec("h5py") is not None


def listing(path: Path, name: Path | None = None) -> Listing:
    """What a file holds, without its numbers.

    Args:
        path: of the file.
        name: what it is called in sentences [path].

    Raises:
        CheckpointError: h5py is missing, or the file is damaged or does what weights never do.
    """
    with _child(path, "list", name or path) as (found, _):
        return found


_kept: OrderedDict[tuple[object, ...], Listing] = OrderedDict()
_kept_lock = threading.Lock()


def kept(path: Path, look: Callable[[], Listing]) -> Listing:
    """What `look` finds in a file, the last one again while the file stays as it is.

    A folder of checkpoints is listed often, and a process for each file takes its time.
    """
    there = path.stat()
    key = (path.absolute(), there.st_mtime_ns, there.st_size, there.st_ino)
    with _kept_lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    found = look()
    with _kept_lock:
        _kept[key] = found
        while len(_kept) > _MAX_KEPT:
            _kept.popitem(last=False)
    return found


def numbers(path: Path, name: Path | None = None) -> Iterator[tuple[Array, np.ndarray]]:
    """Every array with its numbers, float32. Raises as `listing`."""
    with _child(path, "numbers", name or path) as (found, file):
        for array in found.arrays:
            n = int(np.prod(array.shape, dtype=object))
            data = file.read(4 * n)
            if len(data) < 4 * n:
                raise damaged(name or path, "an array cannot be read")
            yield array, np.frombuffer(data, "<f4").reshape(array.shape)


@contextmanager
def _child(path: Path, what: str, name: Path) -> Iterator[tuple[Listing, BinaryIO]]:
    if not is_installed():
        raise Refusal(
            name,
            "is an HDF5 file, as Keras saves",
            "h5py, which reads it, is not here",
            install("h5py"),
        )
    with tempfile.TemporaryFile() as out:
        status = _run(path, what, out, name)
        out.seek(0)
        length = int.from_bytes(out.read(8), "little")
        if status or not 0 < length <= _MAX_JSON_BYTES:
            raise damaged(name, "the HDF5 library gave up")
        answer = json.loads(out.read(length))
        if "refused" in answer:
            raise Refusal(
                name,
                f"is an HDF5 file that is not opened: {answer['refused']}",
                "weights of Keras are stored without that",
                SAVE_KERAS,
            )
        if "damaged" in answer:
            raise damaged(name, answer["damaged"])
        arrays = tuple(
            Array(tuple(a["path"].split("/")), tuple(a["shape"]), a["address"])
            for a in answer["arrays"]
        )
        yield Listing(arrays, answer["attributes"]), out


def _run(path: Path, what: str, out: BinaryIO, name: Path) -> int:
    """Runs the child, whose answer goes to `out`; returns its exit status."""
    command = [sys.executable, "-P", hdf5_child.__file__, str(path.absolute()), what]
    quiet = subprocess.DEVNULL
    try:
        return subprocess.run(
            command, stdin=quiet, stdout=out, stderr=quiet, timeout=_SECONDS, check=False
        ).returncode
    except subprocess.TimeoutExpired as error:
        raise damaged(name, f"not read after {_SECONDS} s") from error
