"""The film of a training: where a fixed part of the held-out images lay at chosen epochs, and what
a fixed lattice of latent points decoded to.
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vae import plots
from vae.core import gaussian
from vae.core.elbo import decodes_at_once
from vae.core.model import VAE
from vae.data.dataset import to_unit

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
def shoot(model: VAE, test_images: Tensor, epoch: int, labels: Tensor | None = None) -> Frame:
    """The frame of the model as it is now.

    That of a model with a condition has each image under its own label, and the lattice decoded
    with the first class.

    Args:
        model: the VAE, on any device.
        test_images: uint8, shape (N, C, H, W); the first N_POINTS are used.
        epoch: epochs done.
        labels: of a model with a condition, int64, shape (N,).
    """
    device = model.device
    chunk = decodes_at_once(model)
    mu = []
    for rows in torch.arange(min(N_POINTS, len(test_images))).split(chunk):
        given = model if labels is None else model.given(labels[rows])
        mu.append(given.encode(to_unit(test_images[rows].to(device)))[0])
    z = lattice(model.config.latent_dim).to(device)
    model = model.given(0)
    means = torch.cat([model.decode_mean(part) for part in z.split(chunk)])
    # (n, C, H, W)
    means = torch.from_numpy(plots.pictures(means.cpu().numpy(), model.config))
    C, H, W = means.shape[1:]
    sheet = means.reshape(SIDE, SIDE, C, H, W).permute(0, 3, 1, 4, 2)
    sheet = sheet.reshape(SIDE * H, SIDE * W, C)
    # Fewer greys than a byte has halve the file, and the eye does not miss them.
    levels = (sheet * (_LEVELS - 1)).round() * (255 / (_LEVELS - 1))
    pixels = levels.round().to(torch.uint8).numpy()
    png = io.BytesIO()
    Image.fromarray(pixels if C == 3 else pixels[:, :, 0]).save(png, "png", optimize=True)
    largest = torch.finfo(torch.float16).max  # a mean beyond it is far outside any map
    return Frame(
        epoch,
        torch.cat(mu).clamp(-largest, largest).half().float().cpu().numpy(),
        png.getvalue(),
    )
