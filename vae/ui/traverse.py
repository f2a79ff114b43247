"""The pieces of the Traverse page: rows of pictures that move, the chain of points, the groups."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
from PIL import Image

from vae import sheets, traversal
from vae.embedding import Embedding
from vae.ui import projection, state
from vae.ui.frame import View, plain
from vae.ui.projection import Projection

CHAIN, GROUPS, LASSOS = "traverse_chain", "traverse_groups", "traverse_lassos"
_PROBLEM, _DRAWN = "traverse_problem", "traverse_drawn"
_MOVING, _WIDGET_MOVING = "traverse_moving", "moving"
MOST_STOPS = 8
POINT, EXPLORE, LASSO = "point", "explore", "lasso"  # what a group can be, besides a class
_CLASS = "class "
_SHARP_FROM = 3  # from this enlargement on an uneven one shows least, so whole ones are taken
_BEFORE_SHRINKING, _MOVING_AT_MOST = 4, 2  # so many times larger; animations have many frames


# --- rows of pictures -----------------------------------------------------------------------------


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


def downloads(
    name: str, png: Callable[[], bytes], animation: Callable[[], bytes], what: str
) -> None:
    """The buttons for the sheet and the animation, each made when it is asked for, and whether the
    page shows animations.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.download_button(
            f"{what} as PNG",
            png,
            file_name=f"{name}.png",
            mime="image/png",
            on_click="ignore",
            icon=":material/image:",
            key="download_png",
        )
        st.download_button(
            "Animation as GIF",
            animation,
            file_name=f"{name}.gif",
            mime="image/gif",
            on_click="ignore",
            icon=":material/animation:",
            key="download_gif",
        )
        st.session_state[_WIDGET_MOVING] = is_moving()

        def take() -> None:
            st.session_state[_MOVING] = st.session_state[_WIDGET_MOVING]

        st.toggle("Moving pictures", key=_WIDGET_MOVING, on_change=take)


def is_moving() -> bool:
    """Whether rows begin with an animation: what never stops must be possible to stop."""
    return st.session_state.get(_MOVING, True)


def plane(embedding: Embedding) -> tuple[Projection, np.ndarray, np.ndarray]:
    """The map's axes, where the points stand on it (N, 2), and where the prior's centre does."""
    axes = projection.plane(embedding)
    return axes, axes.of(embedding.mu), axes.prior_centre


def indices_from_chart(key: str) -> list[int]:
    """Which points were clicked or lassoed; lines and letters on a map have no index."""
    found = []
    for point in st.session_state[key]["selection"]["points"]:
        index = point.get("customdata")
        if isinstance(index, list):
            index = index[0] if index else None
        if index is not None:
            found.append(int(index))
    return found


# --- the chain of points --------------------------------------------------------------------------


def chain(embedding: Embedding, first: int) -> list[int]:
    """The chosen points in order, at least two where the data have them: the app's own first.

    Until one is added the way leads to the other side of the space.
    """
    later = _of_this_data(st.session_state.get(CHAIN), len(embedding))
    if not later and len(embedding) > 1:
        later = [traversal.on_the_other_side(embedding, first)]
    return [first, *later]


def keep_chain(stops: Sequence[int]) -> None:
    """Makes these the chosen points; to be called by widgets."""
    st.session_state[state.POINT] = int(stops[0])
    st.session_state[CHAIN] = (st.session_state[state.DATA], [int(i) for i in stops[1:MOST_STOPS]])


def chain_controls(embedding: Embedding, stops: list[int]) -> None:
    """The chain as a field that can be typed into, and buttons that add to it."""
    last = len(embedding) - 1
    is_full = len(stops) >= MOST_STOPS

    def typed() -> None:
        try:
            keep_chain(_parse(st.session_state["walk_stops"], last))
        except ValueError as error:
            st.session_state[_PROBLEM] = str(error)

    def nearest() -> None:
        try:
            keep_chain(
                [*stops, traversal.nearest_of_another_class(embedding, stops[-1], stops[:-1])]
            )
        except ValueError as error:
            st.session_state[_PROBLEM] = str(error)

    def drawn() -> None:
        st.session_state[_DRAWN] = st.session_state.get(_DRAWN, 0) + 1
        generator = np.random.default_rng(st.session_state[_DRAWN])
        keep_chain([*stops, int(generator.integers(len(embedding)))])

    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"):
        st.session_state["walk_stops"] = ", ".join(map(str, stops))
        st.text_input(
            f"Points, 2 to {MOST_STOPS}, of 0 to {last:,}",
            key="walk_stops",
            on_change=typed,
            width=230,
            max_chars=120,
        )
        st.button("+ nearest of another class", on_click=nearest, disabled=is_full, key="nearest")
        st.button("+ random", on_click=drawn, disabled=is_full, key="random")
        st.button(
            "Drop last",
            on_click=lambda: keep_chain(stops[:-1]),
            disabled=len(stops) < 3,
            key="drop",
        )
    if problem := st.session_state.pop(_PROBLEM, ""):
        st.warning(plain(f"{problem[0].upper()}{problem[1:]}."))


def add_from_chart(key: str, embedding: Embedding, stops: list[int]) -> None:
    """What a click adds to the chain: the point; and a lasso: its point nearest to their mean."""
    indices = indices_from_chart(key)
    if not indices or len(stops) >= MOST_STOPS:
        return
    mu = embedding.mu[indices].astype(np.float64)
    nearest = int(np.linalg.norm(mu - mu.mean(0), axis=1).argmin())
    # The default second stop was nobody's choice.
    kept = stops if _of_this_data(st.session_state.get(CHAIN), len(embedding)) else stops[:1]
    keep_chain([*kept, indices[nearest]])


def _parse(text: str, last: int) -> list[int]:
    words = text.replace(",", " ").replace(";", " ").split()
    if wrong := [word for word in words if not (word.isascii() and word.isdigit())]:
        raise ValueError(f"{wrong[0][:20]!r} is not the number of a point; write 0, 12, 40")
    stops = [int(word[:12]) for word in words]
    if wrong := [stop for stop in stops if stop > last]:
        raise ValueError(f"there is no point {wrong[0]}; the last is {last}")
    if not 2 <= len(stops) <= MOST_STOPS:
        raise ValueError(f"{len(stops)} points were given; a way has from 2 to {MOST_STOPS}")
    return stops


# --- the groups -----------------------------------------------------------------------------------


def groups(view: View, point: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The pickers of A, B and C; returns their points and what they are, in words."""
    embedding = view.embedding
    chosen = st.session_state.setdefault(GROUPS, {})
    options = [POINT]
    explore = state.group(len(embedding))
    if explore:
        options.append(EXPLORE)
    # By label: a class without points can be no group.
    labels = np.unique(embedding.labels).tolist()
    options += [f"{_CLASS}{label}" for label in labels]
    found, told = {}, {}
    for (name, column), default in zip(
        zip("ABC", st.columns(3, gap="small"), strict=True),
        _defaults(embedding, point, labels),
        strict=True,
    ):
        kept = {
            LASSO: _lasso(name, len(embedding)),
            EXPLORE: explore,
            POINT: [point],
        }
        its_options = [LASSO, *options] if kept[LASSO] else options
        token = chosen.get(name)
        if token not in its_options:
            token = default
        widget_key = f"group_{name}"
        st.session_state[widget_key] = token

        def take(name: str = name, widget_key: str = widget_key) -> None:
            st.session_state.setdefault(GROUPS, {})[name] = st.session_state[widget_key]

        def words(token: str, kept: dict[str, list[int]] = kept) -> str:
            return _words(token, embedding, kept)

        with column:
            st.selectbox(
                f"Group {name}", its_options, format_func=words, key=widget_key, on_change=take
            )
        found[name] = _members(token, embedding, kept)
        told[name] = words(token)
    return found, told


def take_lasso(key: str, name: str) -> None:
    """What the lasso caught becomes that group."""
    indices = indices_from_chart(key)
    if indices:
        lassos = st.session_state.setdefault(LASSOS, {})
        lassos[name] = (st.session_state[state.DATA], indices)
        st.session_state.setdefault(GROUPS, {})[name] = LASSO


def _lasso(name: str, n_points: int) -> list[int]:
    return _of_this_data(st.session_state.get(LASSOS, {}).get(name), n_points)


def _of_this_data(kept: tuple[str, list[int]] | None, n_points: int) -> list[int]:
    """Indices that were kept as (data, indices), if they are of the data now shown."""
    data, indices = kept or ("", [])
    return [i for i in indices if i < n_points] if data == st.session_state[state.DATA] else []


def _defaults(embedding: Embedding, point: int, labels: list[int]) -> tuple[str, str, str]:
    """From the chosen point's class to the next one, added to the point."""
    own = int(embedding.labels[point])
    other = labels[(labels.index(own) + 1) % len(labels)]
    return f"{_CLASS}{other}", f"{_CLASS}{own}", POINT


def _members(token: str, embedding: Embedding, kept: dict[str, list[int]]) -> np.ndarray:
    if token in kept:
        return np.array(kept[token])
    return np.flatnonzero(embedding.labels == int(token.removeprefix(_CLASS)))


def _words(token: str, embedding: Embedding, kept: dict[str, list[int]]) -> str:
    if token == POINT:
        return f"point {kept[token][0]:,}"
    if token == LASSO:
        return f"lasso, {len(kept[token]):,} points"
    if token == EXPLORE:
        return f"Explore's lasso, {len(kept[token]):,}"
    return f"all of {embedding.class_names[int(token.removeprefix(_CLASS))]}"
