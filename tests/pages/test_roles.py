"""A server on which visitors only look."""

import numpy as np
import pytest
from pages.test_upload import names, saved, upload

from vae.data import own
from vae.runs import checkpoint, makers
from vae.runs.status import Status, write_status
from vae.ui import owner, roles

CHANGES = {"Train", "Stop", "Resume", "Duplicate", "Rename", "Delete", "Use your own data"}


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
    assert buttons(looking) >= {"Train", "Duplicate", "Rename", "Delete", "Use your own data"}


def test_a_press_from_before_the_owner_said_so_changes_nothing(training, checkpoints, monkeypatch):
    monkeypatch.setenv("VAE_READ_ONLY", "1")
    press(training, "Delete")
    assert checkpoint.open_run(checkpoints / "tiny").name == "tiny"
    assert any("models are looked at" in error.value for error in training.error)


def test_where_nothing_may_be_trained_nobody_is_told_to_train(app, checkpoints, monkeypatch):
    monkeypatch.setenv("VAE_READ_ONLY", "1")
    (said,) = app.run().info
    assert "no checkpoint that can be opened" in said.value
    assert "Open a file of your own" in said.value


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


# Who made what.

ALTERS = {"Rename", "Delete"}


@pytest.fixture
def stranger(training, connection):
    """A visitor from elsewhere on the Train page."""
    connection.remote_ip = "203.0.113.7"
    return training.run()


def log_in(monkeypatch, email: str, **more) -> None:
    """As Streamlit has it once somebody has logged in."""
    told = {"is_logged_in": True, "email": email, **more}
    monkeypatch.setattr(roles.st, "user", type("User", (), {"to_dict": lambda _: told})())


def test_what_others_made_can_be_copied_and_not_changed(stranger):
    assert "Duplicate" in buttons(stranger)
    assert not buttons(stranger) & ALTERS


def test_what_a_visitor_trains_is_theirs(stranger, checkpoints, monkeypatch, connection):
    monkeypatch.setattr("vae.runs.queue.start_worker", lambda folder: None)
    press(stranger, "Train")
    (path,) = (p for p in checkpoints.iterdir() if p.name not in ("tiny",) and p.name[0] != ".")
    assert buttons(stranger) >= ALTERS | {"Stop"}
    token = stranger.session_state["_visitor"]
    assert token not in (path / ".maker").read_text()
    del stranger.session_state["_visitor"]  # the page is loaded again, without its cookie
    assert not buttons(stranger.run()) & (ALTERS | {"Stop"})
    del stranger.session_state["_visitor"]
    connection.cookies["elbo-room-visitor"] = token  # and with it
    assert buttons(stranger.run()) >= ALTERS | {"Stop"}


@pytest.mark.parametrize("label", ["Delete", "Rename", "Stop", "Resume"])
def test_a_press_on_what_is_anothers_changes_nothing(label, training, checkpoints, connection):
    state = {"Stop": "queued", "Resume": "stopped"}.get(label, "finished")
    write_status(checkpoints / "tiny", Status(state))
    training.run()
    before = {p.name: p.read_bytes() for p in (checkpoints / "tiny").iterdir() if p.is_file()}
    connection.remote_ip = "203.0.113.7"  # the button is still there
    press(training, label)
    assert any("Another visitor made this" in error.value for error in training.error)
    files = (p for p in (checkpoints / "tiny").iterdir() if p.is_file())
    assert {p.name: p.read_bytes() for p in files} == before


def test_who_logs_in_as_the_owner_may_change_all(stranger, monkeypatch):
    monkeypatch.setenv("VAE_OWNER", "a@example.org, Teacher@Example.org")
    log_in(monkeypatch, "teacher@example.org")
    assert buttons(stranger.run()) >= ALTERS
    for email, more in (
        ("student@example.org", {}),
        ("", {}),
        ("teacher@example.org", {"email_verified": False}),
        ("teacher@example.org", {"is_logged_in": False}),
    ):
        log_in(monkeypatch, email, **more)
        assert not buttons(stranger.run()) & ALTERS, (email, more)


def test_the_owner_changes_things_where_visitors_only_look(stranger, monkeypatch):
    monkeypatch.setenv("VAE_OWNER", "teacher@example.org")
    monkeypatch.setenv("VAE_READ_ONLY", "1")
    assert not buttons(stranger.run()) & CHANGES
    log_in(monkeypatch, "teacher@example.org")
    assert buttons(stranger.run()) >= ALTERS | {"Train"}


def test_where_an_owner_is_named_nobody_is_at_home(training, monkeypatch):
    assert buttons(training) >= ALTERS
    monkeypatch.setenv("VAE_OWNER", "teacher@example.org")
    assert not buttons(training.run()) & ALTERS


def test_a_data_set_is_removed_by_who_made_it_alone(
    training, connection, tmp_path, tmp_path_factory, monkeypatch
):
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    np.save(tmp_path / "a.npy", np.arange(1280, dtype=np.uint8).reshape(20, 8, 8))
    own.add(tmp_path / "a.npy", "mine")
    press(training, "Use your own data")
    assert "Remove mine" in buttons(training)
    connection.remote_ip = "203.0.113.7"
    press(training, "Remove mine")
    assert own.names() == ["mine"]
    assert "Remove mine" not in buttons(training.run())
    makers.mark(own.own_path("mine"), roles._digest(f"cookie {training.session_state['_visitor']}"))
    press(training.run(), "Remove mine")
    assert own.names() == []
    assert list((tmp_path / "data" / "own").iterdir()) == []


def test_log_in_is_offered_where_it_is_set_up(stranger, monkeypatch):
    assert not {"Log in", "Log out"} & buttons(stranger)
    monkeypatch.setattr(roles.auth_util, "is_authlib_installed", lambda: True)
    section = {"client_id": "x", "cookie_secret": "y"}
    monkeypatch.setattr(roles.auth_util, "get_secrets_auth_section", lambda: section)
    assert "Log in" in buttons(stranger.run())
    log_in(monkeypatch, "student@example.org")
    assert "Log out" in buttons(stranger.run())
    assert "Log in" not in buttons(stranger)


def test_what_the_owner_wrote_wrongly_is_on_every_page(stranger, tmp_path, monkeypatch):
    monkeypatch.setattr(owner, "FILE", tmp_path / "elbo.toml")
    owner.FILE.write_text("[limits]\nmost_queue = 1\n[roles]\nread_only = 'x'\n")
    for page in ("pages/train.py", "pages/explore.py"):
        stranger.switch_page(page).run()
        said = " ".join(warning.value for warning in stranger.warning)
        assert "may be meant" in said
        assert "must be true or false" in said
        assert not stranger.exception
