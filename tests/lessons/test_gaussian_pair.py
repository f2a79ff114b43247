import dataclasses

import numpy as np
import pytest
import torch

from vae.analysis.embedding import Embedding
from vae.core import gaussian
from vae.lessons import gaussian_pair


@pytest.fixture
def embedding() -> Embedding:
    """60 points in 5 latent dimensions, two classes; the third and the fifth tell the most."""
    rng = np.random.default_rng(0)
    N, D = 60, 5
    mu = (rng.normal(size=(N, D)) * [0.1, 0.1, 2, 0.1, 1]).astype(np.float32)
    logvar = rng.normal(size=(N, D)).astype(np.float32) - 1
    zeros = np.zeros(N, dtype=np.float32)
    kl = gaussian.kl_to_standard_normal(torch.from_numpy(mu), torch.from_numpy(logvar)).numpy()
    kl += np.array([0, 0, 5, 0, 3], dtype=np.float32)
    return Embedding(
        "made", "test", 1, 0, ("a", "b"), mu, logvar, kl, zeros, zeros, zeros, np.arange(N) % 2
    )


@pytest.mark.parametrize("k", [1, 2, 3, 8, 16])
@pytest.mark.parametrize(
    "make", [gaussian_pair.tilted, gaussian_pair.near_singular, gaussian_pair.identical]
)
def test_every_preset_is_a_pair_in_any_number_of_dimensions(make, k):
    made = make(k)
    assert made.k == k
    assert {values.dtype for values in made} == {torch.float64}
    for way in (made, made.swapped):
        assert torch.isfinite(gaussian.kl_between(*way))


@pytest.mark.parametrize("k", [1, 2, 8])
def test_the_presets_are_what_their_names_say(k):
    assert gaussian.kl_between(*gaussian_pair.identical(k)) == pytest.approx(0, abs=1e-12)
    near = gaussian_pair.near_singular(k)
    smallest = torch.linalg.eigvalsh(near.cov1)[0].sqrt()
    assert smallest == pytest.approx(0.02)
    there, back = (float(gaussian.kl_between(*way)) for way in (near, near.swapped))
    assert back > 100 * there


def test_a_posterior_and_the_prior_has_the_kl_of_the_embedding(embedding):
    pair = gaussian_pair.posterior_and_prior(embedding, 7, (2, 4))
    assert pair.is_special
    mu, logvar = (torch.from_numpy(v[7:8, [2, 4]]) for v in (embedding.mu, embedding.logvar))
    expected = gaussian.kl_to_standard_normal(mu, logvar)[0].double()
    torch.testing.assert_close(pair.per_dimension, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gaussian.kl_between(*pair), expected.sum(), rtol=1e-5, atol=1e-6)


def test_two_classes_have_the_moments_of_their_draws(embedding):
    pair = gaussian_pair.two_classes(embedding, 0, 1, (0, 2, 4))
    rng = np.random.default_rng(1)
    for label, mu, cov in ((0, pair.mu1, pair.cov1), (1, pair.mu2, pair.cov2)):
        rows = np.flatnonzero(embedding.labels == label)
        of = rng.choice(rows, 200_000)
        eps = rng.normal(size=(len(of), 3))
        chosen = [0, 2, 4]
        z = embedding.mu[of][:, chosen] + eps * embedding.sigma[of][:, chosen]
        np.testing.assert_allclose(mu.numpy(), z.mean(0), atol=0.03)
        np.testing.assert_allclose(cov.numpy(), np.cov(z.T), atol=0.08)


def test_a_class_without_points_is_refused(embedding):
    with pytest.raises(ValueError, match="N >= 1"):
        gaussian_pair.two_classes(embedding, 0, 7, (0, 1))


def test_a_posterior_that_is_not_finite_is_refused(embedding):
    logvar = embedding.logvar.copy()
    logvar[3, 2] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        gaussian_pair.posterior_and_prior(dataclasses.replace(embedding, logvar=logvar), 3, (2, 4))


def test_the_telling_dimensions_have_the_greatest_kl(embedding):
    assert gaussian_pair.telling_dimensions(embedding, 2) == (2, 4)
    assert gaussian_pair.telling_dimensions(embedding, 1) == (2,)
    assert gaussian_pair.telling_dimensions(embedding, 16) == (0, 1, 2, 3, 4)


def test_fewer_dimensions_are_the_first_and_more_are_standard_normal():
    pair = gaussian_pair.tilted(3)
    fewer, more = pair.with_dimensions(2), pair.with_dimensions(5)
    assert torch.equal(fewer.cov1, pair.cov1[:2, :2])
    assert more.k == 5
    torch.testing.assert_close(gaussian.kl_between(*more), gaussian.kl_between(*pair))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([0, 0], [[1, 2], [2, 1]], [0, 0], np.eye(2)), "cov1 is not positive definite"),
        (([0, 0], np.eye(2), [0, 0], [[1, 0.5], [0.4, 1]]), "cov2 is not symmetric"),
        (([0, np.nan], np.eye(2), [0, 0], np.eye(2)), "not finite"),
        (([0, 0, 0], np.eye(2), [0, 0], np.eye(2)), "must be"),
        (([[0, 0]], np.eye(2), [0, 0], np.eye(2)), "shape"),
        (([0, 0], None, [0, 0], np.eye(2)), "cov1"),
        (("ab", np.eye(2), [0, 0], np.eye(2)), "could not convert"),
        (([0, [1]], np.eye(2), [0, 0], np.eye(2)), "sequence"),
        (([0, {}], np.eye(2), [0, 0], np.eye(2)), "numbers"),
    ],
)
def test_what_makes_no_pair_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        gaussian_pair.pair(*given)


def test_only_a_diagonal_p_against_the_prior_is_the_special_case():
    eye, zeros = np.eye(2), np.zeros(2)
    assert gaussian_pair.pair([1, 2], np.diag([0.5, 3]), zeros, eye).is_special
    assert not gaussian_pair.pair([1, 2], [[1, 0.1], [0.1, 1]], zeros, eye).is_special
    assert not gaussian_pair.pair([1, 2], eye, [0, 1e-9], eye).is_special
    assert not gaussian_pair.pair([1, 2], eye, zeros, 2 * eye).is_special


def test_the_places_of_a_line_hold_both_curves():
    pair = gaussian_pair.pair([0], [[1e-4]], [30], [[4]])
    x = pair.places[:, 0].numpy()
    assert (np.diff(x) >= 0).all()
    for mu, cov in (pair[:2], pair[2:]):
        density = gaussian.full_log_prob(pair.places, mu, cov).exp().numpy()
        assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-3)
