"""What Explore tells the live panel and hears from it, without a browser."""

import base64

import pytest
import torch
from pages.live_panel import LivePanel
from streamlit.testing.v1 import AppTest

from vae.core.elbo import point_terms
from vae.data import catalogue
from vae.data.dataset import to_unit
from vae.live import pack
from vae.runs import checkpoint

# What the live panel is told


def test_the_panel_is_told_the_chosen_point(explore, panel, checkpoints):
    embedding = checkpoint.open_run(checkpoints / "tiny").load_embedding()
    explore.number_input[0].set_value(17).run()
    point = panel.data["point"]
    assert point["id"] == {"run": "tiny", "data": "digits", "split": "test", "index": 17}
    assert point["label"] == embedding.class_names[embedding.labels[17]]
    assert point["mu"] == pytest.approx(embedding.mu[17].tolist())
    assert point["sigma"] == pytest.approx(embedding.sigma[17].tolist())
    image = catalogue.load("digits").images[17].numpy()
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
    other = AppTest.from_file(explore._script_path, default_timeout=120).run()
    assert LivePanel(other).packs == first != []


# What the live panel says


def hand_of(panel: LivePanel, **changed) -> dict:
    return {
        "point": panel.data["point"]["id"],
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
    assert panel.data["point"]["id"]["index"] == 23
    assert explore.query_params["point"] in ("23", ["23"])


def test_a_point_that_there_is_not_is_ignored(explore, panel):
    for value in (-1, 359, "7", None, 2.5, [3]):
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
    assert panel.data["point"]["id"]["index"] == 6
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
        {"sigma": ""},
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
    panel.trigger("best", {"id": "w1", "point": panel.data["point"]["id"]})
    found = panel.data["best"]
    assert (found["id"], set(found)) == ("w1", {"id", "mu", "sigma"})
    model = checkpoint.open_run(checkpoints / "tiny").load_model()
    x = to_unit(catalogue.load("digits").images[4:5])
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
    image = catalogue.load("digits").images[9].numpy()
    explore.number_input[0].set_value(9).run()
    panel.trigger("best", {"id": "1", "point": panel.data["point"]["id"]})
    of_point = panel.data["best"]
    explore.number_input[0].set_value(2).run()
    x = base64.b64encode(image.tobytes()).decode()
    panel.trigger("best", {"id": "2", "point": panel.data["point"]["id"], "x": x})
    assert panel.data["best"] == {**of_point, "id": "2"}


def test_a_best_q_that_cannot_be_searched_is_a_sentence(explore, panel):
    for wish in (
        {"id": "w", "x": "????"},
        {"id": "w", "x": base64.b64encode(bytes(63)).decode()},
        {"id": "w", "x": None},
        {"id": "w", "point": "tiny/digits/test/8"},
        {"id": "w"},
    ):
        panel.trigger("best", wish)
        assert not explore.exception
        found = panel.data["best"]
        assert found["id"] == "w"
        assert found["problem"][0].isupper()
        assert found["problem"].endswith(".")
        assert "mu" not in found


def test_a_wish_that_is_none_is_ignored(explore, panel):
    for wish in ("text", None, 3):
        panel.trigger("best", wish)
        assert not explore.exception
        assert panel.data["best"] is None
