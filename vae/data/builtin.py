"""The data sets that everybody has: scikit-learn's digits, the sprites, torchvision's sets.

Those that are not images are in `measured`.
"""

import gzip
import hashlib
import os
import shutil
import threading
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae.data.dataset import Dataset, DatasetError, Source, folder, is_held_out, reason
from vae.data.measured import MEASURED
from vae.errors import UserError

TIMEOUT_S = 20.0  # how long one of a set's servers, at most two, may be silent


def _load_digits(split: str) -> Dataset:
    from sklearn.datasets import load_digits  # half a second to import; only this set needs it

    digits: Any = load_digits()
    rows = is_held_out(len(digits.images)) == (split == "test")
    images = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)  # grey levels 0 to 16
    return Dataset(
        name="digits",
        split=split,
        images=torch.from_numpy(images[:, None]),
        labels=torch.from_numpy(digits.target[rows].astype(np.int64)),
        class_names=tuple("0123456789"),
    )


_SIDE = 32
_POSITIONS = 64


def _load_sprites(split: str) -> Dataset:
    """A ring on a 64 x 64 grid of positions: exactly two factors, x and y, vary."""
    side, n = _SIDE, _POSITIONS
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


# Of the sets whose test split comes with the app, as torchvision has them.
_CLASS_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}


def _load_torchvision(split: str, name: str, class_name: str) -> Dataset:
    if path := SOURCES[name].shipped_folder(split):
        return _load_shipped(path, name)
    import torchvision.datasets

    root, kind = folder(), getattr(torchvision.datasets, class_name)
    raw = root / class_name / "raw"
    try:
        for file, md5 in kind.resources:
            if not (raw / file).with_suffix("").exists() and not _is_whole(raw / file, md5):
                _fetch([mirror + file for mirror in kind.mirrors], raw / file, md5)
        loaded = kind(str(root), train=split == "train", download=True)
        _check(loaded.data, loaded.targets, len(loaded.classes))
    except Exception as error:  # torchvision lets whatever its parser met escape
        if all(os.path.exists(raw / Path(file).stem) for file, _ in kind.resources):
            raise DatasetError(
                f"the files in {raw} are damaged ({reason(error)}); "
                "delete that folder, and they are fetched again"
            ) from error
        raise DatasetError(
            f"{name} is not in {root} and could not be fetched ({reason(error)}). Connect to the "
            f"network once, or put its four .gz files into {raw}; digits and sprites need neither"
        ) from error
    return Dataset(
        name=name,
        split=split,
        images=loaded.data[:, None],
        labels=loaded.targets.long(),
        class_names=tuple(c.split(" - ")[0] for c in loaded.classes),
    )


def _load_shipped(path: Path, name: str) -> Dataset:
    try:
        images = _values(path / "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = _values(path / "t10k-labels-idx1-ubyte.gz", 8).long()
        _check(images, labels, len(_CLASS_NAMES[name]))
    except Exception as error:  # gzip and zlib each have errors of their own
        raise DatasetError(
            f"the files in {path} are damaged ({reason(error)}); restore them from the repository, "
            "or delete that folder, and they are fetched"
        ) from error
    return Dataset(name, "test", images[:, None], labels, _CLASS_NAMES[name])


def _values(path: Path, start: int) -> Tensor:
    """The bytes behind the header of a file of MNIST's format."""
    with gzip.open(path) as file:
        return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8, offset=start)


def _fetch(urls: list[str], path: Path, md5: str) -> None:
    """Downloads a file from the first address that has it whole; torchvision waits for ever.

    Raises:
        Exception: whatever the last address ended in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    problem = OSError("it has no address")
    for url in urls:
        request = urllib.request.Request(url, headers={"User-Agent": "pytorch/vision"})
        try:
            answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
            with answer, open(part, "wb") as file:
                shutil.copyfileobj(answer, file)
            if not _is_whole(part, md5):
                raise OSError(f"{url} is not the file that was expected")
            os.replace(part, path)
            return
        except Exception as error:  # http.client has errors of many kinds
            problem = error
        finally:
            part.unlink(missing_ok=True)
    raise problem


def _is_whole(path: Path, md5: str) -> bool:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest() == md5
    except FileNotFoundError:
        return False


def _check(images: Tensor, labels: Tensor, n_classes: int) -> None:
    if images.shape != (len(labels), 28, 28) or not len(labels):
        raise UserError(f"{len(labels)} labels for images of shape {tuple(images.shape)}")
    if labels.max() >= n_classes:
        raise UserError(f"a label is {int(labels.max())}, but there are {n_classes} classes")


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
        shipped=class_name if name in _CLASS_NAMES else "",
        n_classes=10,
    )


SOURCES = {
    "digits": Source(
        "Digits",
        (1, 8, 8),
        1438,
        "scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; nothing to download",
        _load_digits,
        n_classes=10,
    ),
    "sprites": Source(
        "Sprites",
        (1, 32, 32),
        3277,
        "a ring at 64 x 64 positions of a 32 x 32 picture: two known factors, x and y",
        _load_sprites,
        n_classes=4,
    ),
    "mnist": _from_torchvision("mnist", "MNIST", "MNIST", "handwritten digits", 11_594_722),
    "fashion-mnist": _from_torchvision(
        "fashion-mnist", "FashionMNIST", "Fashion-MNIST", "pieces of clothing", 30_878_645
    ),
    "kmnist": _from_torchvision("kmnist", "KMNIST", "KMNIST", "cursive kana", 21_240_888),
    **MEASURED,
}
