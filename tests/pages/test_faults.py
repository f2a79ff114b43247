"""A fault of ours on a page: a sentence, no traceback, which goes to the log."""

import pytest
from pages.answers import stated_terms
from streamlit.testing.v1 import AppTest

from vae.errors import UserError
from vae.runs import folders
from vae.ui import frame
from vae.ui.faults import SENTENCE
from vae.ui.train import charts

PAGES = (
    *("explore", "points", "traverse", "train", "inference"),
    *("gaussians", "diagnose", "compare", "learn"),
)


def broken(*arguments, **options):
    raise ZeroDivisionError("a secret of ours")


def everything(app: AppTest) -> str:
    kinds = (app.error, app.warning, app.info, app.caption, app.markdown, app.code, app.exception)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def assert_our_fault(app: AppTest, caplog) -> None:
    assert [error.value.replace("\\", "") for error in app.error] == [SENTENCE]
    assert not app.exception
    assert "secret" not in everything(app)
    assert "Traceback" not in everything(app)
    assert "ZeroDivisionError: a secret of ours" in caplog.text
    assert "in broken" in caplog.text  # the traceback's last line


@pytest.fixture
def tiny(app, checkpoints, tiny_run) -> AppTest:
    tiny_run(checkpoints / "tiny")
    return app.run()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_fails_says_so_and_keeps_what_is_around_it(tiny, page, monkeypatch, caplog):
    monkeypatch.setattr(frame, "require", broken)
    tiny.switch_page(f"pages/{page}.py").run()
    assert_our_fault(tiny, caplog)
    assert tiny.sidebar.selectbox[0].value == "tiny"


def test_a_part_that_is_drawn_alone_says_so_in_its_place(tiny, monkeypatch, caplog):
    monkeypatch.setattr("vae.ui.live.manual_q.of_point", broken)
    tiny.run()
    assert_our_fault(tiny, caplog)
    assert stated_terms(tiny)  # the rest of the page
    assert tiny.get("plotly_chart")


def test_a_sidebar_that_fails_leaves_the_page(tiny, monkeypatch, caplog):
    monkeypatch.setattr(frame, "_model_card", broken)
    tiny.run()
    assert_our_fault(tiny, caplog)
    assert stated_terms(tiny)


def test_a_button_whose_work_fails_leaves_the_page_as_it_was(tiny, monkeypatch, caplog):
    tiny.switch_page("pages/train.py").run()
    monkeypatch.setattr(folders, "discard", broken)
    next(button for button in tiny.button if button.label == "Delete").click().run()
    assert_our_fault(tiny, caplog)
    assert tiny.selectbox(key="watched").value == "tiny"


def test_what_a_person_can_put_right_is_said_in_its_words(tiny, monkeypatch, caplog):
    def refuse(*arguments):
        raise UserError("the film (=<b>) cannot be shown")

    monkeypatch.setattr(charts, "film", refuse)
    tiny.switch_page("pages/train.py").run()
    (error,) = tiny.error
    assert error.value.replace("\\", "") == "the film (=<b>) cannot be shown"
    assert "Traceback" not in caplog.text
