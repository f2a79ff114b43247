"""package.module:factory -> a data set of this process, known to `vae.data.catalogue` by its name.

The factory gives images, or images and labels, or a map-style data set of torch; or a dict of
those, {"train": ..., "test": ...}. Images are kept as bytes, as those of every data set here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae.data import catalogue
from vae.data.dataset import Dataset, DatasetError
from vae.data.own import limits
from vae.data.own.labels import UNLABELLED
from vae.formats.shapes import of_pixels, text
from vae.formats.user_code import factory
from vae.formats.wording import printable

_WANTED = (
    "give images (N, C, H, W), (N, H, W) or (N, H, W, C), or (images, labels), or a data set of "
    'torch, or {"train": ..., "test": ...}'
)
_IMAGE_KEYS = ("image", "images", "img", "pixel_values", "x")
_LABEL_KEYS = ("label", "labels", "target", "y")


@dataclass
class _Points:
    """Images as bytes (N, C, H, W) and what is known of their labels."""

    images: np.ndarray
    labels: list[Any] | None
    class_names: tuple[str, ...] | None
    note: str = ""
    factors: dict[str, Tensor] = field(default_factory=dict)


def open_data(spec: str) -> str:
    """Makes the data of "package.module:factory" known to this process; returns their name.

    Without a split of their own, one in five is held out (`datasets.is_held_out`).

    Raises:
        DatasetError: the factory cannot be had, or what it gives is no set of images.
    """
    made, _ = factory.make(spec, "--data", _is_data, DatasetError)
    try:
        train, test, note = _splits(made)
    except DatasetError as error:
        raise DatasetError(f"--data (={printable(spec, 100)!r}): {error}") from error
    except factory.RAISED as error:  # of a data set's own code
        raise DatasetError(
            f"--data (={printable(spec, 100)!r}) raised {factory.raised(error)}"
        ) from error
    name = _name(spec)
    catalogue.give(name, test, train, f"given by {printable(spec, 100)}. {note}".strip())
    return name


def images_of(data: Any) -> Tensor:
    """Images that a person gives, as uint8 (N, C, H, W). Raises DatasetError."""
    if isinstance(data, Dataset):
        return data.images
    return torch.from_numpy(_points(data, "the data").images)


def _is_data(value: Any) -> bool:
    return not callable(value)


def _name(spec: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", spec.strip().replace(":", "."))[-40:].strip("._-")
    return name if catalogue.may_be_called(name) else f"{name[-32:]}-given".lstrip("._-")


def _splits(made: Any) -> tuple[Dataset | None, Dataset, str]:
    """Training and held-out points, and a sentence on what was done."""
    if isinstance(made, dict):
        if "test" not in made or not set(made) <= {"train", "test"}:
            keys = ", ".join(printable(str(key), 30) for key in list(made)[:6])
            raise DatasetError(
                f'a dict must have the keys "train" and "test", or "test" alone; it has: {keys}'
            )
        parts = {key: _points(made[key], key) for key in ("train", "test") if key in made}
    else:
        parts = {"all": _points(made, "the data")}
    shapes = {key: part.images.shape[1:] for key, part in parts.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{key} {text(shape)}" for key, shape in shapes.items())
        raise DatasetError(f"the images of both splits must have one shape: {told}")
    notes = dict.fromkeys(part.note for part in parts.values() if part.note)
    class_names, labels, told = _labels(list(parts.values()))
    notes |= dict.fromkeys(filter(None, [told]))

    def whole(key: str, split: str) -> Dataset:
        part = parts[key]
        return Dataset(
            name="",
            split=split,
            images=torch.from_numpy(part.images),
            labels=labels[list(parts).index(key)],
            class_names=class_names,
            factors=part.factors,
        )

    if "test" in parts:
        train = whole("train", "train") if "train" in parts else None
        return train, whole("test", "test"), " ".join(notes)
    everything, N = whole("all", "all"), len(parts["all"].images)

    if N < limits.MIN_IMAGES:
        raise DatasetError(f"{N} images; at least {limits.MIN_IMAGES}, as one in five is held out")
    held_out = catalogue.is_held_out(N)
    notes["One in five is held out."] = None
    return _rows(everything, ~held_out), _rows(everything, held_out), " ".join(notes)


def _rows(data: Dataset, chosen: np.ndarray) -> Dataset:
    rows = torch.from_numpy(np.flatnonzero(chosen))
    factors = {name: values[rows] for name, values in data.factors.items()}
    return Dataset("", data.split, data.images[rows], data.labels[rows], data.class_names, factors)


def _points(data: Any, what: str) -> _Points:
    """Images and labels of whatever holds them."""
    if isinstance(data, Dataset):
        labels = data.labels.tolist()
        return _Points(data.images.numpy(), labels, data.class_names, "", dict(data.factors))
    if hasattr(data, "dataset") and hasattr(data, "batch_size"):
        data = data.dataset  # a DataLoader would only shuffle it
    if isinstance(data, tuple) and len(data) == 2:
        points = _points(data[0], what)
        points.labels = _label_list(data[1], len(points.images), what)
        return points
    if isinstance(data, Tensor | np.ndarray):
        images, note = _as_bytes(data, what)
        return _Points(*_laid_out(images, note, what))
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str):
        return _of_items(data, what)
    raise DatasetError(f"{what}: a {type(data).__name__} is no set of images; {_WANTED}")


def _of_items(data: Any, what: str) -> _Points:
    """A map-style data set of torch, or a list of images."""

    N = len(data)
    if not 1 <= N <= limits.MAX_IMAGES:
        raise DatasetError(
            f"{what}: {N:,} images; from 1 to {limits.MAX_IMAGES:,} are read, so give a part: "
            "torch.utils.data.Subset"
        )
    images, labels, notes = None, [], {}
    for i, (image, label) in enumerate(_items(data, N, what)):
        values, note = _as_bytes(image, f"{what}, item {i}")
        if images is None:
            if N * values.size > limits.MAX_KEPT_BYTES:
                raise _too_large(N * values.size, what)
            images = np.empty((N, *values.shape), dtype=np.uint8)
        if values.shape != images.shape[1:]:
            raise DatasetError(
                f"{what}: item {i} is {text(values.shape)}, item 0 is {text(images.shape[1:])}; "
                "make them of one size"
            )
        images[i] = values
        notes[note] = None
        labels.append(label)
    assert images is not None
    note = next(iter(notes), "") if len(notes) == 1 else ""
    points = _Points(*_laid_out(images, note, what))
    if any(label is not None for label in labels):
        points.labels = _label_list(labels, N, what)
    names = getattr(data, "classes", None)
    if isinstance(names, list | tuple) and names and all(isinstance(n, str) for n in names):
        points.class_names = tuple(names)
    return points


def _items(data: Any, N: int, what: str) -> Iterator[tuple[Any, Any]]:
    for i in range(N):
        item = data[i]
        if isinstance(item, dict):
            image = next((item[key] for key in _IMAGE_KEYS if key in item), None)
            label = next((item[key] for key in _LABEL_KEYS if key in item), None)
            if image is None:
                keys = ", ".join(printable(str(key), 30) for key in list(item)[:6])
                raise DatasetError(f"{what}: item {i} has no 'image', but: {keys}")
            yield image, label
        elif isinstance(item, list | tuple):
            yield item[0], item[1] if len(item) > 1 else None
        else:
            yield item, None


_BINARY = "Values 0 and 1 become 0 and 255."


def _as_bytes(values: Any, what: str) -> tuple[np.ndarray, str]:
    """Values in [0, 1], or whole ones from 0 to 255, as bytes, and a sentence on it."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind not in "buif":
        raise DatasetError(f"{what}: values of type {array.dtype} are no pixels; {_WANTED}")
    if not array.size:
        raise DatasetError(f"{what}: there are no images in it")
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DatasetError(f"{what}: it holds values that are NaN or infinite")
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255), ""
    if array.dtype.kind in "ui":
        if low < 0 or high > 255:
            raise DatasetError(
                f"{what}: whole values from {low:g} to {high:g}; pixels go from 0 to 255"
            )
        return array.astype(np.uint8), "whole"
    if low < -1e-6 or high > 1 + 1e-6:
        raise DatasetError(
            f"{what}: values from {low:g} to {high:g}; give pixels in [0, 1], or bytes, and let "
            "encode centre and scale them if the model needs that"
        )
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8), (
        "Values in [0, 1] are rounded to one of 256 grey levels."
    )


def _laid_out(images: np.ndarray, note: str, what: str) -> tuple[np.ndarray, None, None, str]:
    """As (N, C, H, W), wherever the channels stand."""

    if images.size > limits.MAX_KEPT_BYTES or len(images) > limits.MAX_IMAGES:
        raise _too_large(images.size, what)
    if note == "whole":
        note = ""
        if images.max() <= 1:
            images, note = images * np.uint8(255), _BINARY
    shape = images.shape
    if images.ndim == 2:
        images = images.reshape(-1, *of_pixels(shape[1]))
    elif images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DatasetError(f"{what}: values of shape {text(shape)} are no images; {_WANTED}")
    return np.ascontiguousarray(images), None, None, note


def _too_large(n_bytes: int, what: str) -> DatasetError:

    return DatasetError(
        f"{what}: {n_bytes / 1e6:,.0f} MB of images; at most {limits.MAX_KEPT_BYTES / 1e6:.0f} MB "
        f"and {limits.MAX_IMAGES:,} images are kept, so give a part of them"
    )


def _label_list(labels: Any, N: int, what: str) -> list[Any]:
    if isinstance(labels, Tensor | np.ndarray):
        if labels.ndim != 1:
            raise DatasetError(
                f"{what}: labels of shape {text(tuple(labels.shape))}; give one per image, ({N},)"
            )
        labels = labels.tolist()
    if not isinstance(labels, Sequence) or isinstance(labels, str):
        raise DatasetError(f"{what}: labels of type {type(labels).__name__}; give one per image")
    if len(labels) != N:
        raise DatasetError(f"{what}: {len(labels):,} labels for {N:,} images; give one per image")
    return [label.item() if hasattr(label, "item") else label for label in labels]


def _labels(parts: list[_Points]) -> tuple[tuple[str, ...], list[Tensor], str]:
    """The names of the classes, the labels of each part, and a sentence if none could be used."""

    def none(note: str = "") -> tuple[tuple[str, ...], list[Tensor], str]:
        zeros = [torch.zeros(len(part.images), dtype=torch.int64) for part in parts]
        return (UNLABELLED,), zeros, note

    labels = [part.labels for part in parts if part.labels is not None]
    if len(labels) < len(parts):
        return none()
    names = parts[0].class_names
    for i, part in enumerate(parts):
        known = part.class_names
        if known and all(isinstance(v, int) and 0 <= v < len(known) for v in labels[i]):
            labels[i] = [known[v] for v in labels[i]]
    given = [label for of_part in labels for label in of_part]
    if names and set(given) <= set(names):
        places = {name: place for place, name in enumerate(names)}
        return names, [torch.tensor([places[v] for v in of_part]) for of_part in labels], ""
    if not all(isinstance(v, int | float | str) for v in given):
        odd = next(v for v in given if not isinstance(v, int | float | str))
        return none(f"Labels of type {type(odd).__name__} are not used.")
    found = set(given)
    if len(found) > limits.MAX_CLASSES:
        return none(f"The labels have {len(found):,} different values and are not used.")
    words = sorted(v for v in found if isinstance(v, str))
    ordered = [*sorted(v for v in found if not isinstance(v, str)), *words]
    places = {value: place for place, value in enumerate(ordered)}
    shown = tuple(
        printable(f"{v:g}" if isinstance(v, float) else str(v)) or UNLABELLED for v in ordered
    )
    numbers = [torch.tensor([places[v] for v in of_part]) for of_part in labels]
    return shown, numbers, ""
