"""Whatever a run folder's files hold, opening it works or raises a CheckpointError.

Each attack draws the bytes of one file of an otherwise good run. `pytest -m slow` draws many more.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from fuzzing import fuzz
from hostile_names import is_text
from runs.attacks import ATTACKS, Attack

from vae.config import ModelConfig, TrainConfig
from vae.data import catalogue
from vae.inference.evidence import importance_weighted
from vae.runs import checkpoint, film
from vae.runs.checkpoint import CheckpointError
from vae.runs.status import read_status


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    return with_everything(tiny_run(tmp_path_factory.mktemp("fuzz") / "run"))


def with_everything(run: checkpoint.Run) -> checkpoint.Run:
    """The run, with what is kept of log p(x) as well."""
    few = catalogue.load("digits", "test")
    checkpoint.save_evidence(run, importance_weighted(run.load_model(), few, 3))
    return run


def said(error: CheckpointError) -> None:
    """A refusal is one line that any terminal can print, and not a copy of the file."""
    assert is_text(str(error))
    assert len(str(error)) < 1000


def use_everything(run: checkpoint.Run) -> None:
    """Opens the folder as the pages and the command line do, and uses what was found."""
    runs, broken = checkpoint.list_runs(run.path.parent)
    assert len(runs) + len(broken) == 1
    status = read_status(run.path)
    assert status.seconds_left is None or isinstance(status.seconds_left, float)
    assert f"{status.state} {status.step:,} {status.seconds:.1f} {status.message:>9}"
    try:
        opened = checkpoint.open_run(run.path)
    except CheckpointError as error:
        said(error)
        opened = run  # somebody may have opened it before the damage
    assert ModelConfig.from_dict(opened.model_config.to_dict()) == opened.model_config
    assert TrainConfig.from_dict(opened.train_config.to_dict()) == opened.train_config
    try:
        model = opened.load_model().given(0)
        assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
        with torch.no_grad():
            mu, _ = model.encode(torch.zeros(1, *opened.model_config.image_shape))
            model.decode_mean(mu)
    except CheckpointError as error:
        said(error)
    try:
        for row in opened.load_metrics():
            assert row["split"] in ("train", "test")
            assert all(f"{row[k]:.2f}" for k in checkpoint.METRIC_NAMES if k != "split")
    except CheckpointError as error:
        said(error)
    try:
        evidence = opened.load_evidence("digits", "test")
        assert evidence is None or evidence.means()
    except CheckpointError as error:
        said(error)
    try:
        assert all(len(frame.mu) for frame in film.frames(opened))
    except CheckpointError as error:
        said(error)
    try:
        embedding = opened.load_embedding()
        if embedding is not None:
            table = embedding.table()
            assert {len(column) for column in table.values()} == {len(embedding)}
            assert embedding.mu.shape == (len(embedding), opened.model_config.latent_dim)
            assert np.isfinite(embedding.recon).all()
    except CheckpointError as error:
        said(error)


def attack_with(run: checkpoint.Run, name: str, attack: Attack, n: int, **options) -> None:
    path = run.path / name
    whole = path.read_bytes()

    def open_damaged(draw: Callable) -> None:
        path.write_bytes(attack(draw, whole))
        use_everything(run)

    try:
        fuzz(open_damaged, n, **options)
    finally:
        path.write_bytes(whole)


each_attack = pytest.mark.parametrize(
    ("name", "attack"), ATTACKS, ids=[f"{attack.__name__}-{name}" for name, attack in ATTACKS]
)


@pytest.mark.few(12)
@each_attack
def test_a_damaged_run_is_used_or_refused(run, name, attack):
    attack_with(run, name, attack, n=8, derandomize=True)


@pytest.mark.slow
@each_attack
def test_a_damaged_run_is_used_or_refused_many_times(run, name, attack):
    attack_with(run, name, attack, n=2500)


def test_the_undamaged_run_is_used(run):
    assert checkpoint.open_run(run.path).load_embedding() is not None
    use_everything(run)
