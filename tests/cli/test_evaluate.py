"""`python -m vae evaluate` and `terms`."""

import csv
import errno
import io
import math

import numpy as np
import pandas as pd
import pytest

from vae.config import ModelConfig, TrainConfig
from vae.inference import evidence
from vae.runs import checkpoint, job

KEYS = {"n", "recon", "recon_at_mu", "kl", "kl_per_dim", "neg_elbo", "bits_per_dim"}


def test_evaluate_gives_the_means_of_the_stored_embedding(evaluated, run):
    result = evaluated(run.path, "--device", "cpu")
    stored = run.load_embedding()
    assert set(result) == KEYS
    assert result["n"] == 359
    assert result["recon"] == pytest.approx(stored.recon.astype(float).mean(), rel=1e-6)
    assert result["recon_at_mu"] == pytest.approx(stored.recon_at_mu.astype(float).mean(), rel=1e-6)
    assert result["kl_per_dim"] == pytest.approx(stored.kl_per_dim.astype(float).mean(0), rel=1e-6)
    assert result["kl"] == pytest.approx(sum(result["kl_per_dim"]), rel=1e-9)
    assert result["neg_elbo"] == pytest.approx(result["recon"] + result["kl"], rel=1e-12)
    assert result["bits_per_dim"] == pytest.approx(result["neg_elbo"] / math.log(2) / 64)


def test_evaluate_and_the_means_of_terms_agree(evaluated, vae, run, tmp_path):
    for options in ([], ["--split", "train", "--limit", "100", "--samples", "2", "--seed", "9"]):
        result = evaluated(run.path, *options)
        file = tmp_path / f"terms{len(options)}.csv"
        assert vae("terms", run.path, *options, "--output", file)[0] == 0
        with open(file, newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert len(rows) == result["n"]
        for name in ("recon", "KL", "neg_ELBO"):
            mean = np.mean([float(row[name]) for row in rows])
            assert mean == pytest.approx(result[name.lower()], 1e-5)
        for d in range(2):
            mean = np.mean([float(row[f"KL_z{d + 1}"]) for row in rows])
            assert mean == pytest.approx(result["kl_per_dim"][d], rel=1e-5)


def test_every_row_of_terms_obeys_the_equation(vae, run):
    code, out, _ = vae("terms", run.path)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert list(rows[0]) == [
        *("index", "label", "recon", "KL", "neg_ELBO"),
        *("KL_z1", "KL_z2", "mu_z1", "mu_z2", "sigma_z1", "sigma_z2"),
    ]
    assert [int(row["index"]) for row in rows] == list(range(359))
    assert {row["label"] for row in rows} == set("0123456789")
    for row in rows:
        value = {name: float(number) for name, number in row.items()}
        kl = [
            (value[f"mu_z{d}"] ** 2 + value[f"sigma_z{d}"] ** 2 - 1) / 2
            - math.log(value[f"sigma_z{d}"])
            for d in (1, 2)
        ]  # equation (6)
        assert [value["KL_z1"], value["KL_z2"]] == pytest.approx(kl, abs=1e-5)
        assert value["KL"] == pytest.approx(sum(kl), abs=1e-5)
        assert value["neg_ELBO"] == pytest.approx(value["recon"] + value["KL"], rel=1e-6)


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


def test_importance_samples_bound_the_evidence_from_above_the_elbo(evaluated, run):
    options = (run.path, "--limit", "80", "--importance-samples", "200")
    result = evaluated(*options)
    assert set(result) == KEYS | {"log_px", "log_px_stderr", "gap"}
    assert result["log_px"] >= -result["neg_elbo"] - 5 * result["log_px_stderr"]
    assert 0 < result["log_px_stderr"] < 1
    assert result == evaluated(*options)


def test_exact_evidence_lies_above_the_bound_by_the_gap(evaluated, run):
    result = evaluated(run.path, "--limit", "40", "--exact", "--samples", "256")
    assert set(result) == KEYS | {"log_px", "log_px_error", "gap"}
    assert result["log_px"] - result["gap"] == pytest.approx(-result["neg_elbo"], abs=0.2)
    assert 0 < result["gap"] < 5
    assert result["log_px_error"] < 1e-3


def test_annealing_agrees_with_the_integral(evaluated, run):
    exact = evaluated(run.path, "--limit", "8", "--exact")
    annealed = evaluated(run.path, "--limit", "8", "--ais", "200")
    assert annealed["gap"] is None
    error = 4 * annealed["log_px_stderr"]
    assert annealed["log_px"] == pytest.approx(exact["log_px"], abs=error)


def test_terms_get_log_px_and_the_gap_when_asked(evaluated, vae, run):
    code, out, _ = vae("terms", run.path, "--log-px", "--limit", "20")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert list(rows[0])[-3:] == ["log_px", "log_px_error", "gap"]
    assert all(float(row["gap"]) > 0 for row in rows)
    exact = evaluated(run.path, "--limit", "20", "--exact")
    mean = sum(float(row["log_px"]) for row in rows) / 20
    assert mean == pytest.approx(exact["log_px"], abs=1e-6)


def test_log_px_of_a_whole_split_is_kept_with_the_run(evaluated, run, monkeypatch):
    estimated = evaluated(run.path, "--importance-samples", "3")
    assert checkpoint.open_run(run.path).load_evidence("digits", "test").n_samples == 3
    exact = evaluated(run.path, "--exact")
    assert evaluated(run.path, "--importance-samples", "3") == estimated  # computed anew
    stored = checkpoint.open_run(run.path).load_evidence("digits", "test")
    assert stored.method == "exact"  # an estimate does not take its place
    monkeypatch.setattr(evidence, "exact", None)
    assert evaluated(run.path, "--exact") == exact  # read, not computed


def test_an_integral_that_was_ended_early_is_said_in_one_sentence(evaluated, vae, run, monkeypatch):
    integral = evidence.exact_posterior

    def of_a_narrow_q(model, x, mu, logvar, *rest):
        return integral(model, x, mu, logvar - 8, *rest, budget=100)

    monkeypatch.setattr(evidence, "exact_posterior", of_a_narrow_q)
    result = evaluated(run.path, "--exact")
    assert 0 < result["n_ended"] <= 359
    assert result["doubt"].startswith(f"Of {result['n_ended']} of 359 images the integral was")
    monkeypatch.setattr(evidence, "exact", None)
    assert evaluated(run.path, "--exact") == result  # as it was kept
    assert result["doubt"] in vae("evaluate", run.path, "--exact")[1].splitlines()


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
    config = ModelConfig((1, 8, 8), latent_dim=3, hidden=(8,))
    assert list(job.train(path, config, TrainConfig("digits", epochs=1, batch_size=512), "cpu"))
    code, _, error = vae("evaluate", path, "--exact")
    assert code == 2
    assert "latent_dim (=3) must be at most 2" in error
    code, out, _ = vae("terms", path, "--log-px", "--limit", "3")
    assert code == 0
    assert "log_px" in out


def test_one_importance_sample_has_no_standard_error(evaluated, run):
    result = evaluated(run.path, "--limit", "5", "--importance-samples", "1")
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


def test_limit_takes_the_first_points_and_splits_add_up(evaluated, vae, run):
    assert [evaluated(run.path, "--split", s)["n"] for s in ("train", "test", "all")] == [
        1438,
        359,
        1797,
    ]
    assert evaluated(run.path, "--limit", "1000000")["n"] == 359
    first = pd.read_csv(io.StringIO(vae("terms", run.path, "--limit", "10")[1]))
    whole = pd.read_csv(io.StringIO(vae("terms", run.path)[1]))
    pd.testing.assert_frame_equal(first, whole[:10], rtol=1e-5)


def test_a_file_of_the_run_names_the_run(evaluated, run):
    expected = evaluated(run.path, "--limit", "5")
    assert evaluated(run.path / "model.safetensors", "--limit", "5") == expected


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
