"""The browser's part of this package, as text."""

from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent


@cache
def module() -> str:
    """The ES module: what runs a program, then what draws with it."""
    parts = ("program.js", "live.js")
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in parts)


@cache
def css() -> str:
    """The panel's style sheet."""
    return (_HERE / "live.css").read_text(encoding="utf-8")
