"""Data of one's own that are kept, and found by their names."""

import os

import numpy as np
import pytest
import torch
from image_files import IMAGES, folder_of, noise, png, two_classes

from vae.analysis.embedding import embed
from vae.config import ModelConfig, TrainConfig
from vae.data import catalogue, own
from vae.data.dataset import DatasetError
from vae.runs import job


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "a/b", "../a", "a b", "a:b", "-a", ".a", "x" * 41, "a..b", "ä", "a\n"),
        *("digits", "MNIST", "Fashion-MNIST", "a-binarised", "A-Binarised"),
    ],
)
def test_a_name_that_could_lead_elsewhere_or_is_taken_is_refused(tmp_path, name):
    np.save(tmp_path / "a.npy", IMAGES)
    with pytest.raises(DatasetError, match=r"^name \(="):
        own.add(tmp_path / "a.npy", name)
    assert not (tmp_path / "data").exists()


def test_what_was_added_is_a_data_set_like_the_others(tmp_path, data_folder):
    source = folder_of(tmp_path / "pets", two_classes(20))
    known = own.add(source, "my-pets")
    assert catalogue.names() == (*catalogue.NAMES, "my-pets")
    assert own.names() == ["my-pets"]
    assert known is catalogue.describe("my-pets") is catalogue.describe("my-pets-binarised")
    assert (known.image_shape, known.n_train, known.is_here("train")) == ((1, 9, 7), 32, True)
    assert "40 images from pets" in known.note
    assert catalogue.names_of_shape((1, 9, 7)) == ["my-pets"]
    read = own.read(source)
    held_out = catalogue.is_held_out(40)
    for split, rows in (("train", ~held_out), ("test", held_out)):
        data = catalogue.load("my-pets", split)
        assert (data.name, data.split, data.class_names) == ("my-pets", split, ("cats", "dogs"))
        assert torch.equal(data.images, read.images[rows])
        assert torch.equal(data.labels, read.labels[rows])
    assert len(catalogue.load("my-pets", "all")) == 40
    assert catalogue.load("my-pets-binarised").images.unique().tolist() == [0, 255]
    assert [path.name for path in (data_folder / "own").iterdir()] == ["my-pets.safetensors"]


def test_a_name_is_given_once_until_it_is_removed(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    own.add(tmp_path / "a.npy", "a")
    with pytest.raises(DatasetError, match="named a exists already"):
        own.add(tmp_path / "a.npy", "a")
    own.remove("a")
    assert catalogue.names() == catalogue.NAMES
    with pytest.raises(DatasetError, match="cannot delete"):
        own.remove("a")
    own.add(tmp_path / "a.npy", "a", (3, 4, 4))
    assert catalogue.describe("a").image_shape == (3, 4, 4)


def test_another_set_of_the_same_name_size_and_time_has_another_fingerprint(tmp_path, data_folder):
    marks, classes = {}, []
    sources = {"a": IMAGES, "b": IMAGES[::-1].copy(), "c": IMAGES, "d": IMAGES}
    for source, images in sources.items():
        labels = np.array(["x", "z" if source == "d" else "y"])[np.arange(12) % 2]
        np.savez(tmp_path / "same.npz", images=images, labels=labels)
        own.add(tmp_path / "same.npz", "mine")
        path = data_folder / "own" / "mine.safetensors"
        os.utime(path, (1, 1))
        marks[source] = catalogue.fingerprint("mine"), path.stat().st_size
        classes.append(catalogue.load("mine").class_names)
        own.remove("mine")
    assert len({size for _, size in marks.values()}) == 1
    assert marks["a"] == marks["c"]
    assert len(set(marks.values())) == 3
    assert classes == [("x", "y"), ("x", "y"), ("x", "y"), ("x", "z")]
    assert catalogue.fingerprint("mine") == ""
    assert catalogue.fingerprint("mnist") != catalogue.fingerprint("mnist-binarised")


def test_a_set_that_is_missing_is_told_with_what_adds_it(data_folder):
    with pytest.raises(DatasetError) as raised:
        catalogue.load("flowers-binarised")
    assert str(raised.value) == (
        f"unknown data set 'flowers'; choose one of: {', '.join(catalogue.NAMES)}; "
        f"or, if it is of your own, add it to {data_folder / 'own'}: "
        "python -m vae data add PATH --name flowers"
    )


def test_a_damaged_set_is_told_and_hides_no_other(tmp_path, data_folder):
    np.save(tmp_path / "a.npy", IMAGES)
    for name in ("a", "b", "c"):
        own.add(tmp_path / "a.npy", name)
    path = data_folder / "own" / "b.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    (data_folder / "own" / "not a name.safetensors").write_bytes(b"")
    assert own.names() == ["a", "c"]
    with pytest.raises(DatasetError, match=r"cannot be used .* delete it and add the data again"):
        catalogue.load("b")


def test_what_is_kept_is_counted_and_a_failed_add_leaves_nothing(
    tmp_path, data_folder, monkeypatch
):
    np.save(tmp_path / "a.npy", IMAGES)
    own.add(tmp_path / "a.npy", "a")
    n, n_bytes = own.kept()
    assert (n, n_bytes) == (1, (data_folder / "own" / "a.safetensors").stat().st_size)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DatasetError, match="No space left on device"):
        own.add(tmp_path / "a.npy", "b")
    assert [path.name for path in (data_folder / "own").iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("family", ["mlp", "conv"])
def test_a_model_can_be_trained_on_it_and_seen_through(tmp_path, checkpoints, family):
    files = {f"{c}/{i}.png": png(noise(9, 7, 3, seed=i)) for c in "ab" for i in range(10)}
    own.add(folder_of(tmp_path / "a", files), "mine")
    shape = catalogue.describe("mine").image_shape
    model_config = ModelConfig(shape, family=family, hidden=(8,))
    train_config = TrainConfig("mine", epochs=2, binarise="all")
    for _ in job.train(checkpoints / "run", model_config, train_config, "cpu"):
        pass
    run = job.checkpoint.open_run(checkpoints / "run")
    embedding = run.load_embedding()
    assert (embedding.dataset, len(embedding)) == ("mine-binarised", 4)
    assert embedding.class_names == ("a", "b")
    elsewhere = embed(run.load_model(), catalogue.load("digits").first(5).resized(shape))
    assert np.isfinite(elsewhere.neg_elbo).all()
    own.remove("mine")
    with pytest.raises(DatasetError, match="python -m vae data add PATH --name mine"):
        next(job.train(checkpoints / "other", model_config, train_config, "cpu"))
