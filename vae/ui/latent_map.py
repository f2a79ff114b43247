"""The latent map on a page, and the live panel beside it."""

import numpy as np
import streamlit as st

from vae.analysis.axes import Layout, Projection
from vae.figures import explore as figures
from vae.figures import theme
from vae.figures.prepared import Prepared
from vae.live.panel import sigma_of
from vae.live.recording import ProgramError, UnsupportedLayer
from vae.ui import charts, live, point, sliders
from vae.ui.session import manual_q, map_view, selection
from vae.ui.text import explained
from vae.ui.view import View


def show(
    view: View, axes: Projection | Layout, index: int, is_live: bool, is_plain: bool = False
) -> Prepared:
    """Draws it, as high as the window allows; where it is live the panel draws q on it.

    Args:
        view: what is looked at.
        axes: of the map.
        index: the chosen point.
        is_live: the live panel stands beside it, and takes the clicks on points.
        is_plain: coloured by label, without the prior and the names of the axes: for who knows
            none of the field's words yet.
    """
    embedding = view.embedding
    colour = "label" if is_plain else st.session_state[selection.COLOUR]
    titles = ("", "") if is_plain else axes.titles
    places = axes.places(embedding)
    figure = charts.kept(
        "map",
        lambda: figures.latent_map(
            embedding,
            places,
            colour,
            titles,
            prior_centre=axes.prior_centre,
            height=None,
            is_strip=axes.is_line,
            has_rings=not is_plain,
        ),
        *(places, colour, titles, axes.is_line, embedding.labels, embedding.class_names),
        () if colour == "label" else theme.term(embedding, colour),
        () if axes.prior_centre is None else np.asarray(axes.prior_centre),
    )
    shown = (view.run.name, st.session_state[selection.DATA], titles)
    figure = map_view.apply(figure, of=shown, drawn=(colour, None if is_live else index))
    if not is_live:
        ellipses = axes.ellipses(embedding.mu[index], sigma_of(embedding)[index])
        figure = figure.marked(figures.marks_of_q(ellipses, places[index]))
    # As high as the window of the browser allows: see ui/frame.py.
    with st.container(key="window", height=636, border=False):
        charts.map_chart(
            figure,
            key="map",
            on_select=lambda: selection.point_from_chart("map"),
            selection_mode="lasso" if is_live else ("points", "lasso"),
            alt=f"The latent map: each point is where the encoder puts one {view.words.kind}",
            height="stretch",
        )
    return figure


def beside(
    view: View,
    axes: Projection | Layout,
    index: int,
    problem: ProgramError | None,
    only: tuple[str, ...] | None = None,
) -> None:
    """What stands beside the map: the live panel, or what there is where none can be.

    Args:
        view, axes, index: as of `show`.
        problem: why the browser cannot run the model, as `live.problem` says.
        only: tools of the panel; see `live.panel`.
    """
    if isinstance(problem, UnsupportedLayer):
        st.caption(
            f"The browser cannot run this model: {explained(problem)}. "
            "The sliders below ask the server, on release."
        )
        sliders.show(view, axes, index)
        point.card(view, index)
    elif problem:
        st.warning(f"Nothing can be decoded: {explained(problem)}.")
        point.stored_terms(view, index)
    else:
        manual_q.forget_others(this := live.point_id(view, index))
        if manual_q.is_unusable(this, view.embedding.latent_dim):
            st.warning(
                f"The link's q is none: it takes {view.embedding.latent_dim} finite μ and as "
                "many σ above 0. Showing the encoder's."
            )
        live.panel(view, axes, index, only)
        if view.images is None:
            point.missing_image(view)
