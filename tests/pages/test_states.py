"""Every page with no checkpoint at all, a tiny one, broken ones: a sentence, never a traceback."""

import json

import numpy as np
import pytest
import torch
from live_panel import LivePanel
from safetensors.torch import load_file, save_file
from streamlit.testing.v1 import AppTest

from vae import checkpoint
from vae.config import ModelConfig, TrainConfig
from vae.datasets import Dataset
from vae.embedding import embed
from vae.live import pack
from vae.live.program import UnsupportedLayer
from vae.model import VAE

PAGES = ("explore", "points", "train")


def show(app: AppTest, name: str) -> AppTest:
    app.run()
    if name != "explore":
        app.switch_page(f"pages/{name}.py").run()
    assert not app.exception, app.exception[0].value
    return app


def all_text(app: AppTest) -> str:
    elements = [*app.error, *app.warning, *app.info, *app.caption, *app.markdown]
    return "\n".join(str(element.value) for element in elements).replace("\\", "")


@pytest.mark.parametrize("page", PAGES)
def test_no_checkpoint_at_all_says_how_to_get_one(app, page, checkpoints):
    show(app, page)
    assert "rain" in all_text(app)
    assert not app.sidebar.selectbox


@pytest.mark.parametrize("page", PAGES)
def test_a_folder_that_does_not_exist_is_like_an_empty_one(app, page, checkpoints):
    checkpoints.rmdir()
    assert not show(app, page).error


@pytest.mark.parametrize("page", PAGES)
def test_a_tiny_checkpoint_is_shown(app, page, checkpoints, tiny_run):
    tiny_run(checkpoints / "tiny")
    show(app, page)
    assert not app.error
    assert app.sidebar.selectbox[0].options == ["tiny"]
    assert len(app.metric) >= 3


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


@pytest.mark.parametrize("damage", [break_config, lose_weights, truncate_weights, change_config])
@pytest.mark.parametrize("page", PAGES)
def test_a_broken_checkpoint_is_named_and_the_others_stay_usable(
    app, page, damage, checkpoints, tiny_run
):
    reason = damage(tiny_run(checkpoints / "broken").path)
    tiny_run(checkpoints / "good")
    show(app, page)
    assert app.sidebar.selectbox[0].options == ["good"]
    text = all_text(app)
    assert "broken" in text
    assert reason in text
    assert len(app.metric) >= 3  # the good one is on the page


@pytest.mark.parametrize("page", ["explore", "points"])
def test_only_a_broken_checkpoint_says_why_and_offers_training(app, page, checkpoints, tiny_run):
    reason = truncate_weights(tiny_run(checkpoints / "broken").path)
    text = all_text(show(app, page))
    assert reason in text
    assert "Train one" in text


@pytest.mark.parametrize("page", PAGES)
def test_nan_weights_are_named_with_their_tensor(app, page, checkpoints, tiny_run):
    run = tiny_run(checkpoints / "tiny")
    state = load_file(run.path / "model.safetensors")
    state["encoder.mu.weight"][0, 0] = torch.nan
    save_file(state, run.path / "model.safetensors")
    assert "'encoder.mu.weight' holds NaN" in all_text(show(app, page))


@pytest.mark.parametrize("page", PAGES)
def test_a_damaged_embedding_says_what_to_do(app, page, checkpoints, tiny_run):
    run = tiny_run(checkpoints / "tiny")
    (run.path / "embedding.safetensors").write_bytes(b"nothing")
    assert "embedding.safetensors" in all_text(show(app, page))


def test_a_missing_embedding_is_computed(app, checkpoints, tiny_run):
    run = tiny_run(checkpoints / "tiny")
    shown = [metric.value for metric in show(app, "explore").metric]
    (run.path / "embedding.safetensors").unlink()
    assert [metric.value for metric in show(app, "explore").metric] == shown


@pytest.mark.parametrize("page", ["explore", "points"])
def test_without_the_data_set_the_map_and_the_terms_are_still_there(
    app, page, checkpoints, tiny_run, monkeypatch
):
    from vae.ui import cache

    def nothing_there(*_):
        raise cache.datasets.DatasetError("digits is not here")

    monkeypatch.setattr(cache, "dataset", nothing_there)
    tiny_run(checkpoints / "tiny")
    show(app, page)
    assert "digits is not here" in all_text(app)
    assert len(app.metric) == 4


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"run": "<b>gone</b>"}, "There is no checkpoint named <b>gone</b>"),
        ({"point": "-5"}, ""),
        ({"point": "99999999"}, ""),
        ({"point": "x"}, ""),
        ({"colour": "nonsense", "data": "nonsense"}, ""),
    ],
)
def test_any_url_opens(app, query, sentence, checkpoints, tiny_run):
    tiny_run(checkpoints / "tiny")
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    assert sentence in all_text(app)
    assert len(app.metric) == 4


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
    assert len(cold_app.metric) >= 3


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
    assert len(app.metric) == 4
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


def test_a_map_opens_without_a_download_and_offers_one(app, checkpoints, monkeypatch, tmp_path):
    import torchvision.datasets

    def unwanted(*arguments):
        raise AssertionError("nobody asked for a download")

    monkeypatch.setenv("VAE_DATA", str(tmp_path / "empty"))
    monkeypatch.setattr(torchvision.datasets.MNIST, "download", unwanted)
    config = ModelConfig((1, 28, 28), hidden=(8,))
    run = checkpoint.create(checkpoints / "m", config, TrainConfig("mnist", epochs=1))
    model = VAE(config)
    checkpoint.save_model(run, model)
    images = torch.zeros(5, 1, 28, 28, dtype=torch.uint8)
    points = Dataset("mnist", "test", images, torch.arange(5), tuple("01234"))
    checkpoint.save_embedding(run, embed(model, points))
    show(app, "explore")
    assert len(app.metric) == 4
    assert "MNIST is not in" in all_text(app)
    assert any(button.label == "Fetch MNIST, 12 MB" for button in app.button)
