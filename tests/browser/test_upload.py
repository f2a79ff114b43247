"""Two visitors of one server, one of whom opens a file of their own."""

import pickle
import re
import time
from pathlib import Path

import pytest
import torch
from browser.driver import put, settled
from playwright.sync_api import Page, expect


@pytest.fixture
def mine(tmp_path, tiny_run) -> Path:
    """Bare weights of a model of digits."""
    path = tmp_path / "mine.pt"
    torch.save(tiny_run(tmp_path / "run").load_model().state_dict(), path)
    return path


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def opened(page: Page) -> Page:
    expect(page.get_by_text("359 images at their μ")).to_be_visible()
    return page


def checkpoints(page: Page) -> list[str]:
    """What the picker offers."""
    field = page.get_by_role("combobox", name=re.compile("Checkpoint"))
    field.click()
    options = page.get_by_role("option")
    expect(options.first).to_be_visible()
    found = [text.partition(" · ")[0] for text in options.all_inner_texts()]
    page.keyboard.press("Escape")
    return found


@pytest.mark.slow
def test_an_upload_is_its_visitors_alone_until_it_is_kept(new_page, server, mine):
    teacher, student = opened(new_page()), opened(new_page())
    put(teacher, mine)
    expect(teacher.get_by_text("Only you see this checkpoint")).to_be_visible()
    expect(teacher.locator(".st-key-map .js-plotly-plot").last).to_be_visible()  # the old beside it
    assert "mine.pt (yours)" in checkpoints(teacher)
    student.reload()
    expect(student.get_by_text("359 images at their μ")).to_be_visible()
    assert checkpoints(student) == ["digits-2d", "sprites-2d"]
    assert sorted(p.name for p in server.checkpoints.iterdir() if p.is_dir()) == [
        "digits-2d",
        "sprites-2d",
    ]

    teacher.get_by_role("button", name="Yours").click()
    teacher.get_by_role("textbox", name="Name").fill("lecture")
    teacher.get_by_role("textbox", name="Name").press("Tab")
    settled(teacher)  # the run for the name draws the button anew
    teacher.get_by_role("button", name="Keep on this server").click()
    expect(teacher.get_by_text("Only you see this checkpoint")).to_have_count(0)
    expect(teacher).to_have_url(re.compile("run=lecture"))
    student.reload()
    expect(student.get_by_text("359 images at their μ")).to_be_visible()
    assert checkpoints(student) == ["digits-2d", "lecture", "sprites-2d"]
    # Nobody else can take it back.
    student.get_by_role("button", name="Open a file").click()
    expect(student.get_by_test_id("stPopoverBody")).to_be_visible()
    expect(student.get_by_role("button", name="Take it back")).to_have_count(0)
    teacher.get_by_role("button", name="Open a file").click()
    teacher.get_by_role("button", name="Take it back").click()
    expect(teacher).to_have_url(re.compile("run=digits-2d"))
    assert not (server.checkpoints / "lecture").exists()


def test_a_file_that_would_run_code_is_refused_and_does_not_run(new_page, tmp_path):
    page = opened(new_page())
    evil = Evil(tmp_path / "created")
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(evil))
    put(page, path)
    expect(page.get_by_test_id("stAlert").first).to_contain_text("model.pt")
    time.sleep(0.5)
    assert not evil.path.exists()
    expect(page.get_by_text("359 images at their μ")).to_be_visible()  # what was shown still is
