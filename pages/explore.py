"""Explore: where does the data live, and what is here?"""

from collections.abc import Iterator

import streamlit as st

from vae.analysis import answers
from vae.analysis.axes import Layout, Projection
from vae.ui import (
    charts,
    exported,
    frame,
    heading,
    images,
    latent_map,
    live,
    projection,
    words,
)
from vae.ui.results import layouts
from vae.ui.session import selection, widgets
from vae.ui.text import plain
from vae.ui.view import View, chosen_view, colours, point_picker

frame.require("pages/explore.py")


def main() -> None:
    place = heading.ask(
        "Where does the data live, and what is there?", heading.WHY, heading.COMPARE
    )
    view = chosen_view()
    problem = live.problem(view)
    with st.container(key="explore"):  # ui/frame.py lays it out anew on a phone
        left, right = charts.columns(left=1.24)
    with left:
        index, axes = controls(view)
        heading.answer(place, answers.where(view.embedding, index, view.words))
        whole_map(view, axes, index, is_live=not problem)
    with right:
        latent_map.beside(view, axes, index, problem)
        if not problem:
            exported.offer(view, axes, index)


def controls(view: View) -> tuple[int, Projection | Layout]:
    """Colour, axes and point; returns the chosen point and the map's axes."""
    embedding = view.embedding
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"):
        st.segmented_control(
            "Colour", colours(embedding), required=True, **widgets.widget(selection.COLOUR)
        )
        axes = projection.choose(embedding, lambda kind: layouts.positions(view, kind))
        index = point_picker(embedding)
    if axes.instead_of:
        layouts.wait(view, axes.instead_of)
    return index, axes


def whole_map(view: View, axes: Projection | Layout, index: int, is_live: bool) -> None:
    """The map, its caption, and what a lasso caught."""
    figure = latent_map.show(view, axes, index, is_live)
    if isinstance(axes, Layout):
        st.caption(_of_layout(view, axes, is_live))
    else:
        words.caption("map_words", *_of_plane(view, is_live), kind=view.words.kind)
    charts.thinned(figure)
    group(view)


def _of_plane(view: View, is_live: bool) -> Iterator[str | dict[str, str]]:
    """What the map shows; its words are explained where they stand."""
    yield f"{view.given_what}{len(view.embedding):,} {view.words.points} at their "
    yield words.of("μ")
    if view.has_encoder:
        yield "; "
        yield words.of("q")
        yield ", in place of the "
        yield words.of("posterior")
    else:
        yield "; q, as there is no encoder, near the "
        yield words.of("posterior")
    if view.embedding.latent_dim == 1:
        yield ", over them, and dotted the "
        yield words.of("prior")
        yield ", each as a share of its peak. "
    else:
        yield ", at 1 and 2 σ; dotted: the "
        yield words.of("prior")
        yield " at 1, 2, 3 σ. "
    if is_live:
        yield "Hover to decode, drag q, lasso a group. Beneath: the "
        yield words.of("manifold")
        yield "."
    else:
        yield "Click a point, or lasso a group."


def _of_layout(view: View, axes: Layout, is_live: bool) -> str:
    text = (
        f"{plain(view.given_what)}{len(view.embedding):,} {view.words.points} by their μ in a "
        f"{axes.name}: neighbours stay near, but no place on it can be decoded; "
    )
    if is_live:
        text += "hovering shows the nearest point. Ring: the chosen point; dot: the nearest to μ."
    else:
        text += "click a point, or lasso a group."
    return f"{text} {axes.note}"


def group(view: View) -> None:
    """What a lasso caught."""
    embedding = view.embedding
    indices = selection.group(len(embedding))
    if not indices:
        return
    means = [float(values[indices].mean()) for values in (embedding.recon, embedding.kl)]
    st.markdown(
        f"**{len(indices):,} points**, mean recon {means[0]:.2f} + KL {means[1]:.2f} = "
        f"-ELBO {sum(means):.2f} nats per {view.words.point}"
    )
    if view.images is not None:
        shown = view.pictures_of(indices[:40])
        images.show(images.row(shown, side=32, per_row=20), f"the {view.words.points} of the group")
    st.button("Forget these points", on_click=lambda: st.session_state.pop(selection.GROUP, None))


main()
