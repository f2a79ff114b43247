import hashlib
import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from fuzzing import memory_below
from runs.damage import (
    column,
    contents,
    cuts,
    edit_tensors,
    foreign_files,
    header_of,
    refusal,
    with_value,
)

from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.runs import checkpoint
from vae.runs.checkpoint import CheckpointError, open_run
from vae.training.objectives import MeanTerms
from vae.training.trainer import EpochStats

TRAIN = TrainConfig("digits", epochs=1)
DIGITS = ModelConfig(image_shape=(1, 8, 8), hidden=(16,))


@pytest.fixture
def run(tiny_run, tmp_path):
    """A trained run in tmp_path/run that a test may break."""
    return tiny_run(tmp_path / "run")


def edit_json(path: Path, change) -> None:
    values = json.loads(path.read_text())
    path.write_text(json.dumps(change(values) or values))


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


TOO_LARGE = {
    "large images": {"image_shape": [3, 1024, 1024], "family": "conv", "hidden": [1] * 8},
    "large grey images": {"image_shape": [1, 1024, 1025 - 1], "hidden": [1]},
    "wide stages": {"image_shape": [3, 512, 512], "family": "conv", "hidden": [16384] * 2},
    "one wide stage": {"image_shape": [1, 256, 256], "family": "conv", "hidden": [16384]},
    "everything": {
        **{"image_shape": [3, 1024, 1024], "family": "conv"},
        **{"hidden": [16384] * 16, "latent_dim": 1024},
    },
}


@pytest.mark.parametrize("settings", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_model_that_takes_too_much_memory_is_refused_before_it_is_made(run, settings):
    edit_json(run.path / "config.json", lambda c: c["model"].update(settings))
    with memory_below(50):
        message = refusal(open_run, run.path)
    # 3 x 1,024 x 1,024 are more numbers than an image may have; 1 x 1,024 x 1,024 are as many.
    said = ("at most 1,048,576", "at most 67,108,864", "these two files are not of one run")
    assert any(part in message for part in said)
    assert str(run.path) in message


def test_a_model_that_takes_too_much_memory_is_not_begun_to_be_trained(tmp_path):
    config = ModelConfig((1, 512, 512), family="conv", hidden=(16384,))
    with memory_below(50):
        assert "the model is too large" in refusal(
            checkpoint.create, tmp_path / "run", config, TRAIN
        )
    assert not (tmp_path / "run").exists()


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
        lambda row: row | {"epoch": 1.5},
        lambda row: row | {"epoch": True},
        lambda row: row | {"epoch": -1},
        lambda row: row | {"seconds": 1e300},
        lambda row: row | {"seconds": -5},
        lambda row: row | {"images_per_s": -1},
        lambda row: row | {"lr": 1e300},
        lambda row: row | {"kl": -1e300},
        lambda row: row | {"more": "x" * 20_000},
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


def test_metrics_far_too_long_are_refused_unread(run):
    path = run.path / "metrics.jsonl"
    os.truncate(path, 2**40)
    with memory_below(50):
        assert str(path) in refusal(run.load_metrics)


def test_a_row_keeps_only_what_training_writes(run):
    path = run.path / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps(row | {"more": [1] * 100}) for row in rows))
    assert run.load_metrics() == rows


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


def test_a_run_has_one_cost_wherever_it_is_told(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "run")
    means = run.load_embedding().means()
    last = [row for row in run.load_metrics() if row["split"] == "test"][-1]
    terms = run.load_held_out_terms()
    assert (terms.recon, terms.kl) == (means["recon"], means["kl"])
    assert terms.neg_elbo == pytest.approx(last["neg_elbo"], abs=0.2)  # of the same weights
    (run.path / "embedding.safetensors").unlink()
    assert run.load_held_out_terms() == (last["recon"], last["kl"])
    (run.path / "metrics.jsonl").unlink()
    assert run.load_held_out_terms() is None
