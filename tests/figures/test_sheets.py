"""Sheets and animations are read back with Pillow: their pixels are the images' own."""

import io

import numpy as np
import pytest
from PIL import Image

from vae.figures import sheets
from vae.training.film import SIDE, Frame


def images(R: int, n: int, C: int = 1, H: int = 8, W: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((R, n, C, H, W)).astype(np.float32)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def cell(picture: np.ndarray, i: int, j: int, R: int, n: int, H: int, W: int) -> np.ndarray:
    """One image of a sheet, a pixel per square: the cells end at the margin right and below."""
    scale, gap, margin = sheets.enlargement(H, W), 4, 12
    y = picture.shape[0] - margin - (R - i) * (H * scale + gap)
    x = picture.shape[1] - margin - (n - j) * (W * scale + gap)
    part = picture[y : y + H * scale, x : x + W * scale]
    return part[scale // 2 :: scale, scale // 2 :: scale]


@pytest.mark.parametrize("C", [1, 3])
def test_every_pixel_of_every_cell_is_in_the_png(C):
    R, n, H, W = 3, 5, 8, 6
    grid = images(R, n, C)
    names = ["z₁\n1.20 nats", "z₂", "z₃"]
    data = sheets.sheet(grid, names, [f"μ − {j}σ" for j in range(n)], "a run", [2, 2, 0])
    assert data == sheets.sheet(grid, names, [f"μ − {j}σ" for j in range(n)], "a run", [2, 2, 0])
    picture = np.asarray(opened(data).convert("RGB"))
    assert opened(data).format == "PNG"
    for i in range(R):
        for j in range(n):
            wanted = np.rint(np.broadcast_to(grid[i, j], (3, H, W)) * 255).transpose(1, 2, 0)
            np.testing.assert_array_equal(cell(picture, i, j, R, n, H, W), wanted)
    scale = sheets.enlargement(H, W)
    assert scale == 12
    assert picture.shape[0] == 12 + 2 * 20 + R * (H * scale + 4) + 12


def test_empty_cells_are_paper_and_names_may_be_missing():
    grid = images(2, 2)
    blank = np.array([[False, True], [False, False]])
    picture = np.asarray(opened(sheets.sheet(grid, ["a", "b"], empty=blank)).convert("RGB"))
    assert (cell(picture, 0, 1, 2, 2, 8, 6) == 255).all()
    assert not (cell(picture, 1, 1, 2, 2, 8, 6) == 255).all()


def test_a_large_image_is_not_enlarged():
    assert sheets.enlargement(200, 300) == 1
    assert sheets.enlargement(28, 28) == 3


def test_grey_frames_are_kept_exactly_and_go_to_and_fro():
    frames = np.random.default_rng(0).integers(0, 256, (5, 20, 30), dtype=np.uint8)
    animation = opened(sheets.gif(frames, 0.1))
    assert animation.format == "GIF"
    assert animation.info["loop"] == 0
    assert animation.n_frames == 8
    for shown, t in enumerate([0, 1, 2, 3, 4, 3, 2, 1]):
        animation.seek(shown)
        assert animation.info["duration"] == 100
        np.testing.assert_array_equal(np.asarray(animation.convert("L")), frames[t])
    assert opened(sheets.gif(frames, ping_pong=False)).n_frames == 5


def test_few_colours_are_kept_exactly_and_many_nearly():
    rng = np.random.default_rng(0)
    few = rng.integers(0, 256, (200, 3), dtype=np.uint8)[rng.integers(0, 200, (4, 30, 30))]
    animation = opened(sheets.gif(few, ping_pong=False))
    for t in range(4):
        animation.seek(t)
        np.testing.assert_array_equal(np.asarray(animation.convert("RGB")), few[t])
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    smooth = np.stack([np.stack(np.meshgrid(ramp, ramp), -1)] * 3)
    many = np.concatenate([smooth, np.full((3, 64, 64, 1), 40, np.uint8)], -1)
    many[:, :4, :4] = np.array([0, 90, 200], np.uint8)[:, None, None, None]  # something moves
    animation = opened(sheets.gif(many, ping_pong=False))
    seen = []
    for t in range(3):
        animation.seek(t)
        seen.append(np.asarray(animation.convert("RGB")).astype(int))
        assert np.abs(seen[t] - many[t]).mean() < 8
    np.testing.assert_array_equal(seen[0][8:], seen[2][8:])  # what stands still does not flicker


def test_moving_pictures_hold_the_images_above_their_names():
    stack = images(4, 3)
    frames = sheets.moving(stack, ["z1", "z2", "z3", ["s = −1", "s = 0", "s = 1"]])
    assert frames.shape[0] == 3
    assert frames.dtype == np.uint8
    scale = sheets.enlargement(8, 6)
    for t in range(3):
        first = frames[t, 12 : 12 + 8 * scale : scale, 12 : 12 + 6 * scale : scale]
        np.testing.assert_array_equal(first, np.rint(stack[0, t, 0] * 255))
    assert (frames[0] != frames[2]).any()
    assert sheets.moving(images(2, 3, C=3), ["a", "b"]).shape[-1] == 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sheets.sheet(images(2, 3), ["a"]), "1 row names"),
        (lambda: sheets.sheet(images(2, 3), ["a", "b"], ["x"]), "1 column names"),
        (lambda: sheets.sheet(images(1, 2, C=2), ["a"]), "C 1 or 3"),
        (lambda: sheets.sheet(images(1, 2) * np.nan, ["a"]), "not finite"),
        (lambda: sheets.sheet(np.zeros((1, 9000, 1, 8, 8)), ["a"]), "fewer rows or columns"),
        (lambda: sheets.moving(images(1, 2), ["a", "b"]), "the names must be 1"),
        (lambda: sheets.moving(images(1, 2), [["a"]]), "each one or 2"),
        (lambda: sheets.gif(np.zeros((0, 4, 4), np.uint8)), "must be uint8"),
        (lambda: sheets.gif(np.zeros((2, 4, 4))), "must be uint8"),
        (lambda: sheets.gif(np.zeros((2, 4, 4), np.uint8), 0.001), "at least 0.02"),
        (lambda: sheets.gif(np.zeros((50, 1000, 1000), np.uint8)), "million pixels"),
        (lambda: sheets.film_gif([]), "no film"),
    ],
)
def test_what_cannot_be_drawn_says_why(make, said):
    with pytest.raises(ValueError, match=r"\w") as error:
        make()
    assert said in str(error.value)


def test_a_film_shows_its_sheets_and_where_the_points_lay():
    def png(value: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("L", (SIDE, SIDE), value).save(buffer, "png")
        return buffer.getvalue()

    mu = [np.zeros((2, 2), np.float32), np.array([[2, 2], [9, 9]], np.float32)]
    frames = [Frame(epoch, at, png(60 * epoch)) for epoch, at in zip((0, 3), mu, strict=True)]
    animation = opened(sheets.film_gif(frames, mu, ["#ff0000"] * 2, reach=4, seconds=0.2, side=130))
    shown = []
    while animation.tell() < animation.n_frames:
        shown.append((np.asarray(animation.convert("RGB")).astype(int), animation.info["duration"]))
        if animation.tell() + 1 == animation.n_frames:
            break
        animation.seek(animation.tell() + 1)
    assert [duration for _, duration in shown] == [200, 800]
    for (picture, _), grey in zip(shown, (0, 180), strict=True):
        assert np.abs(picture[80, 250] - grey).max() < 8
    # Both points begin in the middle of the map; then one is out of it and one up on the right.
    middle, upper = (32 + 65, 12 + 65), (32 + 65 - 32, 12 + 65 + 32)
    is_red = [
        [picture[at][0] - picture[at][1] > 100 for at in (middle, upper)] for picture, _ in shown
    ]
    assert is_red == [[True, False], [False, True]]
    with pytest.raises(ValueError, match="do not fit 2 frames"):
        sheets.film_gif(frames, mu[:1], ["#ff0000"] * 2)
    alone = opened(sheets.film_gif(frames, side=130))
    assert alone.size[0] == 130 + 24
