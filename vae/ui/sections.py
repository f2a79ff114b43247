"""The parts of a page: choosing one, and the derivation in steps at its end."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from vae.ui.text import plain

_LONGEST = 64  # characters of a link that are repeated


def choose(label: str, key: str, options: Sequence[str], **more: Any) -> str:
    """The chosen one of a page's parts, which its link names; the first if it is none of them."""
    if st.session_state.get(key, options[0]) not in options:
        st.session_state[key] = options[0]
    asked = st.query_params.get(key, options[0])
    if asked not in options:  # the widget takes it out of the link
        st.toast(plain(f"{label}: the link's “{asked[:_LONGEST]}” is not among them."))
    return st.segmented_control(
        label,
        options,
        key=key,
        default=options[0],  # also what Back to a link without it shows
        required=True,
        bind="query-params",
        **more,
    )


def derivation(
    heading: str, steps: Sequence[Any], link_of: Callable[[str], str], below: Callable[[Any], None]
) -> None:
    """Steps of a lesson in tabs.

    Args:
        heading: over the tabs.
        steps: each with title, text, formula, numbers and what shows it on the page.
        link_of: the link that follows a step's text, by what shows it; nothing if there is none.
        below: what else stands under a step.
    """
    st.markdown(f"##### {heading}")
    tabs = st.tabs([f"{i}. {step.title}" for i, step in enumerate(steps, 1)], key="walk_through")
    for tab, step in zip(tabs, steps, strict=True):
        with tab:
            st.markdown(step.text + link_of(step.shown))
            for line in (step.formula, *step.numbers):
                st.latex(line)
            below(step)
