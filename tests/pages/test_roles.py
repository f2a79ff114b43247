"""A server on which visitors only look."""

import pytest
from pages.test_upload import names, saved, upload

from vae.runs import checkpoint
from vae.ui import roles

CHANGES = {"Train", "Stop", "Resume", "Duplicate", "Rename", "Delete", "Use your own images"}


@pytest.fixture
def looking(app, checkpoints, tiny_run, monkeypatch):
    monkeypatch.setenv("VAE_READ_ONLY", "1")
    tiny_run(checkpoints / "tiny")
    return app.run()


@pytest.fixture
def training(app, checkpoints, tiny_run):
    """The Train page of a server whose owner has said nothing yet."""
    tiny_run(checkpoints / "tiny")
    return app.run().switch_page("pages/train.py").run()


def press(app, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()


def buttons(app) -> set[str]:
    return {button.label for button in app.button}


def test_nothing_on_the_train_page_changes_anything(looking, monkeypatch):
    looking.switch_page("pages/train.py").run()
    assert not looking.exception
    assert any("models are looked at" in info.value for info in looking.info)
    assert not buttons(looking) & CHANGES
    assert looking.metric  # the run is there to be looked at
    monkeypatch.delenv("VAE_READ_ONLY")
    looking.run()
    assert buttons(looking) >= {"Train", "Duplicate", "Rename", "Delete", "Use your own images"}


def test_a_press_from_before_the_owner_said_so_changes_nothing(training, checkpoints, monkeypatch):
    monkeypatch.setenv("VAE_READ_ONLY", "1")
    press(training, "Delete")
    assert checkpoint.open_run(checkpoints / "tiny").name == "tiny"
    assert any("models are looked at" in error.value for error in training.error)


def test_a_file_is_opened_for_its_visitor_and_cannot_be_kept(
    looking, checkpoints, tiny_run, tmp_path
):
    upload(looking, ("mine.pt", saved(tiny_run(tmp_path / "mine"))))
    assert names(looking)[0] == "mine.pt (yours)"
    labels = {button.label for button in looking.sidebar.button}
    assert "Remove" in labels
    assert "Keep on this server" not in labels
    assert {path.name for path in checkpoints.iterdir() if path.name[0] != "."} == {"tiny"}


def test_every_page_opens(looking):
    for page in ("traverse", "points", "inference", "diagnose", "compare", "gaussians", "explore"):
        looking.switch_page(f"pages/{page}.py").run()
        assert not looking.exception, page
        assert not looking.error, page
    assert not roles.may_change()


def test_more_than_the_owner_allows_is_refused_and_makes_nothing(
    training, checkpoints, monkeypatch
):
    monkeypatch.setenv("VAE_MOST_EPOCHS", "1")
    press(training, "Train")
    assert any("VAE\\_MOST\\_EPOCHS" in error.value for error in training.error)
    assert {path.name for path in checkpoints.iterdir() if path.name[0] != "."} == {"tiny"}
