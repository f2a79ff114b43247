"""A network that takes longer than a frame is run by a worker, or without WebAssembly."""

import numpy as np
import pytest
import torch
from browser.driver import Map, Panel, dragged, settled
from playwright.sync_api import Page, expect

from vae.analysis.embedding import embed
from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.runs import checkpoint

NO_WEBASSEMBLY = "delete globalThis.WebAssembly;"
SIDE = 96


@pytest.fixture(scope="module")
def slow(server) -> VAE:
    """An untrained model of large pictures, in a run of that name; its map is that of another."""
    model = VAE(ModelConfig((3, SIDE, SIDE), family="conv", hidden=(96, 192, 384)))
    with torch.no_grad():
        for values in model.decoder.parameters():
            values *= 3
    run = checkpoint.create(server.checkpoints / "slow", model.config, TrainConfig("digits", 1))
    checkpoint.save_model(run, model)
    small = VAE(ModelConfig((1, 8, 8), hidden=(8,)))
    checkpoint.save_embedding(run, embed(small, catalogue.load("digits")))
    return model


def shows(page: Page, panel: Panel, model: VAE) -> None:
    """The decoded mean on the screen is that of torch."""
    panel.rest()
    mu = torch.tensor([panel.q["mu"]])
    with torch.no_grad():
        expected = 255 * model.decode_mean(mu)[0, 0]  # red
    shown = panel.image("canvas.mean", SIDE, SIDE)
    # The canvas has other pixels than the picture.
    assert np.abs(shown - expected.numpy()).mean() < 3


@pytest.mark.slow
def test_a_slow_network_is_run_by_a_worker_and_the_newest_q_wins(new_page, slow):
    page = new_page("/?run=slow&mu=0.5,0.2")
    panel = Panel(page)
    assert page.evaluate("elboRoom.panel.scene.model.remote !== null")
    assert len(page.workers) == 1
    shows(page, panel, slow)
    asked = """() => {
        const {worker} = elboRoom.panel.scene.model.remote;
        const post = worker.postMessage.bind(worker);
        globalThis.asked = 0;
        worker.postMessage = (question) => { asked++; post(question); };
    }"""
    page.evaluate(asked)
    with dragged(page, panel.thumb("μ₁"), (-60, 0), steps=40):
        # The numbers follow the hand at once, while no more is asked than is answered.
        assert page.evaluate("elboRoom.panel.scene.model.remote.waiting.size") <= 2
        shows(page, panel, slow)
    plot = Map(page)
    page.mouse.move(*plot.at(0.4, -0.3))
    expect(page.locator(".elbo-thumb")).to_be_visible()
    panel.rest()
    assert page.evaluate("asked") > 2
    # recon of as many samples as there are is there, too.
    panel.button("Manifold").click()
    panel.rest()
    assert page.evaluate("elboRoom.panel.map.tiles.painted.size") > 10


def test_a_worker_that_dies_is_one_sentence_and_the_page_goes_on(new_page, slow):
    page = new_page("/?run=slow&mu=-0.5,0.7")
    panel = Panel(page)
    page.evaluate("elboRoom.panel.scene.model.remote.worker.postMessage({network: 'none'})")
    expect(page.locator(".live .problem")).to_have_text(
        "The worker that decodes has stopped: this page goes on by itself, less smoothly."
    )
    with dragged(page, panel.thumb("μ₁"), (50, 0)):
        shows(page, panel, slow)
    assert page.evaluate("elboRoom.panel.scene.model.remote === null")
    settled(page)


def test_a_browser_without_webassembly_decodes_the_same(new_page, model):
    page = new_page("/?run=digits-2d&point=5&mu=0.5,0.2", script=NO_WEBASSEMBLY)
    panel = Panel(page)
    with dragged(page, panel.thumb("μ₁"), (50, 0)):
        panel.rest()
        mu = torch.tensor([panel.q["mu"]])
        with torch.no_grad():
            expected = 255 * model.decode_mean(mu)[0, 0]
        assert np.abs(panel.image("canvas.mean") - expected.numpy()).max() <= 1
    expect(page.locator(".live .problem")).to_be_hidden()


@pytest.mark.slow
def test_a_slow_network_without_webassembly_says_what_would_help(new_page, slow):
    page = new_page("/?run=slow&mu=0.5,0.2", script=NO_WEBASSEMBLY)
    expect(page.locator(".live .problem")).to_contain_text("does not run WebAssembly")
    shows(page, Panel(page), slow)
