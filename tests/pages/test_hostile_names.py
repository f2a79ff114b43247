"""Names of classes, runs and data sets are text on every page, whatever they hold."""

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from hostile_names import EVERY, MARK, RUNS, make
from streamlit.testing.v1 import AppTest

from vae.figures.theme import escaped
from vae.ui.text import plain

# What the browser shows to the letter, or reads as no text at all.
LITERAL = {
    *("id", "key", "url", "options", "default", "value", "raw_value", "raw_values", "form_id"),
    *("data", "columns", "page", "page_script_hash", "query_string", "mixed_data", "alt", "json"),
    *("bytes", "arrow_data", "class_name", "component_name", "file_name", "selection_mode"),
}
PAGES = (
    *("explore", "points", "traverse", "compare", "diagnose"),
    *("inference", "gaussians", "train", "learn"),
)


def strings(message: Message, field: str = "") -> Iterator[tuple[str, str]]:
    """(field, text) of a message of Streamlit's that a browser reads as Markdown or a chart."""
    for descriptor, value in message.ListFields():
        if descriptor.name in LITERAL and descriptor.message_type is None:
            continue
        values = value if descriptor.is_repeated else [value]
        for item in values:
            if isinstance(item, Message):
                yield from strings(item, descriptor.name)
            elif isinstance(item, str):
                yield f"{type(message).__name__}.{descriptor.name}", item


def elements(block: Any) -> Iterator[Any]:
    for child in block.children.values():
        yield child
        if hasattr(child, "children"):
            yield from elements(child)


def left_over(app: AppTest) -> list[tuple[str, str]]:
    """What stands on a page of a name that is not escaped for the place where it stands."""
    found = []
    for element in elements(app._tree):
        if not isinstance(getattr(element, "proto", None), Message):
            continue
        for field, text in strings(element.proto):
            if field == "PlotlyChart.spec":
                text = "\n".join(texts(json.loads(text)))
            for name in EVERY:
                for form in written(name, field):
                    text = text.replace(form, "")
            if MARK in text:
                at = text.index(MARK)
                found.append((field, text[max(0, at - 60) : at + 60]))
    return found


def written(name: str, field: str) -> list[str]:
    """How a name may stand in a field of a message."""
    if field == "Html.body":
        return [html.escape(name)]
    if field == "PlotlyChart.spec":
        return [escaped(name)]
    return [plain(name), plain(f"x {name}").removeprefix("x ")]


def texts(value: Any) -> Iterator[str]:
    """The texts in what was JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """A folder of checkpoints and one of data, with hostile names of all that has a name."""
    root = tmp_path_factory.mktemp("hostile")
    make(root / "checkpoints", root / "data")
    return root


@pytest.fixture
def hostile(app, folders, monkeypatch) -> AppTest:
    """Explore, on the first of those models."""
    monkeypatch.setenv("VAE_DATA", str(folders / "data"))
    monkeypatch.setenv("VAE_CHECKPOINTS", str(folders / "checkpoints"))
    app.query_params["run"] = RUNS[0]
    return app.run()


@pytest.mark.few(3)
@pytest.mark.parametrize("page", PAGES)
def test_no_name_is_markup_on_any_page(hostile, page):
    if page != "explore":
        hostile.switch_page(f"pages/{page}.py").run()
    check(hostile)
    for group in list(hostile.main.button_group):  # every view of the page
        for option in [option.content for option in group.proto.options]:
            shown = {g.key: g for g in hostile.main.button_group}.get(group.key)
            if shown is None or option not in [o.content for o in shown.proto.options]:
                continue
            at = [o.content for o in shown.proto.options].index(option)
            shown.set_value([shown.options[at]] if shown.type == "pills" else shown.options[at])
            check(hostile.run())


def check(app: AppTest) -> None:
    assert not app.exception, app.exception[0].value
    assert left_over(app) == []
