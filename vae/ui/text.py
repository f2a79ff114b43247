"""Text for pages."""

import os
import re
from collections.abc import Callable

from vae import config
from vae.config import ModelConfig, TrainConfig
from vae.data import dataset
from vae.names import printable
from vae.runs import checkpoint

_LABELS = {
    name: setting.label
    for kind in (ModelConfig, TrainConfig)
    for name, setting in config.settings(kind).items()
    if setting.label
}
# Streamlit looks once more at text that Markdown has let through: for addresses to link, for
# emoji and icons between colons, for arrows between spaces. A backslash does not keep it from that.
_SEEN_AFTERWARDS = re.compile(
    r"(?::(?=//|[\w+/-]+:)|www(?=\.)|(?<=[\w.+-])@(?=[\w-])|(?<!\S)[<>~-](?=[->=]+(?!\S)))",
    re.IGNORECASE,
)
_BREAK = "\u2060"  # a word joiner: without width, and no line breaks at it
_SIGNS = re.compile(r"[\\`*_{}\[\]<>()#+!|$~:&]")
_BEGINNING = re.compile(r"^(\s*\d*)([-=]|(?<=\d)\.(?=\s|$))")  # of a list or a line across


def plain(text: str) -> str:
    """Text from a file or a user, so that Streamlit's Markdown shows it as it is.

    On one line, "?" for what cannot be shown. Nothing in it becomes markup, a link, an icon or a
    formula; where a backslash does not do, a character without width stands between.
    """
    text = printable(re.sub(r"[\t\n\r]+|^ {4,}", " ", text))
    text = _SEEN_AFTERWARDS.sub(lambda found: found[0] + _BREAK, text)
    return _BEGINNING.sub(r"\1\\\2", _SIGNS.sub(r"\\\g<0>", text))


def explained(problem: Exception | str) -> str:
    """What went wrong, plain and in a visitor's words.

    The library names a setting as its code does, and a file by its place on the server; the page
    names it as its field is labelled, and the file alone.
    """
    text = str(problem)
    for folder in (checkpoint.folder(), dataset.folder()):
        for place in {f"{folder.resolve()}{os.sep}", f"{folder}{os.sep}"}:
            text = text.replace(place, "")
        text = text.replace(str(folder), "this server's folder")
    text = re.sub(r"\b(\w+)(?= \(=)", lambda name: _LABELS.get(name[1], name[1]), text)
    return plain(re.sub(r"\(([13]), (\d+), (\d+)\)", r"\1 × \2 × \3", text))


def free_name(stem: str, otherwise: str, is_free: Callable[[str], bool], longest: int) -> str:
    """A name for a file of ours, made of a visitor's: the stem, or stem-2, stem-3 and so on.

    Args:
        stem: any text; what a name cannot have becomes a hyphen.
        otherwise: stands in for a stem of which nothing is left.
        is_free: whether a name can be taken.
        longest: a stem may be, in characters.
    """
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:longest] or otherwise
    name, number = stem, 1
    while not is_free(name):
        number += 1
        name = f"{stem}-{number}"
    return name


def nats(value: float) -> str:
    """A number of nats as the pages write it."""
    return f"{value:.2f}"


def capitalised(text: str) -> str:
    """With a capital at its beginning, and the rest as it is."""
    return text[:1].upper() + text[1:]


def sentence(error: Exception) -> str:
    """An error's message as a sentence of its own, plain."""
    return capitalised(f"{explained(error)}.")


def with_minus(value: float, digits: int = 2) -> str:
    """A number with a minus as long as a plus."""
    return f"{value:.{digits}f}".replace("-", "−")
