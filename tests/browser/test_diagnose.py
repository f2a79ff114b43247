"""What a hand does on Diagnose."""

import re

import pytest
from browser.driver import settled
from playwright.sync_api import expect


@pytest.mark.slow
def test_a_link_opens_a_check_and_the_threshold_moves_the_answer(new_page, server):
    page = new_page("/diagnose?run=digits-2d")
    expect(page.get_by_role("heading", name=re.compile("Healthy"))).to_be_visible()
    expect(page.get_by_text("by mean KL > 0.01 nats")).to_be_visible()
    thumb = page.get_by_role("slider", name="A dimension is active above")
    thumb.focus()
    for _ in range(20):
        thumb.press("ArrowRight")
    expect(page.get_by_text("by mean KL > 5 nats")).to_be_visible()
    expect(page.get_by_text("Below the line: z₁, z₂.")).to_be_visible()
    page.get_by_role("radio", name="Aggregate posterior").click()
    expect(page.locator(".st-key-ratio .js-plotly-plot")).to_be_visible()
    page.wait_for_function("location.search.includes('check=Aggregate')")
    page.goto(f"{server.url}/diagnose?run=digits-2d&check=Marginals")
    expect(page.locator(".st-key-quantiles .js-plotly-plot")).to_be_visible()
    expect(page.get_by_text("MMD² =")).to_be_visible()


def test_the_worst_outlier_is_chosen_for_all_pages(new_page):
    page = new_page("/diagnose?run=digits-2d&check=Outliers")
    table = page.locator(".st-key-outliers [data-testid=stDataFrame]")
    expect(table).to_be_visible()
    settled(page)
    box = table.bounding_box()
    page.mouse.click(box["x"] + 17, box["y"] + 60)  # the box before the first row
    page.wait_for_function("/point=[1-9]/.test(location.search)")
    settled(page)
    chosen = re.search(r"point=(\d+)", page.url)[1]
    page.get_by_role("link", name="Inference").click()
    expect(page.get_by_label("Point, 0 to 358")).to_have_value(chosen)
