"""Explore gives its view to a class: a page at a short address, until it is taken down."""

import base64
import gzip
import json
import re
import shutil
import sys
from types import SimpleNamespace

import pytest
import streamlit as st
from pages.conftest import APP

from vae.live import class_pages, export
from vae.runs import makers
from vae.ui import exported

GIVE = "Give it to the class"


@pytest.fixture(autouse=True)
def served(monkeypatch):
    """The server was started by `streamlit run app.py`."""
    monkeypatch.setitem(sys.modules, "app", SimpleNamespace(app=st.App(APP)))


def press(app, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()


def opening_of(page: class_pages.ClassPage) -> dict:
    """What the page was told to show first."""
    text = gzip.decompress(page.path.read_bytes()).decode()
    (packed,) = re.findall(r'id="part-page">([^<]*)<', text)
    return json.loads(gzip.decompress(base64.b64decode(packed)))["opening"]


def test_the_page_opens_on_the_view_that_was_given(app, checkpoints, tiny_run):
    tiny_run(checkpoints / "tiny")
    view = {"run": "tiny", "point": "7", "colour": "KL", "mu": "0.5,-1", "sigma": "0.2,0.3"}
    for name, value in {**view, "manifold": "1", "samples": "9"}.items():
        app.query_params[name] = value
    app.run()
    press(app, GIVE)
    assert not app.exception
    (page,) = class_pages.all_pages()
    assert (page.run, page.title) == ("tiny", "point 7 of digits")
    opening = opening_of(page)
    assert (opening["point"], opening["colour"]) == (7, "KL")
    assert opening["q"]["mu"] == [0.5, -1]
    assert opening["settings"]["manifold"]
    assert opening["settings"]["S"] == 9
    assert any(f"/class/{page.code}" in code.value for code in app.code)
    press(app, GIVE)
    assert class_pages.all_pages()[0].code == page.code  # of the same view there is one
    press(app, "Take it down")
    assert class_pages.all_pages() == []
    assert makers.maker_of(page.path) is None


def test_a_server_that_was_started_in_another_way_says_so(explore, monkeypatch):
    monkeypatch.delitem(sys.modules, "app")
    press(explore, GIVE)
    assert "not started by" in explore.error[0].value
    assert class_pages.all_pages() == []


def test_where_nothing_may_be_changed_nothing_is_given(explore, monkeypatch):
    monkeypatch.setenv("VAE_READ_ONLY", "1")
    explore.run()
    assert GIVE not in {button.label for button in explore.button}


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("VAE_MOST_CLASS_PAGES", "1 pages that are given to a class, and 0 are allowed"),
        ("VAE_MOST_CLASS_MB", "megabytes of the pages that are given to a class, and 0"),
        ("VAE_LEAST_FREE_MB", "must stay free"),
    ],
)
def test_a_refusal_is_a_sentence_and_leaves_nothing(explore, limit, said, monkeypatch):
    monkeypatch.setenv(limit, "0" if limit != "VAE_LEAST_FREE_MB" else str(10**12))
    press(explore, GIVE)
    assert said in explore.error[0].value
    assert limit in explore.error[0].value.replace("\\", "")
    assert class_pages.all_pages() == []


def test_what_another_gave_is_theirs_but_for_the_owner(explore, connection, monkeypatch):
    other = class_pages.add("<p>", "point 1 of digits", "gone")
    makers.mark(other.path, "somebody else")
    connection.remote_ip = "10.0.0.9"
    press(explore, GIVE)
    key = f"take_down_{other.code}"
    assert key not in {button.key for button in explore.button}
    connection.remote_ip = "127.0.0.1"  # at the server's own computer
    explore.run()
    press(explore, GIVE)
    assert any("no longer here; the page holds its model" in m.value for m in explore.markdown)
    explore.button(key=key).click().run()
    assert class_pages.find(other.code) is None
    assert len(class_pages.all_pages()) == 1


def test_a_page_whose_checkpoint_was_deleted_is_still_there(explore, checkpoints):
    press(explore, GIVE)
    (page,) = class_pages.all_pages()
    shutil.rmtree(checkpoints / "tiny")
    assert class_pages.find(page.code) == page
    assert "no longer here" in exported._said(page)


def test_the_stage_shows_what_was_given_last(explore, checkpoints):
    press(explore, GIVE)
    explore.run()
    told = json.loads(
        next(c for c in explore.get("bidi_component") if "class_page" in c.proto.json).proto.json
    )
    assert told["class_page"]["address"].endswith(class_pages.all_pages()[0].code)
    assert told["class_page"]["picture"].startswith("data:image/svg")


def test_a_model_that_is_too_large_is_not_offered_and_says_why(explore, monkeypatch):
    monkeypatch.setattr(export, "MOST_BYTES", 1000)
    explore.run()
    assert GIVE not in {button.label for button in explore.button}
    assert any("this would be 2 MB" in caption.value for caption in explore.caption)
