import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from vae.analysis import objectives
from vae.analysis.objectives import Outcome, differ_in_objective_alone, filled, in_words
from vae.config import TrainConfig
from vae.data import catalogue
from vae.inference import evidence
from vae.runs.checkpoint import open_run

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints"
BY_BOUND = Outcome("elbo", 120.0, 124.0, 4.0, 116.0, 8.0, 0.5)
BY_TRUTH = Outcome("evidence", 117.5, 125.0, 7.5, 116.0, 9.0, 0.7)


def test_an_outcome_is_made_of_the_means_of_the_points():
    run = open_run(SHIPPED / "digits-2d")
    stored = run.load_embedding()
    found = evidence.exact(run.load_model(), catalogue.load("digits"))
    made = objectives.outcome(run.train_config, stored, found)
    assert made.objective == "elbo"
    assert made.neg_log_px == pytest.approx(-found.log_px.mean())
    assert made.gap == pytest.approx(found.gap.mean())
    assert made.recon + made.kl == pytest.approx(made.neg_elbo)
    assert objectives.outcome(run.train_config, stored, None).neg_log_px is None


def test_a_part_of_the_prior_is_filled_by_its_own_share():
    # Points of the prior, narrow q: those of one half plane fill one half.
    z = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    stored = open_run(SHIPPED / "digits-2d").load_embedding()
    for kept, share in ((z, 1.0), (z[z[:, 0] > 0], 0.5), (z[(z > 0).all(1)], 0.25)):
        mu = kept.numpy()
        logvar = np.full_like(mu, 2 * np.log(0.15))
        of_these = dataclasses.replace(stored, mu=mu, logvar=logvar)
        assert filled(of_these) == pytest.approx(share, rel=0.25)


def test_the_paragraph_says_what_the_bound_cost():
    said = in_words([BY_BOUND, BY_TRUTH])
    assert "the bound cost 2.50 nats" in said
    assert "its gap is 4.00 nats, that of the other 7.50" in said
    assert "fills 50% by the bound and 70%" in said
    worse = BY_TRUTH._replace(neg_log_px=121.0, gap=3.0)
    assert "the bound cost nothing here (-1.00 nats)" in in_words([worse, BY_BOUND])
    assert in_words([BY_BOUND]) == in_words([BY_TRUTH]) == ""
    assert in_words([BY_BOUND, BY_TRUTH._replace(neg_log_px=None)]) == ""


def test_a_family_differs_in_the_objective_and_what_it_needs():
    elbo = TrainConfig("digits", 10, kl_warmup=0.3)
    assert differ_in_objective_alone(elbo, TrainConfig("digits", 20, objective="evidence"))
    assert differ_in_objective_alone(elbo, TrainConfig("digits", 10, objective="iwae"))
    assert not differ_in_objective_alone(elbo, TrainConfig("digits", 10, beta=2.0))
    assert not differ_in_objective_alone(elbo, TrainConfig("sprites", 10, objective="iwae"))
