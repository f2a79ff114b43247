"""Noise that is drawn, and the noise of points."""

import math

import numpy as np
import scipy.integrate
import scipy.stats
import torch
from core.random_gaussians import rng

from vae.core import gaussian


def test_draw_depends_on_its_generator_alone():
    torch.manual_seed(0)
    first = gaussian.draw((3, 4, 2), rng(5))
    torch.manual_seed(1)
    assert first.shape == (3, 4, 2)
    assert torch.equal(first, gaussian.draw((3, 4, 2), rng(5)))
    assert not torch.equal(first, gaussian.draw((3, 4, 2), rng(6)))


def test_a_points_noise_does_not_depend_on_its_companions_or_their_order():
    together = gaussian.noise_of_points(range(50), 4, 3, seed=9)
    assert together.shape == (4, 50, 3)
    assert together.dtype == torch.float32
    shuffled = [17, 3, 49, 0, 28]
    torch.testing.assert_close(
        gaussian.noise_of_points(shuffled, 4, 3, seed=9), together[:, shuffled], rtol=0, atol=0
    )
    for index in (0, 28, 49):
        alone = gaussian.noise_of_points([index], 4, 3, seed=9)
        assert torch.equal(alone[:, 0], together[:, index])


def test_a_points_first_draws_do_not_depend_on_how_many_follow():
    many = gaussian.noise_of_points(range(5), 64, 2, seed=0)
    for n_samples in (1, 7, 63):
        assert torch.equal(
            gaussian.noise_of_points(range(5), n_samples, 2, seed=0), many[:n_samples]
        )


def test_the_noise_of_points_is_the_same_on_every_machine():
    # Written down once: stored embeddings are compared with ones that are computed anew.
    noise = gaussian.noise_of_points([7, 0], 2, 2, seed=9)
    expected = [
        [[2.097939, 1.695651], [0.375342, -0.334904]],
        [[1.339948, -1.455661], [-0.633018, 0.848839]],
    ]
    np.testing.assert_allclose(noise.numpy(), expected, rtol=1e-5)


def test_noise_does_not_depend_on_any_global_generator():
    torch.manual_seed(0)
    np.random.seed(0)
    first = gaussian.noise_of_points(range(5), 2, 2, seed=0)
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(first, gaussian.noise_of_points(range(5), 2, 2, seed=0))


def test_noise_differs_between_seeds_points_samples_and_dimensions():
    noise = [gaussian.noise_of_points(range(40), 5, 3, seed) for seed in (0, 1, 2, 2**63 - 1)]
    values = torch.stack(noise).ravel()
    assert values.unique().numel() == values.numel()


def test_the_noise_of_points_is_standard_normal():
    N, S, D = 8000, 4, 3
    eps = gaussian.noise_of_points(range(N), S, D, seed=3).double()
    n = eps.numel()
    for power, (mean, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
        off = float((eps**power).mean()) - mean
        assert abs(off) < 4.5 * math.sqrt(variance / n)
    assert scipy.stats.kstest(eps.ravel().numpy(), "norm").pvalue > 1e-4


def test_the_noise_of_neighbours_samples_and_dimensions_is_uncorrelated():
    eps = gaussian.noise_of_points(range(8000), 4, 3, seed=3).double()
    other = gaussian.noise_of_points(range(8000), 4, 3, seed=4).double()
    pairs = {
        "points": (eps[:, :-1], eps[:, 1:]),
        "samples": (eps[:-1], eps[1:]),
        "dimensions": (eps[..., :-1], eps[..., 1:]),
        "seeds": (eps, other),
    }
    for name, (a, b) in pairs.items():
        assert abs(float((a * b).mean())) < 4.5 / math.sqrt(a.numel()), name
