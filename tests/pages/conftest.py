"""The app without a browser."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pages.live_panel import LivePanel
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest, app_test

from vae.analysis.embedding import Embedding
from vae.runs import checkpoint
from vae.ui import collector, owner, roles
from vae.ui.results import lines
from vae.ui.results.store import RESULTS

APP = Path(__file__).resolve().parents[2] / "app.py"


@pytest.fixture(scope="session", autouse=True)
def packages_searched_once() -> Iterator[None]:
    """AppTest has Streamlit search every installed package for components, for each app anew."""
    with pytest.MonkeyPatch.context() as patch:
        found = manifest_scanner.scan_component_manifests()
        patch.setattr(manifest_scanner, "scan_component_manifests", lambda: found)
        yield


@pytest.fixture(autouse=True)
def no_results(monkeypatch) -> Iterator[None]:
    """What one test had computed is not there for the next, and what it began ends with it.

    Nor does it step back behind the browsers of other tests, nor look for garbage after each page.
    """
    monkeypatch.setattr(lines, "_NICENESS", dict.fromkeys(lines.LINES, 0))
    monkeypatch.setattr(collector, "collect", lambda: None)
    yield
    RESULTS.clear()


@dataclass
class Connection:
    """What the server knows of a visitor's browser."""

    remote_ip: str | None = "127.0.0.1"
    headers: list[tuple[str, str]] = field(default_factory=list)
    cookies: dict[str, str] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def connection(monkeypatch, tmp_path_factory) -> Connection:
    """The visitor's: at home unless the test says otherwise, on a server with no owner's file."""
    found = Connection()
    monkeypatch.setattr(roles, "connection", lambda: found)
    monkeypatch.setattr(owner, "FILE", tmp_path_factory.getbasetemp() / "no owner's" / "elbo.toml")
    return found


@pytest.fixture(autouse=True)
def no_fault_of_ours(request, caplog):
    """A fault is a sentence on the page, and no exception that AppTest would show."""
    yield
    if request.module.__name__.rpartition(".")[2] != "test_faults":
        faults = [r for r in caplog.get_records("call") if r.name == "vae.ui.faults"]
        assert not faults, faults[0].exc_text


@pytest.fixture
def cold_app() -> AppTest:
    """The app before its first run, on a server that takes every run for its first."""
    return AppTest.from_file(APP, default_timeout=120)


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


@pytest.fixture
def explore(app, checkpoints, tiny_run) -> AppTest:
    """Explore, on a small model."""
    tiny_run(checkpoints / "tiny")
    return app.run()


@pytest.fixture
def panel(explore) -> LivePanel:
    """Its live panel."""
    return LivePanel(explore)


@pytest.fixture
def points(app, checkpoints, tiny_run) -> AppTest:
    """Points, on a small model."""
    tiny_run(checkpoints / "tiny")
    return app.run().switch_page("pages/points.py").run()


@pytest.fixture
def embedding(points, checkpoints) -> Embedding:
    """What is stored with that model."""
    return checkpoint.open_run(checkpoints / "tiny").load_embedding()
