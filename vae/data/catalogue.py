"""A name -> Dataset: the sets that everybody has, those of one's own, those that are in memory.

Every data set has a fixed split, the same on every machine: torchvision's sets keep their own
train and test parts; scikit-learn's digits, the sprites and data of one's own hold out one image in
five, drawn with seed 0.

Data that are in memory are known to one process by the name that `give` is told.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from contextlib import suppress

import torch

from vae.config import BINARISED, IMAGE, ForeignModel, ModelConfig
from vae.data.builtin import SOURCES
from vae.data.dataset import (
    SPLITS,
    Dataset,
    DatasetError,
    Source,
    binarise,
    has_columns_of,
)
from vae.data.dataset import folder as folder
from vae.data.dataset import is_held_out as is_held_out
from vae.data.dataset import to_unit as to_unit
from vae.data.own import store
from vae.data.own.store import check_own_name, may_be_called, own_names, own_path

NAMES = tuple(SOURCES)
_MOST_UNLISTED = 8
_GIVEN: dict[str, Source] = {}  # in memory, by `give`


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
        if source.kind != IMAGE:
            raise DatasetError(f"{source.title} are no images, so that none can be drawn as 0 or 1")
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
        kind=train.kind,
        features=train.features,
    )


def describe(name: str) -> Source:
    """Title, image shape and a note, without loading anything.

    Raises:
        DatasetError: there is no such set, or its file is damaged.
    """
    grey = name.removesuffix(BINARISED)
    if grey in SOURCES:
        return SOURCES[grey]
    if grey in _GIVEN:
        return _GIVEN[grey]
    choices = ", ".join(names())
    if not may_be_called(grey):
        raise DatasetError(f"unknown data set {name!r}; choose one of: {choices}")
    path = own_path(grey)
    try:
        return store.describe(path)
    except OSError:
        raise DatasetError(
            f"unknown data set {grey!r}; choose one of: {choices}; or, if it is of your own, add "
            f"it to {path.parent}: python -m vae data add PATH --name {grey}"
        ) from None


def names() -> tuple[str, ...]:
    """Every data set there is: NAMES, then those that were given, then those of one's own."""
    given = [name for name, source in _GIVEN.items() if source.is_listed]
    return tuple(dict.fromkeys([*NAMES, *given, *own_names()]))


def give(
    name: str,
    test: Dataset,
    train: Dataset | None = None,
    note: str = "",
    listed: bool = True,
) -> Source:
    """Makes data that are in memory known to this process by a name, until it ends.

    Args:
        name: as in `check_own_name`; one that was given before is another one from then on.
        test: the held-out images, uint8, shape (N, C, H, W), and their labels; vectors and series
            are float32, as the model reads them.
        train: those it was trained on, of the same shape and classes; None: there are none here.
        note: what they are.
        listed: whether `names` has it; of others the last few that were given are kept.

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
        usable = len(shape) == 4 and (shape[1] in (1, 3) or data.kind != IMAGE) and min(shape) > 0
        dtype, wanted = (
            (torch.uint8, "uint8 of shape (N, 1 or 3, H, W)")
            if data.kind == IMAGE
            else (torch.float32, "float32 of shape (N, 1, 1, features) or (N, C, 1, length)")
        )
        if not usable or data.images.dtype != dtype or shape[1:] != test.image_shape:
            raise DatasetError(
                f"images (={data.images.dtype} {shape}) must be {wanted}, the same in both splits"
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

    contents: list[object] = [test.class_names]
    for part in parts.values():
        factors = {k: hashlib.sha256(v.numpy().data).hexdigest() for k, v in part.factors.items()}
        contents += [part.fingerprint, factors]
    _GIVEN[name] = Source(
        title=name,
        image_shape=test.image_shape,
        n_train=0 if train is None else len(train),
        note=note,
        load=load_given,
        fingerprint=hashlib.sha256(repr(contents).encode()).hexdigest(),
        n_classes=len(test.class_names),
        is_given=True,
        kind=test.kind,
        find_features=lambda: test.features,
        is_listed=listed,
    )
    unlisted = [known for known, source in _GIVEN.items() if not source.is_listed]
    for known in unlisted[:-_MOST_UNLISTED]:
        del _GIVEN[known]
    return _GIVEN[name]


def fingerprint(name: str) -> str:
    """Is another one when the data set of that name is another one; "" where there is none.

    Nothing is loaded. Of the sets in NAMES it is the name, of others a digest of what is in them.
    """
    try:
        found = describe(name).fingerprint
    except DatasetError:
        return ""
    return f"{name}:{found}"


def names_of_shape(image_shape: tuple[int, int, int]) -> list[str]:
    """The data sets whose images have that shape."""
    return _names_that(lambda source: (source.kind, source.image_shape) == (IMAGE, image_shape))


def names_for(model: ModelConfig | ForeignModel) -> list[str]:
    """The data sets whose points a model reads as they are, but for their standardisation."""
    return _names_that(
        lambda source: (
            (source.kind, source.image_shape) == (model.kind, model.image_shape)
            and has_columns_of(source.features, model)
        )
    )


def _names_that(fits: Callable[[Source], bool]) -> list[str]:
    found = []
    for name in names():
        with suppress(DatasetError):  # deleted at this moment
            if fits(describe(name)):
                found.append(name)
    return found


def nearest(image_shape: tuple[int, int, int]) -> str:
    """The data set whose images change least when they are resized to that shape.

    Those of as many channels come first, of these the ones that need not be downloaded, of these
    the ones whose sides are nearest by their ratio.
    """
    C, H, W = image_shape

    def change(name: str) -> tuple[bool, bool, float]:
        source = describe(name)
        c, h, w = source.image_shape
        return c != C, not source.is_here("test"), abs(math.log(h / H)) + abs(math.log(w / W))

    return min((name for name in NAMES if describe(name).kind == IMAGE), key=change)
