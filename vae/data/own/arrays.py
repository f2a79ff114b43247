"""Arrays of an .npz or .npy as images; their values stream by."""

import math
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from PIL import Image

from vae.data.dataset import DatasetError, pixels_of, reason
from vae.data.own import limits
from vae.data.own.contents import Survey, usual_size
from vae.data.own.files import (
    amount,
    check_unpacked,
    is_hidden,
    member_name,
    member_problem,
    name_problem,
    shown,
)
from vae.data.own.labels import UNLABELLED, checked_labels, counted, labels_in_order
from vae.data.own.values import Extent

_CHUNK_BYTES = 16_000_000


class Array:
    """One array of an .npz, or that of an .npy: its header is read, its values stream by."""

    def __init__(self, name: str, open_: Callable[[], IO[bytes]], n_bytes: int) -> None:
        self.name, self._open = name, open_
        where = f"the array {shown(name)!r}" if name else "it"
        with self._opened() as file:
            try:
                version = np.lib.format.read_magic(file)
                headers = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }
                shape, is_fortran, dtype = headers[version](file)
            except Exception as error:  # numpy's parser lets out whatever it meets
                raise DatasetError(
                    f"{where} has no usable header ({shown(reason(error))})"
                ) from error
            self._begin = file.tell()
        if dtype.hasobject:
            raise DatasetError(f"{where} holds Python objects, which could run code; save numbers")
        if any(side < 0 for side in shape):
            raise DatasetError(f"{where} has the shape {str(shape)[:60]}")
        self.shape: tuple[int, ...] = shape
        self.dtype: np.dtype[Any] = dtype
        self.n_bytes = math.prod(shape) * dtype.itemsize
        self.is_fortran = is_fortran and len(shape) > 1
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
    def is_numeric(self) -> bool:
        """Whether its values are single numbers."""
        return self.dtype.kind in "buif" and self.dtype.names is None

    @property
    def may_be_images(self) -> bool:
        """Whether its shape is (N, H, W), (N, H, W, C) or (N, C, H, W)."""
        if not self.is_numeric or 0 in self.shape or len(self.shape) not in (3, 4):
            return False
        return len(self.shape) == 3 or self.shape[3] in (1, 3, 4) or self.shape[1] in (1, 3)

    @property
    def may_be_labels(self) -> bool:
        """Whether it is one column of numbers or words."""
        is_column = len(self.shape) == 1 or (len(self.shape) == 2 and self.shape[1] == 1)
        small = self.dtype.itemsize <= 400 and self.dtype.names is None
        return is_column and self.dtype.kind in "buifUS" and small


class Arrays:
    """The images of an .npz or .npy, by row."""

    def __init__(
        self, name: str, kind: str, arrays: list[Array], rows: list[list[str]] | None
    ) -> None:
        found = [array for array in arrays if array.may_be_images]
        flat = [a for a in arrays if a.is_numeric and _square_side(a.shape) and 0 not in a.shape]
        notes, self.bad = [], []
        if not found and flat:
            found = flat
            notes.append(f"Rows of {flat[0].shape[1]:,} values are taken for square images.")
        if not found:
            held = ", ".join(f"{shown(a.name)} {a.shape}".strip() for a in arrays[:5]) or "nothing"
            raise DatasetError(
                f"{name} has no images: it holds {held[:200]}; expected an array of shape "
                "(N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3"
            )
        self._arrays = found
        N = sum(array.shape[0] for array in found)
        if N > limits.MAX_IMAGES:
            raise DatasetError(f"{name} holds {N:,} images; at most {limits.MAX_IMAGES:,}")
        layouts = {_layout(array.shape) for array in found}
        if len(layouts) > 1:
            shapes = ", ".join(f"{shown(a.name)} {a.shape}" for a in found[:5])
            raise DatasetError(f"{name} holds images of several shapes: {shapes[:200]}; keep one")
        (C, H, W, self._order) = layouts.pop()
        if H * W > limits.MAX_PIXELS:
            raise DatasetError(
                f"{name}: {H:,} x {W:,} pixels; at most {limits.MAX_PIXELS / 1e6:.0f} million"
            )
        if any(array.is_fortran for array in found):
            raise DatasetError(f"{name} is in Fortran order; save np.ascontiguousarray(images)")
        self._extent = _extent(name, found)
        notes.append(self._extent.told())
        if len(found) > 1:
            joined = ", ".join(shown(array.name) for array in found[:6])
            notes.append(f"Joined: {joined}; any split of their own is not kept.")
        if rows is not None:
            self.labels = labels_in_order(rows, N)
        else:
            self.labels, note = _labels_of_arrays(found, [a for a in arrays if a not in found])
            notes.append(note)
        sizes = Counter({(H, W): N})
        self.survey = Survey(
            name=name,
            kind=kind,
            n_images=N,
            classes=counted(self.labels),
            sizes=dict(sizes),
            n_sizes=1,
            is_grey=C == 1,
            n_bytes=sum(array.n_bytes for array in found),
            image_shape=(1 if C == 1 else 3, *usual_size(sizes)),
            notes=tuple(filter(None, notes)),
        )

    def name(self, row: int) -> str:
        """What an image is called in a message."""
        return f"{self.survey.name}, image {row}"

    def images(
        self, image_shape: tuple[int, int, int], rows: Iterable[int]
    ) -> Iterator[tuple[int, np.ndarray | str]]:
        """(row, uint8 (C, H, W)) of those rows."""
        wanted, last, row = set(rows), max(rows, default=-1), 0
        for array in self._arrays:
            for chunk in array.chunks():
                if row > last:
                    return
                for values in chunk:
                    if row in wanted:
                        yield row, self._image(values, image_shape)
                    row += 1

    def _image(self, values: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
        """One image as uint8 (C, H, W)."""
        pixels = self._extent.stretched(values)
        if self._order == "flat":
            side = math.isqrt(pixels.size)
            pixels = pixels.reshape(side, side)
        if self._order == "first":
            pixels = pixels.transpose(1, 2, 0)
        if pixels.ndim == 3 and pixels.shape[-1] == 4:  # on black
            alpha = pixels[..., 3:].astype(np.uint16)
            pixels = ((pixels[..., :3] * alpha + 127) // 255).astype(np.uint8)
        if pixels.ndim == 3 and pixels.shape[-1] == 1:
            pixels = pixels[..., 0]
        C, H, W = image_shape
        if pixels.shape == ((H, W) if C == 1 else (H, W, C)):
            return pixels[None] if C == 1 else pixels.transpose(2, 0, 1)
        return pixels_of(Image.fromarray(np.ascontiguousarray(pixels)), image_shape)


def members_of(archive: zipfile.ZipFile, name: str) -> list[Array]:
    """The arrays of an .npz. Raises DatasetError: a member is none, or unpacks to too much."""
    infos = sorted(archive.infolist(), key=lambda info: info.filename)
    check_unpacked(sum(info.file_size for info in infos), name)
    arrays = []
    for info in infos:
        member, _ = member_name(info)
        if is_hidden(member.split("/")):  # of an .npz that was packed anew
            continue
        if problem := name_problem(member) or member_problem(info):
            raise DatasetError(f"{name}: {shown(member)} cannot be used: {problem}")
        if member.endswith(".npy"):
            stem = member.removesuffix(".npy")
            arrays.append(Array(stem, lambda info=info: archive.open(info), info.file_size))
    return arrays


def _layout(shape: tuple[int, ...]) -> tuple[int, int, int, str]:
    """(C, H, W) of the images in an array of that shape, and where their channels stand."""
    if len(shape) == 2:
        side = _square_side(shape)
        return 1, side, side, "flat"
    if len(shape) == 3:
        return 1, shape[1], shape[2], "none"
    if shape[3] in (1, 3, 4):
        return shape[3], shape[1], shape[2], "last"
    return shape[1], shape[2], shape[3], "first"


def _square_side(shape: tuple[int, ...]) -> int:
    """The side of the square images that the rows of a 2-D array may be; 0 if they are none."""
    if len(shape) != 2 or shape[1] < 16:
        return 0
    side = math.isqrt(shape[1])
    return side if side * side == shape[1] else 0


def _extent(name: str, arrays: list[Array]) -> Extent:
    """The values that occur in them. Raises DatasetError: some are no number, or all are equal."""
    lowest, highest = math.inf, -math.inf
    for array in arrays:
        for chunk in array.chunks():
            lowest = min(lowest, float(chunk.min()))
            highest = max(highest, float(chunk.max()))
            if not (math.isfinite(lowest) and math.isfinite(highest)):
                raise DatasetError(f"{name} holds values that are NaN or infinite")
    extent = Extent(
        lowest,
        highest,
        is_whole=all(array.dtype.kind in "bui" for array in arrays),
        is_bytes=all(array.dtype == np.uint8 for array in arrays),
    )
    if extent.lowest == extent.highest:
        raise DatasetError(f"{name} holds the value {lowest:g} everywhere")
    return extent


def _labels_of_arrays(images: list[Array], others: list[Array]) -> tuple[list[str], str]:
    """The labels that stand beside the images in an .npz, and a sentence if they are not used."""
    N = sum(array.shape[0] for array in images)
    columns = [a for a in others if a.may_be_labels]
    if len(columns) > len(images):  # those that are called so
        called = ("label", "target", "class", "y")
        columns = [a for a in columns if a.name.lower().startswith(called)] or columns[:1]
    if len(columns) > len(images):
        columns = columns[: len(images)]
    if [a.shape[0] for a in columns] != [a.shape[0] for a in images]:
        told = ", ".join(f"{shown(a.name)} {a.shape}" for a in others[:4])
        note = f"Not used for labels, for their number or shape: {told}." if others else ""
        return [UNLABELLED] * N, note
    labels: list[str] = []
    for array in columns:
        for chunk in array.chunks():
            labels += [_as_label(value) for value in chunk.reshape(len(chunk)).tolist()]
        if len(set(labels)) > limits.MAX_CLASSES:
            return [UNLABELLED] * N, (
                f"{shown(array.name)} is not used for labels: it has more than "
                f"{limits.MAX_CLASSES} different values."
            )
    return checked_labels(labels), ""


def _as_label(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or UNLABELLED
