"""Weights that a file holds in factors, as the layers use them: weight norm and spectral norm.

torch has two notations for each: `weight_g` beside `weight_v`, and parametrizations, whose
`original0` and `original1` are the same. Both are the one tensor `weight` to all who read a survey.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from vae.formats.containers.surveyed import Survey

_WEIGHT_NORM = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)
_SPECTRAL_NORM = (
    ("weight_orig", "weight_u", "weight_v"),
    (
        "parametrizations.weight.original",
        "parametrizations.weight.0._u",
        "parametrizations.weight.0._v",
    ),
)


@dataclass(frozen=True)
class _Factors:
    """The names of one weight's factors, the one that has its shape first."""

    weight: str
    names: tuple[str, ...]

    def product(self, found: Mapping[str, Tensor]) -> Tensor:
        """The weight that the layer uses, float32."""
        whole, *others = (found[name].double() for name in self.names)
        if len(others) == 2:
            return (whole / _largest_singular(whole, *others)).float()
        (length,) = others
        axes = [i for i in range(whole.ndim) if not length.ndim or length.shape[i] == 1]
        return (whole * (length / whole.square().sum(axes, keepdim=True).sqrt())).float()


def multiplied(survey: Survey) -> Survey:
    """The survey with each weight in place of its factors; the same where there are none."""
    found = list(_factors(survey.shapes))
    if not found:
        return survey
    first = {factors.names[0]: factors for factors in found}
    gone = {name for factors in found for name in factors.names}
    shapes = {
        first[name].weight if name in first else name: shape
        for name, shape in survey.shapes.items()
        if name in first or name not in gone
    }

    def numbers() -> Mapping[str, Tensor]:
        tensors = survey.numbers()
        plain = {name: tensor for name, tensor in tensors.items() if name not in gone}
        return plain | {factors.weight: factors.product(tensors) for factors in found}

    return replace(survey, shapes=shapes, numbers=numbers)


def _factors(shapes: Mapping[str, tuple[int, ...]]) -> list[_Factors]:
    found = []
    for name, shape in shapes.items():
        for whole, *others in (*(pair[::-1] for pair in _WEIGHT_NORM), *_SPECTRAL_NORM):
            path = name.removesuffix(whole)
            names = tuple(path + other for other in others)
            if path == name or (path and not path.endswith(".")) or f"{path}weight" in shapes:
                continue
            if all(other in shapes for other in names) and _fit(shape, [shapes[n] for n in names]):
                found.append(_Factors(f"{path}weight", (name, *names)))
                break
    return found


def _fit(shape: tuple[int, ...], others: list[tuple[int, ...]]) -> bool:
    """Whether the other factors have shapes that go with the weight's."""
    if len(others) == 1:
        (length,) = others
        axes = zip(length, shape, strict=True) if len(length) == len(shape) else ()
        return not length or (1 in length and all(a in (1, b) for a, b in axes))
    u, v = others
    return len(u) == len(v) == 1 and bool(_axes(shape, u[0], v[0]))


def _axes(shape: tuple[int, ...], u: int, v: int) -> list[int]:
    """The axes that u can belong to: 0, but 1 of a transposed convolution."""
    return [i for i in (0, 1) if i < len(shape) and shape[i] == u and math.prod(shape) == u * v]


def _largest_singular(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """u W v; where both axes fit, of the one that the vectors were found for, which is larger."""
    axes = _axes(tuple(weight.shape), len(u), len(v))
    return max(u @ weight.movedim(axis, 0).flatten(1) @ v for axis in axes)
