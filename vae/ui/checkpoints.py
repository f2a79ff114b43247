"""The checkpoints that this visitor may open: their own uploads, and the server's."""

from vae.formats import AnyRun
from vae.ui import cache, upload


def found() -> tuple[list[AnyRun], dict[str, str]]:
    """All of them, the visitor's own first; and what is wrong with those that cannot be opened."""
    runs, broken = cache.runs()
    return [*upload.runs(), *runs], broken
