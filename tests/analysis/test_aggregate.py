"""The aggregate posterior against torch.distributions, closed forms and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestNeighbors
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from vae.analysis import aggregate
from vae.core import gaussian


def random_posteriors(N=300, D=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mu = 2 * torch.randn(N, D, generator=generator)
    return mu, torch.randn(N, D, generator=generator) - 2


def mixture(mu, logvar):
    components = Independent(Normal(mu.double(), torch.exp(logvar.double() / 2)), 1)
    return MixtureSameFamily(Categorical(torch.ones(len(mu), dtype=torch.float64)), components)


@pytest.mark.parametrize("pairs", [2**21, 1000])
def test_log_q_is_that_of_torchs_mixture_whatever_the_pieces(monkeypatch, pairs):
    monkeypatch.setattr(aggregate, "_PAIRS_AT_ONCE", pairs)
    mu, logvar = random_posteriors()
    z = 3 * torch.randn(50, 3, generator=torch.Generator().manual_seed(1)).double()
    found = aggregate.log_aggregate(z, mu, logvar)
    torch.testing.assert_close(found, mixture(mu, logvar).log_prob(z), rtol=1e-10, atol=1e-8)


def test_a_point_left_out_is_a_mixture_of_the_others():
    mu, logvar = random_posteriors(N=20)
    z = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    found = aggregate.log_aggregate(z, mu, logvar, leave_out=torch.arange(20))
    for i in (0, 7, 19):
        others = torch.arange(20) != i
        expected = mixture(mu[others], logvar[others]).log_prob(z[i].double())
        torch.testing.assert_close(found[i], expected, rtol=1e-10, atol=1e-8)


def test_narrow_posteriors_far_from_zero_keep_their_digits():
    mu = torch.tensor([[1000.0, -1000.0], [1000.5, -1000.0]])
    logvar = torch.full((2, 2), -14.0)
    found = aggregate.log_aggregate(mu[:1] + 1e-3, mu, logvar)
    expected = mixture(mu, logvar).log_prob((mu[:1] + 1e-3).double())
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_equal_posteriors_say_nothing_and_the_split_is_their_kl():
    mu, logvar = torch.full((50, 2), 0.7), torch.full((50, 2), -1.0)
    found = aggregate.information(mu, logvar, n_draws=4000)
    assert found.mutual == pytest.approx(0, abs=1e-9)
    one = Independent(Normal(mu[0].double(), torch.exp(logvar[0].double() / 2)), 1)
    prior = Independent(Normal(torch.zeros(2).double(), torch.ones(2).double()), 1)
    assert abs(found.marginal - float(kl_divergence(one, prior))) < 4 * found.marginal_stderr


def test_narrow_posteriors_far_apart_say_log_n():
    mu = torch.cartesian_prod(*[torch.linspace(-3, 3, 5)] * 2)
    found = aggregate.information(mu, torch.full((25, 2), -12.0), n_draws=200)
    assert found.mutual == pytest.approx(math.log(25), abs=1e-6)
    assert found.ceiling == pytest.approx(math.log(25))
    assert found.mutual_stderr < 1e-6


def test_both_parts_add_up_to_the_mean_kl():
    mu, logvar = random_posteriors()
    found = aggregate.information(mu, logvar, n_draws=6000)
    both = (found.about_x + found.from_prior).std() / math.sqrt(6000)
    assert abs(found.left_over) < 4 * float(both)
    assert found.kl.mean() == pytest.approx(
        float(gaussian.kl_to_standard_normal(mu, logvar).sum(1).mean()), rel=1e-6
    )
    assert 0 < found.mutual < found.ceiling


def test_two_posteriors_on_a_line_have_the_information_of_an_integral():
    mu, logvar = torch.tensor([[-0.8], [0.8]]), torch.zeros(2, 1)
    z = torch.linspace(-12, 12, 40_001, dtype=torch.float64)
    q = [Normal(m, 1.0).log_prob(z).exp() for m in (-0.8, 0.8)]
    mean = (q[0] + q[1]) / 2
    exact = float(sum(torch.trapezoid(one * (one / mean).log(), z) for one in q)) / 2
    found = aggregate.information(mu, logvar, n_draws=20_000)
    assert abs(found.mutual - exact) < 4 * found.mutual_stderr


def test_every_point_has_its_turn_before_one_has_a_second():
    mu, logvar = random_posteriors(N=10)
    _, rows = aggregate.draw(mu, logvar, 25, seed=0)
    assert sorted(rows[:10].tolist()) == sorted(rows[10:20].tolist()) == list(range(10))
    again, _ = aggregate.draw(mu, logvar, 25, seed=0)
    assert torch.equal(again, aggregate.draw(mu, logvar, 25, seed=0)[0])
    assert not torch.equal(again, aggregate.draw(mu, logvar, 25, seed=1)[0])


def test_the_marginal_of_one_gaussian_has_its_kl_quantiles_and_distance():
    found = aggregate.marginals(torch.tensor([[0.5, 0.0]]), torch.tensor([[-1.0, 0.0]]))
    torch.testing.assert_close(found.mass.sum(1), torch.ones(2).double())
    expected = gaussian.kl_to_standard_normal(torch.tensor([0.5, 0.0]), torch.tensor([-1.0, 0.0]))
    torch.testing.assert_close(found.kl.float(), expected, rtol=2e-3, atol=1e-6)
    shares = torch.tensor([0.01, 0.3, 0.5, 0.99]).double()
    normal = Normal(
        torch.tensor([[0.5], [0.0]]).double(), torch.tensor([[-1.0], [0.0]]).exp().sqrt()
    )
    torch.testing.assert_close(
        found.quantiles(shares), normal.icdf(shares), rtol=0, atol=2e-3, check_dtype=False
    )
    z = torch.linspace(-5, 5, 20_001).double()
    sigma = math.exp(-0.5)
    gap = (Normal(0.5, sigma).cdf(z) - Normal(0.0, 1.0).cdf(z)).abs().max()
    assert float(found.distance[0]) == pytest.approx(float(gap), abs=1e-3)
    assert float(found.distance[1]) == pytest.approx(0, abs=1e-9)


def test_a_marginal_far_from_the_prior_has_a_finite_kl():
    for mu in (-30.0, 30.0):
        found = aggregate.marginals(torch.tensor([[mu]]), torch.tensor([[0.0]]))
        assert float(found.kl) == pytest.approx(mu**2 / 2, rel=0.02)
        torch.testing.assert_close(found.prior_mass.sum(), torch.tensor(1.0).double())


def test_many_dimensions_are_averaged_over_a_part_of_the_points(monkeypatch):
    monkeypatch.setattr(aggregate, "_MOST_CDFS", 600 * 3 * 50)
    mu, logvar = random_posteriors()
    found = aggregate.marginals(mu, logvar)
    assert found.n_points == 50
    torch.testing.assert_close(found.mass.sum(1), torch.ones(3).double())


def test_the_parts_of_each_dimension_are_no_more_than_the_whole():
    mu, logvar = random_posteriors(N=2000)
    whole = aggregate.information(mu, logvar, n_draws=4000)
    parts = float(aggregate.marginals(mu, logvar).kl.sum())
    assert parts < whole.marginal + 4 * whole.marginal_stderr


def test_mmd_is_that_of_scikit_learns_kernel():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=generator)
    y = torch.randn(30, 3, generator=generator) + 0.3
    found = aggregate.mmd(x, y, n_permutations=10)
    gamma = 1 / (2 * found.bandwidth**2)
    xx, yy = (rbf_kernel(v.double().numpy(), gamma=gamma) for v in (x, y))
    xy = rbf_kernel(x.double().numpy(), y.double().numpy(), gamma=gamma)
    for kernel in (xx, yy):
        np.fill_diagonal(kernel, 0)
    expected = xx.sum() / (40 * 39) + yy.sum() / (30 * 29) - 2 * xy.mean()
    assert found.value == pytest.approx(expected, rel=1e-9)
    pooled = torch.cat([x, y]).double()
    assert found.bandwidth == pytest.approx(float(torch.pdist(pooled).median()), rel=1e-6)


def test_the_permutations_tell_other_distributions_and_let_equal_ones_pass():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(150, 2, generator=generator)
    assert aggregate.mmd(x, torch.randn(150, 2, generator=generator) * 2).p_value == 1 / 501
    ps = [
        aggregate.mmd(*torch.randn(2, 40, 2, generator=generator), n_permutations=99).p_value
        for _ in range(60)
    ]
    # Uniform on a true hypothesis: of 60 about 6 lie below 0.1, and more than 15 almost never.
    assert sum(p < 0.1 for p in ps) <= 15
    assert 0.3 < float(np.mean(ps)) < 0.7


def test_a_prior_that_is_covered_has_no_holes_and_half_of_one_has_them():
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(4000, 2, generator=generator) * 0.9
    logvar = torch.full((4000, 2), math.log(0.19))
    assert aggregate.holes(mu, logvar).share < 0.08
    half = aggregate.holes(mu[mu[:, 0] > 0.6], logvar[mu[:, 0] > 0.6])
    assert 0.3 < half.share < 0.75
    deepest = half.z[half.deepest(5)]
    assert len(deepest) > 1
    assert (deepest[:, 0] < 0).all()
    apart = torch.pdist(deepest)
    assert (apart > 0.6 * math.sqrt(2)).all()
    assert (deepest.norm(dim=1) < 2.3).all()  # where the prior has its mass


def test_many_dimensions_alone_make_no_hole():
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(1000, 16, generator=generator) * 0.95
    logvar = torch.full((1000, 16), math.log(1 - 0.95**2))
    assert aggregate.holes(mu, logvar).share < 0.1


def test_nor_do_narrow_posteriors_but_an_autoencoders_do():
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(800, 2, generator=generator)
    narrow = torch.full((800, 2), -12.0)
    found = aggregate.holes(mu, narrow)
    assert found.share < 0.08
    nearest = NearestNeighbors(n_neighbors=1).fit(mu.double().numpy())
    expected = nearest.kneighbors(found.z.numpy())[0][:, 0]
    np.testing.assert_allclose(found.distance.numpy(), expected, atol=1e-9)
    around = mu / mu.norm(dim=1, keepdim=True) * 6  # a ring, and nothing where the prior is
    assert aggregate.holes(around, narrow).share > 0.95


def test_the_plane_is_log_q_minus_log_p_in_its_cells():
    mu, logvar = random_posteriors(D=2)
    found = aggregate.on_a_plane(mu, logvar, half=2.0, n=4)
    z = torch.tensor([-1.5, 0.5]).double()
    expected = mixture(mu, logvar).log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum()
    torch.testing.assert_close(found[0, 2], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, v: aggregate.log_aggregate(torch.zeros(2, 5), m, v), r"z \(2, 5\) must be"),
        (lambda m, v: aggregate.log_aggregate(m, m, v[:, :2]), r"must both be \(N, D\)"),
        (lambda m, v: aggregate.holes(m[:1], v[:1]), "left out of 1"),
        (lambda m, v: aggregate.information(m * math.inf, v), "point 0 has no finite"),
        (lambda m, v: aggregate.marginals(m, v + 1e4), "point 0 has no finite"),
        (lambda m, v: aggregate.mmd(m[:1], m), "m, n >= 2"),
    ],
)
def test_what_cannot_be_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call(*random_posteriors(N=5))
