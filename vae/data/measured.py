"""The vectors and series that everybody has: scikit-learn's tables, and waves of known factors."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from vae.config import SERIES, VECTOR
from vae.data.dataset import Dataset, Source, is_held_out, of_numbers
from vae.features import BINARY, POSITIVE, REAL, Feature, measured

_LENGTH = 128
_N_WAVES = 4096
_NOISE = 0.05


def _load(split: str, name: str, make: Callable[[], tuple[Any, ...]], kind: str) -> Dataset:
    return of_numbers(name, split, kind, *make())


def _sklearn(name: str) -> Any:
    import sklearn.datasets  # half a second to import

    if name == "diabetes":
        return sklearn.datasets.load_diabetes(scaled=False)
    return getattr(sklearn.datasets, f"load_{name}")()


def _wine() -> tuple[Any, ...]:
    found = _sklearn("wine")
    names = [name.replace("_", " ") for name in found.feature_names]
    units = {"alcohol": "% vol", "proline": "mg/l", "magnesium": "mg/l"}
    features = tuple(Feature(name, unit=units.get(name, "")) for name in names)
    return found.data, features, found.target, ("cultivar 1", "cultivar 2", "cultivar 3")


def _breast_cancer() -> tuple[Any, ...]:
    found = _sklearn("breast_cancer")
    # Lengths and areas are above 0 and skewed; others are 0 for some.
    sizes = {"radius", "perimeter", "area"}
    features = tuple(
        Feature(str(name), POSITIVE if sizes & set(name.split()) else REAL)
        for name in found.feature_names
    )
    return found.data, features, found.target, tuple(map(str, found.target_names))


def _diabetes() -> tuple[Any, ...]:
    found = _sklearn("diabetes")
    features = (
        Feature("age", unit="years"),
        Feature("sex", BINARY),
        Feature("body mass index", unit="kg/m²"),
        Feature("blood pressure", unit="mmHg"),
        Feature("total cholesterol", unit="mg/dl"),
        Feature("LDL", unit="mg/dl"),
        Feature("HDL", unit="mg/dl"),
        Feature("cholesterol / HDL"),
        Feature("log triglycerides"),
        Feature("blood sugar", unit="mg/dl"),
    )
    values = found.data.copy()
    values[:, 1] -= 1  # 1 and 2
    progression = found.target
    low, high = np.quantile(progression[~is_held_out(len(values))], [1 / 3, 2 / 3])
    labels = (progression > low).astype(int) + (progression > high)
    names = (f"progression to {low:.0f}", f"to {high:.0f}", "above")
    return values, features, labels, names, {"progression": progression}


def _waves() -> tuple[Any, ...]:
    """e^(-damping t) sin(2 pi frequency t + phase) for t from 0 to 1, with a little noise."""
    rng = np.random.default_rng(0)
    frequency, phase, damping = (
        rng.uniform(low, high, _N_WAVES) for low, high in ((1.0, 4.0), (0.0, np.pi), (0.0, 4.0))
    )
    t = np.linspace(0, 1, _LENGTH)
    values = np.exp(-damping[:, None] * t) * np.sin(
        2 * np.pi * frequency[:, None] * t + phase[:, None]
    )
    values += _NOISE * rng.standard_normal(values.shape)
    labels = np.minimum((frequency - 1).astype(int), 2)
    names = ("frequency 1 to 2", "2 to 3", "3 to 4")
    factors = {"frequency": frequency, "phase": phase, "damping": damping}
    return values[:, None], (Feature("displacement"),), labels, names, factors


@lru_cache
def _measured(make: Callable[[], tuple[Any, ...]]) -> tuple[Feature, ...]:
    values, features, *_ = make()
    return measured(values[~is_held_out(len(values))], features)


def _source(
    name: str,
    title: str,
    note: str,
    make: Callable[[], tuple[Any, ...]],
    n: int,
    n_numbers: int,
    n_classes: int,
    kind: str = VECTOR,
) -> Source:
    return Source(
        title=title,
        image_shape=(1, 1, n_numbers),
        n_train=n - round(0.2 * n),
        note=note,
        load=partial(_load, name=name, make=make, kind=kind),
        n_classes=n_classes,
        kind=kind,
        find_features=partial(_measured, make),
    )


MEASURED = {
    "wine": _source(
        "wine",
        "Wine",
        "scikit-learn's 178 wines of three cultivars: 13 chemical measurements",
        _wine,
        *(178, 13, 3),
    ),
    "breast-cancer": _source(
        "breast-cancer",
        "Breast cancer",
        "scikit-learn's 569 tumours, malignant or benign: 30 measurements of cell nuclei",
        _breast_cancer,
        *(569, 30, 2),
    ),
    "diabetes": _source(
        "diabetes",
        "Diabetes",
        "scikit-learn's 442 patients: 10 measurements, and the disease's progress a year later",
        _diabetes,
        *(442, 10, 3),
    ),
    "waves": _source(
        "waves",
        "Waves",
        "4,096 made series of 128 points: a damped sine of known frequency, phase and damping",
        _waves,
        *(_N_WAVES, _LENGTH, 3, SERIES),
    ),
}
