"""Arrays of an .npz or .npy as images; their values stream by."""

import math
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from vae.data.dataset import DatasetError, pixels_of
from vae.data.own import limits
from vae.data.own.array import Array, square_side
from vae.data.own.contents import Survey, usual_size
from vae.data.own.csv_labels import labels_in_order
from vae.data.own.files import (
    check_unpacked,
    is_hidden,
    member_problem,
    name_problem,
    shown,
)
from vae.data.own.labels import counted
from vae.data.own.member_names import names_of
from vae.data.own.members import choose_images, choose_labels
from vae.data.own.table import Table
from vae.data.own.values import Extent


class Arrays:
    """The images of an .npz or .npy, by row."""

    def __init__(self, name: str, kind: str, arrays: list[Array], table: Table | None) -> None:
        found, notes = choose_images(name, arrays)
        self.bad: list[tuple[str, str]] = []
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
        if table is not None:
            self.labels, told = labels_in_order(table, N)
        else:
            self.labels, told = choose_labels(found, [a for a in arrays if a not in found])
        notes += told
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
    arrays, (members, _) = [], names_of(infos)
    for info, member in zip(infos, members, strict=True):
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
        side = square_side(shape)
        return 1, side, side, "flat"
    if len(shape) == 3:
        return 1, shape[1], shape[2], "none"
    if shape[3] in (1, 3, 4):
        return shape[3], shape[1], shape[2], "last"
    return shape[1], shape[2], shape[3], "first"


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
