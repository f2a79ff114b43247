"""Whether the visitor's browser can draw with WebGL, as remote desktops often cannot."""

import streamlit as st
from streamlit.components.v2 import component

_KEY = "webgl"
_WITHOUT = "without_webgl"
_component = component(
    "elbo_room_webgl",
    # Asked once a page is loaded: a browser gives only a few contexts.
    js="""export default ({ setTriggerValue }) => {
  globalThis.elboRoomHasWebgl ??= Boolean(document.createElement("canvas").getContext("webgl"));
  if (!globalThis.elboRoomHasWebgl) setTriggerValue("without_webgl", true);
}""",
)


def ask() -> None:
    """Asks the browser, which answers only if it has none; the page is then drawn again."""
    if is_there():
        _component(key=_KEY, on_without_webgl_change=_take)


def is_there() -> bool:
    """Whether the visitor's browser has it, as far as is known."""
    return not st.session_state.get(_WITHOUT, False)


def _take() -> None:
    st.session_state[_WITHOUT] = True
