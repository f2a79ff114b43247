"""A file of nobody's library is dropped, its card read, and another reading tried by hand."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from browser.driver import Map, Panel, decoded, put, settled
from formats import strangers
from playwright.sync_api import Page, expect


def opened(new_page, file: Path) -> Page:
    """Explore, to which a file was given."""
    page = new_page("/")
    expect(page.get_by_text("359 images at their μ")).to_be_visible()
    put(page, file)
    return page


@pytest.mark.slow
def test_a_decoder_alone_gives_a_map_and_answers_the_hand(new_page, model, tmp_path):
    state = {name: t for name, t in strangers.state_dict().items() if name.startswith("dec")}
    torch.save(state, tmp_path / "half.pt")
    page = opened(new_page, tmp_path / "half.pt")
    expect(page.get_by_text("is a decoder alone: it holds no encoder")).to_be_visible()
    expect(page.get_by_text("q, as there is no encoder, near the posterior")).to_be_visible()
    settled(page)
    page.keyboard.press("Escape")
    plot, panel = Map(page), Panel(page)
    page.mouse.move(*plot.at(0.5, -0.5))
    panel.field("μ₁").fill("0.5")
    panel.rest()
    shown = panel.image("canvas.mean")
    # GELU or SiLU: the data leave it open, and both give nearly the same picture.
    assert np.abs(shown - decoded(model, panel.q["mu"])).mean() < 6
    expect(panel.button("Draw")).to_have_count(0)  # there is no encoder to read a drawing


@pytest.mark.slow
def test_an_unknown_file_is_dropped_and_read_otherwise(new_page, tmp_path):
    torch.save(strangers.state_dict(), tmp_path / "stranger.pt")
    page = opened(new_page, tmp_path / "stranger.pt")
    expect(page.get_by_text("Only you see this checkpoint")).to_be_visible()
    page.keyboard.press("Escape")  # the popover of the field would take the next click
    card = page.get_by_test_id("stSidebar").get_by_test_id("stExpander").last
    expect(card).to_contain_text("How it was read")
    settled(page)
    card.locator("summary").click()
    page.wait_for_timeout(1500)  # it unfolds: what is clicked must stand still
    expect(card).to_contain_text(re.compile(r"By the data, better by [\d.]+ nats per image"))
    cost = page.locator(".st-key-heading p")
    right = cost.inner_text()

    box = card.get_by_role("combobox", name=re.compile("Input"))
    box.scroll_into_view_if_needed()
    page.wait_for_timeout(800)  # a list that is open closes when its box is scrolled
    box.click()
    page.get_by_role("option", name="[-1, 1]", exact=True).click()
    expect(page.get_by_text("Do not trust the numbers below")).to_be_visible()
    choices = page.locator(".st-key-which_reading").get_by_role("button", name="This one")
    expect(choices.nth(1)).to_be_visible()
    expect(cost).not_to_have_text(right)

    choices.nth(1).click()
    expect(page.get_by_text("Do not trust the numbers below")).to_have_count(0)
    expect(cost).to_have_text(right)
