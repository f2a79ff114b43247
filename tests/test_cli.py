import csv
import errno
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from vae import checkpoint, evidence, job
from vae.checkpoint import open_run

COMMANDS = (*("train", "queue", "evaluate", "terms", "list", "shrink", "export", "data", "bench"),)
TINY = ("--dataset", "digits", "--hidden", "16", "--batch-size", "512", "--device", "cpu")


@pytest.fixture
def refused(vae):
    """The one line that a refused command prints, after "vae: "."""

    def run(*arguments) -> str:
        code, out, err = vae(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("vae: ")
        assert err.endswith("\n")
        assert len(err.splitlines()) == 1
        return err[5:-1]

    return run


@pytest.fixture
def run(tiny_run, checkpoints):
    return tiny_run(checkpoints / "tiny")


# train


def test_train_makes_a_run_that_opens_and_says_what_it_scored(vae, checkpoints):
    code, out, err = vae("train", *TINY, "--epochs", "2", "--name", "mine")
    assert code == 0
    assert "Traceback" not in err
    run = open_run(checkpoints / "mine")
    held_out = run.load_metrics()[-1]
    assert str(run.path) in out
    assert f"recon {held_out['recon']:.2f} + KL {held_out['kl']:.2f}" in out
    assert f"-ELBO {held_out['neg_elbo']:.2f} nats per image" in out
    assert job.status(run.path).state == "finished"
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
    }
    assert config["train"] == {
        "dataset": "sprites",
        "epochs": 1,
        "batch_size": 1000,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "beta": 4.0,
        "kl_warmup": 0.5,
        "free_bits": 0.1,
        "binarise": "input",
        "max_grad_norm": 3.0,
        "weight_average": 0.9,
        "patience": 2,
        "precision": "bfloat16",
        "seed": 7,
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dataset", "nonesuch"], "unknown data set 'nonesuch'; choose one of: digits"),
        (["--dataset", ""], "unknown data set ''"),
        (["--epochs", "0"], "epochs (=0) must be at least 1"),
        (["--epochs", "-3"], "epochs (=-3)"),
        (["--epochs", "nan"], "--epochs"),
        (["--epochs", "1.5"], "--epochs"),
        (["--epochs", "1000001"], "epochs (=1000001)"),
        (["--epochs", "9" * 5000], "--epochs"),
        (["--latent-dim", "0"], "latent_dim (=0)"),
        (["--latent-dim", "-2"], "latent_dim (=-2)"),
        (["--latent-dim", "nan"], "--latent-dim"),
        (["--latent-dim", "9999999"], "latent_dim (=9999999)"),
        (["--batch-size", "0"], "batch_size (=0)"),
        (["--batch-size", "-1"], "batch_size (=-1)"),
        (["--batch-size", "nan"], "--batch-size"),
        (["--beta", "-1"], "beta (=-1.0)"),
        (["--beta", "nan"], "beta (=nan)"),
        (["--beta", "inf"], "beta (=inf)"),
        (["--beta", "much"], "--beta"),
        (["--learning-rate", "0"], "learning_rate (=0.0)"),
        (["--learning-rate", "nan"], "learning_rate (=nan)"),
        (["--kl-warmup", "1.1"], "kl_warmup (=1.1)"),
        (["--kl-warmup", "nan"], "kl_warmup (=nan)"),
        (["--seed", "-1"], "seed (=-1)"),
        (["--seed", "9" * 30], "seed (="),
        (["--hidden", "8,x"], "hidden (='8,x')"),
        (["--hidden", "8,-1"], "hidden[1] (=-1)"),
        (["--hidden", "0"], "hidden[0] (=0)"),
        (["--hidden", ",".join(["8"] * 17)], "hidden has 17 layers"),
        (["--hidden", "", "--family", "conv"], "hidden (=())"),
        (["--family", "transformer"], "family (='transformer') must be one of: mlp, conv"),
        (["--activation", "step"], "activation (='step')"),
        (["--likelihood", "poisson"], "likelihood (='poisson')"),
        (["--schedule", "linear"], "schedule (='linear')"),
        (["--free-bits", "-1"], "free_bits (=-1.0)"),
        (["--binarise", "some"], "binarise (='some')"),
        (["--max-grad-norm", "-1"], "max_grad_norm (=-1.0)"),
        (["--weight-average", "1"], "weight_average (=1) must be below 1"),
        (["--patience", "-1"], "patience (=-1)"),
        (["--precision", "float16"], "precision (='float16')"),
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
    root = Path(__file__).resolve().parent.parent
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
    assert job.status(run.path).state == "stopped"
    assert run.load_embedding() is not None


# evaluate and terms


def evaluated(vae, *arguments) -> dict:
    code, out, err = vae("evaluate", *arguments, "--json")
    assert code == 0
    assert "vae: " not in err
    return json.loads(out)


KEYS = {"n", "recon", "recon_at_mu", "kl", "kl_per_dim", "neg_elbo", "bits_per_dim"}


def test_evaluate_gives_the_means_of_the_stored_embedding(vae, run):
    result = evaluated(vae, run.path, "--device", "cpu")
    stored = run.load_embedding()
    assert set(result) == KEYS
    assert result["n"] == 359
    assert result["recon"] == pytest.approx(stored.recon.astype(float).mean(), rel=1e-6)
    assert result["recon_at_mu"] == pytest.approx(stored.recon_at_mu.astype(float).mean(), rel=1e-6)
    assert result["kl_per_dim"] == pytest.approx(stored.kl_per_dim.astype(float).mean(0), rel=1e-6)
    assert result["kl"] == pytest.approx(sum(result["kl_per_dim"]), rel=1e-9)
    assert result["neg_elbo"] == pytest.approx(result["recon"] + result["kl"], rel=1e-12)
    assert result["bits_per_dim"] == pytest.approx(result["neg_elbo"] / math.log(2) / 64)


def test_evaluate_and_the_means_of_terms_agree(vae, run, tmp_path):
    for options in ([], ["--split", "train", "--limit", "100", "--samples", "2", "--seed", "9"]):
        result = evaluated(vae, run.path, *options)
        file = tmp_path / f"terms{len(options)}.csv"
        assert vae("terms", run.path, *options, "--output", file)[0] == 0
        with open(file, newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert len(rows) == result["n"]
        for name in ("recon", "kl", "neg_elbo"):
            assert np.mean([float(row[name]) for row in rows]) == pytest.approx(result[name], 1e-5)
        for d in range(2):
            mean = np.mean([float(row[f"kl_{d}"]) for row in rows])
            assert mean == pytest.approx(result["kl_per_dim"][d], rel=1e-5)


def test_every_row_of_terms_obeys_the_equation(vae, run):
    code, out, _ = vae("terms", run.path)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert list(rows[0]) == [
        *("index", "label", "recon", "kl", "neg_elbo"),
        *("kl_0", "kl_1", "mu_0", "mu_1", "sigma_0", "sigma_1"),
    ]
    assert [int(row["index"]) for row in rows] == list(range(359))
    assert {row["label"] for row in rows} == set("0123456789")
    for row in rows:
        value = {name: float(number) for name, number in row.items()}
        kl = [
            (value[f"mu_{d}"] ** 2 + value[f"sigma_{d}"] ** 2 - 1) / 2
            - math.log(value[f"sigma_{d}"])
            for d in range(2)
        ]  # equation (6)
        assert [value["kl_0"], value["kl_1"]] == pytest.approx(kl, abs=1e-5)
        assert value["kl"] == pytest.approx(sum(kl), abs=1e-5)
        assert value["neg_elbo"] == pytest.approx(value["recon"] + value["kl"], rel=1e-6)


def test_parquet_holds_what_csv_holds(vae, run, tmp_path):
    for suffix in ("csv", "parquet"):
        assert vae("terms", run.path, "--output", tmp_path / f"terms.{suffix}")[0] == 0
    from_csv = pd.read_csv(tmp_path / "terms.csv", dtype={"label": str})
    from_parquet = pd.read_parquet(tmp_path / "terms.parquet")
    assert list(from_csv) == list(from_parquet)
    for name in from_csv:
        if name == "label":
            assert list(from_csv[name]) == list(from_parquet[name])
        else:  # float32 survives its shortest decimal form
            same = from_csv[name].to_numpy().astype(from_parquet[name].dtype)
            np.testing.assert_array_equal(same, from_parquet[name].to_numpy())


def test_importance_samples_bound_the_evidence_from_above_the_elbo(vae, run):
    options = (run.path, "--limit", "80", "--importance-samples", "200")
    result = evaluated(vae, *options)
    assert set(result) == KEYS | {"log_px", "log_px_stderr", "gap"}
    assert result["log_px"] >= -result["neg_elbo"] - 5 * result["log_px_stderr"]
    assert 0 < result["log_px_stderr"] < 1
    assert result == evaluated(vae, *options)


def test_exact_evidence_lies_above_the_bound_by_the_gap(vae, run):
    result = evaluated(vae, run.path, "--limit", "40", "--exact", "--samples", "256")
    assert set(result) == KEYS | {"log_px", "log_px_error", "gap"}
    assert result["log_px"] - result["gap"] == pytest.approx(-result["neg_elbo"], abs=0.2)
    assert 0 < result["gap"] < 5
    assert result["log_px_error"] < 1e-3


def test_annealing_agrees_with_the_integral(vae, run):
    exact = evaluated(vae, run.path, "--limit", "8", "--exact")
    annealed = evaluated(vae, run.path, "--limit", "8", "--ais", "200")
    assert annealed["gap"] is None
    error = 4 * annealed["log_px_stderr"]
    assert annealed["log_px"] == pytest.approx(exact["log_px"], abs=error)


def test_terms_get_log_px_and_the_gap_when_asked(vae, run):
    code, out, _ = vae("terms", run.path, "--log-px", "--limit", "20")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert list(rows[0])[-3:] == ["log_px", "log_px_error", "gap"]
    assert all(float(row["gap"]) > 0 for row in rows)
    exact = evaluated(vae, run.path, "--limit", "20", "--exact")
    mean = sum(float(row["log_px"]) for row in rows) / 20
    assert mean == pytest.approx(exact["log_px"], abs=1e-6)


def test_log_px_of_a_whole_split_is_kept_with_the_run(vae, run, monkeypatch):
    estimated = evaluated(vae, run.path, "--importance-samples", "3")
    assert checkpoint.open_run(run.path).load_evidence("digits", "test").n_samples == 3
    exact = evaluated(vae, run.path, "--exact")
    assert evaluated(vae, run.path, "--importance-samples", "3") == estimated  # computed anew
    stored = checkpoint.open_run(run.path).load_evidence("digits", "test")
    assert stored.method == "exact"  # an estimate does not take its place
    monkeypatch.setattr(evidence, "exact", None)
    assert evaluated(vae, run.path, "--exact") == exact  # read, not computed


@pytest.mark.parametrize("option", ["--importance-samples", "--ais"])
@pytest.mark.parametrize("value", ["0", "1000000000"])
def test_a_number_of_samples_out_of_range_is_one_sentence(vae, run, option, value):
    code, _, error = vae("evaluate", run.path, option, value)
    assert code == 2
    assert f"{option} (={value}) must be from 1 to 1000000" in error


def test_only_one_way_to_log_px_can_be_asked_for(vae, run):
    code, _, error = vae("evaluate", run.path, "--exact", "--ais", "10")
    assert code == 2
    assert "not allowed with" in error


def test_an_integral_over_many_dimensions_is_refused(vae, tmp_path):
    path = tmp_path / "three"
    assert (
        vae(
            "train",
            "--latent-dim",
            "3",
            "--epochs",
            "1",
            "--hidden",
            "8",
            "--name",
            "three",
            "--folder",
            tmp_path,
        )[0]
        == 0
    )
    code, _, error = vae("evaluate", path, "--exact")
    assert code == 2
    assert "latent_dim (=3) must be at most 2" in error
    code, out, _ = vae("terms", path, "--log-px", "--limit", "3")
    assert code == 0
    assert "log_px" in out


def test_one_importance_sample_has_no_standard_error(vae, run):
    result = evaluated(vae, run.path, "--limit", "5", "--importance-samples", "1")
    assert result["log_px_stderr"] is None


def test_evaluate_prints_one_term_per_line_without_json(vae, run):
    code, out, _ = vae("evaluate", run.path, "--limit", "7")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 0
    assert set(lines) == KEYS
    assert lines["n"] == "7"
    assert float(lines["neg_elbo"]) == pytest.approx(
        float(lines["recon"]) + float(lines["kl"]), abs=2e-4
    )


def test_limit_takes_the_first_points_and_splits_add_up(vae, run):
    assert [evaluated(vae, run.path, "--split", s)["n"] for s in ("train", "test", "all")] == [
        1438,
        359,
        1797,
    ]
    assert evaluated(vae, run.path, "--limit", "1000000")["n"] == 359
    first = pd.read_csv(io.StringIO(vae("terms", run.path, "--limit", "10")[1]))
    whole = pd.read_csv(io.StringIO(vae("terms", run.path)[1]))
    pd.testing.assert_frame_equal(first, whole[:10], rtol=1e-5)


def test_a_file_of_the_run_names_the_run(vae, run):
    expected = evaluated(vae, run.path, "--limit", "5")
    assert evaluated(vae, run.path / "model.safetensors", "--limit", "5") == expected


@pytest.mark.parametrize("command", ["evaluate", "terms"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dataset", "nonesuch"], "unknown data set 'nonesuch'"),
        (["--dataset", "sprites"], "the images are 1x32x32, but this model reads 1x8x8"),
        (["--split", "half"], "split (='half')"),
        (["--limit", "0"], "--limit (=0)"),
        (["--limit", "-5"], "--limit (=-5)"),
        (["--limit", "some"], "--limit"),
        (["--samples", "0"], "--samples (=0)"),
        (["--samples", "1000000000000"], "--samples (=1000000000000)"),
        (["--seed", "-1"], "--seed (=-1)"),
        (["--seed", "9" * 30], "--seed (="),
        (["--device", "abacus"], "device (='abacus')"),
    ],
)
def test_evaluate_and_terms_refuse_bad_options(refused, run, command, options, said):
    assert said in refused(command, run.path, *options)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "1000000000000"])
def test_evaluate_refuses_a_bad_number_of_importance_samples(refused, run, value):
    assert "--importance-samples" in refused("evaluate", run.path, "--importance-samples", value)


@pytest.mark.parametrize("command", ["evaluate", "terms"])
def test_a_path_that_is_no_run_is_refused(refused, run, tmp_path, command):
    assert "there is no checkpoint at" in refused(command, tmp_path / "nothing")
    assert "config.json" in refused(command, tmp_path)
    assert "PATH" in refused(command)
    assert "File name too long" in refused(command, "x" * 5000)
    (run.path / "model.safetensors").write_bytes(b"not weights")
    assert "model.safetensors is truncated or not" in refused(command, run.path)


def test_terms_refuses_a_file_it_cannot_write(refused, run, tmp_path):
    for name in ("terms.xlsx", "terms", "terms.csv.gz", ".csv"):
        assert "must end in .csv or .parquet" in refused("terms", run.path, "--output", name)
    for name in ("terms.csv", "terms.parquet"):
        message = refused("terms", run.path, "--output", tmp_path / "missing" / name)
        assert str(tmp_path / "missing") in message


@pytest.mark.parametrize("name", ["terms.csv", "terms.parquet"])
def test_terms_on_a_full_disk_leaves_no_part_of_a_file(name, refused, run, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    message = refused("terms", run.path, "--output", tmp_path / name)
    assert "No space left on device" in message
    assert not list(tmp_path.glob("*terms*"))


# list


def test_list_shows_every_run_and_why_others_cannot_be_opened(vae, run, tiny_run, checkpoints):
    for name in ("bad-config", "bad-metrics", "bad-status", "untrained", "no-weights"):
        tiny_run(checkpoints / name)
    config = json.loads((checkpoints / "bad-config/config.json").read_text())
    config["format_version"] = "\ud800"  # what no terminal can print
    (checkpoints / "bad-config/config.json").write_text(json.dumps(config))
    (checkpoints / "bad-metrics/metrics.jsonl").write_text('{"epoch": 1}\n')
    (checkpoints / "bad-status/status.json").write_text("[" * 100_000)
    (checkpoints / "untrained/metrics.jsonl").unlink()
    (checkpoints / "no-weights/model.safetensors").unlink()
    code, out, err = vae("list")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert (code, err) == (0, "")
    assert set(lines) == {path.name for path in checkpoints.iterdir()}
    score = run.load_metrics()[-1]["neg_elbo"]
    for name in ("tiny", "bad-status"):
        assert f"-ELBO {score:.2f} nats" in lines[name]
        assert "digits" in lines[name]
        assert lines[name].endswith("finished")
    assert "untrained " in lines["untrained"][10:]
    for name, file in (
        ("bad-config", "config.json"),
        ("bad-metrics", "metrics.jsonl, line 1"),
        ("no-weights", "model.safetensors"),
    ):
        assert "cannot be opened: " in lines[name]
        assert file in lines[name]


def test_list_of_an_empty_or_missing_folder_says_what_makes_a_run(vae, checkpoints):
    for arguments in ([], ["--folder", checkpoints / "nowhere"]):
        code, out, _ = vae("list", *arguments)
        assert code == 0
        assert "python -m vae train" in out


# shrink


def test_shrink_halves_the_weights_and_hardly_moves_the_terms(vae, run):
    before, size = run.load_embedding(), (run.path / "model.safetensors").stat().st_size
    code, out, err = vae("shrink", run.path)
    assert (code, err.count("vae: ")) == (0, 0)
    assert "recon moved by" in out
    assert {tensor.dtype for tensor in load_file(run.path / "model.safetensors").values()} == {
        torch.float16
    }
    n_header = 2000  # at most
    assert (
        size / 2 - n_header < (run.path / "model.safetensors").stat().st_size < size / 2 + n_header
    )
    model, after = run.load_model(), run.load_embedding()
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    for name in ("recon", "kl"):
        assert abs(after.means()[name] - before.means()[name]) < 0.05
    assert evaluated(vae, run.path)["neg_elbo"] == pytest.approx(
        before.means()["neg_elbo"], abs=0.05
    )
    assert vae("shrink", run.path)[0] == 0  # once more is no harm
    assert run.load_embedding().recon.tobytes() == after.recon.tobytes()


def test_shrink_refuses_what_is_not_finished(refused, run):
    job._write_status(run.path, job.Status("stopped"))
    before = run.fingerprint()
    assert f"{run.path} is stopped; only a finished run can be shrunk" in refused(
        "shrink", run.path
    )
    assert run.fingerprint() == before


def test_shrink_refuses_weights_that_half_precision_cannot_hold(refused, run):
    state = load_file(run.path / "model.safetensors")
    state["encoder.mu.bias"][0] = 1e6
    save_file(state, run.path / "model.safetensors")
    before = run.fingerprint()
    assert "too large for half precision" in refused("shrink", run.path)
    assert run.fingerprint() == before


# export


def test_export_writes_one_page_and_says_where_and_how_large_it_is(vae, run, tmp_path):
    path = tmp_path / "page.HTML"
    code, out, err = vae("export", run.path, "--html", path)
    assert (code, err) == (0, "")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")
    assert out == f"{path} {path.stat().st_size / 1e6:.2f} MB\n"


def test_export_is_named_after_the_run_unless_told(vae, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert vae("export", run.path / "config.json")[1].startswith("tiny.html ")
    assert (tmp_path / "tiny.html").exists()


@pytest.mark.parametrize("name", ["page", "page.pdf", ".html", "page.html.gz"])
def test_export_refuses_a_file_that_is_no_page(refused, run, tmp_path, name):
    said = refused("export", run.path, "--html", tmp_path / name)
    assert said == f"--html (={tmp_path / name}) must end in .html"
    assert not (tmp_path / name).exists()


def test_export_refuses_what_is_no_run_and_where_it_cannot_write(refused, run, tmp_path):
    assert "nowhere" in refused("export", tmp_path / "nowhere")
    assert "CHECKPOINT" in refused("export")
    assert "missing" in refused("export", run.path, "--html", tmp_path / "missing/page.html")


def test_export_without_embedding_and_data_says_what_is_missing(
    refused, run, tmp_path, monkeypatch
):
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "empty"))
    config = json.loads((run.path / "config.json").read_text())
    config["train"]["dataset"] = "mnist"
    (run.path / "config.json").write_text(json.dumps(config))
    (run.path / "embedding.safetensors").unlink()
    said = refused("export", run.path, "--html", tmp_path / "page.html")
    assert f"{run.path} holds no embedding, and the data set 'mnist' is not in" in said
    assert "python -m vae" in said
    assert not (tmp_path / "page.html").exists()


def test_export_names_the_weights_that_cannot_be_run(refused, run, tmp_path):
    weights = load_file(run.path / "model.safetensors")
    weights["decoder.body.0.weight"][0, 0] = torch.inf
    save_file(weights, run.path / "model.safetensors")
    assert "decoder.body.0.weight" in refused("export", run.path, "--html", tmp_path / "p.html")
    assert not (tmp_path / "p.html").exists()


# bench


def test_bench_measures_only_what_it_knows(refused):
    assert "nonesuch" in refused("bench", "nonesuch")
    assert "live" in refused("bench")
    assert "--nonesuch" in refused("bench", "live", "--nonesuch")


# As a program


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_names_the_unit_and_gives_examples(vae, command):
    code, out, err = vae(*command, "--help")
    assert (code, err) == (0, "")
    assert "nats per image" in out
    assert "examples:" in out
    assert f"python -m vae {' '.join(command)}" in out.split("examples:")[1]
    assert "None" not in out


def test_an_unknown_command_is_refused(refused):
    assert "nonesuch" in refused("nonesuch")
    assert "COMMAND" in refused()


def test_the_program_trains_evaluates_and_refuses(python, checkpoints):
    trained = python("-m", "vae", "train", *TINY, "--epochs", "1", "--name", "new")
    assert trained.returncode == 0
    evaluated = python("-m", "vae", "evaluate", checkpoints / "new", "--json")
    assert (evaluated.returncode, set(json.loads(evaluated.stdout))) == (0, KEYS)
    taken = python("-m", "vae", "train", *TINY, "--epochs", "1", "--name", "new")
    assert (taken.returncode, taken.stdout) == (2, "")
    assert taken.stderr.startswith("vae: a run named 'new' exists already")
    assert taken.stderr.count("\n") == 1


MEASURED = """
import resource, subprocess, sys
code = subprocess.call([sys.executable, "-m", "vae", *sys.argv[1:]], stderr=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print("peak", peak * (1 if sys.platform == "darwin" else 1024))
sys.exit(code)
"""


@pytest.mark.skipif(
    not os.environ.get("VAE_DATA"), reason="needs the environment variable VAE_DATA: MNIST's folder"
)
def test_mnist_trains_and_evaluates_within_a_gigabyte_and_a_half(python, vae, checkpoints):
    options = ("--dataset", "mnist", "--epochs", "1", "--name", "mnist", "--device", "cpu")
    finished = python("-c", MEASURED, "train", *options)
    assert finished.returncode == 0
    assert int(finished.stdout.split()[-1]) < 1.5 * 2**30
    result = evaluated(vae, checkpoints / "mnist", "--limit", "500")
    assert result["n"] == 500
    assert 100 < result["neg_elbo"] < 210  # an untrained model costs 784 log 2 = 543 nats
    assert torch.isfinite(torch.tensor(result["kl_per_dim"])).all()
    assert checkpoint.list_runs()[0][0].name == "mnist"
