"""Explore without a pointer: the order in which the keyboard comes by, and what each key does."""

import pytest
from browser.driver import Map, Panel, settled
from playwright.sync_api import Page, expect

FOCUSED = """() => {
    let element = document.activeElement;
    while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
    const box = element.getBoundingClientRect();
    return [element.getAttribute("aria-label") || element.innerText.split("\\n").pop().trim(),
            box.width > 0 && box.height > 0];
}"""
# What a hand can reach, in the order of the page: the pages, what is selected, the map, the panel.
ORDER = (
    *("Skip to main content", "Explore", "Traverse", "Points", "Inference", "Diagnose", "Train"),
    *("Compare", "Learn", "Gaussians", "Checkpoint", "Data", "label", "Point, 0 to 358", "Zoom in"),
    "Pan",
    *("Lasso Select", "the mean of q: drag it, or use the arrow keys", "sigma along x"),
    *("sigma along y", "q", "posterior", "prior", "manifold", "Follow", "Manifold", "Draw"),
    *("μ₁", "μ₁, as a number", "σ₁", "σ₁, as a number", "μ₂", "σ₂", "KL(q, p)", "nats", "recon"),
    *("-ELBO", "Best q", "Encoder's q", "number of samples", "Resample", "ε", "Smooth"),
    *("▶ Tour", "+ Stop", "Spherical", "Loop", "speed of the tour"),
)


@pytest.fixture
def opened(new_page):
    page = new_page("/?run=digits-2d&point=100")
    return page, Map(page), Panel(page)


@pytest.mark.slow
def test_the_keyboard_comes_by_everything_in_the_order_of_the_page(opened):
    page, _, _ = opened
    seen = []
    while len(seen) < 100 and (not seen or seen[-1] != "speed of the tour"):
        page.keyboard.press("Tab")
        name, is_visible = page.evaluate(FOCUSED)
        assert is_visible, name
        seen.append(name)
    places = iter(seen)
    missed = [name for name in ORDER if name not in places]  # each behind the last one
    assert not missed, seen


def press(page: Page, name: str, key: str) -> None:
    page.locator(".live").get_by_role("button", name=name, exact=True).press(key)


@pytest.mark.slow
def test_whatever_the_hand_does_the_keyboard_does(opened):
    page, plot, panel = opened
    before = panel.q

    panel.handle("mu").press("ArrowRight")
    panel.handle("mu").press("Shift+ArrowUp")
    panel.rest()
    moved = panel.q
    assert moved["mu"][0] > before["mu"][0]
    assert moved["mu"][1] > before["mu"][1]
    panel.handle("sigma x").press("Shift+ArrowRight")
    panel.slider("σ₂").press("ArrowLeft")
    panel.rest()
    assert panel.q["sigma"][0] > moved["sigma"][0]
    assert panel.q["sigma"][1] < moved["sigma"][1]
    panel.field("μ₁").fill("0.5")
    panel.field("μ₁").press("Enter")
    panel.rest()
    assert panel.q["mu"][0] == 0.5
    press(page, "Encoder's q", "Enter")
    panel.rest()
    assert panel.q == before
    press(page, "Best q", "Space")
    expect(page.locator("table.bound")).to_contain_text("best")

    ranges = plot.ranges()
    page.get_by_role("button", name="Zoom in").press("Enter")
    plot.rest()
    assert plot.ranges()[1] - plot.ranges()[0] < ranges[1] - ranges[0]
    for name in ("Follow", "Manifold", "Smooth"):
        press(page, name, "Space")
        expect(panel.button(name)).to_have_attribute("aria-pressed", "true")
        press(page, name, "Space")

    press(page, "▶ Tour", "Enter")
    expect(page.locator(".play")).not_to_have_text("▶ Tour")
    page.keyboard.press("Escape")
    expect(page.locator(".play")).to_have_text("▶ Tour")

    field = page.get_by_label("Point, 0 to")
    field.fill("7")
    field.press("Enter")
    settled(page)
    expect(page.get_by_text("Point 7, label")).to_be_visible()
    press(page, "Draw", "Enter")
    expect(page.locator("canvas.pad")).to_be_visible()
    press(page, "Draw", "Enter")
    expect(page.locator("canvas.pad")).to_be_hidden()
    colour = page.get_by_role("radio", name="KL", exact=True)
    colour.or_(page.get_by_role("button", name="KL", exact=True).first).first.press("Enter")
    settled(page)
    assert "colour=KL" in page.url
