"""Opening, listing and describing whatever is a checkpoint, here and from the command line."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from formats.state_dicts import (
    VAE_28,
    examples_vae,
    images,
    lightning,
    opened,
    pythae,
    pythae_mlp,
    save_lightning,
)

from vae import cli, formats
from vae.config import ConfigError, ForeignModel, ModelConfig
from vae.core.model import VAE
from vae.formats.shapes import of_pixels
from vae.runs.checkpoint import CheckpointError


def test_our_run_folder_is_opened_as_before(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "run")
    assert formats.open_run(run.path) == run
    assert formats.open_run(run.path / "model.safetensors") == run


def test_one_broken_entry_does_not_hide_the_others(tiny_run, tmp_path):
    tiny_run(tmp_path / "ours")
    torch.save(dict(examples_vae()), tmp_path / "examples.pt")
    pythae(tmp_path / "theirs", pythae_mlp(), **VAE_28)
    (tmp_path / "broken.pt").write_bytes(b"not weights")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("of no interest")
    (tmp_path / ".hidden.pt").write_bytes(b"")
    runs, broken = formats.list_runs(tmp_path)
    assert [run.name for run in runs] == ["examples.pt", "ours", "theirs"]
    assert set(broken) == {"broken.pt", "empty"}


THEIR_SETTINGS = {
    "another program's": b'{"latent_dim": 2, "lr": 0.001}',
    "a hub's": b'{"model_type": "vae", "architectures": ["VAE"]}',
    "empty": b"{}",
    "a list": b"[1, 2]",
    "no JSON": b"latent_dim: 2",
    "far too long": b'{"a": "' + b"b" * 1_500_000 + b'"}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("settings", THEIR_SETTINGS.values(), ids=THEIR_SETTINGS)
@pytest.mark.parametrize("name", ["model.pt", "vae.safetensors", "epoch=9.ckpt"])
def test_weights_that_open_alone_open_beside_a_config_of_another_program(tmp_path, name, settings):
    folder = tmp_path / "run"
    folder.mkdir()
    if name.endswith("safetensors"):
        safetensors.torch.save_file(dict(examples_vae()), folder / name)
    else:
        torch.save(dict(examples_vae()), folder / name)
    (folder / "config.json").write_bytes(settings)
    for path in (folder, folder / name):
        assert formats.open_run(path).card.format == "pytorch/examples"
    runs, broken = formats.list_runs(tmp_path)
    assert ([run.name for run in runs], broken) == (["run"], {})


@pytest.mark.parametrize("part", ["", "model.safetensors"])
def test_their_model_safetensors_is_opened_beside_their_config(tmp_path, part):
    safetensors.torch.save_file(dict(examples_vae()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"latent_dim": 2}')
    assert formats.open_run(tmp_path / part).card.format == "pytorch/examples"


def test_our_run_stays_ours_beside_other_weights_and_when_it_is_broken(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "run")
    torch.save(dict(examples_vae()), run.path / "model.pt")
    assert formats.open_run(run.path) == run
    (run.path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="weights are missing"):
        formats.open_run(run.path)


def test_a_folder_of_lightnings_is_looked_into(tmp_path):
    (tmp_path / "version_0/checkpoints").mkdir(parents=True)
    save_lightning(tmp_path / "version_0/checkpoints/epoch=9.ckpt", lightning())
    run, _ = opened(tmp_path / "version_0")
    assert run.name == "version_0"
    save_lightning(tmp_path / "version_0/checkpoints/last.ckpt", lightning())
    with pytest.raises(CheckpointError, match="2 files of weights"):
        formats.open_run(tmp_path / "version_0")


def test_a_folder_that_does_not_exist_holds_no_checkpoints(tmp_path):
    assert formats.list_runs(tmp_path / "nowhere") == ([], {})
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        formats.open_run(tmp_path / "nowhere")


def test_an_unknown_file_lists_what_it_holds_and_the_nearest_format(tmp_path):
    state = examples_vae()
    del state["fc4.weight"]
    torch.save(dict(state), tmp_path / "odd.pt")
    with pytest.raises(CheckpointError) as caught:
        formats.open_run(tmp_path / "odd.pt")
    for part in ("pytorch/examples", "9 of whose 10", "fc1.weight 12x784", "fc4.bias 784"):
        assert part in str(caught.value)


def test_a_card_is_a_list_of_facts(tmp_path):
    torch.save(dict(examples_vae()), tmp_path / "weights.pt")
    facts = opened(tmp_path / "weights.pt")[0].card.facts()
    assert facts["format"] == "pytorch/examples, VAE"
    assert facts["implied β"] == "1"
    assert facts["reads"] == "1x28x28, pixels in [0, 1]"


def test_the_fingerprint_changes_with_the_weights(tmp_path):
    state = examples_vae()
    torch.save(dict(state), tmp_path / "weights.pt")
    before = formats.open_run(tmp_path / "weights.pt").fingerprint()
    state["fc1.bias"][0] += 1
    torch.save(dict(state), tmp_path / "weights.pt")
    assert formats.open_run(tmp_path / "weights.pt").fingerprint() != before


@pytest.mark.parametrize(
    ("n", "shape"),
    [(784, (1, 28, 28)), (3072, (3, 32, 32)), (4096, (1, 64, 64)), (7, (1, 1, 7)), (1, (1, 1, 1))],
)
def test_the_shape_of_so_many_pixels(n, shape):
    assert of_pixels(n) == shape


@pytest.mark.parametrize(
    "values",
    [
        {"image_shape": (2, 8, 8)},
        {"image_shape": (1, 8)},
        {"latent_dim": 0},
        {"likelihood": "laplace"},
        {"family": ""},
        {"hidden": (0,)},
    ],
)
def test_a_foreign_models_config_is_checked(values):
    good = {"image_shape": (1, 8, 8), "latent_dim": 2, "likelihood": "gaussian", "family": "x"}
    ForeignModel(**good)
    with pytest.raises(ConfigError, match=next(iter(values))):
        ForeignModel(**(good | values))


def test_the_parts_of_a_model_are_its_own(tmp_path):
    config = ForeignModel((1, 8, 8), 2, "bernoulli", "mine", (4,))
    made = VAE(ModelConfig((1, 8, 8), hidden=(4,)))
    model = VAE.of_parts(config, made.encoder, made.decoder, made.likelihood)
    x = images((1, 8, 8))
    assert torch.equal(model.encode(x)[0], made.encode(x)[0])
    assert model.n_parameters == made.n_parameters
    assert model.device.type == "cpu"
    with pytest.raises(ValueError, match="8x8"):
        model.encode(images((1, 9, 9)))


@pytest.fixture
def theirs(tmp_path, monkeypatch) -> Path:
    """A folder of checkpoints that holds two of other libraries', for 8 x 8 digits and unknown."""
    torch.save(dict(examples_vae(64, k=2)), tmp_path / "examples.pt")
    save_lightning(tmp_path / "last.ckpt", lightning())
    monkeypatch.setenv("VAE_CHECKPOINTS", str(tmp_path))
    return tmp_path


def test_evaluate_tells_the_card_beside_the_terms(theirs, capsys):
    arguments = ["evaluate", str(theirs / "examples.pt"), "--limit", "5"]
    assert cli.main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["card"]["format"] == "pytorch/examples"
    assert told["card"]["implied_beta"] == 1
    assert (len(told["mu_first"]), told["images"]) == (2, "as they are")
    assert cli.main(arguments) == 0
    assert "trained with   BCE summed over pixels" in capsys.readouterr().out


def test_evaluate_says_that_images_were_resized(theirs, capsys):
    arguments = ["evaluate", str(theirs / "last.ckpt"), "--limit", "2", "--samples", "1"]
    assert cli.main(arguments) == 2
    assert "--dataset" in capsys.readouterr().err
    assert cli.main([*arguments, "--dataset", "digits", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "resized" in err
    assert "resized" in json.loads(out)["images"]


@pytest.mark.slow
def test_terms_and_log_px_of_another_librarys_model_leave_its_folder_alone(theirs, capsys):
    before = sorted(theirs.iterdir())
    assert cli.main(["terms", str(theirs / "examples.pt"), "--log-px", "--limit", "3"]) == 0
    assert "log_px" in capsys.readouterr().out.splitlines()[0]
    assert cli.main(["evaluate", str(theirs / "examples.pt"), "--importance-samples", "2"]) == 0
    assert sorted(theirs.iterdir()) == before


def test_list_names_the_format_and_export_writes_a_page(theirs, capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    assert "pytorch/examples" in out
    assert "PyTorch-VAE" in out
    page = theirs / "page.html"
    assert cli.main(["export", str(theirs / "examples.pt"), "--html", str(page)]) == 0
    assert page.stat().st_size > 1_000_000


def test_an_empty_folder_says_what_belongs_into_it(tmp_path):
    with pytest.raises(
        CheckpointError,
        match=r"holds no checkpoint; next: put a file of weights",
    ):
        formats.open_run(tmp_path)
