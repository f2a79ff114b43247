"""What cannot be run, is not finished, or is named as markup."""

import json
import re
import shutil
from collections.abc import Iterator

import pytest
from browser.driver import TSNE, UMAP_LIKE, Map, Panel, choose_axes, laid_out, settled
from browser.server import Server
from playwright.sync_api import expect

from vae.analysis.embedding import Embedding
from vae.runs import checkpoint

NASTY = "<img src=x onerror=globalThis.hit=1>"  # a folder's name can have no slash


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, tiny_run) -> Iterator[Server]:
    """A server with two models that no browser can run, and endless work; see serve_with_faults."""
    checkpoints = tmp_path_factory.mktemp("faulty") / "checkpoints"
    tiny_run(checkpoints / "three", latent_dim=3)
    for activation in ("tanh", "silu"):
        config = tiny_run(checkpoints / activation).path / "config.json"
        written = json.loads(config.read_text())
        written["model"]["activation"] = activation
        config.write_text(json.dumps(written))
    running = Server(checkpoints, "serve_with_faults.py")
    yield running
    running.stop()


@pytest.mark.slow
def test_a_layer_that_no_browser_runs_is_named_and_the_server_decodes(new_page, faulty):
    page = new_page("/?run=tanh", faulty)
    said = page.get_by_text(re.compile(r"layer body\.\d+ \(LogSigmoid\) has no browser version"))
    expect(said).to_be_visible()
    expect(page.locator(".live")).to_have_count(0)
    Map(page)
    settled(page)
    picture = page.get_by_test_id("stImage").filter(has_text="decoded at z = μ").locator("img")
    before = picture.screenshot()
    slider = page.get_by_test_id("stSlider").first.get_by_role("slider")
    for _ in range(40):
        slider.press("ArrowRight")
    page.wait_for_timeout(300)
    settled(page)
    assert picture.screenshot() != before
    page.get_by_role("button", name="Resample").click()
    expect(page.get_by_text("seed 1")).to_be_visible()


@pytest.mark.slow
def test_weights_that_do_not_fit_are_one_sentence_and_the_page_lives(new_page, faulty):
    page = new_page("/?run=silu&point=5", faulty)
    problem = page.locator(".live .problem")
    expect(problem).to_contain_text("The network's program and its weights disagree")
    assert problem.inner_text().count(".") == 1
    expect(page.locator("canvas.mean")).to_be_hidden()
    expect(page.locator(".st-key-heading p")).to_contain_text("recon")
    plot = Map(page)
    page.mouse.move(*plot.at(0, 0))
    expect(page.locator(".elbo-thumb")).to_be_hidden()
    settled(page)
    page.get_by_label("Point, 0 to").fill("6")
    page.get_by_label("Point, 0 to").press("Enter")
    expect(page.locator(".st-key-heading p")).to_contain_text("Point 6, ")
    expect(problem).to_be_visible()
    page.get_by_role("link", name="Points").click()
    expect(page.get_by_text("Point 6, label")).to_be_visible()


@pytest.mark.slow  # on Explore without a browser: tests/pages/test_layouts.py
def test_a_layout_can_be_cancelled_and_begun_again(new_page, faulty):
    page = new_page("/?run=three", faulty)
    Map(page)
    for begin in (
        lambda: choose_axes(page, UMAP_LIKE),
        lambda: page.get_by_role("button", name="Compute UMAP-like").click(),
    ):
        begin()
        expect(
            page.get_by_text(re.compile(r"UMAP-like of 359 points, step 2 of 3"))
        ).to_be_visible()
        expect(page.get_by_text("PC 1 of μ")).to_be_visible()
        assert page.evaluate("elboRoom.panel.scene.plane !== null")
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("UMAP-like was cancelled.")).to_be_visible()
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    choose_axes(page, TSNE)
    laid_out(page)
    expect(page.get_by_role("button", name="Compute UMAP-like")).to_have_count(0)


@pytest.mark.slow
def test_names_are_never_markup(new_page, server, run):
    copied = server.checkpoints / NASTY
    shutil.copytree(run.path, copied)
    own = checkpoint.open_run(copied)
    names = tuple(f"{NASTY}{label}" for label in range(10))
    checkpoint.save_embedding(
        own, Embedding(**{**vars(own.load_embedding()), "class_names": names})
    )
    page = new_page("/?point=100&run=" + NASTY.replace("=", "%3D").replace(" ", "%20"))
    expect(page.get_by_label("Checkpoint")).to_have_value(re.compile(f"^{re.escape(NASTY)} "))
    plot, panel = Map(page), Panel(page)
    expect(page.get_by_text(f"Point 100, label {NASTY}2")).to_be_visible()
    expect(plot.plot.locator(".legendtext").first).to_have_text(f"{NASTY}0")
    page.mouse.move(*plot.place(3), steps=3)  # q's handle covers the chosen point
    expect(plot.plot.locator(".hoverlayer .hovertext")).to_contain_text(NASTY)
    panel.button("Draw").click()
    panel.button("Draw").click()
    page.get_by_role("link", name="Points").click()
    expect(page.get_by_text("Point 100, label")).to_be_visible()
    assert page.locator("img[src='x']").count() == 0
    assert page.evaluate("globalThis.hit") is None
    shutil.rmtree(copied)
