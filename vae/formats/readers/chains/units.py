"""Layers in units whose order is certain: what lies in one Sequential, and what stands alone.

Norms belong to the layer whose outputs they read.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vae.formats.readers.chains.layers import (
    CONV,
    LINEAR,
    MAIN,
    NORM_KINDS,
    PRELU,
    Layer,
    group,
    numbers,
    side,
)


@dataclass(frozen=True)
class Step:
    """One layer as it stands in a network.

    Attributes:
        layer: it.
        inputs, outputs: features of a Linear, channels of a convolution, without the label's.
        transposed: whether it is a transposed convolution.
        norms: what reads its outputs: norms and learnt activations, in order.
        extra: how many inputs more are the label's.
    """

    layer: Layer
    inputs: int
    outputs: int
    transposed: bool = False
    norms: tuple[Layer, ...] = ()
    extra: int = 0

    @property
    def is_flat(self) -> bool:
        """Whether it is a Linear."""
        return self.layer.kind == LINEAR


Unit = tuple[Layer, ...]


def follows(before: Step, layer: Layer, decoder: bool, extra: int = 0) -> Iterator[Step]:
    """The ways in which a layer can read a step's outputs, and the label's `extra` beside them."""
    for inputs, outputs, transposed in layer.ways(decoder):
        own = inputs - extra
        if own > 0 and reads(before.is_flat, before.outputs, layer.kind, own):
            yield Step(layer, own, outputs, transposed, extra=extra)


def reads(is_flat: bool, width: int, kind: str, inputs: int) -> bool:
    """Whether a layer of so many inputs can read a vector, or images of so many channels."""
    if is_flat and kind == CONV:  # reshaped to inputs x side x side
        return width % inputs == 0 and _is_square(width // inputs)
    if not is_flat and kind == LINEAR:  # flattened
        return inputs % width == 0 and _is_square(inputs // width)
    return width == inputs


def _is_square(n: int) -> bool:
    return math.isqrt(n) ** 2 == n


def units_of(layers: Sequence[Layer]) -> list[Unit]:
    """The layers that have weights to multiply by, in units, in order of declaration."""
    units: list[Unit] = []
    last: str | None = None
    for layer in layers:
        if layer.kind not in MAIN:
            continue
        here = group(layer.path)
        is_next = bool(here) and here == last
        if is_next and any(
            any(follows(Step(units[-1][-1], *way), layer, side(layer.path) != "encoder"))
            for way in units[-1][-1].ways(side(layer.path) != "encoder")
        ):
            units[-1] = (*units[-1], layer)
        else:
            units.append((layer,))
        last = here
    return units


def norms_of(layers: Sequence[Layer]) -> dict[str, tuple[Layer, ...]]:
    """The norms of each layer by its path."""
    found: dict[str, tuple[Layer, ...]] = {}
    mains = [layer for layer in layers if layer.kind in MAIN]
    for norm in layers:
        if norm.kind not in NORM_KINDS:
            continue
        if _is_everywhere(norm, layers):
            for m in mains:
                if side(norm.path) in ("", side(m.path)):
                    found[m.path] = (*found.get(m.path, ()), norm)
            continue
        before = [m for m in mains if m.place < norm.place]
        hosts = [m for m in mains if _fits(norm, m) and side(m.path) == side(norm.path)]
        named = [
            m
            for m in hosts
            if numbers(norm.path)
            and numbers(m.path) == numbers(norm.path)
            and m.path.rpartition(".")[0] == norm.path.rpartition(".")[0]
        ]
        numbered = norm.path.rpartition(".")[2].isdigit()
        if named and not numbered:
            host = named[0]
        elif (before and _fits(norm, before[-1])) or (before and _fits_flat(norm, before[-1])):
            host = before[-1]
        else:
            free = [m for m in hosts if m.path not in found]
            if not free:
                continue
            host = free[0]
        found[host.path] = (*found.get(host.path, ()), norm)
    return found


def _is_everywhere(norm: Layer, layers: Sequence[Layer]) -> bool:
    """Whether it is one learnt slope that stands behind every layer: the only one, without number.

    In the order of declaration it may come before the layers that it follows.
    """
    if norm.kind != PRELU or norm.shape != (1,) or numbers(norm.path) or group(norm.path):
        return False
    return not any(
        other.kind == PRELU and other is not norm and side(other.path) in ("", side(norm.path))
        for other in layers
    )


def _fits(norm: Layer, layer: Layer) -> bool:
    width = norm.shape[0]
    if norm.kind == PRELU and width == 1:
        return True
    return width in {way[1] for way in layer.ways(True)}


def _fits_flat(norm: Layer, layer: Layer) -> bool:
    return layer.kind == CONV and any(norm.shape[0] % way[1] == 0 for way in layer.ways(True))


def with_norms(step: Step, norms: Mapping[str, tuple[Layer, ...]]) -> Step:
    """The step with the norms that read it, as far as they fit its outputs."""
    own = norms.get(step.layer.path, ())
    fitting = tuple(
        norm
        for norm in own
        if norm.shape[0] in (step.outputs, 1)
        or (not step.is_flat and norm.shape[0] % step.outputs == 0)
    )
    return replace(step, norms=fitting)
