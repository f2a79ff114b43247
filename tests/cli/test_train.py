"""`python -m vae train`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from vae import config
from vae.config import ConfigError, ModelConfig, TrainConfig
from vae.runs import checkpoint
from vae.runs.checkpoint import open_run
from vae.runs.status import read_status

TINY = ("--dataset", "digits", "--hidden", "16", "--batch-size", "512", "--device", "cpu")


def test_train_makes_a_run_that_opens_and_says_what_it_scored(vae, checkpoints):
    code, out, err = vae("train", *TINY, "--epochs", "2", "--name", "mine")
    assert code == 0
    assert "Traceback" not in err
    run = open_run(checkpoints / "mine")
    held_out = run.load_metrics()[-1]
    assert str(run.path) in out
    assert f"recon {held_out['recon']:.2f} + KL {held_out['kl']:.2f}" in out
    assert f"-ELBO {held_out['neg_elbo']:.2f} nats per image" in out
    assert read_status(run.path).state == "finished"
    assert run.load_embedding() is not None


def test_train_passes_every_option_on(vae, checkpoints, tmp_path):
    options = {
        "--folder": tmp_path / "elsewhere",
        "--dataset": "sprites",
        "--family": "conv",
        "--hidden": "4, 6",
        "--latent-dim": 3,
        "--activation": "tanh",
        "--likelihood": "gaussian",
        "--epochs": 1,
        "--batch-size": 1000,
        "--learning-rate": 1e-4,
        "--schedule": "constant",
        "--beta": 4,
        "--kl-warmup": 0.5,
        "--free-bits": 0.1,
        "--binarise": "input",
        "--max-grad-norm": 3,
        "--weight-average": 0.9,
        "--patience": 2,
        "--precision": "bfloat16",
        "--seed": 7,
    }
    code, *_ = vae("train", *[word for option in options.items() for word in option])
    assert code == 0
    assert list(checkpoints.iterdir()) == []
    config = json.loads((tmp_path / "elsewhere/sprites-3d/config.json").read_text())
    assert config["model"] == {
        "image_shape": [1, 32, 32],
        "latent_dim": 3,
        "family": "conv",
        "hidden": [4, 6],
        "activation": "tanh",
        "likelihood": "gaussian",
        "n_classes": 0,
    }
    assert config["train"] == {
        "dataset": "sprites",
        "epochs": 1,
        "batch_size": 1000,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "objective": "elbo",
        "importance_samples": 5,
        "lattice_points": 1024,
        "elbo_share": 0.25,
        "beta": 4.0,
        "kl_warmup": 0.5,
        "free_bits": 0.1,
        "binarise": "input",
        "max_grad_norm": 3.0,
        "weight_average": 0.9,
        "patience": 2,
        "precision": "bfloat16",
        "seed": 7,
        "condition": "none",
    }


def test_an_empty_hidden_makes_a_linear_model(vae, checkpoints):
    options = ("--hidden", "", "--epochs", "1", "--batch-size", "512")
    assert vae("train", "--name", "linear", *options)[0] == 0
    assert open_run(checkpoints / "linear").model_config.hidden == ()


def test_equal_commands_make_equal_weights(vae, checkpoints):
    for name in ("one", "two"):
        assert vae("train", *TINY, "--epochs", "2", "--seed", "3", "--name", name)[0] == 0
    one, two = (checkpoints / name / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_training_that_diverges_exits_with_1_and_a_sentence(vae, checkpoints):
    options = ("--epochs", "9", "--learning-rate", "1e6", "--schedule", "constant")
    options += ("--precision", "float32", "--weight-average", "0", "--max-grad-norm", "0")
    options += ("--kl-warmup", "0", "--likelihood", "gaussian")
    code, out, err = vae("train", *TINY, *options, "--name", "wild")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("vae: the loss stopped being finite in epoch")
    open_run(checkpoints / "wild").load_model()


def test_an_extreme_beta_trains_and_is_remarked_upon(vae, checkpoints):
    code, out, _ = vae("train", *TINY, "--epochs", "1", "--beta", "0", "--name", "free")
    assert code == 0
    assert out.splitlines()[-1].startswith("β = 0: nothing held q(z|x) near the prior")


SETTINGS = {
    name: (kind, setting)
    for kind in (ModelConfig, TrainConfig)
    for name, setting in config.settings(kind).items()
    if name != "dataset"
}
USUAL = {ModelConfig: {"image_shape": (1, 8, 8)}, TrainConfig: {"dataset": "digits", "epochs": 1}}


def just_outside(setting: config.Setting) -> list[str]:
    if setting.kind is str:
        return ["nonesuch"]
    low, high = setting.minimum - (not setting.above), setting.maximum + (not setting.below)
    return [f"{low}", f"{high}", *(["nan", "inf"] if setting.kind is float else [])]


@pytest.mark.parametrize(
    ("name", "text"), [(n, text) for n, (_, s) in SETTINGS.items() for text in just_outside(s)]
)
def test_a_setting_out_of_its_range_is_refused_in_the_configs_words(
    refused, checkpoints, name, text
):
    kind, setting = SETTINGS[name]
    value = config.parse_hidden(text) if setting.kind is tuple else setting.kind(text)
    with pytest.raises(ConfigError) as raised:
        kind(**USUAL[kind] | {name: value})
    option = f"--{name.replace('_', '-')}={text}"
    assert refused("train", "--dataset", "digits", option) == str(raised.value)
    assert list(checkpoints.iterdir()) == []


def test_help_says_of_each_setting_what_it_is(vae):
    out = " ".join(vae("train", "--help")[1].split())
    for name, (_, setting) in SETTINGS.items():
        text = f"{setting.text} [".replace("-", "- ")  # argparse breaks lines at hyphens, too
        assert text.replace("- ", "-") in out.replace("- ", "-"), name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dataset", "nonesuch"], "unknown data set 'nonesuch'; choose one of: digits"),
        (["--dataset", ""], "unknown data set ''"),
        (["--epochs", "nan"], "--epochs"),
        (["--epochs", "1.5"], "--epochs"),
        (["--epochs", "9" * 5000], "--epochs"),
        (["--beta", "much"], "--beta"),
        (["--hidden", "8,x"], "hidden (='8,x')"),
        (["--hidden", "8,-1"], "hidden[1] (=-1)"),
        (["--hidden", ",".join(["8"] * 17)], "hidden has 17 layers"),
        (["--hidden", "", "--family", "conv"], "hidden (=())"),
        (["--preset", "slow"], "--preset"),
        (["--device", "abacus"], "device (='abacus') is not available here"),
        (["--name", "../up"], "name (='../up')"),
        (["--name", "a/b"], "name (='a/b')"),
        (["--name", "a..b"], "name (='a..b')"),
        (["--name", ".hidden"], "name (='.hidden')"),
        (["--name", "<b>"], "name (='<b>')"),
        (["--name", "x" * 65], "must be 1 to 64"),
        (["--nonesuch", "1"], "--nonesuch"),
        (["--epochs"], "--epochs"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_train_refuses_bad_settings_and_leaves_nothing(refused, checkpoints, options, said):
    assert said in refused("train", "--dataset", "digits", *options)
    assert list(checkpoints.iterdir()) == []


def test_train_refuses_a_name_that_is_taken(refused, run):
    before = (run.path / "model.safetensors").read_bytes()
    message = refused("train", *TINY, "--epochs", "1", "--name", "tiny")
    assert message.startswith("a run named 'tiny' exists already")
    assert (run.path / "model.safetensors").read_bytes() == before


def test_train_refuses_a_folder_that_is_a_file(refused, tmp_path):
    (tmp_path / "file").touch()
    message = refused("train", *TINY, "--epochs", "1", "--folder", tmp_path / "file")
    assert str(tmp_path / "file") in message


def test_ctrl_c_exits_with_130_and_keeps_the_last_whole_epoch(checkpoints):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "vae", "train", *TINY, "--epochs", "100000", "--name", "long"]
    with subprocess.Popen(
        command,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that a script runs in the background have Ctrl-C ignored, and children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        while not (checkpoints / "long/metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "vae: stopped"
    assert "Traceback" not in err
    run = open_run(checkpoints / "long")
    assert read_status(run.path).state == "stopped"
    assert run.load_embedding() is not None


MEASURED = """
import resource, subprocess, sys
code = subprocess.call([sys.executable, "-m", "vae", *sys.argv[1:]], stderr=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print("peak", peak * (1 if sys.platform == "darwin" else 1024))
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("VAE_DATA"), reason="needs the environment variable VAE_DATA: MNIST's folder"
)
def test_mnist_trains_and_evaluates_within_a_gigabyte_and_a_half(evaluated, python, checkpoints):
    options = ("--dataset", "mnist", "--epochs", "1", "--name", "mnist", "--device", "cpu")
    finished = python("-c", MEASURED, "train", *options)
    assert finished.returncode == 0
    assert int(finished.stdout.split()[-1]) < 1.5 * 2**30
    result = evaluated(checkpoints / "mnist", "--limit", "500")
    assert result["n"] == 500
    assert 100 < result["neg_elbo"] < 210  # an untrained model costs 784 log 2 = 543 nats
    assert torch.isfinite(torch.tensor(result["kl_per_dim"])).all()
    assert checkpoint.list_runs()[0][0].name == "mnist"
