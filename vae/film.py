"""The film of a training: where a fixed part of the held-out images lay at chosen epochs, and what
a fixed lattice of latent points decoded to.

A frame is two files in the run's folder `history/`: `epoch-000012.safetensors` with the means mu,
and `epoch-000012.png` with the decoded lattice as one sheet.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from vae import checkpoint, gaussian
from vae.checkpoint import CheckpointError, Run
from vae.datasets import to_unit
from vae.elbo import decodes_at_once
from vae.model import VAE

FOLDER = "history"
N_POINTS = 2000  # the first so many held-out images
MOST_FRAMES = 36
SIDE = 13  # of the lattice
_LEVELS = 32
REACH = 2.6  # sigmas of the prior that the lattice spans, each way


@dataclass(frozen=True)
class Frame:
    """One kept epoch.

    Attributes:
        epoch: epochs done; 0 is the untrained model.
        mu: of the first N_POINTS held-out images, float32 of float16's accuracy, shape (F, D).
        sheet: the decoded lattice as one PNG, SIDE x SIDE pictures; see `lattice`.
    """

    epoch: int
    mu: np.ndarray
    sheet: bytes


def kept_epochs(n_epochs: int) -> list[int]:
    """Which epochs are kept of so many: most of the early ones, where the space forms.

    At most MOST_FRAMES; the first is 0, the untrained model, and the last is the last.
    """
    share = np.linspace(0, 1, MOST_FRAMES) ** 2
    return sorted(set(np.rint(share * n_epochs).astype(int).tolist()))


def lattice(latent_dim: int) -> Tensor:
    """The latent points whose decodes a frame keeps, shape (SIDE * SIDE, D), row by row.

    In two dimensions an even grid, z1 to the right and z2 upwards; in any other number the same
    draws from the prior every time, so that two frames show the same points.
    """
    if latent_dim == 2:
        ticks = torch.linspace(-REACH, REACH, SIDE)
        z2, z1 = torch.meshgrid(-ticks, ticks, indexing="ij")
        return torch.stack([z1.flatten(), z2.flatten()], 1)
    return gaussian.draw((SIDE * SIDE, latent_dim), torch.Generator().manual_seed(0))


@torch.no_grad()
def shoot(model: VAE, test_images: Tensor, epoch: int) -> Frame:
    """The frame of the model as it is now.

    Args:
        model: the VAE, on any device.
        test_images: uint8, shape (N, C, H, W); the first N_POINTS are used.
        epoch: epochs done.
    """
    device = model.device
    chunk = decodes_at_once(test_images[0].numel())
    mu = [model.encode(to_unit(x.to(device)))[0] for x in test_images[:N_POINTS].split(chunk)]
    z = lattice(model.config.latent_dim).to(device)
    means = torch.cat([model.decode_mean(part) for part in z.split(chunk)])  # (n, C, H, W)
    C, H, W = means.shape[1:]
    sheet = means.reshape(SIDE, SIDE, C, H, W).permute(0, 3, 1, 4, 2)
    sheet = sheet.reshape(SIDE * H, SIDE * W, C)
    # Fewer greys than a byte has halve the file, and the eye does not miss them.
    levels = (sheet * (_LEVELS - 1)).round() * (255 / (_LEVELS - 1))
    pixels = levels.round().to(torch.uint8).cpu().numpy()
    png = io.BytesIO()
    Image.fromarray(pixels if C == 3 else pixels[:, :, 0]).save(png, "png", optimize=True)
    largest = torch.finfo(torch.float16).max  # a mean beyond it is far outside any map
    return Frame(
        epoch,
        torch.cat(mu).clamp(-largest, largest).half().float().cpu().numpy(),
        png.getvalue(),
    )


def save(run: Run, frame: Frame) -> None:
    """Adds a frame to the run. Raises CheckpointError if that fails."""
    folder = run.path / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot make the folder {folder}: {error.strerror}") from error
    # The sheet first: a frame is there once its means are.
    checkpoint.write_atomic(path(run, frame.epoch, "png"), frame.sheet)
    data = safetensors.numpy.save({"mu": frame.mu.astype(np.float16)})
    checkpoint.write_atomic(path(run, frame.epoch, "safetensors"), data)


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
        mu = safetensors.numpy.load(file.read_bytes())["mu"].astype(np.float32)
        if mu.ndim != 2 or mu.shape[1] != run.model_config.latent_dim or not np.isfinite(mu).all():
            raise ValueError("not means of this model")
        file = path(run, epoch, "png")
        sheet = file.read_bytes()
        with Image.open(io.BytesIO(sheet), formats=["PNG"]) as image:
            image.verify()
    except (OSError, SafetensorError, SyntaxError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({' '.join(str(error).split())[:100]}); delete that file, and "
            "the film goes on without it"
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
