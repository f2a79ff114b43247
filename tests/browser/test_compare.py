"""What a hand does on Compare."""

import re

import pytest
from browser.driver import NO_WEBGL, Map, settled
from playwright.sync_api import Page, expect

from vae.analysis import comparison
from vae.runs import job

LINK = "/compare?run=digits-2d&other=small"


@pytest.fixture(scope="module", autouse=True)
def small(server, tiny_run):
    """A second run of the digits, beside those that ship."""
    tiny_run(server.checkpoints / "small")


def maps(page: Page) -> tuple[Map, Map]:
    return Map(page, "first_map"), Map(page, "second_map")


def lonely(shown: Map) -> int:
    """A point on the map with the most room around it, so that a click can mean no other."""
    return shown.plot.evaluate(
        """plot => {
            const {xaxis, yaxis} = plot._fullLayout, points = [];
            for (const trace of plot._fullData)
                Array.from(trace.customdata ?? []).forEach((index, i) => points.push(
                    [index, xaxis.d2p(trace.x[i]), yaxis.d2p(trace.y[i])]));
            const inside = ([, x, y]) => x > 20 && y > 20 && x < xaxis._length - 90
                && y < yaxis._length - 20;
            let best = -1, room = -1;
            for (const a of points.filter(inside)) {
                const nearest = Math.min(...points.filter((b) => b[0] !== a[0])
                    .map((b) => Math.hypot(a[1] - b[1], a[2] - b[2])));
                if (nearest > room) [best, room] = [a[0], nearest];
            }
            return best;
        }"""
    )


def rings(shown: Map) -> list[float]:
    """Where the ring stands, in the axes' numbers."""
    return shown.plot.evaluate(
        """plot => {
            const ring = plot._fullData.find((t) => t.marker?.symbol === "circle-open");
            return [ring.x[0], ring.y[0]];
        }"""
    )


def place_of(shown: Map, index: int) -> list[float]:
    return shown.plot.evaluate(
        """(plot, index) => {
            for (const t of plot._fullData) {
                const at = Array.from(t.customdata ?? []).indexOf(index);
                if (at >= 0) return [t.x[at], t.y[at]];
            }
        }""",
        index,
    )


@pytest.mark.slow
def test_a_click_in_either_map_chooses_the_point_in_both(new_page):
    page = new_page(LINK, kept=True)
    for which in (0, 1):
        shown = maps(page)[which]
        place, chosen = shown.place(lonely(shown)), page.get_by_label("Point, 0 to 358")
        before = chosen.input_value()
        page.mouse.click(*place)
        expect(chosen).not_to_have_value(before)
        settled(page)
        index = int(chosen.input_value())
        # A mark is 3 pixels wide: of those that it touches, Plotly takes one.
        assert shown.place(index) == pytest.approx(place, abs=4)
        expect(page.get_by_text(f"Point {index}, label")).to_be_visible()
        settled(page)
        for one in maps(page):
            assert rings(one) == pytest.approx(place_of(one, index))
        assert f"point={index}" in page.url


@pytest.mark.slow
def test_a_lasso_in_one_lights_the_group_in_both(new_page):
    page = new_page(LINK, kept=True)
    first = Map(page, "first_map")
    first.plot.hover()
    page.locator(".st-key-first_map [data-title='Lasso Select']").click()
    box = first.plot.bounding_box()
    x, y = box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.45
    first.lasso((x - 60, y - 60), (x + 60, y + 60))
    told = page.get_by_text(re.compile(r"\d+ points, mean -ELBO [\d.]+ in digits-2d and [\d.]+ in"))
    expect(told).to_be_visible()
    settled(page)
    n = int(re.match(r"\d+", told.inner_text())[0])
    assert n > 2
    for shown in maps(page):
        lit = shown.plot.evaluate(
            """plot => plot._fullData.filter((t) => t.hoverinfo === "skip"
                && t.marker?.symbol !== "circle-open").map((t) => t.x.length)"""
        )
        assert lit == [n]
    page.get_by_role("button", name="Forget these points").click()
    expect(told).to_have_count(0)


def test_turning_the_second_map_lays_it_onto_the_first(new_page, server):
    page = new_page(LINK, kept=True)
    expect(page.get_by_text(re.compile("costs .* nats less per image"))).to_be_visible()
    page.get_by_role("radio", name="turned", exact=True).click()
    expect(page.get_by_text(re.compile("is drawn .*turned by"))).to_be_visible()
    settled(page)
    runs = [job.checkpoint.open_run(server.checkpoints / n) for n in ("digits-2d", "small")]
    first, second = (run.load_embedding() for run in runs)
    expected = comparison.procrustes(first.mu, second.mu).of(second.mu)
    assert place_of(maps(page)[1], 12) == pytest.approx(expected[12], abs=1e-5)
    assert "align=turned" in page.url


def test_swap_turns_the_pair_and_its_link_round(new_page):
    page = new_page(LINK, kept=True)
    expect(page.get_by_text("digits-2d costs")).to_be_visible()
    page.get_by_role("button", name="Swap").click()
    expect(page.get_by_role("combobox", name="Compared with")).to_have_value("digits-2d")
    expect(page.get_by_text("digits-2d costs")).to_be_visible()
    settled(page)
    assert "run=small" in page.url
    assert "other=digits-2d" in page.url


def test_a_row_of_the_regressions_chooses_its_point(new_page, server):
    page = new_page(LINK + "&compared=Worst+and+best")
    expect(page.get_by_text("Costlier in small")).to_be_visible()
    settled(page)
    runs = [job.checkpoint.open_run(server.checkpoints / n) for n in ("digits-2d", "small")]
    worse, _ = comparison.largest_changes(
        comparison.change(*(run.load_embedding() for run in runs)), 5
    )
    canvas = page.get_by_test_id("stDataFrameResizable").first
    canvas.scroll_into_view_if_needed()
    settled(page)
    box = canvas.bounding_box()
    page.mouse.click(box["x"] + 16, box["y"] + 36 + 60)  # the mark of the second row
    expect(page.get_by_label("Point, 0 to 358")).to_have_value(str(worse[1]))


@pytest.mark.slow
def test_without_webgl_both_maps_are_drawn_and_a_click_chooses_in_both(new_page):
    page = new_page(LINK, script=NO_WEBGL)
    expect(page.get_by_text("WebGL is not supported")).to_have_count(0)
    first, second = maps(page)
    index = lonely(first)
    page.mouse.click(*first.place(index))
    settled(page)
    expect(page.get_by_label("Point, 0 to")).to_have_value(str(index))
    assert rings(second) == pytest.approx(place_of(second, index), abs=1e-3)
