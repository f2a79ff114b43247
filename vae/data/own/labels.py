"""The classes of images: from subfolders, from a CSV."""

import csv
import io
import os
from collections import Counter
from contextlib import ExitStack
from typing import Any

from vae.data.dataset import DatasetError, reason
from vae.data.own import limits
from vae.data.own.files import PathOrFile, amount, name_of, name_problem, open_file, shown
from vae.names import composed

UNLABELLED = "unlabelled"
_SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation"}


def labels_of_folders(names: list[str]) -> list[str]:
    """The subfolder that each picture lies in, below those that all of them lie in."""
    folders = [name.split("/")[:-1] for name in names]
    skipped = 0
    while all(len(parts) > skipped and parts[skipped] == folders[0][skipped] for parts in folders):
        skipped += 1
    folders = [parts[skipped:] for parts in folders]
    if all(parts and parts[0].lower() in _SPLIT_NAMES for parts in folders):
        folders = [parts[1:] for parts in folders]
    return checked_labels([parts[0] if parts else UNLABELLED for parts in folders])


def labels_of_files(names: list[str], rows: list[list[str]]) -> tuple[list[str], str]:
    """The labels that a CSV gives to pictures, and a sentence on it."""
    if any(len(row) < 2 for row in rows):
        raise DatasetError("the CSV must have two columns for pictures: file,label")
    by_name: dict[str, str] = {}
    for row in rows:
        by_name[composed(row[0].strip()).removeprefix("./")] = row[1].strip()
    labels, n_found = [], 0
    for name in names:
        base = name.rpartition("/")[2]
        keys = (name, base, os.path.splitext(name)[0], os.path.splitext(base)[0])
        label = next((by_name[key] for key in keys if key in by_name), None)
        n_found += label is not None
        labels.append(label or UNLABELLED)
    if not n_found:
        raise DatasetError(
            f"the CSV names none of the pictures: its first file is {shown(rows[0][0])!r}, the "
            f"first picture is {shown(names[0])!r}"
        )
    if n_found == len(names):
        return checked_labels(labels), ""
    return checked_labels(labels), f"The CSV has labels for {n_found:,} of {len(names):,} pictures."


def labels_in_order(rows: list[list[str]], N: int) -> list[str]:
    """The labels that a CSV gives to rows of an array: its last column."""
    if len(rows) == N + 1:  # a line of titles
        rows = rows[1:]
    if len(rows) != N:
        raise DatasetError(f"the CSV has {len(rows):,} rows for {N:,} images; expected as many")
    return checked_labels([row[-1].strip() or UNLABELLED for row in rows])


def checked_labels(labels: list[str]) -> list[str]:
    """The labels, if they are few enough and fit to be shown."""
    found = set(labels)
    if len(found) > limits.MAX_CLASSES:
        raise DatasetError(f"there are {len(found):,} classes; at most {limits.MAX_CLASSES}")
    for label in sorted(found):
        if problem := name_problem(label):
            raise DatasetError(f"the class {shown(label)!r} cannot be used: {problem}")
        if len(label) > 60:
            raise DatasetError(f"the class {shown(label)!r} has more than 60 letters")
    return labels


def counted(labels: list[str]) -> dict[str, int]:
    """How many images each class has, in the order of the classes."""
    counts = Counter(labels)
    return {name: counts[name] for name in class_names_of(labels)}


def class_names_of(labels: list[str]) -> tuple[str, ...]:
    """Numbers by value, words by letter, what has no label last."""
    found = set(labels)

    def order(name: str) -> tuple[Any, ...]:
        is_number = name.isascii() and name.isdecimal() and len(name) < 10
        return name == UNLABELLED, not is_number, int(name) if is_number else 0, name

    return tuple(sorted(found, key=order))


def read_csv(source: PathOrFile) -> list[list[str]]:
    """The rows of a CSV, without a line of titles where one is told by its words."""
    name = name_of(source)
    with ExitStack() as stack:
        try:
            data = open_file(source, stack).read(limits.MAX_CSV_BYTES + 1)
        except OSError as error:
            raise DatasetError(f"{name} cannot be read: {error.strerror}") from error
    if len(data) > limits.MAX_CSV_BYTES:
        raise DatasetError(f"{name} has more than {amount(limits.MAX_CSV_BYTES)}")
    try:
        rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"))) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{name} is not a CSV in UTF-8: {shown(reason(error))}") from error
    if rows and rows[0][-1].strip().lower() in ("label", "labels", "class", "target", "y", "name"):
        rows = rows[1:]
    if not rows:
        raise DatasetError(f"{name} has no rows")
    if len(rows) > limits.MAX_IMAGES + 1:
        raise DatasetError(f"{name} has {len(rows):,} rows; at most {limits.MAX_IMAGES:,}")
    return rows
