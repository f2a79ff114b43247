"""Writing is all or nothing: a reader sees the old file or the new one, whole."""

import errno
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from runs.damage import (
    contents,
    refusal,
)

from vae.analysis.embedding import ARRAYS, Embedding
from vae.config import ModelConfig, TrainConfig
from vae.runs import checkpoint, files
from vae.runs.checkpoint import open_run

TRAIN = TrainConfig("digits", epochs=1)
DIGITS = ModelConfig(image_shape=(1, 8, 8), hidden=(16,))


@pytest.fixture
def run(tiny_run, tmp_path):
    """A trained run in tmp_path/run that a test may break."""
    return tiny_run(tmp_path / "run")


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
        message = refusal(files.write_atomic, path, b"new")
    assert str(path) in message
    assert os.strerror(code) in message
    assert contents(run.path) == before


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(run, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    before = contents(run.path)
    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(run.path / "model.safetensors", b"new")
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


@pytest.mark.slow
def test_a_disk_too_small_for_the_weights_leaves_nothing(python, tiny_run, checkpoints):
    tiny_run(checkpoints / "other")
    before = contents(checkpoints)
    finished = python("-c", limited(200_000), "train", "--epochs", "1", "--name", "big")
    assert finished.returncode == 2
    assert "model.safetensors: File too large" in sentence_of(finished)
    assert [run.name for run in checkpoint.list_runs()[0]] == ["other"]
    assert contents(checkpoints) == before
    assert [path.name for path in checkpoints.iterdir()] == ["other"]


@pytest.mark.slow
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


def test_two_who_write_one_file_at_once_both_succeed(tmp_path):
    path, together = tmp_path / "file", threading.Barrier(8)

    def write(i: int) -> None:
        together.wait()
        for _ in range(20):
            files.write_atomic(path, bytes([i]) * 1000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(set(path.read_bytes())) == 1
    assert list(tmp_path.iterdir()) == [path]
