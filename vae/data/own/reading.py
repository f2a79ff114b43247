"""A folder or file of images -> what is in it, a preview, a Dataset."""

import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch

from vae.data.dataset import Dataset, DatasetError, Source, reason
from vae.data.own import limits, store
from vae.data.own.array import Array
from vae.data.own.arrays import Arrays, members_of
from vae.data.own.columns import Plan, dataset_of
from vae.data.own.contents import Survey
from vae.data.own.files import (
    PathOrFile,
    amount,
    check_zip,
    list_folder,
    list_zip,
    name_of,
    open_file,
    rewound,
    shown,
)
from vae.data.own.labels import class_names_of
from vae.data.own.pictures import Pictures
from vae.data.own.table import read_csv

ARCHIVES = (".zip", ".npz", ".npy")
Progress = Callable[[int, int], None]


class BadFiles(DatasetError):
    """Some files cannot be used, and nobody has agreed to go on without them.

    Attributes:
        bad: (name, reason) of the first limits.MAX_LISTED of them.
        n_bad, n_good: how many cannot be used, and how many can.
    """

    def __init__(self, bad: list[tuple[str, str]], n_good: int) -> None:
        self.bad, self.n_bad, self.n_good = tuple(bad[: limits.MAX_LISTED]), len(bad), n_good
        told = "; ".join(f"{name}: {reason}" for name, reason in self.bad[:3])
        more = f"; and {self.n_bad - 3:,} more" if self.n_bad > 3 else ""
        super().__init__(
            f"{self.n_bad:,} of {self.n_bad + n_good:,} files cannot be used ({told}{more}); mend "
            "them, or agree to go on without them"
        )


def survey(source: PathOrFile, labels_csv: PathOrFile | None = None) -> Survey:
    """What is in a folder of pictures, a .zip of them, an .npz or an .npy.

    Of pictures of 8 bits only the headers are read; other values are passed over once, for their
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
    source: PathOrFile,
    image_shape: tuple[int, int, int] | None = None,
    labels_csv: PathOrFile | None = None,
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
    source: PathOrFile,
    image_shape: tuple[int, int, int] | None = None,
    labels_csv: PathOrFile | None = None,
    n_bad_agreed: int | None = 0,
    progress: Progress | None = None,
) -> Dataset:
    """The images of a folder, .zip, .npz or .npy, in the order of their names or rows.

    A folder or zip gives each picture the class of its subfolder; one with no subfolders has one
    class. Arrays of images are (N, H, W), (N, H, W, C) or (N, C, H, W); which arrays of an .npz
    are the images and their labels stands in `own.members`.

    Args:
        source: a path, or an open file with a name.
        image_shape: (C, H, W) to make of each image [`Survey.image_shape`].
        labels_csv: labels instead: rows of `file,label` in any order, or of one label per image in
            the images' order; other columns, titles, separators and encodings as in `own.table`.
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
        if n_bytes > limits.MAX_KEPT_BYTES:
            raise DatasetError(
                f"{N:,} images of {shape[1]} x {shape[2]} {'grey' if shape[0] == 1 else 'colour'} "
                f"pixels are {amount(n_bytes)}; at most {amount(limits.MAX_KEPT_BYTES)}: choose a "
                "smaller size, or fewer images"
            )
        bad = list(collection.bad)
        images, labels = np.empty((N, *shape), dtype=np.uint8), []
        for i, image in collection.images(shape, range(N)):
            if isinstance(image, str):
                bad.append((collection.name(i), image))
            else:
                images[len(labels)] = image
                labels.append(collection.labels[i])
            if progress:
                progress(i + 1, N)
    if n_bad_agreed is not None and len(bad) > n_bad_agreed:
        raise BadFiles(bad, len(labels))
    _check_count(len(labels), told.name)
    class_names = class_names_of(labels)
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
    source: PathOrFile,
    name: str,
    image_shape: tuple[int, int, int] | None = None,
    labels_csv: PathOrFile | None = None,
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
        BadFiles, DatasetError: as in `read`; or the name cannot be used, or the data folder
            cannot be written. Nothing is left behind then.
    """
    store.check_may_be_added(name)
    return store.keep(name, read(source, image_shape, labels_csv, n_bad_agreed, progress))


def add_table(found: Plan, name: str) -> Source:
    """Keeps the points of a table or array, as planned, as the data set of that name.

    Raises:
        DatasetError: as `columns.dataset_of`; or the name cannot be used, or the data folder
            cannot be written. Nothing is left behind then.
    """
    store.check_may_be_added(name)
    return store.keep(name, dataset_of(found))


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


@contextmanager
def _opened(source: PathOrFile, labels_csv: PathOrFile | None) -> Iterator["Pictures | Arrays"]:
    """The images of a folder or file; whatever it is made of, only a DatasetError leaves."""
    name = name_of(source)
    with ExitStack() as stack:
        try:
            table = None if labels_csv is None else read_csv(labels_csv)
            if isinstance(source, str | Path) and Path(source).is_dir():
                yield Pictures(name, "folder", list_folder(Path(source)), table)
                return
            if isinstance(source, str | Path) and not Path(source).exists():
                raise FileNotFoundError
            suffix = Path(name).suffix.lower()
            if suffix not in ARCHIVES:
                raise DatasetError(
                    f"{name} is neither a folder nor one of: {', '.join(ARCHIVES)}; put pictures "
                    "into a folder or a .zip, one subfolder per class"
                )
            file = open_file(source, stack)
            n_bytes = file.seek(0, os.SEEK_END)
            if n_bytes > limits.MAX_ARCHIVE_BYTES:
                raise DatasetError(
                    f"{name} has {amount(n_bytes)}; at most {amount(limits.MAX_ARCHIVE_BYTES)}"
                )
            file.seek(0)
            if suffix == ".npy":
                yield Arrays(name, "npy", [Array("", lambda: rewound(file), n_bytes)], table)
                return
            check_zip(file, name)
            archive = stack.enter_context(zipfile.ZipFile(file))
            if suffix == ".zip":
                yield Pictures(name, "zip", list_zip(archive, name), table)
            else:
                yield Arrays(name, "npz", members_of(archive, name), table)
        except DatasetError:
            raise
        except FileNotFoundError:
            raise DatasetError(f"there is no folder or file {source}") from None
        except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise DatasetError(f"{name} cannot be read: {shown(reason(error))}") from error


def _check_shape(image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    shape = tuple(image_shape)
    whole = all(isinstance(side, int) and side >= 1 for side in shape)
    if len(shape) != 3 or not whole or shape[0] not in (1, 3) or max(shape) > limits.MAX_SIDE:
        raise DatasetError(
            f"image_shape (={str(shape)[:60]}) must be (1 or 3, height, width) with sides from 1 "
            f"to {limits.MAX_SIDE}"
        )
    return shape


def _check_count(n: int, name: str) -> None:
    if n < limits.MIN_IMAGES:
        raise DatasetError(
            f"{name} holds {n} usable images; at least {limits.MIN_IMAGES}, as one in five is held "
            "out"
        )
