"""Weights that a reading leaves out: whether the model may use them all the same.

What hangs beside a VAE (a discriminator, a classifier, the variance of x, a copy of the weights)
leads nowhere that the reading goes on from. What leads from one of its layers to another one, or
lies in a Sequential with them, is missing in it.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from vae.formats.readers.chains.layers import (
    CONV,
    LINEAR,
    MAIN,
    Layer,
    group,
    numbers,
    says_label,
    says_mean,
    second_head,
    words,
)
from vae.formats.readers.chains.search import Structure
from vae.formats.readers.chains.units import Step, reads, units_of

_BESIDE = re.compile(
    r"disc|critic|ema$|teacher|target|classif|percep|lpips|^fid|vgg|loss|ssim|inception|aux"
    r"|window|blur|grid|predict|probe|adv"
)
Pair = tuple[Layer, Layer]


def missing(structure: Structure, odd: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The names of what is left out though the model seems to use it; empty where all is well.

    Args:
        structure: as it is read.
        odd: the shapes of tensors that belong to no layer, by name.
    """
    found = [name for name, shape in odd.items() if _is_weight(name, shape)]
    spare = [layer for layer in structure.unused if not _is_beside(layer.path)]
    others = _alternatives(structure, spare)
    spare = [layer for layer in spare if layer.path not in others]
    parts = _parts(structure, spare)
    used = {group(step.layer.path) for step in _steps(structure)} - {""}
    reached, left = _reached(structure, parts)
    for name, inside in parts.items():
        mains = [layer for layer in inside if layer.kind in MAIN]
        within = any(group(layer.path) in used for layer in inside)
        leads = name in reached and name in left and not _is_copy(name, mains, structure)
        if within or not mains or leads:
            found.append(name)
    return found


def pairs_of(layers: Sequence[Layer]) -> list[Pair]:
    """Every two layers that are called the mean and the variance of the same."""
    means = [x for x in layers if x.kind in MAIN and says_mean(x.path)]
    seconds = [x for x in layers if x.kind in MAIN and second_head(x.path) and x not in means]
    found: list[Pair] = []
    for a in means:
        alike = [
            b
            for b in seconds
            if (a.kind, a.shape, a.bias) == (b.kind, b.shape, b.bias)
            and numbers(a.path) == numbers(b.path)
            and group(a.path).count(".") == group(b.path).count(".")
        ]
        if alike:
            b = min(alike, key=lambda b: abs(b.place - a.place))
            seconds.remove(b)
            found.append((a, b))
    return found


def other_pairs(structure: Structure) -> list[Pair]:
    """The pairs of heads beside q's own that are left out, or that stand in the wrong place.

    The mean and the variance of x are none of them.
    """
    unused, last = set(structure.unused), structure.decoder[-1].layer
    layers = sorted({step.layer for step in _steps(structure)} | unused, key=lambda x: x.place)
    k = structure.heads.latent_dim
    found = []
    for pair in pairs_of(layers):
        left_out = sum(layer in unused for layer in pair)
        of_image = any((x.kind, x.shape) == (last.kind, last.shape) for x in pair)
        if not of_image and (left_out == 1 or (left_out == 2 and _outputs(pair[0]) != k)):
            found.append(pair)
    return found


def pairs_alone(layers: Sequence[Layer]) -> list[Pair]:
    """All pairs but the first, of layers whose order is not known."""
    ends = [unit[-1] for unit in units_of(layers)]
    pixels = {layer.shape[1] for layer in layers if layer.kind in MAIN}
    found = [pair for pair in pairs_of(ends) if _outputs(pair[0]) != max(pixels, default=0)]
    return found[1:]


def skip_of(layers: Sequence[Layer], structure: Structure) -> tuple[Layer, Layer] | None:
    """A layer of a U-Net's decoder and the encoder's, whose channels it reads beside its own.

    It reads as many channels more than the layer before it gives as the encoder's layer gives.
    """
    encoder = [step for step in structure.body if not step.is_flat]
    own = {step.layer.path for step in (*structure.body, *structure.heads.mu)}
    convs = [x for x in layers if x.kind == CONV and x.path not in own and not _is_beside(x.path)]
    for before, after in pairwise(convs):
        if before not in structure.unused and after not in structure.unused:
            continue
        given = {outputs for _, outputs, _ in before.ways(True)}
        for inputs, _, _ in after.ways(True):
            if inputs in given:
                break
            for step in encoder:
                if inputs - step.outputs in given:
                    return after, step.layer
    return None


def _steps(structure: Structure) -> Iterator[Step]:
    heads = structure.heads
    yield from (*structure.body, *heads.mu, *heads.second, *structure.decoder)


def _is_beside(path: str) -> bool:
    return says_label(path) or any(_BESIDE.search(word) for word in words(path))


def _is_weight(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor of no layer multiplies something: no buffer, no scale of a likelihood."""
    return len(shape) > 1 and math.prod(shape) > 1 and not _is_beside(name)


def _outputs(layer: Layer) -> int:
    return layer.shape[0]


def _alternatives(structure: Structure, spare: Sequence[Layer]) -> set[str]:
    """Paths of layers that could stand in place of used ones: heads, and what reads z.

    Of a network that grows: each depth has its own, and one is in use.
    """
    k, first = structure.heads.latent_dim, structure.decoder[0]
    heads = {
        layer.path
        for pair in pairs_of(spare)
        if _outputs(pair[0]) == k and not any("prior" in words(x.path) for x in pair)
        for layer in pair
    }
    stem = re.sub(r"\d+", "", first.layer.path)
    reading = {
        layer.path
        for layer in spare
        if layer.kind == LINEAR
        and re.sub(r"\d+", "", layer.path) == stem
        and layer.shape[1] == first.inputs + first.extra
    }
    return heads | reading if heads and reading else set()


def _parts(structure: Structure, spare: Sequence[Layer]) -> dict[str, list[Layer]]:
    """What is left out, by the longest paths under which nothing is used."""
    used = [f"{step.layer.path}." for step in _steps(structure)]
    found: dict[str, list[Layer]] = {}
    for layer in spare:
        names = layer.path.split(".")
        heads = (".".join(names[:n]) for n in range(1, len(names) + 1))
        name = next(h for h in heads if not any(u.startswith(f"{h}.") for u in used))
        found.setdefault(name, []).append(layer)
    return found


def _is_copy(name: str, mains: Sequence[Layer], structure: Structure) -> bool:
    """Whether a part has the layers of what is used, under another name: a running mean of it."""
    own = [(layer.path.removeprefix(name), layer.shape) for layer in mains]
    used = [(step.layer.path, step.layer.shape) for step in _steps(structure)]
    heads = {path.removesuffix(own[0][0]) for path, _ in used if own and path.endswith(own[0][0])}
    return len(own) > 1 and any(
        own == [(path.removeprefix(h), x) for path, x in used if path.startswith(f"{h}.")]
        for h in heads
    )


def _reached(
    structure: Structure, parts: Mapping[str, Sequence[Layer]]
) -> tuple[set[str], set[str]]:
    """The parts that read what is used, and those that what is used reads, over others too."""
    steps, heads = list(_steps(structure)), structure.heads
    first = (*structure.body, *heads.mu)[0]
    given = {(s.is_flat, s.outputs) for s in steps if s is not structure.decoder[-1]}
    given |= {(True, heads.latent_dim), (first.is_flat, first.inputs)}
    wanted = {(s.is_flat, s.inputs) for s in steps if s.layer is not first.layer}
    ends = {name: _ends(inside) for name, inside in parts.items()}
    reached, left = set[str](), set[str]()
    for _ in parts:
        for name, (inputs, outputs) in ends.items():
            if name not in reached and any(_meet(a, b) for a in given for b in inputs):
                reached.add(name)
                given |= outputs
            if name not in left and any(_meet(a, b) for a in outputs for b in wanted):
                left.add(name)
                wanted |= inputs
    return reached, left


Ends = set[tuple[bool, int]]


def _ends(inside: Sequence[Layer]) -> tuple[Ends, Ends]:
    """What a part may read and what it may give: vectors or images, and of how many channels."""
    mains = [layer for layer in inside if layer.kind in MAIN]
    if not mains:
        return set(), set()
    first, last = mains[0], mains[-1]
    return (
        {(first.kind == LINEAR, inputs) for inputs, _, _ in first.ways(True)},
        {(last.kind == LINEAR, outputs) for _, outputs, _ in last.ways(True)},
    )


def _meet(given: tuple[bool, int], wanted: tuple[bool, int]) -> bool:
    return reads(given[0], given[1], LINEAR if wanted[0] else CONV, wanted[1])
