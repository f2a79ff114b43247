"""What lies between points: straight and spherical ways through a chain of them."""

import math

import numpy as np
import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from vae.analysis import traversal
from vae.analysis.traversal import SPHERICAL, WAYS
from vae.figures import sheets
from vae.figures import traversal as figures
from vae.ui import charts, point, projection
from vae.ui.session import selection
from vae.ui.traverse import chain, downloads
from vae.ui.traverse.rows import GRID_WIDTH, Row, show_rows
from vae.ui.view import View, under_one_class

_STEPS = {1: 10, 2: 6, 3: 4, 4: 3}  # between two points, by the number of legs; otherwise 2


def show(view: View, controls: DeltaGenerator) -> None:
    """The ways as rows of pictures, on the map, and their squared length."""
    embedding = view.embedding
    first = min(st.session_state[selection.POINT], len(embedding) - 1)
    model = view.given(first)
    stops = chain.stops_of(embedding, first)
    with controls:
        chain.controls(embedding, stops)
    if len(stops) < 2:
        st.info("A way needs two points, and this data set has one.")
        return
    mu = torch.from_numpy(embedding.mu[stops]).double()
    legs = len(stops) - 1
    per_leg = _STEPS.get(legs, 2)
    ways = {way: traversal.chain(mu, per_leg, way) for way in WAYS}
    decoded = traversal.decode(model, torch.stack(list(ways.values()))).numpy()
    pictures = view.pictures(decoded)  # (2, T, C, H, W)
    at = [s * per_leg for s in range(len(stops))]
    names = [f"{s}: point {i:,}" for s, i in enumerate(stops, 1)]
    columns = [names[j // per_leg] if j in at else "" for j in range(decoded.shape[1])]

    def film() -> np.ndarray:
        dense = [traversal.chain(mu, max(8, 24 // legs), way) for way in WAYS]
        return view.pictures(traversal.decode(model, torch.stack(dense)).numpy())

    frames = film() if downloads.is_moving() else None
    rows = [
        Row(
            way,
            pictures[i],
            notes=(f"moves {traversal.change(torch.from_numpy(decoded[i : i + 1]))[0]:.2f}",),
            tips=[f"‖z‖² = {value:.2f}" for value in _squared(ways[way]).tolist()],
            marked=at,
            moving=None if frames is None else frames[i],
        )
        for i, way in enumerate(WAYS)
    ]
    if view.images is not None:
        originals = np.zeros_like(pictures[0])
        originals[at] = view.pictures_of(stops)
        empty = [j for j in range(len(originals)) if j not in at]
        labels = np.repeat(embedding.labels[stops], per_leg)[: len(columns)]
        tips = [embedding.class_names[label] for label in labels]
        rows.insert(0, Row("x", originals, tips=tips, empty=empty))
    alt = "Decoded steps between the chosen points, straight and spherical"
    show_rows(rows, columns, alt, width=GRID_WIDTH, height=270)
    fine = {way: traversal.chain(mu, 24, way) for way in WAYS}
    left, right = st.columns([1.2, 1], gap="medium")
    with left:
        _map_of_ways(view, stops, fine)
    with right:
        charts.chart(
            figures.squared_norms(
                {way: _squared(z).numpy() for way, z in fine.items()},
                embedding.latent_dim,
                names,
            ),
            key="norms",
            alt="Squared length of z along both ways",
        )
        st.caption(_caption_of_norms(mu, fine, embedding.latent_dim))
        if view.images is None:
            point.missing_image(view)
    downloads.buttons(
        f"{view.run.name}-between",
        lambda: sheets.sheet(
            np.stack([row.images for row in rows]),
            [row.name for row in rows],
            columns,
            f"{view.run.name}: between points",
            empty=np.array([[j in row.empty for j in range(len(columns))] for row in rows]),
        ),
        lambda: sheets.gif(sheets.moving(film(), WAYS)),
        "Both ways",
    )


def _squared(z: Tensor) -> Tensor:
    return z.square().sum(-1)


def _map_of_ways(view: View, stops: list[int], ways: dict[str, Tensor]) -> None:
    embedding = view.embedding
    axes = projection.plane(embedding)
    positions = axes.of(embedding.mu)
    charts.map_chart(
        figures.map_of_ways(
            embedding,
            positions,
            axes.titles,
            axes.prior_centre,
            [axes.of(z.numpy()) for z in ways.values()],
            positions[stops],
        ),
        key="way_map",
        on_select=lambda: chain.add_from_chart("way_map", embedding, stops),
        selection_mode=("points", "lasso"),
        alt="The latent map with both ways between the chosen points",
    )
    st.caption(
        under_one_class(view, stops[0])
        + "Both ways on the map. A click adds a point; a lasso adds the point nearest to its mean."
    )


def _caption_of_norms(mu: Tensor, ways: dict[str, Tensor], k: int) -> str:
    """‖z‖² in words, and where the two ways are one."""
    lowest = {way: float(_squared(z).min()) for way, z in ways.items()}
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
