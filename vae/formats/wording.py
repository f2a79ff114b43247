"""Text out of somebody's file, as a sentence may quote it."""

from collections.abc import Iterable, Mapping

from vae import names

_MOST_NATS = 1e6


def printable(text: str, most: int = 60) -> str:
    """Text from a file as a sentence may quote it: cut off, and without control characters."""
    return names.printable(text, most)


def quoted(text: str) -> str:
    """The same, between quotation marks."""
    return f"'{printable(text)}'"


def tensors_listed(shapes: Mapping[str, tuple[int, ...]], most: int = 12) -> str:
    """Tensors as a sentence lists them: "fc1.weight 400x784, fc1.bias 400 and 8 more"."""
    named = [
        f"{printable(name)} {'x'.join(map(str, shape)) or 'scalar'}"
        for name, shape in list(shapes.items())[:most]
    ]
    more = len(shapes) - len(named)
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def nats(value: float, digits: int = 2) -> str:
    """Nats as a sentence says them; a model that is read wrongly may cost any number."""
    return f"{value:.{digits}f}" if abs(value) < _MOST_NATS else "more than a million"


def listed(found: Iterable[str], most: int = 6) -> str:
    """Names as a sentence lists them."""
    shown = [printable(name) for name in found]
    return ", ".join(shown[:most]) + (" ..." if len(shown) > most else "") if shown else "nothing"
