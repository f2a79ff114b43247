"""Which axes a page's map has: what the visitor chose."""

from collections.abc import Callable

import numpy as np
import streamlit as st

from vae.analysis import axes, traversal
from vae.analysis.axes import Layout, Projection
from vae.analysis.embedding import Embedding
from vae.analysis.layout import KINDS

_COMPONENTS = "principal components"
_LAYOUTS = {f"{kind}, a layout": kind for kind in KINDS}


def choose(
    embedding: Embedding, layout_of: Callable[[str], np.ndarray | None] | None = None
) -> Projection | Layout:
    """What was chosen on the page; two dimensions need no choice.

    Args:
        embedding: the points.
        layout_of: the positions (N, 2) of a kind of layout, or None while they are computed, when
            the principal components stand in for them. Without it no layout is offered.
    """
    D = embedding.latent_dim
    if D == 1:
        return axes.line()
    if D == 2:
        return axes.dimensions(D, (0, 1))
    by_kl = traversal.by_kl(embedding)[0].tolist()
    layouts = _LAYOUTS if layout_of else {}
    chosen = st.selectbox(
        "Axes",
        ["dimensions", _COMPONENTS, *layouts],
        key="axes",
        bind="query-params",
        width=190,
    )
    if layout_of and chosen in layouts:
        positions = layout_of(layouts[chosen])
        if positions is not None:
            return Layout(layouts[chosen], positions)
        return axes.components(embedding, instead_of=layouts[chosen])
    if chosen == _COMPONENTS:
        return axes.components(embedding)
    names = [f"z{d + 1}" for d in range(D)]
    pair = tuple(
        names.index(
            st.selectbox(
                f"{side} axis",
                names,
                index=by_kl[place],
                key=f"axis_{side}",
                bind="query-params",
                width=90,
            )
        )
        for place, side in enumerate("xy")
    )
    return axes.dimensions(D, pair)


def plane(embedding: Embedding) -> Projection:
    """What needs no choice: the two dimensions, or the principal components of mu."""
    found = choose(embedding) if embedding.latent_dim <= 2 else axes.components(embedding)
    assert isinstance(found, Projection)  # two dimensions are offered no layout
    return found
