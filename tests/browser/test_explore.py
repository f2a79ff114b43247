"""What a hand does on Explore."""

import csv
import io
import re
import shutil

import numpy as np
import pytest
from browser.driver import Map, Panel, middle, settled, stated_on
from playwright.sync_api import Page, expect

from vae.analysis.embedding import ARRAYS
from vae.data import catalogue
from vae.runs import checkpoint

# A point of the sprites' map with room around it, so that a click can mean no other.
LONELY = 818


def terms_of(page: Page) -> list[float]:
    """recon, KL and -ELBO as the sentence under the heading states them, or Points' numbers."""
    values = page.get_by_test_id("stMetricValue").all_inner_texts()
    return [float(value.replace(",", "")) for value in values[:3]] or stated_on(page)


def test_a_click_on_a_point_shows_that_points_image_and_the_terms_of_the_command_line(
    new_page, server, vae
):
    page = new_page()
    Map(page).click(100)
    expect(page.get_by_text("Point 100, label")).to_be_visible()
    settled(page)

    _, written, _ = vae("terms", server.checkpoints / "digits-2d")
    row = next(row for row in csv.DictReader(io.StringIO(written)) if row["index"] == "100")
    shown = [float(row[name]) for name in ("recon", "KL", "neg_ELBO")]
    assert terms_of(page) == pytest.approx(shown, abs=0.006)
    expect(page.get_by_text(f"Point 100, label {row['label']}")).to_be_visible()

    image = catalogue.load("digits").images[100, 0].numpy()
    assert np.abs(Panel(page).image("canvas.given") - image).max() <= 0.5
    assert "point=100" in page.url


@pytest.mark.slow
def test_the_selection_goes_from_page_to_page_and_into_the_link(new_page, server):
    page = new_page("/?run=sprites-2d&colour=KL")
    Map(page).click(LONELY)
    expect(page.get_by_text(f"Point {LONELY}, label")).to_be_visible()
    page.get_by_role("link", name="Points").click()
    expect(page.get_by_text(f"Point {LONELY}, label")).to_be_visible()
    costs = page.locator(".st-key-pixel_map")
    drawn, seen = (costs.locator(part).bounding_box() for part in (".nsewdrag", ".js-plotly-plot"))
    assert drawn["x"] + drawn["width"] <= seen["x"] + seen["width"]  # none of it is cut off
    page.get_by_role("link", name="Train").click()
    expect(page.get_by_text("Train a model")).to_be_visible()
    settled(page)
    for part in ("run=sprites-2d", f"point={LONELY}", "colour=KL"):
        assert part in page.url
    page.get_by_role("link", name="Explore").first.click()
    expect(page.get_by_text(f"Point {LONELY}, label")).to_be_visible()
    settled(page)
    shared = page.url.split("/", 3)[3]
    page.goto("about:blank")
    page.goto(f"{server.url}/{shared}")
    expect(page.get_by_text(f"Point {LONELY}, label")).to_be_visible()
    expect(page.get_by_role("radio", name="KL", exact=True)).to_be_checked()


def test_what_is_being_typed_stays_while_the_page_is_redrawn(new_page):
    page = new_page()
    Map(page)
    settled(page)
    field = page.get_by_label(re.compile("Point, 0 to"))
    for colour in ("KL", "recon"):
        page.get_by_role("radio", name=colour, exact=True).click(no_wait_after=True)
        field.fill("100")
        settled(page)
        expect(field).to_have_value("100")
    field.press("Enter")
    expect(page.get_by_text("Point 100, label")).to_be_visible()


@pytest.mark.slow
def test_a_deep_link_shows_the_frame_on_a_cold_server_too(new_page, server):
    server.restart()
    page = new_page("/points?run=sprites-2d&point=7")
    links = page.get_by_test_id("stSidebar").get_by_test_id("stPageLink-NavLink")
    expect(links).to_have_count(9)
    expect(page.get_by_label("Checkpoint")).to_have_value(re.compile("^sprites-2d"))
    expect(page.get_by_text("Point 7, label")).to_be_visible()
    settled(page)
    assert page.url.startswith(f"{server.url}/points")
    assert "point=7" in page.url


@pytest.mark.slow
def test_a_lasso_chooses_a_group_that_points_can_list(new_page):
    page = new_page()
    plot, panel = Map(page).plot, Panel(page)
    q = panel.q
    plot.hover()
    page.locator(".st-key-map .modebar-btn[data-title='Lasso Select']").click()
    box = plot.locator(".nsewdrag").first.bounding_box()
    centre = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    start = middle(panel.handle("mu"))  # where it ends, too, on the chosen point
    page.mouse.move(*start)
    page.mouse.down()
    for dx, dy in ((90, -90), (90, 90), (-90, 90), (-90, -90)):
        page.mouse.move(centre[0] + dx, centre[1] + dy, steps=6)
    page.mouse.move(*start, steps=6)
    page.mouse.up()
    summary = page.get_by_text(re.compile(r"\d+ points, mean recon"))
    expect(summary).to_be_visible()
    n = int(summary.inner_text().split()[0])
    assert n > 10
    assert panel.q == q
    expect(page.get_by_text("Point 0, label")).to_be_visible()
    page.get_by_role("link", name="Points").click()
    page.get_by_text(f"Only the {n} in the lasso").click()
    expect(page.get_by_label("Page, 1 to 4")).to_have_count(0)


@pytest.mark.slow
def test_the_zoom_the_hidden_class_and_the_lasso_survive_another_colour(new_page):
    page = new_page("/?run=digits-2d")
    shown = Map(page)
    shown.plot.locator(".legendtoggle").nth(3).click()
    hidden = """() => document.querySelector('.st-key-map .js-plotly-plot')
        ._fullData.filter(trace => trace.visible === 'legendonly').map(trace => trace.name)"""
    page.wait_for_function(f"({hidden})().length === 1")
    names = page.evaluate(hidden)
    page.get_by_role("button", name="Zoom in").click()
    shown.rest()
    ranges = shown.ranges()
    page.get_by_role("button", name="Lasso Select").click()
    box = shown.plot.locator(".nsewdrag").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    shown.lasso((x - 90, y - 90), (x + 90, y + 90))
    group = page.get_by_text(re.compile(r"\d+ points, mean recon"))
    expect(group).to_be_visible()
    settled(page)
    told = group.inner_text()
    for colour in ("KL", "label", "recon", "label"):
        page.get_by_role("radio", name=colour, exact=True).click()
        settled(page)
        shown.rest()
        assert shown.ranges() == pytest.approx(ranges, rel=1e-3)
        expect(group).to_have_text(told)
    assert page.evaluate(hidden) == names


@pytest.mark.slow
def test_seventy_thousand_points_draw_and_answer(new_page, server):
    run = checkpoint.open_run(server.checkpoints / "digits-2d")
    small = run.load_embedding()
    rng = np.random.default_rng(0)
    rows = rng.integers(len(small), size=70_000)
    many = {name: getattr(small, name)[rows] for name in ARRAYS}
    many["mu"] = many["mu"] + rng.normal(size=many["mu"].shape).astype(np.float32) / 3
    path = shutil.copytree(run.path, server.checkpoints / "seventy-thousand")
    config = path / "config.json"  # of images that are not at hand: the map alone is there
    config.write_text(config.read_text().replace('"dataset": "digits"', '"dataset": "kmnist"'))
    big = checkpoint.open_run(path)
    checkpoint.save_embedding(big, type(small)(**{**vars(small), **many}))

    page = new_page("/?run=seventy-thousand")
    plot = Map(page)
    assert plot.plot.evaluate(
        "p => p._fullData.reduce((n, t) => n + (t.customdata?.length ?? 0), 0)"
    )
    outermost = int(np.abs(many["mu"]).max(1).argmax())  # alone at the edge, so a click finds it
    plot.click(outermost)
    expect(page.get_by_text(f"Point {outermost:,}, label")).to_be_visible()


def test_beside_a_broken_checkpoint_that_is_named_the_legend_hides_a_class(new_page, server):
    broken = server.checkpoints / "broken <b>name"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    page = new_page()
    expect(page.get_by_text("broken <b>name cannot be opened")).to_be_visible()
    shown = Map(page)
    shown.plot.locator(".legendtoggle").first.click()
    page.wait_for_function(
        """() => document.querySelector('.st-key-map .js-plotly-plot')
               ._fullData.some(trace => trace.visible === 'legendonly')"""
    )
    shutil.rmtree(broken)


def test_the_map_and_the_panel_need_no_scrolling_on_a_laptop(new_page):
    page = new_page()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(
            """scheme => (getComputedStyle(document.querySelector(".stApp") ?? document.body)
                .colorScheme !== "dark") === (scheme === "light")""",
            arg=scheme,
        )
        plot = Map(page).plot
        settled(page)
        box = plot.bounding_box()
        assert box["y"] + box["height"] <= 900
        assert box["height"] >= 600
        box = page.locator(".live").bounding_box()
        assert box["y"] + box["height"] <= 900
