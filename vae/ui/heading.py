"""The head of a page: its question, the sentence that answers it, and where the point leads to."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from vae.ui.session import checkpoints
from vae.ui.text import plain

MAP, WHY, COMPARE = "explore", "inference", "compare"
_LINKS = {
    MAP: ("Show on the map", ":material/explore:"),
    WHY: ("Why this cost?", ":material/ads_click:"),
    COMPARE: ("In another model", ":material/compare_arrows:"),
}


def ask(question: str, *onward: str) -> DeltaGenerator:
    """Draws the heading, which is the tab's title too.

    Args:
        question: of the page.
        onward: the pages that show the chosen point in another light: MAP, WHY, COMPARE. Without
            a checkpoint there is no point.

    Returns:
        The place of the answer.
    """
    st.set_page_config(page_title=f"{question} · ELBO Room")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(key="heading", gap=None):
            st.header(question, anchor=False)
            place = st.empty()
        if onward and checkpoints.found()[0]:
            with st.container(horizontal=True, key="onward", width="content", gap="small"):
                for page in onward:
                    text, icon = _LINKS[page]
                    st.page_link(f"pages/{page}.py", label=text, icon=icon, width="content")
    return place


def answer(place: DeltaGenerator, sentence: str) -> None:
    """Writes the answer, of plain text, in its place."""
    place.markdown(plain(sentence))
