"""Rows of pictures that may begin with an animation, and sums of pictures."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
from PIL import Image

from vae.figures import sheets

GRID_WIDTH = 1075  # pixels that a grid may take on a laptop's screen
_SHARP_FROM = 3  # from this enlargement on an uneven one shows least, so whole ones are taken
_BEFORE_SHRINKING, _MOVING_AT_MOST = 4, 2  # so many times larger; animations have many frames


@dataclass(frozen=True)
class Row:
    """One row of pictures.

    Attributes:
        name: in front of it.
        images: in [0, 1], shape (n, C, H, W).
        notes: small lines under the name.
        tips: what hovering over a picture says, n of them or none.
        marked: the columns that are framed.
        empty: the columns that stay blank.
        moving: frames that go to and fro in front of the row, (T, C, H, W).
        is_faded: whether it is shown as unimportant.
        share: the length of a bar under the name, from 0 to 1.
    """

    name: str
    images: np.ndarray
    notes: Sequence[str] = ()
    tips: Sequence[str] = ()
    marked: Sequence[int] = ()
    empty: Sequence[int] = ()
    moving: np.ndarray | None = None
    is_faded: bool = False
    share: float | None = None


_STYLE = """<style>
.walks { display: grid; gap: 3px; align-items: center; justify-content: start; margin: 0;
  overflow-x: auto; padding: 3px; font-variant-numeric: tabular-nums; }
.walks img { display: block; width: var(--w); height: var(--h); border-radius: 2px; }
.walks.sharp img { image-rendering: pixelated; }
.walks img.mark { outline: 2px solid #00a383; outline-offset: 1px; z-index: 1; }
.walks img.moves { margin-right: 14px; }
.walks .faded { opacity: .5; }
.walks .head { font-size: .82rem; text-align: center; opacity: .72; line-height: 1.1;
  white-space: nowrap; justify-self: center; width: max-content; margin: 0 -40px; }
.walks .name { line-height: 1.15; padding-right: 12px; min-width: 84px; }
.walks .name b { font-size: 1.3rem; font-weight: 500; }
.walks .name span { display: block; font-size: .8rem; opacity: .78; white-space: nowrap; }
.walks.low .name { display: flex; gap: 8px; align-items: baseline; }
.walks.low .name b { font-size: 1rem; }
.walks.tiny .name span + span { display: none; }
.walks .name i { display: block; height: 3px; border-radius: 2px; background: #00a383;
  margin-top: 3px; }
.walks.low .name i { display: none; }
.sum { display: flex; flex-wrap: wrap; align-items: center; gap: 9px; font-size: 1.3rem; }
.sum figure { margin: 0; text-align: center; }
.sum img { display: block; image-rendering: pixelated; border-radius: 3px; }
.sum figcaption { font-size: .8rem; opacity: .78; margin-top: 3px; white-space: nowrap; }
.sum .result img { outline: 2px solid #00a383; outline-offset: 2px; }
</style>"""


def show_rows(
    rows: Sequence[Row], heads: Sequence[str], alt: str, width: int, height: int, largest: int = 128
) -> None:
    """Draws rows of pictures as large as fits.

    Args:
        rows: at least one, all of as many pictures.
        heads: over the columns, n of them or none.
        alt: what the figure shows, for those who do not see it.
        width, height: that it may take, in pixels.
        largest: side of a picture, in pixels.
    """
    n, _, H, W = rows[0].images.shape
    moves = any(row.moving is not None for row in rows)
    room = min(
        (width - 110 - 17 * moves) / (n + moves) / W - 3 / W,
        (height - 24 * bool(heads)) / len(rows) / H - 3 / H,
        largest / max(H, W),
    )
    scale, enlarge, is_sharp = fitting(room)
    w, h = round(W * scale), round(H * scale)
    low = " low" if h < 46 else ""
    tiny = " tiny" if h < 22 else ""
    # Moving pictures have a column of their own.
    columns = f"max-content {'max-content ' if moves else ''}repeat({n}, var(--w))"
    parts = [
        _STYLE,
        f'<div class="walks{" sharp" if is_sharp else ""}{low}{tiny}" role="img" '
        f'aria-label="{html.escape(alt)}" '
        f'style="--w:{w}px;--h:{h}px;grid-template-columns:{columns}">',
    ]
    if heads:
        parts.append("<span></span>" + ("<span></span>" if moves else ""))
        parts += [f'<span class="head">{html.escape(head)}</span>' for head in heads]
    for row in rows:
        parts += _row(row, moves, enlarge)
    parts.append("</div>")
    st.html("".join(parts))


def fitting(room: float) -> tuple[float, int, bool]:
    """How to enlarge a picture into that many times its size, with all pixels alike.

    Returns:
        The enlargement on the screen; that of the file; and whether the browser shall keep its
        pixels sharp. Where no whole enlargement comes near, a larger file is shrunk.
    """
    whole = int(room)
    if whole >= _SHARP_FROM or (whole and whole >= 0.88 * room):
        return float(whole), 1, True
    return max(room, 0.2), _BEFORE_SHRINKING if room > 0.5 else 1, False


def _row(row: Row, moves: bool, enlarge: int) -> list[str]:
    faded = " faded" if row.is_faded else ""
    notes = "".join(f"<span>{html.escape(note)}</span>" for note in row.notes)
    bar = "" if row.share is None else f'<i style="width:{max(row.share, 0):.0%}"></i>'
    parts = [f'<div class="name{faded}"><b>{html.escape(row.name)}</b>{notes}{bar}</div>']
    if row.moving is not None:
        times = min(enlarge, _MOVING_AT_MOST)
        frames = sheets.pixels(row.moving).repeat(times, 1).repeat(times, 2)
        source = "data:image/gif;base64," + _base64(sheets.gif(frames))
        parts.append(f'<img class="moves{faded}" src="{source}" alt="">')
    elif moves:
        parts.append("<span></span>")
    for j, image in enumerate(row.images):
        if j in row.empty:
            parts.append("<span></span>")
            continue
        classes = faded + (" mark" if j in row.marked else "")
        tip = f' title="{html.escape(row.tips[j])}"' if row.tips else ""
        parts.append(f'<img class="cell{classes}" src="{_png(image, enlarge)}"{tip} alt="">')
    return parts


def show_sum(terms: Sequence[tuple[str, np.ndarray | None, str]], side: int) -> None:
    """Pictures with signs between them: (sign before, image (C, H, W), caption); the last is the
    result.
    """
    parts = []
    for place, (sign, image, caption) in enumerate(terms):
        if sign:
            parts.append(f"<span>{html.escape(sign)}</span>")
        if image is None:
            continue
        _, H, W = image.shape
        scale, enlarge, _ = fitting(side / max(H, W))
        size = f'width="{round(W * scale)}" height="{round(H * scale)}"'
        of = ' class="result"' if place == len(terms) - 1 else ""
        parts.append(
            f'<figure{of}><img src="{_png(image, enlarge)}" {size} alt="">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    st.html(_STYLE + f'<div class="sum">{"".join(parts)}</div>')


def _png(image: np.ndarray, enlarge: int) -> str:
    """One image (C, H, W) in [0, 1] as a data URL."""
    buffer = io.BytesIO()
    pixels = sheets.pixels(image).repeat(enlarge, 0).repeat(enlarge, 1)
    Image.fromarray(pixels).save(buffer, "png")
    return "data:image/png;base64," + _base64(buffer.getvalue())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
