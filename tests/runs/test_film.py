import json

import numpy as np
import pytest
import safetensors.numpy
import torch

from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.runs import checkpoint, film, job
from vae.runs.checkpoint import CheckpointError, open_run
from vae.training.film import kept_epochs, shoot


def make(latent_dim: int, shape=(1, 8, 8)) -> VAE:
    return VAE(ModelConfig(shape, latent_dim, hidden=(16,)), torch.Generator().manual_seed(1))


def images(shape=(1, 8, 8), n: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_frame_comes_back_with_the_means_of_the_first_points(tmp_path, monkeypatch, k):
    monkeypatch.setattr("vae.training.film.N_POINTS", 12)
    model = make(k)
    run = checkpoint.create(tmp_path / "run", model.config, TrainConfig("digits", 9))
    frame = shoot(model, images(), 4)
    film.save(run, frame)
    loaded = film.load(run, 4)
    assert film.epochs(run) == [4]
    assert (loaded.epoch, loaded.sheet) == (4, frame.sheet)
    assert loaded.mu.tobytes() == frame.mu.tobytes()
    with torch.no_grad():
        mu, _ = model.encode(catalogue.to_unit(images()[:12]))
    assert loaded.mu.dtype == np.float32
    np.testing.assert_allclose(loaded.mu, mu.numpy(), rtol=1e-3, atol=1e-4)  # float16's accuracy


def test_a_training_leaves_the_frames_of_its_kept_epochs(tmp_path):
    config = TrainConfig("digits", 50, 1438)
    list(job.train(tmp_path / "run", ModelConfig((1, 8, 8), hidden=(4,)), config, "cpu"))
    run = open_run(tmp_path / "run")
    assert film.epochs(run) == kept_epochs(50)
    frames = list(film.frames(run))
    assert [frame.epoch for frame in frames] == film.epochs(run)
    test = catalogue.load("digits")
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
        film.save(run, shoot(model, images(), epoch))
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
