"""What pages ask the store for, without a page."""

from collections.abc import Iterator

import pytest

from vae.ui.results.store import RESULTS
from vae.ui.view import View, seen_through


@pytest.fixture(autouse=True)
def no_results() -> Iterator[None]:
    """What one test had computed is not there for the next, and what it began ends with it."""
    yield
    RESULTS.clear()


@pytest.fixture
def view(checkpoints, tiny_run) -> View:
    """The held-out digits seen through a tiny run."""
    return seen_through(tiny_run(checkpoints / "tiny"), "digits", "test")
