"""What is loaded once for all visitors, and known by what is in it."""

import hashlib
import shutil
import threading
import time

import numpy as np
import pytest
import torch

from vae import formats
from vae.analysis.embedding import embed
from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset, DatasetError
from vae.inference.evidence import Evidence
from vae.runs import checkpoint
from vae.ui.results import diagnosis, evidence, inference, loaded, waiting
from vae.ui.results.store import RESULTS
from vae.ui.view import seen_through


def data(seed: int, n: int = 30) -> Dataset:
    """Images of one's own, known as "mine" from now on."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=generator)
    made = Dataset("mine", "test", images, torch.zeros(n, dtype=torch.int64), ("all",))
    catalogue.give("mine", made)
    return made


@pytest.fixture
def run(checkpoints, monkeypatch) -> checkpoint.Run:
    """A model of "mine"; nothing of its data is stored."""
    monkeypatch.setattr(catalogue, "_GIVEN", {})
    config = ModelConfig((1, 8, 8), hidden=(4,))
    made = checkpoint.create(checkpoints / "run", config, TrainConfig("mine", epochs=1))
    checkpoint.save_model(made, VAE(config, torch.Generator().manual_seed(0)))
    return made


def log_px(images: Dataset) -> Evidence:
    of = np.linspace(-9, -1, len(images))
    return Evidence("mine", "test", "exact", 0, 0, of, of * 0, of - 1, images.fingerprint)


@pytest.mark.parametrize("is_stored", [False, True])
def test_data_that_are_replaced_by_others_of_the_same_name_get_nothing_of_the_old(is_stored, run):
    old = data(seed=1)
    if is_stored:
        checkpoint.save_embedding(run, embed(run.load_model(), old))
        checkpoint.save_evidence(run, log_px(old))
    first = seen_through(run, "mine", "test")
    assert (evidence.found(first) is not None) is is_stored
    before = (diagnosis.mmd(first), inference.of_point(first, 0))
    RESULTS.start((first.key, "log p(x)"), lambda progress: (log_px(old), "")).over.wait(20)
    assert evidence.found(first) is not None

    new = data(seed=2)
    second = seen_through(run, "mine", "test")
    assert second.images.fingerprint == new.fingerprint != old.fingerprint
    assert second.embedding.mu == pytest.approx(embed(run.load_model(), new).mu)
    assert second.key != first.key
    assert evidence.found(second) is None
    after = (diagnosis.mmd(second), inference.of_point(second, 0))
    assert before[0] != after[0]
    assert before[1].log_px != after[1].log_px
    # What a page still shows of the old ones stays theirs.
    assert evidence.found(first) is not None
    assert inference.of_point(first, 0) is before[1]


def test_a_stored_map_opens_where_the_images_are_gone(run):
    stored = embed(run.load_model(), data(seed=1))
    checkpoint.save_embedding(run, stored)
    catalogue._GIVEN.clear()
    view = seen_through(run, "mine", "test")
    assert view.images is None
    assert view.embedding.mu == pytest.approx(stored.mu)


def test_the_same_weights_under_another_name_are_the_same_results(run, checkpoints):
    data(seed=1)
    again = checkpoint.create(checkpoints / "again", run.model_config, run.train_config)
    checkpoint.save_model(again, run.load_model())
    views = [seen_through(one, "mine", "test") for one in (run, again)]
    assert views[0].model is views[1].model
    assert views[0].embedding is views[1].embedding


class Left(BaseException):
    """What a call of Streamlit raises where the visitor has left the page."""


def test_who_leaves_the_page_during_a_download_does_not_wait_for_it(monkeypatch, tmp_path):
    arrived, calls = threading.Event(), []
    made = data(seed=3)
    monkeypatch.setenv("VAE_DATA", str(tmp_path))

    def fetch(name: str, split: str) -> Dataset:
        calls.append(split)
        assert arrived.wait(60)
        source = catalogue.describe("kmnist")
        for file in source.files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        return made

    def leave(*_) -> None:
        raise Left

    monkeypatch.setattr(catalogue, "load", fetch)
    with monkeypatch.context() as left:
        left.setattr(waiting.st, "progress", leave)
        began = time.monotonic()
        with pytest.raises(Left):
            loaded.dataset("kmnist", "test")
        assert time.monotonic() - began < 20
    assert not arrived.is_set()
    threading.Timer(0.5, arrived.set).start()
    assert loaded.dataset("kmnist", "test") is made  # who comes back follows the same download
    assert calls == ["train", "test"]


def test_why_a_download_failed_is_told_and_the_next_one_tries_again(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_DATA", str(tmp_path))

    def fail(name: str, split: str) -> Dataset:
        raise DatasetError("the network went away")

    monkeypatch.setattr(catalogue, "load", fail)
    for _ in range(2):
        with pytest.raises(DatasetError, match="the network went away"):
            loaded.dataset("kmnist", "test")


def test_images_are_resized_as_the_data_set_itself_does_it(view, monkeypatch):
    monkeypatch.setattr(loaded, "_RESIZED_AT_ONCE", 100)
    whole = catalogue.load("sprites", "test")
    found = loaded.images(view.run, "sprites", "test")
    expected = whole.resized((1, 8, 8))
    assert (
        hashlib.sha256(found.images.numpy()).digest()
        == hashlib.sha256(expected.images.numpy()).digest()
    )
    assert (found.note, found.class_names) == (expected.note, expected.class_names)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("VAE_LEAST_FREE_MB", str(10**12), "whoever runs this server sets VAE_LEAST_FREE_MB"),
        ("VAE_READ_ONLY", "1", "models are looked at"),
    ],
)
def test_nothing_is_fetched_onto_a_full_disk_or_where_visitors_look_only(
    variable, value, told, monkeypatch, tmp_path
):
    monkeypatch.setenv("VAE_DATA", str(tmp_path))
    monkeypatch.setenv(variable, value)
    with pytest.raises(DatasetError, match=told):
        loaded.dataset("kmnist", "test")
    assert not list(tmp_path.iterdir())


def test_of_many_runs_only_what_has_changed_is_opened_again(checkpoints, tiny_run, monkeypatch):
    for i in range(6):
        tiny_run(checkpoints / f"run-{i}")
    opened = []
    real = formats.open_run
    monkeypatch.setattr(formats, "open_run", lambda path: opened.append(path.name) or real(path))
    monkeypatch.setattr(loaded, "_LOOKED", {})
    assert [run.name for run in loaded.runs()[0]] == [f"run-{i}" for i in range(6)] == opened
    assert loaded.ill_healths(loaded.runs()[0]).keys() == {run.path for run in loaded.runs()[0]}

    opened.clear()
    shutil.rmtree(checkpoints / "run-1")
    (checkpoints / "run-2" / "config.json").write_text("{}")
    tiny_run(checkpoints / "run-7", beta=100.0)
    time.sleep(0.1)  # many times what looking took
    runs, broken = loaded.runs()
    assert [run.name for run in runs] == ["run-0", "run-3", "run-4", "run-5", "run-7"]
    assert opened == ["run-2", "run-7"]
    assert "format_version" in broken["run-2"]


def test_models_that_are_alike_are_built_once_to_know_their_shapes(tiny_run, tmp_path, monkeypatch):
    tiny_run(tmp_path / "one")
    tiny_run(tmp_path / "two")
    checkpoint._shapes.cache_clear()
    built = []
    real = checkpoint._on_meta
    monkeypatch.setattr(checkpoint, "_on_meta", lambda config: built.append(config) or real(config))
    assert len(checkpoint.list_runs(tmp_path)[0]) == 2
    assert len(built) == 1
