"""Whatever a file of a run folder holds, every page shows the run, or a sentence.

`pytest -m slow` draws many more files.
"""

from pathlib import Path

import pytest
from fuzzing import fuzz, memory_below
from hypothesis import strategies as st
from pages.conftest import APP
from runs.attacks import ATTACKS, Attack
from runs.test_checkpoint_fuzz import with_everything
from streamlit.testing.v1 import AppTest

from vae.ui.results.store import RESULTS

PAGES = ("explore", "points", "traverse", "train", "inference", "diagnose", "compare")
VIEWS = ("Film", "Curves", "All runs", "Objectives")  # of Train

BY_FILE: dict[str, list[Attack]] = {}
for _name, _attack in ATTACKS:
    BY_FILE.setdefault(_name, []).append(_attack)
each_file = pytest.mark.parametrize("name", BY_FILE)


@pytest.fixture
def folder(app, checkpoints, tiny_run) -> Path:
    """A run with every file that a run can have; the sound one beside it has few."""
    tiny_run(checkpoints / "sound")
    return with_everything(tiny_run(checkpoints / "run")).path


def open_page(page: str, view: str = VIEWS[0]) -> AppTest:
    """One page of the run, for a new visitor of a server that has just begun."""
    RESULTS.clear()
    app = AppTest.from_file(APP, default_timeout=120)
    app.query_params["run"] = "run"
    if page == "explore":
        return app.run()
    app.session_state["watched"] = "run"
    app.session_state["train_view"] = view
    return app.run().switch_page(f"pages/{page}.py").run()


def attack_with(folder: Path, caplog, name: str, n: int, **options) -> None:
    path = folder / name
    whole = path.read_bytes()

    def look(draw) -> None:
        caplog.clear()
        path.write_bytes(draw(st.sampled_from(BY_FILE[name]))(draw, whole))
        page, view = draw(st.sampled_from(PAGES)), draw(st.sampled_from(VIEWS))
        with memory_below(2000):  # a posterior that is nowhere smooth is refined to the end: 1 GB
            app = open_page(page, view)
        faults = [record for record in caplog.records if record.name == "vae.ui.faults"]
        assert not faults, faults[0].exc_text
        assert not app.exception
        assert app.main.children

    try:
        fuzz(look, n, memory_kb=3_000_000, **options)  # of all visits together
    finally:
        path.write_bytes(whole)


@pytest.mark.few(2)
@each_file
def test_pages_show_a_damaged_run_or_a_sentence(folder, caplog, name):
    attack_with(folder, caplog, name, 5, derandomize=True)


@pytest.mark.slow
@each_file
def test_pages_show_a_damaged_run_or_a_sentence_many_times(folder, caplog, name):
    attack_with(folder, caplog, name, 2000)


@pytest.mark.parametrize("page", PAGES)
def test_pages_show_the_undamaged_run(folder, page):
    app = open_page(page)
    assert not app.error
    assert app.get("plotly_chart")
