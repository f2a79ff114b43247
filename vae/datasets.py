"""A name -> Dataset: images held as one uint8 tensor, labels, and the names of the classes.

Every data set has a fixed split, the same on every machine: torchvision's sets keep their own
train and test parts; scikit-learn's digits and the sprites hold out one image in five, drawn with
seed 0.
"""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae.config import BINARISED

SPLITS = ("test", "train", "all")
HELD_OUT_SHARE = 0.2


class DatasetError(ValueError):
    """A data set cannot be had; the message says why and what to do next."""


@dataclass(frozen=True)
class Dataset:
    """Images with their labels.

    Attributes:
        name: as in NAMES.
        split: "test" (held out), "train" or "all" (train, then test).
        images: uint8, shape (N, C, H, W).
        labels: int64, shape (N,).
        class_names: the name of each label.
        factors: what is known to vary, each of shape (N,); empty for most sets.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    factors: dict[str, Tensor] = field(default_factory=dict)

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
        name: one of NAMES; with "-binarised" behind it, its pixels are drawn as 0 or 1, once and
            with seed 0 (Salakhutdinov & Murray, 2008).
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
    """Title, image shape and a note, without loading anything. Raises DatasetError if unknown."""
    try:
        return _SOURCES[name.removesuffix(BINARISED)]
    except KeyError:
        raise DatasetError(
            f"unknown data set {name!r}; choose one of: {', '.join(NAMES)}"
        ) from None


def names_of_shape(image_shape: tuple[int, int, int]) -> list[str]:
    """The data sets whose images have that shape."""
    return [name for name, source in _SOURCES.items() if source.image_shape == image_shape]


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


def _is_held_out(n: int) -> np.ndarray:
    held_out = np.zeros(n, dtype=bool)
    chosen = np.random.default_rng(0).permutation(n)[: round(HELD_OUT_SHARE * n)]
    held_out[chosen] = True
    return held_out


def _load_digits(split: str) -> Dataset:
    from sklearn.datasets import load_digits  # half a second to import; only this set needs it

    digits = load_digits()
    rows = _is_held_out(len(digits.images)) == (split == "test")
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
    rows = _is_held_out(n * n) == (split == "test")
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
