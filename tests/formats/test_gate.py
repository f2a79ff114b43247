"""The gate: a trained model under other names and conventions is read as the data prefer."""

import dataclasses

import pytest
import torch
from formats import strangers
from formats.strangers import ROOT

from vae import formats
from vae.data import catalogue
from vae.formats.card import CHOSEN, DATA
from vae.formats.gate import settle
from vae.runs import checkpoint


@pytest.fixture(scope="module")
def digits():
    return catalogue.load("digits", "test")


@pytest.fixture
def weights():
    return strangers.state_dict()


def opened(tmp_path, state):
    torch.save(state, tmp_path / "vae.pt")
    return formats.open_run(tmp_path / "vae.pt")


def value(run, name):
    return next(fact for fact in run.facts if fact.name == name)


def test_what_shapes_cannot_tell_is_decided_by_the_data(tmp_path, weights, digits):
    run, verdict = settle(opened(tmp_path, weights), digits)
    assert verdict.passed
    assert not verdict.reasons
    assert value(run, "hidden activation").value in ("GELU", "SiLU")  # of one shape
    assert value(run, "hidden activation").known == DATA
    assert value(run, "input").known == value(run, "output").known == DATA
    model = checkpoint.open_run(ROOT / "checkpoints" / "digits-2d").load_model()
    x = digits.images[:50].float() / 255
    mu, _ = run.read_with({**dict(run.choices), "hidden activation": "GELU"}).load_model().encode(x)
    torch.testing.assert_close(mu, model.encode(x)[0], atol=1e-4, rtol=1e-4)


def test_a_head_of_log_sigma_under_the_name_of_a_log_variance(tmp_path, weights, digits):
    weights["to_logvar.weight"] /= 2
    weights["to_logvar.bias"] /= 2
    run, verdict = settle(opened(tmp_path, weights), digits)
    assert verdict.passed
    assert value(run, "second head").value == "log sigma"  # softplus is as good: so it is not DATA


def test_pixels_from_minus_one(tmp_path, weights, digits):
    # W x + b = (W / 2) (2 x - 1) + (b + W 1 / 2).
    weights["enc1.bias"] += weights["enc1.weight"].sum(1) / 2
    weights["enc1.weight"] /= 2
    run, verdict = settle(opened(tmp_path, weights), digits)
    assert verdict.passed
    assert value(run, "input").value == "[-1, 1]"


@pytest.mark.slow
def test_what_was_chosen_is_kept_and_the_better_reading_is_offered(tmp_path, weights, digits):
    found = opened(tmp_path, weights)
    wrong = found.read_with({"hidden activation": "GELU", "input": "[-1, 1]"})
    run, verdict = settle(wrong, digits)
    assert value(run, "input").value == "[-1, 1]"
    assert value(run, "input").known == CHOSEN
    assert not verdict.passed
    assert dict(verdict.better[0].choices)["input"] == "[0, 1]"
    assert "input: [0, 1]" in verdict.reasons[-1]
    _, right = settle(found.read_with(dict(verdict.better[0].choices)), digits)
    assert right.passed
    assert right.neg_elbo == pytest.approx(verdict.better[0].neg_elbo, abs=1e-3)


def test_weights_that_were_never_trained_do_not_pass(tmp_path, weights, digits):
    generator = torch.Generator().manual_seed(0)
    random = {n: torch.randn(w.shape, generator=generator) / 8 for n, w in weights.items()}
    _, verdict = settle(opened(tmp_path, random), digits)
    assert not verdict.passed
    assert "one constant image for all costs" in verdict.reasons[0]


def test_other_data_than_it_was_trained_on_do_not_pass(tmp_path, weights, digits):
    upside_down = dataclasses.replace(digits, images=255 - digits.images)
    _, verdict = settle(opened(tmp_path, weights), upside_down)
    assert not verdict.passed


@pytest.mark.slow
def test_data_that_no_reading_explains_overrule_none(tmp_path, weights, digits):
    generator = torch.Generator().manual_seed(0)
    random = {n: torch.randn(w.shape, generator=generator) / 8 for n, w in weights.items()}
    found = opened(tmp_path, random)
    run, verdict = settle(found, digits)
    assert not verdict.passed
    assert run.choices == ()
    assert [(f.name, f.value) for f in run.facts] == [(f.name, f.value) for f in found.facts]
