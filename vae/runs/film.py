"""A film in its run's folder `history/`; a frame (`vae.training.film`) is two files.

`epoch-000012.safetensors` holds the means mu, `epoch-000012.png` the decoded lattice as one sheet.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import safetensors.numpy
from PIL import Image

from vae.errors import UserError
from vae.names import printable
from vae.plots import picture_shape
from vae.runs import files
from vae.runs.checkpoint import Run
from vae.runs.files import CheckpointError
from vae.training.film import SIDE, Frame

FOLDER = "history"
_MAX_BYTES = 64_000_000  # of a file


def save(run: Run, frame: Frame) -> None:
    """Adds a frame to the run. Raises CheckpointError if that fails."""
    folder = run.path / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot make the folder {folder}: {error.strerror}") from error
    # The sheet first: a frame is there once its means are.
    files.write_atomic(path(run, frame.epoch, "png"), frame.sheet)
    data = safetensors.numpy.save({"mu": frame.mu.astype(np.float16)})
    files.write_atomic(path(run, frame.epoch, "safetensors"), data)


def epochs(run: Run) -> list[int]:
    """The epochs of which the run has a frame, ascending."""
    files = (run.path / FOLDER).glob("epoch-*.safetensors")
    names = (file.stem for file in files if file.with_suffix(".png").exists())
    numbers = (name.removeprefix("epoch-") for name in names)
    return sorted(int(number) for number in numbers if number.isascii() and number.isdigit())


def load(run: Run, epoch: int) -> Frame:
    """One frame of the run.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    file = path(run, epoch, "safetensors")
    try:
        tensors, _ = files.read_tensors(file, safetensors.numpy.load, _MAX_BYTES)
        mu = tensors["mu"].astype(np.float32)
        if mu.ndim != 2 or mu.shape[1] != run.model_config.latent_dim or not np.isfinite(mu).all():
            raise UserError("not means of this model")
        file = path(run, epoch, "png")
        sheet = files.read(file, _MAX_BYTES)
        with Image.open(io.BytesIO(sheet), formats=["PNG"]) as image:
            C, H, W = picture_shape(run.model_config)
            if image.size != (SIDE * W, SIDE * H) or image.mode != ("L" if C == 1 else "RGB"):
                raise UserError(f"a sheet of {image.width} x {image.height} pixels, {image.mode}")
            image.verify()
    except (OSError, SyntaxError, ValueError, KeyError, TypeError) as error:
        reason = str(error).removeprefix(f"{file} ").partition(";")[0]
        raise CheckpointError(
            f"{file} cannot be read ({printable(reason[:100])}); delete that file, and the film "
            "goes on without it"
        ) from error
    return Frame(epoch, mu, sheet)


def frames(run: Run) -> Iterator[Frame]:
    """All frames of the run, by epoch. Raises CheckpointError, as `load`."""
    return (load(run, epoch) for epoch in epochs(run))


def cut(run: Run, after: int) -> None:
    """Takes the frames of later epochs away: what a resumed training will make anew."""
    for epoch in epochs(run):
        if epoch > after:
            _remove(run, epoch)


def thin(run: Run, most: int) -> None:
    """Takes frames away until at most so many are left, evenly; the first and the last stay."""
    found = epochs(run)
    kept = {found[i] for i in np.linspace(0, len(found) - 1, min(most, len(found))).astype(int)}
    for epoch in set(found) - kept:
        _remove(run, epoch)


def _remove(run: Run, epoch: int) -> None:
    path(run, epoch).unlink(missing_ok=True)
    path(run, epoch, "png").unlink(missing_ok=True)


def path(run: Run, epoch: int, ending: str = "safetensors") -> Path:
    """Where a frame's means are, or its sheet ("png")."""
    return run.path / FOLDER / f"epoch-{epoch:06d}.{ending}"
