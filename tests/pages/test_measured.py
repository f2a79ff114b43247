"""Vectors and series on every page: nothing fails, and nothing is called an image or a pixel."""

import base64
import gzip
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf.message import Message
from streamlit.proto.BidiComponent_pb2 import BidiComponent
from streamlit.testing.v1 import AppTest

from vae.config import ModelConfig
from vae.data import catalogue, own
from vae.features import Feature
from vae.live import export
from vae.runs import checkpoint, queue
from vae.ui.results.store import RESULTS

PAGES = ("explore", "points", "traverse", "inference", "diagnose", "compare", "train")
# Not in a type of a file or of a column, a style, an icon or the name of a field.
NOUN = re.compile(
    r"(?<![\w/.:#-])(?<!\"type\": \")(?<!\"type\":\")(images?|pixels?)(?![\w/(=-])(?!\":)",
    re.IGNORECASE,
)
# What is of images whatever is shown: ways to others, and help that says what is of which kind.
OF_IMAGES = (
    "Of a pixel, given z: ",
    "over MNIST, the encoder reading pixels",
    "Eight by eight pixels will do",
    "other (images of 8 × 8)",
)


@pytest.fixture(autouse=True)
def no_worker(monkeypatch) -> None:
    """No test here trains in another process."""
    monkeypatch.setattr(queue, "start_worker", lambda folder: None)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A data folder with a table of one's own: every kind of feature, and a tenth of it missing."""
    rng = np.random.default_rng(0)
    n = 200
    table = pd.DataFrame(
        {
            "length": rng.normal(size=n),
            "mass": np.exp(2 * rng.normal(size=n)),
            "is red": rng.integers(0, 2, n),
            "eggs": rng.poisson(3, n),
        }
    ).astype(float)
    table = table.mask(rng.random(table.shape) < 0.1).assign(species=rng.choice(list("ab"), n))
    found = tmp_path_factory.mktemp("data")
    table.to_csv(found / "table.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_DATA", str(found))
        own.add_table(own.plan(found / "table.csv", label="species"), "birds")
    return found


@pytest.fixture(params=["wine", "waves", "birds"])
def name(request, folder, monkeypatch) -> str:
    """Of the data."""
    if request.param == "birds":
        monkeypatch.setenv("VAE_DATA", str(folder))
    return request.param


@pytest.fixture
def x(name) -> str:
    """What a point is."""
    return "series" if name == "waves" else "vector"


@pytest.fixture
def numbers(name) -> str:
    """What it consists of."""
    return "steps" if name == "waves" else "features"


@pytest.fixture
def runs(checkpoints, tiny_run, name) -> list[checkpoint.Run]:
    """Two small models of the data, which differ in their seed, and one of the digits."""
    source = catalogue.describe(name)
    data = {"image_shape": source.image_shape, "kind": source.kind, "features": source.features}
    likelihood = "mixed" if name == "birds" else "gaussian"
    more = {"dataset": name, "likelihood": likelihood, "epochs": 3}
    tiny_run(checkpoints / "other")
    return [
        tiny_run(checkpoints / run, **data, **more, seed=seed)
        for seed, run in enumerate(("first", "second"))
    ]


@pytest.fixture
def opened(app, runs) -> Callable[[str], AppTest]:
    """opened("points") is that page, on the first model."""

    def open_page(page: str) -> AppTest:
        app.run()
        return app if page == "explore" else app.switch_page(f"pages/{page}.py").run()

    return open_page


def texts(message: Message) -> Iterator[str]:
    """Every text in what is sent to the browser."""
    for _, value in message.ListFields():
        values: Any = [value]
        if hasattr(value, "values"):
            values = value.values()
        elif not isinstance(value, str | bytes) and hasattr(value, "__len__"):
            values = value
        for part in values:
            if isinstance(part, Message):
                yield from texts(part)
            elif isinstance(part, str):
                yield part


def told(app: AppTest) -> list[str]:
    """All texts of a page; of a component, whose code is none of the page's, what it is told."""
    assert not app.exception
    assert not app.error
    found = []
    for element in [*app.main, *app.sidebar]:
        proto = getattr(element, "proto", None)
        if isinstance(proto, BidiComponent):
            found.append(proto.json)
        elif isinstance(proto, Message):
            found += texts(proto)
    return [text.replace("\\", "") for text in found]


def of_images(said: list[str]) -> list[str]:
    """What of it speaks of images or pixels, with what stands around."""
    found = [
        text[max(0, place.start() - 60) : place.end() + 40]
        for text in said
        for place in NOUN.finditer(text)
    ]
    return [around for around in found if not any(known in around for known in OF_IMAGES)]


def until_idle() -> None:
    """Nothing is computed behind the page any more."""
    ends = time.monotonic() + 60
    while not RESULTS.is_idle:
        assert time.monotonic() < ends
        time.sleep(0.01)


def speaks_of_points(app: AppTest, *sentences: str) -> None:
    """That the page says so, and nothing of images."""
    said = told(app)
    assert not of_images(said)
    together = "\n".join(said)
    for sentence in sentences:
        assert sentence in together


def test_the_digits_pages_speak_of_images(app, checkpoints, tiny_run):
    tiny_run(checkpoints / "tiny")
    app.run()
    for page in PAGES[1:]:
        app.switch_page(f"pages/{page}.py").run()
        if page in ("points", "diagnose", "train"):
            assert of_images(told(app)), page


def test_explore(opened):
    app = opened("explore")
    speaks_of_points(app, " points at their ", "of the points: recon ")
    data = f"{app.session_state['data']}"
    app.session_state["group"] = (data, [0, 1, 2])
    speaks_of_points(app.run(), "**3 points**", "nats per point")


def test_points_before_and_after_log_px(opened):
    app = opened("points")
    speaks_of_points(app, "What does each point cost", "recon, nats per point", " points cost less")
    app.button(key="points_compute").click().run()
    until_idle()
    speaks_of_points(app.run(), "In nats per point. log p(x): exact, by quadrature")


def test_traverse(opened, numbers):
    app = opened("traverse")
    speaks_of_points(app, f"moves a {numbers[:-1]}", "KL per point")
    for kind in ("point", "posterior", "data"):
        app.segmented_control(key="values").set_value(kind).run()
        speaks_of_points(app)
    for part in ("Between points", "Arithmetic"):
        app.segmented_control(key="part").set_value(part).run()
        speaks_of_points(app)


def test_inference(opened, x):
    app = opened("inference")
    speaks_of_points(app, "does the model find this point?", "nats per point", f"the {x} x")
    for section in ("Monte Carlo", "Gradients", "The whole set"):
        app.segmented_control(key="section").set_value(section).run()
        speaks_of_points(app)
    app.button(key="inference_compute").click().run()
    until_idle()
    speaks_of_points(app.run(), "gap, nats per point")


def test_diagnose(opened, numbers, name):
    app = opened("diagnose")
    for check, sentence in {
        "Units": "",
        "Aggregate posterior": "nats per point",
        "Marginals": "",
        "Calibration": f"of the {numbers}.",
        "Neighbours": f"PCA of the {numbers}",
        "Outliers": "nats per point",
    }.items():
        app.segmented_control(key="check").set_value(check).run()
        speaks_of_points(app, sentence)
        if check == "Neighbours":
            filled = [c for c in app.caption if "missing counts as its feature's mean" in c.value]
            assert bool(filled) == (name == "birds")


def test_compare(opened, x):
    app = opened("compare")
    speaks_of_points(app, " points, 10,000 bootstrap resamples", f"One point is one {x} in both")
    for section in ("Classes", "Dimensions", "Worst and best", "Rate and distortion", "Settings"):
        app.segmented_control(key="compared").set_value(section).run()
        speaks_of_points(app)


def test_compare_says_what_data_the_others_are_of(opened, checkpoints, name):
    app = opened("compare")
    (picker,) = [found for found in app.selectbox if found.label == "Compared with"]
    assert picker.options == ["second"]
    assert "images of 8 × 8" in picker.help  # of digits
    app.session_state["run"] = "other"
    app.run()
    size = {
        **{"wine": "vectors of 13 features", "waves": "series of 128 steps"},
        "birds": "vectors of 4 features",
    }[name]
    assert size in "\n".join(caption.value for caption in app.caption)


def test_train(opened):
    app = opened("train")
    speaks_of_points(app, "points/s", "Which points cost most?", "Passes over the training points.")
    for view in ("Curves", "Objectives"):
        app.segmented_control(key="train_view").set_value(view).run()
        speaks_of_points(app)
    app.segmented_control(key="train_view").set_value("All runs").run()  # with the digits
    speaks_of_points(app, "points/s", "nats per point")


def test_a_point_that_is_not_at_hand(opened, x, monkeypatch):
    monkeypatch.setattr("vae.ui.results.loaded.at_hand", lambda *_: (None, "it was deleted"))
    for page in PAGES[:-1]:
        app = opened(page)
        speaks_of_points(app)
        if page in ("explore", "points", "inference", "compare"):
            sentence = f"The {x} of this point is not at hand: it was deleted."
            assert sentence in [caption.value for caption in app.caption]


def test_a_vector_of_which_no_data_are_known_is_offered_none_that_are_resized(monkeypatch):
    monkeypatch.setattr("streamlit.page_link", lambda *_, **__: None)  # there is one page here

    def page() -> None:
        import streamlit as st

        from vae.ui import data_choice

        data_choice.offer(st.session_state["asked"])

    app = AppTest.from_function(page)
    config = ModelConfig(
        (1, 1, 2), likelihood="mixed", kind="vector", features=(Feature("a"), Feature("b"))
    )
    app.session_state["asked"] = SimpleNamespace(name="mine", model_config=config)
    app.run()
    assert not of_images([app.info[0].value])
    assert "mine reads vectors of 2 features, and no known data set has such" in app.info[0].value
    assert [button.key for button in app.button] == ["data_prior"]


def test_the_command_line_and_the_export(vae, runs):
    code, out, err = vae("evaluate", runs[0].path, "--exact", "--neighbours")
    assert code == 0, err
    assert not of_images([out])
    shown = export.of_run(runs[0])
    assert any("nats per point" in value for _, value in shown.card())
    assert not of_images([text for fact in shown.card() for text in fact])
    (packed,) = re.findall('id="part-page"[^>]*>([^<]*)', shown.page())
    caption = json.loads(gzip.decompress(base64.b64decode(packed)))["caption"]
    assert " points of " in caption
    assert not of_images([caption])
