"""The sentences that answer a page's question."""

import dataclasses

import numpy as np
import pytest

from vae import wording
from vae.analysis import answers
from vae.analysis.embedding import Embedding
from vae.config import VECTOR


def embedding(mu, labels, class_names, recon=None, kl=None) -> Embedding:
    mu = np.asarray(mu, dtype=np.float32)
    n = len(mu)
    recon = np.arange(n, dtype=np.float32) if recon is None else np.asarray(recon, np.float32)
    kl = np.full(mu.shape, 0.5, np.float32) if kl is None else np.asarray(kl, np.float32)
    return Embedding(
        *("digits", "test", 16, 0, tuple(class_names), mu, np.zeros_like(mu), kl),
        *(recon, np.ones(n, np.float32), recon, np.asarray(labels)),
    )


@pytest.fixture
def two_clusters() -> Embedding:
    """Forty points of class 4 round (-3, 0), forty of class 0 round (3, 0); point 80 strayed."""
    generator = np.random.default_rng(0)
    mu = generator.normal(scale=0.1, size=(81, 2)) + np.repeat(
        [[-3, 0], [3, 0], [3, 0]], (40, 40, 1), 0
    )
    return embedding(mu, [0] * 40 + [1] * 40 + [0], "40")


def test_a_point_among_its_like_and_one_that_strayed(two_clusters):
    assert answers.where(two_clusters, 3).startswith("Point 3, a 4 among 4s, costs 4.00 nats, ")
    strayed = answers.where(two_clusters, 80)
    assert strayed == (
        "Point 80, a 4 among 0s, costs 81.00 nats, more than 98.8% of the images: recon 80.00 + KL "
        "1.00."
    )


def test_where_classes_mix_both_are_named(two_clusters):
    labels = np.arange(81) % 2
    mixed = dataclasses.replace(two_clusters, mu=np.zeros_like(two_clusters.mu), labels=labels)
    assert answers.where(mixed, 0).startswith("Point 0, a 4 where ")
    assert "4s" in answers.where(mixed, 0)
    assert "0s mix, costs" in answers.where(mixed, 0).replace("4s mix", "0s mix")


def test_classes_with_long_names_and_those_that_begin_with_a_vowel(two_clusters):
    worded = dataclasses.replace(two_clusters, class_names=("Trouser", "Dress"))
    assert "Point 80, of class Trouser, among points of Dress, costs" in answers.where(worded, 80)
    eights = dataclasses.replace(two_clusters, class_names=("8", "0"))
    assert answers.where(eights, 80).startswith("Point 80, an 8 among 0s, costs")


def test_without_labels_the_cost_alone_is_told(two_clusters):
    plain = dataclasses.replace(two_clusters, labels=np.zeros(81, int), class_names=("image",))
    assert answers.where(plain, 3).startswith("Point 3 costs 4.00 nats, more than 3.7% of")
    assert "point 80 costs most" in answers.costs(plain)


def test_one_point_alone_has_no_neighbours():
    alone = embedding([[0, 0]], [0], "40")
    assert answers.where(alone, 0).startswith("Point 0 costs 1.00 nats, more than 0.0% of")


def test_a_point_that_is_nowhere_lies_among_none(two_clusters):
    mu = two_clusters.mu.copy()
    mu[3] = np.inf, np.nan
    broken = dataclasses.replace(two_clusters, mu=mu)
    assert answers.where(broken, 3).startswith("Point 3, whose μ is not finite, costs 4.00 nats")
    assert answers.where(broken, 4).startswith("Point 4, a 4 among 4s, costs")


def test_costs_name_the_costliest_point_and_the_share_of_the_kl(two_clusters):
    assert answers.costs(two_clusters) == (
        "Half of the 81 images cost less than 41.00 nats; point 80, a 4, costs most, 81.00. On "
        "average 2% of it is KL."
    )


def test_points_that_cost_nothing_have_no_share_of_the_kl(two_clusters):
    nothing = np.zeros(81, np.float32)
    free = dataclasses.replace(two_clusters, recon=nothing, kl_per_dim=nothing[:, None])
    assert answers.costs(free).endswith("costs most, 0.00.")
    assert not np.isfinite(free.kl_share).any()


def test_dimensions_share_the_kl():
    kl = np.tile([3.0, 0.001, 1.0], (5, 1))
    some = embedding(np.zeros((5, 3)), [0] * 5, "a", kl=kl)
    assert answers.dimensions(some, 0.01) == (
        "2 of 3 dimensions are in use; z1 carries most, 3.00 of the 4.00 nats of KL per image."
    )
    assert answers.dimensions(some, 0.0001).startswith("All 3 dimensions are in use; ")
    one = embedding(np.zeros((5, 1)), [0] * 5, "a")
    assert answers.dimensions(one, 0.01) == "The one dimension costs 0.50 nats of KL per image."


def test_a_gap_is_never_below_zero():
    assert answers.gap(33, 141.861, 0.04).endswith(
        "loses 141.86 nats of log p(x); the best Gaussian would lose 0.04."
    )
    assert (
        answers.gap(1_000, -0.001, None)
        == "On point 1,000 the encoder's q loses 0.00 nats of log p(x)."
    )


def test_of_few_points_fewer_neighbours_are_asked():
    mu = np.repeat([[0.0, 0.0], [1.0, 0.0]], (7, 29), 0)
    few = embedding(mu, [0] * 7 + [1] * 29, ("cultivar 1", "cultivar 2"))
    assert "of class cultivar 1, among points of cultivar 1, costs" in answers.where(few, 0)


def test_what_is_no_image_is_called_a_point(two_clusters):
    words = wording.of(VECTOR)
    assert "of the points: recon" in answers.where(two_clusters, 3, words)
    assert answers.costs(two_clusters, words).startswith("Half of the 81 points cost less than")
    assert answers.dimensions(two_clusters, 0.01, words).endswith("nats of KL per point.")


def test_a_share_of_a_cost_below_zero_is_not_told():
    dense = embedding(np.zeros((4, 1)), [0] * 4, "0", recon=[-9, -8, -7, -6])
    assert answers.costs(dense).endswith("costs most, -5.50.")
