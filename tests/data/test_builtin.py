"""The sets that everybody has: digits, sprites, torchvision's, and how those are fetched."""

import gzip
import hashlib
import http.client
import http.server
import math
import os
import shutil
import struct
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch
import torchvision.datasets

from vae.data import catalogue, dataset
from vae.data.dataset import DatasetError

HELD_OUT = dataset.SHIPPED
TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}


def sha256(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def grid_index(sprites: catalogue.Dataset) -> np.ndarray:
    """Each sprite's number on the 64 x 64 grid of positions, from its factors."""
    column, row = (np.rint((sprites.factors[a].numpy() - 8) * 63 / 15) for a in "xy")
    return (64 * row + column).astype("<i8")


def test_digits_are_scikit_learns_values_stretched_to_255():
    digits = sklearn.datasets.load_digits()
    # Nearest integers of v * 255 / 16, halves upwards; v = 8 gives the only half, 127.5.
    stretched = (digits.images.astype(int) * 255 + 8) // 16
    rows = {image.tobytes(): label for image, label in zip(stretched, digits.target, strict=True)}
    data = catalogue.load("digits", "all")
    images = data.images[:, 0].numpy().astype(int)
    assert [rows[image.tobytes()] for image in images] == data.labels.tolist()
    assert (images.min(), images.max()) == (0, 255)
    assert data.class_names == tuple("0123456789")


def test_the_splits_of_digits_are_disjoint_and_complete():
    digits = sklearn.datasets.load_digits()
    everything = sorted(image.tobytes() for image in np.rint(digits.images * 255 / 16).astype("u1"))
    train, test = (catalogue.load("digits", split) for split in ("train", "test"))
    split = [image.numpy().tobytes() for image in [*train.images[:, 0], *test.images[:, 0]]]
    assert len(set(everything)) == len(everything) == 1797  # no digit occurs twice
    assert sorted(split) == everything


@pytest.mark.parametrize(
    ("split", "images", "labels"),
    [
        ("test", "ce0a35d5380ffb91", "26e3923fa50bec7c"),
        ("train", "38362f8f68708ad3", "f1d6ef49eeea6144"),
    ],
)
def test_the_split_of_digits_is_the_same_on_every_machine(split, images, labels):
    data = catalogue.load("digits", split)
    assert sha256(data.labels.numpy().astype("<i8"))[:16] == labels
    assert sha256(data.images.numpy())[:16] == images


def test_the_centroid_of_a_sprite_is_its_factors():
    data = catalogue.load("sprites", "all")
    weight = data.images[:, 0].double()
    total = weight.sum((1, 2))
    pixel = torch.arange(32, dtype=torch.float64)
    centroid_x = (weight.sum(1) * pixel).sum(1) / total
    centroid_y = (weight.sum(2) * pixel).sum(1) / total
    assert (centroid_x - data.factors["x"]).abs().max() < 0.05
    assert (centroid_y - data.factors["y"]).abs().max() < 0.05


def test_sprites_are_one_ring_that_is_never_cut_off():
    data = catalogue.load("sprites", "all")
    weight = data.images[:, 0].double()
    # A ring whose coverage is clip(2.5 - |r - 4.5|, 0, 1) has this area in whole pixels, and
    # shifting it must not change that.
    radius = np.linspace(0, 10, 100_001)
    profile = np.clip(2.5 - np.abs(radius - 4.5), 0, 1)
    area = 2 * math.pi * np.trapezoid(profile * radius, radius)
    np.testing.assert_allclose(weight.sum((1, 2)).numpy() / 255, area, rtol=0.003)
    edges = [weight[:, 0], weight[:, -1], weight[:, :, 0], weight[:, :, -1]]
    assert all((edge == 0).all() for edge in edges)
    centre = data.images[torch.arange(len(data)), 0, *(data.factors[a].round().int() for a in "yx")]
    assert (centre == 0).all()  # the hole


def test_sprites_stand_at_every_place_of_a_64_by_64_grid_once():
    data = catalogue.load("sprites", "all")
    assert sorted(grid_index(data).tolist()) == list(range(4096))
    for axis in "xy":
        places = data.factors[axis].unique()
        np.testing.assert_allclose(places.numpy(), 8 + 15 / 63 * np.arange(64), atol=1e-5)
    assert len({image.numpy().tobytes() for image in data.images}) == 4096


def test_the_splits_of_sprites_are_disjoint_and_complete_and_the_same_on_every_machine():
    train, test = (grid_index(catalogue.load("sprites", split)) for split in ("train", "test"))
    assert not set(train.tolist()) & set(test.tolist())
    assert len(train) + len(test) == 4096
    assert sha256(test)[:16] == "3e99eb637f7d9682"
    assert sha256(train)[:16] == "c95f5ef90f0fbef4"


def test_the_label_of_a_sprite_is_its_quarter_of_the_picture():
    data = catalogue.load("sprites", "all")
    x, y = (data.factors[axis] for axis in "xy")
    for i, name in enumerate(data.class_names):
        vertical, horizontal = name.split()
        inside = ((y > 15.5) == (vertical == "bottom")) & ((x > 15.5) == (horizontal == "right"))
        assert torch.equal(data.labels == i, inside)
        assert int(inside.sum()) == 1024


def idx(values: np.ndarray) -> bytes:
    """The format of the MNIST files: a magic number, the sizes, big-endian, then the bytes."""
    sizes = struct.pack(f">{values.ndim}I", *values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


def small_set() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(5)
    return {
        f"{prefix}-{what}": generator.integers(0, high, shape)
        for prefix, n in (("train", 30), ("t10k", 12))
        for what, high, shape in (
            ("images-idx3-ubyte", 256, (n, 28, 28)),
            ("labels-idx1-ubyte", 10, (n,)),
        )
    }


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder with the four files, served to torchvision as the mirror of every set."""
    served = tmp_path / "served"
    served.mkdir()
    resources = []
    for name, values in small_set().items():
        data = gzip.compress(idx(values), mtime=0)
        (served / f"{name}.gz").write_bytes(data)
        resources.append((f"{name}.gz", hashlib.md5(data).hexdigest()))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(QuietHandler, directory=str(served))
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for class_name in TORCHVISION.values():
        cls = getattr(torchvision.datasets, class_name)
        monkeypatch.setattr(cls, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(cls, "resources", resources)
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


UNREACHABLE = urllib.error.URLError(OSError("Network is unreachable"))


def cut_the_network(monkeypatch, error: Exception = UNREACHABLE) -> None:
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def assert_is_the_small_set(name: str) -> None:
    files = small_set()
    for split, prefix in (("train", "train"), ("test", "t10k")):
        data = catalogue.load(name, split)
        assert (data.name, data.split) == (name, split)
        assert (data.images.dtype, data.labels.dtype) == (torch.uint8, torch.int64)
        np.testing.assert_array_equal(
            data.images.numpy(), files[f"{prefix}-images-idx3-ubyte"][:, None]
        )
        np.testing.assert_array_equal(data.labels.numpy(), files[f"{prefix}-labels-idx1-ubyte"])


@pytest.mark.parametrize(("name", "class_name"), TORCHVISION.items())
def test_a_set_is_fetched_once_and_then_read_from_the_folder(
    mirror, data_folder, monkeypatch, name, class_name
):
    assert_is_the_small_set(name)
    assert len(list((data_folder / class_name / "raw").glob("*.gz"))) == 4
    cut_the_network(monkeypatch)
    assert_is_the_small_set(name)
    assert catalogue.load(name, "train").image_shape == catalogue.describe(name).image_shape


def test_the_four_gz_files_in_the_folder_need_no_network(mirror, data_folder, monkeypatch):
    cut_the_network(monkeypatch)
    shutil.copytree(mirror, data_folder / "MNIST" / "raw")
    assert_is_the_small_set("mnist")


def test_class_names_are_words_that_fit_a_legend(mirror, data_folder):
    assert catalogue.load("mnist").class_names == tuple("0123456789")
    assert catalogue.load("fashion-mnist").class_names[:2] == ("T-shirt/top", "Trouser")
    assert catalogue.load("kmnist").class_names[:2] == ("o", "ki")


@pytest.mark.parametrize(("name", "class_name"), TORCHVISION.items())
def test_without_a_network_the_folder_and_the_next_step_are_told(
    data_folder, monkeypatch, name, class_name
):
    cut_the_network(monkeypatch)
    for split in catalogue.SPLITS:
        with pytest.raises(DatasetError) as raised:
            catalogue.load(name, split)
        message = str(raised.value)
        assert message.startswith(f"{name} is not in {data_folder} and could not be fetched (")
        assert "Network is unreachable" in message
        assert "Connect to the network once" in message
        assert f"its four .gz files into {data_folder / class_name / 'raw'};" in message
        assert "\n" not in message


@pytest.mark.parametrize(
    "error",
    [
        http.client.IncompleteRead(b"", 100),
        http.client.BadStatusLine("<html>"),
        http.client.RemoteDisconnected("closed without response"),
        ConnectionResetError("reset by peer"),
        TimeoutError("timed out"),
        UnicodeError("label empty or too long"),
    ],
)
def test_a_connection_that_breaks_in_any_way_is_told_as_not_fetched(
    data_folder, monkeypatch, error
):
    cut_the_network(monkeypatch, error)
    with pytest.raises(DatasetError, match=r"^mnist is not in .* could not be fetched"):
        catalogue.load("mnist")


def test_a_mirror_that_garbles_a_file_is_told_as_not_fetched(mirror, data_folder):
    path = mirror / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for bad in (b"", whole[:100], b"<html>Please log in</html>"):
        path.write_bytes(bad)
        with pytest.raises(DatasetError, match=r"^mnist is not in .* could not be fetched"):
            catalogue.load("mnist")
    path.write_bytes(whole)
    assert_is_the_small_set("mnist")  # what was left behind does not stand in the way


def test_a_folder_that_cannot_be_made_is_told(mirror, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match=f"^kmnist is not in {tmp_path / 'file'} and could not"):
        catalogue.load("kmnist")


DAMAGE = {
    "empty": lambda data: b"",
    "garbage": lambda data: bytes(range(256)) * 40,
    "text": lambda data: b"<html>Please log in</html>" * 100,
    "truncated": lambda data: data[: len(data) - 5],
    "header only": lambda data: data[:8],
    "longer": lambda data: data + b"more",
    "another type": lambda data: data[:2] + bytes([10]) + data[3:],
    "fewer points": lambda data: data[:4] + struct.pack(">I", 11) + data[8:],
}


@pytest.mark.parametrize("what", ["images-idx3-ubyte", "labels-idx1-ubyte"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_told_with_what_mends_them(mirror, data_folder, damage, what):
    catalogue.load("mnist")
    raw = data_folder / "MNIST" / "raw"
    path = raw / f"t10k-{what}"
    data = DAMAGE[damage](path.read_bytes())
    if damage == "fewer points":  # a whole file, but of 11 points and not 12
        data = data[: -28 * 28 if "images" in what else -1]
    path.write_bytes(data)

    with pytest.raises(DatasetError) as raised:
        catalogue.load("mnist")
    message = str(raised.value)
    assert message.startswith(f"the files in {raw} are damaged (")
    assert message.endswith("); delete that folder, and they are fetched again")
    assert len(message) < 300 + len(str(raw))

    shutil.rmtree(raw)
    assert_is_the_small_set("mnist")


def test_labels_that_name_no_class_are_damage(mirror, data_folder):
    catalogue.load("mnist")
    path = data_folder / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\x0a")
    with pytest.raises(DatasetError, match="are damaged"):
        catalogue.load("mnist")


def test_images_of_another_size_are_damage(mirror, data_folder):
    catalogue.load("mnist")
    path = data_folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    path.write_bytes(idx(np.zeros((12, 14, 56))))
    with pytest.raises(DatasetError, match="are damaged"):
        catalogue.load("mnist")


def test_two_downloads_at_once_do_no_harm_and_are_counted(mirror, data_folder):
    with ThreadPoolExecutor(2) as pool:
        sizes = [len(d) for d in pool.map(catalogue.load, ["mnist"] * 2, ["train", "test"])]
    assert sizes == [30, 12]
    raw, source = data_folder / "MNIST" / "raw", catalogue.describe("mnist")
    assert source.bytes_here() == sum(path.stat().st_size for path in mirror.iterdir())
    assert {path.suffix for path in raw.iterdir()} == {".gz", ""}
    (raw / "t10k-images-idx3-ubyte.gz").rename(raw / ".t10k-images-idx3-ubyte.gz.1-2")
    assert source.bytes_here() == sum(path.stat().st_size for path in mirror.iterdir())


def real(name: str, split: str) -> catalogue.Dataset:
    raw = Path(os.environ.get("VAE_DATA") or "", TORCHVISION[name], "raw")
    if not os.environ.get("VAE_DATA") or not raw.is_dir():
        pytest.skip(f"set VAE_DATA to a folder that holds {TORCHVISION[name]}/raw to test {name}")
    return catalogue.load(name, split)


@pytest.mark.parametrize(
    ("name", "mean", "std", "first_label"),
    [
        # The widely used normalisation constants of the training images.
        ("mnist", 0.1307, 0.3081, 5),
        ("fashion-mnist", 0.2860, 0.3530, 9),
        ("kmnist", 0.1918, 0.3483, 8),
    ],
)
def test_the_real_training_images_have_their_published_statistics(name, mean, std, first_label):
    data = real(name, "train")
    source = catalogue.describe(name)
    assert data.images.shape == (60_000, 1, 28, 28)
    assert (source.n_train, source.image_shape) == (len(data), data.image_shape)
    counts = torch.bincount(data.images.flatten(), minlength=256).double()
    level = torch.arange(256, dtype=torch.float64) / 255
    found = (counts @ level) / counts.sum()
    assert found.item() == pytest.approx(mean, abs=1e-4)
    variance = (counts @ (level - found) ** 2) / counts.sum()
    assert variance.sqrt().item() == pytest.approx(std, abs=1e-4)
    assert data.labels[0] == first_label
    if name != "mnist":
        assert torch.bincount(data.labels).tolist() == [6000] * 10


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_images_that_come_with_the_app_are_the_real_ones(monkeypatch, name):
    with monkeypatch.context() as no_folder:
        no_folder.setenv("VAE_DATA", "nowhere")
        assert catalogue.describe(name).is_here("test")
        assert not catalogue.describe(name).is_here("all")
        shipped = catalogue.load(name)
    with monkeypatch.context() as nothing_shipped:
        nothing_shipped.setattr(dataset, "SHIPPED", Path("nowhere"))
        original = real(name, "test")
    assert shipped.fingerprint == original.fingerprint
    assert shipped.class_names == original.class_names
    assert shipped.images.dtype == original.images.dtype


@pytest.mark.parametrize("what", ["images-idx3-ubyte", "labels-idx1-ubyte"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated", "header only"])
def test_damaged_files_that_came_with_the_app_are_told(data_folder, damage, what):
    folder = shutil.copytree(HELD_OUT / "MNIST", dataset.SHIPPED / "MNIST")
    path = folder / f"t10k-{what}.gz"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(DatasetError, match=f"^the files in {folder} are damaged .*restore them"):
        catalogue.load("mnist")


def test_the_test_images_of_mnist_have_their_published_counts():
    data = catalogue.load("mnist")
    assert len(data) == 10_000
    assert data.labels[:5].tolist() == [7, 2, 1, 0, 4]
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert torch.bincount(data.labels).tolist() == counts
