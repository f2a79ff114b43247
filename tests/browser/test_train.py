"""A training as two tabs see it."""

import re

import pytest
from browser.driver import Map, settled
from PIL import Image
from playwright.sync_api import Page, expect

from vae.runs import checkpoint
from vae.runs.status import read_status


def fill(page: Page, label: str, value: str) -> None:
    page.get_by_label(label, exact=True).fill(value)
    page.keyboard.press("Tab")
    settled(page)


def start(page: Page, name: str, epochs: int) -> None:
    expect(page.get_by_text("Train a model")).to_be_visible()
    settled(page)
    fill(page, "Epochs", str(epochs))
    fill(page, "Name", name)
    page.get_by_role("button", name="Train", exact=True).click()
    told = page.get_by_text(re.compile(rf"epoch \d+ of {epochs}, .*left"))
    expect(told).to_be_visible()


def epochs_of_the_film(page: Page) -> list[int]:
    labels = page.locator(".st-key-film .slider-labels text").all_text_contents()
    return [int(label) for label in labels]


def shown_epoch(page: Page) -> int:
    text = page.locator(".st-key-film .slider-current-value, .st-key-film .slider-label").first
    return int(text.text_content().removeprefix("epoch "))


def points_on_the_map(page: Page) -> list[float]:
    """The z1 of the points that the film shows at this moment."""
    return page.evaluate(
        """() => {
            const chart = document.querySelector(".st-key-film .js-plotly-plot");
            return chart._fullData.filter(t => t.type == "scattergl").flatMap(t => [...t.x]);
        }"""
    )


@pytest.mark.slow
def test_a_training_started_in_one_tab_is_seen_finished_in_another(new_page, server):
    first = new_page("/train")
    start(first, "from-a-tab", epochs=15)
    expect(first.locator(".st-key-film .js-plotly-plot").last).to_be_visible()
    first.close()  # closing the tab does not stop it

    second = new_page("/train?run=from-a-tab")
    expect(second.get_by_label("Run", exact=True)).to_have_value("from-a-tab")
    expect(second.get_by_text("epochs, finished")).to_be_visible()
    expect(second.get_by_text("15 of 15").first).to_be_visible()
    second.locator(".stMain").get_by_role("link", name="Explore").click()
    expect(second.get_by_label("Checkpoint")).to_have_value(re.compile("^from-a-tab "))
    Map(second)
    assert checkpoint.open_run(server.checkpoints / "from-a-tab").load_embedding() is not None


@pytest.mark.slow
def test_the_film_grows_and_a_stopped_run_goes_on(new_page, server):
    page = new_page("/train")
    start(page, "film", epochs=400)
    expect(page.locator(".st-key-film .js-plotly-plot").last).to_be_visible()
    early = epochs_of_the_film(page)
    page.wait_for_function(
        "n => document.querySelectorAll('.st-key-film .slider-labels text').length > n",
        arg=len(early) + 1,
    )
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("epochs, stopped")).to_be_visible()
    run = checkpoint.open_run(server.checkpoints / "film")
    assert read_status(run.path).state == "stopped"
    stopped_at = run.load_metrics()[-1]["epoch"]
    assert 0 < stopped_at < 400
    assert run.load_embedding() is not None

    settled(page)  # the page draws itself anew once the run has stopped
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("epochs, running")).to_be_visible()
    page.wait_for_function(
        "n => document.querySelectorAll('.st-key-film .slider-labels text').length > n",
        arg=len(epochs_of_the_film(page)) + 1,
    )
    assert run.load_metrics()[-1]["epoch"] > stopped_at
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("epochs, stopped")).to_be_visible()
    settled(page)

    # The lattice's first row is its uppermost: Plotly turns pictures over on an upward axis.
    assert "scale(" not in (page.locator(".st-key-film image").first.get_attribute("style") or "")

    # Scrubbing moves the map through the epochs and leaves the axes alone.
    chart = page.locator(".st-key-film .js-plotly-plot")
    ranges = chart.evaluate("c => [c._fullLayout.xaxis.range, c._fullLayout.yaxis.range].flat()")
    last = points_on_the_map(page)
    rail = page.locator(".st-key-film .slider-rail-touch-rect")
    box = rail.bounding_box()
    page.mouse.click(box["x"] + 15, box["y"] + box["height"] / 2)
    page.wait_for_function(
        "old => document.querySelector('.st-key-film .js-plotly-plot')._fullData[0].x[0] != old",
        arg=last[0],
    )
    first = points_on_the_map(page)
    assert len(first) == len(last) == 359
    assert max(map(abs, first)) < max(map(abs, last))  # untrained: all near one place
    assert ranges == chart.evaluate(
        "c => [c._fullLayout.xaxis.range, c._fullLayout.yaxis.range].flat()"
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="Film").last.click()
    html = download.value.path().read_text()
    assert download.value.suggested_filename == "film-film.html"
    assert "Plotly.addFrames" in html
    with page.expect_download() as download:
        page.get_by_role("button", name="GIF").last.click()
    assert download.value.suggested_filename == "film-film.gif"
    with Image.open(download.value.path()) as animation:
        assert (animation.format, animation.n_frames) == ("GIF", len(epochs_of_the_film(page)))

    page.locator(".stMain").get_by_role("link", name="Explore").click()
    expect(page.get_by_label("Checkpoint")).to_have_value(re.compile("^film "))
    Map(page)


@pytest.mark.slow
def test_a_diverging_training_says_so_and_keeps_what_was_good(new_page, server):
    page = new_page("/train")
    expect(page.get_by_text("Train a model")).to_be_visible()
    page.get_by_text("Optimisation").click()
    fill(page, "Learning rate", "100000")
    fill(page, "Name", "diverged")
    page.get_by_role("button", name="Train", exact=True).click()
    message = page.get_by_text(re.compile("the loss stopped being finite in epoch \\d+, step \\d+"))
    expect(message).to_be_visible()
    checkpoint.open_run(server.checkpoints / "diverged").load_model()
