"""Who comes for the first time is shown five things to do, and a dotted word says what it means."""

import re

import pytest
from browser.driver import Map, Panel, dragged, middle, ring
from playwright.sync_api import Page, expect

from vae.lessons.glossary import GLOSSARY


def step(page: Page, n: int) -> None:
    expect(page.locator(".coach .seed")).to_have_text(f"{n} of 5")


@pytest.mark.slow
def test_each_step_goes_on_once_it_has_been_done(new_page):
    page = new_page("/?run=digits-2d&point=100", new=True)
    plot, panel = Map(page), Panel(page)
    step(page, 1)
    page.mouse.move(*plot.at(0.5, 0.5))
    step(page, 2)
    with dragged(page, middle(panel.handle("mu")), (40, -30)):
        step(page, 3)
    with dragged(page, middle(panel.handle("sigma x")), (25, 0)):
        step(page, 4)
        page.mouse.move(*(place + 12 for place in middle(panel.handle("sigma x"))))
        step(page, 5)
    panel.button("Draw").click()
    path = ring(page)
    page.mouse.move(*path[0])
    page.mouse.down()
    for place in path[1:]:
        page.mouse.move(*place)
    page.mouse.up()
    expect(page.locator(".coach")).to_be_hidden()


@pytest.mark.slow
def test_it_is_not_shown_twice_but_whenever_it_is_asked_for(new_page):
    page = new_page("/?run=digits-2d&point=100", new=True)
    panel = Panel(page)
    page.locator(".coach").get_by_role("button", name="Close").click()
    page.reload()
    panel = Panel(page)
    panel.rest()
    expect(page.locator(".coach")).to_be_hidden()
    page.get_by_role("button", name="What can be done here").click()
    for n in range(1, 6):
        step(page, n)
        page.locator(".coach").get_by_role("button", name=re.compile("Next|Done")).click()
    expect(page.locator(".coach")).to_be_hidden()


@pytest.mark.parametrize(
    "how", ["mouse", *(pytest.param(how, marks=pytest.mark.slow) for how in ("keyboard", "finger"))]
)
def test_a_word_says_what_it_means_and_where_it_comes_from(new_page, how):
    touch = {"has_touch": True} if how == "finger" else {}
    page = new_page("/?run=digits-2d&point=100", **touch)
    Panel(page).rest()
    word, note = (
        page.locator(".bound button.word", has_text="KL"),
        page.locator(".st-key-live .note"),
    )
    expect(note).to_be_hidden()
    if how == "mouse":
        word.hover()
    elif how == "keyboard":
        word.focus()
    else:
        word.tap()
    expect(note).to_contain_text("What it costs that q differs from the prior")
    expect(note).to_contain_text("½ Σ (μ² + σ² − 1 − log σ²)")
    box = note.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= page.viewport_size["width"]
    page.keyboard.press("Escape")
    expect(note).to_be_hidden()
    word.click()
    note.get_by_role("link").click()
    expect(
        page.get_by_role("heading", name="How far is one Gaussian from another?")
    ).to_be_visible()
    assert "point=100" in page.url


@pytest.mark.slow
def test_the_words_of_the_maps_caption_are_explained_by_mouse_and_keyboard(new_page):
    page = new_page("/?run=digits-2d")
    caption = page.locator(".st-key-map_words")
    note = caption.locator(".note")
    expect(note).to_be_hidden()
    for name in ("q", "posterior", "prior", "manifold"):
        word = caption.get_by_role("button", name=name, exact=True)
        word.hover()
        expect(note).to_contain_text(GLOSSARY[name].sentence)
        expect(note).to_contain_text(GLOSSARY[name].equation)
        expect(note).to_be_in_viewport(ratio=1)
        page.mouse.move(5, 5)
        expect(note).to_be_hidden()
        word.focus()
        expect(note).to_be_visible()
        page.keyboard.press("Escape")
        expect(note).to_be_hidden()
