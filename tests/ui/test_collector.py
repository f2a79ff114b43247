"""What keeps Streamlit's garbage collection from holding visitors up."""

import gc
import sys
import tomllib
import types
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit import config

from vae.ui import collector

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def served(monkeypatch) -> Iterator[None]:
    """As if a server ran, of which nothing has been set aside yet."""
    monkeypatch.setattr(collector.runtime, "exists", lambda: True)
    for name in ("_modules", "_looked", "_set_aside"):
        monkeypatch.setattr(collector, name, 0)
    yield
    gc.unfreeze()


class Ring:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.me = self


def test_what_was_imported_is_looked_at_no_more():
    everything = len(gc.get_objects())
    collector.collect()
    assert gc.get_freeze_count() > everything / 2
    assert len(gc.get_objects()) < everything / 10


def test_later_garbage_is_collected_now_and_then(monkeypatch):
    collector.collect()
    seen = weakref.ref(Ring())
    collector.collect()
    assert seen() is not None  # a moment ago it was looked
    monkeypatch.setattr(collector, "_EVERY_S", -1.0)
    collector.collect()
    assert seen() is None


def test_streamlit_leaves_it_to_us():
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert settings["runner"]["postScriptGC"] is False
    assert "runner.postScriptGC" in config.get_config_options()  # in the version that is installed


def test_it_is_done_once_until_more_is_imported(monkeypatch):
    collector.collect()
    frozen = []
    monkeypatch.setattr(collector.gc, "freeze", lambda: frozen.append(True))
    collector.collect()
    assert not frozen
    monkeypatch.setitem(sys.modules, "imported_later", types.ModuleType("imported_later"))
    collector.collect()
    assert frozen == [True]


def test_what_was_set_aside_by_the_way_is_freed_in_time(monkeypatch):
    ring = Ring()
    seen = weakref.ref(ring)
    collector.collect()
    del ring
    gc.collect()
    assert seen() is not None  # the price
    monkeypatch.setattr(collector, "_ALL_EVERY_S", -1.0)
    collector.collect()
    assert seen() is None


def test_without_a_server_nothing_is_set_aside(monkeypatch):
    monkeypatch.setattr(collector.runtime, "exists", lambda: False)
    before = gc.get_freeze_count()
    collector.collect()
    assert gc.get_freeze_count() == before
