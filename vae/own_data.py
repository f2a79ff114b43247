"""Data of one's own -> a data set like the others: a folder or zip of pictures, an .npz or .npy.

    survey    what is in it, from headers alone: counts, classes, sizes, what cannot be used
    preview   a few images of each class as they would be used
    read      a Dataset of it
    add       keeps that in the data folder, where `vae.datasets` finds it by its name

What is done to the images, and said wherever they are described: each is turned as its EXIF
orientation says, laid on black where it is transparent, made grey or colour, and stretched or
shrunk to one size (`datasets.pixels_of`; the ratio of the sides is not kept). Values become 0 to
255.

Whatever a file claims is held against the limits below before anything of it is unpacked, and no
name that comes from outside is ever used to write: a set is kept under a name of letters, digits
and a few signs. Links that lead out of a folder are not followed. Nothing is unpickled.
"""

import csv
import io
import json
import math
import os
import stat
import struct
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image

from vae import datasets
from vae.datasets import Dataset, DatasetError, Source

# Limits. With them, reading takes less than 1 GB of memory whatever it is given.
MAX_FILES = 65_000  # of any kind in a folder or zip; a zip of more is of another format (Zip64)
MAX_IMAGES = 100_000  # in the arrays of an .npz or .npy
MAX_ARCHIVE_BYTES = 2_000_000_000  # a .zip, .npz or .npy as it lies there
MAX_UNPACKED_BYTES = 4_000_000_000  # what it says that it holds
MAX_DIRECTORY_BYTES = 20_000_000  # the table of contents of a zip
MAX_PICTURE_BYTES = 50_000_000  # the file of one picture
MAX_PIXELS = 20_000_000  # one picture
MAX_TOTAL_PIXELS = 10_000_000_000  # all of them
MAX_CSV_BYTES = 20_000_000
MAX_CLASSES = 100
MAX_SIDE = 256  # of the images that are made
MAX_KEPT_BYTES = 200_000_000  # the images that are made
MAX_OWN_BYTES = 2_000_000_000  # all sets that are kept
MIN_IMAGES = 10  # with fewer, one in five makes no held-out set
MAX_TOLD = 50  # bad files that are listed by name

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
ARCHIVES = (".zip", ".npz", ".npy")
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # none that runs other programs
UNLABELLED = "unlabelled"
_KEPT_SIDE = 64  # images of one size that are no larger stay as they are
_USUAL_SIDE = 32  # others become as large
_SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation"}
_CHUNK_BYTES = 16_000_000
_ORIENTATION = 0x0112  # EXIF's tag, and what makes each of its values upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Progress = Callable[[int, int], None]
From = str | Path | BinaryIO  # an open file has a `name`


class BadFiles(DatasetError):
    """Some files cannot be used, and nobody has agreed to go on without them.

    Attributes:
        bad: (name, reason) of the first MAX_TOLD of them.
        n_bad, n_good: how many cannot be used, and how many can.
    """

    def __init__(self, bad: list[tuple[str, str]], n_good: int) -> None:
        self.bad, self.n_bad, self.n_good = tuple(bad[:MAX_TOLD]), len(bad), n_good
        told = "; ".join(f"{name}: {reason}" for name, reason in self.bad[:3])
        more = f"; and {self.n_bad - 3:,} more" if self.n_bad > 3 else ""
        super().__init__(
            f"{self.n_bad:,} of {self.n_bad + n_good:,} files cannot be used ({told}{more}); mend "
            "them, or agree to go on without them"
        )


@dataclass(frozen=True)
class Survey:
    """What is in a folder or file, before any of it is used.

    Attributes:
        name: of the folder or file.
        kind: "folder", "zip", "npz" or "npy".
        n_images: that look usable; a picture that is cut short shows only when it is decoded.
        classes: images of each class, by name.
        sizes: images of each (height, width), the most frequent first, at most 5.
        n_sizes: different sizes in all.
        is_grey: whether all are.
        n_bytes: of the images, packed as they are.
        bad: (name, reason) of what cannot be used, at most MAX_TOLD.
        n_bad: how many cannot be used in all.
        n_other: files that are no pictures, left alone.
        image_shape: (C, H, W) that they get unless another one is asked for.
        notes: sentences on how the file was understood.
    """

    name: str
    kind: str
    n_images: int
    classes: dict[str, int]
    sizes: dict[tuple[int, int], int]
    n_sizes: int
    is_grey: bool
    n_bytes: int
    bad: tuple[tuple[str, str], ...]
    n_bad: int
    n_other: int
    image_shape: tuple[int, int, int]
    notes: tuple[str, ...]

    def treatment(self, image_shape: tuple[int, int, int] | None = None) -> str:
        """What `read` does to the images, in a sentence or two."""
        C, H, W = image_shape or self.image_shape
        done = [] if self.kind in ("npz", "npy") else ["turned as EXIF says", "laid on black"]
        if self.is_grey != (C == 1):
            done.append("made grey" if C == 1 else "given three equal channels")
        if set(self.sizes) == {(H, W)}:
            done.append(f"kept at {H} x {W}")
        else:
            kept = self.n_sizes == 1 and _have_one_ratio(next(iter(self.sizes)), (H, W))
            how = "resized" if kept else "stretched or shrunk, the ratio of the sides not kept,"
            done.append(f"{how} to {H} x {W} by Pillow's bilinear filter")
        colour = "grey" if C == 1 else "colour"
        said = f"{', '.join(done)}; {colour}, values 0 to 255."
        return " ".join([said[0].upper() + said[1:], *self.notes])


def survey(source: From, labels_csv: From | None = None) -> Survey:
    """What is in a folder of pictures, a .zip of them, an .npz or an .npy.

    Of pictures only the headers are read; the values of arrays are passed over once, for their
    range.

    Args:
        source: a path, or an open file with a name.
        labels_csv: as in `read`.

    Raises:
        DatasetError: it cannot be used at all, or exceeds a limit; the message says which.
    """
    with _opened(source, labels_csv) as collection:
        return collection.survey


def preview(
    source: From,
    image_shape: tuple[int, int, int] | None = None,
    labels_csv: From | None = None,
    per_class: int = 8,
    most_classes: int = 10,
) -> dict[str, np.ndarray]:
    """The first images of each class as `read` makes them; those that cannot be read are left out.

    Returns:
        By class name, at most most_classes of them: uint8, shape (n, C, H, W), n <= per_class.

    Raises:
        DatasetError: as in `survey`.
    """
    with _opened(source, labels_csv) as collection:
        shape = _check_shape(image_shape or collection.survey.image_shape)
        shown = list(collection.survey.classes)[:most_classes]
        wanted = dict.fromkeys(shown, per_class)
        rows = []
        for i, label in enumerate(collection.labels):
            if wanted.get(label, 0) > 0:
                wanted[label] -= 1
                rows.append(i)
        found: dict[str, list[np.ndarray]] = {name: [] for name in shown}
        for i, image in collection.images(shape, rows):
            if not isinstance(image, str):
                found[collection.labels[i]].append(image)
        return {name: np.stack(images) for name, images in found.items() if images}


def read(
    source: From,
    image_shape: tuple[int, int, int] | None = None,
    labels_csv: From | None = None,
    n_bad_agreed: int | None = 0,
    progress: Progress | None = None,
) -> Dataset:
    """The images of a folder, .zip, .npz or .npy, in the order of their names or rows.

    A folder or zip gives each picture the class of its subfolder; one with no subfolders has one
    class. Arrays of images are (N, H, W), (N, H, W, C) or (N, C, H, W), and labels in the same
    .npz have the same length.

    Args:
        source: a path, or an open file with a name.
        image_shape: (C, H, W) to make of each image [`Survey.image_shape`].
        labels_csv: labels instead: rows of `file,label`, or of one label per image in order, with
            or without a line of titles.
        n_bad_agreed: so many bad files are left out without an error; None: however many.
        progress: called with (images done, images in all).

    Returns:
        images uint8, shape (N, C, H, W); split "all"; `note` says what was done.

    Raises:
        BadFiles: more files are bad than was agreed to.
        DatasetError: it cannot be used at all, or exceeds a limit; the message says which.
    """
    with _opened(source, labels_csv) as collection:
        told = collection.survey
        shape = _check_shape(image_shape or told.image_shape)
        N = len(collection.labels)
        n_bytes = N * math.prod(shape)
        if n_bytes > MAX_KEPT_BYTES:
            raise DatasetError(
                f"{N:,} images of {shape[1]} x {shape[2]} {'grey' if shape[0] == 1 else 'colour'} "
                f"pixels are {_size(n_bytes)}; at most {_size(MAX_KEPT_BYTES)}: choose a smaller "
                "size, or fewer images"
            )
        bad = list(collection.bad)
        images, labels = np.empty((N, *shape), dtype=np.uint8), []
        for i, image in collection.images(shape, range(N)):
            if isinstance(image, str):
                bad.append((_told(collection.names[i]), image))
            else:
                images[len(labels)] = image
                labels.append(collection.labels[i])
            if progress:
                progress(i + 1, N)
    if n_bad_agreed is not None and len(bad) > n_bad_agreed:
        raise BadFiles(bad, len(labels))
    _check_count(len(labels), told.name)
    class_names = _class_names(labels)
    numbers = {name: number for number, name in enumerate(class_names)}
    note = f"{len(labels):,} images from {told.name}. {told.treatment(shape)}"
    if bad:
        note += f" {len(bad):,} bad {'file' if len(bad) == 1 else 'files'} left out."
    return Dataset(
        name=told.name,
        split="all",
        images=torch.from_numpy(images[: len(labels)]),
        labels=torch.tensor([numbers[label] for label in labels], dtype=torch.int64),
        class_names=class_names,
        note=note,
    )


def add(
    source: From,
    name: str,
    image_shape: tuple[int, int, int] | None = None,
    labels_csv: From | None = None,
    n_bad_agreed: int | None = 0,
    progress: Progress | None = None,
) -> Source:
    """Reads data of one's own and keeps it as the data set of that name, for `datasets.load`.

    Args:
        source, image_shape, labels_csv, n_bad_agreed, progress: as in `read`.
        name: as in `datasets.check_own_name`; none that there is already.

    Returns:
        As `datasets.describe(name)`.

    Raises:
        BadFiles, DatasetError: as in `read`; or the name cannot be used, the data folder is full or
            cannot be written. Nothing is left behind then.
    """
    path = datasets.own_path(name)
    _check_free(path)
    _check_room(path.parent)
    data = read(source, image_shape, labels_csv, n_bad_agreed, progress)
    held_out = datasets.is_held_out(len(data))
    order = np.concatenate([np.flatnonzero(~held_out), np.flatnonzero(held_out)])
    metadata = {
        "format": datasets.OWN_FORMAT,
        "n_train": str(int((~held_out).sum())),
        "class_names": json.dumps(data.class_names),
        "from": data.name,
        "note": data.note,
    }
    _write(path, data.images.numpy(), data.labels.numpy(), order, metadata)
    return datasets.describe(name)


def remove(name: str) -> None:
    """Deletes a data set of one's own. Runs that were trained on it stay.

    Raises:
        DatasetError: there is none of that name, or it cannot be deleted.
    """
    path = datasets.own_path(name)
    try:
        path.unlink()
    except OSError as error:
        raise DatasetError(f"cannot delete {path}: {error.strerror}") from error


def names() -> list[str]:
    """The data sets of one's own, in alphabetical order."""
    return datasets.own_names()


def parse_size(text: str) -> tuple[int, int]:
    """Height and width as a person types them: "28x28", or "28" for a square.

    Raises:
        DatasetError: it is not that.
    """
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) not in (1, 2) or not all(p.strip().isdecimal() and len(p) < 9 for p in parts):
        raise DatasetError(f"size (={text[:40]!r}) must be HEIGHTxWIDTH in pixels, as in 28x28")
    sides = [int(part) for part in parts]
    return sides[0], sides[-1]


# What both kinds of collections have in common: `labels`, `names` of the images for messages,
# `bad`, `survey`, and `images(image_shape, rows)`: (row, uint8 (C, H, W) or what is wrong with it).


@contextmanager
def _opened(source: From, labels_csv: From | None) -> Iterator["_Pictures | _Arrays"]:
    """The images of a folder or file; whatever it is made of, only a DatasetError leaves."""
    name = _name_of(source)
    with ExitStack() as stack:
        try:
            rows = None if labels_csv is None else _read_csv(labels_csv)
            if isinstance(source, str | Path) and Path(source).is_dir():
                yield _Pictures(name, "folder", _listed_folder(Path(source)), rows)
                return
            if isinstance(source, str | Path) and not Path(source).exists():
                raise FileNotFoundError
            suffix = Path(name).suffix.lower()
            if suffix not in ARCHIVES:
                raise DatasetError(
                    f"{name} is neither a folder nor one of: {', '.join(ARCHIVES)}; put pictures "
                    "into a folder or a .zip, one subfolder per class"
                )
            file = _file(source, stack)
            n_bytes = file.seek(0, os.SEEK_END)
            if n_bytes > MAX_ARCHIVE_BYTES:
                raise DatasetError(
                    f"{name} has {_size(n_bytes)}; at most {_size(MAX_ARCHIVE_BYTES)}"
                )
            file.seek(0)
            if suffix == ".npy":
                yield _Arrays(name, "npy", [_Array("", lambda: _rewound(file), n_bytes)], rows)
                return
            _check_zip(file, name)
            archive = stack.enter_context(zipfile.ZipFile(file))
            if suffix == ".zip":
                yield _Pictures(name, "zip", _listed_zip(archive, name), rows)
            else:
                yield _Arrays(name, "npz", _members(archive, name), rows)
        except DatasetError:
            raise
        except FileNotFoundError:
            raise DatasetError(f"there is no folder or file {source}") from None
        except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise DatasetError(f"{name} cannot be read: {_reason(error)}") from error


@dataclass(frozen=True)
class _Entry:
    """A picture in a folder or zip: its name relative to that, with slashes, and how to open it."""

    name: str
    n_bytes: int
    open: Callable[[], BinaryIO]


class _Listing:
    """The files of a folder or zip, told apart by their names."""

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self.bad: list[tuple[str, str]] = []
        self.n_other = 0

    def take(
        self, name: str, n_bytes: int, open_: Callable[[], BinaryIO], problem: str = ""
    ) -> None:
        if os.path.splitext(name)[1].lower() not in SUFFIXES:
            self.n_other += 1
            return
        problem = _name_problem(name) or problem
        if n_bytes > MAX_PICTURE_BYTES:
            problem = problem or f"{_size(n_bytes)}; at most {_size(MAX_PICTURE_BYTES)}"
        if problem:
            self.bad.append((_told(name), problem))
        else:
            self.entries.append(_Entry(name, n_bytes, open_))


def _listed_folder(root: Path) -> _Listing:
    root, listing, n_files = root.resolve(), _Listing(), 0
    pending = deque([root])
    while pending:
        place = pending.popleft()
        try:
            items = os.scandir(place)
        except OSError as error:
            listing.bad.append((_told(place.relative_to(root).as_posix()), str(error.strerror)))
            continue
        with items:
            for item in items:
                n_files += 1
                if n_files > MAX_FILES:
                    raise DatasetError(
                        f"{_told(root.name)} holds more than {MAX_FILES:,} files and folders; take "
                        "fewer, or put the images into one .npy"
                    )
                if item.name.startswith(".") or item.name == "__MACOSX":
                    continue
                path = Path(item.path)
                name, problem = path.relative_to(root).as_posix(), ""
                if item.is_symlink():
                    target = Path(os.path.realpath(path))
                    if not target.is_relative_to(root):
                        listing.bad.append((_told(name), "a link that leads out of the folder"))
                        continue
                    if target.is_dir():
                        listing.bad.append((_told(name), "a link to a folder; none is followed"))
                        continue
                elif item.is_dir(follow_symlinks=False):
                    pending.append(path)
                    continue
                if not item.is_file():
                    problem = "not a file"
                n_bytes = 0 if problem else item.stat().st_size
                listing.take(name, n_bytes, partial(open, path, "rb"), problem)
    return listing


def _listed_zip(archive: zipfile.ZipFile, name: str) -> _Listing:
    listing = _Listing()
    for info in archive.infolist():
        parts = info.filename.split("/")
        if info.is_dir() or any(p == "__MACOSX" or p.startswith("._") for p in parts):
            continue
        problem = _member_problem(info)
        if not problem and stat.S_ISLNK(info.external_attr >> 16):
            problem = "a link"
        listing.take(info.filename, info.file_size, lambda info=info: archive.open(info), problem)
    n_bytes = sum(entry.n_bytes for entry in listing.entries)
    if n_bytes > MAX_UNPACKED_BYTES:
        raise DatasetError(
            f"{name} unpacks to {_size(n_bytes)}; at most {_size(MAX_UNPACKED_BYTES)}"
        )
    return listing


class _Pictures:
    """The pictures of a folder or zip, by name."""

    def __init__(
        self, name: str, kind: str, listing: _Listing, rows: list[list[str]] | None
    ) -> None:
        sizes: Counter[tuple[int, int]] = Counter()
        self._entries, self.bad = [], listing.bad
        is_grey, n_pixels, notes = True, 0, []
        for entry in sorted(listing.entries, key=lambda entry: entry.name):
            try:
                with entry.open() as file:
                    H, W, grey = _header(file)
            except Exception as error:  # whatever Pillow and the zip's own parser meet
                self.bad.append((_told(entry.name), _problem(error)))
                continue
            n_pixels += H * W
            if n_pixels > MAX_TOTAL_PIXELS:
                raise DatasetError(
                    f"{name} holds more than {MAX_TOTAL_PIXELS / 1e9:.0f} billion pixels; take "
                    "fewer pictures, or smaller ones"
                )
            sizes[H, W] += 1
            is_grey = is_grey and grey
            self._entries.append(entry)
        self.names = [entry.name for entry in self._entries]
        if not self.names:
            first = f" ({self.bad[0][0]}: {self.bad[0][1]})" if self.bad else ""
            raise DatasetError(
                f"{name} holds no picture that can be used{first}; pictures end in one of: "
                + ", ".join(SUFFIXES)
            )
        if rows is None:
            self.labels = _labels_of_folders(self.names)
        else:
            self.labels, note = _labels_of_files(self.names, rows)
            notes.append(note)
        self.survey = Survey(
            name=name,
            kind=kind,
            n_images=len(self.names),
            classes=_counted(self.labels),
            sizes=dict(sizes.most_common(5)),
            n_sizes=len(sizes),
            is_grey=is_grey,
            n_bytes=sum(entry.n_bytes for entry in self._entries),
            bad=tuple(self.bad[:MAX_TOLD]),
            n_bad=len(self.bad),
            n_other=listing.n_other,
            image_shape=(1 if is_grey else 3, *_usual_size(sizes)),
            notes=tuple(notes),
        )

    def images(
        self, image_shape: tuple[int, int, int], rows: Any
    ) -> Iterator[tuple[int, np.ndarray | str]]:
        for i in rows:
            try:
                # Whole in memory: Pillow goes to and fro, which in a zip means unpacking again.
                with self._entries[i].open() as file:
                    data = file.read(MAX_PICTURE_BYTES + 1)
                pixels: np.ndarray | str = _decoded(io.BytesIO(data), image_shape)
            except Exception as error:
                pixels = _problem(error)
            yield i, pixels


def _header(file: BinaryIO) -> tuple[int, int, bool]:
    """Height and width as they will be seen, and whether it is grey; no pixel is decoded."""
    with Image.open(file, formats=_FORMATS) as picture:
        W, H = _checked(picture).size
        is_grey = _is_grey(picture)
        # The EXIF of a PNG may stand behind its pixels.
        if picture.format != "PNG" and picture.getexif().get(_ORIENTATION) in (5, 6, 7, 8):
            return W, H, is_grey
        return H, W, is_grey


def _decoded(file: BinaryIO, image_shape: tuple[int, int, int]) -> np.ndarray:
    """One picture as uint8 (C, H, W)."""
    with Image.open(file, formats=_FORMATS) as picture:
        _checked(picture).load()
        orientation = picture.getexif().get(_ORIENTATION)
        flat = _on_black(_in_8_bits(picture))
        if orientation in _TURNS:
            flat = flat.transpose(_TURNS[orientation])
        return datasets.pixels_of(flat, image_shape)


class _Refused(ValueError):
    """A file is not used; the message is the reason as it is told."""


def _checked(picture: Image.Image) -> Image.Image:
    W, H = picture.size
    if W * H > MAX_PIXELS:
        raise _Refused(f"{W:,} x {H:,} pixels; at most {MAX_PIXELS / 1e6:.0f} million")
    return picture


def _is_grey(picture: Image.Image) -> bool:
    if picture.mode == "P" and picture.palette is not None:
        colours = np.frombuffer(picture.palette.palette, dtype=np.uint8)
        step = len(picture.palette.mode)
        colours = colours[: len(colours) // step * step].reshape(-1, step)[:, :3]
        return bool((colours == colours[:, :1]).all())
    return picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;16")


def _in_8_bits(picture: Image.Image) -> Image.Image:
    """A decoded picture whose channels have more than 8 bits with 8 of them, else itself."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture)
    lowest, highest = values.min(), values.max()
    if picture.mode == "F":
        if not (np.isfinite(lowest) and np.isfinite(highest)) or lowest < 0 or highest > 255:
            raise _Refused(f"its values are {lowest:g} to {highest:g}, neither 0 to 1 nor 0 to 255")
        values = np.rint(values * (255 if highest <= 1 else 1))
    elif lowest < 0 or highest > 65535:
        raise _Refused(f"its values are {lowest} to {highest}; at most 16 bits")
    else:
        values = (values.astype(np.uint32) + 128) // 257  # 65535 becomes 255
    return Image.fromarray(values.astype(np.uint8))


def _on_black(picture: Image.Image) -> Image.Image:
    """A picture of mode L or RGB: what is transparent shows black."""
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        was_grey = _is_grey(picture)
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        black.alpha_composite(picture)
        return black.convert("L" if was_grey else "RGB")
    if picture.mode in ("L", "RGB"):
        return picture
    return picture.convert("L" if _is_grey(picture) else "RGB")


class _Array:
    """One array of an .npz, or that of an .npy: its header is read, its values stream by."""

    def __init__(self, name: str, open_: Callable[[], BinaryIO], n_bytes: int) -> None:
        self.name, self._open = name, open_
        where = f"the array {_told(name)!r}" if name else "it"
        with self._opened() as file:
            try:
                version = np.lib.format.read_magic(file)
                headers = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }
                shape, is_fortran, dtype = headers[version](file)
            except Exception as error:  # numpy's parser lets out whatever it meets
                raise DatasetError(f"{where} has no usable header ({_reason(error)})") from error
            self._begin = file.tell()
        if dtype.hasobject:
            raise DatasetError(f"{where} holds Python objects, which could run code; save numbers")
        if any(side < 0 for side in shape):
            raise DatasetError(f"{where} has the shape {str(shape)[:60]}")
        self.shape, self.dtype = shape, dtype
        self.n_bytes = math.prod(shape) * dtype.itemsize
        self.is_fortran = is_fortran and len(shape) > 1
        # Before anything is unpacked: what the header promises, and what there can be.
        if self.n_bytes > MAX_UNPACKED_BYTES:
            raise DatasetError(
                f"{where} says it holds {_size(self.n_bytes)}; at most {_size(MAX_UNPACKED_BYTES)}"
            )
        if self.n_bytes > n_bytes - self._begin:
            raise DatasetError(
                f"{where} is cut short: {_size(self.n_bytes)} are promised, "
                f"{_size(max(0, n_bytes - self._begin))} are there"
            )

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
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
                    raise DatasetError(f"the array {_told(self.name)!r} is cut short")
                yield np.frombuffer(data, dtype=self.dtype).reshape(n, *self.shape[1:])

    @property
    def is_numeric(self) -> bool:
        return self.dtype.kind in "buif" and self.dtype.names is None

    @property
    def may_be_images(self) -> bool:
        """Whether its shape is (N, H, W), (N, H, W, C) or (N, C, H, W)."""
        if not self.is_numeric or 0 in self.shape or len(self.shape) not in (3, 4):
            return False
        return len(self.shape) == 3 or self.shape[3] in (1, 3, 4) or self.shape[1] in (1, 3)

    @property
    def may_be_labels(self) -> bool:
        is_column = len(self.shape) == 1 or (len(self.shape) == 2 and self.shape[1] == 1)
        small = self.dtype.itemsize <= 400 and self.dtype.names is None
        return is_column and self.dtype.kind in "buifUS" and small


class _Arrays:
    """The images of an .npz or .npy, by row."""

    def __init__(
        self, name: str, kind: str, arrays: list[_Array], rows: list[list[str]] | None
    ) -> None:
        found = [array for array in arrays if array.may_be_images]
        flat = [a for a in arrays if a.is_numeric and _square_side(a.shape) and 0 not in a.shape]
        notes, self.bad = [], []
        if not found and flat:
            found = flat
            notes.append(f"Rows of {flat[0].shape[1]:,} values are taken for square images.")
        if not found:
            held = ", ".join(f"{_told(a.name)} {a.shape}".strip() for a in arrays[:5]) or "nothing"
            raise DatasetError(
                f"{name} has no images: it holds {held[:200]}; expected an array of shape "
                "(N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3"
            )
        self._arrays = found
        N = sum(array.shape[0] for array in found)
        if N > MAX_IMAGES:
            raise DatasetError(f"{name} holds {N:,} images; at most {MAX_IMAGES:,}")
        layouts = {_layout(array.shape) for array in found}
        if len(layouts) > 1:
            shapes = ", ".join(f"{_told(a.name)} {a.shape}" for a in found[:5])
            raise DatasetError(f"{name} holds images of several shapes: {shapes[:200]}; keep one")
        (C, H, W, self._order) = layouts.pop()
        if H * W > MAX_PIXELS:
            raise DatasetError(
                f"{name}: {H:,} x {W:,} pixels; at most {MAX_PIXELS / 1e6:.0f} million"
            )
        if any(array.is_fortran for array in found):
            raise DatasetError(f"{name} is in Fortran order; save np.ascontiguousarray(images)")
        self.names = _Numbered(name, N)
        self._scale, scaling = _scale(name, found)
        notes.append(scaling)
        if len(found) > 1:
            joined = ", ".join(_told(array.name) for array in found[:6])
            notes.append(f"Joined: {joined}; any split of their own is not kept.")
        if rows is not None:
            self.labels = _labels_in_order(rows, N)
        else:
            self.labels, note = _labels_of_arrays(found, [a for a in arrays if a not in found])
            notes.append(note)
        sizes = Counter({(H, W): N})
        self.survey = Survey(
            name=name,
            kind=kind,
            n_images=N,
            classes=_counted(self.labels),
            sizes=dict(sizes),
            n_sizes=1,
            is_grey=C == 1,
            n_bytes=sum(array.n_bytes for array in found),
            bad=(),
            n_bad=0,
            n_other=0,
            image_shape=(1 if C == 1 else 3, *_usual_size(sizes)),
            notes=tuple(filter(None, notes)),
        )

    def images(
        self, image_shape: tuple[int, int, int], rows: Any
    ) -> Iterator[tuple[int, np.ndarray | str]]:
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
        pixels = self._scale(values)
        if self._order == "flat":
            side = math.isqrt(pixels.size)
            pixels = pixels.reshape(side, side)
        if self._order == "first":
            pixels = pixels.transpose(1, 2, 0)
        if pixels.ndim == 3 and pixels.shape[2] == 4:  # on black
            alpha = pixels[..., 3:].astype(np.uint16)
            pixels = ((pixels[..., :3] * alpha + 127) // 255).astype(np.uint8)
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[..., 0]
        C, H, W = image_shape
        if pixels.shape == ((H, W) if C == 1 else (H, W, C)):
            return pixels[None] if C == 1 else pixels.transpose(2, 0, 1)
        return datasets.pixels_of(Image.fromarray(np.ascontiguousarray(pixels)), image_shape)


class _Numbered:
    """Names of rows for messages, made when they are asked for."""

    def __init__(self, name: str, n: int) -> None:
        self._name, self._n = name, n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: int) -> str:
        return f"{self._name}, image {i}"


def _member_problem(info: zipfile.ZipInfo) -> str:
    """Why an entry of a zip is not unpacked; empty if it may be."""
    if info.flag_bits & 1:
        return "encrypted"
    # Of the others Python unpacks as much as they hold at once, whatever size they claim.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "packed by another method than deflate"
    return ""


def _members(archive: zipfile.ZipFile, name: str) -> list[_Array]:
    infos = sorted(archive.infolist(), key=lambda info: info.filename)
    n_bytes = sum(info.file_size for info in infos)
    if n_bytes > MAX_UNPACKED_BYTES:
        raise DatasetError(
            f"{name} unpacks to {_size(n_bytes)}; at most {_size(MAX_UNPACKED_BYTES)}"
        )
    arrays = []
    for info in infos:
        if problem := _name_problem(info.filename) or _member_problem(info):
            raise DatasetError(f"{name}: {_told(info.filename)} cannot be used: {problem}")
        if info.filename.endswith(".npy"):
            stem = info.filename.removesuffix(".npy")
            arrays.append(_Array(stem, lambda info=info: archive.open(info), info.file_size))
    return arrays


def _layout(shape: tuple[int, ...]) -> tuple[int, int, int, str]:
    """(C, H, W) of the images in an array of that shape, and where their channels stand."""
    if len(shape) == 2:
        side = _square_side(shape)
        return 1, side, side, "flat"
    if len(shape) == 3:
        return 1, *shape[1:], "none"
    if shape[3] in (1, 3, 4):
        return shape[3], *shape[1:3], "last"
    return shape[1], *shape[2:], "first"


def _square_side(shape: tuple[int, ...]) -> int:
    """The side of the square images that the rows of a 2-D array may be; 0 if they are none."""
    if len(shape) != 2 or shape[1] < 16:
        return 0
    side = math.isqrt(shape[1])
    return side if side * side == shape[1] else 0


def _scale(name: str, arrays: list[_Array]) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """What turns values into 0 to 255, and a sentence on it."""
    lowest, highest = math.inf, -math.inf
    for array in arrays:
        for chunk in array.chunks():
            lowest = min(lowest, float(chunk.min()))
            highest = max(highest, float(chunk.max()))
            if not (math.isfinite(lowest) and math.isfinite(highest)):
                raise DatasetError(f"{name} holds values that are NaN or infinite")
    whole = all(array.dtype.kind in "bui" for array in arrays)
    bytes_ = all(array.dtype == np.uint8 for array in arrays)
    if whole and lowest >= 0 and highest <= 255 and highest > (1 if bytes_ else 127):
        return lambda values: values.astype(np.uint8), ""
    if lowest < 0:
        low, high = (-1.0, 1.0) if lowest >= -1 and highest <= 1 else (lowest, highest)
    elif highest <= 1:
        low, high = 0.0, 1.0
    else:
        # A range that is more than twice what occurs in it is not the one that was meant.
        tops = (255.0, 65535.0) if whole else (255.0,)
        low, high = 0.0, next((top for top in tops if top / 2 < highest <= top), highest)
    if high == low:
        raise DatasetError(f"{name} holds the value {low:g} everywhere")

    def stretch(values: np.ndarray) -> np.ndarray:
        unit = (values.astype(np.float64) - low) / (high - low)
        return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)

    told = f"Values {low:g} to {high:g} become 0 to 255."
    return stretch, "" if (low, high) == (0, 255) else told


def _labels_of_folders(names: list[str]) -> list[str]:
    folders = [name.split("/")[:-1] for name in names]
    skipped = 0  # folders that all of them lie in
    while all(len(parts) > skipped and parts[skipped] == folders[0][skipped] for parts in folders):
        skipped += 1
    folders = [parts[skipped:] for parts in folders]
    if all(parts and parts[0].lower() in _SPLIT_NAMES for parts in folders):
        folders = [parts[1:] for parts in folders]
    return _limited([parts[0] if parts else UNLABELLED for parts in folders])


def _labels_of_files(names: list[str], rows: list[list[str]]) -> tuple[list[str], str]:
    """The labels that a CSV gives to pictures, and a sentence on it."""
    if any(len(row) < 2 for row in rows):
        raise DatasetError("the CSV must have two columns for pictures: file,label")
    by_name: dict[str, str] = {}
    for row in rows:
        by_name[row[0].strip().removeprefix("./")] = row[1].strip()
    labels, n_found = [], 0
    for name in names:
        base = name.rpartition("/")[2]
        keys = (name, base, os.path.splitext(name)[0], os.path.splitext(base)[0])
        label = next((by_name[key] for key in keys if key in by_name), None)
        n_found += label is not None
        labels.append(label or UNLABELLED)
    if not n_found:
        raise DatasetError(
            f"the CSV names none of the pictures: its first file is {_told(rows[0][0])!r}, the "
            f"first picture is {_told(names[0])!r}"
        )
    if n_found == len(names):
        return _limited(labels), ""
    return _limited(labels), f"The CSV has labels for {n_found:,} of {len(names):,} pictures."


def _labels_in_order(rows: list[list[str]], N: int) -> list[str]:
    """The labels that a CSV gives to rows of an array: its last column."""
    if len(rows) == N + 1:  # a line of titles
        rows = rows[1:]
    if len(rows) != N:
        raise DatasetError(f"the CSV has {len(rows):,} rows for {N:,} images; expected as many")
    return _limited([row[-1].strip() or UNLABELLED for row in rows])


def _labels_of_arrays(images: list[_Array], others: list[_Array]) -> tuple[list[str], str]:
    """The labels that stand beside the images in an .npz, and a sentence if they are not used."""
    N = sum(array.shape[0] for array in images)
    columns = [a for a in others if a.may_be_labels]
    if len(columns) > len(images):  # those that are called so
        called = ("label", "target", "class", "y")
        columns = [a for a in columns if a.name.lower().startswith(called)] or columns[:1]
    if len(columns) > len(images):
        columns = columns[: len(images)]
    if [a.shape[0] for a in columns] != [a.shape[0] for a in images]:
        told = ", ".join(f"{_told(a.name)} {a.shape}" for a in others[:4])
        note = f"Not used for labels, for their number or shape: {told}." if others else ""
        return [UNLABELLED] * N, note
    labels: list[str] = []
    for array in columns:
        for chunk in array.chunks():
            labels += [_as_label(value) for value in chunk.reshape(len(chunk)).tolist()]
        if len(set(labels)) > MAX_CLASSES:
            return [UNLABELLED] * N, (
                f"{_told(array.name)} is not used for labels: it has more than {MAX_CLASSES} "
                "different values."
            )
    return _limited(labels), ""


def _as_label(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or UNLABELLED


def _limited(labels: list[str]) -> list[str]:
    """The labels, if they are few enough and fit to be shown."""
    found = set(labels)
    if len(found) > MAX_CLASSES:
        raise DatasetError(f"there are {len(found):,} classes; at most {MAX_CLASSES}")
    for label in sorted(found):
        if problem := _name_problem(label):
            raise DatasetError(f"the class {_told(label)!r} cannot be used: {problem}")
        if len(label) > 60:
            raise DatasetError(f"the class {_told(label)!r} has more than 60 letters")
    return labels


def _counted(labels: list[str]) -> dict[str, int]:
    counts = Counter(labels)
    return {name: counts[name] for name in _class_names(labels)}


def _class_names(labels: list[str]) -> tuple[str, ...]:
    """Numbers by value, words by letter, what has no label last."""
    found = set(labels)

    def order(name: str) -> tuple[Any, ...]:
        is_number = name.isascii() and name.isdecimal() and len(name) < 10
        return name == UNLABELLED, not is_number, int(name) if is_number else 0, name

    return tuple(sorted(found, key=order))


def _usual_size(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    if len(sizes) > 1:
        return _USUAL_SIDE, _USUAL_SIDE
    ((H, W),) = sizes
    if max(H, W) <= _KEPT_SIDE:
        return H, W
    scale = _USUAL_SIDE / max(H, W)
    return max(1, round(H * scale)), max(1, round(W * scale))


def _have_one_ratio(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether a can become b without one side being stretched more than rounding asks for."""
    scale = max(b) / max(a)
    return all(abs(x * scale - y) <= 0.5 for x, y in zip(a, b, strict=True))


def _check_shape(image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    shape = tuple(image_shape)
    whole = all(isinstance(side, int) and side >= 1 for side in shape)
    if len(shape) != 3 or not whole or shape[0] not in (1, 3) or max(shape) > MAX_SIDE:
        raise DatasetError(
            f"image_shape (={str(shape)[:60]}) must be (1 or 3, height, width) with sides from 1 "
            f"to {MAX_SIDE}"
        )
    return shape


def _check_count(n: int, name: str) -> None:
    if n < MIN_IMAGES:
        raise DatasetError(
            f"{name} holds {n} usable images; at least {MIN_IMAGES}, as one in five is held out"
        )


def _check_free(path: Path) -> None:
    if path.exists():
        raise DatasetError(
            f"a data set named {path.stem} exists already in {path.parent}; choose another name"
        )


def _check_room(folder: Path) -> None:
    try:
        used = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    except OSError:
        return  # what stands in the way shows itself when it is written
    if used > MAX_OWN_BYTES:
        raise DatasetError(
            f"{folder} holds {_size(used)} of data, at most {_size(MAX_OWN_BYTES)}; remove a set"
        )


def _write(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    order: np.ndarray,
    metadata: dict[str, str],
) -> None:
    """Writes a safetensors file row by row, in that order, and never a second copy in memory."""
    N = len(labels)
    ends = 8 * N, 8 * N + images.size
    header = json.dumps(
        {
            "__metadata__": metadata,
            "labels": {"dtype": "I64", "shape": [N], "data_offsets": [0, ends[0]]},
            "images": {"dtype": "U8", "shape": [*images.shape], "data_offsets": [*ends]},
        }
    ).encode()
    header += b" " * (-len(header) % 8)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.write(labels[order].astype("<i8").tobytes())
            for row in order:
                file.write(images[row].tobytes())
            file.flush()
            os.fsync(file.fileno())
        _check_free(path)
        os.replace(temporary, path)
    except BaseException as error:
        if not isinstance(error, FileExistsError):
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise DatasetError(f"cannot write {path}: {error.strerror}; make room there") from error


def _check_zip(file: BinaryIO, name: str) -> None:
    """Holds a zip's own account of its table of contents against the limits, before it is parsed.

    Python's parser makes an object of every entry, whatever the count at the end says.
    """
    n_bytes = file.seek(0, os.SEEK_END)
    length = min(n_bytes, 65_557 + 20)  # the end record, the longest comment, a Zip64 locator
    file.seek(n_bytes - length)
    tail = file.read(length)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        raise DatasetError(f"{name} is cut short or no zip archive")
    n_entries, directory = struct.unpack("<HL", tail[at + 10 : at + 16])
    is_long = tail[max(0, at - 20) : at].startswith(b"PK\x06\x07") or n_entries == 0xFFFF
    if n_entries > MAX_FILES or is_long or directory > MAX_DIRECTORY_BYTES:
        raise DatasetError(f"{name} holds more than {MAX_FILES:,} files; take fewer")
    begin = n_bytes - length + at - directory
    if begin < 0:
        raise DatasetError(f"{name} is cut short or no zip archive")
    file.seek(begin)
    if file.read(directory).count(b"PK\x01\x02") > MAX_FILES:
        raise DatasetError(f"{name} holds more than {MAX_FILES:,} files; take fewer")
    file.seek(0)


def _read_csv(source: From) -> list[list[str]]:
    """The rows of a CSV, without a line of titles where one is told by its words."""
    name = _name_of(source)
    with ExitStack() as stack:
        try:
            data = _file(source, stack).read(MAX_CSV_BYTES + 1)
        except OSError as error:
            raise DatasetError(f"{name} cannot be read: {error.strerror}") from error
    if len(data) > MAX_CSV_BYTES:
        raise DatasetError(f"{name} has more than {_size(MAX_CSV_BYTES)}")
    try:
        rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"))) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{name} is not a CSV in UTF-8: {_reason(error)}") from error
    if rows and rows[0][-1].strip().lower() in ("label", "labels", "class", "target", "y", "name"):
        rows = rows[1:]
    if not rows:
        raise DatasetError(f"{name} has no rows")
    if len(rows) > MAX_IMAGES + 1:
        raise DatasetError(f"{name} has {len(rows):,} rows; at most {MAX_IMAGES:,}")
    return rows


def _file(source: From, stack: ExitStack) -> BinaryIO:
    """The open file, at its beginning; one that is opened here is closed with the stack."""
    if isinstance(source, str | Path):
        if not stat.S_ISREG(os.stat(source).st_mode):  # reading a pipe would wait for ever
            raise DatasetError(f"{_told(str(source))} is neither a folder nor a file")
        return stack.enter_context(open(source, "rb"))
    return _rewound(source)


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _name_of(source: From) -> str:
    path = source if isinstance(source, str | Path) else getattr(source, "name", "the file")
    return _told(Path(str(path)).name or Path(str(path)).resolve().name)


def _name_problem(name: str) -> str:
    """Why a name from outside is not used; empty if it may be."""
    if not name.isprintable():
        return "its name has characters that cannot be shown"
    if "<" in name or ">" in name:
        return "its name has < or > in it"
    if "\\" in name or name.startswith("/") or ".." in name.split("/"):
        return "its name leads out of the folder"
    return ""


def _told(name: str) -> str:
    """A name from outside as it may stand in a sentence."""
    text = "".join(c if c.isprintable() and c not in "<>" else "?" for c in name)
    return text if len(text) <= 80 else f"{text[:40]}...{text[-37:]}"


def _problem(error: Exception) -> str:
    """Why one picture cannot be used."""
    if isinstance(error, _Refused):
        return str(error)
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture, whatever its name says"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS / 1e6:.0f} million pixels"
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return f"damaged or cut short ({_reason(error)})"


def _reason(error: Exception) -> str:
    text = _told(" ".join(str(error).split()) or type(error).__name__)
    return text


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
