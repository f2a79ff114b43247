"""The Explore page without a browser: its numbers, its controls, its axes, and what it tells the
live panel and hears from it."""

import base64
import json
import threading
import time
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
import torch
from pages.answers import stated_terms
from pages.live_panel import LivePanel
from streamlit.testing.v1 import AppTest

from vae.analysis.embedding import embed
from vae.analysis.layout import layout
from vae.data import catalogue
from vae.live import pack
from vae.live.recording import UnsupportedLayer
from vae.runs import checkpoint
from vae.ui.results import layouts

_seeds = count(1)


@pytest.fixture
def unsupported(monkeypatch) -> None:
    """As if every model had a layer that the browser cannot run."""

    def refuse(*arguments):
        raise UnsupportedLayer("layer body.0 (Foo) has no browser version")

    monkeypatch.setattr(pack, "compile_module", refuse)


@pytest.fixture
def fallback(unsupported, explore) -> AppTest:
    return explore


def captions(app: AppTest) -> str:
    return "\n".join(caption.value for caption in app.caption).replace("\\", "")


def test_the_points_terms_are_those_of_the_stored_embedding(explore, checkpoints):
    embedding = checkpoint.open_run(checkpoints / "tiny").load_embedding()
    explore.number_input[0].set_value(17).run()
    expected = [embedding.recon[17], embedding.kl[17], embedding.neg_elbo[17]]
    assert stated_terms(explore) == pytest.approx(expected, abs=0.006)
    less = (embedding.neg_elbo < embedding.neg_elbo[17]).mean()
    assert any(f"more than {less:.1%} of the images" in box.value for box in explore.markdown)


def test_another_split_is_embedded_when_it_is_chosen(explore):
    for split, n in (("training", "1,437"), ("all", "1,796")):
        explore.sidebar.selectbox[1].set_value(f"digits {split}").run()
        assert not explore.exception
        assert explore.number_input[0].label == f"Point, 0 to {n}"


def test_every_colour_draws(explore):
    for colour in ("recon", "KL", "-ELBO", "label"):
        explore.segmented_control[0].set_value(colour).run()
        assert not explore.exception
        assert explore.session_state["colour"] == colour


@pytest.mark.parametrize("latent_dim", [1, 3, 40])
def test_any_number_of_latent_dimensions_has_a_map_and_a_panel(
    app, latent_dim, tiny_run, checkpoints
):
    tiny_run(checkpoints / "run", latent_dim=latent_dim)
    app.run()
    assert not app.exception
    assert not app.slider
    told = LivePanel(app).data
    assert len(told["ranges"]) == len(told["point"]["mu"]) == latent_dim
    assert np.shape(told["plane"]["directions"]) == (2, latent_dim)
    assert len(told["plane"]["dims"]) == min(latent_dim, 2)
    if latent_dim > 2:
        axes = next(box for box in app.selectbox if box.label == "Axes")
        axes.set_value("principal components").run()
        assert not app.exception
        plane = LivePanel(app).data["plane"]
        assert plane["dims"] is None
        directions = np.array(plane["directions"])
        assert directions @ directions.T == pytest.approx(np.eye(2), abs=1e-5)


TSNE = "t-SNE, a layout"


def choose_axes(app: AppTest, axes: str) -> None:
    next(box for box in app.selectbox if box.label == "Axes").set_value(axes).run()
    assert not app.exception


def run_until(app: AppTest, holds: Callable[[], bool]) -> None:
    """Runs the page again and again, as the fragment that watches a computation does."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)
        app.run()
        assert not app.exception


def chart(app: AppTest) -> dict:
    return json.loads(app.get("plotly_chart")[0].proto.spec)


def places(app: AppTest, n_points: int) -> np.ndarray:
    """Where the chart puts each point, (N, 2)."""
    found = np.full((n_points, 2), np.nan)
    for trace in chart(app)["data"]:
        x, y, rows = (
            np.frombuffer(base64.b64decode(given["bdata"]), given["dtype"])
            for given in (trace["x"], trace["y"], trace["customdata"])
        )
        found[rows] = np.stack([x, y], axis=1)
    return found


@pytest.fixture
def held_layout(monkeypatch) -> threading.Event:
    """A layout that waits until this is set, and reports two steps of three meanwhile."""
    let_go = threading.Event()

    def held(mu: np.ndarray, kind: str, progress: Callable[[int, int], None]) -> np.ndarray:
        while not let_go.wait(0.01):
            progress(2, 3)
        return quick_layout(mu)

    monkeypatch.setattr(layouts, "layout", held)
    yield let_go
    let_go.set()


def quick_layout(mu: np.ndarray, kind: str = "t-SNE", progress: object = None) -> np.ndarray:
    """Stands in for the library's, which takes seconds and has tests of its own."""
    return (mu[:, 1:] ** 2 - mu[:, :1]).astype(np.float32)


@pytest.fixture
def of_three_dimensions(app, tiny_run, checkpoints, monkeypatch) -> AppTest:
    """With weights of its own in each test, so that no layout of it is known yet."""
    monkeypatch.setattr(layouts, "layout", quick_layout)
    run = tiny_run(checkpoints / "run", latent_dim=3)
    model = run.load_model()
    with torch.no_grad():
        model.encoder.mu.bias += 1e-3 * next(_seeds)
    checkpoint.save_model(run, model)
    checkpoint.save_embedding(run, embed(model, catalogue.load("digits", "test")))
    return app.run()


def test_a_layout_is_that_of_the_library_and_has_no_plane(of_three_dimensions, checkpoints):
    app = of_three_dimensions
    embedding = checkpoint.open_run(checkpoints / "run").load_embedding()
    choose_axes(app, TSNE)
    run_until(app, lambda: LivePanel(app).data["plane"] is None)
    assert places(app, len(embedding)) == pytest.approx(quick_layout(embedding.mu))
    shown = chart(app)["layout"]
    assert not shown.get("shapes")
    assert not shown.get("annotations")
    for axis in (shown["xaxis"], shown["yaxis"]):
        assert axis["showticklabels"] is False
    assert "no place on it can be decoded; hovering shows the nearest point" in captions(app)
    choose_axes(app, "dimensions")
    assert len(LivePanel(app).data["plane"]["dims"]) == 2
    assert len(chart(app)["layout"]["shapes"]) == 3


def test_the_principal_components_stand_in_while_a_layout_is_computed(
    of_three_dimensions, held_layout
):
    app = of_three_dimensions

    def told() -> str:
        return "\n".join(bar.proto.text for bar in app.get("progress"))

    choose_axes(app, TSNE)
    run_until(app, lambda: "step 3 of 3" in told())
    assert "t-SNE of 359 points" in told()
    assert "the map shows the principal components" in told()
    assert LivePanel(app).data["plane"]["dims"] is None
    assert chart(app)["layout"]["xaxis"]["title"]["text"] == "PC 1 of μ"
    held_layout.set()
    run_until(app, lambda: LivePanel(app).data["plane"] is None)
    assert not told()


def test_a_layout_that_was_cancelled_waits_for_a_click(of_three_dimensions, held_layout):
    app = of_three_dimensions

    def button(label: str):
        return next((button for button in app.button if button.label == label), None)

    choose_axes(app, TSNE)
    button("Cancel").click().run()
    run_until(app, lambda: button("Compute t-SNE") is not None)
    assert "t-SNE was cancelled. The map shows the principal components." in captions(app)
    app.run()
    assert button("Cancel") is None
    held_layout.set()
    button("Compute t-SNE").click().run()
    run_until(app, lambda: LivePanel(app).data["plane"] is None)
    assert button("Compute t-SNE") is None


def test_why_there_is_no_layout_is_a_sentence(of_three_dimensions, monkeypatch):
    def refuse(mu: np.ndarray, kind: str, progress: object) -> np.ndarray:
        return layout(mu[:3], kind)

    monkeypatch.setattr(layouts, "layout", refuse)
    app = of_three_dimensions
    choose_axes(app, "UMAP-like, a layout")
    run_until(app, lambda: len(app.error) > 0)
    said = app.error[0].value.replace("\\", "")
    assert said == (
        "UMAP-like could not be computed: a layout needs at least 4 points, and there are 3."
    )
    assert LivePanel(app).data["plane"]["dims"] is None


def test_a_layout_without_a_live_panel_marks_the_chosen_point(
    unsupported, of_three_dimensions, checkpoints
):
    app = of_three_dimensions
    embedding = checkpoint.open_run(checkpoints / "run").load_embedding()
    choose_axes(app, TSNE)
    run_until(app, lambda: "a t-SNE layout" in captions(app))
    rings = [t for t in chart(app)["data"] if t["marker"].get("symbol") == "circle-open"]
    assert len(rings) == 2  # the ring and its halo, no ellipse
    assert len(app.slider) == 6
    at = np.frombuffer(base64.b64decode(rings[0]["x"]["bdata"]), rings[0]["x"]["dtype"])
    assert at == pytest.approx(quick_layout(embedding.mu)[0, :1])


def test_two_dimensions_are_offered_no_layout(explore):
    assert not [box for box in explore.selectbox if box.label == "Axes"]


def test_sprites_can_be_coloured_by_the_factors_they_were_made_from(app, tiny_run, checkpoints):
    tiny_run(checkpoints / "run", dataset="sprites", image_shape=(1, 32, 32))
    app.run()
    app.segmented_control[0].set_value("x").run()
    assert not app.exception
    assert app.segmented_control[0].value == "x"


def test_the_selection_survives_a_visit_to_another_page(explore):
    explore.number_input[0].set_value(23).run()
    explore.segmented_control[0].set_value("KL").run()
    explore.switch_page("pages/train.py").run()
    explore.switch_page("pages/explore.py").run()
    assert explore.number_input[0].value == 23
    assert explore.segmented_control[0].value == "KL"


# Where the browser cannot run the model: the server's sliders


def test_why_the_browser_cannot_run_the_model_is_said_in_one_line(fallback):
    assert not LivePanel(fallback).is_there
    (line,) = (line for line in captions(fallback).splitlines() if "has no browser version" in line)
    assert "layer body.0 (Foo) has no browser version. " in line  # a sentence of its own
    assert line[0].isupper()
    assert line.endswith(".")
    assert len(fallback.slider) == 4
    assert len(fallback.image) >= 3  # the mean, the samples, x


def test_a_model_that_the_browser_can_run_has_no_slider_of_the_server(explore, panel):
    assert panel.is_there
    assert not explore.slider
    assert "browser version" not in captions(explore)


def test_choosing_a_point_sets_the_sliders_to_its_mu_and_sigma(fallback, checkpoints):
    embedding = checkpoint.open_run(checkpoints / "tiny").load_embedding()
    fallback.number_input[0].set_value(17).run()
    values = {slider.label: slider.value for slider in fallback.slider}
    expected = {
        "μ₁": embedding.mu[17, 0],
        "σ₁": embedding.sigma[17, 0],
        "μ₂": embedding.mu[17, 1],
        "σ₂": embedding.sigma[17, 1],
    }
    assert values == pytest.approx({k: float(v) for k, v in expected.items()})


def test_a_slider_stays_where_it_was_put(fallback):
    fallback.slider[0].set_value(1.0).run()
    fallback.run()
    assert fallback.slider[0].value == 1.0


def test_resampling_names_another_seed(fallback):
    assert any("seed 0" in caption.value for caption in fallback.caption)
    next(button for button in fallback.button if button.label == "Resample").click().run()
    assert any("seed 1" in caption.value for caption in fallback.caption)


def test_the_kl_under_the_sliders_is_equation_6(fallback):
    for slider, value in zip(fallback.slider, (1.0, 0.5, -2.0, 1.0), strict=True):
        slider.set_value(value)
    fallback.run()
    by_hand = 0.5 * ((-np.log(0.25) - 1 + 0.25 + 1) + (-np.log(1.0) - 1 + 1 + 4))
    assert any(f"{by_hand:.2f} nats, equation (6)" in caption.value for caption in fallback.caption)


@pytest.mark.parametrize("latent_dim", [1, 40])
def test_any_number_of_latent_dimensions_has_sliders(
    app, latent_dim, tiny_run, checkpoints, unsupported
):
    tiny_run(checkpoints / "run", latent_dim=latent_dim)
    app.run()
    assert not app.exception
    assert len(app.slider) == 2 * min(latent_dim, 32)


# To take away


def test_the_page_can_be_taken_away_as_one_file(explore):
    (button,) = explore.sidebar.get("download_button")
    assert "one HTML file" in button.label
