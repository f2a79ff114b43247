"""What a hand does with a model that has a condition."""

import numpy as np
import pytest
import torch
from browser.driver import Map, Panel, decoded, middle, settled, stated_on
from playwright.sync_api import Page, expect

from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.live import export
from vae.runs import job
from vae.runs.checkpoint import open_run

LINK = "/?run=classes&point=3"


@pytest.fixture(scope="module", autouse=True)
def classes(server) -> None:
    """A small run with the label as condition, beside those that ship."""
    train = TrainConfig("digits", 12, 64, condition="label")
    list(job.train(server.checkpoints / "classes", ModelConfig((1, 8, 8), hidden=(48,)), train))


@pytest.fixture(scope="module")
def model(server, classes) -> VAE:
    return open_run(server.checkpoints / "classes").load_model()


def button(page: Page, name: str):
    group = page.locator(".live").get_by_role("group", name="given class")
    return group.get_by_role("button", name=name, exact=True)


def assert_shows(panel: Panel, model: VAE, label: int) -> None:
    panel.rest()
    found = panel.image("canvas.mean")
    assert np.abs(found - decoded(model.given(label), panel.q["mu"])).max() <= 1


@pytest.mark.slow
def test_a_class_answers_while_the_hand_is_dragged_and_the_page_follows(new_page, model, server):
    page = new_page(LINK)
    panel = Panel(page)
    Map(page)
    own = int(open_run(server.checkpoints / "classes").load_embedding().labels[3])
    assert_shows(panel, model, own)
    pressed = button(page, "own label")
    expect(pressed).to_have_attribute("aria-pressed", "true")
    before, runs = panel.q, page.url
    page.mouse.move(*middle(button(page, "0")))
    page.mouse.down()
    pictures = set()
    for label in range(10):
        page.mouse.move(*middle(button(page, str(label))), steps=2)
        assert_shows(panel, model, label)
        pictures.add(panel.canvas("mean"))
    assert len(pictures) == 10
    assert page.url == runs  # nothing was sent while it was held
    assert panel.q == before
    page.mouse.move(*middle(button(page, "7")), steps=2)
    page.mouse.up()
    panel.text_in_link("class=7")
    settled(page)
    expect(page.get_by_text("Given class 7.").first).to_be_visible()
    assert_shows(panel, model, 7)
    sidebar = page.get_by_test_id("stSidebar")
    chosen = sidebar.get_by_role("radio", name="7", exact=True).or_(
        sidebar.get_by_role("button", name="7", exact=True)
    )
    expect(chosen.first).to_be_visible()


@pytest.mark.slow
def test_a_link_to_a_class_and_back_to_own_labels(new_page, model, server):
    page = new_page(LINK + "&class=4")
    panel = Panel(page)
    assert_shows(panel, model, 4)
    terms = stated_on(page)
    button(page, "own label").click()
    panel.text_in_link("class=own")
    settled(page)
    embedding = open_run(server.checkpoints / "classes").load_embedding()
    assert_shows(panel, model, int(embedding.labels[3]))
    own = stated_on(page)
    assert own[0] == pytest.approx(float(embedding.recon[3]), abs=0.006)
    assert own != terms


def test_another_point_is_decoded_under_its_own_label_at_once(new_page, model, server):
    page = new_page(LINK)
    panel, plot = Panel(page), Map(page)
    embedding = open_run(server.checkpoints / "classes").load_embedding()
    other = int(np.flatnonzero(embedding.labels != embedding.labels[3])[5])
    plot.click(other)
    label = page.evaluate("elboRoom.panel.scene.model.label")
    chosen = page.evaluate("elboRoom.panel.selection.index")
    assert label == embedding.labels[chosen]
    panel.text_in_link(f"point={chosen}")
    settled(page)
    assert_shows(panel, model, int(embedding.labels[chosen]))


def test_the_page_to_take_away_has_the_classes(browser, model, server, tmp_path):
    path = tmp_path / "classes.html"
    export.write(path, export.of_run(open_run(server.checkpoints / "classes")).page())
    context = browser.new_context(offline=True)
    try:
        page = context.new_page()
        page.goto(path.as_uri())
        panel = Panel(page)
        button(page, "6").click()
        assert_shows(panel, model, 6)
        z = torch.tensor(panel.q["mu"])
        page.locator(".live").get_by_role("group", name="given class").get_by_role(
            "button", name="1", exact=True
        ).press("Enter")
        assert_shows(panel, model, 1)
        assert torch.equal(torch.tensor(panel.q["mu"]), z)
    finally:
        context.close()
