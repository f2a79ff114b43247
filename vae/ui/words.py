"""Captions in which the field's words are dotted: pointed at, each says what it means."""

from streamlit.components.v2 import component

from vae.config import IMAGE
from vae.lessons.glossary import GLOSSARY
from vae.live import source

_component = component("elbo_room_caption", js=source.module("caption.js"), css=source.css("live"))


def of(name: str, text: str = "") -> dict[str, str]:
    """A word of the glossary, as a part of a caption; `text` is how it stands there, if not so."""
    assert name in GLOSSARY, name
    return {"name": name, "text": text or name}


def caption(key: str, *parts: str | dict[str, str], kind: str = IMAGE) -> None:
    """Text in which some parts are words, of `of`; text is shown as it is, never as markup.

    What the words mean is said of data of that kind, of `config.DATA_KINDS`.
    """
    _component(key=key, data={"parts": list(parts), "kind": kind})
