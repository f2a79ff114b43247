"""What the hand set outlives pages, links, themes and reruns, and crosses the wire once."""

from collections.abc import Callable

import numpy as np
import pytest
from browser.driver import EMPTY, Map, Panel, Wire, decoded, dragged, is_of, middle, settled
from playwright.sync_api import expect

from vae.live import pack, source


@pytest.mark.slow
def test_a_page_that_is_chosen_in_the_same_breath_as_a_change_is_shown(new_page):
    page = new_page("/?run=digits-2d&point=100")
    for _ in range(3):
        change = Panel(page).button("Manifold")
        settled(page)
        # As a browser that was busy for a moment hands on what the hand did meanwhile.
        pressed = (change, page.get_by_role("link", name="Points"))
        page.evaluate(
            """(pressed) => pressed.forEach((one) => {
                one.dispatchEvent(new PointerEvent("pointerdown", {bubbles: true, composed: true}));
                one.click();
            })""",
            [one.element_handle() for one in pressed],
        )
        expect(page.get_by_text("Costliest first by")).to_be_visible()
        settled(page)
        expect(page.get_by_text("Costliest first by")).to_be_visible()
        page.get_by_role("link", name="Explore").first.click()


def test_what_the_hand_set_outlives_other_pages_and_is_in_the_link(new_page, server):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    page.mouse.click(*plot.at(*EMPTY))
    panel.field("σ₂").fill("0.75")
    panel.field("σ₂").press("Enter")
    panel.button("Resample").click()
    panel.slider("number of samples").press("ArrowRight")
    panel.text_in_link("samples=17")
    panel.text_in_link("eps=1")
    q = panel.q
    page.get_by_role("link", name="Points").click()
    expect(page.get_by_text("Point 100, label")).to_be_visible()
    page.get_by_role("link", name="Explore").first.click()
    panel = Panel(page)
    assert panel.q == q
    settled(page)
    in_link = {
        "mu": pytest.approx(q["mu"], abs=1e-3),
        "sigma": pytest.approx(q["sigma"], abs=1e-3),
    }
    link = page.url.split("/", 3)[3]
    page.goto("about:blank")
    page.goto(f"{server.url}/{link}")
    panel = Panel(page)
    assert panel.q == in_link
    expect(page.get_by_text("Point 100, label 2")).to_be_visible()
    expect(page.get_by_text("seed 1")).to_be_visible()
    assert page.evaluate("elboRoom.panel.settings.values.S") == 17


@pytest.mark.slow
def test_another_theme_changes_nothing_that_was_set(new_page):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    page.mouse.click(*plot.at(*EMPTY))
    panel.text_in_link("mu=")
    q = panel.q

    def brightness() -> list[float]:
        """Of the text in the panel, of that under the pointer and of its background."""
        return page.evaluate(
            """() => {
                const thumb = getComputedStyle(document.querySelector(".elbo-thumb"));
                return [getComputedStyle(elboRoom.panel.element).color, thumb.color,
                        thumb.backgroundColor].map((colour) => colour.match(/[\\d.]+/g)
                    .slice(0, 3).reduce((sum, value) => sum + value / 765, 0));
            }"""
        )

    inks = brightness()
    assert max(inks[:2]) < 0.3
    assert inks[2] > 0.9
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        """() => getComputedStyle(document.querySelector(".elbo-thumb")).color
                 === getComputedStyle(elboRoom.panel.element).color
              && getComputedStyle(document.querySelector(".stApp")).colorScheme !== "light" """
    )
    plot, panel = Map(page), Panel(page)
    inks = brightness()
    assert min(inks[:2]) > 0.7
    assert inks[2] < 0.2
    assert panel.q == q
    page.mouse.move(*plot.at(1, -1))
    expect(page.locator(".elbo-thumb")).to_be_visible()
    with dragged(page, middle(panel.handle("mu")), (60, 60)):
        panel.rest()
        assert panel.q != q


@pytest.mark.slow
def test_after_a_rerun_the_chart_is_still_held_by_the_hand(new_page, model, embedding):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    page.mouse.click(*plot.at(*EMPTY))
    panel.text_in_link("mu=")
    q = panel.q

    def is_alive() -> None:
        plot, panel = Map(page), Panel(page)
        place = plot.at(0.3, -0.2)
        page.mouse.move(*place)
        expect(page.locator(".elbo-thumb")).to_be_visible()
        panel.rest()
        shown = panel.image(".elbo-thumb canvas")
        assert np.abs(shown - decoded(model, plot.z(*place))).max() <= 1.5
        assert middle(panel.handle("mu")) == pytest.approx(plot.at(*panel.q["mu"]), abs=1)
        expect(page.locator(".elbo-map")).to_have_count(1)

    page.get_by_text("KL", exact=True).first.click()
    panel.text_in_link("colour=KL")
    expect(plot.plot.locator(".infolayer .colorbar")).to_be_visible()
    is_alive()
    assert panel.q == q
    assert "mu=" in page.url

    number = page.get_by_label("Point, 0 to 358")
    number.fill("41")
    number.press("Enter")
    expect(page.get_by_text("Point 41, label")).to_be_visible()
    is_alive()
    assert panel.q == is_of(embedding, 41)
    with dragged(page, middle(panel.handle("mu")), (60, 60)):
        panel.rest()
    assert panel.q["mu"] != pytest.approx(embedding.mu[41], abs=0.1)


@pytest.mark.slow
def test_the_weights_cross_the_wire_once(new_page, run):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel, wire = Map(page), Panel(page), Wire.of[page]
    weights = len(pack.model_pack(run.load_model(), "digits"))
    assert weights < sum(wire.received) < 2 * weights

    def received_by(act: Callable[[], object]) -> int:
        before = len(wire.received)
        act()
        settled(page)
        return sum(wire.received[before:])

    def click() -> None:
        page.mouse.click(*plot.at(*EMPTY))
        panel.text_in_link("mu=")

    def another_point() -> None:
        plot.click(100)
        panel.text_in_link("point=100")

    def another_colour() -> None:
        page.get_by_text("KL", exact=True).first.click()
        panel.text_in_link("colour=KL")

    # Streamlit sends a component's own text with every run, and with another colour the map.
    own = len((source.module("streamlit.js") + source.css("live")).encode())
    assert received_by(click) < own + weights / 50
    assert received_by(lambda: panel.button("Resample").click()) < own + weights / 50
    assert received_by(another_point) < own + weights / 10
    # The map of another colour may come with a run for what the hand did before.
    assert received_by(another_colour) < 2 * own + weights / 10

    def there_and_back() -> None:
        page.get_by_role("link", name="Points").click()
        expect(page.get_by_text("Costliest first by")).to_be_visible()
        settled(page)
        page.get_by_role("link", name="Explore").first.click()
        Panel(page)

    assert received_by(there_and_back) < own + weights / 2
