"""Names are shown to the letter, and none is a link or an image, in the browser itself."""

import pytest
from browser.driver import settled
from browser.server import Server
from hostile_names import CLASSES, MARK, RUNS, make


@pytest.fixture(scope="module")
def hostile(server) -> Server:
    make(server.checkpoints, server.data)
    return server


@pytest.mark.parametrize(
    "page", ["compare", *(pytest.param(p, marks=pytest.mark.slow) for p in ("points", "train"))]
)
def test_no_name_becomes_an_element(hostile, new_page, page):
    shown = new_page(f"/{page}?run={RUNS[0].replace('&', '%26').replace(' ', '+')}")
    settled(shown)
    # Links of ours may hold a name in their query; none leads to a place that a name gives.
    places = shown.evaluate(
        "[...document.querySelectorAll('a, img, iframe')].map((e) => e.href || e.src || '')"
        ".map((address) => new URL(address, location))"
        ".map((address) => address.protocol + address.host + address.pathname)"
    )
    assert not [place for place in places if MARK in place]
    for mark in (".katex", "em", "del"):
        assert shown.locator(f"{mark}:has-text('{MARK}')").count() == 0


def test_names_are_shown_to_the_letter(hostile, new_page):
    shown = new_page(f"/points?run={RUNS[0].replace('&', '%26').replace(' ', '+')}&point=0")
    settled(shown)
    heading = shown.get_by_role("heading", name="Point 0, label")
    text = heading.inner_text().replace("\u2060", "")
    assert text.startswith("Point 0, label ")
    assert text.removeprefix("Point 0, label ").strip() in CLASSES
