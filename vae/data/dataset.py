"""Data sets in memory: the points as one tensor, labels, and the names of the classes.

A point is an image, a vector or a series. What is done to points of any source stands here: to one
shape, to the floats that a model reads, to drawn pixels, into two splits.
"""

import dataclasses
import hashlib
import math
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vae.config import IMAGE, VECTOR, ForeignModel, ModelConfig
from vae.errors import UserError
from vae.features import Feature, as_measured, as_read, measured, read_so

if TYPE_CHECKING:
    from PIL import Image

MAX_RESIZED_BYTES = 1_000_000_000  # of images that are made as large as a model reads them
SPLITS = ("test", "train", "all")
HELD_OUT_SHARE = 0.2
SHIPPED = Path(__file__).parent / "held_out"  # held-out images that need no download


class DatasetError(UserError):
    """A data set cannot be had; the message says why and what to do next."""


@dataclass(frozen=True)
class Dataset:
    """Images, vectors or series with their labels.

    Attributes:
        name: as in `names()`.
        split: "test" (held out), "train" or "all" (train, then test).
        images: uint8, shape (N, C, H, W). Vectors are float32, (N, 1, 1, F), and series (N, C, 1,
            length), as `features.as_read` makes them; NaN where a value is missing.
        labels: int64, shape (N,).
        class_names: the name of each label.
        factors: what is known to vary, each of shape (N,); empty for most sets.
        note: what was done to the images since they were loaded, to be said beside them.
        kind: what one point is, of `config.DATA_KINDS`.
        features: what a vector's numbers or a series' channels are.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    factors: dict[str, Tensor] = field(default_factory=dict)
    note: str = ""
    kind: str = IMAGE
    features: tuple[Feature, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, C, H, W = self.images.shape
        return C, H, W

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the images and labels: what was computed of others is not of this data set."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        if self.features:
            digest.update(repr(self.features).encode())
        for values in (self.images, self.labels):
            digest.update(values.contiguous().numpy().data)
        return digest.hexdigest()

    def first(self, n: int) -> "Dataset":
        """The first n points, or all if there are fewer."""
        return dataclasses.replace(
            self,
            images=self.images[:n],
            labels=self.labels[:n],
            factors={name: values[:n] for name, values in self.factors.items()},
        )

    def is_read_by(self, model: ModelConfig | ForeignModel) -> bool:
        """Whether such a model reads the points as they are."""
        own = self.kind, self.image_shape, self.features
        if not model.features and model.kind != IMAGE:  # of columns that are not known
            return False
        return own == (model.kind, model.image_shape, model.features)

    def check_read_by(self, model: ModelConfig | ForeignModel) -> None:
        """Raises DatasetError if a model cannot read these points, or not within memory."""
        if self.kind != model.kind:
            raise DatasetError(
                f"{self.name} holds {_plural(self.kind)}, and this model reads "
                f"{_plural(model.kind)}; choose data of that kind"
            )
        if self.kind == IMAGE:
            self.check_resized(model.image_shape)
        elif self.image_shape != model.image_shape or not has_columns_of(self.features, model):
            raise DatasetError(
                f"{self.name} has {_features(self.features, self.image_shape)}, and this model "
                f"reads {_features(model.features, model.image_shape)}; choose data with the same "
                "columns"
            )
        elif getattr(model, "reads", "") and bool(self.images.isnan().any()):
            n = int(self.images.isnan().flatten(1).any(1).sum())
            raise DatasetError(
                f"{self.name} lacks values in {n:,} of its {len(self):,} rows, and this model "
                "knows no missing ones; leave those rows out, or fill them in"
            )

    def read_by(self, model: ModelConfig | ForeignModel) -> "Dataset":
        """The same points as a model reads them: images of its shape, numbers as it standardises.

        Raises:
            DatasetError: as `check_read_by`.
        """
        if self.is_read_by(model):
            return self
        self.check_read_by(model)
        if self.kind == IMAGE:
            return self.resized(model.image_shape)
        table = _columns(self.images.numpy(), self.kind)
        values, features = as_measured(table, self.features), model.features
        if not features:
            assert isinstance(model, ForeignModel)
            features = read_so(self.features, model.reads)
        images = torch.from_numpy(as_read(values, features)).reshape(self.images.shape)
        note = "standardised as the model's training data were"
        if isinstance(model, ForeignModel):
            note = f"read {model.reads}"
        return dataclasses.replace(self, images=images, features=features, note=note)

    def check_resized(self, image_shape: tuple[int, int, int]) -> None:
        """Raises DatasetError if all its images in that shape would take too much memory."""
        n_bytes = len(self) * math.prod(image_shape)
        if tuple(image_shape) != self.image_shape and n_bytes > MAX_RESIZED_BYTES:
            raise DatasetError(
                f"resized to {_size(image_shape)} the {len(self):,} images of {self.name} would "
                f"take {n_bytes / 1e9:.1f} GB; at most {MAX_RESIZED_BYTES / 1e9:.0f} GB, so choose "
                "data of that size, or of fewer images"
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
            DatasetError: another number of channels, a side below 1, or images that would take
                more than MAX_RESIZED_BYTES.
        """
        if tuple(image_shape) == self.image_shape:
            return self
        self.check_resized(image_shape)
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
    shipped: str = ""  # the folder in SHIPPED that holds the test split
    n_bytes: int = 0  # of those files together
    fingerprint: str = ""  # another one when the images or labels are others
    n_classes: int = 0  # how many names its labels have
    is_own: bool = False  # added by `vae.data.own`
    is_listed: bool = True  # else it is found by its name alone
    is_given: bool = False  # by `give`: of this process alone, so no other can train on it
    kind: str = IMAGE
    find_features: Callable[[], tuple[Feature, ...]] = tuple  # asked only where they are needed

    @property
    def features(self) -> tuple[Feature, ...]:
        """What a vector's numbers or a series' channels are."""
        return self.find_features()

    def shipped_folder(self, split: str) -> Path | None:
        """The folder that comes with the app and holds that split; None if there is none."""
        path = SHIPPED / self.shipped
        return path if split == "test" and self.shipped and path.is_dir() else None

    def is_here(self, split: str) -> bool:
        """Whether nothing has to be downloaded for that split; packed or unpacked is the same."""
        if self.shipped_folder(split):
            return True
        paths = [folder() / file for file in self.files]
        return all(path.exists() or path.with_suffix("").exists() for path in paths)

    def bytes_here(self) -> int:
        """How much of `n_bytes` has arrived: for the progress of a download."""
        return sum(_bytes_of_download(folder() / file) for file in self.files)


def _bytes_of_download(path: Path) -> int:
    """The size of a file, or of the largest part of it that is being fetched."""
    sizes = [0]
    for found in (path, *path.parent.glob(f".{path.name}.*")):
        with suppress(OSError):  # renamed or removed at this moment
            sizes.append(found.stat().st_size)
    return max(sizes)


def folder() -> Path:
    """Where downloaded sets are kept: the environment variable VAE_DATA, or data/ here."""
    return Path(os.environ.get("VAE_DATA") or "data")


def to_unit(images: Tensor) -> Tensor:
    """uint8 images as the floats in [0, 1] that models read, same shape; floats as they are."""
    return images if images.is_floating_point() else images.float().div_(255)


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
        UserError: image_shape is not (C, H, W) with C = 1 or 3 and sides from 1.
    """
    from PIL import Image

    if len(image_shape) != 3 or image_shape[0] not in (1, 3) or min(image_shape) < 1:
        raise UserError(f"image_shape (={image_shape}) must be (1 or 3, height, width)")
    C, H, W = image_shape
    picture = picture.convert("L" if C == 1 else "RGB")
    if picture.size != (W, H):
        picture = picture.resize((W, H), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)  # (H, W) or (H, W, C)
    return pixels[None] if C == 1 else pixels.transpose(2, 0, 1)


def of_numbers(
    name: str,
    split: str,
    kind: str,
    values: np.ndarray,
    features: tuple[Feature, ...],
    labels: np.ndarray,
    class_names: tuple[str, ...],
    factors: dict[str, np.ndarray] | None = None,
) -> Dataset:
    """Vectors or series, standardised by the part that is not held out.

    Args:
        name, class_names: as of `Dataset`.
        split: "test", "train", or "all" of them in their own order.
        kind: SERIES or VECTOR.
        values: of all points as measured, shape (N, F), or (N, C, L); NaN where one is missing.
        features: F or C of them; their mean and scale are found here.
        labels: shape (N,).
        factors: each of shape (N,).
    """
    held_out = is_held_out(len(values))
    features = measured(values[~held_out], features)
    rows = {"test": held_out, "train": ~held_out}.get(split, np.ones_like(held_out))
    chosen = as_read(values[rows], features)
    shape = (len(chosen), 1, 1, -1) if kind == VECTOR else (*chosen.shape[:2], 1, -1)
    return Dataset(
        name=name,
        split=split,
        images=torch.from_numpy(chosen.reshape(shape)),
        labels=torch.from_numpy(labels[rows].astype(np.int64)),
        class_names=class_names,
        factors={
            k: torch.from_numpy(v[rows].astype(np.float32)) for k, v in (factors or {}).items()
        },
        kind=kind,
        features=features,
    )


def is_held_out(n: int) -> np.ndarray:
    """Which of n images are held out: one in five, drawn with seed 0; bool, shape (n,)."""
    held_out = np.zeros(n, dtype=bool)
    chosen = np.random.default_rng(0).permutation(n)[: round(HELD_OUT_SHARE * n)]
    held_out[chosen] = True
    return held_out


def _columns(x: np.ndarray, kind: str) -> np.ndarray:
    """Vectors (N, 1, 1, F) as (N, F), series (N, C, 1, L) as (N, C, L)."""
    return x.reshape(len(x), -1) if kind == VECTOR else x[:, :, 0]


def _plural(kind: str) -> str:
    return kind if kind.endswith("s") else f"{kind}s"


def has_columns_of(features: tuple[Feature, ...], model: ModelConfig | ForeignModel) -> bool:
    """Whether they are called as a model's own, and are of their kinds.

    Who reads any column by its numbers alone does not mind what they are.
    """
    own, others = ([(f.name, f.kind) for f in known] for known in (model.features, features))
    return bool(getattr(model, "reads", "")) or own == others


def _features(features: tuple[Feature, ...], shape: tuple[int, int, int]) -> str:
    """How many, of what length, and what they are called."""
    if not features:
        return f"{shape[2]} features"
    names = ", ".join(feature.name[:20] for feature in features[:4])
    more = ", ..." if len(features) > 4 else ""
    length = f" of length {shape[2]}" if len(features) != shape[2] else ""
    return f"{len(features)} features{length} ({names}{more})"


def _as_picture(image: np.ndarray) -> "Image.Image":
    """A uint8 image (C, H, W) as a Pillow picture of mode L or RGB."""
    from PIL import Image

    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0).copy())


def _size(image_shape: tuple[int, int, int]) -> str:
    C, H, W = image_shape
    return f"{H} x {W} {'grey' if C == 1 else 'colour'}"


def reason(error: Exception) -> str:
    """What an error says, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
