"""What a safetensors file says of itself: eight bytes, how long its header is, and that, JSON.

A header is read only after its length was looked at: the library makes an object of every name in
it, and of every word of the metadata.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
from safetensors import SafetensorError

from vae.errors import UserError

MAX_BYTES = 4 * 2**20  # names and shapes of MAX_TENSORS take less
MAX_TENSORS = 10_000
_MAX_AXES = 8
_LENGTH = 8  # bytes


class HeaderError(UserError):
    """A header that is none, or damaged; the message is a clause on why."""


class LongHeader(HeaderError):
    """A header beyond the limits.

    Attributes:
        found, most: what it has, and what is read at most, each as a clause.
    """

    def __init__(self, found: str, most: str) -> None:
        super().__init__(f"{found}; {most}")
        self.found, self.most = found, most


@dataclass(frozen=True)
class Header:
    """What a file holds.

    Attributes:
        shapes: of every tensor, by name.
        dtypes: the same tensors' types, in the format's words: "F32".
        metadata: the file's own words.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str]


def begins(head: bytes) -> bool:
    """Whether a file that begins so, with ten bytes or more, is one of safetensors.

    A length can begin as anything, also as a pickle does; but none is so long that it takes more
    than four of its eight bytes.
    """
    return head[4:_LENGTH] == bytes(4) and head[_LENGTH : _LENGTH + 1] == b"{"


def check_length(head: bytes) -> None:
    """Looks at the first eight bytes of a file.

    Raises:
        HeaderError: they are no length, so that it is another kind of file.
        LongHeader: the header is too long.
    """
    n = int.from_bytes(head[:_LENGTH], "little")
    if n >= 2**32:
        raise HeaderError("it does not begin with the length of a header")
    if n > MAX_BYTES:
        raise LongHeader(f"has a header of {n:,} bytes", f"at most {MAX_BYTES:,} are read")


def read(path: Path) -> Header:
    """The header of a file.

    Raises:
        OSError: the file cannot be read.
        HeaderError: it is no such file, or damaged; LongHeader if it says more than weights need.
    """
    with open(path, "rb") as file:
        check_length(file.read(_LENGTH))
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            if len(names) > MAX_TENSORS:
                raise LongHeader(
                    f"holds {len(names):,} tensors", f"at most {MAX_TENSORS:,} are read"
                )
            slices = {name: file.get_slice(name) for name in names}
            metadata = dict(file.metadata() or {})
        shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
        dtypes = {name: part.get_dtype() for name, part in slices.items()}
    except (SafetensorError, KeyError, TypeError) as error:
        raise HeaderError(" ".join(str(error).split())) from error
    if (most := max(map(len, shapes.values()), default=0)) > _MAX_AXES:
        raise LongHeader(f"holds a tensor of {most:,} axes", f"at most {_MAX_AXES} are read")
    return Header(shapes, dtypes, metadata)
