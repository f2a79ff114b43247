"""How a model reads numbers, against scikit-learn and there and back."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from vae.features import (
    BINARY,
    COUNT,
    KINDS,
    POSITIVE,
    REAL,
    STANDARDISED,
    Feature,
    as_measured,
    as_read,
    from_dicts,
    measured,
    read_so,
)

RNG = np.random.default_rng(0)
TABLE = np.stack(
    [
        RNG.normal(5, 3, 200),
        np.exp(RNG.normal(2, 4, 200)),
        RNG.integers(0, 2, 200),
        RNG.poisson(30, 200),
    ],
    1,
)
FEATURES = tuple(map(Feature, "abcd", (REAL, POSITIVE, BINARY, COUNT)))


def test_real_and_positive_ones_are_standardised_and_others_stay():
    x = as_read(TABLE, measured(TABLE, FEATURES))
    expected = StandardScaler().fit_transform(np.stack([TABLE[:, 0], np.log(TABLE[:, 1])], 1))
    np.testing.assert_allclose(x[:, :2], expected, atol=1e-5)
    np.testing.assert_array_equal(x[:, 2:], TABLE[:, 2:])


def test_the_way_back_is_the_same_and_what_is_missing_stays_missing():
    table = TABLE.copy()
    table[::7] = np.nan
    features = measured(table, FEATURES)
    back = as_measured(as_read(table, features), features)
    np.testing.assert_allclose(back, table, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_without_spread_or_without_values_keeps_its_scale(kind):
    for value in (1.0, np.nan):
        (found,) = measured(np.full((5, 1), value), (Feature("x", kind),))
        assert found.scale == 1
        assert np.isfinite(found.mean)


def test_somebody_elses_model_standardises_every_kind_as_scikit_learn_does():
    train, rest = TABLE[:150], TABLE[150:]
    features = read_so(measured(train, FEATURES), STANDARDISED)
    expected = StandardScaler().fit(train).transform(rest)
    np.testing.assert_allclose(as_read(rest, features), expected, rtol=1e-4, atol=1e-5)


def test_channels_of_series_are_standardised_as_a_whole():
    series = RNG.normal([[[2.0]], [[-7.0]]], [[[3.0]], [[0.1]]], (2, 50, 40)).swapaxes(0, 1)
    x = as_read(series, measured(series, (Feature("a"), Feature("b"))))
    np.testing.assert_allclose(x.mean((0, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(x.std((0, 2)), 1, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "ab",
        [{}],
        [{"name": 3}],
        [{"name": "a", "kind": "colour"}],
        [{"name": "a", "scale": 0}],
        [{"name": "a", "scale": float("nan")}],
        [{"name": "a", "mean": "0"}],
        ["a"],
    ],
)
def test_what_is_no_list_of_features_is_refused(wrong):
    with pytest.raises(ValueError, match=r"must be a list|feature 0 has|feature 0 must"):
        from_dicts(wrong)
