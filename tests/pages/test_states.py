"""Every page with no checkpoint at all, a tiny one, broken ones: a sentence, never a traceback."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pages.answers import stated_terms
from pages.live_panel import LivePanel
from safetensors.torch import load_file, save_file
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from vae.analysis.embedding import embed
from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data.dataset import Dataset, DatasetError
from vae.live import pack
from vae.live.recording import UnsupportedLayer
from vae.runs import checkpoint
from vae.runs.status import Status, write_status
from vae.ui.results import loaded

# What stands on each page once there is a checkpoint: so many numbers, so many charts.
SHOWN = {
    "explore": (0, 1),
    "points": (4, 6),
    "traverse": (0, 1),
    "train": (6, 1),
    "inference": (6, 3),
    "learn": (0, 1),
    "gaussians": (0, 0),  # it needs none
    "diagnose": (8, 2),
    "compare": (0, 0),  # it needs two
}
ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(SHOWN)
ALONE = "is the only checkpoint there is: train another on the same data to compare them."


def show(app: AppTest, name: str) -> AppTest:
    app.run()
    if name != "explore":
        app.switch_page(f"pages/{name}.py").run()
    assert not app.exception, app.exception[0].value
    return app


def all_text(app: AppTest) -> str:
    elements = [*app.error, *app.warning, *app.info, *app.caption, *app.markdown]
    text = "\n".join(str(element.value) for element in elements).replace("\\", "")
    return text.replace("\u2060", "")  # stands where a link would begin


def assert_shown(app: AppTest, page: str) -> None:
    """The page with the one checkpoint that can be opened."""
    assert not app.error
    assert (len(app.metric), len(app.get("plotly_chart"))) == SHOWN[page]
    (name,) = (option.partition(" · ")[0] for option in app.sidebar.selectbox[0].options)
    if page == "gaussians":
        assert app.session_state["gaussians_in"] == "plane"
    if page == "compare":
        assert f"{name} {ALONE}" in all_text(app)


def assert_terms(app: AppTest, page: str) -> None:
    """Those of the chosen point."""
    assert stated_terms(app) if page == "explore" else len(app.metric) == 4


def assert_offers_training(app: AppTest, page: str) -> None:
    assert not app.error
    assert not app.sidebar.selectbox
    assert not app.metric
    if page == "train":
        assert "Nothing has been trained yet" in all_text(app)
    elif page != "gaussians":
        assert "Train one: digits takes less than a minute." in all_text(app)
        assert [link.proto.label for link in app.main.get("page_link")] == ["Train a model"]


@pytest.mark.parametrize("page", PAGES)
def test_no_checkpoint_at_all_says_how_to_get_one(app, page, checkpoints):
    assert_offers_training(show(app, page), page)
    shutil.rmtree(checkpoints)
    assert_offers_training(app.run(), page)


@pytest.mark.parametrize("page", PAGES)
def test_a_tiny_checkpoint_is_shown(app, page, checkpoints, tiny_run):
    tiny_run(checkpoints / "tiny")
    assert_shown(show(app, page), page)
    (option,) = app.sidebar.selectbox[0].options
    assert option.startswith("tiny · digits, k = 2")


def break_config(path):
    (path / "config.json").write_text("{")
    return "not valid JSON"


def lose_weights(path):
    (path / "model.safetensors").unlink()
    return "weights are missing"


def truncate_weights(path):
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    return "truncated"


def change_config(path):
    config = json.loads((path / "config.json").read_text())
    config["model"]["latent_dim"] = 3
    (path / "config.json").write_text(json.dumps(config))
    return "not of one run"


@pytest.mark.parametrize("page", PAGES)
def test_broken_checkpoints_are_named_and_the_others_stay_usable(app, page, checkpoints, tiny_run):
    damages = (break_config, lose_weights, truncate_weights, change_config)
    reasons = {d.__name__: d(tiny_run(checkpoints / d.__name__).path) for d in damages}
    tiny_run(checkpoints / "good")
    assert_shown(show(app, page), page)
    (option,) = app.sidebar.selectbox[0].options
    assert option.startswith("good · digits, k = 2")
    captions = [caption.value.replace("\\", "") for caption in app.sidebar.caption]
    for name, reason in reasons.items():
        assert any(f"**{name}** cannot be opened" in c and reason in c for c in captions)
    assert str(checkpoints.parent) not in all_text(app)  # no place on the server


@pytest.mark.parametrize("page", PAGES)
def test_only_a_broken_checkpoint_says_why_and_offers_training(app, page, checkpoints, tiny_run):
    reason = truncate_weights(tiny_run(checkpoints / "broken").path)
    assert_offers_training(show(app, page), page)
    assert reason in all_text(app)


@pytest.mark.parametrize("page", PAGES)
def test_nan_weights_are_named_with_their_tensor(app, page, checkpoints, tiny_run):
    run = tiny_run(checkpoints / "tiny")
    tiny_run(checkpoints / "whole")
    state = load_file(run.path / "model.safetensors")
    state["encoder.mu.weight"][0, 0] = torch.nan
    save_file(state, run.path / "model.safetensors")
    show(app, page)
    assert "'encoder.mu.weight' holds NaN" in all_text(app)
    app.sidebar.selectbox[0].select("whole").run()  # beside which the other can still be chosen
    assert not app.exception


@pytest.mark.few(6)
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("tensor", ["encoder.mu.weight", "encoder.logvar.weight"])
def test_weights_that_are_finite_and_give_what_is_not(tensor, page, app, checkpoints, tiny_run):
    for name in ("huge", "sound"):
        tiny_run(checkpoints / name)
    path = checkpoints / "huge" / "model.safetensors"
    state = load_file(path)
    state[tensor][0] = 3e38
    save_file(state, path)
    app.query_params["run"] = "huge"
    show(app, page)
    assert app.main.children


@pytest.mark.parametrize("page", PAGES)
def test_a_damaged_embedding_says_what_to_do(app, page, checkpoints, tiny_run):
    run = tiny_run(checkpoints / "tiny")
    (run.path / "embedding.safetensors").write_bytes(b"nothing")
    assert "embedding.safetensors" in all_text(show(app, page))


def test_a_missing_embedding_is_computed(app, checkpoints, tiny_run):
    run = tiny_run(checkpoints / "tiny")
    shown = stated_terms(show(app, "explore"))
    (run.path / "embedding.safetensors").unlink()
    assert shown
    assert stated_terms(show(app, "explore")) == shown


@pytest.mark.parametrize("page", ["explore", "points"])
def test_without_the_data_set_the_map_and_the_terms_are_still_there(
    app, page, checkpoints, tiny_run, monkeypatch
):
    from vae.ui.results import loaded

    def nothing_there(*_):
        raise DatasetError("digits is not here")

    monkeypatch.setattr(loaded, "dataset", nothing_there)
    tiny_run(checkpoints / "tiny")
    show(app, page)
    assert "digits is not here" in all_text(app)
    assert_terms(app, page)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"run": "<b>gone</b>"}, "There is no checkpoint named <b>gone</b>"),
        ({"data": "pets held-out"}, "There are no data here named pets held-out"),
        ({"data": "nonsense"}, "There are no data here named nonsense"),
        ({"point": "-5"}, "There is no point -5 in digits held-out"),
        ({"point": "99999999"}, "There is no point 99999999 in digits held-out"),
        ({"point": "x"}, "There is no point x in digits held-out"),
        ({"colour": "[nonsense](http://a.b)"}, "no colour [nonsense](http://a.b)"),
        ({"class": "3"}, "The link names a class; tiny is given none"),
        ({"mu": "1,nan", "sigma": "1,1"}, "The link's q is none: it takes 2 finite μ"),
        ({"mu": "1,1,1", "sigma": "1,1,1"}, "The link's q is none: it takes 2 finite μ"),
        ({"mu": "1,1", "sigma": "1,-1"}, "The link's q is none: it takes 2 finite μ"),
    ],
)
def test_a_link_to_what_is_not_here_opens_and_says_so(app, query, sentence, checkpoints, tiny_run):
    tiny_run(checkpoints / "tiny")
    for name, value in query.items():
        app.query_params[name] = value
    for _ in range(2):  # the page is often drawn again before anybody has read it
        app.run()
        assert not app.exception
        assert sentence in all_text(app)
        assert stated_terms(app)
    app.number_input(key="pick_point").set_value(3).run()
    is_of_point = not {"point", "mu"}.isdisjoint(query)
    assert (sentence in all_text(app)) != is_of_point


def test_a_link_to_what_is_here_is_not_commented_on(app, checkpoints, tiny_run):
    tiny_run(checkpoints / "tiny")
    app.query_params |= {
        **{"run": "tiny", "data": "digits held-out", "point": "7", "colour": "recon"},
        **{"mu": "1,1", "sigma": "1,1"},
    }
    app.run()
    assert not [*app.warning, *app.error]


@pytest.mark.parametrize("page", PAGES)
def test_a_cold_deep_link_has_the_same_frame_as_any_other_visit(
    page, cold_app, checkpoints, tiny_run
):
    tiny_run(checkpoints / "tiny")
    cold_app.run()
    cold_app.session_state["point"] = 7
    cold_app.switch_page(f"pages/{page}.py").run()  # begins at the page's own file
    assert not cold_app.exception
    assert [box.label for box in cold_app.sidebar.selectbox] == ["Checkpoint", "Data"]
    assert_shown(cold_app, page)


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [("no such set", "unknown data set 'no such set'"), ("sprites", "the images are 1x32x32")],
)
@pytest.mark.parametrize("page", ["explore", "points"])
def test_a_data_set_that_is_unknown_or_of_another_size_is_a_sentence(
    page, dataset, sentence, app, checkpoints, tiny_run
):
    run = tiny_run(checkpoints / "tiny")
    config = json.loads((run.path / "config.json").read_text())
    config["train"]["dataset"] = dataset
    (run.path / "config.json").write_text(json.dumps(config))
    show(app, page)  # the stored map opens without its images
    assert_terms(app, page)
    (run.path / "embedding.safetensors").unlink()
    app.run()
    assert not app.exception
    assert sentence in all_text(app)


@pytest.mark.parametrize("logvar", [-30.0, -400.0, 60.0, 400.0])
def test_any_width_of_the_posterior_can_be_shown(logvar, app, checkpoints, tiny_run):
    run = tiny_run(checkpoints / "tiny")
    stored = run.load_embedding()
    columns = {**vars(stored), "logvar": np.full_like(stored.logvar, logvar)}
    checkpoint.save_embedding(run, type(stored)(**columns))
    show(app, "explore")
    sigma = LivePanel(app).data["point"]["sigma"]  # whatever it is, JSON and a slider hold it
    assert sigma == pytest.approx([np.exp(np.clip(logvar / 2, np.log(1e-6), np.log(1e6)))] * 2)


@pytest.mark.parametrize("logvar", [-30.0, -400.0, 60.0, 400.0])
def test_any_width_of_the_posterior_has_sliders(logvar, app, checkpoints, tiny_run, monkeypatch):
    def refuse(*arguments):
        raise UnsupportedLayer("layer body.0 (Foo) has no browser version")

    monkeypatch.setattr(pack, "compile_module", refuse)
    run = tiny_run(checkpoints / "tiny")
    stored = run.load_embedding()
    columns = {**vars(stored), "logvar": np.full_like(stored.logvar, logvar)}
    checkpoint.save_embedding(run, type(stored)(**columns))
    show(app, "explore")
    assert len(app.slider) == 4


def test_a_map_opens_without_a_download_and_offers_one(app, checkpoints, monkeypatch, no_data):
    import torchvision.datasets

    def unwanted(*arguments):
        raise AssertionError("nobody asked for a download")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", unwanted)
    config = ModelConfig((1, 28, 28), hidden=(8,))
    run = checkpoint.create(checkpoints / "m", config, TrainConfig("mnist", epochs=1))
    model = VAE(config)
    checkpoint.save_model(run, model)
    images = torch.zeros(5, 1, 28, 28, dtype=torch.uint8)
    points = Dataset("mnist", "test", images, torch.arange(5), tuple("01234"))
    checkpoint.save_embedding(run, embed(model, points))
    show(app, "explore")
    assert stated_terms(app)
    assert "MNIST is not in" in all_text(app)
    assert any(button.label == "Fetch MNIST, 12 MB" for button in app.button)


def fail(run: checkpoint.Run) -> str:
    write_status(run.path, Status("failed", message="the loss is not finite"))
    return "training failed"


def collapse(run: checkpoint.Run) -> str:
    stored = run.load_embedding()
    arrays = {name: np.zeros_like(stored.mu) for name in ("mu", "logvar", "kl_per_dim")}
    checkpoint.save_embedding(run, replace(stored, **arrays))
    return "collapsed"


@pytest.mark.parametrize("damage", [fail, collapse])
def test_a_run_that_failed_or_collapsed_says_so_in_the_picker(app, checkpoints, damage):
    for name in ("bad", "good"):
        shutil.copytree(ROOT / "checkpoints" / "digits-2d", checkpoints / name)
    what = damage(checkpoint.open_run(checkpoints / "bad"))
    show(app, "explore")
    picker = app.sidebar.selectbox[0]
    assert picker.options == [f"bad · digits, k = 2 · {what}", "good · digits, k = 2"]
    assert any(what.capitalize() in badge.value for badge in app.sidebar.markdown)
    picker.set_value("good").run()
    assert not any(what.capitalize() in badge.value for badge in app.sidebar.markdown)


def test_a_run_whose_title_changes_stays_chosen(app, checkpoints, tiny_run, monkeypatch):
    for name in ("one", "two"):
        tiny_run(checkpoints / name)
    known = {}
    monkeypatch.setattr(loaded, "ill_healths", lambda runs: known)
    app.query_params["run"] = "two"
    app.run()
    title = app.sidebar.selectbox[0].options[1]
    known[checkpoints / "two"] = "collapsed"  # which a page finds out when it has the time
    app.run()
    picker = app.sidebar.selectbox[0]
    assert picker.options[1] == f"{title} · collapsed"
    # A browser says what it was told, until it has drawn what it is told next.
    stale = WidgetState(id=picker.id, string_value=title)
    sent = type(picker)._widget_state.fget
    monkeypatch.setattr(
        type(picker),
        "_widget_state",
        property(lambda box: stale if box.id == picker.id else sent(box)),
    )
    app.run()
    assert not app.warning, app.warning[0].value
    assert app.session_state["run"] == app.sidebar.selectbox[0].value == "two"
