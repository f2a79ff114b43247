"""`python -m vae data`: what is surveyed, kept, listed, trained on and removed."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vae.data import catalogue, own
from vae.runs import checkpoint


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of 12 grey pictures of 10 x 8 in two classes, and a file that is none of them."""
    root = tmp_path / "pictures"
    generator = np.random.default_rng(0)
    for i in range(12):
        path = root / ("cats", "dogs")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (10, 8), dtype=np.uint8)).save(path)
    (root / "notes.txt").write_text("of no interest")
    return root


def lines_of(out: str) -> dict[str, str]:
    return {line[:14].strip(): line[15:] for line in out.splitlines()}


def test_show_surveys_and_keeps_nothing(vae, pictures, tmp_path):
    code, out, err = vae("data", "show", pictures)
    lines = lines_of(out)
    assert (code, err) == (0, "")
    assert lines["folder"] == "pictures"
    assert lines["images"] == "12, grey"
    assert lines["2 classes"] == "cats (6), dogs (6)"
    assert lines["height x width"] == "10 x 8 (12)"
    assert lines["become"] == own.survey(pictures).treatment()
    assert lines["left alone"] == "1 other files"
    assert not (tmp_path / "data").exists()
    _, out, _ = vae("data", "show", pictures, "--size", "5x4", "--colour")
    assert lines_of(out)["become"] == own.survey(pictures).treatment((3, 5, 4))


def test_what_is_added_is_listed_trained_on_and_removed(vae, pictures, checkpoints):
    code, out, err = vae("data", "add", pictures, "--name", "pets", "--size", "8x8")
    assert (code, "vae: " in err) == (0, False)
    assert "12, grey" in out
    assert "pets: 10 images to train on" in out
    data = catalogue.load("pets", "all")
    assert (data.image_shape, len(data), data.class_names) == ((1, 8, 8), 12, ("cats", "dogs"))
    wanted = own.read(pictures, (1, 8, 8)).images
    assert {i.numpy().tobytes() for i in data.images} == {i.numpy().tobytes() for i in wanted}
    for listing in (["list"], []):
        code, out, _ = vae("data", *listing)
        assert code == 0
        assert out.startswith("pets ")
        assert "1x8x8" in out
        assert "10 to train on; 12 images from pictures." in out
    options = ("--epochs", "1", "--hidden", "8", "--name", "pets", "--device", "cpu")
    assert vae("train", "--dataset", "pets", *options)[0] == 0
    assert checkpoint.open_run(checkpoints / "pets").train_config.dataset == "pets"
    code, out, _ = vae("data", "remove", "pets")
    assert (code, "pets removed" in out) == (0, True)
    assert "no data sets of your own" in vae("data", "list")[1]
    code, _, err = vae("train", "--dataset", "pets", *options)
    assert code == 2
    assert "python -m vae data add PATH --name pets" in err


def test_bad_files_are_listed_and_nothing_is_kept_unless_they_are_skipped(vae, pictures):
    (pictures / "cats" / "text.png").write_text("not a picture")
    whole = (pictures / "dogs" / "1.png").read_bytes()
    (pictures / "dogs" / "cut.png").write_bytes(whole[:-30])  # shows only when it is decoded
    code, out, err = vae("data", "add", pictures, "--name", "pets")
    assert code == 2
    assert "bad files      1" in out
    assert "  cats/text.png: not a picture, whatever its name says\n" in err
    assert "1 of 14 files cannot be used, so nothing was kept" in err
    assert err.splitlines()[-1].endswith("--skip-bad")
    (pictures / "cats" / "text.png").unlink()
    code, _, err = vae("data", "add", pictures, "--name", "pets")
    assert code == 2
    assert "  dogs/cut.png: " in err
    assert "1 of 13 files cannot be used" in err
    assert catalogue.own_names() == []
    assert vae("data", "add", pictures, "--name", "pets", "--skip-bad")[0] == 0
    assert len(catalogue.load("pets", "all")) == 12
    assert "1 bad file left out" in catalogue.describe("pets").note


def test_labels_come_from_a_csv(vae, pictures, tmp_path):
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        rows = [
            (path.name, "big" if int(path.stem) > 5 else "small")
            for path in pictures.rglob("*.png")
        ]
        csv.writer(file).writerows([("file", "label"), *rows])
    options = ("--labels", tmp_path / "labels.csv")
    assert lines_of(vae("data", "show", pictures, *options)[1])["2 classes"] == "big (6), small (6)"
    assert vae("data", "add", pictures, "--name", "pets", *options)[0] == 0
    assert catalogue.load("pets").class_names == ("big", "small")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "nowhere", "--name", "pets"], "there is no folder or file nowhere"),
        (["add", "{}"], "--name"),
        (["add", "--name", "pets"], "PATH"),
        (["add", "{}", "--name", "../up"], "name (='../up')"),
        (["add", "{}", "--name", "mnist"], "name (='mnist')"),
        (["add", "{}", "--name", "pets", "--size", "big"], "size (='big') must be HEIGHTxWIDTH"),
        (["add", "{}", "--name", "pets", "--size", "0x3"], "sides from 1 to 256"),
        (["add", "{}", "--name", "pets", "--grey", "--colour"], "not allowed with"),
        (["add", "{}", "--name", "pets", "--labels", "none.csv"], "none.csv cannot be read"),
        (["show", "{}", "--name", "pets"], "--name"),
        (["show"], "PATH"),
        (["remove", "pets"], "cannot delete"),
        (["remove", "digits"], "name (='digits')"),
        (["nonesuch"], "nonesuch"),
    ],
)
def test_bad_input_is_one_sentence(vae, pictures, arguments, said):
    code, _, err = vae("data", *[argument.format(pictures) for argument in arguments])
    assert code == 2
    assert said in err
    assert len(err.splitlines()) == 1
    assert catalogue.own_names() == []


def test_a_name_that_is_taken_is_refused_and_a_damaged_set_is_told(vae, pictures, tmp_path):
    assert vae("data", "add", pictures, "--name", "pets")[0] == 0
    code, out, err = vae("data", "add", pictures, "--name", "pets")
    assert (code, out) == (2, "")
    assert "a data set named pets exists already" in err
    (tmp_path / "data" / "own" / "worn.safetensors").write_bytes(b"worn")
    code, out, _ = vae("data", "list")
    assert code == 0
    assert "worn" in out
    assert "cannot be used" in out.splitlines()[1]


@pytest.mark.parametrize("action", ["add", "list", "remove", "show"])
def test_help_of_each_action(vae, action):
    code, out, err = vae("data", action, "--help")
    assert (code, err) == (0, "")
    assert "python -m vae data add" in out
    assert "None" not in out
