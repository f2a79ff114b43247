"""The live panel on a phone, and without WebGL."""

import numpy as np
import pytest
import torch
from browser.driver import EMPTY, NO_WEBGL, Map, Panel, decoded, is_of, middle, ring, settled
from playwright.sync_api import Page, expect

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


class Finger:
    """Touches the screen."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._devtools = page.context.new_cdp_session(page)

    def down(self, x: float, y: float) -> None:
        self._send("touchStart", (x, y))

    def move(self, x: float, y: float) -> None:
        self._send("touchMove", (x, y))

    def up(self) -> None:
        self._send("touchEnd")

    def _send(self, kind: str, *places: tuple[float, float]) -> None:
        self._devtools.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in places]},
        )

    def drag(self, path: list[tuple[float, float]]) -> None:
        self.down(*path[0])
        for place in path[1:]:
            self.move(*place)
        # A touch is told of once per frame.
        self._page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )


def test_on_a_phone_a_finger_does_what_a_mouse_does(new_page, model):
    page = new_page("/?run=digits-2d&point=100", **PHONE)
    plot, panel, finger = Map(page), Panel(page), Finger(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    plot.plot.scroll_into_view_if_needed()
    page.touchscreen.tap(*plot.at(*EMPTY))
    panel.text_in_link("mu=")
    assert panel.q["mu"] == pytest.approx(EMPTY, abs=0.02)
    ranges = plot.ranges()
    x, y = middle(panel.handle("mu"))
    finger.drag([(x, y), (x + 20, y + 10), (x + 40, y + 30)])
    panel.rest()
    assert middle(panel.handle("mu")) == pytest.approx((x + 40, y + 30), abs=1)
    finger.up()
    assert panel.q["mu"] == pytest.approx(plot.z(x + 40, y + 30), abs=0.02)
    assert plot.ranges() == ranges

    for name, key in (("μ₁", "mu"), ("σ₂", "sigma")):
        panel.slider(name).scroll_into_view_if_needed()
        before, mean = panel.q, panel.canvas("samples")
        x, y = panel.thumb(name)
        finger.drag([(x, y), (x + 8, y), (x + 16, y), (x + 24, y)])
        panel.rest()
        assert panel.q[key] != before[key]
        assert panel.canvas("samples") != mean
        finger.up()

    panel.button("Draw").tap()
    page.locator("canvas.pad").scroll_into_view_if_needed()
    finger.drag(ring(page))
    finger.up()
    panel.rest()
    image = page.evaluate("[...elboRoom.panel.selection.drawing.image]")
    x = torch.tensor(image).reshape(1, 1, 8, 8)
    assert x.sum() > 3
    with torch.no_grad():
        mu, _ = model.encode(x)
    assert panel.q["mu"] == pytest.approx(mu[0].tolist(), abs=1e-4)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_webgl_the_map_is_made_of_elements_and_the_panel_works(new_page, model, embedding):
    page = new_page("/?run=digits-2d&point=3", script=NO_WEBGL)
    expect(page.locator(".st-key-map .scatterlayer .point")).to_have_count(len(embedding))
    expect(page.get_by_text("WebGL is not supported")).to_have_count(0)
    plot, panel = Map(page), Panel(page)
    plot.click(100)
    expect(page.get_by_text("Point 100, label 2")).to_be_visible()
    panel.text_in_link("point=100")
    assert panel.q == is_of(embedding, 100)
    page.mouse.click(*plot.at(*EMPTY))
    panel.text_in_link("mu=")
    assert np.abs(panel.image("canvas.mean") - decoded(model, panel.q["mu"])).max() <= 1


@pytest.mark.parametrize(
    ("name", "query", "chart"),
    [
        pytest.param("traverse", "section=Between+points", None, marks=pytest.mark.slow),
        pytest.param("points", "", "terms_scatter", marks=pytest.mark.slow),
        pytest.param("inference", "point=3", None, marks=pytest.mark.slow),
        pytest.param("diagnose", "check=Aggregate+posterior", None, marks=pytest.mark.slow),
        ("train", "", "film"),
    ],
)
def test_without_webgl_every_page_by_a_link_shows_its_points(new_page, name, query, chart):
    page = new_page(f"/{name}?run=digits-2d&{query}", script=NO_WEBGL)
    drawn = page.locator((f".st-key-{chart} " if chart else "") + ".scatterlayer .point")
    expect(drawn.first).to_be_attached()
    settled(page)
    expect(page.get_by_text("WebGL is not supported")).to_have_count(0)


@pytest.mark.slow
def test_on_a_phone_what_is_decoded_stays_above_the_map(new_page):
    page = new_page("/?run=digits-2d&point=100", **PHONE)
    plot, panel = Map(page), Panel(page)
    panel.rest()
    page.mouse.move(195, 700)
    page.mouse.wheel(0, 700)  # to where the map is
    page.wait_for_timeout(500)
    box = plot.plot.bounding_box()
    assert abs(box["width"] / box["height"] - 1) < 0.15
    for shown in ("canvas.mean", "table.bound"):
        expect(page.locator(shown)).to_be_in_viewport(ratio=1)
    left, top = plot.at(0, 0)
    assert 0 < left < 390
    assert 0 < top < 844


@pytest.mark.parametrize(
    "name",
    [
        "points",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("train", "learn", "traverse", "inference", "diagnose", "compare")
        ),
    ],
)
def test_a_page_is_no_wider_than_a_phone(new_page, name):
    page = new_page(f"/{name}?run=digits-2d&point=100", **PHONE)
    settled(page)
    assert page.evaluate("document.querySelector('.stMain').scrollWidth") <= 390
