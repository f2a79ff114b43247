"""The app without a browser."""

from pathlib import Path

import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest, app_test

APP = Path(__file__).resolve().parents[2] / "app.py"


@pytest.fixture
def cold_app() -> AppTest:
    """The app before its first run, on a server that takes every run for its first."""
    return AppTest.from_file(APP, default_timeout=60)


@pytest.fixture
def app(cold_app, monkeypatch) -> AppTest:
    """The app before its first run, on a server that has met it before.

    AppTest makes its server forget between runs that app.py declares the pages, so that every run
    would begin at the page's own file, as only a cold deep link does.
    """

    class WarmPagesManager(PagesManager):
        def __init__(self, *arguments, **options):
            PagesManager.uses_pages_directory = False
            super().__init__(*arguments, **options)

    monkeypatch.setattr(app_test, "PagesManager", WarmPagesManager)
    return cold_app
