"""Pictures, folders and zips that tests make."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, options.pop("format", "PNG"), **options)
    return file.getvalue()


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def zip_of(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def two_classes(n: int = 6, *shape: int) -> dict[str, bytes]:
    """n grey pictures of each of two classes."""
    shape = shape or (9, 7)
    return {
        f"{name}/{i}.png": png(noise(*shape, seed=100 * c + i))
        for c, name in enumerate(("cats", "dogs"))
        for i in range(n)
    }


IMAGES = noise(12, 6, 5)
