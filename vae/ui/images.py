"""Images of a data set or a decoder as pictures for the page: sharp pixels, any size."""

import base64
import io
from functools import lru_cache
from typing import Literal

import numpy as np
import streamlit as st
from PIL import Image

from vae.figures import sheets

_TABLE_SIDE = 64  # a browser would blur what it enlarges itself
_MOST_KEPT = 20_000  # pictures of a table, of a kilobyte or so each


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    """One image (C, H, W) in [0, 1] as uint8 (h, w, 3), each pixel a square block; NaN is black.

    Args:
        image: grey or colour.
        side: the longer side to aim at, in pixels.
    """
    C, H, W = image.shape
    factor = max(1, round(side / max(H, W)))
    pixels = sheets.pixels(image)
    if C == 1:
        pixels = np.stack([pixels] * 3, axis=-1)  # (H, W, 3)
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def row(images: np.ndarray, side: int, per_row: int, gap: int = 4) -> np.ndarray:
    """Images (S, C, H, W) side by side, as uint8 RGBA with nothing between them."""
    tiles = [enlarged(image, side) for image in images]
    h, w, _ = tiles[0].shape
    n_rows = -(-len(tiles) // per_row)
    canvas = np.zeros((n_rows * (h + gap) - gap, per_row * (w + gap) - gap, 4), dtype=np.uint8)
    for i, tile in enumerate(tiles):
        y, x = (i // per_row) * (h + gap), (i % per_row) * (w + gap)
        canvas[y : y + h, x : x + w, :3] = tile
        canvas[y : y + h, x : x + w, 3] = 255
    return canvas


def show(
    picture: np.ndarray,
    alt: str,
    caption: str | None = None,
    width: int | Literal["stretch", "content"] = "content",
) -> None:
    """Draws it losslessly: what is looked at here are single pixels.

    Args:
        picture: as `enlarged` or `row` gives it.
        alt: what it shows, for those who do not see it.
        caption: beneath it.
        width: on the page.
    """
    st.image(picture, caption, width=width, output_format="PNG", alt=alt)


def data_url(image: np.ndarray) -> str:
    """An image (C, H, W) in [0, 1] as the PNG data URL that a table's image column shows."""
    pixels = np.rint(np.nan_to_num(np.clip(image, 0, 1)) * 255).astype(np.uint8)
    return _data_url(pixels.tobytes(), pixels.shape)


@lru_cache(_MOST_KEPT)  # the same images come first in everybody's table
def _data_url(data: bytes, shape: tuple[int, ...]) -> str:
    image = np.frombuffer(data, np.uint8).reshape(shape)
    buffer = io.BytesIO()
    Image.fromarray(enlarged(image / 255, _TABLE_SIDE)).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
