"""A name -> Dataset: images held as one uint8 tensor, labels, and the names of the classes.

Every data set has a fixed split, the same on every machine: torchvision's sets keep their own
train and test parts; scikit-learn's digits, the sprites and data of one's own hold out one image in
five, drawn with seed 0.

Data of one's own (which `vae.own_data` reads and adds) are files of `folder()` / "own", one
NAME.safetensors per set: the images, training ones first, their labels, and what was done to them.
Data that are in memory are known to one process by the name that `give` is told.
"""

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import torch
from safetensors import SafetensorError
from torch import Tensor

from vae.config import BINARISED

if TYPE_CHECKING:
    from PIL import Image

SPLITS = ("test", "train", "all")
HELD_OUT_SHARE = 0.2
OWN_FORMAT = "ELBO Room data 1"  # in the metadata of the files that data of one's own are kept in
_OWN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class DatasetError(ValueError):
    """A data set cannot be had; the message says why and what to do next."""


@dataclass(frozen=True)
class Dataset:
    """Images with their labels.

    Attributes:
        name: as in `names()`.
        split: "test" (held out), "train" or "all" (train, then test).
        images: uint8, shape (N, C, H, W).
        labels: int64, shape (N,).
        class_names: the name of each label.
        factors: what is known to vary, each of shape (N,); empty for most sets.
        note: what was done to the images since they were loaded, to be said beside them.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    factors: dict[str, Tensor] = field(default_factory=dict)
    note: str = ""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return tuple(self.images.shape[1:])

    def first(self, n: int) -> "Dataset":
        """The first n points, or all if there are fewer."""
        return dataclasses.replace(
            self,
            images=self.images[:n],
            labels=self.labels[:n],
            factors={name: values[:n] for name, values in self.factors.items()},
        )

    def resized(self, image_shape: tuple[int, int, int]) -> "Dataset":
        """The same points with images of another shape, as a model of that shape reads them.

        Each is stretched or shrunk to fill the new size, by Pillow's bilinear filter, which is
        what torchvision's `Resize` does to a Pillow image (shrinking averages over the pixels that
        fall together). Colour becomes grey by 299 R + 587 G + 114 B, as torchvision's `Grayscale`
        makes it; grey becomes colour by three equal channels.

        Args:
            image_shape: (C, H, W) with C = 1 or 3.

        Returns:
            images uint8, shape (N, C, H, W), and a `note` that says what was done; the data set
            itself if its images are of that shape already.

        Raises:
            ValueError: another number of channels, or a side below 1.
        """
        if tuple(image_shape) == self.image_shape:
            return self
        images = np.empty((len(self), *image_shape), dtype=np.uint8)
        for i, image in enumerate(self.images.numpy()):
            images[i] = pixels_of(_as_picture(image), image_shape)
        note = f"{_size(self.image_shape)} images resized to {_size(image_shape)}"
        return dataclasses.replace(self, images=torch.from_numpy(images), note=note)


@dataclass(frozen=True)
class Source:
    """What is known of a data set before it is loaded."""

    title: str
    image_shape: tuple[int, int, int]
    n_train: int
    note: str
    load: Callable[[str], Dataset]
    files: tuple[str, ...] = ()  # what is downloaded, relative to `folder()`
    n_bytes: int = 0  # of those files together
    is_own: bool = False  # added by `vae.own_data`
    is_given: bool = False  # by `give`: of this process alone, so no other can train on it

    def is_here(self) -> bool:
        """Whether all that is downloaded has been, packed or unpacked."""
        paths = [folder() / file for file in self.files]
        return all(path.exists() or path.with_suffix("").exists() for path in paths)

    def bytes_here(self) -> int:
        """How much of `n_bytes` has arrived: for the progress of a download."""
        paths = [folder() / file for file in self.files]
        return sum(path.stat().st_size for path in paths if path.exists())


def load(name: str, split: str = "test") -> Dataset:
    """The data set of that name.

    Args:
        name: one of `names()`; with "-binarised" behind it, its pixels are drawn as 0 or 1, once
            and with seed 0 (Salakhutdinov & Murray, 2008).
        split: one of SPLITS.

    Raises:
        DatasetError: an unknown name or split, or a set that is neither on disk nor to be
            downloaded.
    """
    source = describe(name)
    if split not in SPLITS:
        raise DatasetError(f"split (={split!r}) must be one of: {', '.join(SPLITS)}")
    if split != "all":
        grey = source.load(split)
        if not name.endswith(BINARISED):
            return grey
        drawn = binarise(grey.images, torch.Generator().manual_seed(0))
        return dataclasses.replace(grey, name=name, images=drawn)
    train, test = load(name, "train"), load(name, "test")
    return Dataset(
        name=name,
        split=split,
        images=torch.cat([train.images, test.images]),
        labels=torch.cat([train.labels, test.labels]),
        class_names=train.class_names,
        factors={k: torch.cat([train.factors[k], test.factors[k]]) for k in train.factors},
    )


def describe(name: str) -> Source:
    """Title, image shape and a note, without loading anything.

    Raises:
        DatasetError: there is no such set, or its file is damaged.
    """
    grey = name.removesuffix(BINARISED)
    if grey in _SOURCES:
        return _SOURCES[grey]
    if grey in _GIVEN:
        return _GIVEN[grey][0]
    choices = ", ".join(names())
    if not may_be_called(grey):
        raise DatasetError(f"unknown data set {name!r}; choose one of: {choices}")
    path = own_path(grey)
    try:
        found = path.stat()
    except OSError:
        raise DatasetError(
            f"unknown data set {grey!r}; choose one of: {choices}; or, if it is of your own, add "
            f"it to {path.parent}: python -m vae data add PATH --name {grey}"
        ) from None
    return _describe_own(path, found.st_mtime_ns, found.st_size)


def names() -> tuple[str, ...]:
    """Every data set there is: NAMES, then those that were given, then those of one's own."""
    return tuple(dict.fromkeys([*NAMES, *_GIVEN, *own_names()]))


def give(name: str, test: Dataset, train: Dataset | None = None, note: str = "") -> Source:
    """Makes data that are in memory known to this process by a name, until it ends.

    Args:
        name: as in `check_own_name`; one that was given before is another one from then on.
        test: the held-out images, uint8, shape (N, C, H, W), and their labels.
        train: those it was trained on, of the same shape and classes; None: there are none here.
        note: what they are.

    Raises:
        DatasetError: the name cannot be used or is that of a set on disk, or the images or labels
            cannot be.
    """
    check_own_name(name)
    if own_path(name).exists():
        raise DatasetError(
            f"a data set named {name!r} is in {own_path(name).parent} already; remove it, or name "
            "the factory otherwise"
        )
    for data in filter(None, [test, train]):
        shape = tuple(data.images.shape)
        usable = len(shape) == 4 and shape[1] in (1, 3) and min(shape) > 0
        if not usable or data.images.dtype != torch.uint8 or shape[1:] != test.image_shape:
            raise DatasetError(
                f"images (={data.images.dtype} {shape}) must be uint8 of shape (N, 1 or 3, H, W), "
                "the same in both splits"
            )
        n_classes = len(data.class_names)
        fits = tuple(data.labels.shape) == shape[:1] and data.class_names == test.class_names
        if not fits or data.labels.min() < 0 or data.labels.max() >= n_classes:
            raise DatasetError(
                f"labels of shape {tuple(data.labels.shape)} must be one per image, from 0 to "
                f"{n_classes - 1}"
            )
    parts = {"test": dataclasses.replace(test, name=name, split="test")}
    if train is not None:
        parts["train"] = dataclasses.replace(train, name=name, split="train")

    def load_given(split: str) -> Dataset:
        if split not in parts:
            raise DatasetError(
                f"the data set {name!r} has no training images, only the held-out ones that were "
                "given; choose its test split"
            )
        return parts[split]

    source = Source(
        title=name,
        image_shape=test.image_shape,
        n_train=0 if train is None else len(train),
        note=note,
        load=load_given,
        is_given=True,
    )
    _GIVEN[name] = source, next(_COUNT)
    return source


def own_names() -> list[str]:
    """The data sets of one's own that can be read, in alphabetical order."""
    found = []
    try:
        paths = sorted((folder() / "own").glob("*.safetensors"))
    except OSError:
        return []
    for path in paths:
        try:
            status = path.stat()
            if may_be_called(path.stem):
                _describe_own(path, status.st_mtime_ns, status.st_size)
                found.append(path.stem)
        except (DatasetError, OSError):
            pass  # who asks for it by name is told
    return found


def own_path(name: str) -> Path:
    """The file of a data set of one's own, whether it is there or not.

    Raises:
        DatasetError: no set may be called so.
    """
    return folder() / "own" / f"{check_own_name(name)}.safetensors"


def may_be_called(name: str) -> bool:
    """Whether a data set of one's own may have that name."""
    taken = name.lower() in _SOURCES or name.lower().endswith(BINARISED)
    return bool(_OWN_NAME.fullmatch(name)) and ".." not in name and not taken


def check_own_name(name: str) -> str:
    """The name, if a data set of one's own may be called so: it becomes part of file names.

    Raises:
        DatasetError: it is empty, too long, could lead out of the folder, or is taken.
    """
    if not may_be_called(name):
        raise DatasetError(
            f"name (={name[:60]!r}) must be 1 to 40 letters, digits, '-', '_' or single dots, "
            f"begin with a letter or digit, not end in {BINARISED}, and be none of: "
            + ", ".join(NAMES)
        )
    return name


def stamp(name: str) -> tuple[int, ...]:
    """Changes when the data set of that name is another one: for those who keep it in memory."""
    if given := _GIVEN.get(name.removesuffix(BINARISED)):
        return (given[1],)
    try:
        found = own_path(name.removesuffix(BINARISED)).stat()
    except (DatasetError, OSError):  # the others never change
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def names_of_shape(image_shape: tuple[int, int, int]) -> list[str]:
    """The data sets whose images have that shape."""
    found = []
    for name in names():
        with suppress(DatasetError):  # deleted at this moment
            if describe(name).image_shape == image_shape:
                found.append(name)
    return found


def folder() -> Path:
    """Where downloaded sets are kept: the environment variable VAE_DATA, or data/ here."""
    return Path(os.environ.get("VAE_DATA") or "data")


def to_unit(images: Tensor) -> Tensor:
    """uint8 images as the floats in [0, 1] that models read, same shape."""
    return images.float().div_(255)


def binarise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each pixel as 0 or 255, drawn with its grey level as the probability of 255.

    Args:
        images: uint8, shape (N, C, H, W), on the generator's device.
        generator: what draws.
    """
    draws = torch.randint(
        0, 255, images.shape, dtype=torch.uint8, generator=generator, device=images.device
    )
    return torch.where(draws < images, 255, 0).to(torch.uint8)


def pixels_of(picture: "Image.Image", image_shape: tuple[int, int, int]) -> np.ndarray:
    """A Pillow picture of mode L or RGB as `Dataset.resized` makes it: uint8, shape (C, H, W).

    Raises:
        ValueError: image_shape is not (C, H, W) with C = 1 or 3 and sides from 1.
    """
    from PIL import Image

    if len(image_shape) != 3 or image_shape[0] not in (1, 3) or min(image_shape) < 1:
        raise ValueError(f"image_shape (={image_shape}) must be (1 or 3, height, width)")
    C, H, W = image_shape
    picture = picture.convert("L" if C == 1 else "RGB")
    if picture.size != (W, H):
        picture = picture.resize((W, H), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)  # (H, W) or (H, W, C)
    return pixels[None] if C == 1 else pixels.transpose(2, 0, 1)


def _as_picture(image: np.ndarray) -> "Image.Image":
    """A uint8 image (C, H, W) as a Pillow picture of mode L or RGB."""
    from PIL import Image

    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0).copy())


def _size(image_shape: tuple[int, int, int]) -> str:
    C, H, W = image_shape
    return f"{H} x {W} {'grey' if C == 1 else 'colour'}"


def is_held_out(n: int) -> np.ndarray:
    """Which of n images are held out: one in five, drawn with seed 0; bool, shape (n,)."""
    held_out = np.zeros(n, dtype=bool)
    chosen = np.random.default_rng(0).permutation(n)[: round(HELD_OUT_SHARE * n)]
    held_out[chosen] = True
    return held_out


def _load_digits(split: str) -> Dataset:
    from sklearn.datasets import load_digits  # half a second to import; only this set needs it

    digits = load_digits()
    rows = is_held_out(len(digits.images)) == (split == "test")
    images = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)  # grey levels 0 to 16
    return Dataset(
        name="digits",
        split=split,
        images=torch.from_numpy(images[:, None]),
        labels=torch.from_numpy(digits.target[rows].astype(np.int64)),
        class_names=tuple("0123456789"),
    )


_SPRITE_SIDE = 32
_SPRITE_POSITIONS = 64


def _load_sprites(split: str) -> Dataset:
    """A ring on a 64 x 64 grid of positions: exactly two factors, x and y, vary."""
    side, n = _SPRITE_SIDE, _SPRITE_POSITIONS
    places = np.linspace(8, side - 9, n, dtype=np.float32)
    factor_y, factor_x = (axis.ravel() for axis in np.meshgrid(places, places, indexing="ij"))
    rows = is_held_out(n * n) == (split == "test")
    factor_x, factor_y = factor_x[rows], factor_y[rows]

    pixel = np.arange(side, dtype=np.float32)
    radius = np.hypot(
        pixel[None, None, :] - factor_x[:, None, None],
        pixel[None, :, None] - factor_y[:, None, None],
    )  # (N, H, W): distance of each pixel from the ring's centre
    # Coverage falls off over one pixel, so that a shift of a fraction of a pixel shows.
    coverage = np.clip(2.5 - np.abs(radius - 4.5), 0, 1)
    right, low = factor_x > places.mean(), factor_y > places.mean()
    return Dataset(
        name="sprites",
        split=split,
        images=torch.from_numpy(np.rint(255 * coverage).astype(np.uint8)[:, None]),
        labels=torch.from_numpy(2 * low.astype(np.int64) + right),
        class_names=("top left", "top right", "bottom left", "bottom right"),
        factors={"x": torch.from_numpy(factor_x), "y": torch.from_numpy(factor_y)},
    )


@lru_cache(maxsize=256)
def _describe_own(path: Path, mtime_ns: int, n_bytes: int) -> Source:
    """What a file of one's own data says of itself; mtime and size tell a new file from an old."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            told, kept = file.metadata() or {}, {}
            for name in ("images", "labels"):
                values = file.get_slice(name)
                kept[name] = tuple(values.get_shape()), values.get_dtype()
        (shape, image_type), (labels_shape, label_type) = kept["images"], kept["labels"]
        N, C, H, W = shape
        n_train, class_names = int(told["n_train"]), json.loads(told["class_names"])
        usable = (told["format"], image_type, label_type) == (OWN_FORMAT, "U8", "I64")
        usable = usable and labels_shape == (N,) and 0 < n_train < N and C in (1, 3) and H * W > 0
        if not usable or not class_names or not all(isinstance(c, str) for c in class_names):
            raise ValueError("it is not one that this program wrote")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(
            f"{path} cannot be used ({_reason(error)}); delete it and add the data again"
        ) from error
    return Source(
        title=path.stem,
        image_shape=(C, H, W),
        n_train=n_train,
        note=told.get("note", ""),
        load=partial(
            _load_own, name=path.stem, path=path, n_train=n_train, class_names=tuple(class_names)
        ),
        is_own=True,
    )


def _load_own(
    split: str, name: str, path: Path, n_train: int, class_names: tuple[str, ...]
) -> Dataset:
    rows = slice(n_train, None) if split == "test" else slice(n_train)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            images, labels = (file.get_slice(what)[rows] for what in ("images", "labels"))
        if not len(labels) or labels.min() < 0 or labels.max() >= len(class_names):
            raise ValueError("its labels have no name")
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise DatasetError(
            f"{path} cannot be used ({_reason(error)}); delete it and add the data again"
        ) from error
    return Dataset(
        name=name,
        split=split,
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        class_names=class_names,
    )


def _load_torchvision(split: str, name: str, class_name: str) -> Dataset:
    import torchvision.datasets

    root, kind = folder(), getattr(torchvision.datasets, class_name)
    raw = root / class_name / "raw"
    try:
        loaded = kind(str(root), train=split == "train", download=True)
        _check(loaded.data, loaded.targets, len(loaded.classes))
    except Exception as error:  # torchvision lets whatever its parser met escape
        if all(os.path.exists(raw / Path(file).stem) for file, _ in kind.resources):
            raise DatasetError(
                f"the files in {raw} are damaged ({_reason(error)}); "
                "delete that folder, and they are fetched again"
            ) from error
        raise DatasetError(
            f"{name} is not in {root} and could not be fetched ({_reason(error)}). Connect to the "
            f"network once, or put its four .gz files into {raw}; digits and sprites need neither"
        ) from error
    return Dataset(
        name=name,
        split=split,
        images=loaded.data[:, None],
        labels=loaded.targets.long(),
        class_names=tuple(c.split(" - ")[0] for c in loaded.classes),
    )


def _check(images: Tensor, labels: Tensor, n_classes: int) -> None:
    if images.shape != (len(labels), 28, 28) or not len(labels):
        raise ValueError(f"{len(labels)} labels for images of shape {tuple(images.shape)}")
    if labels.max() >= n_classes:
        raise ValueError(f"a label is {int(labels.max())}, but there are {n_classes} classes")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def _from_torchvision(name: str, class_name: str, title: str, images: str, n_bytes: int) -> Source:
    return Source(
        title=title,
        image_shape=(1, 28, 28),
        n_train=60_000,
        note=f"70,000 {images} of 28 x 28 pixels; {n_bytes / 1e6:.0f} MB download",
        load=partial(_load_torchvision, name=name, class_name=class_name),
        files=tuple(
            f"{class_name}/raw/{part}-ubyte.gz"
            for part in (
                *("train-images-idx3", "train-labels-idx1"),
                *("t10k-images-idx3", "t10k-labels-idx1"),
            )
        ),
        n_bytes=n_bytes,
    )


_SOURCES = {
    "digits": Source(
        "Digits",
        (1, 8, 8),
        1438,
        "scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; nothing to download",
        _load_digits,
    ),
    "sprites": Source(
        "Sprites",
        (1, 32, 32),
        3277,
        "a ring at 64 x 64 positions of a 32 x 32 picture: two known factors, x and y",
        _load_sprites,
    ),
    "mnist": _from_torchvision("mnist", "MNIST", "MNIST", "handwritten digits", 11_594_722),
    "fashion-mnist": _from_torchvision(
        "fashion-mnist", "FashionMNIST", "Fashion-MNIST", "pieces of clothing", 30_878_645
    ),
    "kmnist": _from_torchvision("kmnist", "KMNIST", "KMNIST", "cursive kana", 21_240_888),
}
NAMES = tuple(_SOURCES)
_GIVEN: dict[str, tuple[Source, int]] = {}  # in memory, by `give`, and the how manieth it was
_COUNT = itertools.count()
