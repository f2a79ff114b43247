"""Images that a model draws of its own: z from the prior, decoded."""

import torch

from vae.config import IMAGE
from vae.core.model import VAE
from vae.data.dataset import Dataset

_MOST, _MOST_BYTES = 256, 20_000_000


def drawn(model: VAE, name: str, seed: int = 0) -> Dataset:
    """The mean images of z ~ N(0, I), as a data set without real images.

    Args:
        model: a conditional one draws of each of its classes in turn, and the classes are labels.
        name: of the data set.
        seed: of the draws.

    Returns:
        256 images, fewer of large ones, uint8, under the split "test".
    """
    config, generator = model.config, torch.Generator().manual_seed(seed)
    C, H, W = config.image_shape
    n = max(8, min(_MOST, _MOST_BYTES // (C * H * W)))
    labels = torch.arange(n) % max(1, config.n_classes)
    z = torch.randn(n, config.latent_dim, generator=generator)
    with torch.no_grad():
        parts = [
            model.given(labels[some]).decode_mean(z[some]) for some in torch.arange(n).split(32)
        ]
    images = torch.cat(parts)
    if config.kind == IMAGE:
        images = images.clamp(0, 1).mul(255).round().to(torch.uint8)
    return Dataset(
        name,
        "test",
        images,
        labels,
        tuple(str(label) for label in range(max(1, config.n_classes))),
        note="drawn by the model itself",
        kind=config.kind,
        features=config.features,
    )
