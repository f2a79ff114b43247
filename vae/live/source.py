"""The browser's part of this package, as text."""

from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent


@cache
def module() -> str:
    """The live panel's ES module: what runs a program, then what draws with it."""
    return _joined("common.js", "program.js", "live.js")


@cache
def css() -> str:
    """The live panel's style sheet."""
    return _joined("live.css")


@cache
def gaussians_module() -> str:
    """The ES module in which two Gaussians are dragged."""
    return _joined("common.js", "gaussians.js")


@cache
def gaussians_css() -> str:
    """The style sheet of the two Gaussians."""
    return _joined("gaussians.css")


def _joined(*names: str) -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)
