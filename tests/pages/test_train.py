"""The Train page's form without a browser: what it refuses, and in which words."""

import json
import time

import pytest
from streamlit.testing.v1 import AppTest


@pytest.fixture
def train(app, checkpoints, tiny_run) -> AppTest:
    tiny_run(checkpoints / "tiny")
    return app.run().switch_page("pages/train.py").run()


def press_train(app: AppTest) -> list[str]:
    next(button for button in app.button if button.label == "Train").click().run()
    assert not app.exception
    return [error.value.replace("\\", "") for error in app.error]


@pytest.mark.parametrize(
    ("label", "value", "sentence"),
    [
        ("Latent dimensions k", 0, "latent_dim (=0) must be at least 1"),
        ("Latent dimensions k", -3, "latent_dim (=-3) must be at least 1"),
        ("Epochs", 0, "epochs (=0) must be at least 1"),
        ("Epochs", -1, "epochs (=-1) must be at least 1"),
        ("Batch", 0, "batch_size (=0) must be at least 1"),
        ("β, weight of KL", 0.0, "beta (=0.0) must be above 0"),
        ("β, weight of KL", -1.0, "beta (=-1.0) must be above 0"),
        ("Seed", -1, "seed (=-1) must be at least 0"),
        ("Learning rate", 0.0, "learning_rate (=0.0) must be above 0"),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_value(label, value, sentence, train, checkpoints):
    next(box for box in train.number_input if box.label == label).set_value(value).run()
    assert any(sentence in error for error in press_train(train))
    assert [path.name for path in checkpoints.iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    ("label", "text", "sentence"),
    [
        ("Name", "../escape", "name (='../escape') must be"),
        ("Name", "a/b", "name (='a/b') must be"),
        ("Name", "", "name (='') must be"),
        ("Name", "tiny", "a run named 'tiny' exists already"),
        ("Widths", "64,many", "hidden (='64,many') must be whole numbers"),
        ("Widths", "-4", "hidden[0] (=-4) must be at least 1"),
    ],
)
def test_a_text_that_cannot_be_used_is_quoted(label, text, sentence, train, checkpoints):
    next(box for box in train.text_input if box.label == label).set_value(text).run()
    assert any(sentence in error for error in press_train(train))
    assert [path.name for path in checkpoints.iterdir()] == ["tiny"]


def test_a_data_set_that_cannot_be_fetched_says_what_to_do(train, monkeypatch, tmp_path):
    import torchvision.datasets

    def no_network(*arguments, **options):
        raise RuntimeError("no network")

    monkeypatch.setenv("VAE_DATA", str(tmp_path / "empty"))
    monkeypatch.setattr(torchvision.datasets.KMNIST, "download", no_network)
    train.selectbox(key="train_data").set_value("kmnist").run()
    errors = press_train(train)
    assert any("could not be fetched" in error and ".gz" in error for error in errors)


@pytest.mark.parametrize(
    ("state", "age", "expected"),
    [
        ("failed", 0, "diverged here"),
        ("running", 3600, "ended at epoch"),
        ("stopped", 0, None),
    ],
)
def test_the_page_says_how_a_run_ended(state, age, expected, train, checkpoints):
    status = {"state": state, "message": "diverged here", "updated": time.time() - age}
    (checkpoints / "tiny" / "status.json").write_text(json.dumps(status))
    train.run()
    assert not train.exception
    said = [element.value for element in (*train.error, *train.warning)]
    assert any(expected in text for text in said) if expected else not said


def test_a_link_of_the_finished_run_leads_to_explore(train):
    assert len(train.metric) == 5
    assert train.metric[4].value == "2 of 2"


def test_a_download_shows_how_far_it_is(train, monkeypatch, tmp_path):
    import torchvision.datasets

    from vae.ui import cache

    shown = []
    bar = type("Bar", (), {"progress": lambda self, *a: shown.append(a), "empty": lambda self: 0})
    monkeypatch.setattr(cache.st, "progress", lambda *arguments: bar())
    monkeypatch.setenv("VAE_DATA", str(tmp_path))

    def slow_and_broken(self):
        file = tmp_path / "KMNIST" / "raw" / "train-images-idx3-ubyte.gz"
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(10_620_444))  # half of the whole
        time.sleep(1)
        raise RuntimeError("the network went away")

    monkeypatch.setattr(torchvision.datasets.KMNIST, "download", slow_and_broken)
    train.selectbox(key="train_data").set_value("kmnist").run()
    errors = press_train(train)
    assert any("the network went away" in error for error in errors)
    assert (0.5, "Fetching KMNIST: 10.6 of 21.2 MB") in shown
