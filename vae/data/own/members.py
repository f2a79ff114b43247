"""Which arrays of an .npz are the images, which their labels, and what the classes are called."""

import re
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from vae.data.dataset import DatasetError
from vae.data.own.array import Array
from vae.data.own.csv_labels import LABEL_WORDS
from vae.data.own.files import shown
from vae.data.own.labels import SPLIT_NAMES, UNLABELLED, as_classes

_IMAGE_WORDS = {"x", "image", "images", "img", "imgs", "data", "picture", "pictures", "pixels"}
# What has the shape of images and is something said of them.
_OTHER_WORDS = {
    *("mask", "masks", "segmentation", "segmentations", "seg", "depth", "depths", "edges"),
    *("heatmap", "heatmaps", "landmarks", "keypoints", "bbox", "boxes", "onehot", *LABEL_WORDS),
}
_NAMES_WORDS = {"name", "names", "classes", "class", "categories", "category", "labels", "label"}


def choose_images(name: str, arrays: list[Array]) -> tuple[list[Array], list[str]]:
    """The images of a file: one array, or parts of the same name (x_train, x_test), and sentences.

    Raises:
        DatasetError: there are none, or several that may be it.
    """
    found, notes = [a for a in arrays if a.may_be_images], []
    if not found:
        found = [a for a in arrays if a.may_be_flat_images]
        if found:
            notes.append(f"Rows of {found[0].shape[1]:,} values are taken for square images.")
    if not found:
        held = "; ".join(a.no_images for a in arrays[:5]) or "it holds no array"
        raise DatasetError(
            f"{name} has no images: {held[:300]}; expected an array of real numbers of shape "
            "(N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3"
        )
    groups = _by_base(found)
    chosen = next(iter(groups))
    if len(groups) > 1:
        likely = [base for base in groups if not _OTHER_WORDS & set(base)]
        named = [base for base in likely if _IMAGE_WORDS & set(base)]
        sole = [bases[0] for bases in (named, likely) if len(bases) == 1]
        if not sole:
            told = ", ".join(f"{shown(a.name)} {a.shape}" for a in found[:5])
            raise DatasetError(
                f"{name} holds several arrays that may be the images: {told[:200]}; keep one, or "
                "call it 'images'"
            )
        chosen = sole[0]
        unused = ", ".join(f"{shown(a.name)} {a.shape}" for a in found if a not in groups[chosen])
        notes.append(f"Not used: {unused[:200]}.")
    found = groups[chosen]
    if len(found) > 1:
        joined = ", ".join(shown(array.name) for array in found[:6])
        notes.append(f"Joined: {joined}; any split of their own is not kept.")
    return found, notes


def choose_labels(images: list[Array], others: list[Array]) -> tuple[list[str], list[str]]:
    """The labels of the images, from the array that has one for each, and sentences.

    What is called a label comes first, then what else may be one. Whole numbers get the names of
    an array of names, if there is one for each.
    """
    N = sum(array.shape[0] for array in images)
    notes = [
        f"{shown(a.name)} is not used: it holds Python objects, which could run code."
        for a in others
        if a.is_object
    ]
    candidates = [a for a in others if a.may_be_labels or a.may_be_one_hot]
    groups = _by_base(candidates, with_numbers=len(images) == 1)
    columns = {base: found for base, group in groups.items() if (found := _beside(images, group))}
    ranked = sorted(columns, key=_rank)
    unused = []
    chosen: list[Array] = []
    labels = [UNLABELLED] * N
    for base in ranked:
        values = None if chosen else _values(columns[base])
        told = shown(columns[base][0].name)
        if values is None or (_rank(base)[0] == len(LABEL_WORDS) and len(set(values)) == N):
            unused.append(told)
            continue
        labels, note = as_classes(values, told)
        if note:
            notes.append(note)
        else:
            chosen = columns[base]
    if chosen:
        labels, note = _named(labels, [a for a in others if a not in chosen and a.may_be_names])
        notes.append(note)
        if unused:
            notes.append(f"Labels from {shown(chosen[0].name)}; not used: {', '.join(unused[:4])}.")
    elif others and not notes:
        told = ", ".join(f"{shown(a.name)} {a.shape}" for a in others[:4])
        notes.append(f"Not used for labels, for their number, shape or values: {told}.")
    return labels, notes


def _by_base(
    arrays: Iterable[Array], with_numbers: bool = False
) -> dict[tuple[str, ...], list[Array]]:
    """Arrays by the words of their names, without those of a split and, unless asked, numbers."""
    groups: dict[tuple[str, ...], list[Array]] = defaultdict(list)
    for array in sorted(arrays, key=lambda array: _natural(array.name)):
        words = [word for word in _words(array.name) if word not in SPLIT_NAMES]
        groups[tuple(w for w in words if with_numbers or not w.isdigit())].append(array)
    return dict(groups)


def _words(name: str) -> list[str]:
    """ "xTrain_2" as x, train, 2."""
    return [word.lower() for word in re.findall(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+|\d+", name)]


def _natural(name: str) -> list[tuple[int, str]]:
    """What orders arr_2 before arr_10."""
    parts = re.split(r"(\d+)", name)
    return [
        (int(part), "") if part.isdecimal() and len(part) < 10 else (-1, part) for part in parts
    ]


def _split(array: Array) -> str:
    """ "train" for x_train."""
    return " ".join(word for word in _words(array.name) if word in SPLIT_NAMES)


def _beside(images: list[Array], group: list[Array]) -> list[Array]:
    """An array of the group for each of the images, of as many rows; none where one is missing."""
    by_split = {_split(array): array for array in group}
    splits = [_split(array) for array in images]
    found = group
    if (
        len(by_split) == len(group)
        and len(set(splits)) == len(splits)
        and set(splits) <= {*by_split}
    ):
        found = [by_split[split] for split in splits]
    lengths = [array.shape[0] for array in found]
    return found if lengths == [array.shape[0] for array in images] else []


def _rank(base: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    at = [LABEL_WORDS.index(word) for word in base if word in LABEL_WORDS]
    return min(at, default=len(LABEL_WORDS)), base


def _values(arrays: list[Array]) -> list[str] | None:
    """Their values as labels; None if they are rows that are not one-hot."""
    labels: list[str] = []
    for array in arrays:
        for chunk in array.chunks():
            if array.may_be_labels:
                labels += [_as_label(value) for value in chunk.reshape(len(chunk)).tolist()]
            elif np.isin(chunk, (0, 1)).all() and (chunk.sum(axis=1) == 1).all():
                labels += [str(label) for label in chunk.argmax(axis=1)]
            else:
                return None
    return labels


def _as_label(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and value != value:
        return UNLABELLED
    return str(value)


def _named(labels: list[str], named: list[Array]) -> tuple[list[str], str]:
    """Labels 0, 1, ... by the names of an array that has one for each; a sentence if they do not
    fit."""
    named = [array for array in named if _NAMES_WORDS & set(_words(array.name))]
    if not named:
        return labels, ""
    names = [_as_label(name) for chunk in named[0].chunks() for name in chunk.tolist()]
    found = {label for label in labels if label != UNLABELLED}
    if not all(label.isascii() and label.isdecimal() for label in found):
        return labels, ""
    if len(set(names)) < len(names) or any(int(label) >= len(names) for label in found):
        highest = max(found, key=int, default="")
        return labels, (
            f"{shown(named[0].name)} is not used: it has {len(names):,} names, and the labels go "
            f"up to {highest}; name them from 0 on, each once."
        )
    return as_classes([names[int(x)] if x != UNLABELLED else x for x in labels], named[0].name)
