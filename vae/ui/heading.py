"""The head of a page: its question, and the sentence that answers it."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from vae.ui.text import plain


def ask(question: str) -> DeltaGenerator:
    """Draws the heading, which is the tab's title too; returns the place of the answer."""
    st.set_page_config(page_title=f"{question} · ELBO Room")
    with st.container(key="heading", gap=None):
        st.header(question, anchor=False)
        return st.empty()


def answer(place: DeltaGenerator, sentence: str) -> None:
    """Writes the answer, of plain text, in its place."""
    place.markdown(plain(sentence))
