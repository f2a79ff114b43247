"""What becomes of pictures of one's own, good ones and bad ones."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import folder_of, noise, png, two_classes, zip_of
from PIL import Image

from vae.data import own
from vae.data.own import BadFiles


@pytest.mark.parametrize("kind", ["folder", "zip", "zip in a folder"])
def test_subfolders_are_classes_and_pixels_stay_as_they_are(tmp_path, kind):
    files = two_classes()
    if kind == "folder":
        source = folder_of(tmp_path / "pets", files)
    else:
        inside = "pets/" if "in a" in kind else ""
        source = zip_of(tmp_path / "pets.zip", {inside + k: v for k, v in files.items()})
    told = own.survey(source)
    assert (told.n_images, told.n_bad, told.image_shape) == (12, 0, (1, 9, 7))
    assert told.classes == {"cats": 6, "dogs": 6}
    assert told.sizes == {(9, 7): 12}
    data = own.read(source)
    assert data.class_names == ("cats", "dogs")
    assert data.labels.tolist() == [0] * 6 + [1] * 6
    assert np.array_equal(data.images[7, 0], noise(9, 7, seed=101))
    assert "kept at 9 x 7" in data.note.lower()


def test_a_flat_folder_has_one_class_and_a_set_with_train_and_test_folders_those_inside(tmp_path):
    flat = {name.replace("/", "-"): data for name, data in two_classes().items()}
    assert own.survey(folder_of(tmp_path / "flat", flat)).classes == {"unlabelled": 12}
    split = {f"{'test' if '1' in k else 'train'}/{k}": v for k, v in two_classes().items()}
    assert own.survey(folder_of(tmp_path / "split", split)).classes == {"cats": 6, "dogs": 6}


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path):
    files = {f"{c}/a.png": png(noise(8, 8)) for c in range(12)}
    data = own.read(folder_of(tmp_path / "numbers", files))
    assert data.class_names == tuple(map(str, range(12)))


def test_a_folder_and_a_zip_of_it_give_the_same_data_set(tmp_path):
    files = two_classes()
    a = own.read(folder_of(tmp_path / "a", files))
    b = own.read(zip_of(tmp_path / "b.zip", dict(reversed(files.items()))))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)


def one(tmp_path: Path, data: bytes, name: str = "x.png", **options) -> np.ndarray:
    """The pixels that a picture ends up as, between others that make up the number."""
    fill = {f"y{i}.png": png(noise(4, 4)) for i in range(10)}
    made = own.read(folder_of(tmp_path / "one", {**fill, name: data}), **options)
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
    assert own.survey(source).sizes == {(10, 20): 10}
    found = own.read(source, (3, 10, 20)).images[0, 0].numpy()
    assert (found[:, :8] < 20).all()
    assert (found[:, 12:] > 235).all()


def test_all_grey_makes_one_channel_and_one_of_colour_three(tmp_path):
    files = two_classes()
    assert own.survey(folder_of(tmp_path / "grey", files)).is_grey
    source = folder_of(tmp_path / "mixed", {**files, "cats/9.png": png(noise(9, 7, 3))})
    told = own.survey(source)
    assert (told.is_grey, told.image_shape) == (False, (3, 9, 7))
    assert own.read(source).images.shape == (13, 3, 9, 7)
    assert own.read(source, (1, 9, 7)).images.shape == (13, 1, 9, 7)
    assert "Made grey" not in told.treatment()
    assert "made grey" in told.treatment((1, 9, 7))


def test_pictures_of_several_sizes_are_stretched_and_that_is_said(tmp_path):
    files = {f"{i}.png": png(noise(10 + i, 40)) for i in range(12)}
    told = own.survey(folder_of(tmp_path / "sizes", files))
    assert told.image_shape == (1, 32, 32)
    assert told.n_sizes == 12
    assert "the ratio of the sides not kept" in told.treatment()


def test_large_pictures_of_one_size_keep_the_ratio_of_their_sides(tmp_path):
    files = {f"{i}.png": png(noise(50, 200)) for i in range(10)}
    told = own.survey(folder_of(tmp_path / "wide", files))
    assert told.image_shape == (1, 8, 32)
    assert "not kept" not in told.treatment()


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
    told = own.survey(source)
    assert (told.n_images, told.n_bad) == (12, 1)
    ((bad, why),) = told.bad
    assert bad == f"cats/{name}"
    assert reason in why
    with pytest.raises(BadFiles, match="1 of 13 files cannot be used") as raised:
        own.read(source)
    assert (raised.value.n_bad, raised.value.n_good) == (1, 12)
    data = own.read(source, n_bad_agreed=1)
    assert len(data) == 12
    assert "1 bad file left out" in data.note


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
def test_a_picture_that_is_cut_short_is_left_out_only_after_saying_so(tmp_path, format):
    whole = png(noise(40, 40, 3), format=format)
    source = folder_of(
        tmp_path / "a", {**two_classes(), "cats/z.png": whole[: int(len(whole) * 0.7)]}
    )
    found = own.survey(source).n_bad
    with pytest.raises(
        BadFiles, match=r"cats/z\.png: damaged or cut short|z\.png: not a pict"
    ) as e:
        own.read(source, n_bad_agreed=0)
    assert (e.value.n_bad, e.value.n_good) == (1, 12)
    assert found <= 1
    assert len(own.read(source, n_bad_agreed=None)) == 12
