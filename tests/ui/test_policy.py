"""How much visitors may ask of a server."""

import dataclasses
import shutil

import pytest

from vae.config import ModelConfig, TrainConfig
from vae.runs.status import Status, write_status
from vae.ui import policy

MODEL, TRAIN = ModelConfig((1, 8, 8), hidden=(16,)), TrainConfig("digits", epochs=2)


def ask(folder, n=1, model=MODEL, train=TRAIN, at_once=False):
    policy.check_training(folder, [(model, train)] * n, at_once)


def waiting(folder, n, state="queued"):
    for i in range(n):
        (folder / f"{state}-{i}").mkdir()
        write_status(folder / f"{state}-{i}", Status(state))


def test_what_a_class_asks_for_is_allowed(tmp_path):
    waiting(tmp_path, 10)
    ask(tmp_path, n=12)
    ask(tmp_path, model=ModelConfig((3, 64, 64), latent_dim=64, family="conv", hidden=(64, 128)))


@pytest.mark.parametrize(
    ("name", "most", "wanted", "told"),
    [
        ("most_queued", 3, {"n": 2}, "4 runs that wait for their training, and 3 are allowed"),
        ("most_beside", 0, {"at_once": True}, "1 trainings at one time, and 0 are allowed"),
        ("most_epochs", 1, {}, "2 epochs of a training, and 1 are allowed"),
        ("most_weights", 1000, {}, "weights of a model that is trained, and 1,000 are allowed"),
        ("least_free_mb", 10**12, {}, "megabytes that stay free"),
    ],
)
def test_a_refusal_names_the_limit_and_who_can_raise_it(
    name, most, wanted, told, tmp_path, monkeypatch
):
    waiting(tmp_path, 2)
    ask(tmp_path, **wanted)
    monkeypatch.setenv(policy.variable(name), str(most))
    with pytest.raises(policy.LimitError) as caught:
        ask(tmp_path, **wanted)
    assert told in str(caught.value)
    assert f"whoever runs this server sets VAE_{name.upper()}" in str(caught.value)
    waiting_runs = [path.name for path in tmp_path.iterdir()]
    assert len(waiting_runs) == 2  # nothing was made


def test_every_limit_has_its_default_and_its_meaning():
    assert dataclasses.asdict(policy.current()) == dataclasses.asdict(policy.Policy())
    for field in dataclasses.fields(policy.Policy):
        assert field.metadata["meaning"]


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "1e9", "０x"])
def test_a_limit_that_is_no_number_is_said(text, monkeypatch):
    monkeypatch.setenv("VAE_MOST_QUEUED", text)
    with pytest.raises(policy.LimitError, match="VAE_MOST_QUEUED"):
        policy.current()


def test_a_full_disk_is_told_before_anything_is_made(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(policy.LimitError, match="only 1 MB are free"):
        ask(tmp_path)
