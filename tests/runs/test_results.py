"""What is kept with a run is that of its weights and of its data, or none."""

import dataclasses
import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from runs.damage import column, cuts, edit_tensors, foreign_files, header_of, refusal, with_value

from vae.analysis.embedding import ARRAYS, Embedding, embed
from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.inference.evidence import EXACT, METHODS, Evidence, importance_weighted
from vae.runs import checkpoint
from vae.runs.checkpoint import open_run

TRAIN = TrainConfig("digits", epochs=1)


@pytest.fixture
def run(tiny_run, tmp_path):
    """A trained run in tmp_path/run that a test may break."""
    return tiny_run(tmp_path / "run")


@pytest.fixture(scope="module")
def digits():
    return catalogue.load("digits")


def others(data: catalogue.Dataset) -> list[catalogue.Dataset]:
    """Data sets of the same name and split, of other images or with other labels."""
    return [
        dataclasses.replace(data, images=255 - data.images),
        dataclasses.replace(data, labels=data.labels.flip(0)),
    ]


# Of other data.


def test_what_training_leaves_is_of_its_data(run, digits):
    assert run.load_embedding().data_fingerprint == digits.fingerprint
    assert run.load_embedding(digits.fingerprint) is not None
    assert [run.load_embedding(other.fingerprint) for other in others(digits)] == [None, None]


def test_log_px_is_of_its_data(run, digits):
    few = digits.first(9)
    checkpoint.save_evidence(run, importance_weighted(run.load_model(), few, 3))
    for fingerprint in (None, few.fingerprint):
        found = run.load_evidence("digits", "test", fingerprint)
        assert found.data_fingerprint == few.fingerprint
    for other in (digits, *others(few)):
        assert run.load_evidence("digits", "test", other.fingerprint) is None


def test_files_of_earlier_versions_name_no_data_and_are_used(run, digits):
    model = run.load_model()
    old = dataclasses.replace(embed(model, digits, 2), data_fingerprint="")
    checkpoint.save_embedding(run, old)
    evidence = importance_weighted(model, digits, 3)
    checkpoint.save_evidence(run, dataclasses.replace(evidence, data_fingerprint=""))
    for fingerprint in (None, digits.fingerprint):
        assert run.load_embedding(fingerprint).data_fingerprint == ""
        assert run.load_evidence("digits", "test", fingerprint).data_fingerprint == ""


def test_what_ships_names_its_data():
    runs, _ = checkpoint.list_runs(Path(__file__).resolve().parents[2] / "checkpoints")
    assert len(runs) == 5
    for run in runs:
        name = run.train_config.dataset
        stored = [run.load_embedding(), run.load_evidence(name, "test")]
        known = {result.data_fingerprint for result in stored if result is not None}
        assert len(known) == 1
        if name in ("digits", "sprites"):  # which need no download
            assert known == {catalogue.load(name).fingerprint}
        assert "" not in known


def make_embedding(model: VAE, n: int = 12) -> Embedding:
    """Sprites with their factors, seen through a model, under names that JSON must escape."""
    embedding = embed(model, catalogue.load("sprites").first(n), n_samples=3, seed=4)
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


# An embedding is that of the weights beside it, or none.


def test_an_embedding_of_other_weights_is_none(run):
    assert run.load_embedding() is not None
    model = run.load_model()
    with torch.no_grad():
        model.encoder.mu.bias += 1e-3
    checkpoint.save_model(run, model)
    assert run.load_embedding() is None
    checkpoint.save_embedding(run, embed(model, catalogue.load("digits")))
    assert run.load_embedding() is not None


def test_an_embedding_that_is_not_there_is_none(run):
    (run.path / "embedding.safetensors").unlink()
    assert run.load_embedding() is None


def without(name):
    return lambda arrays, metadata: arrays.pop(name)


def metadata(name, value):
    return lambda arrays, found: found.update({name: value})


def without_metadata(name):
    return lambda arrays, found: found.pop(name)


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
        (column("kl_per_dim", with_value(3e38)), "kl_per_dim"),  # whose sum is infinite
        (column("mu", with_value(-1e20)), "mu"),  # whose square is
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
    checkpoint.save_embedding(run, embed(model, catalogue.load("digits")))
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
