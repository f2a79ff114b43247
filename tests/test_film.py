import io
import json

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

from vae import checkpoint, datasets, film, job
from vae.checkpoint import CheckpointError, open_run
from vae.config import ModelConfig, TrainConfig
from vae.model import VAE

SIDE = film.SIDE


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


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_frame_comes_back_with_the_means_of_the_first_points(tmp_path, monkeypatch, k):
    monkeypatch.setattr(film, "N_POINTS", 12)
    model = make(k)
    run = checkpoint.create(tmp_path / "run", model.config, TrainConfig("digits", 9))
    frame = film.shoot(model, images(), 4)
    film.save(run, frame)
    loaded = film.load(run, 4)
    assert film.epochs(run) == [4]
    assert (loaded.epoch, loaded.sheet) == (4, frame.sheet)
    assert loaded.mu.tobytes() == frame.mu.tobytes()
    with torch.no_grad():
        mu, _ = model.encode(datasets.to_unit(images()[:12]))
    assert loaded.mu.dtype == np.float32
    np.testing.assert_allclose(loaded.mu, mu.numpy(), rtol=1e-3, atol=1e-4)  # float16's accuracy


def test_a_mean_beyond_float16_is_still_a_number(tmp_path):
    model = make(2)
    with torch.no_grad():
        model.encoder.mu.bias.fill_(1e6)
    assert np.isfinite(film.shoot(model, images(), 0).mu).all()


def test_a_training_leaves_the_frames_of_its_kept_epochs(tmp_path):
    config = TrainConfig("digits", 50, 1438)
    list(job.train(tmp_path / "run", ModelConfig((1, 8, 8), hidden=(4,)), config, "cpu"))
    run = open_run(tmp_path / "run")
    assert film.epochs(run) == film.kept_epochs(50)
    frames = list(film.frames(run))
    assert [frame.epoch for frame in frames] == film.epochs(run)
    test = datasets.load("digits")
    assert frames[-1].mu.shape == (len(test), 2)
    np.testing.assert_allclose(frames[-1].mu, run.load_embedding().mu, rtol=1e-3, atol=1e-3)
    assert np.abs(frames[-1].mu - frames[0].mu).max() > 0.1


# Cut, and damaged.


@pytest.fixture
def run(tmp_path):
    """A run folder with frames of the epochs 0, 1, 2, 5."""
    model = make(2)
    run = checkpoint.create(tmp_path / "run", model.config, TrainConfig("digits", 9))
    for epoch in (5, 0, 2, 1):
        film.save(run, film.shoot(model, images(), epoch))
    return run


def test_a_cut_takes_the_later_frames_away(run):
    assert film.epochs(run) == [0, 1, 2, 5]
    film.cut(run, 1)
    assert film.epochs(run) == [0, 1]
    assert len(list((run.path / film.FOLDER).iterdir())) == 4
    film.cut(run, 9)
    assert film.epochs(run) == [0, 1]


def test_a_run_without_a_film_has_no_frames(tmp_path):
    run = checkpoint.create(tmp_path / "run", make(2).config, TrainConfig("digits", 9))
    assert (film.epochs(run), list(film.frames(run))) == ([], [])
    film.cut(run, 0)


def test_files_that_are_no_frames_do_not_matter(run):
    for name in (
        "notes.txt",
        "epoch-x.safetensors",
        "epoch-000007.png",
        "epoch-000008.safetensors",
    ):
        (run.path / film.FOLDER / name).write_text("other")
    assert film.epochs(run) == [0, 1, 2, 5]


def header(dtype: str, shape: list[int], n: int) -> bytes:
    text = json.dumps({"mu": {"dtype": dtype, "shape": shape, "data_offsets": [0, n]}}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(n)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"nonsense", header("F16", [3, 3], 18), header("F16", [6], 12)),
        *(header("F16", [5, 2], 7), header("BF16", [2, 2], 8)),
        safetensors.numpy.save({"nu": np.zeros((4, 2), np.float16)}),
        safetensors.numpy.save({"mu": np.full((4, 2), np.nan, np.float16)}),
    ],
    ids=lambda data: repr(data[:60]),
)
def test_damaged_means_are_refused_in_a_sentence_that_names_the_file(run, data):
    path = run.path / film.FOLDER / "epoch-000002.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        list(film.frames(run))
    assert str(path) in str(caught.value)
    assert "delete that file" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 10, 40, -1])
def test_a_damaged_sheet_is_refused_in_a_sentence_that_names_the_file(run, kept):
    path = run.path / film.FOLDER / "epoch-000002.png"
    path.write_bytes(path.read_bytes()[: kept if kept >= 0 else -20])
    with pytest.raises(CheckpointError) as caught:
        film.load(run, 2)
    assert str(path) in str(caught.value)
    assert film.load(run, 1).epoch == 1


def test_a_missing_frame_is_refused(run):
    with pytest.raises(CheckpointError, match="epoch-000003"):
        film.load(run, 3)
