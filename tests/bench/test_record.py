import json
import math

import pytest
import torch

from vae.bench import record as bench
from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.errors import UserError
from vae.inference.evidence import exact
from vae.training import presets
from vae.training.trainer import Trainer

TINY = presets.Preset(
    "", "", (), (), 0, 46, 64, 1.0, 0, {"learning_rate": 2e-3}
)  # two epochs of digits
NEVER = -1000.0  # nats


def small(latent_dim: int) -> ModelConfig:
    return ModelConfig((1, 8, 8), latent_dim, hidden=(16,))


@pytest.fixture
def data():
    train, test = catalogue.load("digits", "train"), catalogue.load("digits", "test")
    return train.first(400), test.first(30)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "tiny", TINY)


@pytest.fixture
def epochs(monkeypatch):
    """What each epoch of a training did, in turn."""
    found, original = [], Trainer.train_epoch

    def kept(*arguments):
        found.append(original(*arguments))
        return found[-1]

    monkeypatch.setattr(Trainer, "train_epoch", kept)
    return found


@pytest.mark.parametrize(("latent_dim", "too_few"), [(1, 2), (2, 16)])
def test_the_estimate_is_the_integral_and_above_it_with_too_few_points(data, latent_dim, too_few):
    _, test = data
    model = VAE(small(latent_dim), torch.Generator().manual_seed(0))
    with torch.no_grad():  # z moves the image far, as after training
        for parameter in model.decoder.parameters():
            parameter *= 4
    found = exact(model, test)
    estimate = bench.neg_log_px(model, test.images).numpy()
    assert estimate == pytest.approx(-found.log_px, abs=2e-3)  # the integral's own tolerance
    assert bench.neg_log_px(model, test.images, too_few).mean() > estimate.mean() + 0.1


def test_a_time_is_the_training_until_the_first_epoch_that_met_the_threshold(data, epochs):
    train, test = data
    config = TrainConfig("digits", epochs=6, batch_size=50)
    bounds = [60.0, 44.0, 40.0, 36.0, 30.0, NEVER]
    row = bench.record("tiny", small(1), config, train, test, bounds, bounds)
    spent = [sum(len(train) / e.images_per_s for e in epochs[: i + 1]) for i in range(6)]
    for bound in bounds:
        met = [s for s, e in zip(spent, epochs, strict=True) if e.test.neg_elbo <= bound]
        assert row["elbo_s"][f"{bound:g}"] == (pytest.approx(met[0]) if met else None)
    assert row["seconds"] == pytest.approx(spent[-1])
    assert row["neg_elbo"] == epochs[-1].test.neg_elbo
    for times in (row["elbo_s"], row["evidence_s"]):
        assert list(times) == [f"{bound:g}" for bound in bounds]
        reached = [s for s in times.values() if s is not None]
        assert reached == sorted(reached)
        assert len(set(reached)) > 1
        assert times[f"{NEVER:g}"] is None
    # -log p(x) lies below -ELBO, so it is there no later.
    for bound, s in row["elbo_s"].items():
        assert s is None or row["evidence_s"][bound] <= s


def test_the_evidence_is_estimated_now_and_then_until_all_its_thresholds_are_met(data, monkeypatch):
    calls = []

    def estimate(_model, images):
        calls.append(len(images))
        return torch.tensor([50.0 - 10 * len(calls)])

    monkeypatch.setattr(bench, "neg_log_px", estimate)
    monkeypatch.setattr(bench, "_ESTIMATES", 2)
    config = TrainConfig("digits", epochs=5, batch_size=200)
    bench.record("tiny", small(1), config, *data, [], [NEVER])
    assert len(calls) == 2  # after epochs 3 and 5
    calls.clear()
    bench.record("tiny", small(1), config, *data, [], [45.0])
    assert len(calls) == 1


def test_with_more_dimensions_log_px_is_a_dash(data):
    config = TrainConfig("digits", epochs=1, batch_size=200)
    row = bench.record("tiny", small(3), config, *data, [NEVER], [100.0])
    assert row["neg_log_px"] is row["neg_log_px_error"] is row["evidence_s"]["100"] is None
    *_, never, evidence, _elbo, log_px, _seconds = bench._line({"preset": "tiny", **row}).split()
    assert never == evidence == log_px == "-"


def test_an_integral_of_unknown_error_is_marked():
    row = {"preset": "a", "objective": "elbo", "elbo_s": {}, "evidence_s": {}, "neg_elbo": 2.0}
    row |= {"neg_log_px": 1.0, "neg_log_px_error": None, "seconds": 1.0}
    assert "1.00?" in bench._line(row)
    assert "?" not in bench._line(row | {"neg_log_px_error": 0.0})


@pytest.mark.parametrize("as_json", [True, False])
def test_a_preset_has_a_row_and_no_run_folder(vae, tiny, checkpoints, as_json):
    options = ["--dataset", "digits", "--preset", "tiny", "--latent-dim", 3, "--elbo", 0, 1000.5]
    code, out, _ = vae("bench", "record", *options, *(["--json"] if as_json else []))
    assert code == 0
    assert not list(checkpoints.iterdir())
    if as_json:
        row = json.loads(out)
        assert (row["preset"], row["objective"], row["dataset"]) == ("tiny", "elbo", "digits")
        assert list(row["elbo_s"]) == ["1000.5", "0"]
        assert 0 < row["elbo_s"]["1000.5"] < row["seconds"]
        assert row["elbo_s"]["0"] is None
        assert row["torch"] == torch.__version__
        assert row["threads"] == torch.get_num_threads()
        assert row["processor"]
        assert row["commit"]
        return
    where, above, below, line = out.splitlines()
    assert f"torch {torch.__version__}" in where
    assert len(above) == len(below) == len(line)
    assert line.split()[:2] == ["tiny", "elbo"]
    assert line.split()[3] == "-"


def test_thresholds_run_from_high_to_low_each_once():
    assert bench.thresholds("digits", 2, [20, 30, 20.0]) == ([30, 20], [])
    assert bench.thresholds("mnist", 2, evidence=[110])[0] == [140, 137, 133, 130]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--preset", "quick", "nonesuch"], "preset (='nonesuch') must be one of: quick"),
        (["--dataset", "nonesuch"], "unknown data set 'nonesuch'"),
        (["--dataset", "digits"], "no thresholds for digits"),
        (["--elbo"], "--elbo"),
        (["--elbo", math.inf], "--elbo (=inf) must be a finite"),
        (["--latent-dim", 3, "--evidence", 120], "lower --latent-dim (=3)"),
        (["--latent-dim", 0], "latent_dim (=0) must be at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_a_sentence(vae, options, sentence):
    code, out, err = vae("bench", "record", *options)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert sentence in err


def test_each_preset_is_trained_by_each_objective(data, monkeypatch, capsys):
    monkeypatch.setitem(presets.PRESETS, "quick", TINY)
    bench.main(True, "digits", ["quick"], 2, [30.0], [30.0], ["elbo", "evidence"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["objective"] for row in rows] == ["elbo", "evidence"]
    with pytest.raises(UserError, match=r"latent_dim \(=3\) must be 1 or 2 for the objective"):
        bench.main(True, "digits", ["quick"], 3, [30.0], None, ["evidence"])
