"""What figures share."""

import numpy as np
import pytest

from vae.figures import comparison, theme

RANGES = {
    "all the same": [44.361] * 9,
    "the same but for rounding": [44.361, np.nextafter(np.float32(44.361), 99)] * 9,
    "zero": [0.0] * 9,
    "tiny": [1e-40, 2e-40],
    "as large as float32 can be": [-3.4e38, 3.4e38, 0],
    "as large as float64 can be": [-1.7e308, 1.7e308, 0],
    "one of them absurd": [*range(99), 3e38],
    "one infinite": [1.0, 2.0, np.inf],
    "all infinite": [np.inf] * 9,
    "none a number": [np.nan] * 9,
    "none at all": [],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("values", RANGES.values(), ids=RANGES)
def test_any_values_have_a_histogram_of_those_that_are_finite(values, dtype):
    with np.errstate(over="ignore"):
        values = np.array(values, dtype)
    counts, edges = theme.binned(values, 19)
    assert counts.shape == (19,)
    assert counts.sum() == np.isfinite(values).sum()
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()


def test_a_usual_histogram_is_numpys():
    values = np.random.default_rng(0).normal(100, 20, 400)
    for found, expected in zip(theme.binned(values, 20), np.histogram(values, 20), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("values", RANGES.values(), ids=RANGES)
def test_any_change_between_two_runs_has_a_histogram(values):
    figure = comparison.change_histogram(np.array(values, np.float64), ("a", "b"), 1.0)
    assert np.isfinite(figure.data[0].x).all()
    assert sum(figure.data[0].y) >= 0.98 * np.isfinite(values).sum()
