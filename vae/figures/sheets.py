"""Pictures of pictures: a sheet of images as a PNG, and images that move as a GIF.

Pixels stay sharp: an image is enlarged by a whole number, and nothing is blurred or dithered. The
same input gives the same bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vae.errors import UserError

if TYPE_CHECKING:
    from vae.training.film import Frame

SECONDS = 0.08  # per frame
_CELL = 96  # pixels that an image is enlarged to, about
_GAP, _MARGIN, _LINE = 4, 12, 20  # pixels
_FONT = 14
_PAPER, _INK, _FAINT = (255, 255, 255), (28, 33, 38), (138, 145, 153)
_MARK = (0, 135, 108)  # where a row starts: the app's colour of q
_MOST_PIXELS = 40_000_000  # of a picture, or of all frames of an animation together
_COLOURS_FROM = 1_000_000  # pixels that the palette of an animation is made from
# What Pillow's own font has no letters for.
_LETTERS = str.maketrans({"−": "-", "μ": "mu", "σ": "sigma", "→": "to", "′": "'", "×": "x"}) | {
    ord(low): plain for low, plain in zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)
}


def pixels(images: np.ndarray) -> np.ndarray:
    """Images (..., C, H, W) in [0, 1] as uint8, (..., H, W) if grey, else (..., H, W, 3).

    NaN is black.
    """
    found = np.rint(np.nan_to_num(np.clip(images, 0, 1)) * 255).astype(np.uint8)
    return found[..., 0, :, :] if images.shape[-3] == 1 else np.moveaxis(found, -3, -1)


def sheet(
    images: np.ndarray,
    row_names: Sequence[str],
    column_names: Sequence[str] = (),
    title: str = "",
    marked: Sequence[int] = (),
    empty: np.ndarray | None = None,
) -> bytes:
    """A grid of images as a PNG: names to the left and above, thin gaps, on white.

    Args:
        images: in [0, 1], shape (R, n, C, H, W), C 1 or 3.
        row_names: R of them; lines are parted by a newline.
        column_names: n of them, or none.
        title: a line over everything.
        marked: for each row the column that is framed, R of them, or none.
        empty: which cells stay blank, bool (R, n).

    Returns:
        The file's bytes. A pixel of an image is a square of whole pixels in it: see `enlargement`.

    Raises:
        UserError: names that do not fit the grid, or a picture that would be too large.
    """
    R, n, _, H, W = _checked(images, 5)
    if len(row_names) != R or len(column_names) not in (0, n) or len(marked) not in (0, R):
        raise UserError(
            f"{len(row_names)} row names, {len(column_names)} column names and {len(marked)} marks "
            f"do not fit a grid of {R} x {n}"
        )
    scale = enlargement(H, W)
    font = ImageFont.load_default(_FONT)
    names = [_letters(name) for name in row_names]
    left = _MARGIN + math.ceil(max((_width(font, name) for name in names), default=0)) + _MARGIN
    top = _MARGIN + _LINE * (bool(title) + bool(column_names))
    h, w = H * scale + _GAP, W * scale + _GAP
    size = (
        max(left + n * w, left + math.ceil(_width(font, _letters(title)))) + _MARGIN,
        top + R * h + _MARGIN,
    )
    _check_size(size[0] * size[1])
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((left, _MARGIN - 2), _letters(title), _INK, font)
    for j, name in enumerate(column_names):
        at = (left + j * w + (w - _GAP) / 2, top - 4)
        draw.text(at, _letters(name), _FAINT, font, anchor="ms")
    for i in range(R):
        middle = top + i * h + (h - _GAP) / 2
        draw.multiline_text((_MARGIN, middle), names[i], _INK, font, anchor="lm", spacing=3)
        for j in range(n):
            if empty is not None and empty[i, j]:
                continue
            x, y = left + j * w, top + i * h
            canvas.paste(_enlarged(images[i, j], scale).convert("RGB"), (x, y))
            if len(marked) and marked[i] == j:
                draw.rectangle((x - 2, y - 2, x + w - _GAP + 1, y + h - _GAP + 1), None, _MARK, 2)
    return _png(canvas)


def mosaic(images: np.ndarray) -> bytes:
    """A grid of images side by side as a PNG, a pixel for each of theirs.

    Args:
        images: in [0, 1], shape (R, n, C, H, W), C 1 or 3.
    """
    R, n, _, H, W = _checked(images, 5)
    rows = np.moveaxis(pixels(images), 1, 2)  # (R, H, n, W) or (R, H, n, W, 3)
    return _png(Image.fromarray(rows.reshape(R * H, n * W, *rows.shape[4:])))


def enlargement(H: int, W: int) -> int:
    """By how much an image of that size is enlarged: to about 96 pixels, at least 1."""
    return max(1, round(_CELL / max(H, W)))


def moving(images: np.ndarray, names: Sequence[Sequence[str]]) -> np.ndarray:
    """The frames of an animation in which R images change together, each with its name below.

    Args:
        images: in [0, 1], shape (R, T, C, H, W), C 1 or 3.
        names: for each of the R its name, or T of them, one per frame.

    Returns:
        uint8, (T, h, w) if grey, else (T, h, w, 3): the images stand in rows of about as many as
        there are rows.

    Raises:
        UserError: another number of names, or frames that would be too large.
    """
    R, T, C, H, W = _checked(images, 5)
    names = [list(name) if not isinstance(name, str) else [name] * T for name in names]
    if len(names) != R or any(len(name) != T for name in names):
        raise UserError(f"the names must be {R}, each one or {T}")
    scale = enlargement(H, W)
    font = ImageFont.load_default(_FONT)
    lines = 1 + max(name.count("\n") for names_ in names for name in names_)
    widest = max(_width(font, _letters(name)) for names_ in names for name in names_)
    w = max(W * scale, math.ceil(widest)) + _MARGIN
    h = H * scale + 4 + lines * _LINE
    across = math.ceil(math.sqrt(R * h / w)) if R > 3 else R
    down = -(-R // across)
    size = (_MARGIN + across * w, _MARGIN + down * h + _MARGIN // 2)
    _check_size(T * size[0] * size[1])
    mode, paper, ink = ("L", 255, 30) if C == 1 else ("RGB", _PAPER, _INK)
    frames = []
    for t in range(T):
        canvas = Image.new(mode, size, paper)
        draw = ImageDraw.Draw(canvas)
        for i in range(R):
            x, y = _MARGIN + (i % across) * w, _MARGIN + (i // across) * h
            canvas.paste(_enlarged(images[i, t], scale), (x, y))
            draw.multiline_text((x, y + H * scale + 2), _letters(names[i][t]), ink, font, spacing=3)
        frames.append(np.asarray(canvas))
    return np.stack(frames)


def gif(frames: np.ndarray, seconds: float = SECONDS, ping_pong: bool = True) -> bytes:
    """An animated GIF that goes on for ever.

    Greys are kept exactly. Colours are the 256 that suit all frames together, without dithering: a
    palette per frame would make what stands still flicker.

    Args:
        frames: uint8, (T, h, w) grey or (T, h, w, 3).
        seconds: that a frame is shown; a GIF counts hundredths, and browsers take less than two of
            them for ten.
        ping_pong: whether it goes there and back instead of beginning anew.

    Returns:
        The file's bytes. Frames that are equal to the one before are one longer frame.

    Raises:
        UserError: no frame, frames of another shape or too large, or a time too short.
    """
    if frames.ndim not in (3, 4) or not len(frames) or frames.dtype != np.uint8:
        raise UserError(
            f"frames {frames.shape} of {frames.dtype} must be uint8, (T, h, w) or (T, h, w, 3)"
        )
    hundredths = round(seconds * 100)
    if hundredths < 2:
        raise UserError(f"seconds (={seconds:g}) must be at least 0.02 per frame")
    _check_size(frames[..., 0].size if frames.ndim == 4 else frames.size)
    if frames.ndim == 3:
        pictures = [Image.fromarray(frame) for frame in frames]
    else:
        of_all = _palette(frames)
        pictures = [
            Image.fromarray(frame).quantize(palette=of_all, dither=Image.Dither.NONE)
            for frame in frames
        ]
    if ping_pong:
        pictures += pictures[-2:0:-1]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        "gif",
        save_all=True,
        append_images=pictures[1:],
        duration=10 * hundredths,
        loop=0,
        optimize=False,
        disposal=1,
    )
    return buffer.getvalue()


def film_gif(
    frames: Sequence[Frame],
    positions: Sequence[np.ndarray] = (),
    colours: Sequence[str] = (),
    reach: float = 4.0,
    seconds: float = 0.25,
    side: int = 420,
) -> bytes:
    """The film of a training as an animated GIF: the map of each kept epoch, if its positions are
    given, beside what the lattice decoded to.

    Args:
        frames: by epoch; at least one, as `vae.runs.film.frames` gives them.
        positions: where the points of each frame stand on the map, each (F, 2), or none for the
            sheets alone.
        colours: of each of the F points, as "#rrggbb".
        reach: how far the map goes from the origin, each way.
        seconds: per frame; the last stays four times as long.
        side: of the map and of the sheet, in pixels.

    Raises:
        UserError: no frame, positions that do not belong to them, or a picture too large.
    """
    if not frames:
        raise UserError("the run has no film: no epoch was kept")
    if len(positions) not in (0, len(frames)):
        raise UserError(f"{len(positions)} sets of positions do not fit {len(frames)} frames")
    if any(len(at) != len(colours) for at in positions):
        raise UserError(f"{len(colours)} colours do not fit the points of every frame")
    font = ImageFont.load_default(_FONT)
    pictures = []
    for number, frame in enumerate(frames):
        with Image.open(io.BytesIO(frame.sheet), formats=["PNG"]) as stored:
            picture = stored.convert("RGB")
        width, height = picture.size
        factor = max(1, round(side / width))
        picture = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
        left = _MARGIN + (side + _MARGIN if len(positions) else 0)
        tall = max(picture.height, side if len(positions) else 0)
        size = (left + picture.width + _MARGIN, tall + _LINE + 2 * _MARGIN)
        _check_size(len(frames) * size[0] * size[1])
        canvas = Image.new("RGB", size, _PAPER)
        canvas.paste(picture, (left, _MARGIN + _LINE))
        draw = ImageDraw.Draw(canvas)
        draw.text((_MARGIN, _MARGIN - 4), f"epoch {frame.epoch:,}", _INK, font)
        if len(positions):
            box = (_MARGIN, _MARGIN + _LINE)
            canvas.paste(_map(positions[number], colours, reach, side), box)
        pictures.append(np.asarray(canvas))
    pictures += [pictures[-1]] * 3
    return gif(np.stack(pictures), seconds, ping_pong=False)


def _map(at: np.ndarray, colours: Sequence[str], reach: float, side: int) -> Image.Image:
    """Points on white with the prior's rings at 1, 2 and 3 sigma; drawn twice as large."""
    canvas = Image.new("RGB", (2 * side, 2 * side), _PAPER)
    draw = ImageDraw.Draw(canvas)
    unit = side / reach
    for radius in (1, 2, 3):
        r = radius * unit
        draw.ellipse((side - r, side - r, side + r, side + r), None, (225, 228, 231), 2)
    for i in np.flatnonzero(np.abs(at).max(1) <= reach).tolist():
        x, y = at[i]
        cx, cy = side + x * unit, side - y * unit
        draw.ellipse((cx - 4, cy - 4, cx + 4, cy + 4), colours[i])
    return canvas.resize((side, side), Image.Resampling.BOX)


def _palette(frames: np.ndarray) -> Image.Image:
    """A picture whose palette suits all frames; from every so-many-th pixel of them."""
    flat = frames.reshape(-1, 3)
    flat = flat[:: -(-len(flat) // _COLOURS_FROM)]
    known = np.unique(flat, axis=0)
    if len(known) <= 256:
        found = Image.new("P", (1, 1))
        found.putpalette(known.tobytes())
        return found
    return Image.fromarray(flat[None]).quantize(256, Image.Quantize.MEDIANCUT)


def _enlarged(image: np.ndarray, scale: int) -> Image.Image:
    return Image.fromarray(pixels(image).repeat(scale, 0).repeat(scale, 1))


def _checked(images: np.ndarray, ndim: int) -> tuple[int, ...]:
    if images.ndim != ndim or images.shape[-3] not in (1, 3) or 0 in images.shape:
        raise UserError(f"images {images.shape} must be (R, n, C, H, W) with C 1 or 3, and some")
    if not np.isfinite(images).all():
        raise UserError("the images have pixels that are not finite")
    return images.shape


def _check_size(n_pixels: int) -> None:
    if n_pixels > _MOST_PIXELS:
        raise UserError(
            f"the picture would have {n_pixels / 1e6:,.0f} million pixels, more than the "
            f"{_MOST_PIXELS // 10**6} million that are made here; ask for fewer rows or columns"
        )


def _letters(text: str) -> str:
    return text.translate(_LETTERS).encode("latin-1", "replace").decode("latin-1")


def _width(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str) -> float:
    return max(font.getlength(line) for line in text.split("\n"))


def _png(canvas: Image.Image) -> bytes:
    buffer = io.BytesIO()
    canvas.save(buffer, "png", optimize=True)
    return buffer.getvalue()
