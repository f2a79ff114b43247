"""Text for pages."""

import pytest

from vae.config import ConfigError, ModelConfig, TrainConfig
from vae.data import dataset
from vae.runs import checkpoint
from vae.runs.checkpoint import CheckpointError
from vae.ui.text import explained


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ModelConfig((1, 8, 8), latent_dim=0), "Dimensions k (=0) must be at least 1"),
        (lambda: TrainConfig("digits", epochs=0), "Epochs (=0) must be at least 1"),
        (
            lambda: TrainConfig("digits", epochs=1, learning_rate=0.0),
            "Learning rate (=0.0) must be above 0",
        ),
    ],
)
def test_a_setting_is_called_as_its_field_is_labelled(make, sentence):
    with pytest.raises(ConfigError) as caught:
        make()
    assert sentence in explained(caught.value).replace("\\", "")


def test_no_place_on_the_server_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_CHECKPOINTS", str(tmp_path / "runs"))
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.open_run(checkpoint.folder() / "mine")
    told = explained(caught.value).replace("\\", "")
    assert "mine/config.json" in told
    assert str(tmp_path) not in told
    for folder in (checkpoint.folder(), dataset.folder()):
        assert str(tmp_path) not in explained(f"cannot write {folder}: full")


def test_a_shape_is_read_as_one_says_it():
    told = explained("the images are (3, 32, 32), and it reads (1, 28, 28)").replace("\\", "")
    assert told == "the images are 3 × 32 × 32, and it reads 1 × 28 × 28"
