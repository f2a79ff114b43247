"""A name -> Dataset."""

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from vae.data import builtin, catalogue
from vae.data.dataset import DatasetError

BUILT_IN = ("digits", "sprites")
SIZES = {
    ("digits", "test"): 359,
    ("digits", "train"): 1438,
    ("digits", "all"): 1797,
    ("sprites", "test"): 819,
    ("sprites", "train"): 3277,
    ("sprites", "all"): 4096,
}


@pytest.mark.parametrize(("name", "split"), SIZES)
def test_a_data_set_is_whole(name, split):
    data = catalogue.load(name, split)
    N = SIZES[name, split]
    assert (data.name, data.split, len(data)) == (name, split, N)
    assert data.images.dtype == torch.uint8
    assert data.images.shape == (N, *data.image_shape)
    assert data.labels.dtype == torch.int64
    assert data.labels.shape == (N,)
    assert sorted(data.labels.unique().tolist()) == list(range(len(data.class_names)))
    assert all(values.shape == (N,) for values in data.factors.values())


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_source_describes_what_is_loaded(name):
    source = catalogue.describe(name)
    train = catalogue.load(name, "train")
    assert source.image_shape == train.image_shape
    assert source.n_train == len(train)
    assert name in catalogue.names_of_shape(train.image_shape)
    assert source.title
    assert source.note


@pytest.mark.parametrize("name", BUILT_IN)
def test_one_image_in_five_is_held_out(name):
    train, test = SIZES[name, "train"], SIZES[name, "test"]
    assert test == round((train + test) / 5)


@pytest.mark.parametrize("name", BUILT_IN)
def test_all_is_train_and_then_test(name):
    train, test, both = (catalogue.load(name, split) for split in ("train", "test", "all"))
    assert torch.equal(both.images, torch.cat([train.images, test.images]))
    assert torch.equal(both.labels, torch.cat([train.labels, test.labels]))
    assert both.class_names == train.class_names == test.class_names
    assert set(both.factors) == set(train.factors) == set(test.factors)
    for factor, values in both.factors.items():
        assert torch.equal(values, torch.cat([train.factors[factor], test.factors[factor]]))


def test_the_default_split_is_the_held_out_one():
    assert torch.equal(catalogue.load("digits").images, catalogue.load("digits", "test").images)


def test_loading_twice_gives_the_same_whatever_the_global_seeds():
    for name in BUILT_IN:
        np.random.seed(0)
        torch.manual_seed(0)
        first = catalogue.load(name, "test")
        np.random.seed(1)
        torch.manual_seed(1)
        assert torch.equal(first.images, catalogue.load(name, "test").images)


@pytest.mark.parametrize("name", ["", "no set", "Digits", "../digits"])
def test_an_unknown_name_is_told_with_those_there_are(name):
    for use in (catalogue.load, catalogue.describe):
        with pytest.raises(DatasetError) as raised:
            use(name)
        assert str(raised.value) == (
            f"unknown data set {name!r}; choose one of: {', '.join(catalogue.NAMES)}"
        )


@pytest.mark.parametrize("split", ["", "valid", "Test"])
def test_an_unknown_split_is_told_with_those_there_are(split):
    with pytest.raises(DatasetError) as raised:
        catalogue.load("digits", split)
    assert str(raised.value) == f"split (={split!r}) must be one of: test, train, all"


def test_names_of_shape_finds_the_sets_a_model_can_read():
    assert catalogue.names_of_shape((1, 28, 28)) == ["mnist", "fashion-mnist", "kmnist"]
    assert catalogue.names_of_shape((1, 8, 8)) == ["digits"]
    assert catalogue.names_of_shape((3, 8, 8)) == []


def test_the_folder_is_vae_data_or_data_here(monkeypatch):
    monkeypatch.setenv("VAE_DATA", "/somewhere/else")
    assert catalogue.folder() == Path("/somewhere/else")
    monkeypatch.setenv("VAE_DATA", "")
    assert catalogue.folder() == Path("data")
    monkeypatch.delenv("VAE_DATA")
    assert catalogue.folder() == Path("data")


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_a_server_that_falls_silent_is_told_in_time(data_folder, monkeypatch, begin):
    monkeypatch.setattr(builtin, "TIMEOUT_S", 0.2)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [url, url])
        connections = []

        def accept():
            with suppress(OSError):  # the server is closed
                while True:
                    connections.append(server.accept()[0])
                    connections[-1].sendall(begin)

        threading.Thread(target=accept, daemon=True).start()
        start = time.monotonic()
        with pytest.raises(DatasetError, match=r"could not be fetched \(.*timed out"):
            catalogue.load("mnist")
        assert time.monotonic() - start < 10
        assert len(connections) == 2  # each of the set's addresses, once
        for connection in connections:
            connection.close()
    assert not list((data_folder / "MNIST" / "raw").iterdir())
    assert not catalogue.describe("mnist").is_here("test")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_binarised_set_is_drawn_from_the_grey_one_the_same_every_time(split):
    grey, drawn = (catalogue.load(name, split) for name in ("digits", "digits-binarised"))
    assert (drawn.name, drawn.split) == ("digits-binarised", split)
    assert drawn.images.dtype == torch.uint8
    assert drawn.images.unique().tolist() == [0, 255]
    assert torch.equal(drawn.labels, grey.labels)
    assert drawn.class_names == grey.class_names
    assert torch.equal(drawn.images, catalogue.load("digits-binarised", split).images)
    assert (drawn.images[grey.images == 0] == 0).all()
    assert (drawn.images[grey.images == 255] == 255).all()


def test_a_binarised_set_is_described_as_its_grey_one():
    assert catalogue.describe("digits-binarised") is catalogue.describe("digits")
    for name in ("-binarised", "nonesuch-binarised", "digits-binarised-binarised"):
        with pytest.raises(catalogue.DatasetError, match="unknown data set"):
            catalogue.load(name)


@pytest.mark.parametrize(
    ("shape", "name"), [((1, 10, 10), "digits"), ((1, 64, 64), "sprites"), ((1, 28, 30), "mnist")]
)
def test_the_nearest_data_set_is_the_one_that_changes_least(shape, name):
    assert catalogue.nearest(shape) == name
