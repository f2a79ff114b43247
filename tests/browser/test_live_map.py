"""What a hand does on the latent map: hover, click, drag, follow."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from browser.driver import (
    EMPTY,
    Map,
    Panel,
    count_redraws,
    decoded,
    dragged,
    is_of,
    middle,
    settled,
    stated_on,
)
from PIL import Image
from playwright.sync_api import Page, expect
from sklearn.decomposition import PCA

from vae.analysis.embedding import embed
from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.runs import checkpoint


@pytest.mark.slow
def test_hovering_decodes_what_the_axes_say_also_after_a_zoom_and_a_pan(new_page, model):
    page = new_page("/?run=digits-2d")
    plot, panel = Map(page), Panel(page)
    thumb = page.locator(".elbo-thumb")
    expect(thumb).to_be_hidden()

    def hover_decodes(x: float, y: float) -> None:
        page.mouse.move(x - 9, y + 9)
        page.mouse.move(x, y)
        expect(thumb).to_be_visible()
        panel.rest()
        z = plot.z(x, y)
        said = re.findall(r"-?\d+\.\d+", thumb.inner_text().replace("−", "-"))
        # Two decimals, and up to a pixel between what the mouse and the pointer event say.
        assert [float(number) for number in said] == pytest.approx(z, abs=0.012)
        assert np.abs(panel.image(".elbo-thumb canvas") - decoded(model, z)).max() <= 1.5

    centre = plot.at(0, 0)
    q = panel.q
    for dx, dy in ((-180, -140), (150, 120), (-7, 60)):
        hover_decodes(centre[0] + dx, centre[1] + dy)
    page.mouse.move(*middle(page.locator("canvas.mean")))
    expect(thumb).to_be_hidden()

    whole = plot.ranges()
    page.mouse.move(centre[0] + 60, centre[1] - 90)
    for _ in range(3):
        page.mouse.wheel(0, -300)
    plot.rest()
    zoomed = plot.ranges()
    assert zoomed[1] - zoomed[0] < 0.9 * (whole[1] - whole[0])
    hover_decodes(centre[0] - 100, centre[1] + 77)

    with dragged(page, (centre[0] - 100, centre[1] + 77), (83, -61)):
        pass
    plot.rest()
    panned = plot.ranges()
    assert panned[1] - panned[0] == pytest.approx(zoomed[1] - zoomed[0])
    assert panned[0] < zoomed[0]
    hover_decodes(centre[0] + 33, centre[1] - 21)
    assert panel.q == q  # a pan is no click


def test_a_click_in_empty_space_takes_mu_there(new_page):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    sigma = panel.q["sigma"]
    place = plot.at(*EMPTY)
    page.mouse.click(*place)
    panel.text_in_link("mu=")
    assert panel.q["mu"] == pytest.approx(EMPTY, abs=0.01)
    assert panel.q["sigma"] == sigma
    expect(page.get_by_text("Point 100, label 2")).to_be_visible()
    assert middle(panel.handle("mu")) == pytest.approx(place, abs=1)
    assert f"mu={panel.q['mu'][0]:.5g},{panel.q['mu'][1]:.5g}" in page.url.replace("%2C", ",")

    # A field that was typed into follows the next click.
    panel.field("μ₁").fill("0.4")
    assert panel.q["mu"][0] == 0.4
    page.mouse.click(*place)
    settled(page)
    assert panel.q["mu"] == pytest.approx(EMPTY, abs=0.01)
    shown = [float(panel.field(name).input_value()) for name in ("μ₁", "μ₂")]
    assert shown == pytest.approx(EMPTY, abs=0.01)

    # Followed, the pointer takes mu along until a click.
    follow = panel.button("Follow")
    follow.click()
    expect(follow).to_have_attribute("aria-pressed", "true")
    for z in ((0.5, 0.8), EMPTY):
        page.mouse.move(*plot.at(*z))
        panel.rest()
        assert panel.q["mu"] == pytest.approx(z, abs=0.01)
    page.mouse.click(*plot.at(*EMPTY))
    expect(follow).to_have_attribute("aria-pressed", "false")
    page.mouse.move(*plot.at(1, -1))
    panel.rest()
    assert panel.q["mu"] == pytest.approx(EMPTY, abs=0.01)
    page.wait_for_function("() => !location.search.includes('follow')")  # once the server knows


def test_a_click_on_a_point_gives_its_q_and_both_bounds_are_the_stored_terms(
    new_page, model, embedding
):
    page = new_page("/?run=digits-2d&point=3")
    plot, panel = Map(page), Panel(page)
    index = 100
    plot.click(index)
    assert panel.q == is_of(embedding, index)  # before the server has answered
    panel.text_in_link(f"point={index}")
    expect(page.get_by_text(f"Point {index}, label 2")).to_be_visible()
    assert panel.q == is_of(embedding, index)
    assert np.abs(panel.image("canvas.mean") - decoded(model, embedding.mu[index])).max() <= 1
    image = catalogue.load("digits").images[index, 0].numpy()
    assert (panel.image("canvas.given") == image).all()
    stored = [getattr(embedding, name)[index] for name in ("recon", "kl", "neg_elbo")]
    assert panel.bound() == {
        name: pytest.approx(stored, abs=0.011) for name in ("yours", "encoder's")
    }


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_the_hand_does_around_a_click_does_not_undo_the_choice(when, new_page, embedding):
    page = new_page("/?run=digits-2d&point=3")
    plot, panel = Map(page), Panel(page)
    place = plot.place(100)
    if when == "before":
        panel.field("μ₁").fill("0.4")  # it is told of when the field is left, by the click
    page.mouse.click(*place)
    if when == "after":
        panel.button("Resample").click()
    page.wait_for_timeout(600)  # all messages are on their way
    settled(page)
    panel.text_in_link("point=100")
    assert panel.q == is_of(embedding, 100)
    terms = [getattr(embedding, name)[100] for name in ("recon", "kl", "neg_elbo")]
    assert stated_on(page) == pytest.approx(terms, abs=0.006)
    assert ("eps=1" in page.url) == (when == "after")
    page.get_by_role("link", name="Points").click()
    expect(page.get_by_text("Point 100, label 2")).to_be_visible()


def test_a_handle_moves_its_own_part_of_q_and_pans_nothing(new_page):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    ranges = plot.ranges()
    redraws = count_redraws(plot)
    for name in ("mu", "sigma x", "sigma y"):
        handle_moves(page, plot, panel, name)
    q = panel.q
    with dragged(page, middle(panel.handle("mu")), (60, 60)):
        page.keyboard.press("Escape")
        page.mouse.move(300, 300)
        assert panel.q == q
    assert panel.q == q
    assert plot.ranges() == ranges
    assert redraws() == 0


def handle_moves(page: Page, plot: Map, panel: Panel, name: str) -> None:
    before = panel.q
    start = middle(panel.handle(name))
    by = {"mu": (70, -40), "sigma x": (40, 5), "sigma y": (5, -40)}[name]
    with dragged(page, start, by):
        panel.rest()
        q = panel.q
        at = middle(panel.handle(name))
    if name == "mu":
        assert q["mu"] == pytest.approx(plot.z(start[0] + 70, start[1] - 40), abs=0.02)
        assert q["sigma"] == before["sigma"]
        assert at == pytest.approx((start[0] + 70, start[1] - 40), abs=1)
    else:
        moved, other = (0, 1) if name == "sigma x" else (1, 0)
        assert q["mu"] == before["mu"]
        assert q["sigma"][other] == before["sigma"][other]
        assert abs(at[moved] - start[moved]) > 25
        # Twice as far from mu is twice the sigma.
        mu = middle(panel.handle("mu"))[moved]
        times = (start[moved] + by[moved] - mu) / (start[moved] - mu)
        assert q["sigma"][moved] == pytest.approx(times * before["sigma"][moved], rel=0.06)
    panel.text_in_link("mu=")

    keys = {"mu": ("ArrowRight", "ArrowLeft"), "sigma x": ("ArrowRight", "ArrowLeft")}
    there, back = keys.get(name, ("ArrowUp", "ArrowDown"))
    part, place = ("mu", 0) if name == "mu" else ("sigma", int(name == "sigma y"))
    panel.handle(name).press(there)
    assert panel.q[part][place] > q[part][place] + 1e-3
    panel.handle(name).press(back)
    panel.handle(name).press(back)
    assert panel.q[part][place] < q[part][place] - 1e-3
    settled(page)


@pytest.mark.slow
def test_a_q_too_small_to_be_seen_is_shown_enlarged_until_it_is_wide(new_page):
    page = new_page("/?run=digits-2d&point=3&mu=-0.5,0.4&sigma=0.02,0.01")
    Map(page)
    panel, loupe = Panel(page), page.locator(".elbo-loupe")
    expect(loupe).to_be_visible()
    times = int(loupe.inner_text().removeprefix("×"))
    green, shown = page.locator(".elbo-loupe canvas").evaluate(
        """canvas => {
            const {width, height} = canvas, {scaleX, scaleY} = elboRoom.panel.map.axes;
            const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
            const is = (x, y) => data[4 * (y * width + x)] < 60
                && data[4 * (y * width + x) + 1] > 120;
            const half = Array.from({length: width / 2 - 5}, (_, i) => i + 5);
            return [[half.filter((i) => is(width / 2 + i, height / 2)),
                     half.filter((i) => is(width / 2, height / 2 - i))],
                    [0.02 * scaleX, 0.01 * scaleY]];
        }"""
    )
    for lines, sigma in zip(green, shown, strict=True):  # at 1 and at 2 sigma
        assert [lines[0], lines[-1]] == pytest.approx([times * sigma, 2 * times * sigma], abs=2.5)
    field = panel.field("σ₁")
    field.fill("0.9")
    field.press("Enter")
    expect(loupe).to_be_hidden()


def test_the_manifold_is_painted_under_the_points_where_the_axes_are(new_page, model):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    manifold = page.locator(".elbo-manifold")

    def pixels() -> np.ndarray:
        """(H, W, 4), from 0 to 255; nothing before it is painted."""
        url = manifold.evaluate("canvas => canvas.width ? canvas.toDataURL() : ''")
        png = base64.b64decode(url.partition(",")[2])
        return np.array(Image.open(io.BytesIO(png)).convert("RGBA")) if png else np.empty((0, 0, 4))

    def is_of_the_axes() -> None:
        """Each tile of the lattice shows the decode of its own middle."""
        painted = pixels()
        low_x, high_x, low_y, high_y = plot.ranges()
        scale = painted.shape[1] / (high_x - low_x)
        step = 2 ** np.ceil(np.log2(38 / scale))
        found = []
        for i in range(int(low_x // step) + 1, int(high_x // step)):
            for j in range(int(low_y // step) + 1, int(high_y // step)):
                left, top = (i * step - low_x) * scale, (high_y - (j + 1) * step) * scale
                side = step * scale
                tile = painted[round(top) : round(top + side), round(left) : round(left + side)]
                at = ((np.arange(8) + 0.5) * side * 0.88 / 8 + 0.06 * side).astype(int)
                shown = tile[at][:, at]
                if (shown[..., 3] < 255).any():
                    continue  # the legend's place
                wanted = decoded(model, [(i + 0.5) * step, (j + 0.5) * step])
                found.append(np.abs(shown[..., 0] - wanted).mean() < 8)  # at edges one may be off
        assert len(found) > 40
        assert np.mean(found) > 0.95

    assert pixels().size == 0
    panel.button("Manifold").click()
    panel.rest()
    whole = pixels()
    assert (whole[..., 3] == 255).mean() > 0.5
    is_of_the_axes()
    assert plot.plot.evaluate(
        """plot => {
            const [below, points] = [plot.querySelector(".elbo-manifold"),
                                     plot.querySelector(".gl-container")];
            const {DOCUMENT_POSITION_FOLLOWING: later} = Node;
            return Boolean(below.compareDocumentPosition(points) & later);
        }"""
    )
    page.mouse.move(*plot.at(0.5, 0.5))
    page.mouse.wheel(0, -400)
    plot.rest()
    panel.rest()
    assert not np.array_equal(pixels(), whole)
    is_of_the_axes()
    panel.button("Manifold").click()
    panel.rest()
    assert pixels()[..., 3].sum() == 0


def made(server, name: str, latent_dim: int) -> VAE:
    """An untrained model, in a run of that name, whose pictures can be told apart."""
    model = VAE(ModelConfig((1, 8, 8), latent_dim=latent_dim, hidden=(16,)))
    with torch.no_grad():
        for values in model.parameters():
            values *= 2
    run = checkpoint.create(server.checkpoints / name, model.config, TrainConfig("digits", 1))
    checkpoint.save_model(run, model)
    checkpoint.save_embedding(run, embed(model, catalogue.load("digits")))
    return model


def test_one_dimension_is_a_strip_under_the_curves_of_q_and_of_the_prior(new_page, server):
    model = made(server, "line", latent_dim=1)
    page = new_page("/?run=line&point=5&manifold=1&mu=0.5&sigma=0.3")
    plot, panel = Map(page), Panel(page)
    curve = page.locator(".elbo-curve").last
    points = curve.evaluate("line => [...line.points].map(({x, y}) => [x, y])")
    plotted = plot.plot.locator(".nsewdrag").bounding_box()
    z, share = np.array([plot.z(plotted["x"] + x, plotted["y"] + y) for x, y in points]).T
    assert z[np.argmax(share)] == pytest.approx(0.5, abs=0.02)
    assert share == pytest.approx(np.exp(-(((z - 0.5) / 0.3) ** 2) / 2), abs=0.02)

    left, top = middle(panel.handle("mu"))
    with dragged(page, (left, top), (-60, 45)):  # up and down means nothing
        panel.rest()
        assert panel.q["mu"] == pytest.approx([plot.z(left - 60, top)[0]], abs=0.02)
        assert np.abs(panel.image("canvas.mean") - decoded(model, panel.q["mu"])).max() <= 1
    expect(panel.handle("sigma y")).to_be_hidden()
    row = page.locator("canvas.elbo-manifold").evaluate(
        """() => {
            const {isLine, painted} = elboRoom.panel.map.tiles;
            return [isLine, [...painted.keys()].every((key) => key.endsWith(",0")), painted.size];
        }"""
    )
    assert row[:2] == [True, True]
    assert row[2] > 3


@pytest.mark.slow
def test_four_dimensions_are_decoded_on_a_plane_of_principal_components(new_page, server):
    model = made(server, "four", latent_dim=4)
    embedding = embed(model, catalogue.load("digits"))
    plane = PCA(2, svd_solver="covariance_eigh").fit(embedding.mu)

    page = new_page("/?run=four&point=5&axes=principal+components")
    plot, panel = Map(page), Panel(page)
    expect(page.locator(".live summary")).to_have_text("The other 2 dimensions")
    mu = np.array(panel.q["mu"])
    (at,) = plane.transform(mu[None])
    left, top = middle(panel.handle("mu"))
    assert (left, top) == pytest.approx(plot.at(*at), abs=1)
    for name in ("sigma x", "sigma y"):
        expect(panel.handle(name)).to_be_hidden()  # no axis of the map is a dimension

    page.mouse.move(left + 130, top - 90, steps=2)
    panel.rest()
    by = np.array(plot.z(left + 130, top - 90)) - at
    z = mu + by @ plane.components_  # what the map does not show stays as in q
    shown = panel.image(".elbo-thumb canvas")
    assert np.abs(shown - decoded(model, mu)).max() > 5
    assert np.abs(shown - decoded(model, z)).max() <= 1.5
    with dragged(page, (left, top), (130, -90)):
        panel.rest()
        assert panel.q["mu"] == pytest.approx(z, abs=0.02)

    page = new_page("/?run=four&point=5&axis_x=z4&axis_y=z2")
    plot, panel = Map(page), Panel(page)
    expect(page.locator(".live .name").first).to_have_text("z₄")
    before = panel.q
    with dragged(page, middle(panel.handle("sigma x")), (40, 0)):
        panel.rest()
        sigma = panel.q["sigma"]
    assert sigma[3] > before["sigma"][3] + 0.01
    assert (panel.q["mu"], sigma[:3]) == (before["mu"], before["sigma"][:3])
    page.locator(".live summary").click()
    panel.field("μ₁").fill("2")
    assert panel.q["mu"] == [2, *before["mu"][1:]]
