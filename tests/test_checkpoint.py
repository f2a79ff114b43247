import ast
import errno
import hashlib
import json
import os
import pickle
import shutil
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from vae import checkpoint, datasets
from vae.checkpoint import CheckpointError, open_run
from vae.config import ModelConfig, TrainConfig
from vae.embedding import ARRAYS, Embedding, embed
from vae.evidence import EXACT, METHODS, Evidence
from vae.model import VAE
from vae.training import EpochStats, MeanTerms

TRAIN = TrainConfig("digits", epochs=1)
DIGITS = ModelConfig(image_shape=(1, 8, 8), hidden=(16,))


@pytest.fixture
def run(tiny_run, tmp_path):
    """A trained run in tmp_path/run that a test may break."""
    return tiny_run(tmp_path / "run")


def refusal(call, *arguments) -> str:
    """The sentence with which a call is refused: one line that any terminal can print."""
    with pytest.raises(CheckpointError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.isprintable()
    return message


def edit_json(path: Path, change) -> None:
    values = json.loads(path.read_text())
    path.write_text(json.dumps(change(values) or values))


def edit_tensors(path: Path, change) -> None:
    """Rewrites a safetensors file after `change(arrays, metadata)`."""
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata() or {})
    arrays = safetensors.numpy.load_file(path)
    change(arrays, metadata)
    path.write_bytes(safetensors.numpy.save(arrays, metadata))


def header_of(path: Path) -> dict:
    """A safetensors header read by hand: eight bytes of length, then JSON."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])


# What is saved comes back.


def test_a_run_folder_holds_the_files_of_the_design(run):
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "metrics.jsonl",
        "embedding.safetensors",
        "status.json",
        "history",  # of the film
        ".lock",
    }
    assert (run.path / ".lock").stat().st_size == 0


def test_config_json_holds_version_settings_data_set_split_and_library_versions(run):
    config = json.loads((run.path / "config.json").read_text())
    assert config["format_version"] == 1
    assert config["model"]["image_shape"] == [1, 8, 8]
    assert config["train"]["dataset"] == "digits"
    assert "test" in config["held_out"]
    assert config["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    "config",
    [
        DIGITS,
        ModelConfig((1, 8, 8), hidden=(), latent_dim=1),
        ModelConfig((3, 5, 7), 10, "conv", (4, 6), "tanh", "gaussian"),
        ModelConfig((1, 28, 28), 16, "mlp", (32, 8), "silu", "continuous-bernoulli"),
    ],
)
def test_weights_and_configs_come_back_to_the_bit(tmp_path, config):
    train = TrainConfig("mnist", 7, 3, 1e-4, "constant", 0.1 + 0.2, 1 / 3, seed=2**63 - 1)
    run = checkpoint.create(tmp_path / "new", config, train)
    model = VAE(config, torch.Generator().manual_seed(5))
    extremes = torch.tensor([-0.0, 1e-45, 3.4e38, -1.1754944e-38])
    with torch.no_grad():
        model.encoder.mu.weight.view(-1)[:4] = extremes[: model.encoder.mu.weight.numel()]
    checkpoint.save_model(run, model)

    opened = open_run(tmp_path / "new")
    assert (opened.model_config, opened.train_config) == (config, train)
    stored = safetensors.numpy.load_file(tmp_path / "new/model.safetensors")
    loaded = opened.load_model().state_dict()
    assert set(stored) == set(loaded) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert stored[name].tobytes() == tensor.numpy().tobytes() == loaded[name].numpy().tobytes()


def make_embedding(model: VAE, n: int = 12) -> Embedding:
    """Sprites with their factors, seen through a model, under names that JSON must escape."""
    embedding = embed(model, datasets.load("sprites").first(n), n_samples=3, seed=4)
    names = ("top left", 'quo"ted', "héllo ☃", "")
    return Embedding(**(vars(embedding) | {"class_names": names}))


def test_an_embedding_comes_back_to_the_bit_with_factors_and_metadata(tmp_path):
    config = ModelConfig((1, 32, 32), latent_dim=3, hidden=(4,))
    run = checkpoint.create(tmp_path / "new", config, TRAIN)
    checkpoint.save_model(run, VAE(config))
    saved = make_embedding(run.load_model())
    checkpoint.save_embedding(run, saved)
    loaded = open_run(run.path).load_embedding()

    for name in ARRAYS:
        before, after = getattr(saved, name), getattr(loaded, name)
        assert (before.dtype, before.shape) == (after.dtype, after.shape)
        assert before.tobytes() == after.tobytes()
    assert set(loaded.factors) == {"x", "y"}
    for name, values in saved.factors.items():
        assert values.tobytes() == loaded.factors[name].tobytes()
    for name in ("dataset", "split", "n_samples", "seed", "class_names"):
        assert getattr(saved, name) == getattr(loaded, name)


def test_metrics_come_back_with_every_digit(run):
    history = [
        EpochStats(1, MeanTerms(0.1 + 0.2, 1 / 3), MeanTerms(1e-300, 2.0), 0.5, 1e-3, 99.9, 1.25),
        EpochStats(2, MeanTerms(40.0, 5.0), MeanTerms(41.0, 5.5), 1.0, 1e-9, 1e6, 0.75),
    ]
    checkpoint.save_metrics(run, [row for stats in history for row in stats.rows()])
    rows = run.load_metrics()
    assert rows == [row for stats in history for row in stats.rows()]
    assert [(row["epoch"], row["split"]) for row in rows] == [
        (1, "train"),
        (1, "test"),
        (2, "train"),
        (2, "test"),
    ]
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["recon"] for line in lines] == [0.1 + 0.2, 1e-300, 40.0, 41.0]
    assert set(json.loads(lines[0])) == set(checkpoint.METRIC_NAMES)


def test_metrics_are_empty_without_a_file(run):
    (run.path / "metrics.jsonl").unlink()
    assert run.load_metrics() == []


def test_the_fingerprint_is_the_sha256_of_the_weights_file(run):
    data = (run.path / "model.safetensors").read_bytes()
    assert run.fingerprint() == hashlib.sha256(data).hexdigest()
    assert header_of(run.path / "embedding.safetensors")["__metadata__"]["model_sha256"] == (
        run.fingerprint()
    )


def test_every_file_of_a_run_is_json_or_plain_tensors(run):
    for path in run.path.rglob("*"):
        if path.is_dir() or path.name == ".lock":
            continue
        if path.suffix == ".safetensors":
            header = header_of(path)
            sizes = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
            header_bytes = 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]
            assert path.stat().st_size == header_bytes + max(sizes)
        elif path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
        elif path.suffix == ".jsonl":
            assert all(json.loads(line) for line in path.read_text().splitlines())
        else:
            assert json.loads(path.read_text())


def test_the_library_neither_imports_pickle_nor_calls_torch_load():
    sources = list(Path(checkpoint.__file__).parent.rglob("*.py"))
    assert len(sources) > 5
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                assert not {"pickle", "dill", "joblib", "shelve", "marshal"} & {
                    module.split(".")[0] for module in modules
                }, source
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                # Others' files are read in one place, with weights_only (see test_architecture).
                is_load = (node.value.id, node.attr) == ("torch", "load")
                assert not is_load or source.name == "tensors.py", source


# An embedding is that of the weights beside it, or none.


def test_an_embedding_of_other_weights_is_none(run):
    assert run.load_embedding() is not None
    model = run.load_model()
    with torch.no_grad():
        model.encoder.mu.bias += 1e-3
    checkpoint.save_model(run, model)
    assert run.load_embedding() is None
    checkpoint.save_embedding(run, embed(model, datasets.load("digits")))
    assert run.load_embedding() is not None


def test_an_embedding_that_is_not_there_is_none(run):
    (run.path / "embedding.safetensors").unlink()
    assert run.load_embedding() is None


def without(name):
    return lambda arrays, metadata: arrays.pop(name)


def column(name, change):
    return lambda arrays, metadata: arrays.update(
        {name: np.ascontiguousarray(change(arrays[name]))}
    )


def metadata(name, value):
    return lambda arrays, found: found.update({name: value})


def without_metadata(name):
    return lambda arrays, found: found.pop(name)


def with_value(value, at=3):
    def change(array):
        array = array.copy()
        array.reshape(-1)[at] = value
        return array

    return change


def all_empty(arrays, metadata):
    arrays.update({name: array[:0] for name, array in arrays.items()})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *[(without(name), name) for name in ARRAYS],
        (column("mu", lambda a: a[:-1]), "mu"),
        (column("mu", lambda a: a[:, :1]), "mu"),
        (column("mu", lambda a: a.T), "mu"),
        (column("logvar", np.ravel), "logvar"),
        (column("recon", lambda a: a[:, None]), "recon"),
        (column("labels", lambda a: a[:, None]), "labels"),
        (column("labels", lambda a: a[:5]), "mu"),
        (column("labels", lambda a: a.astype(np.int32)), "labels"),
        (column("labels", lambda a: a.astype(np.float32)), "labels"),
        (column("recon", lambda a: a.astype(np.float64)), "recon"),
        (column("kl_per_dim", lambda a: a.astype(np.float16)), "kl_per_dim"),
        (column("mu", with_value(np.nan)), "mu"),
        (column("recon_stderr", with_value(np.inf)), "recon_stderr"),
        (column("labels", with_value(10)), "labels"),
        (column("labels", with_value(-1)), "labels"),
        (metadata("class_names", '["only one"]'), "labels"),
        (metadata("class_names", "[]"), "labels"),
        (metadata("class_names", "7"), "metadata"),
        (metadata("class_names", "not JSON"), "metadata"),
        (metadata("class_names", "[" * 100_000), "metadata"),
        (metadata("n_samples", "many"), "metadata"),
        (metadata("n_samples", "0"), "metadata"),
        (metadata("seed", "-1"), "metadata"),
        *[
            (without_metadata(name), "metadata")
            for name in ("dataset", "split", "n_samples", "seed", "class_names")
        ],
        (all_empty, "labels"),
        (lambda a, m: a.update({"factor.x": np.zeros(3, np.float32)}), "'x'"),
        (lambda a, m: a.update({"factor.x": np.full(359, np.nan, np.float32)}), "'x'"),
        (lambda a, m: a.update({"factor.x": np.zeros(359, np.complex64)}), "'x'"),
    ],
)
def test_a_damaged_embedding_is_refused_by_name(run, change, said):
    path = run.path / "embedding.safetensors"
    edit_tensors(path, change)
    message = refusal(open_run(run.path).load_embedding)
    assert str(path) in message
    assert said in message
    open_run(run.path).load_model()  # the model beside it is still of use


def test_an_embedding_of_another_latent_dimension_is_refused(run):
    model = VAE(ModelConfig((1, 8, 8), latent_dim=3, hidden=(16,)))
    checkpoint.save_embedding(run, embed(model, datasets.load("digits")))
    assert "(359, 3), expected (359, 2)" in refusal(run.load_embedding)


# log p(x) is that of the weights beside it, or none.

EVIDENCE = "log-px-digits-test.safetensors"


def make_evidence(method: str = EXACT, n: int = 12, split: str = "test") -> Evidence:
    """Values that only their bits tell apart, and those that an estimate may have to say."""
    log_px, error, elbo = np.random.default_rng(0).normal(-30, 9, (3, n))
    error[:3] = np.nan, np.inf, 1e-300
    return Evidence("digits", split, method, 50, 2**40, log_px, error, elbo)


@pytest.mark.parametrize("method", METHODS)
def test_log_px_comes_back_to_the_bit(run, method):
    saved = make_evidence(method)
    checkpoint.save_evidence(run, saved)
    loaded = open_run(run.path).load_evidence("digits", "test")
    for name in ("log_px", "error", "elbo"):
        assert getattr(loaded, name).tobytes() == getattr(saved, name).tobytes()
        assert getattr(loaded, name).dtype == np.float64
    for name in ("dataset", "split", "method", "n_samples", "seed"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert header_of(run.path / EVIDENCE)["__metadata__"]["model_sha256"] == run.fingerprint()


def test_log_px_that_is_saved_again_replaces_what_was_there(run):
    checkpoint.save_evidence(run, make_evidence(n=12))
    checkpoint.save_evidence(run, make_evidence(n=5))
    assert len(run.load_evidence("digits", "test")) == 5
    assert [path.name for path in run.path.glob("*log-px*")] == [EVIDENCE]


def test_each_data_set_has_its_own_log_px(run):
    checkpoint.save_evidence(run, make_evidence(n=12))
    checkpoint.save_evidence(run, make_evidence(n=7, split="train"))
    assert len(run.load_evidence("digits", "test")) == 12
    assert len(run.load_evidence("digits", "train")) == 7
    assert run.load_evidence("digits", "all") is None
    assert run.load_evidence("digits-binarised", "test") is None


def test_log_px_of_other_weights_is_none(run):
    checkpoint.save_evidence(run, make_evidence())
    model = run.load_model()
    with torch.no_grad():
        model.encoder.mu.bias += 1e-3
    checkpoint.save_model(run, model)
    assert run.load_evidence("digits", "test") is None


def test_log_px_under_the_name_of_another_data_set_is_none(run):
    checkpoint.save_evidence(run, make_evidence())
    (run.path / EVIDENCE).rename(run.path / "log-px-digits-train.safetensors")
    assert run.load_evidence("digits", "train") is None


@pytest.mark.parametrize(
    "change",
    [
        *[without(name) for name in ("log_px", "error", "elbo")],
        column("log_px", lambda a: a[:-1]),
        column("error", lambda a: a[:, None]),
        column("elbo", lambda a: a.astype(np.float32)),
        column("log_px", lambda a: a.astype(np.int64)),
        lambda arrays, _: arrays.update({name: a[None] for name, a in arrays.items()}),
        lambda arrays, _: arrays.update({name: np.asarray(a.sum()) for name, a in arrays.items()}),
        metadata("method", "guessed"),
        metadata("n_samples", "many"),
        metadata("seed", ""),
        *[without_metadata(name) for name in ("dataset", "split", "method", "n_samples", "seed")],
    ],
)
def test_damaged_log_px_is_refused_by_name(run, change):
    checkpoint.save_evidence(run, make_evidence())
    edit_tensors(run.path / EVIDENCE, change)
    message = refusal(run.load_evidence, "digits", "test")
    assert str(run.path / EVIDENCE) in message
    assert "computed anew" in message


def test_truncated_log_px_is_refused_whatever_its_length(run):
    checkpoint.save_evidence(run, make_evidence())
    path = run.path / EVIDENCE
    whole = path.read_bytes()
    for length in cuts(path):
        path.write_bytes(whole[:length])
        assert str(path) in refusal(run.load_evidence, "digits", "test")
    path.write_bytes(whole)
    assert run.load_evidence("digits", "test") is not None


def test_another_programs_file_in_place_of_log_px_is_refused_and_nothing_in_it_is_run(
    run, tmp_path
):
    touched = tmp_path / "touched"
    for data in foreign_files(tmp_path, touched).values():
        (run.path / EVIDENCE).write_bytes(data)
        assert str(run.path / EVIDENCE) in refusal(run.load_evidence, "digits", "test")
    assert not touched.exists()


def test_a_pipe_in_place_of_log_px_is_refused_and_not_waited_for(run):
    os.mkfifo(run.path / EVIDENCE)
    assert str(run.path / EVIDENCE) in refusal(run.load_evidence, "digits", "test")


def test_log_px_that_cannot_be_written_leaves_the_old_and_nothing_else(run, monkeypatch):
    checkpoint.save_evidence(run, make_evidence(n=5))
    before = sorted(path.name for path in run.path.iterdir())

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in refusal(checkpoint.save_evidence, run, make_evidence(n=12))
    assert sorted(path.name for path in run.path.iterdir()) == before
    assert len(run.load_evidence("digits", "test")) == 5


# What cannot be opened says why.


def test_a_path_that_does_not_exist_is_refused_with_the_next_step(tmp_path):
    for path in (tmp_path / "nothing", tmp_path / "nothing" / "model.safetensors"):
        assert "python -m vae list" in refusal(open_run, path)


@pytest.mark.parametrize("path", ["", "a\0b", "a" * 5000, "a" * 5000 + "/config.json"])
def test_a_path_that_no_file_can_have_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError):
        open_run(path)


def test_a_file_that_is_no_run_is_refused(tmp_path):
    file = tmp_path / "weights.pt"
    file.write_bytes(b"something")
    message = refusal(open_run, file)
    assert str(file) in message
    assert "config.json" in message
    assert "model.safetensors" in message


def test_an_empty_folder_is_refused(tmp_path):
    assert str(tmp_path / "config.json") in refusal(open_run, tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("instead", ["nothing", "folder", "dangling link", "pipe"])
def test_a_missing_file_is_named(run, name, instead):
    path = run.path / name
    path.unlink()
    if instead == "folder":
        path.mkdir()
    elif instead == "dangling link":
        path.symlink_to(run.path / "gone")
    elif instead == "pipe":
        os.mkfifo(path)  # opening it would wait for ever
    message = refusal(open_run, run.path)
    assert name in message
    assert str(run.path) in message


@pytest.mark.parametrize("name", ["metrics.jsonl", "embedding.safetensors"])
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(run, name):
    (run.path / name).unlink()
    os.mkfifo(run.path / name)
    load = run.load_metrics if name == "metrics.jsonl" else run.load_embedding
    assert str(run.path / name) in refusal(load)


def cuts(path: Path) -> list[int]:
    """Lengths on both sides of everything that a safetensors file is made of."""
    size = path.stat().st_size
    start = 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]
    steps = range(0, size, max(1, size // 60))
    return sorted({0, 1, 7, 8, 9, start - 1, start, start + 1, size - 4, size - 1, *steps})


@pytest.mark.parametrize("name", ["model.safetensors", "embedding.safetensors"])
def test_a_truncated_file_is_refused_whatever_its_length(run, name):
    path = run.path / name
    whole = path.read_bytes()
    for length in cuts(path):
        path.write_bytes(whole[:length])
        message = refusal(lambda: open_run(run.path).load_embedding())
        assert str(path) in message
        assert "truncated" in message
    path.write_bytes(whole + b"\0")
    assert str(path) in refusal(lambda: open_run(run.path).load_embedding())
    path.write_bytes(whole)
    assert open_run(run.path).load_embedding() is not None


class Payload:
    """Unpickling one touches a file."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self):
        return (os.mknod, (str(self.touched),))


def foreign_files(folder: Path, touched: Path) -> dict[str, bytes]:
    zipped = folder / "weights.pt"
    torch.save({"w": torch.zeros(3), "payload": Payload(touched)}, zipped)
    torch.save({"w": torch.zeros(3)}, folder / "old.pt", _use_new_zipfile_serialization=False)
    header = json.dumps({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}).encode()
    return {
        "text": b"these are not weights\n" * 50,
        "zip of PyTorch": zipped.read_bytes(),
        "PyTorch before 1.6": (folder / "old.pt").read_bytes(),
        "pickle": pickle.dumps(Payload(touched)),
        "old pickle": pickle.dumps(Payload(touched), protocol=0),
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "HTML": b"<!DOCTYPE html><title>404</title>" * 20,
        "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "zeros": bytes(5000),
        "header of 2**63 bytes": struct.pack("<Q", 2**63) + header + bytes(12),
        "header of 99 MB": struct.pack("<Q", 99_000_000) + header + bytes(12),
        "pickle after a header": struct.pack("<Q", len(header))
        + header
        + pickle.dumps(Payload(touched)),
    }


def test_unpickling_the_payload_would_touch_its_file(tmp_path):
    touched = tmp_path / "touched"
    pickle.loads(foreign_files(tmp_path, touched)["pickle"])
    assert touched.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "embedding.safetensors"])
def test_another_programs_file_is_refused_and_nothing_in_it_is_run(run, tmp_path, name):
    path, touched = run.path / name, tmp_path / "touched"
    for data in foreign_files(tmp_path, touched).values():
        path.write_bytes(data)
        assert str(path) in refusal(lambda: open_run(run.path).load_embedding())
        if name == "model.safetensors":
            assert str(path) in refusal(run.load_model)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("latent_dim", 3),
        ("hidden", [16, 16]),
        ("hidden", [17]),
        ("hidden", []),
        ("image_shape", [1, 8, 9]),
        ("image_shape", [3, 8, 8]),
        ("family", "conv"),
        ("likelihood", "gaussian"),  # has a tensor of its own
        ("hidden", [16384] * 16),
        ("latent_dim", 1024),
    ],
)
def test_a_config_that_does_not_fit_its_weights_is_refused(run, setting, value):
    edit_json(run.path / "config.json", lambda c: c["model"].update({setting: value}))
    message = refusal(open_run, run.path)
    assert str(run.path / "model.safetensors") in message
    assert "config.json" in message
    assert "tensor '" in message


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int32])
def test_weights_of_another_type_are_refused(run, dtype):
    path = run.path / "model.safetensors"
    state = {name: tensor.to(dtype) for name, tensor in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(state, path)
    assert "F32" in refusal(open_run, run.path)


def test_a_missing_and_an_extra_tensor_are_named(run):
    path = run.path / "model.safetensors"
    edit_tensors(path, lambda arrays, _: arrays.update({"stow\naway": np.zeros(2, np.float32)}))
    assert r"stow\naway" in refusal(open_run, run.path)
    edit_tensors(path, lambda arrays, _: (arrays.pop("stow\naway"), arrays.pop("encoder.mu.bias")))
    assert "encoder.mu.bias" in refusal(open_run, run.path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_tensor_that_is_not_finite_is_named(run, value):
    edit_tensors(run.path / "model.safetensors", column("decoder.body.2.bias", with_value(value)))
    message = refusal(open_run(run.path).load_model)
    assert "'decoder.body.2.bias'" in message
    assert str(run.path / "model.safetensors") in message


@pytest.mark.parametrize(
    "version", [0, 2, 1.5, "1", None, [1], {}, "\ud800", "\x1b[31m", "9" * 999]
)
def test_another_format_version_is_refused(run, version):
    edit_json(run.path / "config.json", lambda c: c.update(format_version=version))
    message = refusal(open_run, run.path)
    assert "format_version" in message
    assert str(run.path / "config.json") in message


def nested(depth: int, setting: str) -> bytes:
    model = {"image_shape": [1, 8, 8], setting: "@"}
    config = json.dumps({"format_version": 1, "model": model, "train": {}})
    return config.replace('"@"', "[" * depth + "]" * depth).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b"{",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
        b"9" * 5000,
        b"[" * 100_000,
        b" " * 2_000_000 + b"{}",
        nested(50, "hidden"),
        nested(5000, "latent_dim"),
        b'{"format_version": 1}',
        b'{"format_version": 1, "model": [], "train": {}}',
        b'{"format_version": 1, "model": {"image_shape": [1, 8, 8], "x": 1}, "train": {}}',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_a_config_that_is_not_one_is_refused(run, data):
    (run.path / "config.json").write_bytes(data)
    message = refusal(open_run, run.path)
    assert str(run.path / "config.json") in message
    assert len(message) < len(str(run.path)) + 300


@pytest.mark.parametrize("setting", ["hidden", "latent_dim"])
def test_nesting_is_refused_at_every_depth(run, setting):
    # Near the interpreter's limit a value may still be parsed and yet be too deep to be shown.
    for depth in range(800, 1000):
        (run.path / "config.json").write_bytes(nested(depth, setting))
        assert str(run.path / "config.json") in refusal(open_run, run.path)


def test_a_config_far_too_long_is_refused_unread(run):
    path = run.path / "config.json"
    with open(path, "r+b") as file:
        file.truncate(2**40)  # a terabyte of nothing, which no machine could read
    assert str(path) in refusal(open_run, run.path)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "7",
        "{}",
        "{",
        '{"epoch": 1}',
        lambda row: {name: value for name, value in row.items() if name != "split"},
        lambda row: row | {"split": 5},
        lambda row: row | {"split": "neither"},
        lambda row: row | {"kl": "3"},
        lambda row: row | {"kl": None},
        lambda row: row | {"kl": float("nan")},
        lambda row: row | {"recon": float("inf")},
        lambda row: row | {"epoch": 10**400},
    ],
)
def test_metrics_that_training_would_not_write_are_refused_by_line(run, line):
    path = run.path / "metrics.jsonl"
    good = path.read_text().splitlines()
    if callable(line):
        line = json.dumps(line(json.loads(good[0])))
    path.write_text("\n".join([good[0], line, *good[1:]]))
    message = refusal(open_run(run.path).load_metrics)
    assert f"{path}, line 2" in message


@pytest.mark.parametrize(
    "file", ["config.json", "model.safetensors", "metrics.jsonl", "embedding.safetensors"]
)
def test_a_run_opens_by_any_of_its_files(run, file):
    assert open_run(str(run.path / file)).path == run.path


def test_a_run_may_be_called_like_one_of_its_files(tiny_run, tmp_path):
    path = tmp_path / "config.json"
    tiny_run(path)
    assert open_run(path).name == "config.json"
    assert open_run(path / "config.json").name == "config.json"


def test_files_that_others_added_do_not_matter(run):
    (run.path / "README.md").write_text("how it was made")
    (run.path / "notes").mkdir()
    assert open_run(run.path).load_embedding() is not None


# The list of runs.


def test_broken_folders_do_not_hide_good_ones(tiny_run, tmp_path):
    for name in ("a", "b", "c", "d"):
        tiny_run(tmp_path / name)
    (tmp_path / "b/config.json").write_bytes(b"\xff")
    (tmp_path / "c/model.safetensors").unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").write_text("not a folder")
    shutil.copytree(tmp_path / "a", tmp_path / ".hidden")
    runs, broken = checkpoint.list_runs(tmp_path)
    assert [run.name for run in runs] == ["a", "d"]
    assert set(broken) == {"b", "c", "empty"}
    assert all(name in reason for name, reason in broken.items())


def test_a_folder_that_does_not_exist_holds_no_runs(tmp_path):
    (tmp_path / "file").touch()
    assert checkpoint.list_runs(tmp_path / "nowhere") == ([], {})
    assert checkpoint.list_runs(tmp_path / "file") == ([], {})


def test_the_environment_names_the_folder(tiny_run, checkpoints):
    assert checkpoint.folder() == checkpoints
    tiny_run(checkpoints / "mine")
    assert [run.name for run in checkpoint.list_runs()[0]] == ["mine"]


# Names.


@pytest.mark.parametrize("name", ["a", "digits-2d", "A_b.c-9", "7", "x" * 64])
def test_a_plain_name_is_a_name(name):
    assert checkpoint.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", ".hidden", "-option", "_x", "a..b", "a/b", "/etc", "../x", "a\\b"),
        *("a b", "a\n", "a\0", "~", "x" * 65, "<b>x</b>", "&lt;", "é", "a\u202eb", "٣", "C:"),
    ],
)
def test_a_name_that_could_lead_astray_is_refused(name, tmp_path):
    assert "must be 1 to 64" in refusal(checkpoint.check_name, name)
    if "/" not in name and "\0" not in name and name not in ("", "."):
        refusal(checkpoint.create, tmp_path / name, DIGITS, TRAIN)
    assert list(tmp_path.iterdir()) == []


# Making and moving a folder.


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_name_that_is_taken_is_refused_and_its_run_unharmed(run):
    before = contents(run.path)
    assert "'run' exists already" in refusal(checkpoint.create, run.path, DIGITS, TRAIN)
    assert "'run' exists already" in refusal(checkpoint.check_free, run.path)
    other = checkpoint.create(run.path.parent / "other", DIGITS, TRAIN)
    assert "'run' exists already" in refusal(checkpoint.move, other, run.path)
    assert contents(run.path) == before


def test_a_folder_inside_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file/run", tmp_path / "file/deeper/run"):
        message = refusal(checkpoint.create, path, DIGITS, TRAIN)
        assert str(path) in message
        assert "cannot make" in message


def test_a_moved_run_opens_where_it_went(run, tmp_path):
    moved = checkpoint.move(run, tmp_path / "there")
    assert moved == open_run(tmp_path / "there")
    assert not run.path.exists()


# Writing is all or nothing.


def fail_with(code):
    def fail(*_arguments, **_options):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("step", ["os.fsync", "os.replace", "builtins.open"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(run, monkeypatch, code, step):
    before = contents(run.path)
    with monkeypatch.context() as patch:
        patch.setattr(step, fail_with(code))
        path = run.path / "model.safetensors"
        message = refusal(checkpoint.write_atomic, path, b"new")
    assert str(path) in message
    assert os.strerror(code) in message
    assert contents(run.path) == before


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(run, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    before = contents(run.path)
    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write_atomic(run.path / "model.safetensors", b"new")
    assert contents(run.path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_folder_is_refused(run):
    run.path.chmod(0o500)
    try:
        message = refusal(checkpoint.save_metrics, run, [])
    finally:
        run.path.chmod(0o700)
    assert str(run.path / "metrics.jsonl") in message
    assert "Permission denied" in message


def test_writing_into_a_folder_that_is_gone_is_refused(run):
    shutil.rmtree(run.path)
    assert "No such file" in refusal(checkpoint.save_metrics, run, [])


def test_a_config_that_cannot_be_written_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", fail_with(errno.ENOSPC))
    refusal(checkpoint.create, tmp_path / "new", DIGITS, TRAIN)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half_a_file(run):
    model, embedding = run.load_model(), run.load_embedding()
    models, embeddings = [], []
    for value in (1.0, 2.0):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(value)
        models.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        columns = {name: np.full_like(getattr(embedding, name), value) for name in ARRAYS}
        embeddings.append(Embedding(**(vars(embedding) | columns | {"seed": int(value)})))
    over = threading.Event()

    def write_both() -> None:
        for state, stored in zip(models, embeddings, strict=True):
            model.load_state_dict(state)
            checkpoint.save_model(run, model)
            checkpoint.save_embedding(run, stored)

    def write() -> None:
        while not over.is_set():
            write_both()

    write_both()
    thread = threading.Thread(target=write)
    thread.start()
    matches = 0
    try:
        for _ in range(150):
            opened = open_run(run.path)
            values = torch.cat([tensor.flatten() for tensor in opened.load_model().parameters()])
            found = opened.load_embedding()
            assert values.unique().numel() == 1
            if found is not None:  # it may belong to the weights of an instant ago
                matches += 1
                assert found.mu.min() == found.mu.max() == found.seed
    finally:
        over.set()
        thread.join()
    assert matches > 0


def test_an_embedding_replaced_while_it_is_read_is_the_old_or_the_new_one(run, monkeypatch):
    load, old = safetensors.numpy.load, run.load_embedding()
    new = Embedding(**(vars(old) | {"seed": 77, "mu": np.full_like(old.mu, 77)}))

    def replace_and_load(data):
        checkpoint.save_embedding(run, new)
        return load(data)

    monkeypatch.setattr(safetensors.numpy, "load", replace_and_load)
    found = run.load_embedding()
    assert (found.seed == 77) == bool((found.mu == 77).all())


def limited(n_bytes: int) -> str:
    """A program: `python -m vae` on a disk where a file can have so many bytes."""
    return (
        "import resource, sys; from vae.cli import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({n_bytes}, {n_bytes})); sys.exit(main())"
    )


def sentence_of(finished) -> str:
    """The one sentence on stderr, after the progress bar if there was one."""
    said = [line for line in finished.stderr.splitlines() if line.startswith("vae: ")]
    assert len(said) == 1
    assert finished.stderr.endswith(said[0] + "\n")
    assert "Traceback" not in finished.stderr
    return said[0]


def test_a_disk_too_small_for_the_weights_leaves_nothing(python, tiny_run, checkpoints):
    tiny_run(checkpoints / "other")
    before = contents(checkpoints)
    finished = python("-c", limited(200_000), "train", "--epochs", "1", "--name", "big")
    assert finished.returncode == 2
    assert "model.safetensors: File too large" in sentence_of(finished)
    assert [run.name for run in checkpoint.list_runs()[0]] == ["other"]
    assert contents(checkpoints) == before
    assert [path.name for path in checkpoints.iterdir()] == ["other"]


def test_a_disk_that_fills_during_training_keeps_the_last_whole_files(python, checkpoints):
    # Weights (10 kB), map (17 kB) and trainer (42 kB) fit; the metrics outgrow 60 kB at epoch 140.
    finished = python(
        *("-c", limited(60_000), "train", "--name", "small", "--hidden", "16"),
        *("--epochs", "200", "--batch-size", "512"),
    )
    assert finished.returncode == 2
    assert "metrics.jsonl: File too large" in sentence_of(finished)
    run = open_run(checkpoints / "small")
    rows = run.load_metrics()
    assert 15 < rows[-1]["epoch"] < 200
    assert len(rows) == 2 * rows[-1]["epoch"]
    run.load_model()
    assert run.load_embedding() is not None
    assert not [path for path in run.path.iterdir() if path.name.endswith(".tmp")]
