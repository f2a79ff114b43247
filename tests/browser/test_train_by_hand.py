"""A training as two tabs see it."""

import re

from browser.conftest import Map, settled
from playwright.sync_api import Page, expect

from vae import checkpoint, job


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
    expect(page.get_by_text(re.compile(rf"epoch \d+ of {epochs}, .*left"))).to_be_visible()


def test_a_training_started_in_one_tab_is_seen_finished_in_another(new_page, server):
    first = new_page("/train")
    start(first, "from-a-tab", epochs=40)
    # The map forms while training goes on.
    expect(first.locator(".st-key-training_map .js-plotly-plot").last).to_be_visible()
    first.close()  # closing the tab does not stop it

    second = new_page("/train")
    expect(second.get_by_label("Run")).to_have_value("from-a-tab")
    link = second.get_by_role("link", name=re.compile("Finished at epoch 40 of 40"))
    expect(link).to_be_visible(timeout=120_000)
    link.click()
    expect(second.get_by_label("Checkpoint")).to_have_value("from-a-tab")
    Map(second)
    assert checkpoint.open_run(server.checkpoints / "from-a-tab").load_embedding() is not None


def test_stop_keeps_the_last_whole_epoch(new_page, server):
    page = new_page("/train")
    start(page, "stopped-early", epochs=5000)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("link", name=re.compile("Stopped at epoch"))).to_be_visible(
        timeout=60_000
    )
    run = checkpoint.open_run(server.checkpoints / "stopped-early")
    assert job.status(run.path).state == "stopped"
    assert run.load_embedding() is not None
    assert 0 < run.load_metrics()[-1]["epoch"] < 5000


def test_a_diverging_training_says_so_and_keeps_what_was_good(new_page, server):
    page = new_page("/train")
    expect(page.get_by_text("Train a model")).to_be_visible()
    page.get_by_text("Layers and learning rate").click()
    fill(page, "Learning rate", "100000")
    fill(page, "Name", "diverged")
    page.get_by_role("button", name="Train", exact=True).click()
    message = page.get_by_text(re.compile("the loss stopped being finite in epoch \\d+, step \\d+"))
    expect(message).to_be_visible(timeout=60_000)
    checkpoint.open_run(server.checkpoints / "diverged").load_model()
