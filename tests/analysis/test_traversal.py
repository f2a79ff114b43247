"""Walks through latent space, against torch.distributions, a linear decoder and plain geometry."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vae.analysis import traversal
from vae.analysis.embedding import Embedding
from vae.analysis.traversal import KINDS, SPHERICAL, STRAIGHT
from vae.config import ModelConfig
from vae.core.likelihood import make_likelihood
from vae.core.model import VAE

N, D = 40, 3


@pytest.fixture(scope="module")
def embedding() -> Embedding:
    return embedding_of(np.random.default_rng(0).normal(size=(N, D)))


def embedding_of(mu: np.ndarray, labels: np.ndarray | None = None) -> Embedding:
    """Posteriors of those means whose KL is largest in the last dimension."""
    n, k = mu.shape
    logvar = np.tile(np.linspace(-0.1, -2, k), (n, 1)).astype(np.float32)
    mu = mu.astype(np.float32)
    q = torch.distributions.Normal(torch.from_numpy(mu), torch.from_numpy(logvar / 2).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).numpy()
    zeros = np.zeros(n, dtype=np.float32)
    labels = np.arange(n) % 4 if labels is None else labels
    names = tuple("abcd")
    return Embedding(
        "made", "test", 1, 0, names, mu, logvar, kl, zeros, zeros, zeros, labels.astype(np.int64)
    )


class Linear(nn.Module):
    """A decoder that is a straight map into pixels around one half."""

    def __init__(self, k: int = D) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-0.02, 0.02, 12 * k).reshape(12, k))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return (0.5 + z @ self.weight.T).reshape(*z.shape[:-1], 1, 3, 4)


@pytest.fixture
def linear() -> VAE:
    config = ModelConfig((1, 3, 4), D, hidden=(4,), likelihood="gaussian")
    return VAE.of_parts(config, nn.Identity(), Linear(), make_likelihood("gaussian"))


def test_the_priors_values_are_the_quantiles_of_torchs_normal(embedding):
    walk = traversal.traverse(embedding, "prior", 11)
    wanted = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(0.01, 0.99, 11).double())
    for row in walk.values:
        torch.testing.assert_close(row, wanted, atol=1e-6, rtol=1e-6)
    assert walk.values[0, 5] == 0
    assert walk.start.tolist() == [5] * D


def test_the_values_around_a_point_and_over_its_posterior(embedding):
    mu, sigma = embedding.mu[7], np.exp(embedding.logvar[7] / 2)
    around = traversal.traverse(embedding, "point", 7, 7)
    np.testing.assert_allclose(around.values.numpy(), mu[:, None] + np.arange(-3, 4), rtol=1e-6)
    over = traversal.traverse(embedding, "posterior", 5, 7)
    steps = np.array([-2, -1, 0, 1, 2]) * sigma[:, None]
    np.testing.assert_allclose(over.values.numpy(), mu[:, None] + steps, rtol=1e-5, atol=1e-6)
    for walk in (around, over):
        np.testing.assert_array_equal(walk.base.numpy(), mu)


def test_the_datas_range_is_that_of_its_percentiles_and_starts_near_the_point(embedding):
    walk = traversal.traverse(embedding, "data", 9, 3)
    for d in range(D):
        assert walk.values[d, 0] == pytest.approx(np.quantile(embedding.mu[:, d], 0.01))
        assert walk.values[d, -1] == pytest.approx(np.quantile(embedding.mu[:, d], 0.99))
        nearest = np.abs(walk.values[d].numpy() - embedding.mu[3, d]).argmin()
        assert walk.start[d] == nearest


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_rows_own_dimension_moves(embedding, kind):
    walk = traversal.traverse(embedding, kind, 5, 2)
    z = walk.latents([2, 0])
    assert z.shape == (2, 5, D)
    for row, d in enumerate([2, 0]):
        torch.testing.assert_close(z[row, :, d], walk.values[d], atol=0, rtol=0)
        others = [e for e in range(D) if e != d]
        assert (z[row][:, others] == walk.base[others]).all()


def test_dimensions_come_by_their_mean_kl(embedding):
    order, kl = traversal.by_kl(embedding)
    assert order.tolist() == np.argsort(-embedding.kl_per_dim.mean(0)).tolist()
    np.testing.assert_allclose(kl, embedding.kl_per_dim.astype(np.float64).mean(0))
    broken = embedding.kl_per_dim.copy()
    broken[0, 1] = np.nan
    with_nan = Embedding(**{**vars(embedding), "kl_per_dim": broken})
    assert traversal.by_kl(with_nan)[0][0] == 1


def test_decoding_is_the_models_own_and_does_not_depend_on_the_pieces(linear, monkeypatch):
    z = torch.randn(4, 5, D, generator=torch.Generator().manual_seed(0)).double()
    whole = traversal.decode(linear, z)
    torch.testing.assert_close(whole, linear.decode_mean(z.float()).detach(), atol=1e-6, rtol=0)
    monkeypatch.setattr(traversal, "decodes_at_once", lambda model: 3)
    torch.testing.assert_close(traversal.decode(linear, z), whole, atol=1e-6, rtol=0)


def test_change_is_the_way_that_the_pixels_go():
    rows = torch.zeros(2, 3, 1, 2, 2)
    rows[0, 1] = 1  # there and back, all four pixels
    rows[1, 2, 0, 0, 0] = 0.5  # one of four, once, halfway
    assert traversal.change(rows).tolist() == [2.0, 0.125]


@pytest.mark.parametrize(
    ("n_columns", "kind", "index", "said"),
    [
        (2, "prior", 0, "n (=2) must be at least 3"),
        (5, "posteriors", 0, "kind (='posteriors')"),
        (5, "point", N, f"point {N} must be from 0 to {N - 1}"),
        (5, "data", -1, "point -1"),
    ],
)
def test_a_walk_that_cannot_be_says_why(embedding, n_columns, kind, index, said):
    with pytest.raises(ValueError, match="must be") as error:
        traversal.traverse(embedding, kind, n_columns, index)
    assert said in str(error.value)


def test_what_is_not_finite_is_named():
    mu = np.zeros((N, D))
    mu[4, 1] = np.inf
    broken = embedding_of(mu)
    with pytest.raises(ValueError, match="point 4 is not finite"):
        traversal.traverse(broken, "point", 5, 4)
    with pytest.raises(ValueError, match="1 of 40 points"):
        traversal.traverse(broken, "data", 5, 0)
    assert traversal.traverse(broken, "prior", 5, 4).values.isfinite().all()
    with pytest.raises(ValueError, match="group B has a point whose mean is not finite"):
        traversal.arithmetic(broken.mu, [0], [4], [1])
    with pytest.raises(ValueError, match="not finite"):
        traversal.interpolate(*torch.from_numpy(broken.mu[[0, 4]]), 3, STRAIGHT)


def test_a_decoder_that_gives_no_numbers_and_too_many_pictures_are_refused(linear, monkeypatch):
    with torch.no_grad():
        linear.decoder.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        traversal.decode(linear, torch.zeros(2, D))
    monkeypatch.setattr(traversal, "_MOST_NUMBERS", 24)
    with pytest.raises(ValueError, match=r"3 pictures of 1 x 3 x 4 .* at most 2"):
        traversal.decode(linear, torch.zeros(3, D))
    with pytest.raises(ValueError, match="dimension 3 must be from 0 to 2"):
        traversal.traverse(embedding_of(np.zeros((5, D))), "prior", 3).latents([3])


# --- between points -------------------------------------------------------------------------------

points = st.lists(st.floats(-5, 5), min_size=4, max_size=4).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


@settings(max_examples=60, deadline=None)
@given(points, points, st.integers(2, 9))
def test_spherical_steps_turn_by_one_angle_and_lengths_go_evenly(a, b, n):
    z = traversal.interpolate(a, b, n, SPHERICAL)
    torch.testing.assert_close(z[[0, -1]], torch.stack([a, b]), atol=1e-9, rtol=1e-9)
    if not traversal.has_great_circle(a, b):
        straight = traversal.interpolate(a, b, n, STRAIGHT)
        torch.testing.assert_close(z, straight, atol=0, rtol=0)
        return
    lengths = torch.linspace(float(a.norm()), float(b.norm()), n).double()
    torch.testing.assert_close(z.norm(dim=1), lengths, atol=1e-5, rtol=1e-5)
    unit = z / z.norm(dim=1, keepdim=True)
    steps = (unit[1:] - unit[:-1]).norm(dim=1)  # chords of one circle
    torch.testing.assert_close(steps, steps.mean().expand(n - 1), atol=1e-5, rtol=1e-4)


def test_equal_lengths_are_kept_where_the_straight_way_cuts_through():
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    round_ = traversal.interpolate(a, b, 3, SPHERICAL)
    torch.testing.assert_close(round_[1], torch.tensor([1.0, 1.0]).double() * 3 / math.sqrt(2))
    straight = traversal.interpolate(a, b, 3, STRAIGHT)
    torch.testing.assert_close(straight[1], torch.tensor([1.5, 1.5]).double())


@pytest.mark.parametrize(
    ("a", "b"), [([0, 0], [1, 2]), ([1, 1], [2, 2]), ([1, 0], [-2, 0]), ([3], [-1]), ([0], [0])]
)
def test_without_one_great_circle_it_is_the_straight_way(a, b):
    a, b = (torch.tensor(values, dtype=torch.float64) for values in (a, b))
    assert not traversal.has_great_circle(a, b)
    spherical = traversal.interpolate(a, b, 5, SPHERICAL)
    torch.testing.assert_close(spherical, traversal.interpolate(a, b, 5, STRAIGHT))


def test_a_chain_meets_all_its_stops():
    stops = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    for way in traversal.WAYS:
        path = traversal.chain(stops, 5, way)
        assert path.shape == (16, 6)
        torch.testing.assert_close(path[::5], stops.double())
    for wrong in (
        lambda: traversal.chain(stops[:1], 5, STRAIGHT),
        lambda: traversal.chain(stops, 0, STRAIGHT),
    ):
        with pytest.raises(ValueError, match=r"two points|at least 1"):
            wrong()


@pytest.mark.parametrize(
    ("b", "n", "way", "said"),
    [
        (torch.ones(2), 1, STRAIGHT, "n (=1)"),
        (torch.ones(2), 3, "round", "way (='round')"),
        (torch.ones(3), 3, STRAIGHT, "(D,)"),
    ],
)
def test_a_way_that_cannot_be_says_why(b, n, way, said):
    with pytest.raises(ValueError, match="must") as error:
        traversal.interpolate(torch.ones(2), b, n, way)
    assert said in str(error.value)


def test_the_nearest_of_another_class_and_the_other_side():
    mu = np.array([[1, 0], [1.1, 0], [1.5, 0], [-1, 0.1], [-1, 0]])
    found = embedding_of(mu, np.array([0, 0, 1, 1, 0]))
    assert traversal.nearest_of_another_class(found, 0) == 2
    assert traversal.nearest_of_another_class(found, 0, [2]) == 3
    assert traversal.on_the_other_side(found, 0) == 3  # 4 is nearer, but of the same class
    alone = embedding_of(mu, np.zeros(5))
    assert traversal.nearest_of_another_class(alone, 0) == 1
    with pytest.raises(ValueError, match="no further point"):
        traversal.nearest_of_another_class(alone, 0, [1, 2, 3, 4])


# --- arithmetic -----------------------------------------------------------------------------------


def test_with_a_linear_decoder_the_arithmetic_is_that_of_the_pictures(linear, embedding):
    groups = [0, 1, 2, 3], [10, 11, 12], [20]
    found = traversal.arithmetic(embedding.mu, *groups)
    a, b, c = (
        linear.decode_mean(torch.from_numpy(embedding.mu[list(g)])).mean(0).detach() for g in groups
    )
    strengths = torch.tensor([-1.0, 0.0, 0.5, 2.0])
    pictures = traversal.decode(linear, found.path(strengths))
    for picture, s in zip(pictures, strengths, strict=True):
        torch.testing.assert_close(picture, c + s * (a - b), atol=1e-6, rtol=0)
    assert found.sizes == (4, 3, 1)


def test_the_length_and_the_separation_are_those_of_known_normals():
    rng = np.random.default_rng(0)
    n = 20_000
    a = rng.normal([3, 4], [2, 2], (n, 2))
    b = rng.normal([0, 0], [1, 1], (n, 2))
    found = traversal.arithmetic(np.concatenate([a, b]), range(n), range(n, 2 * n), [0])
    assert found.length == pytest.approx(5, abs=0.06)
    assert found.separation == pytest.approx(5 / math.sqrt((4 + 1) / 2), rel=0.02)


def test_the_separation_of_few_points():
    mu = np.array([[0.0], [2.0], [5.0]])
    assert math.isnan(traversal.arithmetic(mu, [0], [1], [2]).separation)
    # One point has no spread: that of the other group, 2 by its two points, stands for both.
    assert traversal.arithmetic(mu, [2], [0, 1], [0]).separation == pytest.approx(4 / math.sqrt(2))
    same = traversal.arithmetic(mu, [0, 1], [0, 1], [2])
    assert (same.length, same.separation) == (0, 0)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (([], [1], [2]), "group A is empty"),
        (([0], [1], []), "group C is empty"),
        (([0], [N], [2]), f"group B has point {N}"),
        (([-1], [1], [2]), "group A has point -1"),
    ],
)
def test_a_group_that_cannot_be_says_why(embedding, groups, said):
    with pytest.raises(ValueError, match="group") as error:
        traversal.arithmetic(embedding.mu, *groups)
    assert said in str(error.value)
