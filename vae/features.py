"""What the numbers of a vector or a series are, and how a model reads them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

KINDS = REAL, POSITIVE, BINARY, COUNT = "real", "positive", "binary", "count"
_NUMBERS = ("mean", "scale", "low", "high", "average", "spread")


@dataclass(frozen=True)
class Feature:
    """One column of a table, or one channel of a series.

    Attributes:
        name: of the column or channel.
        kind: one of KINDS: any number; one above 0 that is read by its logarithm; 0 or 1; or
            0, 1, 2 and so on.
        unit: of its values; "" where none is known.
        mean, scale: of the training part: of the value, of log x where it is positive, of
            log(1 + x) of a count; 0 and 1 for a binary one.
        low, high, average, spread: of its values as measured, in the training part; the spread is
            their standard deviation.
    """

    name: str
    kind: str = REAL
    unit: str = ""
    mean: float = 0.0
    scale: float = 1.0
    low: float = 0.0
    high: float = 1.0
    average: float = 0.0
    spread: float = 1.0


def measured(values: np.ndarray, features: Sequence[Feature]) -> tuple[Feature, ...]:
    """The features with the mean and scale of these values: of the training part.

    Args:
        values: shape (N, F), or (N, C, L) of series; NaN where one is missing.
        features: F or C of them.

    Returns:
        As many; the scale of what does not vary is 1.
    """
    found = []
    for f, feature in enumerate(features):
        column = values[:, f].astype(np.float64)
        column = column[np.isfinite(column)]
        if len(column):
            average, spread = _moments(column)
            low, high = float(column.min()), float(column.max())
            feature = replace(feature, low=low, high=high, average=average, spread=spread)
        mean, scale = 0.0, 1.0
        if feature.kind != BINARY:
            column = {POSITIVE: np.log, COUNT: np.log1p}.get(feature.kind, np.asarray)(column)
            mean, scale = _moments(column[np.isfinite(column)])
        found.append(replace(feature, mean=mean, scale=scale))
    return tuple(found)


def _moments(column: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation, which is 1 where nothing varies."""
    if not len(column):
        return 0.0, 1.0
    mean, deviation = float(column.mean()), float(column.std())
    return mean, deviation if deviation > 1e-9 * abs(mean) else 1.0


def as_read(values: np.ndarray, features: Sequence[Feature]) -> np.ndarray:
    """Values as a model reads them: real and positive ones standardised, others as they are.

    Args:
        values: as measured, shape (N, F) or (N, C, L); NaN where one is missing, and stays NaN.
        features: F or C of them.

    Returns:
        float32, of the same shape.
    """
    out = values.astype(np.float64)
    for f, feature in enumerate(features):
        if feature.kind == POSITIVE:
            out[:, f] = np.log(out[:, f])
        if feature.kind in (REAL, POSITIVE):
            out[:, f] = (out[:, f] - feature.mean) / feature.scale
    return out.astype(np.float32)


def as_measured(x: np.ndarray, features: Sequence[Feature]) -> np.ndarray:
    """The way back from `as_read`: float64, in each feature's own unit."""
    out = x.astype(np.float64)
    for f, feature in enumerate(features):
        if feature.kind in (REAL, POSITIVE):
            out[:, f] = out[:, f] * feature.scale + feature.mean
        if feature.kind == POSITIVE:
            out[:, f] = np.exp(np.minimum(out[:, f], 700.0))
    return out


def from_dicts(values: Any) -> tuple[Feature, ...]:
    """Features as JSON holds them.

    Raises:
        ValueError: they are not a list of such; the message says what is wrong.
    """
    if not isinstance(values, list | tuple):
        raise ValueError("it must be a list")
    found = []
    for i, value in enumerate(values):
        if isinstance(value, Feature):
            found.append(value)
            continue
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise ValueError(f"feature {i} must have a name")
        feature = Feature(value["name"], str(value.get("kind", REAL)), str(value.get("unit", "")))
        if feature.kind not in KINDS:
            raise ValueError(f"feature {i} has the kind {feature.kind[:40]!r}, none of {KINDS}")
        numbers = {name: value.get(name, getattr(feature, name)) for name in _NUMBERS}
        usable = all(isinstance(v, int | float) and math.isfinite(v) for v in numbers.values())
        if not usable or not min(numbers["scale"], numbers["spread"]) > 0:
            raise ValueError(f"feature {i} has no usable {', '.join(_NUMBERS)}")
        found.append(replace(feature, **{name: float(v) for name, v in numbers.items()}))
    return tuple(found)


READINGS = (
    STANDARDISED,
    TO_UNIT,
    TO_BOTH,
    AS_MEASURED,
) = ("standardised", "each column to [0, 1]", "each column to [-1, 1]", "as measured")


def read_so(features: Sequence[Feature], how: str) -> tuple[Feature, ...]:
    """Features as a model of somebody else's may read them: every one by a linear scale.

    Args:
        features: of the data.
        how: one of READINGS.
    """
    found = []
    for feature in features:
        reach = (feature.high - feature.low) or 1.0
        mean, scale = {
            STANDARDISED: (feature.average, feature.spread),
            TO_UNIT: (feature.low, reach),
            TO_BOTH: (feature.low + reach / 2, reach / 2),
            AS_MEASURED: (0.0, 1.0),
        }[how]
        found.append(replace(feature, kind=REAL, mean=mean, scale=scale))
    return tuple(found)


def on_axis(x: np.ndarray, features: Sequence[Feature], kind: str) -> np.ndarray:
    """Values as a model reads them, on one standardised axis for all features.

    Counts go there by log(1 + x), 0 and 1 to -1 and 1; a scale of the others is theirs already.

    Args:
        x: shape (..., C, n): a vector's features along n, a series' channels along C.
        features: n or C of them.
        kind: "vector" or "series".

    Returns:
        float64, of the same shape.
    """
    shape = (-1,) if kind == "vector" else (-1, 1)
    kinds = np.array([feature.kind for feature in features]).reshape(shape)
    mean, scale = (
        np.array([getattr(feature, name) for feature in features]).reshape(shape)
        for name in ("mean", "scale")
    )
    x = x.astype(np.float64)
    counts = (np.log1p(np.maximum(x, 0)) - mean) / scale
    return np.where(kinds == COUNT, counts, np.where(kinds == BINARY, 2 * x - 1, x))
