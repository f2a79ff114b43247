"""What a hand does on an exported page: opened from disk, with the network off."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from browser.driver import NO_WEBGL, PLACE, Panel, decoded
from browser.server import new_window
from playwright.sync_api import Browser, Frame, Page, expect

from vae.analysis.embedding import Embedding, embed
from vae.config import ModelConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset
from vae.live import export, show

NASTY = "<img src=x onerror=\"globalThis.hit='yes'\">"
HALF = 4  # how far half precision and eight bits may move a pixel


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "a page, ünder #1.html"
    export.write(path, export.of_run(run).page())
    return path


@contextmanager
def tabs(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A tab without a network; at the end nothing may have failed or been asked for."""
    contexts, problems = [], []

    def made(script: str = "", **options) -> Page:
        context = new_window(browser, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: said.type == "error" and problems.append(said.text))
        page.on(
            "request",
            lambda asked: (
                asked.url.startswith(("file:", "data:", "blob:", "about:"))
                or problems.append(f"asked {asked.url}")
            ),
        )
        if script:
            page.add_init_script(script)
        return page

    try:
        yield made
    finally:
        for context in contexts:
            context.close()
    assert not problems


@pytest.fixture
def new_tab(browser) -> Iterator[Callable[..., Page]]:
    with tabs(browser) as made:
        yield made


@pytest.fixture(scope="module")
def shared(browser, exported) -> Iterator[Panel]:
    with tabs(browser) as made:
        page = made()
        page.goto(exported.as_uri())
        yield Panel(page)


@pytest.fixture
def panel(shared) -> Panel:
    """The page in a tab that several tests share, at rest: the encoder's q, and nothing hovered."""
    shared.page.mouse.up()
    shared.page.mouse.move(5, 5)
    if (own := shared.button("Encoder's q")).is_enabled():
        own.click()
    shared.rest()
    return shared


@pytest.fixture
def opened(new_tab, exported) -> Callable[..., Panel]:
    def at(script: str = "", path: Path = exported, **options) -> Panel:
        page = new_tab(script, **options)
        page.goto(path.as_uri())
        return Panel(page)

    return at


def place_of(page: Page | Frame, index: int) -> tuple[float, float]:
    """Where the point of that index is, in pixels of the page or the frame."""
    return tuple(page.locator("#map").evaluate(PLACE, index))


def loneliest(embedding: Embedding, least: float = 0.0) -> int:
    """A point with room around it, so that a click can mean no other."""
    away = np.linalg.norm(embedding.mu[:, None] - embedding.mu[None], axis=-1)
    np.fill_diagonal(away, np.inf)
    inner = np.abs(embedding.mu).max(1) < 2.5
    return int(np.where(inner & (np.arange(len(embedding)) > least), away.min(1), 0).argmax())


def test_the_map_is_there_with_every_point(panel, model, embedding):
    page = panel.page
    expect(page.get_by_role("heading", name="digits-2d")).to_be_visible()
    expect(page.locator("#card")).to_contain_text("trained on: digits")
    types, n = page.evaluate(
        """() => [document.getElementById("map")._fullData.map((trace) => trace.type),
                  document.getElementById("map")._fullData.reduce(
                      (n, trace) => n + (trace.customdata?.length ?? 0), 0)]"""
    )
    assert set(types) == {"scattergl"}
    assert n == len(embedding)
    box = page.locator("#map").bounding_box()
    assert box["y"] + box["height"] <= 900  # a laptop shows it whole
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # The first point is chosen, and decoded as torch decodes it.
    assert panel.q["mu"] == pytest.approx(embedding.mu[0].tolist(), abs=1e-6)
    assert (
        np.abs(panel.image("canvas.mean") - decoded(model, embedding.mu[0].tolist())).max() < HALF
    )
    image = catalogue.load("digits").images[0, 0].numpy()
    assert np.abs(panel.image("canvas.given") - image).max() < 1


def test_dragging_a_slider_moves_mu_and_what_it_decodes_to(panel, model):
    page = panel.page
    before, shown = panel.q, panel.image("canvas.mean")
    slider = page.get_by_label("μ₁", exact=True)
    box = slider.bounding_box()
    share = slider.evaluate("s => (s.value - s.min) / (s.max - s.min)")
    x, y = box["x"] + 8 + share * (box["width"] - 16), box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=4)
    panel.rest()
    held, in_hand = panel.q, panel.image("canvas.mean")  # still held: nothing waits
    page.mouse.up()
    assert held["mu"][0] > before["mu"][0] + 0.3
    assert (held["mu"][1], held["sigma"]) == (before["mu"][1], before["sigma"])
    assert np.abs(in_hand - shown).max() > 25
    assert np.abs(in_hand - decoded(model, held["mu"])).max() < HALF


def test_hovering_decodes_the_place_under_the_pointer(panel):
    page = panel.page
    thumb = page.locator(".elbo-thumb")
    expect(thumb).to_be_hidden()
    box = page.locator("#map .nsewdrag").first.bounding_box()
    seen = []
    for share in (0.25, 0.75):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
        expect(thumb).to_be_visible()
        panel.rest()
        canvas = thumb.locator("canvas").evaluate("canvas => canvas.toDataURL()")
        seen.append((thumb.inner_text(), canvas))
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] != seen[1][1]
    page.mouse.move(5, 5)
    expect(thumb).to_be_hidden()


@pytest.mark.parametrize("webgl", [True, False], ids=["webgl", "without webgl"])
def test_a_click_on_a_point_shows_its_image_and_its_bound(webgl, request, opened, embedding):
    panel = request.getfixturevalue("panel") if webgl else opened(NO_WEBGL)
    page = panel.page
    if not webgl:
        assert page.locator("#map .scatterlayer .point").count() == len(embedding)
    index = loneliest(embedding)
    page.mouse.click(*place_of(page, index))
    label = embedding.class_names[embedding.labels[index]]
    expect(page.get_by_text(f"Point {index}, label {label}")).to_be_visible()
    panel.rest()
    assert panel.q["mu"] == pytest.approx(embedding.mu[index].tolist(), abs=1e-6)
    assert panel.q["sigma"] == pytest.approx(embedding.sigma[index].tolist(), rel=1e-5)
    image = catalogue.load("digits").images[index, 0].numpy()
    assert np.abs(panel.image("canvas.given") - image).max() < 1
    for recon, kl, neg_elbo in panel.bound().values():
        assert kl == pytest.approx(float(embedding.kl[index]), abs=0.006)
        # The very draws of the stored terms; weights and draws in half precision.
        assert recon == pytest.approx(float(embedding.recon[index]), abs=0.03)
        assert neg_elbo == pytest.approx(recon + kl, abs=0.011)
    assert set(panel.bound()) == {"yours", "encoder's"}


def test_dragging_the_handle_on_the_map_moves_q_and_worsens_its_bound(panel):
    page = panel.page
    handle = page.locator(".elbo-handle[data-handle='mu']")
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y - 60, steps=4)
    page.mouse.up()
    panel.rest()
    moved = handle.bounding_box()
    assert (moved["x"] - box["x"], moved["y"] - box["y"]) == pytest.approx((90, -60), abs=1.5)
    bounds = panel.bound()
    assert bounds["yours"][2] > bounds["encoder's"][2] + 1


def test_a_drawing_is_read_by_the_encoder(panel, model):
    page = panel.page
    before = panel.q
    page.get_by_role("button", name="Draw").click()
    pad = page.locator("canvas.pad")
    box = pad.bounding_box()
    cx, cy = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(cx, cy - box["height"] * 0.35)
    page.mouse.down()
    page.mouse.move(cx, cy + box["height"] * 0.35, steps=6)
    page.mouse.up()
    expect(page.get_by_text("Your drawing")).to_be_visible()
    panel.rest()
    found = panel.q
    assert found["mu"] != pytest.approx(before["mu"], abs=0.01)
    image = page.evaluate("[...elboRoom.panel.selection.drawing.image]")
    drawn = torch.tensor(image).reshape(1, 1, 8, 8)
    assert drawn.max() > 0.3
    with torch.no_grad():
        mu, logvar = model.encode(drawn)
    assert found["mu"] == pytest.approx(mu[0].tolist(), abs=0.02)  # half precision
    assert found["sigma"] == pytest.approx((logvar[0] / 2).exp().tolist(), rel=0.02)
    assert panel.bound().keys() == {"yours", "encoder's"}
    expect(page.get_by_role("button", name="Send to Points")).to_be_hidden()  # nobody listens
    expect(page.get_by_role("button", name="Best q")).to_be_hidden()
    page.get_by_role("button", name="Draw").click()
    panel.rest()
    assert panel.q["mu"] == pytest.approx(before["mu"])


def test_another_colour_redraws_the_map_and_the_hand_still_holds_it(opened, embedding):
    panel = opened()
    page = panel.page
    page.get_by_label("Colour").select_option("KL")
    expect(page.locator("#map .infolayer .colorbar")).to_be_visible()
    expect(page.locator(".elbo-handle[data-handle='mu']")).to_be_visible()
    page.wait_for_timeout(300)  # the colour bar moves the axes
    index = loneliest(embedding)
    x, y = place_of(page, index)
    page.mouse.move(x - 3, y + 2)
    expect(page.locator(".elbo-thumb")).to_be_visible()
    page.mouse.click(x, y)
    expect(page.get_by_text(f"Point {index}, label")).to_be_visible()
    panel.rest()
    handle = page.locator(".elbo-handle[data-handle='mu']").bounding_box()
    centre = (handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    assert centre == pytest.approx((x, y), abs=1.5)
    page.get_by_label("Colour").select_option("label")
    expect(page.locator("#map .legend")).to_be_visible()
    assert panel.q["mu"] == pytest.approx(embedding.mu[index].tolist(), abs=1e-6)


def test_light_and_dark_follow_the_reader(opened):
    panel = opened(color_scheme="dark")
    page = panel.page

    def colours() -> list[float]:
        """How bright the page is, and every kind of text on it, in [0, 1]."""
        box = page.locator("#map .nsewdrag").first.bounding_box()
        page.mouse.move(5, 5)
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
        expect(page.locator(".elbo-thumb")).to_be_visible()
        panel.rest()
        return page.evaluate(
            """() => [
                getComputedStyle(document.body).backgroundColor,
                getComputedStyle(document.body).color,
                getComputedStyle(document.querySelector("#map .xtick text")).fill,
                getComputedStyle(elboRoom.panel.element).color,
                getComputedStyle(document.querySelector(".elbo-thumb")).color,
            ].map((colour) =>
                colour.match(/[\\d.]+/g).slice(0, 3).reduce((sum, part) => sum + part / 765, 0))"""
        )

    background, *inks = colours()
    assert background < 0.2
    assert min(inks) > 0.7
    page.emulate_media(color_scheme="light")
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    page.wait_for_timeout(200)  # the map is drawn anew
    background, *inks = colours()
    assert background > 0.9
    assert max(inks) < 0.4


def test_names_from_a_file_stay_text(opened, tmp_path):
    model = VAE(ModelConfig((1, 8, 8), hidden=(6,)))
    with torch.no_grad():
        model.encoder.mu.weight.mul_(6)  # spreads the points
    images = catalogue.load("digits").images[:20]
    data = Dataset("made up", "test", images, torch.arange(20) % 2, (NASTY, "b"))
    embedding = embed(model, data)
    export.write(tmp_path / "nasty.html", export.page(model, embedding, NASTY, data, NASTY))
    panel = opened(path=tmp_path / "nasty.html")
    page = panel.page
    expect(page.get_by_role("heading")).to_have_text(NASTY)
    expect(page.locator("#card")).to_contain_text(NASTY)
    expect(page.locator("#map .legendtext").first).to_have_text(NASTY)
    expect(page.get_by_text(f"Point 0, label {NASTY}")).to_be_visible()
    mu = embedding.mu[::2]  # of the points with that name
    away = 2 * int(np.linalg.norm(mu - mu[0], axis=1).argmax())  # clear of q's handles
    x, y = place_of(page, away)
    page.mouse.move(x - 30, y - 30)
    page.mouse.move(x, y, steps=3)
    expect(page.locator("#map .hoverlayer .hovertext")).to_be_visible()
    assert page.locator("img").count() == 0
    assert page.evaluate("globalThis.hit") is None


@pytest.mark.few(1)
@pytest.mark.parametrize("latent_dim", [1, 3])
def test_any_number_of_latent_dimensions_opens(latent_dim, opened, tmp_path):
    model = VAE(ModelConfig((1, 8, 8), latent_dim, hidden=(6,)))
    data = catalogue.load("digits").first(30)
    export.write(tmp_path / "page.html", export.page(model, embed(model, data), "page", data))
    panel = opened(path=tmp_path / "page.html")
    page = panel.page
    assert page.locator(".rows .row .name").count() == latent_dim
    assert np.abs(panel.image("canvas.mean") - decoded(model, panel.q["mu"])).max() < HALF


def test_an_old_browser_is_told_why_it_cannot(new_tab, exported):
    page = new_tab("delete globalThis.DecompressionStream")
    page.goto(exported.as_uri())
    expect(page.get_by_text("This browser cannot unpack the page")).to_be_visible()
    expect(page.get_by_text("Unpacking the model")).to_have_count(0)


@pytest.mark.slow
def test_in_a_notebooks_frame_the_page_lives_as_well(new_tab, run, model, embedding):
    page = new_tab()
    page.set_content(f"<p>a cell's output</p>{show(run)._repr_html_()}")
    frame = page.locator("iframe").element_handle().content_frame()
    panel = Panel(frame)
    box = page.locator("iframe").bounding_box()
    index = loneliest(embedding)
    x, y = place_of(frame, index)
    page.mouse.click(box["x"] + x, box["y"] + y)
    expect(frame.get_by_text(f"Point {index}, label")).to_be_visible()
    panel.rest()
    shown = decoded(model, embedding.mu[index].tolist())
    assert np.abs(panel.image("canvas.mean") - shown).max() < HALF
