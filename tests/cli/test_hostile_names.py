"""No name steers the terminal, and no cell of a CSV is a formula."""

import csv
import io

import numpy as np
import pytest
from image_files import noise, png

from vae.data import catalogue
from vae.data.dataset import Dataset

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def is_harmless(text: str) -> bool:
    return not set(text) & set("\x1b\x07\x9b\x08\0")


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))


def test_names_of_files_and_folders_steer_no_terminal(vae, checkpoints, tiny_run, tmp_path):
    root = tmp_path / f"pictures{ESCAPE}"
    for i in range(12):
        path = root / "cats" / f"{i}{ESCAPE if i == 11 else ''}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(noise(5, 5)))
    tiny_run(checkpoints / f"tiny{ESCAPE}")
    (checkpoints / f"worn{ESCAPE}").mkdir()
    (checkpoints / f"worn{ESCAPE}" / "config.json").write_text("{")
    commands = [
        ("data", "show", root),
        ("data", "add", root, "--name", "pets"),
        ("data", "add", root, "--name", f"a{ESCAPE}"),
        ("data", "show", tmp_path / ESCAPE),
        ("list",),
        ("evaluate", checkpoints / f"tiny{ESCAPE}"),
        ("evaluate", checkpoints / f"worn{ESCAPE}"),
        ("train", "--dataset", f"a{ESCAPE}"),
        (f"no{ESCAPE}",),
    ]
    for command in commands:
        _, out, err = vae(*command)
        assert out + err
        assert is_harmless(out + err), command


def test_the_cells_of_exported_terms_are_no_formulas(vae, checkpoints, tiny_run, tmp_path):
    names = ["=1+1", "+a", "-b", "@c", "-1", "d\x1b[2J"]
    given = Dataset(
        "given",
        "test",
        catalogue.load("digits").first(12).images,
        catalogue.load("digits").first(12).labels % 6,
        tuple(names),
    )
    catalogue.give("given", given)
    tiny_run(checkpoints / "tiny")
    code, out, _ = vae("terms", checkpoints / "tiny", "--dataset", "given")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    expected = {"'=1+1", "'+a", "'-b", "'@c", "-1", "d?[2J"}
    assert {row["label"] for row in rows} <= expected
    assert len({row["label"] for row in rows}) >= 4
    assert all(np.isfinite(float(row["recon"])) for row in rows)
