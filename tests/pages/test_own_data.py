"""Images of one's own on the Train page, and a model that is shown what it was not trained on."""

import io
import zipfile

import numpy as np
import pytest
from pages.answers import stated_terms
from PIL import Image
from streamlit.testing.v1 import AppTest

from vae.config import ModelConfig, TrainConfig
from vae.data import catalogue, own
from vae.runs import checkpoint, job
from vae.ui import policy


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))


@pytest.fixture
def train(app, checkpoints) -> AppTest:
    app.run()
    app.switch_page("pages/train.py").run()
    return app.button(key="own_button").click().run()


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(
        file, "PNG"
    )
    return file.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def pets(n: int = 10) -> dict[str, bytes]:
    return {f"{name}/{i}.png": png(i) for name in ("cats", "dogs") for i in range(n)}


def upload(app: AppTest, name: str, data: bytes) -> AppTest:
    app.file_uploader(key="own_file").set_value((name, data, "application/octet-stream")).run()
    assert not app.exception, app.exception[0].value
    return app


def text(app: AppTest) -> str:
    elements = [*app.error, *app.warning, *app.caption, *app.markdown]
    return "\n".join(str(element.value) for element in elements).replace("\\", "")


def metrics(app: AppTest) -> list[str]:
    return [metric.value for metric in app.metric]


def test_an_upload_is_shown_before_it_is_used_and_then_chosen_for_training(train):
    app = upload(train, "My pets (2).zip", zipped(pets()))
    assert metrics(app) == ["20", "2", "8 x 8", "0"]
    assert "cats" in text(app)
    assert "kept at 8 x 8" in text(app)
    assert catalogue.own_names() == []
    button = app.button(key="own_use")
    assert button.label == "Use these 20 images"
    button.click().run()
    assert not app.exception
    assert catalogue.own_names() == ["My-pets-2"]
    assert app.selectbox(key="train_data").value == "My-pets-2"
    assert "20 images from My pets (2).zip" in text(app)
    assert not app.main.file_uploader  # the runs again


def test_bad_files_are_listed_and_those_found_later_asked_about_again(train):
    files = {**pets(), "cats/a.png": b"hello", "dogs/\x1b.png": png(3), "dogs/z.png": png(4)[:100]}
    app = upload(train, "pets.zip", zipped(files))
    assert metrics(app)[0] == "21"
    assert app.button(key="own_use").label == "Use these 21 images, without the 2 bad"
    table = app.dataframe[0].value
    assert table["file"].tolist() == ["dogs/?.png", "cats/a.png"]
    app.button(key="own_use").click().run()
    assert catalogue.own_names() == []
    assert "1 more could not be decoded. Nothing was kept yet." in text(app)
    assert app.button(key="own_use").label == "Use these 20 images, without the 3 bad"
    app.button(key="own_use").click().run()
    assert catalogue.own_names() == ["pets"]
    assert "3 bad files left out" in catalogue.describe("pets").note


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.zip", b"", "cut short or no zip archive"),
        ("a.zip", zipped({"a.txt": b"x"}), "holds no picture that can be used"),
        ("a.npy", b"\x93NUMPY", "no usable header"),
        ("<b>a</b>.npz", b"PK", "cut short or no zip archive"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(train, name, data, told):
    assert told in text(upload(train, name, data))
    assert catalogue.own_names() == []


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("own_name_", "mnist", "name (='mnist') must be"),
        ("own_name_", "../x", "name (='../x') must be"),
        ("own_size_", "x", "size (='x') must be HEIGHTxWIDTH"),
        ("own_size_", "9999x1", "sides from 1 to 256"),
    ],
)
def test_a_name_or_size_that_cannot_be_is_told(train, field, value, told):
    app = upload(train, "pets.zip", zipped(pets()))
    (found,) = (box for box in app.text_input if str(box.key).startswith(field))
    found.set_value(value).run()
    if field == "own_name_":
        app.button(key="own_use").click().run()
    assert told in text(app)
    assert not app.exception
    assert catalogue.own_names() == []


def test_labels_come_from_a_csv(train):
    file = io.BytesIO()
    np.save(
        file, np.zeros((12, 5, 5), dtype=np.uint8) + np.arange(12, dtype=np.uint8)[:, None, None]
    )
    app = upload(train, "a.npy", file.getvalue())
    app.file_uploader(key="own_labels").set_value(("l.csv", b"x\ny\nz\n" * 4, "text/csv")).run()
    assert metrics(app)[1] == "3"
    app.button(key="own_use").click().run()
    assert catalogue.load("a", "all").class_names == ("x", "y", "z")


@pytest.mark.parametrize("name", ["most_upload_mb", "most_data_sets", "most_data_mb"])
def test_data_beyond_a_limit_are_refused_and_nothing_is_kept(name, train, monkeypatch):
    upload(train, "pets.zip", zipped(pets()))
    monkeypatch.setenv(policy.variable(name), "0")
    train.button(key="own_use").click().run()
    assert "0 are allowed here; ask for fewer, or whoever runs this server sets VAE_" in text(train)
    assert policy.variable(name) in text(train)
    assert catalogue.own_names() == []
    assert not train.exception
    monkeypatch.delenv(policy.variable(name))
    train.run().button(key="own_use").click().run()
    assert catalogue.own_names() == ["pets"]


@pytest.mark.parametrize("variable", ["VAE_LEAST_FREE_MB", "VAE_READ_ONLY"])
def test_data_are_not_kept_on_a_full_disk_or_a_server_to_look_at(variable, train, monkeypatch):
    upload(train, "pets.zip", zipped(pets()))
    monkeypatch.setenv(variable, "1" if variable == "VAE_READ_ONLY" else str(10**12))
    train.button(key="own_use").click().run()
    assert catalogue.own_names() == []
    assert not train.exception
    if variable != "VAE_READ_ONLY":
        assert "whoever runs this server sets VAE_LEAST_FREE_MB" in text(train)


def test_a_set_can_be_removed(train, tmp_path):
    np.save(tmp_path / "a.npy", np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4))
    own.add(tmp_path / "a.npy", "mine")
    train.run()
    assert "12 images from a.npy" in text(train)
    train.button(key="own_remove_mine").click().run()
    assert not train.exception
    assert catalogue.own_names() == []
    assert train.selectbox(key="train_data").value == "digits"


# A checkpoint on data that it was not trained on


@pytest.mark.parametrize("page", ["explore", "points"])
@pytest.mark.parametrize(
    ("data", "note"),
    [
        ("digits held-out", ""),
        ("mine held-out", "Not what tiny was trained on; resized to 8 x 8, grey."),
        ("same training", "Not what tiny was trained on."),
        ("sprites held-out", "Not what tiny was trained on; resized to 8 x 8."),
    ],
)
def test_any_data_can_be_seen_through_a_model_and_are_labelled(
    app, checkpoints, tiny_run, tmp_path, page, data, note
):
    random = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", random.integers(0, 256, (40, 12, 10, 3), dtype=np.uint8))
    np.save(tmp_path / "b.npy", random.integers(0, 256, (20, 8, 8), dtype=np.uint8))
    own.add(tmp_path / "a.npy", "mine")
    own.add(tmp_path / "b.npy", "same")
    tiny_run(checkpoints / "tiny")
    app.query_params["data"] = data
    app.run()
    if page != "explore":
        app.switch_page(f"pages/{page}.py").run()
    assert not app.exception, app.exception[0].value
    assert not app.error
    assert app.session_state["data"] == data
    assert len(app.metric) >= 3 or stated_terms(app)
    captions = [caption.value.replace("\\", "") for caption in app.sidebar.caption]
    of_the_data = [text for text in captions if not text.startswith("At most")]  # of an upload
    assert of_the_data == ([note] if note else [])


def test_a_run_whose_own_data_are_gone_says_how_to_add_them(app, checkpoints, tiny_run):
    run = tiny_run(checkpoints / "tiny")
    config = run.path / checkpoint.CONFIG
    config.write_text(config.read_text().replace('"digits"', '"flowers"'))
    app.run()
    assert not app.exception
    assert "python -m vae data add PATH --name flowers" in text(app)


def test_data_chosen_for_one_model_are_not_resized_for_the_next_one(
    app, checkpoints, tiny_run, tmp_path
):
    np.save(tmp_path / "a.npy", np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4))
    own.add(tmp_path / "a.npy", "mine")
    tiny_run(checkpoints / "tiny")
    config = ModelConfig((1, 4, 4), hidden=(8,))
    list(job.train(checkpoints / "other", config, TrainConfig("mine", epochs=1), "cpu"))
    app.query_params["run"] = "tiny"
    app.run()
    assert app.session_state["data"] == "digits held-out"
    app.sidebar.selectbox[0].select("other").run()
    assert app.session_state["data"] == "mine held-out"
    app.sidebar.selectbox[1].select("digits held-out").run()
    assert app.session_state["data"] == "digits held-out"
    assert "resized to 4 x 4" in text(app)
    app.sidebar.selectbox[0].select("tiny").run()
    assert app.session_state["data"] == "digits held-out"
    assert not app.exception
