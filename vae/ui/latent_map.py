"""The latent map on a page, beside which the live panel may stand."""

import numpy as np
import streamlit as st

from vae.figures import explore as figures
from vae.figures import theme
from vae.figures.prepared import Prepared
from vae.live.panel import sigma_of
from vae.ui import charts
from vae.ui.projection import Layout, Projection
from vae.ui.session import map_view, selection
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
            alt="The latent map: each point is where the encoder puts one image",
            height="stretch",
        )
    return figure
