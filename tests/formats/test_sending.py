"""Whatever a model was read from, it can be sent to another process and gives the same there."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
from formats import keras_files, state_dicts, strangers
from formats.test_hostile import disvae
from formats.wholes import Decoder, Encoder, whole

from vae import formats
from vae.config import ModelConfig
from vae.core.model import VAE
from vae.formats.user_code import factory, module
from vae.ui.results import workers

VAE_8 = ModelConfig((1, 8, 8), hidden=(9, 5))
HERE = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
NEIGHBOUR = "from torch import nn\nclass Enc(nn.Linear):\n    pass\n"
OWN = """
from torch import nn
from {neighbour} import Enc
class Mine(nn.Module):
    image_shape = (1, 8, 8)
    def __init__(self):
        super().__init__()
        self.enc, self.dec = Enc(64, 4), nn.Linear(2, 64)
    def encode(self, x):
        return self.enc(x.flatten(1)).chunk(2, 1)
    def decode(self, z):
        return self.dec(z).sigmoid().view(-1, 1, 8, 8)
"""
FORWARD = """
import torch
from torch import nn
class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc, self.dec = nn.Linear(64, 4), nn.Linear(2, 64)
    def forward(self, x):
        mu, logvar = self.enc(x.flatten(1)).chunk(2, 1)
        z = mu + torch.randn_like(mu) * (logvar / 2).exp()
        return self.dec(z).sigmoid().view(-1, 1, 8, 8), mu, logvar
"""
THERE = """
import pickle, sys
import torch
with open(sys.argv[1], "rb") as file:
    answers = {}
    for name, data in pickle.load(file).items():
        run, model, x, z, read_with = pickle.loads(data)
        answers[name] = [[*m.encode(x), m.decode_mean(z)] for m in (model, run.load_model())]
        if read_with is not None:
            read_with({}).load_model()
torch.save(answers, sys.argv[2])
"""


def saved(name: str, save: Callable, of: Callable) -> Callable[[Path], Any]:
    def opened(folder: Path) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's exporters
            save(of(), folder / name)
        return formats.open_run(folder / name)

    return opened


def save_traced(model: torch.nn.Module, path: Path) -> None:
    traced: Any = torch.jit.trace(model, torch.zeros(3, 1, 8, 8), check_trace=False)
    traced.save(str(path))


def of_keras(folder: Path) -> Any:
    pytest.importorskip("h5py")
    parts = {"encoder": keras_files.encoder(), "decoder": keras_files.decoder()}
    keras_files.write_legacy(folder / "vae.h5", parts, keras_files.vae_config())
    return formats.open_run(folder / "vae.h5")


def of_pair(folder: Path) -> Any:
    model = whole()
    torch.save(model.encoder, folder / "encoder.pt")
    torch.save(model.decoder, folder / "decoder.pt")
    return formats.open_run(folder / "encoder.pt")


def of_onnx(*names: str) -> Callable[[Path], Any]:
    def opened(folder: Path) -> Any:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
        x, z = torch.zeros(1, 1, 8, 8), torch.zeros(1, 2)
        parts = {"encoder": (Encoder(), x), "decoder": (Decoder(), z), "vae": (whole(), x)}
        for name in names:
            part, given = parts[name]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(part.eval(), (given,), str(folder / f"{name}.onnx"), dynamo=False)
        return formats.open_run(folder / f"{names[-1]}.onnx")

    return opened


def of_code(text: str, spec: str) -> Callable[[Path], Any]:
    def opened(folder: Path) -> Any:
        (folder / "a_neighbour_of_mine.py").write_text(NEIGHBOUR)
        (folder / "sent_code.py").write_text(text.format(neighbour="a_neighbour_of_mine"))
        return module.open_module(spec)

    return opened


def of_object(folder: Path) -> Any:
    class Notebook:  # which no other process can import
        image_shape = (1, 8, 8)

        def encode(self, x):
            return x.flatten(1)[:, 20:22], x.flatten(1)[:, 30:32] - 4

        def decode(self, z):
            return (z[:, :1] * 5).expand(-1, 64)

    return module.of_object(Notebook())


KINDS: dict[str, Callable[[Path], Any]] = {
    "pytorch/examples": saved("a.pt", torch.save, lambda: dict(state_dicts.examples_vae())),
    "pythae": lambda folder: formats.open_run(
        state_dicts.pythae(folder / "p", state_dicts.pythae_mlp(), **state_dicts.VAE_28)
    ),
    "PyTorch-VAE": saved("a.ckpt", torch.save, lambda: dict(state_dicts.lightning())),
    "disentangling-vae": saved("a.pt", torch.save, disvae),
    "native": saved("a.pt", torch.save, lambda: VAE(VAE_8).state_dict()),
    "strangers": saved("a.pt", torch.save, strangers.state_dict),
    "whole module": saved("a.pt", torch.save, whole),
    "TorchScript": saved("a.pt", save_traced, whole),
    "two files": of_pair,
    "Keras": of_keras,
    "ONNX, a decoder": of_onnx("decoder"),
    "ONNX, two files": of_onnx("encoder", "decoder"),
    "ONNX, one graph": of_onnx("vae"),
    "a file of code": of_code(OWN, "sent_code.py:Mine"),
    "a module of code": of_code(OWN, "sent_code:Mine"),
    "a file with forward": of_code(FORWARD, "sent_code.py:Mine"),
    "an object": of_object,
}


@pytest.mark.slow
def test_every_kind_of_model_gives_the_same_in_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_opened", {})
    monkeypatch.setattr(factory, "MODULES", set())
    sent, here = {}, {}
    for i, (name, make) in enumerate(KINDS.items()):
        folder = tmp_path / str(i)
        folder.mkdir()
        monkeypatch.chdir(folder)
        for old in ("sent_code", "a_neighbour_of_mine"):
            sys.modules.pop(old, None)
        run = make(folder)
        model = run.load_model()
        x, z = torch.rand(2, *model.config.image_shape), torch.randn(2, model.config.latent_dim)
        here[name] = [*model.encode(x), model.decode_mean(z)]
        sent[name] = workers._sent((run, model, x, z, run.read_with))
    monkeypatch.chdir(tmp_path)
    Path("sent").write_bytes(cloudpickle.dumps(sent))
    subprocess.run([sys.executable, "-c", THERE, "sent", "got"], env=HERE, check=True)
    there = torch.load("got", weights_only=True)
    assert there.keys() == KINDS.keys()
    for name, answers in there.items():
        for answer in answers:
            for found, wanted in zip(answer, here[name], strict=True):
                assert torch.allclose(found, wanted, 1e-4, 1e-5, equal_nan=True), name
