"""Modules that tests write, each in a process that knows none of them."""

import pytest

from vae.data import catalogue
from vae.formats.user_code import module


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    """What a process remembers is forgotten after each test."""
    monkeypatch.setattr(catalogue, "_GIVEN", {})
    monkeypatch.setattr(module, "_opened", {})
