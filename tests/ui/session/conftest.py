"""A visitor's session and address bar, without Streamlit."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from vae.ui.session import drawings, manual_q, readings, selection, widgets


@pytest.fixture
def enter(monkeypatch) -> Callable[[SimpleNamespace], SimpleNamespace]:
    """Lets a visitor in: from then on the session is theirs."""

    def let_in(visitor: SimpleNamespace) -> SimpleNamespace:
        for module in (drawings, manual_q, readings, selection, widgets):
            monkeypatch.setattr(module, "st", visitor)
        return visitor

    return let_in


@pytest.fixture
def session(enter) -> SimpleNamespace:
    """A visitor at point 7 of the held-out digits, seen through a run."""
    chosen = {"run": "run", "data": "digits held-out", "point": 7}
    return enter(SimpleNamespace(session_state=chosen, query_params={}))


@pytest.fixture
def follow(enter, session) -> Callable[..., SimpleNamespace]:
    """Another visitor, who opens the first one's link, or one with changes."""

    def open_link(**changes: str) -> SimpleNamespace:
        query = dict(session.query_params) | changes
        other = enter(SimpleNamespace(session_state={}, query_params=query))
        selection.restore()
        return other

    return open_link
