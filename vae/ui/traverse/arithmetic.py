"""What lies beyond groups: C + s (A - B)."""

import math

import numpy as np
import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator

from vae.analysis import traversal
from vae.analysis.traversal import Arithmetic
from vae.figures import sheets
from vae.figures import traversal as figures
from vae.ui import charts, projection
from vae.ui.session import selection
from vae.ui.text import with_minus
from vae.ui.traverse import downloads, groups
from vae.ui.traverse.rows import GRID_WIDTH, Row, show_rows, show_sum
from vae.ui.view import View, point_picker, under_one_class

_FRAMES = 25  # of the animation
_STRENGTHS = torch.linspace(-1, 2, 7, dtype=torch.float64)
_SIDE = 96


def show(view: View, controls: DeltaGenerator) -> None:
    """The groups, their sum, and what is decoded along the way to it."""
    embedding = view.embedding
    index = min(st.session_state[selection.POINT], len(embedding) - 1)
    with controls:
        index = point_picker(embedding)
        fills = st.segmented_control(
            "The lasso fills",
            list("ABC"),
            key="lasso_fills",
            default="A",
            required=True,
            persist_state="session",
        )
    model = view.given(index)
    strip = st.container()
    left, right = st.columns([1, 1.15], gap="medium")
    with right:
        members, names = groups.pickers(view, index)
        found = traversal.arithmetic(embedding.mu, *members.values())
        strength = st.slider(
            "Strength s", -1.0, 2.0, 1.0, 0.05, key="strength", persist_state="session"
        )
        s = torch.tensor([strength])
        means = traversal.decode(model, torch.cat([found.means, found.path(s)])).numpy()
        pictures = view.pictures(means)
        captions = [names[name] for name in "ABC"]
        show_sum(
            [
                ("", pictures[2], f"C: {captions[2]}"),
                (f"+ {with_minus(strength)} (", pictures[0], f"A: {captions[0]}"),
                ("−", pictures[1], f"B: {captions[1]}"),
                (") =", pictures[3], "E[x|z]"),
            ],
            side=_SIDE,
        )
        st.caption(under_one_class(view, index) + _caption(found))
    decoded = traversal.decode(model, found.path(_STRENGTHS))[None].numpy()
    decoded = view.pictures(decoded)  # (1, n, C, H, W)
    columns = [with_minus(value) for value in _STRENGTHS.tolist()]

    def film() -> np.ndarray:
        dense = torch.linspace(-1, 2, _FRAMES, dtype=torch.float64)
        return view.pictures(traversal.decode(model, found.path(dense))[None].numpy())

    with strip:
        row = Row(
            "C + s (A − B)",
            decoded[0],
            tips=[f"s = {column}" for column in columns],
            marked=[int(np.abs(_STRENGTHS.numpy() - strength).argmin())],
            moving=film()[0] if downloads.is_moving() else None,
        )
        alt = "C plus s times the difference of A and B, decoded for s from -1 to 2"
        show_rows([row], columns, alt, GRID_WIDTH, 150)
    with left:
        _map_of_groups(view, members, found, float(strength), fills)
    frame_names = [f"s = {with_minus(v)}" for v in np.linspace(-1, 2, _FRAMES)]
    downloads.buttons(
        f"{view.run.name}-arithmetic",
        lambda: sheets.sheet(
            decoded,
            ["C + s (A - B)"],
            columns,
            f"{view.run.name}: C {names['C']}, A {names['A']}, B {names['B']}",
        ),
        lambda: sheets.gif(sheets.moving(film(), [frame_names])),
        "Row",
    )


def _caption(found: Arithmetic) -> str:
    n_a, n_b, n_c = found.sizes
    if found.length == 0:
        return "A and B have the same mean: nothing is added. Choose other groups."
    d = f"{found.separation:.2f}" if math.isfinite(found.separation) else "unknown"
    return (
        f"z = mean(C) + s (mean(A) − mean(B)), of {n_c:,}, {n_a:,} and {n_b:,} points' μ; "
        f"‖mean(A) − mean(B)‖ = {found.length:.2f}, along which A and B are d′ = {d} of their "
        "standard deviations apart. Each picture decodes a mean."
    )


def _map_of_groups(
    view: View, members: dict[str, np.ndarray], found: Arithmetic, strength: float, fills: str
) -> None:
    embedding = view.embedding
    axes = projection.plane(embedding)
    positions, centre = axes.of(embedding.mu), axes.prior_centre
    charts.map_chart(
        figures.map_of_groups(
            embedding,
            positions,
            axes.titles,
            centre,
            list(members.values()),
            axes.of(found.means.numpy()),
            axes.of(found.path(torch.tensor([strength])).numpy())[0],
            height=420,
        ).update_layout(dragmode="lasso"),
        key="group_map",
        on_select=lambda: groups.take_lasso("group_map", fills),
        selection_mode="lasso",
        alt="The latent map with the three groups and their means",
    )
    st.caption(
        f"Bright: the points of A, B and C; the letters: their means. A lasso fills {fills}."
    )
