"""A visitor's own checkpoint in the sidebar."""

import io
import pickle
import tomllib
from pathlib import Path

import pytest
import torch
from formats import strangers
from streamlit.testing.v1 import AppTest

from vae.formats import uploads
from vae.ui import policy

APP = Path(__file__).resolve().parents[2] / "app.py"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(uploads.tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def opened(app, checkpoints, tiny_run) -> AppTest:
    tiny_run(checkpoints / "tiny")
    return app.run()


def saved(run) -> bytes:
    stream = io.BytesIO()
    torch.save(run.load_model().state_dict(), stream)
    return stream.getvalue()


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    field = next(f for f in app.sidebar.file_uploader)
    field.set_value([(name, data, "application/octet-stream") for name, data in files]).run()
    assert not app.exception, app.exception[0].value
    return app


def said(app: AppTest) -> str:
    shown = [*app.error, *app.warning, *app.caption, *app.sidebar.error, *app.sidebar.caption]
    return "\n".join(str(element.value) for element in shown).replace("\\", "")


def names(app: AppTest) -> list[str]:
    return [option.partition(" · ")[0] for option in app.sidebar.selectbox[0].options]


def test_an_upload_is_chosen_and_every_page_opens_on_it(opened, checkpoints, tiny_run, tmp_path):
    upload(opened, ("mine.pt", saved(tiny_run(tmp_path / "mine"))))
    assert names(opened) == ["mine.pt (yours)", "tiny"]
    assert opened.sidebar.selectbox[0].value == "mine.pt (yours)"
    assert "Only you see this checkpoint" in said(opened)
    for page in ("points", "train", "inference", "gaussians", "diagnose", "compare", "explore"):
        opened.switch_page(f"pages/{page}.py").run()
        assert not opened.exception, page
        assert opened.sidebar.selectbox[0].value == "mine.pt (yours)"
    assert {path.name for path in checkpoints.iterdir()} == {"tiny", ".names"}  # of Train's form


def test_a_run_folder_is_uploaded_as_its_files(opened, tiny_run, tmp_path):
    run = tiny_run(tmp_path / "mine")
    files = [(p.name, p.read_bytes()) for p in run.path.iterdir() if p.is_file()]
    upload(opened, *files)
    assert opened.sidebar.selectbox[0].value == "checkpoint (yours)"
    assert opened.sidebar.selectbox[1].value == "digits held-out"


def test_the_limit_that_is_told_is_the_servers_and_is_held(opened, tiny_run, tmp_path):
    settings = tomllib.loads((APP.parent / ".streamlit" / "config.toml").read_text())
    megabytes = settings["server"]["maxUploadSize"]
    assert f"At most {megabytes} MB together" in said(opened)
    upload(opened, ("mine.pt", saved(tiny_run(tmp_path / "mine"))))
    assert opened.session_state["_visit"].uploads.max_bytes == megabytes * 2**20


def test_kept_it_is_there_for_the_next_visitor(opened, checkpoints, tiny_run, tmp_path):
    upload(opened, ("mine.pt", saved(tiny_run(tmp_path / "mine"))))
    assert opened.sidebar.text_input[0].value == "mine"
    opened.sidebar.text_input[0].set_value("lecture")
    opened.sidebar.button(key="keep_upload").click().run()
    assert opened.sidebar.selectbox[0].value == "lecture"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["lecture", "tiny"]
    assert "Only you see" not in said(opened)
    another = AppTest.from_file(APP, default_timeout=120).run()
    assert names(another) == ["lecture", "tiny"]
    assert "discard_lecture" not in [button.key for button in another.sidebar.button]
    opened.sidebar.button(key="discard_lecture").click().run()
    assert names(opened) == ["tiny"]


def test_another_visitor_sees_nothing_of_an_upload(opened, tiny_run, tmp_path):
    upload(opened, ("mine.pt", saved(tiny_run(tmp_path / "mine"))))
    another = AppTest.from_file(APP, default_timeout=120)
    another.query_params["run"] = "mine.pt (yours)"  # not even by its link
    another.run()
    assert names(another) == ["tiny"]
    assert another.sidebar.selectbox[0].value == "tiny"
    assert "There is no checkpoint named mine.pt" in said(another)


def test_a_page_that_is_loaded_again_shows_the_upload(opened, tiny_run, tmp_path):
    upload(opened, ("mine.pt", saved(tiny_run(tmp_path / "mine"))))
    link = dict(opened.query_params)
    again = AppTest.from_file(APP, default_timeout=120)
    for name, value in link.items():
        again.query_params[name] = value
    again.run()
    assert again.sidebar.selectbox[0].value == "mine.pt (yours)"
    assert "There is no checkpoint" not in said(again)
    again.sidebar.selectbox[0].set_value("tiny").run()
    assert "visit" not in again.query_params  # a link to another checkpoint gives nothing away


def test_a_name_that_is_taken_is_a_sentence_and_the_upload_stays(opened, tiny_run, tmp_path):
    upload(opened, ("mine.pt", saved(tiny_run(tmp_path / "mine"))))
    opened.sidebar.text_input[0].set_value("tiny")
    opened.sidebar.button(key="keep_upload").click().run()
    assert "a run named 'tiny' exists already" in said(opened)
    assert opened.sidebar.selectbox[0].value == "mine.pt (yours)"


def test_removed_it_is_gone(opened, tiny_run, tmp_path, temporary):
    upload(opened, ("mine.pt", saved(tiny_run(tmp_path / "mine"))))
    opened.sidebar.button(key="remove_upload").click().run()
    assert names(opened) == ["tiny"]
    assert all(path.name.endswith(".lock") for path in temporary.rglob("*") if path.is_file())
    assert not opened.warning


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["model.pt", "encoder.pkl", "<b>x</b>.bin"])
def test_a_pickle_that_would_run_code_is_a_sentence(opened, name, tmp_path):
    evil = Evil(tmp_path / "created")
    upload(opened, (name, pickle.dumps(evil)))
    assert not evil.path.exists()
    assert opened.sidebar.error
    assert names(opened) == ["tiny"]
    assert opened.sidebar.selectbox[0].value == "tiny"  # what was shown is shown still


def test_with_no_checkpoint_at_all_one_can_be_uploaded(app, checkpoints, tiny_run, tmp_path):
    app.run()
    upload(app, ("mine.pt", saved(tiny_run(tmp_path / "mine"))))
    assert names(app) == ["mine.pt (yours)"]


@pytest.mark.slow
def test_an_upload_is_read_by_choice_under_its_own_name(opened):
    file = io.BytesIO()
    torch.save(strangers.state_dict(), file)
    upload(opened, ("stranger.pt", file.getvalue()))
    (field,) = [box for box in opened.sidebar.selectbox if box.label == "Input"]
    field.set_value("[-1, 1]").run()
    assert not opened.exception
    assert any("Do not trust the numbers below" in box.value for box in opened.warning)
    assert names(opened)[0] == "stranger.pt (yours)"


@pytest.mark.parametrize(("name", "value"), [("most_upload_mb", 0), ("least_free_mb", 10**12)])
def test_an_upload_beyond_the_owners_limit_is_refused(
    name, value, opened, tiny_run, tmp_path, temporary, monkeypatch
):
    monkeypatch.setenv(policy.variable(name), str(value))
    upload(opened, ("mine.pt", saved(tiny_run(tmp_path / "mine"))))
    assert f"whoever runs this server sets VAE_{name.upper()}" in said(opened)
    assert names(opened) == ["tiny"]
    assert not list(temporary.rglob("*.pt"))


def test_nothing_is_kept_where_the_disk_has_too_little_room(
    opened, checkpoints, tiny_run, tmp_path, monkeypatch
):
    upload(opened, ("mine.pt", saved(tiny_run(tmp_path / "mine"))))
    monkeypatch.setenv("VAE_LEAST_FREE_MB", str(10**12))
    opened.button(key="keep_upload").click().run()
    assert "whoever runs this server sets VAE_LEAST_FREE_MB" in said(opened)
    assert {path.name for path in checkpoints.iterdir() if path.name[0] != "."} == {"tiny"}
