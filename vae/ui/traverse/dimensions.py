"""What each latent dimension does: a row of decoded values for each."""

import math

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from vae.analysis import traversal
from vae.analysis.axes import dimension_name
from vae.analysis.diagnosis import INACTIVE
from vae.analysis.traversal import DATA, KINDS, POINT, POSTERIOR, PRIOR, Traversal
from vae.figures import sheets
from vae.figures import traversal as figures
from vae.ui import charts, images, point, sections
from vae.ui.session import selection
from vae.ui.text import with_minus
from vae.ui.traverse import downloads
from vae.ui.traverse.rows import GRID_WIDTH, Row, show_rows
from vae.ui.view import View, point_picker, under_one_class
from vae.wording import IMAGES

_N_COLUMNS = (5, 7, 9, 11, 13, 15)
_FEW_ROWS = 3  # that leave room for larger pictures, and so for fewer of them
_USUAL_ROWS, _MOST_ROWS = 12, 64
_FRAMES, _MOST_FRAMES = 25, 400  # of one row's animation, and of all rows' together
_MOST_NUMBERS = 2**23  # that all their pixels are
_HEIGHT = 570  # pixels that a grid may take on a laptop's screen


def show(view: View, controls: DeltaGenerator) -> None:
    """The rows, and where the data lie along each dimension."""
    embedding = view.embedding
    with controls:
        kind, n, n_rows, index = _controls(view)
    model = view.given(index)
    order, kl = traversal.by_kl(embedding)
    shown = order[:n_rows].tolist()
    walk = traversal.traverse(embedding, kind, n, index)
    decoded = traversal.decode(model, walk.latents(shown))  # (R, n, C, H, W)
    moved = traversal.change(decoded)
    pictures = view.pictures(decoded.numpy())
    start = walk.start[shown].tolist()

    def film() -> np.ndarray:
        most = min(_MOST_FRAMES, _MOST_NUMBERS // math.prod(view.run.model_config.image_shape))
        T = max(traversal.LEAST_COLUMNS, min(_FRAMES, most // len(shown)))
        dense = traversal.traverse(embedding, kind, T, index)
        return view.pictures(traversal.decode(model, dense.latents(shown)).numpy())

    frames = film() if downloads.is_moving() else None
    rows = [
        Row(
            name=dimension_name(d),
            images=pictures[i],
            notes=(
                f"{kl[d]:.2f} nats" if kl[d] >= 0.005 else f"{kl[d]:.4f} nats",
                "collapsed" if kl[d] < INACTIVE else f"moves {moved[i]:.2f}",
            ),
            tips=[
                f"{dimension_name(d)} = {with_minus(value)}" for value in walk.values[d].tolist()
            ],
            marked=[start[i]],
            moving=None if frames is None else frames[i],
            is_faded=bool(kl[d] < INACTIVE),
            share=float(kl[d] / max(np.nanmax(kl), 1e-9)) if np.isfinite(kl[d]) else None,
        )
        for i, d in enumerate(shown)
    ]
    alt = f"Each row decodes one latent dimension over values of the {kind}, the others held"
    # More rows than usual may go beyond the screen: smaller, nobody could read them.
    height = max(_HEIGHT, _HEIGHT * len(rows) // _USUAL_ROWS)
    show_rows(rows, _heads(kind, walk), alt, GRID_WIDTH, height)
    st.caption(_caption(view, kind, index, len(shown)))
    if kind != PRIOR and view.images is None:
        point.missing_image(view)
    if len(shown) <= _FEW_ROWS:
        _where_the_data_lie(view, walk, shown)
    title = f"{view.run.name}: {kind}" + ("" if kind == PRIOR else f", point {index}")
    names = [
        f"z{d + 1}\n{kl[d]:.2f} nats" + ("\ncollapsed" if kl[d] < INACTIVE else "") for d in shown
    ]
    downloads.buttons(
        f"{view.run.name}-{kind}",
        lambda: sheets.sheet(pictures, names, _heads(kind, walk), title, start),
        lambda: sheets.gif(sheets.moving(film(), [name.replace("\n", ", ") for name in names])),
        "Grid",
    )


def _controls(view: View) -> tuple[str, int, int, int]:
    """Kind, columns, rows and point."""
    D = view.embedding.latent_dim
    kind = sections.choose("Values of", "values", KINDS)
    most = min(D, _MOST_ROWS)
    # Kept by the number of dimensions: what suits two suits no sixty-four.
    columns, rows = f"columns_{D}", f"rows_{D}"
    if st.session_state.get(columns) not in _N_COLUMNS:
        st.session_state[columns] = 7 if most <= _FEW_ROWS else 13
    n = st.selectbox("Columns", _N_COLUMNS, key=columns, width=80, persist_state="session")
    n_rows = most
    if D > 1:
        if not 1 <= st.session_state.get(rows, 0) <= most:
            st.session_state[rows] = min(most, _USUAL_ROWS)
        n_rows = st.number_input(
            f"Rows of {D}",
            *(1, most),
            key=rows,
            width=95,
            persist_state="session",
        )
    index = min(st.session_state[selection.POINT], len(view.embedding) - 1)
    if kind != PRIOR:
        index = point_picker(view.embedding)
        if view.images is not None:
            images.show(
                images.enlarged(view.pictures_of(index), 40),
                f"the {view.words.kind} x",
                width="content",
            )
    return kind, n, n_rows, index


def _heads(kind: str, walk: Traversal) -> list[str]:
    """Over the columns: what all rows share."""
    n = walk.values.shape[1]
    if kind == PRIOR:
        return [with_minus(value) for value in walk.values[0].tolist()]
    if kind == DATA:
        low, high = traversal.PERCENTILES
        return [f"{low}%", *[""] * (n - 2), f"{high}%"]
    reach, unit = (traversal.REACH, "") if kind == POINT else (traversal.SIGMAS, "σ")
    steps = np.linspace(-reach, reach, n)
    return [
        "μ" if i == n // 2 else f"μ {'+' if step > 0 else '−'} {abs(step):.3g}{unit}"
        for i, step in enumerate(steps)
    ]


def _caption(view: View, kind: str, index: int, n_rows: int) -> str:
    """What the figure shows."""
    D = view.embedding.latent_dim
    what = {
        PRIOR: "its prior's quantiles from 1% to 99%, evenly spaced in probability; the others at "
        "0, the prior's mean",
        POINT: f"the μ of point {index:,} and 3 of the prior's σ to each side; the others at that "
        "μ",
        POSTERIOR: f"q(z|x) of point {index:,}, from −2 to +2 σ; the others at its μ. What changes "
        "here is what q leaves open",
        DATA: f"the 1st to the 99th percentile of the data's μ; the others at the μ of point "
        f"{index:,}",
    }[kind]
    of = f"the {n_rows} of {D} dimensions with most mean KL" if n_rows < D else "a dimension"
    moved = (
        "pixel, whose range is 1: the mean |change|, summed over the steps"
        if view.words == IMAGES
        else f"{view.words.number}, as the model reads it: the mean |change|, summed over the row"
    )
    return (
        f"E[x|z]. {under_one_class(view, index)}A row is "
        f"{of if n_rows == D else 'one of ' + of}: it takes {what}. Framed: "
        f"{'the nearest to where' if kind == DATA else 'where'} the row starts. With the name: "
        f"mean KL, and how far the row moves a {moved}. Collapsed: a mean KL below "
        f"{INACTIVE:g} nats."
    )


def _where_the_data_lie(view: View, walk: Traversal, shown: list[int]) -> None:
    mu = view.embedding.mu[:, shown]
    if not np.isfinite(mu).all():
        return
    charts.chart(
        figures.values_among_means(
            mu, walk.values[shown].numpy(), [dimension_name(d) for d in shown]
        ),
        key="among_means",
        alt="The data's means along each dimension, with the values of the columns",
    )
    st.caption(
        f"Bars: μ of all {len(mu):,} points along each dimension; dotted: p(z); triangles: the "
        "values of the columns."
    )
