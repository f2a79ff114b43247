"""One array of an .npz or .npy: its header is read, its values stream by."""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from vae.data.dataset import DatasetError, reason
from vae.data.own import limits
from vae.data.own.files import amount, shown

_CHUNK_BYTES = 16_000_000
_MOST_HEADER_BYTES = 100_000


class Array:
    """One array of an .npz, or that of an .npy: its header is read, its values stream by."""

    def __init__(self, name: str, open_: Callable[[], IO[bytes]], n_bytes: int) -> None:
        self.name, self._open = name, open_
        where = f"the array {shown(name)!r}" if name else "it"
        with self._opened() as file:
            try:
                head = io.BytesIO(file.read(_MOST_HEADER_BYTES))  # numpy reads any length at once
                version = np.lib.format.read_magic(head)
                headers = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }
                shape, is_fortran, dtype = headers[version](head)
            except Exception as error:  # numpy's parser lets out whatever it meets
                raise DatasetError(
                    f"{where} has no usable header ({shown(reason(error))})"
                ) from error
            self._begin = head.tell()
        if any(side < 0 for side in shape):
            raise DatasetError(f"{where} has the shape {str(shape)[:60]}")
        self.shape: tuple[int, ...] = shape
        self.dtype: np.dtype[Any] = dtype
        self.n_bytes = math.prod(shape) * dtype.itemsize
        self.is_fortran = is_fortran and len(shape) > 1
        if self.is_object:  # their pickle is as long as it likes, and never read
            return
        # Before anything is unpacked: what the header promises, and what there can be.
        if self.n_bytes > limits.MAX_UNPACKED_BYTES:
            raise DatasetError(
                f"{where} says it holds {amount(self.n_bytes)}; "
                f"at most {amount(limits.MAX_UNPACKED_BYTES)}"
            )
        if self.n_bytes > n_bytes - self._begin:
            raise DatasetError(
                f"{where} is cut short: {amount(self.n_bytes)} are promised, "
                f"{amount(max(0, n_bytes - self._begin))} are there"
            )

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        file = self._open()
        try:
            yield file
        finally:
            if self.name:  # a member of an archive; the other one is not ours to close
                file.close()

    def chunks(self) -> Iterator[np.ndarray]:
        """Rows, in pieces of bounded size."""
        row_bytes = max(1, self.n_bytes // max(1, self.shape[0]))
        step = max(1, _CHUNK_BYTES // row_bytes)
        with self._opened() as file:
            file.read(self._begin)
            for first in range(0, self.shape[0], step):
                n = min(step, self.shape[0] - first)
                data = file.read(n * row_bytes)
                if len(data) < n * row_bytes:
                    raise DatasetError(f"the array {shown(self.name)!r} is cut short")
                yield np.frombuffer(data, dtype=self.dtype).reshape(n, *self.shape[1:])

    @property
    def is_object(self) -> bool:
        """Whether it holds Python objects, in a pickle."""
        return self.dtype.hasobject

    @property
    def is_numeric(self) -> bool:
        """Whether its values are single real numbers."""
        return self.dtype.kind in "buif" and self.dtype.names is None

    @property
    def may_be_images(self) -> bool:
        """Whether its shape is (N, H, W), (N, H, W, C) or (N, C, H, W)."""
        if not self.is_numeric or 0 in self.shape or len(self.shape) not in (3, 4):
            return False
        return len(self.shape) == 3 or self.shape[3] in (1, 3, 4) or self.shape[1] in (1, 3, 4)

    @property
    def may_be_flat_images(self) -> bool:
        """Whether its rows may be square images."""
        return self.is_numeric and 0 not in self.shape and square_side(self.shape) > 0

    @property
    def may_be_labels(self) -> bool:
        """Whether it is one column of numbers or words."""
        is_column = len(self.shape) == 1 or (len(self.shape) == 2 and self.shape[1] == 1)
        return is_column and self._is_short

    @property
    def may_be_one_hot(self) -> bool:
        """Whether its rows may have a 1 at the place of their class."""
        is_table = len(self.shape) == 2 and 2 <= self.shape[1] <= limits.MAX_CLASSES
        return is_table and self.is_numeric and not self.is_fortran

    @property
    def may_be_names(self) -> bool:
        """Whether it is a list of words, not too long a one."""
        is_list = len(self.shape) == 1 and 0 < self.shape[0] <= limits.MAX_CLASSES
        return is_list and self.dtype.kind in "US" and self._is_short

    @property
    def _is_short(self) -> bool:
        small = self.dtype.itemsize <= 400 and self.dtype.names is None
        return self.dtype.kind in "buifUS" and small

    @property
    def no_images(self) -> str:
        """Why its values are no images, as a part of a sentence."""
        what = f"{shown(self.name)} " if self.name else "it "
        if self.is_object:
            return f"{what}holds Python objects, which could run code; save numbers"
        if not self.is_numeric:
            kinds = {"c": "complex numbers", "U": "text", "S": "text", "M": "dates", "V": "records"}
            kind = kinds.get(self.dtype.kind, "no numbers")
            return f"{what}holds {kind} ({str(self.dtype)[:30]})"
        if 0 in self.shape:
            return f"{what}is empty, of shape {self.shape}"
        return f"{what}has the shape {str(self.shape)[:60]}"


def square_side(shape: tuple[int, ...]) -> int:
    """The side of the square images that the rows of a 2-D array may be; 0 if they are none."""
    if len(shape) != 2 or shape[1] < 16:
        return 0
    side = math.isqrt(shape[1])
    return side if side * side == shape[1] else 0
