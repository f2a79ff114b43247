"""A model with a condition on the command line."""

import pytest

from vae.runs.checkpoint import open_run

TRAIN = ("train", "--epochs", "2", "--hidden", "16", "--batch-size", "256", "--device", "cpu")


@pytest.fixture
def conditional(vae, checkpoints):
    assert vae(*TRAIN, "--condition", "label", "--name", "c")[0] == 0
    return checkpoints / "c"


def test_own_labels_or_one_class(evaluated, conditional):
    run = open_run(conditional)
    assert run.train_config.condition == "label"
    assert run.model_config.n_classes == 10
    own, three = evaluated(conditional), evaluated(conditional, "--condition", "3")
    assert own["condition"] == "each point's own label"
    assert three["condition"] == "class 3"
    assert own["neg_elbo"] == pytest.approx(run.load_embedding().means()["neg_elbo"])
    assert own["neg_elbo"] != three["neg_elbo"]


@pytest.mark.slow
def test_what_is_kept_is_of_own_labels(evaluated, conditional):
    three = evaluated(conditional, "--exact", "--condition", "3")["log_px"]
    assert open_run(conditional).load_evidence("digits", "test") is None
    own = evaluated(conditional, "--exact")["log_px"]
    assert open_run(conditional).load_evidence("digits", "test").log_px.mean() == own != three
    assert evaluated(conditional, "--exact", "--condition", "3")["log_px"] == three


def test_a_class_that_there_is_not(refused, conditional, run):
    assert refused("evaluate", conditional, "--condition", "ten").startswith("condition (='ten')")
    assert "or its number, from 0 to 9" in refused("terms", conditional, "--condition", "10")
    assert "has no condition" in refused("evaluate", run.path, "--condition", "1")
