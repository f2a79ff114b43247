"""What a hand does on Traverse: choose, click and lasso on its maps, and take the pictures home."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from browser.driver import Map, settled
from PIL import Image
from playwright.sync_api import Page, expect

from vae.analysis import traversal
from vae.figures import sheets


def taken(page: Page, button: str) -> tuple[str, Image.Image]:
    settled(page)  # a run that is under way would draw the button anew
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return download.value.suggested_filename, Image.open(
        io.BytesIO(download.value.path().read_bytes())
    )


def row(page: Page) -> list[str]:
    return page.locator(".walks img.cell").evaluate_all("all => all.map((one) => one.src)")


@pytest.mark.slow
def test_kinds_are_chosen_and_the_grid_and_its_animation_arrive(new_page, model, embedding):
    page = new_page("/traverse?run=digits-2d&values=data&point=5")
    expect(page.locator(".walks img.cell")).to_have_count(14)
    expect(page.get_by_role("radio", name="data", exact=True)).to_be_checked()
    first = page.locator(".walks img.cell").first
    assert first.evaluate("img => [img.naturalWidth, img.width % img.naturalWidth]") == [8, 0]
    main = page.get_by_test_id("stMain")
    assert main.evaluate("main => main.scrollHeight <= main.clientHeight")
    before = row(page)
    page.get_by_role("radio", name="posterior", exact=True).click()
    page.wait_for_function("location.search.includes('values=posterior')")
    expect(page.get_by_label("Point, 0 to 358")).to_have_value("5")
    settled(page)
    assert row(page) != before
    name, grid = taken(page, "Grid as PNG")
    order = traversal.by_kl(embedding)[0].tolist()
    decoded = traversal.decode(
        model, traversal.traverse(embedding, "posterior", 7, 5).latents(order)
    )
    assert (name, grid.format) == ("digits-2d-posterior.png", "PNG")
    scale = sheets.enlargement(8, 8)
    last = np.asarray(grid.convert("L"))[-16 - 8 * scale : -16, -16 - 8 * scale : -16]
    wanted = np.rint(decoded[-1, -1, 0].numpy() * 255)
    assert np.abs(last[scale // 2 :: scale, scale // 2 :: scale] - wanted).max() <= 1
    name, animation = taken(page, "Animation as GIF")
    assert (name, animation.format) == ("digits-2d-posterior.gif", "GIF")
    assert animation.n_frames > 20


@pytest.mark.slow
def test_a_click_on_the_map_adds_a_point_to_the_way(new_page, embedding):
    page = new_page("/traverse?run=digits-2d&part=Between+points&point=5")
    expect(page.locator(".walks img.cell")).to_have_count(24)
    shown = Map(page, "way_map")
    index = int(np.abs(embedding.mu).max(1).argmax())  # alone at the edge, so a click finds it
    page.mouse.click(*shown.place(index))
    stops = page.get_by_label("Points, 2 to 8")
    expect(stops).to_have_value(f"5, {index}")
    page.get_by_role("button", name="nearest of another class").click()
    expect(stops).to_have_value(re.compile(rf"^5, {index}, \d+$"))
    expect(page.locator(".walks img.cell")).to_have_count(2 * 13 + 3)
    name, both = taken(page, "Both ways as PNG")
    assert (name, both.format) == ("digits-2d-between.png", "PNG")


@pytest.mark.slow
def test_lassos_fill_the_groups_and_the_sum_follows(new_page, model, embedding):
    page = new_page("/traverse?run=digits-2d&part=Arithmetic&point=5")
    expect(page.locator(".sum img")).to_have_count(4)
    found = {}
    for group, label in (("A", 0), ("B", 6)):
        page.get_by_role("radio", name=group, exact=True).click()
        expect(page.get_by_text(f"A lasso fills {group}.")).to_be_visible()
        settled(page)
        before = row(page)
        x, y = np.median(embedding.mu[embedding.labels == label], axis=0).tolist()
        away = np.abs(embedding.mu - [x, y]).max(1)
        # No point lies within pixels of the square's edge.
        half = max(np.linspace(0.35, 0.8, 200), key=lambda half: np.abs(away - half).min()).item()
        shown = Map(page, "group_map")
        shown.lasso(shown.at(x - half, y + half), shown.at(x + half, y - half))
        settled(page)
        found[group] = np.flatnonzero(away < half)
        shown = page.get_by_text(f"{group}: lasso, {len(found[group]):,} points")
        expect(shown).to_be_visible()
        assert row(page) != before
    sum_ = traversal.arithmetic(embedding.mu, found["A"], found["B"], [5])
    expect(page.get_by_text(f"d′ = {sum_.separation:.2f}")).to_be_visible()
    wanted = traversal.decode(model, sum_.path(torch.linspace(-1, 2, 7)))[:, 0].numpy() * 255
    for source, image in zip(row(page), wanted, strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        assert np.abs(np.asarray(picture) - np.rint(image)).max() <= 1
    name, animation = taken(page, "Animation as GIF")
    assert (name, animation.format) == ("digits-2d-arithmetic.gif", "GIF")
