"""The browser's part of this package, as text: the files of js/ joined into one ES module."""

import json
import re
from functools import cache
from pathlib import Path

from vae.figures import theme
from vae.live import constants

_HERE = Path(__file__).parent
_JS = _HERE / "js"
# Not files: what is made of constants.py, and the worker's module as a text.
MADE = {
    "constants.js": constants.javascript,
    "worker_source.js": lambda: f"export const WORKER = {json.dumps(module('worker.js'))};\n",
}
# Under other names than they were given nothing can be imported: all is one scope.
_IMPORT = re.compile(r'^import \{(?:(?! as )[^}])*\} from "(\.[^"]+)";\n', re.MULTILINE)
_UNJOINABLE = re.compile(r"^import\b|^export (?:\*|\{)", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*/\*\*(?:(?!\*/).)*\*/\n", re.MULTILINE | re.DOTALL)
_DECLARED = re.compile(
    r"^(?:export )?(?:default )?(?:async )?(?:class|function|const|let) (\w+)", re.MULTILINE
)


@cache
def module(*entries: str) -> str:
    """The ES module of some files of js/ and all that they import, each file once.

    A file stands behind those that it imports, without its import statements: they are one scope.

    Raises:
        ValueError: two files import each other in a circle or declare the same name, or a file has
            an import that is not of the kind `import { name } from "./file.js";`.
    """
    texts: dict[Path, str | None] = {}
    for entry in entries:
        _collect(_JS / entry, texts)
    declared: dict[str, Path] = {}
    for path, text in texts.items():
        for name in _DECLARED.findall(text or ""):
            if declared.setdefault(name, path) != path:
                raise ValueError(f"{declared[name]} and {path} both declare {name}")
    return "\n".join(text for text in texts.values() if text)


@cache
def css(name: str) -> str:
    """The style sheet of a component: "live", "gaussians" or "learn"."""
    colours = f":host {{ --q: {theme.Q_COLOUR}; --recon: {theme.RECON_COLOUR}; }}\n"
    return colours + sheet(name)


@cache
def sheet(name: str) -> str:
    """A style sheet as it is written."""
    return (_HERE / f"{name}.css").read_text(encoding="utf-8")


def _collect(path: Path, texts: dict[Path, str | None]) -> None:
    """Adds a file's text behind those of the files that it imports."""
    if path in texts:
        if texts[path] is None:
            raise ValueError(f"{path} imports itself, by way of others")
        return
    texts[path] = None
    made = MADE.get(path.name)
    text = made() if made else path.read_text(encoding="utf-8")
    for imported in _IMPORT.findall(text):
        _collect((path.parent / imported).resolve(), texts)
    text = _IMPORT.sub("", text)
    if _UNJOINABLE.search(text):
        raise ValueError(f"{path} imports or exports in a way that cannot be joined")
    text = _COMMENT.sub("", text)  # for those who read the files: a fifth of what is sent
    del texts[path]  # it takes its place behind what it imports
    texts[path] = text
