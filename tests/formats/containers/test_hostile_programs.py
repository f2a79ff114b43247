"""Whole modules and TorchScript made to harm: read or refused, and nothing of them is run."""

import io
import json
import os
import pickle
import subprocess
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from formats.hostile_files import archive, damaged_pickle, parts_of, refusal, use_everything
from formats.wholes import whole
from fuzzing import damaged, fuzz, peak_memory
from hypothesis import strategies as st

from vae.formats.containers import tensors
from vae.formats.containers.pickles import MAX_PICKLE_BYTES


class Calls:
    """What unpickles to a call."""

    def __init__(self, function, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def harmful(created: Path) -> dict[str, object]:
    text = f"open({str(created)!r}, 'w')"
    return {
        "os.system": Calls(os.system, f"touch {created}"),
        "subprocess": Calls(subprocess.check_call, ["touch", str(created)]),
        "eval": Calls(eval, text),
        "exec": Calls(exec, text),
        "a method": Calls(Path.touch, created),
        "torch.load": Calls(torch.load, str(created)),
    }


PLACES = {
    "an attribute": lambda model, bait: setattr(model, "latent_dim", bait),
    "a child": lambda model, bait: model._modules.__setitem__("encoder2", bait),
    "a parameter": lambda model, bait: model.encoder._parameters.__setitem__("w", bait),
    "a hook": lambda model, bait: model._forward_hooks.__setitem__(0, bait),
    "deep inside": lambda model, bait: setattr(model.encoder.conv, "stride", ([{"a": bait}],)),
}


@pytest.mark.few(12)
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", harmful(Path("x")))
def test_a_module_with_harm_in_any_place_is_refused(tmp_path, kind, place, zipped):
    created, path = tmp_path / "created", tmp_path / "model.pt"
    model = whole()
    PLACES[place](model, harmful(created)[kind])
    torch.save(model, path, _use_new_zipfile_serialization=zipped)
    assert "could run code" in refusal(path)
    assert not created.exists()
    with warnings.catch_warnings():  # the bait does bite
        warnings.simplefilter("ignore")
        try:
            torch.load(path, weights_only=False)
        except Exception:  # of torch.load, whose file is not there
            assert kind == "torch.load"
    assert created.exists() or kind == "torch.load"


MODULE = b"ctorch.nn\nLinear\n)\x81"  # a stand-in on the stack
STATE = b"}(X\x08\x00\x00\x00_modulesh\x01X\x0b\x00\x00\x00_parameters}u"
TRAPS = {
    "a module in itself": MODULE + b"q\x00}(X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x00s"
    b"X\x0b\x00\x00\x00_parameters}ub",
    "modules in modules": b"".join(
        [
            b"}q\x01",
            *[
                MODULE
                + b"}(X\x08\x00\x00\x00_modules}(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00u"
                b"X\x0b\x00\x00\x00_parameters}ubq\x00"
            ]
            * 60,
        ]
    ).replace(b"h\x00", b"N", 2),
    "a dict of lists of all before": b"]q\x00" + b"](" + b"h\x00" * 100_000 + b"eq\x00",
    "an OrderedDict of a long list, often": b"]("
    + b"](K\x01K\x02e" * 20_000
    + b"eq\x00"
    + b"ccollections\nOrderedDict\nh\x00\x85R0" * 20_000
    + b"N",
    "a text turned into bytes, often": b"X\x00\x00\x10\x00"
    + b"a" * 2**20
    + b"q\x00"
    + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 20_000,
    "a size of a million axes": b"("
    + b"K\x01" * 300_000
    + b"tq\x00"
    + b"ctorch._utils\n_rebuild_tensor_v2\n(Nh\x00h\x00h\x00tR" * 10_000,
    "a state laid on a state": b"}("
    + b"".join(b"K" + bytes([n]) + b"N" for n in range(256))
    + b"uq\x00"
    + MODULE
    + b"h\x00b"
    + b"h\x00h\x00\x86b" * 100_000,
    "a number of a million digits": b"L" + b"9" * 1_000_000 + b"L\n",
    "an array of a terabyte": b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
    b"K\x00\x85C\x01b\x87R(K\x01\x8a\x06\x00\x00\x00\x00\x00\x01\x85cnumpy\ndtype\n"
    b"X\x02\x00\x00\x00f4\x89\x88\x87R\x89C\x04aaaatb",
    "calls what a call made": b"cbuiltins\ngetattr\nctorch\nnn\nX\x01\x00\x00\x00a\x86R)R",
    "an extension": b"\x82\x01",
    "a class by its instance": b"(cos\nsystem\no",
    "a class by its name": b"(X\x04\x00\x00\x00exitios\nsystem\n",
    "keys of anything": b"}(" + b"]]" + b"}}" + b"))" + b"u",
}


@pytest.mark.few(10)
@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("container", ["zip", "bare", "script"])
def test_a_pickle_that_is_a_trap_is_refused_in_time_and_memory(tmp_path, trap, container):
    data, path = b"\x80\x02" + TRAPS[trap] + b".", tmp_path / "trap.pt"
    before = peak_memory()
    if container == "bare":
        path.write_bytes(data)
    else:
        parts = {"a/data.pkl": data, "a/version": b"3\n"}
        parts |= {"a/constants.pkl": b"\x80\x02)."} if container == "script" else {}
        archive(path, parts)
    assert not use_everything(path)
    assert peak_memory() - before < 500_000


def test_a_pickle_larger_than_any_of_weights_is_refused(tmp_path):
    archive(tmp_path / "a.pt", {"a/data.pkl": bytes(MAX_PICKLE_BYTES + 1)})
    assert "far more than the weights" in refusal(tmp_path / "a.pt")


def test_views_that_come_to_far_more_than_the_file_are_refused(tmp_path):
    numbers = torch.zeros(300_000)
    state = {f"w{i}": numbers[i : i + 250_000] for i in range(40)}
    torch.save(state, tmp_path / "views.pt")
    survey = tensors.survey(tmp_path / "views.pt")
    with pytest.raises(tensors.CheckpointError, match="numbers of"):
        survey.load()


def test_a_tensor_that_strides_out_of_its_numbers_is_refused(tmp_path):
    parts = parts_of(saved({"w": torch.zeros(4, 4)}))
    # The strides (4, 1) become (40, 1).
    old = b"K\x04K\x01\x86"
    assert parts["archive/data.pkl"].count(old) == 1
    parts["archive/data.pkl"] = parts["archive/data.pkl"].replace(old, b"K\x28K\x01\x86")
    assert "larger than the numbers" in refusal(archive(tmp_path / "a.pt", parts))


def saved(value: object, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def scripted() -> bytes:
    """A TorchScript program in the layout of torch.save, so that its pickle can be damaged."""
    buffer, made = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(whole(), torch.zeros(2, 1, 8, 8)), buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(made, "w") as new:
        for part in old.infolist():
            name = "archive/" + part.filename.partition("/")[2]
            new.writestr(name, old.read(part.filename), part.compress_type)
    return made.getvalue()


def damaged_part(draw, data: bytes, ending: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for part in old.infolist():
            inside = old.read(part.filename)
            if part.filename.endswith(ending):
                inside = damaged(draw, inside)
            new.writestr(part.filename, inside, part.compress_type)
    return buffer.getvalue()


def attack(kind: str, folder: Path, n: int, **options) -> None:
    (folder / "run").mkdir()
    files = {
        "zip": saved(whole()),
        "legacy": saved(whole(), zipped=False),
        "pickle": pickle.dumps(whole()),
        "script": scripted(),
        "nested": saved(nested()),
    }
    data, path = files[kind], folder / "run" / "model.pt"

    def use(draw) -> None:
        how = draw(st.sampled_from(["bytes", "pickle", "code"]))
        if how == "pickle" and kind in ("zip", "script", "nested"):
            path.write_bytes(damaged_pickle(draw, data))
        elif how == "code" and kind == "script":
            path.write_bytes(damaged_part(draw, data, ".py"))
        else:
            path.write_bytes(damaged(draw, data))
        use_everything(path)

    fuzz(use, n, **options)


def nested() -> dict[str, object]:
    """What a training saves: weights in a dict in a dict, arrays and numbers of numpy beside."""
    model = whole()
    weights = {"encoder": model.encoder.state_dict(), "decoder": model.decoder.state_dict()}
    step = torch.optim.Adam(model.parameters()).state_dict()
    losses = {"train": np.zeros(4), "best": np.float64(0.3), "epoch": np.int64(7)}
    return {"model": weights, "optimizer": step, "losses": [losses], "args": {"lr": 1e-3}}


def attack_shards(folder: Path, n: int, **options) -> None:
    inner = folder / "run" / "inner"
    inner.mkdir(parents=True)
    state = whole().state_dict()
    places = {name: f"model-0000{1 + (i % 2)}-of-00002.safetensors" for i, name in enumerate(state)}
    files = {
        shard: safetensors.torch.save({k: v for k, v in state.items() if places[k] == shard})
        for shard in set(places.values())
    }
    index = json.dumps({"metadata": {}, "weight_map": places}).encode()
    files["model.safetensors.index.json"] = index

    def use(draw) -> None:
        hit = draw(st.sampled_from(sorted(files)))
        for name, data in files.items():
            (inner / name).write_bytes(damaged(draw, data) if name == hit else data)
        use_everything(inner)

    fuzz(use, n, **options)


KINDS = ("zip", "legacy", "pickle", "script", "nested")


def test_damaged_shards_are_used_or_refused(tmp_path):
    attack_shards(tmp_path, n=25, derandomize=True)


@pytest.mark.slow
def test_damaged_shards_are_used_or_refused_many_times(tmp_path):
    attack_shards(tmp_path, n=2000)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_program_is_used_or_refused(tmp_path, kind):
    attack(kind, tmp_path, n=25, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_program_is_used_or_refused_many_times(tmp_path, kind):
    attack(kind, tmp_path, n=2000)
