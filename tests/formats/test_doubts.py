"""What the data leave undecided is said with the numbers that it would change."""

import re

import pytest
import torch
from formats import strangers

from vae import formats
from vae.core import gaussian
from vae.data import catalogue
from vae.data.dataset import to_unit
from vae.formats.gate import N_IMAGES, settle


@pytest.fixture(scope="module")
def digits():
    return catalogue.load("digits", "test")


def opened(tmp_path, state):
    torch.save(state, tmp_path / "vae.pt")
    return formats.open_run(tmp_path / "vae.pt")


def mean_kl(run, images):
    rows = torch.linspace(0, len(images) - 1, N_IMAGES).long()
    with torch.no_grad():
        found = run.load_model().encode(to_unit(images.images[rows]))
    return float(gaussian.kl_to_standard_normal(*found).sum(1).mean())


def test_heads_that_are_as_good_are_named_with_both_numbers(tmp_path, digits):
    state = strangers.state_dict()
    for part in ("weight", "bias"):
        state[f"to_spread.{part}"] = state.pop(f"to_logvar.{part}") / 2  # log sigma, by no name
    run, verdict = settle(opened(tmp_path, state), digits)
    (doubt,) = (text for text in verdict.doubts if text.startswith("Second head"))
    other = re.search(r"if it is (.+?), which", doubt)[1]
    there, here = re.search(r"KL is ([\d.]+) instead of ([\d.]+) nats", doubt).groups()
    read_so = run.read_with({**dict(run.choices), "second head": other})
    assert float(here) == pytest.approx(mean_kl(run, digits), abs=0.006)
    assert float(there) == pytest.approx(mean_kl(read_so, digits), abs=0.006)
    assert verdict.passed  # the numbers stand, with a word on them


def test_names_and_data_that_decide_leave_no_doubt(tmp_path, digits):
    _, verdict = settle(opened(tmp_path, strangers.state_dict()), digits)
    assert verdict.passed
    assert not verdict.doubts


def test_labels_that_a_model_does_not_know_are_said(tmp_path, digits):
    state = strangers.state_dict()
    state["dec1.weight"] = torch.cat([state["dec1.weight"], torch.zeros(128, 3)], 1)
    run = opened(tmp_path, state)
    assert run.model_config.n_classes == 3
    _, verdict = settle(run, digits)
    assert "a label of 3 classes, and these images have 10" in verdict.reasons[0]
