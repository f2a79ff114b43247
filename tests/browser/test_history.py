"""The browser's history: a visited page is one entry, and Back and Forward show what it says."""

import shutil

import pytest
from browser.driver import settled
from browser.server import ROOT
from playwright.sync_api import Page, expect

from vae.ui.faults import SENTENCE

PAGES = (
    *("Points", "Traverse", "Train", "Inference", "Learn", "Gaussians", "Diagnose", "Compare"),
    "Explore",
)


@pytest.fixture(scope="module")
def server(server):
    """With two checkpoints to compare."""
    shutil.copytree(ROOT / "checkpoints" / "digits-2d", server.checkpoints / "another")
    return server


def visit(page: Page, name: str) -> None:
    sidebar = page.get_by_test_id("stSidebar")
    sidebar.get_by_role("link", name=name, exact=True).click()
    settled(page)


def chosen(page: Page) -> list[str]:
    """Of each of the page's groups of buttons, the one that is chosen: there must be one."""
    expect(page.get_by_text(SENTENCE)).to_have_count(0)
    groups = page.get_by_test_id("stMain").get_by_role("radiogroup")
    return [group.get_by_role("radio", checked=True).inner_text() for group in groups.all()]


@pytest.mark.slow
def test_back_and_forward_restore_every_choice_and_a_page_is_one_entry(new_page, server):
    server.restart()
    names = set()
    # In a window of its own: Chromium remembers 50 entries of a tab and no more.
    page = new_page("/traverse?run=digits-2d", color_scheme="light")
    sidebar = page.get_by_test_id("stSidebar")
    while "Traverse" not in names:  # a cold server's own navigation names the files
        links = sidebar.locator("a").all_inner_texts()
        names |= {text.split()[-1] for text in links if text.strip()}  # an icon's is before it
        page.wait_for_timeout(20)
    assert names == set(PAGES)
    settled(page)
    entries = page.evaluate("history.length")
    for name in PAGES:
        visit(page, name)
        entries += 1
        assert page.evaluate("history.length") == entries
        first = chosen(page)
        if name in ("Train", "Gaussians"):  # what is chosen there is in no link
            continue
        page.evaluate("location.hash = 'again'")  # an entry of the same page
        entries += 1
        for group in page.get_by_test_id("stMain").get_by_role("radiogroup").all():
            group.get_by_role("radio").last.click()
            settled(page)
        last = chosen(page)
        if name == "Learn":  # for 3 s the link before is taken for one that came late
            page.wait_for_timeout(3000)
        assert first != last or name == "Explore"  # the map of a plane has one colour
        page.go_back()
        settled(page)
        assert chosen(page) == first
        page.go_forward()
        settled(page)
        assert chosen(page) == last
