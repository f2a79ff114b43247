"""Whole modules, dicts around the weights, arrays of numpy, and what Python 2 wrote."""

import pickle
import struct
import sys
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from formats.hostile_files import refusal
from formats.wholes import whole

from vae.formats.containers import tensors
from vae.formats.containers.tensors import LayerFacts


def floats(state: dict) -> dict:
    return {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}


def same(found: dict, expected: dict, exact: bool = True) -> None:
    assert set(found) == set(floats(expected))
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        if exact:
            assert torch.equal(tensor, expected[name].float()), name


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_whole_module_is_its_weights_and_what_its_layers_say(tmp_path, zipped, dtype):
    model, path = whole().to(dtype), tmp_path / "model.pt"
    torch.save(model, path, _use_new_zipfile_serialization=zipped)
    survey = tensors.survey(path)
    same(survey.load(), model.state_dict())
    assert survey.told["latent_dim"] == 2
    assert survey.told["image_shape"] == (1, 8, 8)
    assert survey.told["module"] == "WholeVAE"
    modules = dict(survey.modules)
    for name, layer in model.named_modules():
        if name and not list(layer.children()):
            said = modules.pop(name)
            assert said.kind == type(layer).__name__
            for setting in ("stride", "padding", "output_padding", "negative_slope", "eps"):
                assert said.values.get(setting) == getattr(layer, setting, None)
    assert modules == {"output": LayerFacts("Sigmoid")}
    assert list(survey.modules)[:3] == ["encoder.conv", "encoder.norm", "encoder.act"]


def test_no_class_of_the_file_is_looked_up(tmp_path, monkeypatch):
    torch.save(whole(), tmp_path / "model.pt")
    monkeypatch.delitem(sys.modules, "formats.wholes")
    monkeypatch.setattr(sys, "path", [])  # it cannot be imported again
    assert len(tensors.survey(tmp_path / "model.pt").load()) == 14
    assert "formats.wholes" not in sys.modules


def step(model: torch.nn.Module) -> dict:
    optimiser = torch.optim.Adam(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimiser.step()
    return optimiser.state_dict()


def around(model: torch.nn.Module) -> dict:
    state, optimiser = model.state_dict(), step(model)
    return {
        "an unknown key": {"epoch": 3, "network_params": state, "optimizer": optimiser},
        "two keys": {"checkpoint": {"weights_of_it": state}, "opt": {"adam": optimiser}},
        "three keys": {"a": {"b": {"c": state}}},
        "numpy beside": {
            "epoch": np.int64(3),
            "loss": np.float32(1.5),
            "losses": np.zeros(1000),
            "state": state,
            "optim": optimiser,
        },
        "a list": [optimiser, state, 7],
        "the module in a dict": {"vae": model, "optimizer": optimiser},
        "an object that holds it": SimpleNamespace(model=model, best=1.0),
        "prefixes": {f"module._orig_mod.model.{name}": tensor for name, tensor in state.items()},
        "a wrapper inside": {
            name.replace("encoder.", "encoder.module."): tensor for name, tensor in state.items()
        },
        "arrays": {name: tensor.numpy() for name, tensor in state.items()},
        "arrays of Fortran": {
            name: np.asfortranarray(tensor.numpy()) for name, tensor in state.items()
        },
    }


@pytest.mark.parametrize("how", around(whole()))
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 5])
def test_the_weights_are_found_whatever_is_around_them(tmp_path, how, zipped, protocol):
    model, path = whole(), tmp_path / "model.pt"
    torch.save(
        around(model)[how],
        path,
        _use_new_zipfile_serialization=zipped,
        pickle_protocol=protocol,
    )
    same(tensors.survey(path).load(), model.state_dict())


def test_what_is_beside_the_weights_is_told(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(around(whole())["numpy beside"] | {"mean": np.array([0.25, 0.5])}, path)
    survey = tensors.survey(path)
    assert survey.under == ("state",)
    assert survey.told == {"epoch": 3, "loss": 1.5, "mean": [0.25, 0.5]}


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (("encoder", "decoder"), ("encoder", "decoder")),
        (("enc_state_dict", "dec_state_dict"), ("enc", "dec")),
        (("E", "G"), ("E", "G")),
    ],
)
@pytest.mark.parametrize("as_modules", [True, False])
def test_an_encoder_and_a_decoder_in_one_dict_are_joined(tmp_path, keys, names, as_modules):
    model, path = whole(), tmp_path / "model.pt"
    parts = (model.encoder, model.decoder)
    held = dict(zip(keys, parts if as_modules else [p.state_dict() for p in parts], strict=True))
    torch.save({"epoch": 2, **held, "optimizer": step(model)}, path)
    survey = tensors.survey(path)
    expected = {
        f"{name}.{key}": tensor
        for name, part in zip(names, parts, strict=True)
        for key, tensor in part.state_dict().items()
    }
    same(survey.load(), expected)
    assert survey.told["epoch"] == 2
    assert (f"{names[0]}.act" in survey.modules) == as_modules


def test_the_model_is_taken_and_not_what_is_trained_beside_it(tmp_path):
    model = whole()
    big = torch.nn.Sequential(*[torch.nn.Linear(3, 3) for _ in range(20)]).state_dict()
    torch.save({"discriminator": big, "net_params": model.state_dict()}, tmp_path / "a.pt")
    same(tensors.survey(tmp_path / "a.pt").load(), model.state_dict())


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_state_of_an_optimiser_is_said_to_be_that(tmp_path, wrapped):
    state = step(whole())
    torch.save({"optimizer": state} if wrapped else state, tmp_path / "optimiser.pt")
    message = refusal(tmp_path / "optimiser.pt")
    assert "state of an optimiser; there are no weights" in message
    assert "torch.save(model.state_dict()" in message


@pytest.mark.parametrize("what", ["state dict", "arrays", "module"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_plain_pickle_of_weights_is_read(tmp_path, what, protocol):
    model, path = whole(), tmp_path / "model.pkl"
    state = model.state_dict()
    kinds = {
        "state dict": state,
        "arrays": {key: tensor.numpy() for key, tensor in state.items()},
        "module": model,
    }
    path.write_bytes(pickle.dumps(kinds[what], protocol=protocol))
    same(tensors.survey(path).load(), state)


class Estimator:
    """As other libraries' objects are: arrays among its attributes, and no network."""

    def __init__(self) -> None:
        self.components = np.ones((3, 3))


def test_a_pickle_of_other_objects_is_refused_with_their_names(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Estimator()))
    message = refusal(path)
    assert "Estimator" in message
    assert "never made here" in message


def text(value: str) -> bytes:
    """As Python 2 wrote it: SHORT_BINSTRING."""
    return b"U" + struct.pack("B", len(value)) + value.encode("latin-1")


def python2(state: dict[str, torch.Tensor]) -> bytes:
    """A file of torch.save's under Python 2: the OrderedDict is handed its items as pairs."""

    def number(n: int) -> bytes:
        return b"J" + struct.pack("<i", n)

    def storage(key: str, tensor: torch.Tensor) -> bytes:
        named = text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu")
        return b"(" + named + number(tensor.numel()) + b"NtQ"

    pairs = b""
    for i, (name, tensor) in enumerate(state.items()):
        sizes = b"".join(map(number, tensor.shape))
        strides = b"".join(map(number, tensor.stride()))
        arguments = storage(str(i), tensor) + number(0) + b"(" + sizes + b"t(" + strides + b"t"
        rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments
        rebuilt += b"\x89" + b"ccollections\nOrderedDict\n]\x85RtR"
        pairs += b"](" + text(name) + rebuilt + b"e"
    whole_dict = b"\x80\x02ccollections\nOrderedDict\n](" + pairs + b"e\x85R"
    whole_dict += b"}" + text("_metadata") + b"ccollections\nOrderedDict\n]\x85Rsb."
    keys = b"\x80\x02](" + b"".join(text(str(i)) for i in range(len(state))) + b"e."
    head = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    machine = b"\x80\x02}" + text("little_endian") + b"\x88s."
    numbers = b"".join(
        struct.pack("<q", tensor.numel()) + tensor.numpy().tobytes() for tensor in state.values()
    )
    return head + machine + whole_dict + keys + numbers


def test_what_python_2_wrote_is_read(tmp_path):
    state = {"fc1.weight": torch.randn(4, 3), "fc1.bias": torch.randn(4)}
    path = tmp_path / "old.pth"
    path.write_bytes(python2(state))
    with open(path, "rb") as file:  # torch itself reads it so
        assert isinstance(torch.load(file, weights_only=False, encoding="latin1"), OrderedDict)
    same(tensors.survey(path).load(), state)


def test_only_torchs_files_among_pickles_are_listed(tmp_path):
    torch.save(whole().state_dict(), tmp_path / "a.pkl")
    torch.save(whole().state_dict(), tmp_path / "b.pkl", _use_new_zipfile_serialization=False)
    (tmp_path / "c.pkl").write_bytes(pickle.dumps({"a": 1}))
    torch.save(whole().state_dict(), tmp_path / "d.pth.tar")
    names = [path.name for path in sorted(tmp_path.iterdir()) if tensors.is_weights(path)]
    assert names == ["a.pkl", "b.pkl", "d.pth.tar"]


def test_a_pickle_that_is_longer_than_usual_is_read_to_its_end(tmp_path):
    state = {"fc1.weight": np.random.default_rng(0).normal(size=(2000, 400))}
    path = tmp_path / "long.pkl"
    path.write_bytes(pickle.dumps({"name": "x", "state": state}, protocol=4))
    assert path.stat().st_size > 6_000_000
    found = tensors.survey(path).load()["fc1.weight"]
    assert torch.equal(found, torch.from_numpy(state["fc1.weight"]).float())
