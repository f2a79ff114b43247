"""Images of one's own, from the file to the map, as a visitor meets them."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from browser.driver import Map, settled
from PIL import Image
from playwright.sync_api import expect


@pytest.fixture
def archive(tmp_path) -> Path:
    """Bright and dark pictures in colour, one that is none, and one that is cut short."""
    random = np.random.default_rng(0)
    path = tmp_path / "lights.zip"
    with zipfile.ZipFile(path, "w") as files:
        for name, low, high in (("dark", 0, 90), ("bright", 160, 256)):
            for i in range(30):
                file = io.BytesIO()
                pixels = random.integers(low, high, (40 + i, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(file, "PNG")
                files.writestr(f"lights/{name}/{i}.png", file.getvalue())
        files.writestr("lights/dark/text.png", b"hello")
        files.writestr("lights/dark/short.png", file.getvalue()[:500])
    return path


@pytest.mark.slow
def test_images_go_from_the_file_over_the_preview_and_a_training_to_the_map(
    new_page, server, archive
):
    page = new_page("/train")
    page.get_by_role("button", name="Use your own data").click()
    page.locator(".st-key-own_file input[type=file]").set_input_files(archive)
    use = page.get_by_role("button", name="Use these")
    expect(use).to_have_text("checkUse these 61 images, without the 1 bad")
    expect(page.get_by_text("Everyone who opens this server sees them")).to_be_visible()
    settled(page)
    use.click()
    expect(page.get_by_text("1 more could not be decoded. Nothing was kept yet.")).to_be_visible()
    expect(use).to_have_text("checkUse these 60 images, without the 2 bad")
    settled(page)
    use.click()
    expect(page.get_by_text("60 images from lights.zip")).to_be_visible()
    settled(page)

    page.get_by_label("Epochs", exact=True).fill("6")
    page.keyboard.press("Tab")
    settled(page)
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_label("Run", exact=True)).to_have_value("lights-2d")
    expect(page.get_by_text("epochs, finished")).to_be_visible()
    page.locator(".stMain").get_by_role("link", name="Explore").click()
    expect(page.get_by_label("Checkpoint")).to_have_value(re.compile("^lights-2d "))
    Map(page)
    expect(page.get_by_text("12 images at their")).to_be_visible()
    expect(page.get_by_text("trained on; resized")).not_to_be_attached()

    page = new_page("/?run=digits-2d&data=lights+held-out")  # of another model
    expect(
        page.get_by_text("Not what digits-2d was trained on; resized to 8 x 8, grey.")
    ).to_be_visible()
    Map(page)
    expect(page.get_by_text("12 images at their")).to_be_visible()
