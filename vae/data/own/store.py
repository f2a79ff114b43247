"""The files that data of one's own are kept in: `folder()` / "own", one NAME.safetensors per set.

Each holds the points, training ones first, their labels, and in its header what was done to them;
of vectors and series also their features, with the standardisation.
"""

import hashlib
import json
import os
import re
import struct
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from threading import get_ident

import numpy as np
import safetensors
import torch
from safetensors import SafetensorError

from vae.config import BINARISED, IMAGE, SERIES, VECTOR
from vae.data.builtin import SOURCES
from vae.data.dataset import Dataset, DatasetError, Source, folder, is_held_out, reason
from vae.errors import UserError
from vae.features import Feature, from_dicts

_FORMAT = "ELBO Room data 1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_MAX_HEADER_BYTES = 4_000_000


def own_names() -> list[str]:
    """The data sets of one's own that can be read, in alphabetical order."""
    found = []
    try:
        paths = sorted((folder() / "own").glob("*.safetensors"))
    except OSError:
        return []
    for path in paths:
        try:
            if may_be_called(path.stem):
                describe(path)
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
    taken = name.lower() in SOURCES or name.lower().endswith(BINARISED)
    return bool(_NAME.fullmatch(name)) and ".." not in name and not taken


def check_own_name(name: str) -> str:
    """The name, if a data set of one's own may be called so: it becomes part of file names.

    Raises:
        DatasetError: it is empty, too long, could lead out of the folder, or is taken.
    """
    if not may_be_called(name):
        raise DatasetError(
            f"name (={name[:60]!r}) must be 1 to 40 letters, digits, '-', '_' or single dots, "
            f"begin with a letter or digit, not end in {BINARISED}, and be none of: "
            + ", ".join(SOURCES)
        )
    return name


def describe(path: Path) -> Source:
    """What a file of one's own data says of itself.

    Raises:
        OSError: there is no such file.
        DatasetError: it is damaged.
    """
    with open(path, "rb") as file:
        status, begin = os.fstat(file.fileno()), file.read(8)
        n_bytes = min(int.from_bytes(begin, "little"), _MAX_HEADER_BYTES)
        # A new file of the same name has another header: it holds a digest of the images. The
        # times serve for files that were written before that was so.
        return _described(path, file.read(n_bytes), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _described(path: Path, header: bytes, mtime_ns: int, n_bytes: int) -> Source:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            told, kept = file.metadata() or {}, {}
            for name in ("images", "labels"):
                values = file.get_slice(name)
                kept[name] = tuple(values.get_shape()), values.get_dtype()
        (shape, image_type), (labels_shape, label_type) = kept["images"], kept["labels"]
        N, C, H, W = shape
        n_train, class_names = int(told["n_train"]), json.loads(told["class_names"])
        kind = told.get("kind", IMAGE)
        features = from_dicts(json.loads(told.get("features", "[]")))
        of_type = "U8" if kind == IMAGE else "F32"
        usable = (told["format"], image_type, label_type) == (_FORMAT, of_type, "I64")
        usable = usable and labels_shape == (N,) and 0 < n_train < N and min(shape) > 0
        n_features = {IMAGE: 0, VECTOR: W, SERIES: C}.get(kind)
        usable = usable and (C in (1, 3) if kind == IMAGE else H == 1)
        usable = usable and len(features) == n_features
        if not usable or not class_names or not all(isinstance(c, str) for c in class_names):
            raise UserError("it is not one that this program wrote")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(
            f"{path} cannot be used ({reason(error)}); delete it and add the data again"
        ) from error
    old_stamp = "" if "digest" in told else f"{mtime_ns} {n_bytes}"
    return Source(
        title=path.stem,
        image_shape=(C, H, W),
        n_train=n_train,
        note=told.get("note", ""),
        load=partial(
            _load,
            name=path.stem,
            path=path,
            n_train=n_train,
            class_names=tuple(class_names),
            kind=kind,
            features=features,
        ),
        fingerprint=hashlib.sha256(header + old_stamp.encode()).hexdigest(),
        n_classes=len(class_names),
        is_own=True,
        kind=kind,
        find_features=lambda: features,
    )


def _load(
    split: str,
    name: str,
    path: Path,
    n_train: int,
    class_names: tuple[str, ...],
    kind: str,
    features: tuple[Feature, ...],
) -> Dataset:
    rows = slice(n_train, None) if split == "test" else slice(n_train)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            images, labels = (file.get_slice(what)[rows] for what in ("images", "labels"))
        if not len(labels) or labels.min() < 0 or labels.max() >= len(class_names):
            raise UserError("its labels have no name")
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise DatasetError(
            f"{path} cannot be used ({reason(error)}); delete it and add the data again"
        ) from error
    return Dataset(
        name=name,
        split=split,
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        class_names=class_names,
        kind=kind,
        features=features,
    )


def remove(name: str) -> None:
    """Deletes a data set of one's own. Runs that were trained on it stay.

    Raises:
        DatasetError: there is none of that name, or it cannot be deleted.
    """
    path = own_path(name)
    try:
        path.unlink()
    except OSError as error:
        raise DatasetError(f"cannot delete {path}: {error.strerror}") from error


def keep(name: str, data: Dataset) -> Source:
    """Writes points of split "all" as the data set of that name, which must be free.

    Raises:
        DatasetError: the name cannot be used, the folder cannot be written.
    """
    held_out = is_held_out(len(data))
    order = np.concatenate([np.flatnonzero(~held_out), np.flatnonzero(held_out)])
    images, labels = data.images.numpy(), data.labels.numpy()
    metadata = {
        "format": _FORMAT,
        "n_train": str(int((~held_out).sum())),
        "class_names": json.dumps(data.class_names),
        "digest": data.fingerprint,
        "from": data.name,
        "note": data.note,
    }
    if data.kind != IMAGE:
        features = [asdict(feature) for feature in data.features]
        metadata |= {"kind": data.kind, "features": json.dumps(features)}
    path = own_path(name)
    _write(path, images, labels, order, metadata)
    return describe(path)


def check_may_be_added(name: str) -> None:
    """Raises DatasetError: a set may not be called so, or there is one already."""
    _check_free(own_path(name))


def kept() -> tuple[int, int]:
    """How many files of sets are kept, and their bytes."""
    try:
        sizes = [file.stat().st_size for file in (folder() / "own").glob("*.safetensors")]
    except OSError:
        return 0, 0  # what stands in the way shows itself when something is written
    return len(sizes), sum(sizes)


def _check_free(path: Path) -> None:
    if path.exists():
        raise DatasetError(
            f"a data set named {path.stem} exists already in {path.parent}; choose another name"
        )


def _write(
    path: Path, images: np.ndarray, labels: np.ndarray, order: np.ndarray, metadata: dict[str, str]
) -> None:
    """Writes a safetensors file row by row, in that order, and never a second copy in memory."""
    N = len(labels)
    ends = 8 * N, 8 * N + images.nbytes
    dtype = "U8" if images.dtype == np.uint8 else "F32"
    header = json.dumps(
        {
            "__metadata__": metadata,
            "labels": {"dtype": "I64", "shape": [N], "data_offsets": [0, ends[0]]},
            "images": {"dtype": dtype, "shape": [*images.shape], "data_offsets": [*ends]},
        }
    ).encode()
    header += b" " * (-len(header) % 8)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{get_ident()}.tmp")
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
