"""Traverse: what does each latent dimension do, and what lies between points and beyond groups?"""

import math
from collections.abc import Sequence

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from vae import sheets, traversal, traversal_figures
from vae.datasets import to_unit
from vae.diagnosis import INACTIVE
from vae.traversal import (
    DATA,
    KINDS,
    POINT,
    POSTERIOR,
    PRIOR,
    SPHERICAL,
    WAYS,
    Arithmetic,
    Traversal,
)
from vae.ui import frame, images, point, state, traverse
from vae.ui.frame import View, plain
from vae.ui.projection import subscript
from vae.ui.traverse import Row

frame.require("pages/traverse.py")

DIMENSIONS, BETWEEN, ARITHMETIC = PARTS = ("Dimensions", "Between points", "Arithmetic")
PART, VALUES = "part", "values"
N_COLUMNS = (5, 7, 9, 11, 13, 15)
FEW_ROWS = 3  # that leave room for larger pictures, and so for fewer of them
USUAL_ROWS, MOST_ROWS = 12, 64
FRAMES, MOST_FRAMES = 25, 400  # of one row's animation, and of all rows' together
MOST_NUMBERS = 2**23  # that all their pixels are
STEPS = {1: 10, 2: 6, 3: 4, 4: 3}  # between two points, by the number of legs; otherwise 2
STRENGTHS = torch.linspace(-1, 2, 7, dtype=torch.float64)
WIDTH, HEIGHT = 1075, 570  # pixels that a grid may take on a laptop's screen
SIDE = 96
PLOT = {"displayModeBar": False}
MAP = {"scrollZoom": True, "displaylogo": False}


def main() -> None:
    view = frame.view()
    state.keep_within(PART, PARTS)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        part = st.segmented_control("Walk", PARTS, key=PART, required=True, bind="query-params")
        controls = st.container(
            horizontal=True, vertical_alignment="bottom", gap="xsmall", width="content"
        )
    show = {DIMENSIONS: dimensions, BETWEEN: between, ARITHMETIC: arithmetic}[part]
    try:
        show(view, controls)
    except ValueError as error:
        text = str(error)
        st.warning(plain(f"{text[0].upper()}{text[1:]}."))


def name_of(d: int) -> str:
    return f"z{subscript(d)}"


def signed(value: float, digits: int = 2) -> str:
    """A number as the page writes it, with a minus as long as a plus."""
    return f"{value:.{digits}f}".replace("-", "−")


# --- dimensions -----------------------------------------------------------------------------------


def dimensions(view: View, controls: st.delta_generator.DeltaGenerator) -> None:
    embedding, model = view.embedding, view.model
    with controls:
        kind, n, n_rows, index = dimension_controls(view)
    order, kl = traversal.by_kl(embedding)
    shown = order[:n_rows].tolist()
    walk = traversal.traverse(embedding, kind, n, index)
    decoded = traversal.decode(model, walk.latents(shown))  # (R, n, C, H, W)
    moved = traversal.change(decoded)
    start = walk.start[shown].tolist()

    def film() -> np.ndarray:
        most = min(MOST_FRAMES, MOST_NUMBERS // math.prod(view.run.model_config.image_shape))
        T = max(traversal.LEAST_COLUMNS, min(FRAMES, most // len(shown)))
        dense = traversal.traverse(embedding, kind, T, index)
        return traversal.decode(model, dense.latents(shown)).numpy()

    frames = film() if traverse.is_moving() else None
    rows = [
        Row(
            name=name_of(d),
            images=decoded[i].numpy(),
            notes=(
                f"{kl[d]:.2f} nats" if kl[d] >= 0.005 else f"{kl[d]:.4f} nats",
                "collapsed" if kl[d] < INACTIVE else f"moves {moved[i]:.2f}",
            ),
            tips=[f"{name_of(d)} = {signed(value)}" for value in walk.values[d].tolist()],
            marked=[start[i]],
            moving=None if frames is None else frames[i],
            is_faded=bool(kl[d] < INACTIVE),
            share=float(kl[d] / max(np.nanmax(kl), 1e-9)) if np.isfinite(kl[d]) else None,
        )
        for i, d in enumerate(shown)
    ]
    alt = f"Each row decodes one latent dimension over values of the {kind}, the others held"
    # More rows than usual may go beyond the screen: smaller, nobody could read them.
    height = max(HEIGHT, HEIGHT * len(rows) // USUAL_ROWS)
    traverse.show_rows(rows, heads(kind, walk), alt, WIDTH, height)
    st.caption(explained(view, kind, index, len(shown)))
    if kind != PRIOR and view.images is None:
        point.missing_image(view)
    if len(shown) <= FEW_ROWS:
        where_the_data_lie(view, walk, shown)
    title = f"{view.run.name}: {kind}" + ("" if kind == PRIOR else f", point {index}")
    names = [
        f"z{d + 1}\n{kl[d]:.2f} nats" + ("\ncollapsed" if kl[d] < INACTIVE else "") for d in shown
    ]
    traverse.downloads(
        f"{view.run.name}-{kind}",
        lambda: sheets.sheet(decoded.numpy(), names, heads(kind, walk), title, start),
        lambda: sheets.gif(sheets.moving(film(), [name.replace("\n", ", ") for name in names])),
        "Grid",
    )


def dimension_controls(view: View) -> tuple[str, int, int, int]:
    """Kind, columns, rows and point."""
    D = view.embedding.latent_dim
    state.keep_within(VALUES, KINDS)
    kind = st.segmented_control("Values of", KINDS, key=VALUES, required=True, bind="query-params")
    most = min(D, MOST_ROWS)
    # Kept by the number of dimensions: what suits two suits no sixty-four.
    columns, rows = f"columns_{D}", f"rows_{D}"
    if st.session_state.get(columns) not in N_COLUMNS:
        st.session_state[columns] = 7 if most <= FEW_ROWS else 13
    n = st.selectbox("Columns", N_COLUMNS, key=columns, width=80, persist_state="session")
    n_rows = most
    if D > 1:
        if not 1 <= st.session_state.get(rows, 0) <= most:
            st.session_state[rows] = min(most, USUAL_ROWS)
        n_rows = st.number_input(
            f"Rows of {D}",
            *(1, most),
            key=rows,
            width=95,
            persist_state="session",
        )
    index = min(st.session_state[state.POINT], len(view.embedding) - 1)
    if kind != PRIOR:
        index = frame.point_picker(view.embedding)
        if view.images is not None:
            x = to_unit(view.images.images[index]).numpy()
            images.show(images.enlarged(x, 40), width="content")
    return kind, n, n_rows, index


def heads(kind: str, walk: Traversal) -> list[str]:
    """Over the columns: what all rows share."""
    n = walk.values.shape[1]
    if kind == PRIOR:
        return [signed(value) for value in walk.values[0].tolist()]
    if kind == DATA:
        low, high = traversal.PERCENTILES
        return [f"{low}%", *[""] * (n - 2), f"{high}%"]
    reach, unit = (traversal.REACH, "") if kind == POINT else (traversal.SIGMAS, "σ")
    steps = np.linspace(-reach, reach, n)
    return [
        "μ" if i == n // 2 else f"μ {'+' if step > 0 else '−'} {abs(step):.3g}{unit}"
        for i, step in enumerate(steps)
    ]


def explained(view: View, kind: str, index: int, n_rows: int) -> str:
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
    return (
        f"E[x|z]. A row is {of if n_rows == D else 'one of ' + of}: it takes {what}. Framed: "
        f"{'the nearest to where' if kind == DATA else 'where'} the row starts. With the name: "
        "mean KL, and how far the row moves a pixel, whose range is 1: the mean |change|, summed "
        f"over the steps. Collapsed: a mean KL below {INACTIVE:g} nats."
    )


def where_the_data_lie(view: View, walk: Traversal, shown: list[int]) -> None:
    mu = view.embedding.mu[:, shown]
    if not np.isfinite(mu).all():
        return
    st.plotly_chart(
        traversal_figures.values_among_means(
            mu, walk.values[shown].numpy(), [name_of(d) for d in shown]
        ),
        key="among_means",
        config=PLOT,
        alt="The data's means along each dimension, with the values of the columns",
    )
    st.caption(
        f"Bars: μ of all {len(mu):,} points along each dimension; dotted: p(z); triangles: the "
        "values of the columns."
    )


# --- between points -------------------------------------------------------------------------------


def between(view: View, controls: st.delta_generator.DeltaGenerator) -> None:
    embedding, model = view.embedding, view.model
    first = min(st.session_state[state.POINT], len(embedding) - 1)
    stops = traverse.chain(embedding, first)
    with controls:
        traverse.chain_controls(embedding, stops)
    if len(stops) < 2:
        st.info("A way needs two points, and this data set has one.")
        return
    mu = torch.from_numpy(embedding.mu[stops]).double()
    legs = len(stops) - 1
    per_leg = STEPS.get(legs, 2)
    ways = {way: traversal.chain(mu, per_leg, way) for way in WAYS}
    decoded = traversal.decode(model, torch.stack(list(ways.values()))).numpy()  # (2, T, C, H, W)
    at = [s * per_leg for s in range(len(stops))]
    names = [f"{s}: point {i:,}" for s, i in enumerate(stops, 1)]
    columns = [names[j // per_leg] if j in at else "" for j in range(decoded.shape[1])]

    def film() -> np.ndarray:
        dense = [traversal.chain(mu, max(8, 24 // legs), way) for way in WAYS]
        return traversal.decode(model, torch.stack(dense)).numpy()

    frames = film() if traverse.is_moving() else None
    rows = [
        Row(
            way,
            decoded[i],
            notes=(f"moves {traversal.change(torch.from_numpy(decoded[i : i + 1]))[0]:.2f}",),
            tips=[f"‖z‖² = {value:.2f}" for value in squared(ways[way]).tolist()],
            marked=at,
            moving=None if frames is None else frames[i],
        )
        for i, way in enumerate(WAYS)
    ]
    originals = None
    if view.images is not None:
        originals = np.zeros_like(decoded[0])
        originals[at] = to_unit(view.images.images[stops]).numpy()
        empty = [j for j in range(len(originals)) if j not in at]
        tips = [
            embedding.class_names[embedding.labels[stops[j // per_leg]]]
            for j in range(len(columns))
        ]
        rows.insert(0, Row("x", originals, tips=tips, empty=empty))
    traverse.show_rows(
        rows, columns, "Decoded steps between the chosen points, straight and spherical", WIDTH, 270
    )
    left, right = st.columns([1.2, 1], gap="medium")
    with left:
        map_of_ways(view, stops, ways)
    with right:
        st.plotly_chart(
            traversal_figures.squared_norms(
                {way: squared(z).numpy() for way, z in fine(mu).items()},
                embedding.latent_dim,
                names,
            ),
            key="norms",
            config=PLOT,
            alt="Squared length of z along both ways",
        )
        st.caption(about_norms(mu, embedding.latent_dim))
        if view.images is None:
            point.missing_image(view)
    blank = np.zeros(decoded.shape[:2], dtype=bool)
    pictures, row_names = decoded, list(WAYS)
    if originals is not None:
        pictures = np.concatenate([originals[None], decoded])
        blank = np.concatenate([[[j not in at for j in range(len(originals))]], blank])
        row_names = ["x", *WAYS]
    traverse.downloads(
        f"{view.run.name}-between",
        lambda: sheets.sheet(
            pictures, row_names, columns, f"{view.run.name}: between points", empty=blank
        ),
        lambda: sheets.gif(sheets.moving(film(), WAYS)),
        "Both ways",
    )


def squared(z: Tensor) -> Tensor:
    return z.square().sum(-1)


def fine(mu: Tensor) -> dict[str, Tensor]:
    return {way: traversal.chain(mu, 24, way) for way in WAYS}


def map_of_ways(view: View, stops: Sequence[int], ways: dict[str, Tensor]) -> None:
    embedding = view.embedding
    axes, positions, centre = traverse.plane(embedding)
    mu = torch.from_numpy(embedding.mu[list(stops)]).double()
    st.plotly_chart(
        traversal_figures.map_of_ways(
            embedding,
            positions,
            axes.titles,
            centre,
            [axes.of(z.numpy()) for z in fine(mu).values()],
            positions[list(stops)],
            webgl=not st.session_state.get(state.WITHOUT_WEBGL, False),
        ),
        key="way_map",
        on_select=lambda: traverse.add_from_chart("way_map", embedding, list(stops)),
        selection_mode=("points", "lasso"),
        config=MAP,
        alt="The latent map with both ways between the chosen points",
    )
    st.caption(
        "Both ways on the map. A click adds a point; a lasso adds the point nearest to its mean."
    )


def about_norms(mu: Tensor, k: int) -> str:
    """‖z‖² in words, and where the two ways are one."""
    lowest = {way: float(squared(z).min()) for way, z in fine(mu).items()}
    text = (
        f"‖z‖² along both ways, over the prior's k ± √(2k) = {k} ± {math.sqrt(2 * k):.1f}. Lowest: "
        + ", ".join(f"{way} {value:.2f}" for way, value in lowest.items())
        + f". {SPHERICAL.capitalize()} turns at a steady angle (White, 2016)."
    )
    same = [str(s) for s in range(1, len(mu)) if not traversal.has_great_circle(mu[s - 1], mu[s])]
    if same:
        legs = f"leg {same[0]} is" if len(same) == 1 else f"legs {', '.join(same)} are"
        why = "one dimension has no circles" if k == 1 else "no one great circle joins its ends"
        text += f" {legs.capitalize()} straight in both: {why}."
    return text


# --- arithmetic -----------------------------------------------------------------------------------


def arithmetic(view: View, controls: st.delta_generator.DeltaGenerator) -> None:
    embedding, model = view.embedding, view.model
    index = min(st.session_state[state.POINT], len(embedding) - 1)
    with controls:
        index = frame.point_picker(embedding)
        fills = st.segmented_control(
            "The lasso fills",
            list("ABC"),
            key="lasso_fills",
            default="A",
            required=True,
            persist_state="session",
        )
    strip = st.container()
    left, right = st.columns([1, 1.15], gap="medium")
    with right:
        members, told = traverse.groups(view, index)
        found = traversal.arithmetic(embedding.mu, *members.values())
        strength = st.slider(
            "Strength s", -1.0, 2.0, 1.0, 0.05, key="strength", persist_state="session"
        )
        s = torch.tensor([strength])
        pictures = traversal.decode(model, torch.cat([found.means, found.path(s)])).numpy()
        captions = [f"{told[name]}" for name in "ABC"]
        traverse.show_sum(
            [
                ("", pictures[2], f"C: {captions[2]}"),
                (f"+ {signed(strength)} (", pictures[0], f"A: {captions[0]}"),
                ("−", pictures[1], f"B: {captions[1]}"),
                (") =", pictures[3], "E[x|z]"),
            ],
            side=SIDE,
        )
        st.caption(in_numbers(found))
    decoded = traversal.decode(model, found.path(STRENGTHS))[None].numpy()  # (1, n, C, H, W)
    columns = [signed(value) for value in STRENGTHS.tolist()]

    def film() -> np.ndarray:
        dense = torch.linspace(-1, 2, FRAMES, dtype=torch.float64)
        return traversal.decode(model, found.path(dense))[None].numpy()

    with strip:
        row = Row(
            "C + s (A − B)",
            decoded[0],
            tips=[f"s = {column}" for column in columns],
            marked=[int(np.abs(STRENGTHS.numpy() - strength).argmin())],
            moving=film()[0] if traverse.is_moving() else None,
        )
        alt = "C plus s times the difference of A and B, decoded for s from -1 to 2"
        traverse.show_rows([row], columns, alt, WIDTH, 150)
    with left:
        map_of_groups(view, members, found, float(strength), fills)
    frame_names = [f"s = {signed(v)}" for v in np.linspace(-1, 2, FRAMES)]
    traverse.downloads(
        f"{view.run.name}-arithmetic",
        lambda: sheets.sheet(
            decoded,
            ["C + s (A - B)"],
            columns,
            f"{view.run.name}: C {told['C']}, A {told['A']}, B {told['B']}",
        ),
        lambda: sheets.gif(sheets.moving(film(), [frame_names])),
        "Row",
    )


def in_numbers(found: Arithmetic) -> str:
    n_a, n_b, n_c = found.sizes
    if found.length == 0:
        return "A and B have the same mean: nothing is added. Choose other groups."
    d = f"{found.separation:.2f}" if math.isfinite(found.separation) else "unknown"
    return (
        f"z = mean(C) + s (mean(A) − mean(B)), of {n_c:,}, {n_a:,} and {n_b:,} points' μ; "
        f"‖mean(A) − mean(B)‖ = {found.length:.2f}, along which A and B are d′ = {d} of their "
        "standard deviations apart. Each picture decodes a mean."
    )


def map_of_groups(
    view: View, members: dict[str, np.ndarray], found: Arithmetic, strength: float, fills: str
) -> None:
    embedding = view.embedding
    axes, positions, centre = traverse.plane(embedding)
    st.plotly_chart(
        traversal_figures.map_of_groups(
            embedding,
            positions,
            axes.titles,
            centre,
            list(members.values()),
            axes.of(found.means.numpy()),
            axes.of(found.path(torch.tensor([strength])).numpy())[0],
            height=420,
            webgl=not st.session_state.get(state.WITHOUT_WEBGL, False),
        ).update_layout(dragmode="lasso"),
        key="group_map",
        on_select=lambda: traverse.take_lasso("group_map", fills),
        selection_mode="lasso",
        config=MAP,
        alt="The latent map with the three groups and their means",
    )
    st.caption(
        f"Bright: the points of A, B and C; the letters: their means. A lasso fills {fills}."
    )


main()
