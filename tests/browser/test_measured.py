"""What a hand does with a model of vectors or series, in Chromium."""

import numpy as np
import pytest
import torch
from browser.driver import Map, Panel, dragged
from playwright.sync_api import Page, expect

from vae.config import SERIES, VECTOR, ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.runs import checkpoint, job


def trained(server, name: str, **settings) -> checkpoint.Run:
    """A run of that data set, trained for a moment."""
    source = catalogue.describe(name)
    data = {"image_shape": source.image_shape, "kind": source.kind, "features": source.features}
    path = server.checkpoints / name
    for _ in job.train(path, ModelConfig(**data, **settings), TrainConfig(name, epochs=3), "cpu"):
        pass
    return checkpoint.open_run(path)


@pytest.fixture(scope="module")
def wine(server) -> checkpoint.Run:
    return trained(server, "wine", likelihood="mixed", hidden=(16,))


@pytest.fixture(scope="module")
def waves(server) -> checkpoint.Run:
    return trained(server, "waves", likelihood="gaussian", family="conv", hidden=(8, 8))


def decoded(page: Page, model: VAE) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the plot under the hand, and that of torch at the q on the panel."""
    shown = page.evaluate("[...elboRoom.panel.plot.mean]")
    with torch.no_grad():
        mean = model.decode_mean(torch.tensor(Panel(page).q["mu"]))
    return np.array(shown), mean.flatten().numpy()


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", [VECTOR, SERIES])
def test_the_plot_follows_the_hand_and_the_bound_is_the_stored_one(new_page, wine, waves, kind):
    run = wine if kind == VECTOR else waves
    page = new_page(f"/?run={run.name}&point=3")
    map_, panel = Map(page), Panel(page)
    panel.rest()
    stored = run.load_embedding()
    assert stored is not None
    recon, kl, neg_elbo = panel.bound()["encoder's"]
    assert recon == pytest.approx(float(stored.recon[3]), abs=0.02, rel=1e-3)
    assert kl == pytest.approx(float(stored.kl[3]), abs=0.02)
    assert neg_elbo == pytest.approx(float(stored.neg_elbo[3]), abs=0.02, rel=1e-3)
    costs = page.evaluate("[...elboRoom.panel.plot.cost]")
    assert sum(costs) == pytest.approx(recon, abs=0.02, rel=1e-3)
    model = run.load_model()
    before = panel.canvas("plot")
    with dragged(page, panel.thumb("μ₁"), (25, 0)):
        panel.rest()
        np.testing.assert_allclose(*decoded(page, model), atol=1e-4)
        assert panel.canvas("plot") != before
    # Samples and the small pictures are plots, too, and the map shows one under the pointer.
    for name in ("samples", "given", "mean"):
        assert len(set(panel.canvas(name))) > 20
    page.mouse.move(*map_.at(0.0, 0.0))
    expect(page.locator(".elbo-thumb")).to_be_visible()
    canvas = page.locator(".elbo-thumb canvas").first
    drawn = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(Boolean)"
    assert canvas.evaluate(drawn)
    panel.button("Manifold").click()
    panel.rest()
    assert page.evaluate("elboRoom.panel.map.tiles.painted.size") > 20


def test_features_stand_by_what_they_cost_and_say_their_values(new_page, wine):
    page = new_page("/?run=wine&point=5")
    panel = Panel(page)
    panel.rest()
    costs, order = (
        np.array(page.evaluate(f"[...elboRoom.panel.plot.{name}]")) for name in ("cost", "order")
    )
    assert (np.diff(costs[order]) <= 1e-6).all()
    data = catalogue.load("wine")
    most = data.features[int(order[0])]
    page.locator("canvas.plot").hover(position={"x": 30, "y": 8})
    caption = page.locator("figure.plot figcaption")
    expect(caption).to_contain_text(most.name)
    own = float(data.images[5, 0, 0, int(order[0])]) * most.scale + most.mean
    expect(caption).to_contain_text(f"x {own:.4g}".rstrip("0").rstrip("."))
    expect(panel.button("Draw")).to_be_hidden()


def test_a_drawn_line_is_read_by_the_encoder(new_page, waves):
    page = new_page("/?run=waves&point=0")
    panel = Panel(page)
    panel.button("Draw").click()
    pad = page.locator("canvas.pad")
    box = pad.bounding_box()
    assert box is not None
    t = np.linspace(0.03, 0.97, 40)
    y = 0.5 - 0.3 * np.exp(-2 * t) * np.sin(2 * np.pi * 2 * t)
    across, down = box["x"] + t * box["width"], box["y"] + y * box["height"]
    places = list(zip(across.tolist(), down.tolist(), strict=True))
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places:
        page.mouse.move(*place)
    page.mouse.up()
    panel.rest()
    x = np.array(page.evaluate("[...elboRoom.panel.selection.drawing.image]"))
    at = (np.arange(128) + 0.5) / 128
    inside = (at > 0.08) & (at < 0.92)
    wanted = 3 - 6 * np.interp(at, t, y)
    assert np.abs(x - wanted)[inside].max() < 0.25
    with torch.no_grad():
        line = torch.tensor(x, dtype=torch.float32).view(1, 1, 1, -1)
        mu, logvar = waves.load_model().encode(line)
    assert panel.q["mu"] == pytest.approx(mu[0].tolist(), abs=1e-3)
    assert panel.q["sigma"] == pytest.approx((logvar[0] / 2).exp().tolist(), rel=1e-3)
    panel.button("Send to Points").click()
    expect(page.get_by_text("Your drawing is on Points.")).to_be_visible()
