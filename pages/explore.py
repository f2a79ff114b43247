"""Explore: where does the data live, and what is here?"""

import streamlit as st

from vae import figures
from vae.embedding import Embedding
from vae.live.panel import sigma_of
from vae.live.program import UnsupportedLayer
from vae.ui import frame, images, layouts, live, point, projection, sliders, state
from vae.ui.frame import View
from vae.ui.projection import Layout, Projection

frame.require("pages/explore.py")

HEIGHT = 690  # of the map, in pixels
LINE = 56  # of what stands above it while a layout is computed


def main() -> None:
    view = frame.view()
    problem = live.problem(view)
    left, right = st.columns([1.38, 1], gap="medium")
    with left:
        index, axes = controls(view)
        latent_map(view, axes, index, is_live=not problem)
    with right:
        if isinstance(problem, UnsupportedLayer):
            st.caption(
                f"The browser cannot run this model: {frame.plain(str(problem))}. "
                "The sliders below ask the server, on release."
            )
            sliders.show(view, axes, index)
            point.card(view, index)
        elif problem:
            st.warning(f"Nothing can be decoded: {frame.plain(str(problem))}.")
            point.stored_terms(view, index)
        else:
            state.forget_other_hands(live.point_key(view, index))
            live.panel(view, axes, index, st.session_state.get(state.WITHOUT_WEBGL, False))
            live.export_button(view)
            st.caption(
                f"Point {index:,} as the tables state it, over {view.embedding.n_samples} samples:"
            )
            if view.images is None:
                point.missing_image(view)
            point.stored_terms(view, index)


def controls(view: View) -> tuple[int, Projection | Layout]:
    """Colour, axes and point; returns the chosen point and the map's axes."""
    embedding = view.embedding
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"):
        colours = ["label", *figures.TERMS, *embedding.factors]
        state.keep_within(state.COLOUR, colours)
        st.segmented_control("Colour", colours, required=True, **state.widget(state.COLOUR))
        axes = projection.choose(embedding, lambda kind: layouts.positions(view, kind))
        index = frame.point_picker(embedding)
    if axes.instead_of:
        layouts.wait(view, axes.instead_of)
    return index, axes


def latent_map(view: View, axes: Projection | Layout, index: int, is_live: bool) -> None:
    """The map; where it is live the panel draws q and takes the clicks on points."""
    embedding = view.embedding
    without_webgl = st.session_state.get(state.WITHOUT_WEBGL, False)
    q = {
        "ellipses": axes.ellipses(embedding.mu[index], sigma_of(embedding)[index]),
        "selected": index,
    }
    figure = figures.latent_map(
        embedding,
        axes.places(embedding),
        st.session_state[state.COLOUR],
        axes.titles,
        prior_centre=axes.prior_centre,
        height=HEIGHT - (LINE if axes.instead_of else 0),
        webgl=not without_webgl,
        **({} if is_live else q),
    )
    st.plotly_chart(
        figure,
        key="map",
        on_select=lambda: state.point_from_chart("map"),
        selection_mode="lasso" if is_live else ("points", "lasso"),
        config={"scrollZoom": True, "displaylogo": False},
        alt="The latent map: each point is where the encoder puts one image",
    )
    st.caption(
        _of_layout(embedding, axes, is_live)
        if isinstance(axes, Layout)
        else _of_plane(embedding, is_live)
    )
    if without_webgl and len(embedding) > figures.MOST_WITHOUT_WEBGL:
        every = len(embedding) // figures.MOST_WITHOUT_WEBGL + 1
        st.caption(f"This browser has no WebGL, so one point in {every} is drawn.")
    group(view)


def _of_plane(embedding: Embedding, is_live: bool) -> str:
    told = (
        f"{len(embedding):,} images at their μ, the mean of q(z|x); q at 1 and 2 σ; dotted: the "
        "prior p(z) at 1, 2 and 3 σ. "
    )
    if is_live:
        return told + "Hover to decode, click or drag q anywhere, lasso a group."
    return told + "Click a point, or lasso a group."


def _of_layout(embedding: Embedding, axes: Layout, is_live: bool) -> str:
    told = (
        f"{len(embedding):,} images by their μ in a {axes.name}: neighbours stay near, but no "
        "place on it can be decoded; "
    )
    if is_live:
        told += "hovering shows the nearest point. Ring: the chosen point; dot: the nearest to μ."
    else:
        told += "click a point, or lasso a group."
    return f"{told} {axes.note}"


def group(view: View) -> None:
    """What a lasso caught."""
    embedding = view.embedding
    indices = state.group(len(embedding))
    if not indices:
        return
    means = [float(values[indices].mean()) for values in (embedding.recon, embedding.kl)]
    st.markdown(
        f"**{len(indices):,} points**, mean recon {means[0]:.2f} + KL {means[1]:.2f} = "
        f"-ELBO {sum(means):.2f} nats per image"
    )
    if view.images is not None:
        shown = view.images.images[indices[:40]].numpy() / 255
        images.show(images.row(shown, side=32, per_row=20))
    st.button("Forget these points", on_click=lambda: st.session_state.pop(state.GROUP, None))


main()
