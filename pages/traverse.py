"""Traverse: what does each latent dimension do, and what lies between points and beyond groups?"""

import streamlit as st

from vae.analysis import answers
from vae.analysis.diagnosis import INACTIVE
from vae.errors import UserError
from vae.ui import frame, heading, sections
from vae.ui.text import sentence
from vae.ui.traverse import arithmetic, between, dimensions
from vae.ui.view import chosen_view

frame.require("pages/traverse.py")

PARTS = {
    "Dimensions": dimensions.show,
    "Between points": between.show,
    "Arithmetic": arithmetic.show,
}


def main() -> None:
    place = heading.ask("What does each latent dimension do?", heading.MAP, heading.WHY)
    view = chosen_view()
    heading.answer(place, answers.dimensions(view.embedding, INACTIVE, view.words))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        part = sections.choose("Walk", "part", tuple(PARTS))
        controls = st.container(
            horizontal=True, vertical_alignment="bottom", gap="xsmall", width="content"
        )
    try:
        PARTS[part](view, controls)
    except UserError as error:
        st.warning(sentence(error))


main()
