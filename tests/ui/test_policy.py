"""How much visitors may ask of a server."""

import dataclasses
import io
import re
import shutil
from pathlib import Path

import pytest
import torch

from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.formats import uploads
from vae.runs import checkpoint
from vae.runs.status import Status, write_status
from vae.ui import owner, policy

MODEL, TRAIN = ModelConfig((1, 8, 8), hidden=(16,)), TrainConfig("digits", epochs=2)


@pytest.fixture(autouse=True)
def written(tmp_path_factory, monkeypatch):
    """The owner's file, which is not there yet."""
    monkeypatch.setattr(owner, "FILE", tmp_path_factory.mktemp("owner") / "elbo.toml")
    monkeypatch.delenv("VAE_MOST_COMPUTING", raising=False)
    return owner.FILE


def ask(folder, n=1, model=MODEL, train=TRAIN, at_once=False, mine=0):
    policy.check_training(folder, [(model, train)] * n, at_once, mine)


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
        ("most_queued_each", 3, {"mine": 3}, "4 runs of one visitor that wait"),
        ("most_images", 2_000, {}, "2,876 images of a training"),
        ("most_epochs", 1, {}, "2 epochs of a training, and 1 are allowed"),
        ("most_weights", 1000, {}, "weights of a model that is trained, and 1,000 are allowed"),
        ("least_free_mb", 10**12, {}, "must stay free; delete"),
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
def test_a_limit_that_is_no_number_is_said_and_the_default_holds(text, monkeypatch):
    monkeypatch.setenv("VAE_MOST_QUEUED", text)
    assert policy.current().most_queued == 50
    (said,) = policy.problems()
    assert said.startswith(f"VAE_MOST_QUEUED (={text!r}) must be a whole number")
    assert "whoever runs this server" in said


def test_the_owners_file_sets_limits_and_the_environment_wins(written, monkeypatch):
    written.write_text("[limits]\nmost_queued = 7\nmost_epochs = 8\n")
    monkeypatch.setenv("VAE_MOST_EPOCHS", "9")
    found = policy.current()
    assert (found.most_queued, found.most_epochs) == (7, 9)
    assert not owner.problems() + policy.problems()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits\n", "elbo.toml cannot be read"),
        ("\ufeff[limits]\nmost_queued = 1", "elbo.toml cannot be read"),
        ("a = " + "[" * 5000, "elbo.toml cannot be read"),
        ("[limits]\n" + "# long\n" * 50_000, "elbo.toml cannot be read"),
        ("limits = 3", "limits in elbo.toml must be a table"),
        ("[limit]\nmost_queued = 1", "elbo.toml has 'limit' outside its tables"),
        ("[limits]\nmost_queue = 1", "has no 'most_queue'; most_queued may be meant"),
        ("[limits]\nmost_queued = -1", "most_queued in elbo.toml (='-1') must be a whole number"),
        ("[limits]\nmost_queued = true", "(='True') must be a whole number"),
        ("[limits]\nmost_queued = 'x'", "(='x') must be a whole number"),
        ("[limits]\nmost_queued = [1]", "(='[1]') must be a whole number"),
    ],
)
def test_what_the_owner_wrote_wrongly_is_said_and_the_defaults_hold(text, said, written):
    written.write_text(text, encoding="utf-8")
    assert policy.current() == policy.Policy()
    (problem,) = owner.problems() + policy.problems()
    assert said in problem


def test_the_table_of_the_readme_is_that_of_the_limits():
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+) \| ([\d,]+)(?: \(at least\))? \| `(VAE_\w+)` \|$", readme, re.M)
    assert rows == [
        (field.metadata["meaning"], f"{field.default:,}", policy.variable(field.name))
        for field in dataclasses.fields(policy.Policy)
    ]


# Uploads.


def weights(width=16):
    file = io.BytesIO()
    torch.save(VAE(ModelConfig((1, 8, 8), hidden=(width,))).state_dict(), file)
    file.seek(0)
    file.name = "vae.pt"
    return file


@pytest.fixture
def visitor(monkeypatch):
    """Uploads of somebody who has one open already."""
    monkeypatch.setattr(uploads, "_held", {})  # what other tests hold is not counted
    found = uploads.Uploads(10**8, policy.hold)
    found.add([weights()])
    return found


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("most_open", 1),
        ("most_open_mb", 0),
        ("most_open_mb_in_all", 0),
        ("most_dimensions", 1),
        ("most_pixels", 63),
    ],
)
def test_an_upload_beyond_a_limit_is_refused_and_leaves_nothing(name, most, visitor, monkeypatch):
    monkeypatch.setenv(policy.variable(name), str(most))
    with pytest.raises(policy.LimitError, match=rf"{most} are allowed here; .*VAE_{name.upper()}"):
        visitor.add([weights()])
    assert list(visitor.runs) == ["vae.pt (yours)"]
    assert [path.name for path in visitor._root.iterdir() if path.is_dir()] == ["1"]
    monkeypatch.delenv(policy.variable(name))
    assert visitor.add([weights()])


@pytest.mark.parametrize("name", ["most_kept", "most_kept_mb"])
def test_no_more_is_kept_than_the_owner_allows(name, visitor, checkpoints, monkeypatch):
    monkeypatch.setenv(policy.variable(name), "0")
    with pytest.raises(policy.LimitError, match=f"0 are allowed here; .*VAE_{name.upper()}"):
        visitor.keep("vae.pt (yours)", "best")
    assert (list(checkpoints.iterdir()), list(visitor.runs)) == ([], ["vae.pt (yours)"])
    monkeypatch.setenv(policy.variable(name), "1")
    assert checkpoint.folder() / "best" == visitor.keep("vae.pt (yours)", "best")


def test_a_full_disk_is_told_before_anything_is_made(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(policy.LimitError, match="only 1 MB would be free"):
        ask(tmp_path)
