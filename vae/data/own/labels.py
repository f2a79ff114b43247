"""The classes of images: what a label is, and those that subfolders give."""

import re
from collections import Counter
from typing import Any

from vae.data.dataset import DatasetError
from vae.data.own import limits
from vae.data.own.files import shown, text_problem

UNLABELLED = "unlabelled"
SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation"}
_WHOLE = re.compile(r"[+-]?\d+")
_WHOLE_FLOAT = re.compile(r"([+-]?\d+)\.0+")  # as a column of integers with gaps is written


def labels_of_folders(names: list[str]) -> tuple[list[str], str]:
    """The subfolder that each picture lies in, below those that all of them lie in, and a
    sentence if they make no classes."""
    folders = [name.split("/")[:-1] for name in names]
    skipped = 0
    while all(len(parts) > skipped and parts[skipped] == folders[0][skipped] for parts in folders):
        skipped += 1
    folders = [parts[skipped:] for parts in folders]
    if all(parts and parts[0].lower() in SPLIT_NAMES for parts in folders):
        folders = [parts[1:] for parts in folders]
    return as_classes([parts[0] if parts else UNLABELLED for parts in folders], "The folders")


def as_classes(labels: list[str], whose: str) -> tuple[list[str], str]:
    """Labels as classes: whole numbers without a point, one line each.

    Args:
        labels: one per image; UNLABELLED or empty where there is none.
        whose: where they stand, as a sentence begins with it.

    Returns:
        As many labels, and a sentence; where they make no classes (measurements, or more different
        ones than limits.MAX_CLASSES) all are UNLABELLED and the sentence says why.

    Raises:
        DatasetError: one of them cannot be shown, or is too long.
    """
    labels = [" ".join(re.split(r"[\t\n\r]+", label.strip())) or UNLABELLED for label in labels]
    found = Counter(labels)
    found.pop(UNLABELLED, None)
    if found and all(_WHOLE_FLOAT.fullmatch(x) or _WHOLE.fullmatch(x) for x in found):
        labels = [_WHOLE_FLOAT.sub(r"\1", label) for label in labels]
        found = Counter(label for label in labels if label != UNLABELLED)
    problem = ""
    if len(found) > limits.MAX_CLASSES:
        problem = f"{len(found):,} classes; at most {limits.MAX_CLASSES:,}"
    elif 2 * len(found) > found.total() and _are_measurements(found):
        problem = f"{len(found):,} different numbers for {found.total():,} images"
    if problem:
        return [UNLABELLED] * len(labels), f"{whose}: {problem}, so they are not used for labels."
    for label in sorted(found):
        if text_problem(label):
            raise DatasetError(f"the class {shown(label)!r} has characters that cannot be shown")
        if len(label) > limits.MAX_LABEL:
            raise DatasetError(
                f"the class {shown(label)!r} has more than {limits.MAX_LABEL} letters"
            )
    return labels, ""


def _are_measurements(labels: Counter[str]) -> bool:
    """Whether all are numbers, and not all of them whole."""
    try:
        values = [float(label.replace(",", ".")) for label in labels]
    except ValueError:
        return False
    return not all(value.is_integer() for value in values)


def counted(labels: list[str]) -> dict[str, int]:
    """How many images each class has, in the order of the classes."""
    counts = Counter(labels)
    return {name: counts[name] for name in class_names_of(labels)}


def class_names_of(labels: list[str]) -> tuple[str, ...]:
    """Numbers by value, words by letter, what has no label last."""
    found = set(labels)

    def order(name: str) -> tuple[Any, ...]:
        is_number = _WHOLE.fullmatch(name) is not None and name.isascii() and len(name) < 10
        return name == UNLABELLED, not is_number, int(name) if is_number else 0, name

    return tuple(sorted(found, key=order))
