"""Pictures of every depth, colour and orientation that cameras and instruments write."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import folder_of, noise, png, two_classes
from PIL import Image, ImageOps

from vae.data import own

RAMP = np.tile(np.linspace(0, 1, 64), (8, 1))


def saved(picture: Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def twelve(tmp_path: Path, pictures: dict[str, bytes]) -> Path:
    """A folder of those pictures, by their suffix, over and over until they are twelve."""
    items = list(pictures.items())
    files = {f"{i:02}{items[i % len(items)][0]}": items[i % len(items)][1] for i in range(12)}
    return folder_of(tmp_path / "a", files)


@pytest.mark.parametrize(
    ("values", "format", "top"),
    [
        ((RAMP * 65535).astype(np.uint16), "PNG", ""),
        ((RAMP * 4095).astype(np.uint16), "PNG", "0 to 4095 become"),
        ((RAMP * 4095).astype(np.uint16), "TIFF", "0 to 4095 become"),
        ((RAMP * 1023).astype(np.int32), "TIFF", "0 to 1023 become"),
        ((RAMP * 2000 - 1000).astype(np.int32), "TIFF", "-1000 to 1000 become"),
        ((RAMP * 255).astype(np.uint16), "PNG", ""),
        ((RAMP * 255).astype(np.float32), "TIFF", ""),
        (RAMP.astype(np.float32), "TIFF", "0 to 1 become"),
        ((RAMP * 2 - 1).astype(np.float32), "TIFF", "-1 to 1 become"),
        ((RAMP * 3000).astype(np.float32), "TIFF", "0 to 3000 become"),
    ],
)
def test_pictures_of_more_than_8_bits_use_the_range_that_they_have(tmp_path, values, format, top):
    source = twelve(tmp_path, {f".{format.lower()}": saved(Image.fromarray(values), format)})
    told = own.survey(source).treatment()
    assert top in told
    assert np.abs(own.read(source).images[0, 0].numpy() - RAMP * 255).max() <= 1
    np.save(tmp_path / "a.npy", np.stack([values] * 12))
    assert top in own.survey(tmp_path / "a.npy").treatment()  # arrays are read in the same way


@pytest.mark.parametrize(("kind", "top"), [(np.float32, 1), (np.float32, 200), (np.uint16, 4095)])
def test_a_dark_picture_among_bright_ones_stays_dark(tmp_path, kind, top):
    bright, dark = (Image.fromarray((RAMP * t).astype(kind)) for t in (top, top / 100))
    files = {f"{i:02}.tif": saved(dark if i == 0 else bright, "TIFF") for i in range(12)}
    images = own.read(folder_of(tmp_path / "a", files)).images
    assert images[0].max() <= 4
    assert images[1].max() >= 200


@pytest.mark.parametrize("highest", [1, 10, 31])
@pytest.mark.parametrize("mode", ["L", "LA", "P"])
def test_masks_use_the_levels_that_they_have_and_that_is_said(tmp_path, highest, mode):
    levels = np.rint(RAMP * highest).astype(np.uint8)
    mask = Image.fromarray(levels)
    if mode == "P":
        mask.putpalette([level for level in range(256) for _ in "RGB"])
    source = twelve(tmp_path, {".png": saved(mask.convert(mode) if mode == "LA" else mask)})
    told = own.survey(source).treatment()
    assert f"levels 0 to {highest} become 0 to 255" in told
    assert "add a picture that has white in it" in told
    wanted = np.rint(levels / highest * 255)
    assert (own.read(source).images[0, 0].numpy() == wanted).all()
    np.save(tmp_path / "a.npy", np.stack([levels] * 12))
    assert (own.read(tmp_path / "a.npy").images[0, 0].numpy() == wanted).all()
    (source / "99.png").write_bytes(png(np.full((8, 64), 255, np.uint8)))
    assert "become 0 to 255" not in own.survey(source).treatment()
    assert own.read(source).images[0].max() == highest


def test_pictures_that_are_black_stay_black(tmp_path):
    source = twelve(tmp_path, {".png": png(np.zeros((8, 8), np.uint8))})
    assert own.read(source).images.max() == 0


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """A PNG of 16-bit RGB, (H, W, 3), which Pillow reads and does not write."""
    H, W, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_colours_of_16_bits_lose_the_lower_8_and_that_is_said(tmp_path):
    colours = np.stack([RAMP * 65535] * 3, -1).astype(np.uint16)
    source = twelve(tmp_path, {".png": png_of_16_bits(colours)})
    assert "Of 16 bits the upper 8 are used, in 12 colour" in own.survey(source).treatment()
    assert own.read(source).images.max() == 255


def test_dark_colours_of_16_bits_are_refused_and_not_black(tmp_path):
    colours = np.stack([RAMP * 4095] * 3, -1).astype(np.uint16)
    source = folder_of(tmp_path / "a", {**two_classes(), "cats/dark.png": png_of_16_bits(colours)})
    told = own.survey(source)
    assert told.n_images == 12
    assert told.is_grey
    ((name, reason),) = told.bad
    assert name == "cats/dark.png"
    assert "16 bits and only values below 4,096 of 65,535 occur" in reason


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_picture_with_values_that_are_no_numbers_is_bad(tmp_path, bad):
    spoilt = RAMP.astype(np.float32)
    spoilt[0, 0] = bad
    source = folder_of(
        tmp_path / "a", {**two_classes(), "cats/z.tif": saved(Image.fromarray(spoilt), "TIFF")}
    )
    assert own.survey(source).bad == (("cats/z.tif", "some of its values are NaN or infinite"),)


UPRIGHT = Image.fromarray(noise(8, 16, 3))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_orientation_of_exif_is_turned_upright(tmp_path, format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(UPRIGHT, format, exif=exif, **options)
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        expected = np.asarray(ImageOps.exif_transpose(picture)).transpose(2, 0, 1)
    source = twelve(tmp_path, {f".{format.lower()}": data})
    told = own.survey(source)
    assert told.image_shape == expected.shape
    assert told.image_shape[1:] == ((16, 8) if orientation > 4 else (8, 16))
    assert np.array_equal(own.read(source).images[0], expected)


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(UPRIGHT, exif=exif)
    at, end = data.index(b"eXIf") - 4, data.index(b"IEND") - 4
    size = 12 + int.from_bytes(data[at : at + 4], "big")
    moved = data[:at] + data[at + size : end] + data[at : at + size] + data[end:]
    assert own.survey(twelve(tmp_path, {".png": moved})).sizes == {(16, 8): 12}


COLOURS = {
    "1": (Image.fromarray(noise(8, 8) > 128), "PNG", True),
    "L": (Image.fromarray(noise(8, 8)), "PNG", True),
    "LA": (Image.fromarray(noise(8, 8, 2)), "PNG", True),
    "P": (UPRIGHT.convert("P"), "PNG", False),
    "P of greys": (Image.fromarray(noise(8, 8)).convert("P"), "GIF", True),
    "RGBA": (Image.fromarray(noise(8, 8, 4)), "PNG", False),
    "CMYK": (UPRIGHT.convert("CMYK"), "JPEG", False),
    "LAB": (Image.fromarray(noise(8, 8, 3), "LAB"), "TIFF", False),
    "YCbCr": (UPRIGHT.convert("YCbCr"), "TIFF", False),
}


@pytest.mark.parametrize("mode", COLOURS)
def test_every_kind_of_colour_becomes_grey_or_rgb(tmp_path, mode):
    picture, format, is_grey = COLOURS[mode]
    data = saved(picture, format)
    source = twelve(tmp_path, {f".{format.lower()}": data})
    told = own.survey(source)
    assert told.is_grey == is_grey
    with Image.open(io.BytesIO(data)) as opened:
        black = Image.new("RGBA", opened.size, (0, 0, 0, 255))
        if opened.mode in ("LA", "RGBA"):
            black.alpha_composite(opened.convert("RGBA"))
        else:
            black = opened
        expected = np.asarray(black.convert("L" if is_grey else "RGB"))
    expected = expected[None] if is_grey else expected.transpose(2, 0, 1)
    assert np.array_equal(own.read(source).images[0], expected)


@pytest.mark.parametrize("format", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_frames_the_first_is_used_and_that_is_said(tmp_path, format):
    frames = [Image.fromarray(noise(8, 8, 3, seed=i)) for i in range(3)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    files = {f"a{i}.{format.lower()}": data for i in range(3)}
    source = folder_of(tmp_path / "a", files | {f"{i}.png": png(noise(8, 8)) for i in range(9)})
    told = own.survey(source).treatment()
    assert "The first frame alone is used, of 3 files that have several." in told
    with Image.open(io.BytesIO(data)) as opened:
        first = np.asarray(opened.convert("RGB")).transpose(2, 0, 1)
    found = own.read(source, (3, 8, 8)).images
    assert any(np.array_equal(image, first) for image in found)


def test_one_frame_is_said_nothing_of(tmp_path):
    source = twelve(tmp_path, {".gif": saved(UPRIGHT, "GIF"), ".tif": saved(UPRIGHT, "TIFF")})
    assert "frame" not in own.survey(source).treatment()
