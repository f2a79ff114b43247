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
from live_panel import LivePanel
from streamlit.testing.v1 import AppTest

from vae import checkpoint, datasets, job
from vae.config import ModelConfig, TrainConfig
from vae.datasets import to_unit
from vae.elbo import point_terms
from vae.layout import layout
from vae.live import pack
from vae.live.program import UnsupportedLayer
from vae.ui import layouts

_seeds = count(1)


@pytest.fixture
def explore(app, checkpoints, tiny_run) -> AppTest:
    tiny_run(checkpoints / "tiny")
    return app.run()


@pytest.fixture
def panel(explore) -> LivePanel:
    return LivePanel(explore)


@pytest.fixture
def unsupported(monkeypatch) -> None:
    """As if every model had a layer that the browser cannot run."""

    def refuse(*arguments):
        raise UnsupportedLayer("layer body.0 (Foo) has no browser version")

    monkeypatch.setattr(pack, "compile_module", refuse)


@pytest.fixture
def fallback(unsupported, explore) -> AppTest:
    return explore


@pytest.fixture
def trained(checkpoints) -> Callable[..., None]:
    """trained(latent_dim=3) puts a run there."""

    def train(dataset: str = "digits", image_shape=(1, 8, 8), seed: int = 0, **more) -> None:
        config = ModelConfig(image_shape, hidden=(16,), **more)
        settings = TrainConfig(dataset, epochs=1, seed=seed)
        list(job.train(checkpoints / "run", config, settings, "cpu"))

    return train


def numbers(app: AppTest) -> list[float]:
    return [float(metric.value) for metric in app.metric]


def captions(app: AppTest) -> str:
    return "\n".join(caption.value for caption in app.caption).replace("\\", "")


def test_the_points_terms_are_those_of_the_stored_embedding(explore, checkpoints):
    embedding = checkpoint.open_run(checkpoints / "tiny").load_embedding()
    explore.number_input[0].set_value(17).run()
    expected = [embedding.recon[17], embedding.kl[17], embedding.neg_elbo[17]]
    assert numbers(explore)[:3] == pytest.approx(expected, abs=0.006)
    worse = int((embedding.neg_elbo > embedding.neg_elbo[17]).sum())
    assert numbers(explore)[3] == worse + 1


@pytest.mark.parametrize("split", ["digits training", "digits all"])
def test_another_split_is_embedded_when_it_is_chosen(split, explore):
    explore.sidebar.selectbox[1].set_value(split).run()
    assert not explore.exception
    assert (
        explore.metric[3].label
        == {
            "digits training": "rank of 1,438",
            "digits all": "rank of 1,797",
        }[split]
    )


@pytest.mark.parametrize("colour", ["recon", "KL", "-ELBO", "label"])
def test_every_colour_draws(colour, explore):
    explore.segmented_control[0].set_value(colour).run()
    assert not explore.exception
    assert explore.session_state["colour"] == colour


@pytest.mark.parametrize("latent_dim", [1, 3, 40])
def test_any_number_of_latent_dimensions_has_a_map_and_a_panel(app, latent_dim, trained):
    trained(latent_dim=latent_dim)
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
        return layout(mu, kind)

    monkeypatch.setattr(layouts, "layout", held)
    yield let_go
    let_go.set()


@pytest.fixture
def of_three_dimensions(app, trained) -> AppTest:
    """With weights of its own in each test, so that no layout of it is known yet."""
    trained(latent_dim=3, seed=next(_seeds))
    return app.run()


def test_a_layout_is_that_of_the_library_and_has_no_plane(of_three_dimensions, checkpoints):
    app = of_three_dimensions
    embedding = checkpoint.open_run(checkpoints / "run").load_embedding()
    choose_axes(app, TSNE)
    run_until(app, lambda: LivePanel(app).data["plane"] is None)
    assert places(app, len(embedding)) == pytest.approx(layout(embedding.mu, "t-SNE"))
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
    assert at == pytest.approx(layout(embedding.mu)[0, :1])


def test_two_dimensions_are_offered_no_layout(explore):
    assert not [box for box in explore.selectbox if box.label == "Axes"]


def test_sprites_can_be_coloured_by_the_factors_they_were_made_from(app, trained):
    trained("sprites", (1, 32, 32))
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
def test_any_number_of_latent_dimensions_has_sliders(app, latent_dim, trained, unsupported):
    trained(latent_dim=latent_dim)
    app.run()
    assert not app.exception
    assert len(app.slider) == 2 * min(latent_dim, 32)


# What the live panel is told


def test_the_panel_is_told_the_chosen_point(explore, panel, checkpoints):
    embedding = checkpoint.open_run(checkpoints / "tiny").load_embedding()
    explore.number_input[0].set_value(17).run()
    point = panel.data["point"]
    assert (point["index"], point["key"]) == (17, "tiny/digits/test/17")
    assert point["label"] == embedding.class_names[embedding.labels[17]]
    assert point["mu"] == pytest.approx(embedding.mu[17].tolist())
    assert point["sigma"] == pytest.approx(embedding.sigma[17].tolist())
    image = datasets.load("digits").images[17].numpy()
    assert base64.b64decode(point["x"]) == image.tobytes()
    assert panel.data["q"] is None
    assert panel.data["settings"]["S"] == embedding.n_samples


def test_the_panel_is_told_the_maps_plane_and_what_its_sliders_cover(panel, checkpoints):
    embedding = checkpoint.open_run(checkpoints / "tiny").load_embedding()
    told = panel.data
    assert told["chart"] == "map"
    assert told["plane"] == {"origin": [0, 0], "directions": [[1, 0], [0, 1]], "dims": [0, 1]}
    for d, covered in enumerate(told["ranges"]):
        assert covered["mu"][0] <= embedding.mu[:, d].min()
        assert covered["mu"][1] >= embedding.mu[:, d].max()


def test_model_and_points_are_sent_once_and_again_when_they_are_missed(explore, panel):
    sent = {pack.header_of(data)["id"]: data for data in panel.packs}
    assert list(sent) == [panel.data["model"], panel.data["points"]]
    explore.number_input[0].set_value(3).run()
    assert panel.packs == []
    explore.switch_page("pages/train.py").run()
    explore.switch_page("pages/explore.py").run()
    assert panel.packs == []
    panel.trigger("need", list(sent))
    assert panel.packs == list(sent.values())
    explore.run()
    assert panel.packs == []


def test_another_split_sends_its_points_alone(explore, panel):
    model = panel.data["model"]
    explore.sidebar.selectbox[1].set_value("digits training").run()
    assert panel.data["model"] == model
    assert [pack.header_of(data)["id"] for data in panel.packs] == [panel.data["points"]]


def test_another_visitor_is_sent_the_same_bytes(explore, panel):
    first = panel.packs
    other = AppTest.from_file(explore._script_path, default_timeout=60).run()
    assert LivePanel(other).packs == first != []


# What the live panel says


def hand_of(panel: LivePanel, **changed) -> dict:
    return {
        "point": panel.data["point"]["key"],
        **{"mu": [1.25, -2.0], "sigma": [0.5, 3.0], "seed": 4, "S": 9},
        **{"follow": True, "smooth": True, "manifold": False},
        **changed,
    }


def test_what_the_hand_set_is_in_the_link_and_outlives_a_visit_elsewhere(explore, panel):
    panel.set("hand", hand_of(panel))
    expected = {"mu": "1.25,-2", "sigma": "0.5,3", "eps": "4", "samples": "9", "follow": "1"}
    assert expected.items() <= dict(explore.query_params).items()
    explore.switch_page("pages/points.py").run()
    explore.switch_page("pages/explore.py").run()
    told = panel.data
    assert (told["q"]["mu"], told["q"]["sigma"]) == ([1.25, -2.0], [0.5, 3.0])
    kept = {"seed": 4, "S": 9, "follow": True, "smooth": True, "manifold": False}
    assert told["settings"] == kept


def test_the_hand_belongs_to_its_point(explore, panel):
    panel.set("hand", hand_of(panel))
    explore.number_input[0].set_value(5).run()
    assert panel.data["q"] is None
    assert not {"mu", "sigma"} & set(explore.query_params)
    assert panel.data["settings"]["S"] == 9  # how one looks goes from point to point


def test_a_point_chosen_on_the_map_is_the_selection(explore, panel):
    panel.trigger("point", 23)
    assert explore.number_input[0].value == 23
    assert panel.data["point"]["index"] == 23
    assert explore.query_params["point"] in ("23", ["23"])


@pytest.mark.parametrize("value", [-1, 359, "7", None, 2.5, [3]])
def test_a_point_that_there_is_not_is_ignored(value, explore, panel):
    panel.trigger("point", value)
    assert not explore.exception
    assert explore.number_input[0].value == 0


LINK = {"mu": "0.5,-1.5", "sigma": "0.25,2", "eps": "3", "samples": "8", "follow": "1"}


def linked(app: AppTest, **query: str) -> LivePanel:
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return LivePanel(app)


def test_a_link_brings_the_hands_q_and_noise(app, checkpoints, tiny_run):
    tiny_run(checkpoints / "tiny")
    panel = linked(app, point="6", **LINK)
    assert panel.data["point"]["index"] == 6
    assert panel.data["q"]["mu"] == [0.5, -1.5]
    assert panel.data["q"]["sigma"] == [0.25, 2.0]
    assert panel.data["settings"] == {"S": 8, "seed": 3, "follow": True}
    assert LINK.items() <= dict(app.query_params).items()


@pytest.mark.parametrize(
    "nonsense",
    [
        {"mu": "x,y"},
        {"mu": "1"},
        {"mu": "1,2,3", "sigma": "1,1,1"},
        {"mu": "nan,0"},
        {"mu": "inf,0"},
        {"mu": ""},
        {"sigma": "0,1"},
        {"sigma": "-1,1"},
        {"sigma": "1e999,1"},
        {"sigma": "1"},
    ],
)
def test_a_q_in_the_link_that_makes_no_sense_is_ignored(nonsense, app, checkpoints, tiny_run):
    tiny_run(checkpoints / "tiny")
    panel = linked(app, **{**LINK, **nonsense})
    assert panel.data["q"] is None
    assert panel.data["settings"]["seed"] == 3


@pytest.mark.parametrize(
    "nonsense",
    [
        {"eps": "-1", "samples": "0", "follow": "2"},
        {"eps": "x", "samples": "65", "follow": "yes"},
        {"eps": "1.5", "samples": "²", "follow": ""},
        {"eps": "9" * 5000, "samples": "9" * 5000, "follow": "9" * 5000},
        {"eps": "2147483648", "samples": "1e1", "follow": "-1"},
    ],
)
def test_settings_in_the_link_that_make_no_sense_are_ignored(nonsense, app, checkpoints, tiny_run):
    tiny_run(checkpoints / "tiny")
    panel = linked(app, **{**LINK, **nonsense})
    assert panel.data["settings"] == {"S": 16}
    assert panel.data["q"]["mu"] == [0.5, -1.5]


def test_a_hand_that_makes_no_sense_changes_nothing(explore, panel):
    for nonsense in (
        "text",
        None,
        [1],
        {},
        hand_of(panel, mu=None, seed=None, S="9"),
        hand_of(panel, mu=["x", 1], seed=-1, S=0),
        hand_of(panel, sigma=[0, 1], seed=2.5, S=65),
        hand_of(panel, mu=[1.0] * 5000, sigma=[1.0] * 5000),
    ):
        panel.set("hand", nonsense)
        assert not explore.exception
        assert panel.data["q"] is None


# The best q


def test_the_best_q_is_searched_on_a_wish_and_beats_the_encoders(explore, panel, checkpoints):
    explore.number_input[0].set_value(4).run()
    panel.trigger("best", {"id": "w1", "point": panel.data["point"]["key"]})
    found = panel.data["best"]
    assert (found["id"], set(found)) == ("w1", {"id", "mu", "sigma"})
    model = checkpoint.open_run(checkpoints / "tiny").load_model()
    x = to_unit(datasets.load("digits").images[4:5])
    eps = torch.randn(4000, 1, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mu, _ = model.encode(x)
        encoders = point_terms(model, x, eps).neg_elbo
        z = torch.tensor(found["mu"]) + eps * torch.tensor(found["sigma"])
        log_px = model.likelihood.log_prob(x, model.decode(z)).sum((-3, -2, -1)).mean()
    q = torch.tensor([found["mu"], found["sigma"]]).double()
    kl = ((q[1] ** 2 + q[0] ** 2 - 1) / 2 - q[1].log()).sum()
    assert float(kl - log_px) < float(encoders)
    assert q[0].tolist() != pytest.approx(mu[0].tolist(), abs=1e-3)


def test_the_best_q_of_a_drawing_is_that_of_its_pixels(explore, panel):
    image = datasets.load("digits").images[9].numpy()
    explore.number_input[0].set_value(9).run()
    panel.trigger("best", {"id": "1", "point": panel.data["point"]["key"]})
    of_point = panel.data["best"]
    explore.number_input[0].set_value(2).run()
    x = base64.b64encode(image.tobytes()).decode()
    panel.trigger("best", {"id": "2", "point": panel.data["point"]["key"], "x": x})
    assert panel.data["best"] == {**of_point, "id": "2"}


@pytest.mark.parametrize(
    "wish",
    [
        {"id": "w", "x": "????"},
        {"id": "w", "x": base64.b64encode(bytes(63)).decode()},
        {"id": "w", "x": None},
        {"id": "w", "point": "tiny/digits/test/8"},
        {"id": "w"},
    ],
)
def test_a_best_q_that_cannot_be_searched_is_a_sentence(wish, explore, panel):
    panel.trigger("best", wish)
    assert not explore.exception
    found = panel.data["best"]
    assert found["id"] == "w"
    assert found["problem"][0].isupper()
    assert found["problem"].endswith(".")
    assert "mu" not in found


@pytest.mark.parametrize("wish", ["text", None, 3])
def test_a_wish_that_is_none_is_ignored(wish, explore, panel):
    panel.trigger("best", wish)
    assert not explore.exception
    assert panel.data["best"] is None


# Without WebGL, and to take away


def test_without_webgl_the_map_is_drawn_in_svg(explore, panel):
    def kinds() -> set[str]:
        (chart,) = explore.get("plotly_chart")
        return {trace["type"] for trace in json.loads(chart.proto.spec)["data"]}

    assert kinds() == {"scattergl"}
    panel.trigger("without_webgl", True)
    assert not explore.exception
    assert kinds() == {"scatter"}


def test_the_page_can_be_taken_away_as_one_file(explore):
    (button,) = explore.sidebar.get("download_button")
    assert "one HTML file" in button.label
