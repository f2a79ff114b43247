"""What a hand does on Inference."""

import re

import pytest
from browser.driver import Map, settled
from playwright.sync_api import Page, expect

from vae.runs import checkpoint

LEFT_OVER = "left over"  # the last that the page shows


def metrics(page: Page) -> dict[str, float]:
    """All metrics, read at one instant, once the last of them is there."""
    expect(page.get_by_test_id("stMetricLabel").filter(has_text=LEFT_OVER)).to_be_visible()
    found = page.get_by_test_id("stMetric").evaluate_all(
        """(metrics) => metrics.map((metric) => ["Label", "Value"].map(
            (part) => metric.querySelector(`[data-testid=stMetric${part}]`).innerText.trim()))"""
    )
    return {name: float(value.replace(",", "")) for name, value in found}


def found(page: Page) -> None:
    """Waits until the gap is split: the page then rests."""
    expect(page.get_by_text("(amortisation)")).to_be_visible()
    settled(page)


@pytest.mark.slow
def test_the_point_chosen_on_explore_is_the_one_that_is_inferred(new_page):
    page = new_page()
    Map(page).click(100)
    expect(page.get_by_text("Point 100, label")).to_be_visible()
    page.get_by_role("link", name="Inference").click()
    found(page)
    expect(page.get_by_label("Point, 0 to 358")).to_have_value("100")
    assert "point=100" in page.url
    shown = metrics(page)
    total = shown["ELBO, nats"] + shown["gap, nats"] + shown[LEFT_OVER]
    assert total == pytest.approx(shown["log p(x), nats"], abs=0.02)
    assert abs(shown[LEFT_OVER]) < 0.3
    # The picture holds q, the posterior, and the best Gaussian.
    names = page.locator(".st-key-neighbourhood .legendtext").all_text_contents()
    assert {"q(z|x)", "p(z|x)", "best Gaussian"} <= {name.strip() for name in names}


@pytest.mark.slow
def test_a_link_opens_the_section_and_draws_change_the_estimate(new_page):
    page = new_page("/inference?run=digits-2d&point=100&section=Monte+Carlo")
    found(page)
    told = page.get_by_text(re.compile(r"1,000 draws with seed 0: .* integral"))
    expect(told).to_be_visible()
    page.get_by_role("button", name="Draw again").click()
    expect(page.get_by_text(re.compile(r"1,000 draws with seed 1: .* integral"))).to_be_visible()


@pytest.mark.slow
def test_the_walk_through_leads_to_the_gradients(new_page):
    page = new_page("/inference?run=digits-2d&point=100")
    found(page)
    page.get_by_role("link", name="Show it on the map").click()
    expect(page.locator(".st-key-neighbourhood")).to_be_in_viewport()
    page.get_by_role("tab", name="6. Gradients").click()
    page.get_by_role("button", name="Show gradients").click()
    expect(page.get_by_text("All three have the same mean.")).to_be_visible()
    assert "section=Gradients" in page.url
    expect(page.locator(".st-key-clouds .js-plotly-plot")).to_be_visible()


@pytest.mark.slow
def test_the_whole_set_is_computed_and_a_click_on_a_gap_chooses_its_point(new_page, server):
    stored = checkpoint.open_run(server.checkpoints / "digits-2d")
    (stored.path / checkpoint.evidence_file("digits", "test")).unlink()  # it is computed anew
    page = new_page("/inference?run=digits-2d&point=100&section=The+whole+set")
    found(page)
    page.get_by_role("button", name=re.compile(r"Compute log p\(x\)")).click()
    expect(page.get_by_text("exact, by quadrature: mean")).to_be_visible()
    settled(page)
    chart = Map(page, "gaps")
    worst = int(stored.load_evidence("digits", "test").gap.argmax())  # nothing lies above it
    page.mouse.click(*chart.place(worst))
    expect(page.get_by_label(re.compile("Point, 0 to"))).to_have_value(str(worst))
    settled(page)
    # Another visit has it at once.
    page.goto(f"{server.url}/inference?run=digits-2d&section=The+whole+set")
    expect(page.get_by_text("exact, by quadrature: mean")).to_be_visible()
