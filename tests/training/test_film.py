import io

import numpy as np
import pytest
import torch
from PIL import Image

from vae.config import ModelConfig
from vae.core.model import VAE
from vae.training import film
from vae.training.film import SIDE


def make(latent_dim: int, shape=(1, 8, 8)) -> VAE:
    return VAE(ModelConfig(shape, latent_dim, hidden=(16,)), torch.Generator().manual_seed(1))


def images(shape=(1, 8, 8), n: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)


def cell(sheet: bytes, row: int, column: int, height: int, width: int) -> np.ndarray:
    """One picture of a sheet, as Pillow reads it: (H, W), or (H, W, 3)."""
    pixels = np.asarray(Image.open(io.BytesIO(sheet)))
    assert pixels.shape[:2] == (SIDE * height, SIDE * width)
    return pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]


# Which epochs.


@pytest.mark.parametrize("n", [1, 2, 3, 10, 35, 36, 37, 60, 500, 12_345, 1_000_000])
def test_the_kept_epochs_begin_with_none_done_and_end_with_all(n):
    kept = film.kept_epochs(n)
    assert (kept[0], kept[-1]) == (0, n)
    assert kept == sorted(set(kept))
    assert len(kept) <= film.MOST_FRAMES
    assert all(type(epoch) is int for epoch in kept)
    assert sum(epoch <= n / 2 for epoch in kept) >= len(kept) / 2  # the early ones, where it forms


def test_a_short_training_keeps_every_epoch():
    for n in (1, 2, 3):
        assert film.kept_epochs(n) == list(range(n + 1))


# What a frame shows.


def test_the_plane_is_laid_out_as_a_map():
    z = film.lattice(2).reshape(SIDE, SIDE, 2)
    assert z[0, 0].tolist() == pytest.approx([-2.6, 2.6])  # top left: z1 least, z2 greatest
    assert z[0, -1].tolist() == pytest.approx([2.6, 2.6])
    assert z[-1, 0].tolist() == pytest.approx([-2.6, -2.6])
    assert z[SIDE // 2, SIDE // 2].tolist() == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_other_spaces_are_shown_at_draws_from_the_prior_that_stay_the_same(k):
    z = film.lattice(k)
    assert z.shape == (SIDE * SIDE, k)
    assert torch.equal(z, film.lattice(k))
    assert abs(z.mean().item()) < 4 / z.numel() ** 0.5
    assert abs(z.std().item() - 1) < 4 / (2 * z.numel()) ** 0.5


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 5, 7), (3, 4, 6)])
def test_a_cell_of_the_sheet_is_what_the_model_decodes_there(k, shape):
    model, (C, H, W) = make(k, shape), shape
    frame = film.shoot(model, images(shape), 4)
    with torch.no_grad():
        means = model.decode_mean(film.lattice(k))  # (SIDE * SIDE, C, H, W)
    for row, column in ((0, 0), (0, SIDE - 1), (SIDE - 1, 0), (SIDE - 1, SIDE - 1), (3, 8)):
        expected = means[row * SIDE + column].permute(1, 2, 0).squeeze(2 if C == 1 else ()).numpy()
        found = cell(frame.sheet, row, column, H, W)
        assert np.abs(found - 255 * expected).max() <= 255 / 31 / 2 + 0.51  # 32 levels


def test_a_mean_beyond_float16_is_still_a_number():
    model = make(2)
    with torch.no_grad():
        model.encoder.mu.bias.fill_(1e6)
    assert np.isfinite(film.shoot(model, images(), 0).mu).all()
