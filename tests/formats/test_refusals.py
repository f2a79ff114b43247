"""Every refusal says what was found, what is missing and what to do next.

What other tests refuse is held to it by `hostile_files.leads_on`.
"""

import ast
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from formats.hostile_files import ROOT, leads_on

from vae import formats
from vae.formats.refusal import Refusal

_FORMATS = ROOT / "vae" / "formats"
_MODULES = [*(_FORMATS / "containers").glob("*.py"), *(_FORMATS / "readers").rglob("*.py")]


@pytest.mark.parametrize("path", _MODULES, ids=lambda path: path.name)
def test_a_file_is_refused_by_refusals_alone(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [c.lineno for c in calls if getattr(c.func, "id", "") == "CheckpointError"]


def _array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model.pt", bytes(1000))


def _optimiser(path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    torch.save({"optimizer": torch.optim.Adam(model.parameters()).state_dict(), "epoch": 3}, path)


def _two(path: Path) -> None:
    path.mkdir()
    for name in ("first.pt", "second.pt"):
        torch.save({"a": torch.zeros(2)}, path / name)


def _script(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), path)


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize(
    ("make", "found", "command"),
    [
        (_array, "an array of numpy", "evaluate model.pt"),
        (_zipped, "a compressed zip archive", "zipfile -e"),
        (_optimiser, "the state of an optimiser", "torch.save(model.state_dict()"),
        (_script, "a TorchScript program", "torch.save(model.state_dict()"),
        (_two, "2 files of weights (first.pt, second.pt)", "/NAME"),
        (Path.mkdir, "is a folder", "python -m vae list"),
        (lambda path: path.write_text("hello"), "a file of text", "evaluate model.pt"),
        (
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
            "a pointer of Git LFS",
            "git lfs pull",
        ),
        (
            lambda path: torch.save({"a": torch.zeros(3)}, path),
            "it holds a 3",
            "--model my_vae.py:VAE --weights",
        ),
        (lambda path: torch.save({"epoch": 3}, path), "holds epoch", "evaluate model.pt"),
    ],
)
def test_a_refusal_leads_on(tmp_path, make: Callable[[Path], object], found, command):
    path = tmp_path / "my model.pt"  # of which the shell makes two words
    make(path)
    with pytest.raises(Refusal) as caught:
        formats.open_run(path)
    leads_on(caught.value)
    assert found in caught.value.found
    assert command in caught.value.command


def test_what_a_list_leaves_out_is_named_with_the_reason(tmp_path):
    for name, data in {"notes.md": b"# Notes", "mine.weights": b"PK\3\4", "vae.onnx": b""}.items():
        (tmp_path / name).write_bytes(data)
    torch.save({"a": torch.zeros(2)}, tmp_path / "refused.pt")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    found = formats.left_out(tmp_path)
    assert list(found) == ["dangling", "mine.weights", "notes.md"]
    told = ("no file", "a zip archive, as torch.save writes", "a file of text")
    assert all(kind in found[name] for kind, name in zip(told, found, strict=True))
    assert set(formats.list_runs(tmp_path)[1]) == {"refused.pt", "vae.onnx"}
