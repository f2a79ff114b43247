"""The files of js/ become one ES module, and the constants are those of Python."""

import json
import re
from pathlib import Path

import pytest

from vae.figures import explore as figures
from vae.live import constants, pack, source

ENTRIES = (
    *("streamlit.js", "page.js", "gaussians/streamlit.js", "caption.js", "learn.js"),
    "stage/stage.js",
)


@pytest.fixture
def written(monkeypatch, tmp_path):
    """Writes files of another js/."""
    monkeypatch.setattr(source, "_JS", tmp_path)
    source.module.cache_clear()

    def write(**files: str) -> None:
        for name, text in files.items():
            (tmp_path / f"{name}.js").write_text(text)

    yield write
    source.module.cache_clear()


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_module_is_one_text_that_imports_nothing(entry):
    text = source.module(entry)
    assert not re.search(r"^\s*import\b|\bfrom \"", text, re.MULTILINE)
    assert text.count("export default") == (entry != "page.js")


def test_every_file_is_in_a_module():
    joined = "".join(source.module(entry) for entry in (*ENTRIES, "worker.js"))
    for path in (Path(source.__file__).parent / "js").rglob("*.js"):
        for name in source._DECLARED.findall(path.read_text(encoding="utf-8")):
            assert re.search(rf"\b(class|function|const|let) {name}\b", joined), path


def test_a_file_stands_once_and_behind_what_it_imports(written):
    written(
        a='import { b } from "./b.js";\nimport { c } from "./c.js";\nexport const a = b + c;\n',
        b='import { c } from "./c.js";\nexport const b = c;\n',
        c="/** A number. */\nexport const c = 1;\n",
    )
    lines = source.module("a.js").split()
    assert " ".join(lines) == "export const c = 1; export const b = c; export const a = b + c;"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"a": 'import { b } from "./b.js";\n', "b": 'import { a } from "./a.js";\n'}, "itself"),
        (
            {
                "a": 'import { b } from "./b.js";\nconst c = b;\n',
                "b": "export const b = 1, d = 2;\nlet c;\n",
            },
            "both declare c",
        ),
        ({"a": 'import * as b from "./b.js";\n'}, "cannot be joined"),
        ({"a": 'import b from "b";\n'}, "cannot be joined"),
        ({"a": 'export { b } from "./b.js";\n'}, "cannot be joined"),
        (
            {"a": 'import { b as c } from "./b.js";\n', "b": "export const b = 1;\n"},
            "cannot be joined",
        ),
    ],
)
def test_what_cannot_be_one_scope_is_refused(files, problem, written):
    written(**files)
    with pytest.raises(ValueError, match=problem):
        source.module("a.js")


def test_the_constants_are_those_of_python():
    found = dict(re.findall(r"^export const (\w+) = (.*);$", constants.javascript(), re.MULTILINE))
    values = {name: json.loads(value) for name, value in found.items()}
    assert pack.pack({}, {})[:4].decode() == values["MAGIC"]
    assert values["MOST_SAMPLES"] == constants.MOST_SAMPLES
    assert tuple(values["SIGMA_RANGE"]) == constants.SIGMA_RANGE
    assert tuple(values["GAUSSIAN_SIZES"]) == constants.GAUSSIAN_SIZES
    assert values["Q_COLOUR"] == figures.Q_COLOUR
    assert [f"rgb({r}, {g}, {b})" for r, g, b in values["NATS"]] == [c for _, c in figures.NATS]
    assert f"--q: {figures.Q_COLOUR}" in source.css("live")
    used = "".join(path.read_text(encoding="utf-8") for path in source._JS.rglob("*.js"))
    for name in values:
        assert name in used, name
