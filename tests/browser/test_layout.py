"""What a hand does on a layout, which cannot be decoded."""

import re

import numpy as np
import pytest
import torch
from browser.driver import TSNE, Map, Panel, choose_axes, laid_out, middle, settled
from playwright.sync_api import Locator, Page, expect

from vae.runs import checkpoint

LINK = "/?run=three&axes=t-SNE%2C+a+layout"


@pytest.fixture(scope="module")
def run(tiny_run, server) -> checkpoint.Run:
    """Three latent dimensions, so that the map is a choice."""
    return tiny_run(server.checkpoints / "three", latent_dim=3)


def places(shown: Map) -> np.ndarray:
    """Where each point stands on the screen, by its index, (N, 2)."""
    found = shown.plot.evaluate(
        """plot => {
            const {left, top} = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;
            return plot._fullData.flatMap((trace) => Array.from(trace.customdata ?? [],
                (index, i) => [index, left + xaxis._offset + xaxis.d2p(trace.x[i]),
                 top + yaxis._offset + yaxis.d2p(trace.y[i])]));
        }"""
    )
    return np.array(sorted(found))[:, 1:]


def lonely(at: np.ndarray) -> int:
    """The point with the most room around it, so that a click can mean no other."""
    distances = np.linalg.norm(at[:, None] - at, axis=2) + 1e9 * np.eye(len(at))
    return int(distances.min(1).argmax())


def empty_place(shown: Map, at: np.ndarray) -> tuple[float, float]:
    """Somewhere on the map that is far from every point."""
    box = shown.plot.locator(".nsewdrag").first.bounding_box()
    x = box["x"] + box["width"] * np.linspace(0.15, 0.75, 25)
    y = box["y"] + box["height"] * np.linspace(0.15, 0.85, 25)
    grid = np.stack(np.meshgrid(x.round(), y.round()), axis=-1).reshape(-1, 2)
    return tuple(grid[np.linalg.norm(grid[:, None] - at, axis=2).min(1).argmax()].tolist())


def mark(page: Page, name: str) -> Locator:
    return page.locator(f".elbo-map .elbo-{name}").last


@pytest.mark.slow
def test_a_layout_is_chosen_hovered_clicked_and_left_again(new_page, model, embedding):
    page = new_page("/?run=three")
    Map(page)
    panel = Panel(page)
    choose_axes(page, TSNE)
    shown = laid_out(page)
    axes = shown.plot.evaluate(
        "plot => [plot._fullLayout.xaxis, plot._fullLayout.yaxis].map((a) => a.showticklabels)"
    )
    assert axes == [False, False]
    for part in ("ellipse", ".elbo-handle", "polyline"):
        assert not any(one.is_visible() for one in page.locator(f".elbo-map {part}").all())
    expect(panel.button("Manifold")).to_be_hidden()

    at = places(shown)
    assert len(at) == len(embedding)
    expect(mark(page, "chosen")).to_be_visible()
    assert middle(mark(page, "chosen")) == pytest.approx(tuple(at[0]), abs=1.5)

    thumb, empty = page.locator(".elbo-thumb"), empty_place(shown, at)
    q = panel.q
    for place in (*at[[5, 200]].round().tolist(), empty):
        page.mouse.move(place[0] - 3, place[1])
        page.mouse.move(*place)
        expect(thumb).to_be_visible()
        panel.rest()
        index = int(re.match(r"point (\d+)", thumb.inner_text())[1])
        distances = np.linalg.norm(at - place, axis=1)
        assert distances[index] <= distances.min() + 1  # a mouse has whole pixels
        assert middle(mark(page, "hovered")) == pytest.approx(tuple(at[index]), abs=1.5)
        with torch.no_grad():
            decoded = 255 * model.decode_mean(torch.from_numpy(embedding.mu[index]))[0].numpy()
        assert np.abs(panel.image(".elbo-thumb canvas >> nth=-1") - decoded).max() <= 1.5
    page.mouse.click(*empty)
    settled(page)
    assert panel.q == q
    expect(page.get_by_text("Point 0, label")).to_be_visible()

    index = lonely(at)
    page.mouse.click(*at[index])
    panel.text_in_link(f"point={index}")
    expect(page.get_by_text(f"Point {index}, label")).to_be_visible()
    assert panel.q["mu"] == pytest.approx(embedding.mu[index].tolist(), abs=1e-6)
    assert middle(mark(page, "chosen")) == pytest.approx(tuple(at[index]), abs=1.5)
    page.mouse.move(*at[index])
    page.mouse.move(*(at[index] + 1))
    expect(thumb.locator("canvas")).to_have_count(2)  # its x is at hand
    expect(thumb).to_contain_text("x, E[x|z = μ]")

    page.mouse.move(*middle(page.locator("canvas.mean")))
    choose_axes(page, "dimensions")
    page.wait_for_function("elboRoom.panel.scene.plane?.dims.length === 2")
    expect(page.locator(".elbo-map ellipse[stroke='#00a383']").first).to_be_visible()
    expect(panel.handle("mu")).to_be_visible()
    expect(panel.button("Manifold")).to_be_visible()
    expect(mark(page, "chosen")).to_be_hidden()
    expect(mark(page, "hovered")).to_be_hidden()
    page.wait_for_function("elboRoom.panel.map.plot._fullLayout.shapes.length === 3")


@pytest.mark.slow
def test_q_is_followed_by_its_nearest_point_and_a_tour_goes_through_points(new_page, embedding):
    page = new_page(LINK)
    shown, panel = laid_out(page), Panel(page)
    at = places(shown)
    for d, value in enumerate(embedding.mu[33]):
        panel.field(f"μ{'₁₂₃'[d]}").fill(f"{value:.6f}")
    panel.rest()
    assert middle(mark(page, "near")) == pytest.approx(tuple(at[33]), abs=1.5)
    assert middle(mark(page, "chosen")) == pytest.approx(tuple(at[0]), abs=1.5)

    panel.button("Follow").click()
    page.mouse.move(*at[100])
    page.mouse.move(*(at[100] + 1))
    panel.rest()
    index = int(np.abs(embedding.mu - panel.q["mu"]).max(1).argmin())
    assert embedding.mu[index].tolist() == pytest.approx(panel.q["mu"], abs=1e-6)
    assert np.linalg.norm(at[index] - at[100]) < 4
    page.mouse.click(*(at[100] + 1))
    panel.text_in_link(f"point={index}")
    expect(panel.button("Follow")).to_have_attribute("aria-pressed", "false")

    stops = [int(np.linalg.norm(at - at[i].round(), axis=1).argmin()) for i in (10, 20)]
    empty = empty_place(shown, at)
    page.keyboard.down("Shift")
    for place in (at[stops[0]], empty, at[stops[1]]):
        page.mouse.click(*place)
    page.keyboard.up("Shift")
    told = page.evaluate("elboRoom.panel.tour.way.stops.map((z) => [...z])")
    assert np.array(told) == pytest.approx(embedding.mu[stops], abs=1e-6)
    before = panel.q
    panel.button("▶ Tour").click()
    page.wait_for_function("mu => elboRoom.panel.selection.q.mu[0] !== mu", arg=before["mu"][0])
    panel.button("❚❚ Pause").click()


def test_a_hidden_class_is_not_hovered(new_page, embedding):
    page = new_page(LINK)
    shown = laid_out(page)
    at = places(shown)
    index = lonely(at)
    label = embedding.class_names[embedding.labels[index]]
    toggles = shown.plot.locator(".legend .traces")
    toggles.filter(has_text=re.compile(f"^{label}$")).locator(".legendtoggle").click()
    page.wait_for_function(
        "elboRoom.panel.map.plot._fullData.some((trace) => trace.visible === 'legendonly')"
    )
    page.mouse.move(*at[index])
    page.mouse.move(*(at[index] + 1))
    thumb = page.locator(".elbo-thumb")
    expect(thumb).to_be_visible()
    hovered = int(re.match(r"point (\d+)", thumb.inner_text())[1])
    assert embedding.labels[hovered] != embedding.labels[index]
