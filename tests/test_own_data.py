"""Folders, zips and arrays of one's own: what becomes of good ones; bad ones do no harm."""

import io
import os
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as transforms

from vae import datasets, job, own_data
from vae.config import ModelConfig, TrainConfig
from vae.datasets import DatasetError
from vae.embedding import embed
from vae.own_data import BadFiles

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, options.pop("format", "PNG"), **options)
    return file.getvalue()


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def zip_of(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def two_classes(n: int = 6, *shape: int) -> dict[str, bytes]:
    """n grey pictures of each of two classes."""
    shape = shape or (9, 7)
    return {
        f"{name}/{i}.png": png(noise(*shape, seed=100 * c + i))
        for c, name in enumerate(("cats", "dogs"))
        for i in range(n)
    }


# Dataset.resized


@pytest.mark.parametrize(("C", "size"), [(1, (28, 28)), (3, (20, 31))])
@pytest.mark.parametrize("target", [(32, 32), (8, 12), (64, 5)])
def test_resized_is_torchvisions_resize_of_a_pillow_image(C, size, target):
    images = torch.from_numpy(noise(3, C, *size))
    data = datasets.Dataset("a", "test", images, torch.zeros(3, dtype=torch.int64), ("x",))
    resized = data.resized((C, *target))
    assert resized.images.dtype == torch.uint8
    for image, found in zip(images, resized.images, strict=True):
        expected = transforms.resize(transforms.to_pil_image(image), list(target))
        assert torch.equal(found, transforms.pil_to_tensor(expected))
    assert (resized.name, resized.split, len(resized)) == ("a", "test", 3)
    assert f"{target[0]} x {target[1]}" in resized.note


def test_colour_becomes_grey_and_grey_colour_as_torchvision_does_it():
    colour = torch.from_numpy(noise(2, 3, 8, 8))
    data = datasets.Dataset("a", "test", colour, torch.zeros(2, dtype=torch.int64), ("x",))
    for image, found in zip(colour, data.resized((1, 8, 8)).images, strict=True):
        expected = transforms.to_grayscale(transforms.to_pil_image(image))
        assert torch.equal(found, transforms.pil_to_tensor(expected))
    back = data.resized((1, 8, 8)).resized((3, 8, 8)).images
    assert torch.equal(back, data.resized((1, 8, 8)).images.expand(2, 3, 8, 8))


def test_images_of_the_right_shape_stay_the_same_object():
    data = datasets.load("digits")
    assert data.resized((1, 8, 8)) is data
    with pytest.raises(ValueError, match=r"image_shape \(=\(2, 8, 8\)\) must be"):
        data.resized((2, 8, 8))


# What becomes of good files


@pytest.mark.parametrize("kind", ["folder", "zip", "zip in a folder"])
def test_subfolders_are_classes_and_pixels_stay_as_they_are(tmp_path, kind):
    files = two_classes()
    if kind == "folder":
        source = folder_of(tmp_path / "pets", files)
    else:
        inside = "pets/" if "in a" in kind else ""
        source = zip_of(tmp_path / "pets.zip", {inside + k: v for k, v in files.items()})
    told = own_data.survey(source)
    assert (told.n_images, told.n_bad, told.image_shape) == (12, 0, (1, 9, 7))
    assert told.classes == {"cats": 6, "dogs": 6}
    assert told.sizes == {(9, 7): 12}
    data = own_data.read(source)
    assert data.class_names == ("cats", "dogs")
    assert data.labels.tolist() == [0] * 6 + [1] * 6
    assert np.array_equal(data.images[7, 0], noise(9, 7, seed=101))
    assert "kept at 9 x 7" in data.note.lower()


def test_a_flat_folder_has_one_class_and_a_set_with_train_and_test_folders_those_inside(tmp_path):
    flat = {name.replace("/", "-"): data for name, data in two_classes().items()}
    assert own_data.survey(folder_of(tmp_path / "flat", flat)).classes == {"unlabelled": 12}
    split = {f"{'test' if '1' in k else 'train'}/{k}": v for k, v in two_classes().items()}
    assert own_data.survey(folder_of(tmp_path / "split", split)).classes == {"cats": 6, "dogs": 6}


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path):
    files = {f"{c}/a.png": png(noise(8, 8)) for c in range(12)}
    data = own_data.read(folder_of(tmp_path / "numbers", files))
    assert data.class_names == tuple(map(str, range(12)))


def test_a_folder_and_a_zip_of_it_give_the_same_data_set(tmp_path):
    files = two_classes()
    a = own_data.read(folder_of(tmp_path / "a", files))
    b = own_data.read(zip_of(tmp_path / "b.zip", dict(reversed(files.items()))))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)


def one(tmp_path: Path, data: bytes, name: str = "x.png", **options) -> np.ndarray:
    """The pixels that a picture ends up as, between others that make up the number."""
    fill = {f"y{i}.png": png(noise(4, 4)) for i in range(10)}
    made = own_data.read(folder_of(tmp_path / "one", {**fill, name: data}), **options)
    return made.images[0].numpy()


def test_16_bit_values_are_divided_by_257(tmp_path):
    values = np.array([[0, 257, 65535], [128 * 257, 129, 127]], dtype=np.uint16)
    assert one(tmp_path, png(values), image_shape=(1, 2, 3)).tolist() == [
        [[0, 1, 255], [128, 1, 0]]
    ]


def test_a_palette_is_looked_up(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    file = io.BytesIO()
    picture.save(file, "PNG")
    found = one(tmp_path, file.getvalue(), image_shape=(3, 1, 2))
    assert found.transpose(1, 2, 0).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_what_is_transparent_shows_black(tmp_path):
    pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], dtype=np.uint8)
    found = one(tmp_path, png(pixels), image_shape=(3, 1, 2))
    assert found.transpose(1, 2, 0).tolist() == [[[200, 100, 50], [0, 0, 0]]]


def test_the_orientation_of_exif_is_respected(tmp_path):
    pixels = np.zeros((20, 10, 3), dtype=np.uint8)
    pixels[:10] = 255  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: the upper half is then the right one
    data = png(pixels, format="JPEG", exif=exif, quality=95)
    source = folder_of(tmp_path / "turned", {f"{i}.jpg": data for i in range(10)})
    assert own_data.survey(source).sizes == {(10, 20): 10}
    found = own_data.read(source, (3, 10, 20)).images[0, 0].numpy()
    assert (found[:, :8] < 20).all()
    assert (found[:, 12:] > 235).all()


def test_all_grey_makes_one_channel_and_one_of_colour_three(tmp_path):
    files = two_classes()
    assert own_data.survey(folder_of(tmp_path / "grey", files)).is_grey
    source = folder_of(tmp_path / "mixed", {**files, "cats/9.png": png(noise(9, 7, 3))})
    told = own_data.survey(source)
    assert (told.is_grey, told.image_shape) == (False, (3, 9, 7))
    assert own_data.read(source).images.shape == (13, 3, 9, 7)
    assert own_data.read(source, (1, 9, 7)).images.shape == (13, 1, 9, 7)
    assert "Made grey" not in told.treatment()
    assert "made grey" in told.treatment((1, 9, 7))


def test_pictures_of_several_sizes_are_stretched_and_that_is_said(tmp_path):
    files = {f"{i}.png": png(noise(10 + i, 40)) for i in range(12)}
    told = own_data.survey(folder_of(tmp_path / "sizes", files))
    assert told.image_shape == (1, 32, 32)
    assert told.n_sizes == 12
    assert "the ratio of the sides not kept" in told.treatment()


def test_large_pictures_of_one_size_keep_the_ratio_of_their_sides(tmp_path):
    files = {f"{i}.png": png(noise(50, 200)) for i in range(10)}
    told = own_data.survey(folder_of(tmp_path / "wide", files))
    assert told.image_shape == (1, 8, 32)
    assert "not kept" not in told.treatment()


# Arrays

IMAGES = noise(12, 6, 5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (IMAGES, IMAGES[:, None]),
        (IMAGES[..., None], IMAGES[:, None]),
        (IMAGES[:, None], IMAGES[:, None]),
        (IMAGES.astype(np.int64), IMAGES[:, None]),
        (IMAGES / 255, IMAGES[:, None]),
        ((IMAGES / 255).astype(">f4"), IMAGES[:, None]),
        (IMAGES / 127.5 - 1, IMAGES[:, None]),
        (IMAGES > 100, 255 * (IMAGES > 100)[:, None]),
        ((IMAGES > 100).astype(np.uint8), 255 * (IMAGES > 100)[:, None]),
        (IMAGES // 16 / 15 * 16, IMAGES[:, None] // 16 * 17),
        (IMAGES.astype(np.uint16) * 257, IMAGES[:, None]),
        (noise(12, 6, 5, 3), noise(12, 6, 5, 3).transpose(0, 3, 1, 2)),
        (noise(12, 3, 6, 5), noise(12, 3, 6, 5)),
        (noise(12, 36), noise(12, 36).reshape(12, 1, 6, 6)),
    ],
)
def test_arrays_of_any_layout_and_range_become_bytes(tmp_path, values, expected):
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "a.npz", values)
    for name in ("a.npy", "a.npz"):
        data = own_data.read(tmp_path / name)
        assert np.array_equal(data.images, expected)
        assert data.class_names == ("unlabelled",)


@pytest.mark.parametrize(
    "names",
    [("images", "labels"), ("x", "y"), ("arr_0", "arr_1"), ("train_images", "train_labels")],
)
@pytest.mark.parametrize("shape", [(12,), (12, 1)])
def test_labels_beside_the_images_are_found(tmp_path, names, shape):
    labels = np.arange(12) % 3
    np.savez(tmp_path / "a.npz", **dict(zip(names, (IMAGES, labels.reshape(shape)), strict=True)))
    data = own_data.read(tmp_path / "a.npz")
    assert data.labels.tolist() == labels.tolist()
    assert data.class_names == ("0", "1", "2")


def test_parts_are_joined_with_their_own_labels(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        x_train=IMAGES,
        y_train=np.array(["a"] * 12),
        x_test=IMAGES[:3],
        y_test=np.array(["b"] * 3),
    )
    data = own_data.read(tmp_path / "a.npz")
    assert [data.class_names[label] for label in data.labels] == ["b"] * 3 + ["a"] * 12
    assert "Joined: x_test, x_train" in data.note


def test_the_range_that_was_stretched_is_said(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES.astype(float) - 300)
    assert "Values -300 to -45 become 0 to 255." in own_data.survey(tmp_path / "a.npy").treatment()


def test_labels_that_are_no_classes_are_said_not_to_be_used(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=np.zeros((12, 40)))
    told = own_data.survey(tmp_path / "a.npz")
    assert told.classes == {"unlabelled": 12}
    assert "Not used for labels" in told.treatment()


# CSV


@pytest.mark.parametrize("title", ["", "file,label\n", "id,breed,class\n"])
@pytest.mark.parametrize("key", ["{}", "{}.png", "cats/{}.png"])
def test_a_csv_gives_pictures_their_labels(tmp_path, title, key):
    source = folder_of(
        tmp_path / "a", {f"cats/{i}.png": png(noise(5, 5, seed=i)) for i in range(10)}
    )
    (tmp_path / "l.csv").write_text(
        "\ufeff"
        + title
        + "".join(f"{key.format(i)},{'odd' if i % 2 else 'even'}\n" for i in range(10))
    )
    data = own_data.read(source, labels_csv=tmp_path / "l.csv")
    assert data.class_names == ("even", "odd")
    assert data.labels.tolist() == [0, 1] * 5


@pytest.mark.parametrize("title", ["", "label\n", "whatever\n"])
def test_a_csv_gives_rows_their_labels_in_order(tmp_path, title):
    np.save(tmp_path / "a.npy", IMAGES)
    (tmp_path / "l.csv").write_text(title + "a\nb\nc\n" * 4)
    data = own_data.read(tmp_path / "a.npy", labels_csv=tmp_path / "l.csv")
    assert data.labels.tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "has no rows"),
        (b"a\nb\n", "2 rows for 12 images"),
        (b"\xff\xfe" * 40, "not a CSV in UTF-8"),
        (b"<b>x</b>\n" * 12, "has < or > in it"),
        (b"x" * 200 + b"\n" + b"y\n" * 11, "more than 60 letters"),
        (b'"' + b"x" * 300_000, "not a CSV"),
    ],
)
def test_a_bad_csv_is_told(tmp_path, text, told):
    np.save(tmp_path / "a.npy", IMAGES)
    (tmp_path / "l.csv").write_bytes(text)
    with pytest.raises(DatasetError, match=told):
        own_data.survey(tmp_path / "a.npy", tmp_path / "l.csv")


def test_a_csv_of_other_files_or_too_many_classes_is_told(tmp_path):
    source = folder_of(tmp_path / "a", two_classes())
    (tmp_path / "l.csv").write_text("x.png,a\n")
    with pytest.raises(DatasetError, match="names none of the pictures"):
        own_data.survey(source, tmp_path / "l.csv")
    np.save(tmp_path / "a.npy", noise(200, 4, 4))
    (tmp_path / "l.csv").write_text("".join(f"{i}\n" for i in range(200)))
    with pytest.raises(DatasetError, match="200 classes; at most 100"):
        own_data.survey(tmp_path / "a.npy", tmp_path / "l.csv")


# Bad files


def bad_png(width: int, height: int) -> bytes:
    """A PNG that says it is so large, with next to nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(10_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


SPOILT = {
    "huge.png": (bad_png(30_000, 30_000), "more than 20 million pixels"),
    "large.png": (bad_png(5_000, 5_000), "5,000 x 5,000 pixels; at most 20 million"),
    "text.png": (b"hello", "not a picture, whatever its name says"),
    "empty.jpg": (b"", "not a picture"),
    "page.gif": (b"<html><script>alert(1)</script></html>", "not a picture"),
    "script.ppm": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
}


@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_bad_pictures_are_listed_before_anything_is_decoded(tmp_path, name, kind):
    data, reason = SPOILT[name]
    files = {**two_classes(), f"cats/{name}": data}
    make = folder_of if kind == "folder" else zip_of
    source = make(tmp_path / ("a" if kind == "folder" else "a.zip"), files)
    told = own_data.survey(source)
    assert (told.n_images, told.n_bad) == (12, 1)
    ((bad, why),) = told.bad
    assert bad == f"cats/{name}"
    assert reason in why
    with pytest.raises(BadFiles, match="1 of 13 files cannot be used") as raised:
        own_data.read(source)
    assert (raised.value.n_bad, raised.value.n_good) == (1, 12)
    data = own_data.read(source, n_bad_agreed=1)
    assert len(data) == 12
    assert "1 bad file left out" in data.note


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
def test_a_picture_that_is_cut_short_is_left_out_only_after_saying_so(tmp_path, format):
    whole = png(noise(40, 40, 3), format=format)
    source = folder_of(
        tmp_path / "a", {**two_classes(), "cats/z.png": whole[: int(len(whole) * 0.7)]}
    )
    found = own_data.survey(source).n_bad
    with pytest.raises(
        BadFiles, match=r"cats/z\.png: damaged or cut short|z\.png: not a pict"
    ) as e:
        own_data.read(source, n_bad_agreed=0)
    assert (e.value.n_bad, e.value.n_good) == (1, 12)
    assert found <= 1
    assert len(own_data.read(source, n_bad_agreed=None)) == 12


HOSTILE_NAMES = ["../out.png", "a/../../out.png", "/etc/out.png", "a\\..\\b.png", "<b>x</b>.png"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_lead_out_or_hold_html_are_refused_and_nothing_is_written(tmp_path, name):
    inner = tmp_path / "inner"
    inner.mkdir()
    source = zip_of(inner / "a.zip", {**two_classes(), name: png(noise(9, 7))})
    before = sorted(tmp_path.rglob("*"))
    told = own_data.survey(source)
    assert told.n_images == 12
    assert told.n_bad == 1
    assert "<" not in told.bad[0][0]
    own_data.preview(source)
    own_data.read(source, n_bad_agreed=1)
    assert sorted(tmp_path.rglob("*")) == before
    np.savez(inner / "b.npz", **{name.removesuffix(".png"): IMAGES})
    with pytest.raises(DatasetError, match="cannot be used: its name"):
        own_data.survey(inner / "b.npz")


def test_links_out_of_the_folder_are_listed_and_not_followed(tmp_path):
    outside = folder_of(tmp_path / "outside", {"secret.png": png(noise(9, 7)), "d/x.png": b""})
    source = folder_of(tmp_path / "a", two_classes())
    (source / "cats" / "link.png").symlink_to(outside / "secret.png")
    (source / "dir").symlink_to(outside)
    (source / "loop").symlink_to(source)
    (source / "dead.png").symlink_to(source / "nothing")
    (source / "cats" / "good.png").symlink_to(source / "dogs" / "1.png")
    os.mkfifo(source / "pipe.png")
    told = own_data.survey(source)
    assert told.n_images == 13
    reasons = dict(told.bad)
    assert reasons["cats/link.png"] == reasons["dir"] == "a link that leads out of the folder"
    assert reasons["loop"] == "a link to a folder; none is followed"
    assert reasons["pipe.png"] == reasons["dead.png"] == "not a file"
    assert len(reasons) == told.n_bad == 5


def test_a_link_in_a_zip_is_bad(tmp_path):
    source = zip_of(tmp_path / "a.zip", two_classes())
    with zipfile.ZipFile(source, "a") as archive:
        info = zipfile.ZipInfo("cats/link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert own_data.survey(source).bad == (("cats/link.png", "a link"),)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_a_bound_are_refused(tmp_path, method):
    files = {**two_classes(), "cats/bomb.png": bytes(40_000_000)}
    source = zip_of(tmp_path / "a.zip", two_classes())
    with zipfile.ZipFile(source, "a", method) as archive:
        archive.writestr("cats/bomb.png", files["cats/bomb.png"])
    told = own_data.survey(source)
    assert told.bad == (("cats/bomb.png", "packed by another method than deflate"),)


def test_a_zip_bomb_is_refused_by_what_it_says_and_by_what_it_does(tmp_path):
    bomb = {f"{i}.png": bytes(49_000_000) for i in range(1)}
    source = zip_of(tmp_path / "a.zip", bomb)
    with pytest.raises(DatasetError, match="no picture that can be used"):
        own_data.survey(source)
    # The same bytes under many names, as a zip of overlapping entries has them.
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for i in range(100):
            info = zipfile.ZipInfo(f"{i}.png")
            archive.writestr(info, b"")
            info.file_size = 49_000_000
    with pytest.raises(DatasetError, match=r"unpacks to 4\.9 GB; at most 4\.0 GB"):
        own_data.survey(tmp_path / "b.zip")


def lie_about_the_count(data: bytes, n: int) -> bytes:
    at = data.rfind(b"PK\x05\x06")
    return data[: at + 8] + struct.pack("<HH", n, n) + data[at + 12 :]


def test_a_zip_of_100000_files_is_refused_whatever_it_says_of_itself(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for i in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"{i}.png"), b"")
    with pytest.raises(DatasetError, match="holds more than 65,000 files"):
        own_data.survey(path)
    # Without the Zip64 records and with a count that is a lie, Python would parse them all.
    data = path.read_bytes()
    long = data.rfind(b"PK\x06\x06")
    end = data.rfind(b"PK\x05\x06")
    size, begin = struct.unpack("<QQ", data[long + 40 : long + 56])
    record = data[end : end + 8] + struct.pack("<HHLLH", 12, 12, size, begin, 0)
    path.write_bytes(data[:long] + record)
    assert len(zipfile.ZipFile(path).infolist()) == 100_000
    with pytest.raises(DatasetError, match="holds more than 65,000 files"):
        own_data.survey(path)


def test_a_folder_of_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(own_data, "MAX_FILES", 10)
    with pytest.raises(DatasetError, match="holds more than 10 files"):
        own_data.survey(folder_of(tmp_path / "a", two_classes()))


@pytest.mark.parametrize(
    ("limit", "value", "told"),
    [
        ("MAX_PICTURE_BYTES", 50, "no picture that can be used"),
        ("MAX_TOTAL_PIXELS", 100, "billion pixels"),
        ("MAX_UNPACKED_BYTES", 100, "unpacks to"),
        ("MAX_ARCHIVE_BYTES", 100, "has .* at most"),
        ("MAX_CLASSES", 1, "2 classes; at most 1"),
        ("MAX_DIRECTORY_BYTES", 100, "holds more than"),
        ("MAX_KEPT_BYTES", 100, "12 images of 9 x 7 grey pixels are"),
        ("MIN_IMAGES", 13, "12 usable images; at least 13"),
    ],
)
def test_every_limit_of_a_zip_is_held(tmp_path, monkeypatch, limit, value, told):
    source = zip_of(tmp_path / "a.zip", two_classes())
    monkeypatch.setattr(own_data, limit, value)
    with pytest.raises(DatasetError, match=told):
        own_data.read(source)


def npy(shape: object, dtype: str = "'|u1'", data: bytes = b"", order: str = "False") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


BAD_ARRAYS = {
    "promises much": (npy((10**6, 10**6, 10**6)), "says it holds"),
    "promises more than is there": (npy((12, 100, 100), data=bytes(50)), "is cut short"),
    "negative": (npy((-1, 5, 5)), "has the shape"),
    "objects": (npy((12,), "'|O'", bytes(96)), "Python objects"),
    "code in the header": (npy("__import__('os')"), "no usable header"),
    "no header": (b"\x93NUMPY\x01\x00\xff\xff", "no usable header"),
    "nothing": (b"", "no usable header"),
    "text": (b"hello, world", "no usable header"),
    "a later format": (b"\x93NUMPY\x09\x00" + bytes(100), "no usable header"),
    "one dimension": (npy((12,), data=bytes(12)), "has no images"),
    "Fortran order": (npy((12, 5, 4), data=noise(240).tobytes(), order="True"), "Fortran order"),
    "complex": (npy((12, 5, 4), "'<c8'", bytes(240 * 8)), "has no images"),
    "no rows": (npy((0, 5, 4)), "has no images"),
    "one huge image": (npy((12, 10**4, 10**4), "'|V1'"), "is cut short"),
    "too many": (npy((200_000, 2, 2), data=bytes(800_000)), "200,000 images; at most 100,000"),
    "NaN": (npy((12, 2, 2), "'<f4'", np.full(48, np.nan, "<f4").tobytes()), "NaN or infinite"),
}


@pytest.mark.parametrize("what", BAD_ARRAYS)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_bad_arrays_are_told(tmp_path, what, kind):
    data, told = BAD_ARRAYS[what]
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        path.write_bytes(data)
    else:
        zip_of(path, {"x.npy": data})
    with pytest.raises(DatasetError, match=told) as raised:
        own_data.read(path)
    assert len(str(raised.value)) < 400


def test_what_is_neither_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe.zip")
    for name, told in {
        "a.txt": "neither a folder nor one of",
        "nothing.zip": "no folder or file",
        "pipe.zip": "neither a folder nor a file",
    }.items():
        with pytest.raises(DatasetError, match=told):
            own_data.survey(tmp_path / name)
    for data in (b"", b"PK", b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + b"\x01" * 18, bytes(5000)):
        (tmp_path / "a.zip").write_bytes(data)
        with pytest.raises(DatasetError):
            own_data.survey(tmp_path / "a.zip")


@pytest.mark.parametrize("kind", ["zip", "npz", "npy"])
def test_a_damaged_archive_never_raises_anything_else(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        zip_of(path, two_classes())
    elif kind == "npz":
        np.savez_compressed(path, x=IMAGES, y=np.arange(12) % 3)
    else:
        np.save(path, IMAGES)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refused = []
    for i in range(150):
        data = bytearray(whole)
        if i % 3 == 0:
            data = data[: random.integers(0, len(whole))]
        else:
            for at in random.integers(0, len(whole), 1 + i % 7):
                data[at] = random.integers(0, 256)
        path.write_bytes(data)
        try:
            own_data.read(path, (1, 6, 5), n_bad_agreed=None)
        except DatasetError as error:
            refused.append(str(error))
    assert len(refused) > 40
    assert not any("\n" in sentence for sentence in refused)


MEASURED = """
import re, sys
from vae import own_data
for path in sys.argv[1:]:
    try:
        own_data.survey(path)
        own_data.preview(path)
        own_data.read(path, n_bad_agreed=None)
        print("read")
    except own_data.DatasetError as error:
        print(error)
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak")
def test_memory_stays_under_1_gb(tmp_path):
    largest = Image.new("RGBA", (4000, 5000), (1, 2, 3, 100))
    file = io.BytesIO()
    largest.save(file, "PNG", compress_level=1)
    files = {f"{i}.png": file.getvalue() for i in range(10)}
    zip_of(tmp_path / "large.zip", files, zipfile.ZIP_STORED)
    zip_of(tmp_path / "bombs.zip", {f"{i}.png": bytes(49_000_000) for i in range(3)})
    np.savez_compressed(tmp_path / "zeros.npz", np.ones((200, 1000, 1000), dtype=np.float32))
    np.save(tmp_path / "kept.npy", np.broadcast_to(noise(1, 1, 64, 64), (48_000, 1, 64, 64)))
    paths = [tmp_path / name for name in ("large.zip", "bombs.zip", "zeros.npz", "kept.npy")]
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    *said, peak = result.stdout.splitlines()
    assert said[0] == "read"
    assert "no picture that can be used" in said[1]
    assert said[3] == "read"
    assert int(peak) < 1000


# Names and what is kept


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
        own_data.add(tmp_path / "a.npy", name)
    assert not (tmp_path / "data").exists()


def test_what_was_added_is_a_data_set_like_the_others(tmp_path, data_folder):
    source = folder_of(tmp_path / "pets", two_classes(20))
    known = own_data.add(source, "my-pets")
    assert datasets.names() == (*datasets.NAMES, "my-pets")
    assert own_data.names() == ["my-pets"]
    assert known is datasets.describe("my-pets") is datasets.describe("my-pets-binarised")
    assert (known.image_shape, known.n_train, known.is_here()) == ((1, 9, 7), 32, True)
    assert "40 images from pets" in known.note
    assert datasets.names_of_shape((1, 9, 7)) == ["my-pets"]
    read = own_data.read(source)
    held_out = datasets.is_held_out(40)
    for split, rows in (("train", ~held_out), ("test", held_out)):
        data = datasets.load("my-pets", split)
        assert (data.name, data.split, data.class_names) == ("my-pets", split, ("cats", "dogs"))
        assert torch.equal(data.images, read.images[rows])
        assert torch.equal(data.labels, read.labels[rows])
    assert len(datasets.load("my-pets", "all")) == 40
    assert datasets.load("my-pets-binarised").images.unique().tolist() == [0, 255]
    assert [path.name for path in (data_folder / "own").iterdir()] == ["my-pets.safetensors"]


def test_a_name_is_given_once_until_it_is_removed(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    own_data.add(tmp_path / "a.npy", "a")
    before = datasets.stamp("a")
    with pytest.raises(DatasetError, match="named a exists already"):
        own_data.add(tmp_path / "a.npy", "a")
    own_data.remove("a")
    assert datasets.names() == datasets.NAMES
    with pytest.raises(DatasetError, match="cannot delete"):
        own_data.remove("a")
    own_data.add(tmp_path / "a.npy", "a", (3, 4, 4))
    assert datasets.describe("a").image_shape == (3, 4, 4)
    assert datasets.stamp("a") != before != ()
    assert datasets.stamp("mnist") == ()


def test_a_set_that_is_missing_is_told_with_what_adds_it(data_folder):
    with pytest.raises(DatasetError) as raised:
        datasets.load("flowers-binarised")
    assert str(raised.value) == (
        "unknown data set 'flowers'; choose one of: digits, sprites, mnist, fashion-mnist, kmnist; "
        f"or, if it is of your own, add it to {data_folder / 'own'}: "
        "python -m vae data add PATH --name flowers"
    )


def test_a_damaged_set_is_told_and_hides_no_other(tmp_path, data_folder):
    np.save(tmp_path / "a.npy", IMAGES)
    for name in ("a", "b", "c"):
        own_data.add(tmp_path / "a.npy", name)
    path = data_folder / "own" / "b.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    (data_folder / "own" / "not a name.safetensors").write_bytes(b"")
    assert own_data.names() == ["a", "c"]
    with pytest.raises(DatasetError, match=r"cannot be used .* delete it and add the data again"):
        datasets.load("b")


def test_a_full_data_folder_is_told_and_a_failed_add_leaves_nothing(
    tmp_path, data_folder, monkeypatch
):
    np.save(tmp_path / "a.npy", IMAGES)
    own_data.add(tmp_path / "a.npy", "a")
    monkeypatch.setattr(own_data, "MAX_OWN_BYTES", 10)
    with pytest.raises(DatasetError, match=r"holds .* of data, at most"):
        own_data.add(tmp_path / "a.npy", "b")
    monkeypatch.undo()
    monkeypatch.setenv("VAE_DATA", str(data_folder))

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DatasetError, match="No space left on device"):
        own_data.add(tmp_path / "a.npy", "b")
    assert [path.name for path in (data_folder / "own").iterdir()] == ["a.safetensors"]


def test_an_open_file_serves_as_well_as_a_path(tmp_path):
    data = zip_of(tmp_path / "a.zip", two_classes()).read_bytes()
    file, labels = io.BytesIO(data), io.BytesIO(b"cats/1.png,a\n")
    file.name, labels.name = "upload.zip", "labels.csv"
    assert own_data.survey(file).name == "upload.zip"
    told = own_data.survey(file, labels)
    assert told.classes == {"a": 1, "unlabelled": 11}
    assert "labels for 1 of 12" in told.treatment()
    shown = own_data.preview(file, (3, 4, 4), per_class=2)
    assert {name: images.shape for name, images in shown.items()} == {
        "cats": (2, 3, 4, 4),
        "dogs": (2, 3, 4, 4),
    }
    seen = []
    own_data.add(file, "a", labels_csv=labels, progress=lambda *n: seen.append(n))
    assert seen == [(i, 12) for i in range(1, 13)]


def test_the_preview_shows_what_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=np.arange(12) % 2)
    shown = own_data.preview(tmp_path / "a.npz", per_class=3)
    data = own_data.read(tmp_path / "a.npz")
    for number, name in enumerate(data.class_names):
        assert np.array_equal(shown[name], data.images[data.labels == number][:3])


@pytest.mark.parametrize(
    ("text", "size"), [("28", (28, 28)), ("8x12", (8, 12)), (" 8 × 9", (8, 9))]
)
def test_a_size_is_read_as_it_is_typed(text, size):
    assert own_data.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "8x", "8x8x8", "-3", "8.5", "1e3", "9" * 5000])
def test_a_size_that_is_none_is_told(text):
    with pytest.raises(DatasetError, match=r"^size \(="):
        own_data.parse_size(text)


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 0, 8), (1, 8, 257), (8, 8), (1, 8.0, 8)])
def test_an_image_shape_that_no_set_may_have_is_told(tmp_path, shape):
    np.save(tmp_path / "a.npy", IMAGES)
    with pytest.raises(DatasetError, match=r"^image_shape \(="):
        own_data.read(tmp_path / "a.npy", shape)


# A model of it


@pytest.mark.parametrize("family", ["mlp", "conv"])
def test_a_model_can_be_trained_on_it_and_seen_through(tmp_path, checkpoints, family):
    files = {f"{c}/{i}.png": png(noise(9, 7, 3, seed=i)) for c in "ab" for i in range(10)}
    own_data.add(folder_of(tmp_path / "a", files), "mine")
    shape = datasets.describe("mine").image_shape
    model_config = ModelConfig(shape, family=family, hidden=(8,))
    train_config = TrainConfig("mine", epochs=2, binarise="all")
    for _ in job.train(checkpoints / "run", model_config, train_config, "cpu"):
        pass
    run = job.checkpoint.open_run(checkpoints / "run")
    embedding = run.load_embedding()
    assert (embedding.dataset, len(embedding)) == ("mine-binarised", 4)
    assert embedding.class_names == ("a", "b")
    elsewhere = embed(run.load_model(), datasets.load("digits").first(5).resized(shape))
    assert np.isfinite(elsewhere.neg_elbo).all()
    own_data.remove("mine")
    with pytest.raises(DatasetError, match="python -m vae data add PATH --name mine"):
        next(job.train(checkpoints / "other", model_config, train_config, "cpu"))
