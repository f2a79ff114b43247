"""What keeps Streamlit's garbage collection from holding visitors up."""

import gc
import sys
import types
import weakref
from collections.abc import Iterator

import pytest

from vae.ui import collector


@pytest.fixture(autouse=True)
def served(monkeypatch) -> Iterator[None]:
    """As if a server ran, of which nothing has been set aside yet."""
    monkeypatch.setattr(collector.runtime, "exists", lambda: True)
    monkeypatch.setattr(collector, "_modules", 0)
    yield
    gc.unfreeze()


class Ring:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.me = self


def test_what_was_imported_is_looked_at_no_more():
    everything = len(gc.get_objects())
    collector.set_aside()
    assert gc.get_freeze_count() > everything / 2
    assert len(gc.get_objects()) < everything / 10


def test_later_garbage_is_still_collected():
    collector.set_aside()
    seen = weakref.ref(Ring())
    gc.collect()
    assert seen() is None


def test_it_is_done_once_until_more_is_imported(monkeypatch):
    collector.set_aside()
    frozen = []
    monkeypatch.setattr(collector.gc, "freeze", lambda: frozen.append(True))
    collector.set_aside()
    assert not frozen
    monkeypatch.setitem(sys.modules, "imported_later", types.ModuleType("imported_later"))
    collector.set_aside()
    assert frozen == [True]


def test_what_was_set_aside_by_the_way_is_freed_in_time(monkeypatch):
    ring = Ring()
    seen = weakref.ref(ring)
    collector.set_aside()
    del ring
    gc.collect()
    assert seen() is not None  # the price
    monkeypatch.setattr(collector, "_AGAIN_S", -1.0)
    collector.set_aside()
    assert seen() is None


def test_without_a_server_nothing_is_set_aside(monkeypatch):
    monkeypatch.setattr(collector.runtime, "exists", lambda: False)
    before = gc.get_freeze_count()
    collector.set_aside()
    assert gc.get_freeze_count() == before
