"""Text of pages, and text from outside as they write it."""

import pytest

from vae.config import ConfigError, ModelConfig, TrainConfig
from vae.data import dataset
from vae.runs import checkpoint
from vae.runs.checkpoint import CheckpointError
from vae.ui.text import explained, plain


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


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("http://a.example", "http\\:\u2060//a.example"),
        ("HTTPS://a.example", "HTTPS\\:\u2060//a.example"),
        ("www.a.example", "www\u2060.a.example"),
        ("a@b.example", "a@\u2060b.example"),
        (":smile:", "\\:\u2060smile\\:"),
        (":material/home:", "\\:\u2060material/home\\:"),
        ("a -> b <= c -- d", "a -\u2060\\> b \\<\u2060= c -\u2060- d"),
        ("[l](x) <b> `c` $m$", "\\[l\\]\\(x\\) \\<b\\> \\`c\\` \\$m\\$"),
        ("&lt;", "\\&lt;"),
        ("1. one", "1\\. one"),
        ("- one", "\\- one"),
        ("a\nb\tc", "a b c"),
        ("      code", " code"),
        ("a\x1b[2J", "a?\\[2J"),
    ],
)
def test_nothing_becomes_markup_a_link_an_icon_or_another_sign(text, written):
    assert plain(text) == written


@pytest.mark.parametrize(
    "text",
    ["python -m vae data add PATH --name a-b", "3.5 nats, 10-2", "a@ b", "www", "گربه\u200cها"],
)
def test_what_is_harmless_stays_as_it_is_and_can_be_copied(text):
    assert plain(text) == text
