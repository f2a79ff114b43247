"""The Train page's form without a browser: what it refuses, and in which words."""

import json
import shutil
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from vae import config
from vae.config import ModelConfig, TrainConfig
from vae.data import builtin, catalogue
from vae.inference import evidence
from vae.runs import checkpoint, queue
from vae.runs.refit import refit
from vae.runs.status import read_status
from vae.ui.results import waiting


@pytest.fixture(autouse=True)
def started(monkeypatch) -> list[str]:
    """What would have been started: no test here trains in another process."""
    calls = []
    monkeypatch.setattr(queue, "start_worker", lambda folder: calls.append("worker"))
    monkeypatch.setattr(queue, "start_now", lambda path: calls.append(path.name))
    return calls


@pytest.fixture
def train(app, checkpoints, tiny_run) -> AppTest:
    tiny_run(checkpoints / "tiny")
    return app.run().switch_page("pages/train.py").run()


def runs_in(folder: Path) -> set[str]:
    """Without what is kept beside them, such as the names that are reserved."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def press_train(app: AppTest) -> list[str]:
    next(button for button in app.button if button.label.startswith("Train")).click().run()
    assert not app.exception
    return [error.value.replace("\\", "") for error in app.error]


def refused(app: AppTest) -> list[str]:
    """What is said before anything is pressed, which then cannot be."""
    assert next(button for button in app.button if button.label.startswith("Train")).disabled
    return [error.value.replace("\\", "") for error in app.error]


@pytest.mark.parametrize(
    ("label", "value", "sentence"),
    [
        ("Epochs", 0, "Epochs (=0) must be at least 1"),
        ("Weight average", 1.0, "Weight average (=1.0) must be at least 0 and below 1"),
        ("Learning rate", 0.0, "Learning rate (=0.0) must be above 0"),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_value(label, value, sentence, train, checkpoints):
    next(box for box in train.number_input if box.label == label).set_value(value).run()
    assert any(sentence in error for error in refused(train))
    assert runs_in(checkpoints) == {"tiny"}


@pytest.mark.parametrize(
    ("label", "text", "sentence"),
    [
        ("Name", "../escape", "name (='../escape') must be"),
        ("Name", "a/b", "name (='a/b') must be"),
        ("Name", "", "name (='') must be"),
        ("Name", "tiny", "a run named 'tiny' exists already"),
        ("Widths", "64,many", "Layers (='64,many') must be whole numbers"),
        ("Dimensions k", "0", "Dimensions k (=0) must be at least 1"),
        ("Dimensions k", "two", "Dimensions k (='two') must be one or more whole numbers"),
        ("Dimensions k", "2, 2", "Dimensions k (='2, 2') must be 1 to 12 different values"),
        ("β, weight of KL", "1; 2", "β, weight of KL (='1; 2') must be one or more numbers"),
        ("β, weight of KL", "nan", "β, weight of KL (=nan) must be finite"),
    ],
)
def test_a_text_that_cannot_be_used_is_quoted(label, text, sentence, train, checkpoints):
    next(box for box in train.text_input if box.label == label).set_value(text).run()
    assert any(sentence in error for error in refused(train))
    assert runs_in(checkpoints) == {"tiny"}


def test_a_data_set_that_cannot_be_fetched_says_what_to_do(train, monkeypatch, tmp_path):
    def no_network(*arguments):
        raise OSError("no network")

    monkeypatch.setenv("VAE_DATA", str(tmp_path / "empty"))
    monkeypatch.setattr(builtin, "_fetch", no_network)
    train.selectbox(key="train_data").set_value("kmnist").run()
    errors = press_train(train)
    assert any("could not be fetched" in error and ".gz" in error for error in errors)


@pytest.mark.parametrize(
    ("state", "age", "expected"),
    [
        ("failed", 0, "diverged here"),
        ("running", 3600, "ended at epoch"),
        ("interrupted", 0, "ended at epoch"),
        ("stopped", 0, None),
    ],
)
def test_the_page_says_how_a_run_ended(state, age, expected, train, checkpoints):
    status = {"state": state, "message": "diverged here", "updated": time.time() - age}
    (checkpoints / "tiny" / "status.json").write_text(json.dumps(status))
    train.run()
    assert not train.exception
    said = [element.value for element in (*train.error, *train.warning)]
    ends = [text for text in said if "ended" in text or "diverged" in text]
    assert any(expected in text for text in ends) if expected else not ends


def test_a_link_of_the_finished_run_leads_to_explore(train):
    assert {metric.label: metric.value for metric in train.metric}["epochs, finished"] == "2 of 2"


def test_one_checkpoint_is_selected_on_this_page_and_on_the_others(train, checkpoints, tiny_run):
    tiny_run(checkpoints / "other")
    train.run()
    train.sidebar.selectbox(key="pick_run").set_value("other").run()
    assert train.selectbox(key="watched").value == "other"
    train.selectbox(key="watched").set_value("tiny").run()
    assert train.sidebar.selectbox(key="pick_run").value == "tiny"
    train.switch_page("pages/explore.py").run()
    assert train.sidebar.selectbox(key="pick_run").value == "tiny"


@pytest.mark.parametrize(("is_here", "expected"), [(True, "mnist"), (False, "digits")])
def test_the_form_begins_with_the_selected_data_if_they_can_be_trained_on_at_once(
    app, checkpoints, tiny_run, monkeypatch, is_here, expected
):
    from vae.data.dataset import Source

    tiny_run(checkpoints / "tiny")
    app.session_state["data"] = "mnist held-out"
    monkeypatch.setattr(Source, "is_here", lambda _, split: is_here)
    app.run()
    app.switch_page("pages/train.py").run()
    assert app.selectbox(key="train_data").value == expected


def text(app: AppTest, label: str, value: str) -> None:
    next(box for box in app.text_input if box.label == label).set_value(value).run()


def press(app: AppTest, label: str) -> list[str]:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return [error.value.replace("\\", "") for error in app.error]


def test_train_queues_one_run_and_watches_it(train, checkpoints, started):
    text(train, "Name", "mine")
    assert press_train(train) == []
    assert started == ["worker"]
    assert read_status(checkpoints / "mine").state == "queued"
    assert train.selectbox(key="watched").value == "mine"
    assert any(
        "In the queue at epoch 0 of 200. It is the next: the process" in i.value for i in train.info
    )


def test_two_visitors_are_proposed_different_names(train, checkpoints):
    def proposed(app: AppTest) -> str:
        return next(box.value for box in app.text_input if box.label == "Name")

    other = AppTest.from_file(train._script_path, default_timeout=120).run()
    other.switch_page("pages/train.py").run()
    assert (proposed(train), proposed(other.run())) == ("digits-2d", "digits-2d-2")
    for app in (train, other):
        assert press_train(app.run()) == []
    assert runs_in(checkpoints) == {"tiny", "digits-2d", "digits-2d-2"}
    # Those are taken, and what is proposed next differs again.
    assert proposed(train.run()) != proposed(other.run())
    assert press_train(train) == []
    assert len(runs_in(checkpoints)) == 4


def test_a_name_that_somebody_took_meanwhile_is_no_longer_proposed(train, checkpoints, tiny_run):
    tiny_run(checkpoints / "digits-2d")
    assert press_train(train.run()) == []
    assert runs_in(checkpoints) == {"tiny", "digits-2d", "digits-2d-2"}


def test_every_setting_has_a_field_that_says_what_it_is(train):
    fields = {
        field.label: field.help
        for field in (*train.text_input, *train.number_input, *train.selectbox)
    }
    settings = config.settings(ModelConfig) | config.settings(TrainConfig)
    for name in settings.keys() - {"dataset", "hidden"}:
        assert fields[settings[name].label].startswith(settings[name].text)
    assert fields["Widths"] == settings["hidden"].text


def test_a_run_can_be_started_beside_the_others(train, started):
    text(train, "Name", "mine")
    train.toggle(key="train_at_once").set_value(True).run()
    assert press_train(train) == []
    assert started == ["mine"]


def test_several_values_make_a_sweep(train, checkpoints):
    text(train, "Dimensions k", "2, 5")
    text(train, "β, weight of KL", "0, 1.5, 100")
    text(train, "Name", "s")
    assert "Train 6 runs" in [button.label for button in train.button]
    assert press_train(train) == []
    runs = {run.name: run for run in checkpoint.list_runs(checkpoints)[0]}
    assert set(runs) == {"tiny", *(f"s-k{k}-beta{b}" for k in (2, 5) for b in ("0", "1.5", "100"))}
    made = runs["s-k5-beta1.5"]
    assert (made.model_config.latent_dim, made.train_config.beta) == (5, 1.5)
    assert queue.queued(checkpoints)[0].name == "s-k2-beta0"


def test_a_sweep_with_one_name_taken_makes_nothing(train, checkpoints, tiny_run, started):
    tiny_run(checkpoints / "s-beta2")
    text(train, "β, weight of KL", "1, 2")
    text(train, "Name", "s")
    assert any("'s-beta2' exists already" in error for error in refused(train))
    assert runs_in(checkpoints) == {"tiny", "s-beta2"}
    assert started == []


def test_a_duplicate_starts_from_that_runs_settings(train, checkpoints):
    assert press(train, "Duplicate") == []
    assert train.selectbox(key="train_start").value == "tiny"
    text(train, "β, weight of KL", "4")
    text(train, "Name", "copy")
    assert press_train(train) == []
    original, copy = (checkpoint.open_run(checkpoints / name) for name in ("tiny", "copy"))
    assert copy.model_config == original.model_config
    changed = copy.train_config.to_dict() | {"beta": original.train_config.beta}
    assert changed == original.train_config.to_dict()


def test_a_run_is_renamed_and_still_watched(train, checkpoints):
    text(train, "New name", "other")
    assert press(train, "Rename") == []
    assert train.selectbox(key="watched").value == "other"
    assert runs_in(checkpoints) == {"other"}


def test_a_name_that_is_taken_renames_nothing(train, checkpoints, tiny_run):
    tiny_run(checkpoints / "other")
    train.run()
    train.selectbox(key="watched").set_value("tiny").run()
    text(train, "New name", "other")
    assert any("'other' exists already" in error for error in press(train, "Rename"))
    assert train.selectbox(key="watched").value == "tiny"
    assert runs_in(checkpoints) == {"tiny", "other"}


def test_a_deletion_can_be_undone(train, checkpoints, tiny_run):
    tiny_run(checkpoints / "other")
    train.run()
    train.selectbox(key="watched").set_value("tiny").run()
    assert press(train, "Delete") == []
    assert [run.name for run in checkpoint.list_runs(checkpoints)[0]] == ["other"]
    assert train.selectbox(key="watched").value == "other"
    assert press(train, "Undo") == []
    assert [run.name for run in checkpoint.list_runs(checkpoints)[0]] == ["other", "tiny"]
    assert train.selectbox(key="watched").value == "tiny"


def test_the_last_run_can_be_deleted_and_brought_back(train, checkpoints):
    press(train, "Delete")
    assert any("Nothing has been trained yet" in info.value for info in train.info)
    press(train, "Undo")
    assert [run.name for run in checkpoint.list_runs(checkpoints)[0]] == ["tiny"]


def test_a_stopped_run_is_resumed_through_the_queue(train, checkpoints, started):
    write_state(checkpoints, "stopped")
    train.run()
    assert press(train, "Resume") == []
    assert read_status(checkpoints / "tiny").state == "queued"
    assert started == ["worker"]
    press(train, "Stop")
    assert read_status(checkpoints / "tiny").state == "stopped"


def test_the_queue_says_what_comes_first_and_why_its_process_ended(
    train, checkpoints, started, monkeypatch
):
    for name in ("a", "b"):
        text(train, "Name", name)
        press_train(train)
    assert any("It waits for a." in info.value for info in train.info)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "in_training", lambda folder: folder / "tiny")
        train.run()
        assert any("It waits for tiny, a." in info.value for info in train.info)
    (checkpoints / queue.WORKER_LOG).write_text("no room\n")
    train.selectbox(key="watched").set_value("a").run()
    assert any("ended: no room" in info.value for info in train.info)


@pytest.mark.parametrize(
    ("beta", "kl", "expected"),
    [(0.0, 30.0, "β = 0: nothing held"), (100.0, 0.001, "collapse"), (1.0, 3.0, None)],
)
def test_an_extreme_end_is_explained(beta, kl, expected, train, checkpoints):
    path = checkpoints / "tiny"
    config = json.loads((path / "config.json").read_text())
    config["train"]["beta"] = beta
    (path / "config.json").write_text(json.dumps(config))
    (path / "embedding.safetensors").unlink()  # whose terms come first
    rows = checkpoint.open_run(path).load_metrics()
    checkpoint.save_metrics(checkpoint.open_run(path), [row | {"kl": kl} for row in rows])
    train.run()
    said = [warning.value for warning in train.warning]
    assert [expected in text for text in said] == ([True] if expected else [])


def test_each_view_draws_its_charts(train, tiny_run, checkpoints):
    tiny_run(checkpoints / "other")
    for view, charts in (("Film", 1), ("Curves", 4), ("All runs", 4)):
        train.segmented_control(key="train_view").set_value(view).run()
        assert not train.exception
        assert len(train.get("plotly_chart")) == charts
    table = train.dataframe[0].value
    assert list(table["run"]) == ["other", "tiny"]
    assert list(table["state"]) == ["finished", "finished"]


def test_a_damaged_frame_of_the_film_is_told(train, checkpoints):
    (checkpoints / "tiny/history/epoch-000001.safetensors").write_bytes(b"?")
    train.run()
    assert not train.exception
    assert any("delete that file" in error.value for error in train.error)


def write_state(checkpoints, state: str) -> None:
    status = {"state": state, "updated": time.time()}
    (checkpoints / "tiny" / "status.json").write_text(json.dumps(status))


def test_a_download_shows_how_far_it_is(train, monkeypatch, tmp_path):
    shown = []
    bar = type("Bar", (), {"progress": lambda self, *a: shown.append(a), "empty": lambda self: 0})
    monkeypatch.setattr(waiting.st, "progress", lambda *arguments: bar())
    monkeypatch.setenv("VAE_DATA", str(tmp_path))

    def slow_and_broken(urls, file, md5):
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(10_620_444))  # half of the whole
        time.sleep(1.5)
        raise OSError("the network went away")

    monkeypatch.setattr(builtin, "_fetch", slow_and_broken)
    train.selectbox(key="train_data").set_value("kmnist").run()
    errors = press_train(train)
    assert any("the network went away" in error for error in errors)
    text = next(text for share, text in shown if share == 0.5).replace("\\", "")
    assert text.startswith("Fetching KMNIST: 10.6 of 21.2 MB")


def test_other_objectives_are_trained_from_a_button_and_stand_side_by_side(
    train, checkpoints, tiny_run, started
):
    train.segmented_control(key="train_view").set_value("Objectives").run()
    assert not train.exception
    assert len(train.get("plotly_chart")) == 0
    button = next(b for b in train.button if b.label == "Train by iwae and evidence")
    button.click().run()
    assert started == ["worker"]
    made = {
        name: checkpoint.open_run(checkpoints / name) for name in ("tiny-iwae", "tiny-evidence")
    }
    for name, run in made.items():
        assert run.train_config.objective == name.removeprefix("tiny-")
        shutil.rmtree(run.path)
    for name, kind in (("a", "iwae"), ("b", "evidence")):
        run = tiny_run(checkpoints / name, objective=kind, lattice_points=64)
        model, data = run.load_model(), catalogue.load("digits")
        checkpoint.save_evidence(run, evidence.exact(model, data))
    train.run()
    assert not train.exception
    assert list(train.dataframe[0].value["objective"]) == ["elbo", "iwae", "evidence"]
    assert len(train.get("plotly_chart")) == 4  # three maps and the plane
    assert not any("Trained by the bound" in text.value for text in train.markdown)
    labels = [b.label for b in train.button]
    assert sum("Compute log p(x)" in label for label in labels) == 1  # of the run itself
    run = checkpoint.open_run(checkpoints / "tiny")
    checkpoint.save_evidence(run, evidence.exact(run.load_model(), catalogue.load("digits")))
    train.run()
    assert any("Trained by the bound" in text.value for text in train.markdown)
    assert not any(b.label.startswith("Train by") for b in train.button)


def test_what_no_objective_can_integrate_is_not_offered(app, checkpoints, tiny_run):
    tiny_run(checkpoints / "three", latent_dim=3)
    page = app.run().switch_page("pages/train.py").run()
    page.segmented_control(key="train_view").set_value("Objectives").run()
    assert [b.label for b in page.button if b.label.startswith("Train by")] == ["Train by iwae"]


def test_of_a_refitted_run_no_other_objective_is_offered(app, checkpoints, tiny_run):
    refit(tiny_run(checkpoints / "tiny"), checkpoints / "refitted")
    app.query_params["run"] = "refitted"
    page = app.run().switch_page("pages/train.py").run()
    page.segmented_control(key="train_view").set_value("Objectives").run()
    assert not page.exception
    assert not any(b.label.startswith("Train by") for b in page.button)
    assert any("network that was refitted like it" in c.value for c in page.caption)
