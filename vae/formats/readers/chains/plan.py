"""A structure with the sizes of its images: what the strides of both networks can be together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from vae.config import MAX_FEATURES
from vae.formats.readers.chains.blocks import Block
from vae.formats.readers.chains.geometry import (
    MAX_POOLED,
    MEAN_POOLED,
    STRIDED,
    UPSAMPLED,
    Conv,
    Ending,
    Way,
    mirrored,
    sides,
    ways,
)
from vae.formats.readers.chains.layers import Layer, group
from vae.formats.readers.chains.search import Structure
from vae.formats.readers.chains.told import After, Told
from vae.formats.readers.chains.units import Step

_MARGIN = 3.0  # of cost, within which another way is offered
_SIZES = 10.0  # the same of another size of image, if data sets have it
_KNOWN = (8, 16, 28, 32, 48, 64, 96, 128, 224, 256)
_OFFERED = 6
_POOLED = 1.4  # the cost of a mean over whole images


@dataclass(frozen=True)
class Size:
    """One size of image and what the strides then are, the likeliest first.

    Attributes:
        side: of the images.
        cost: of the likeliest ways.
        encoder, decoder: ways through the convolutions of each; empty without any.
    """

    side: int
    cost: float
    encoder: tuple[Way, ...]
    decoder: tuple[Way, ...]

    def __str__(self) -> str:
        return f"{self.side}x{self.side}"


@dataclass(frozen=True)
class Plan:
    """A structure, and what fits its sizes.

    Attributes:
        structure: it.
        channels: of the images.
        sizes: of the images, the likeliest first.
        before_heads, before_reshape: whether an activation stands there, as numbers of a
            Sequential say; None where nothing does.
        told: what the file says of its layers.
        encoder_after, decoder_after: what it says of what stands behind each step, of the encoder
            with the head that gives mu.
        second_after: the same of the other head's last step.
        is_table: it reads vectors that are no images; the side of their size is how many numbers
            they have.
    """

    structure: Structure
    channels: int
    sizes: tuple[Size, ...]
    before_heads: bool | None
    before_reshape: bool | None
    told: Told
    encoder_after: tuple[After | None, ...]
    decoder_after: tuple[After | None, ...]
    second_after: After | None
    is_table: bool = False

    @property
    def opens_flat(self) -> bool:
        """Whether the heads read a vector that a layer made."""
        body = self.structure.body
        return bool(body) and body[-1].is_flat

    @property
    def reshapes(self) -> int | None:
        """Which step of the decoder gives what is reshaped to images; None if none does."""
        pairs = enumerate(_pairs(self.structure.decoder))
        return next((i for i, (a, b) in pairs if a.is_flat and not b.is_flat), None)


def plan_of(structure: Structure, told: Told) -> Plan | None:
    """What the sizes can be; None if none fits."""
    last = structure.decoder[-1]
    first = (*structure.body, *structure.heads.mu)[0] if structure.has_encoder else last
    channels, side, is_table = 1, 0, False
    if first.is_flat and last.is_flat:
        channels, side = square_of(last.outputs)
        if not side:
            is_table, side = True, last.outputs
            if not structure.has_encoder or not 2 <= side <= MAX_FEATURES:
                return None
    elif first.is_flat or last.is_flat:
        flat = first.inputs if first.is_flat else last.outputs
        channels = last.outputs if first.is_flat else first.inputs
        side = math.isqrt(flat // channels)
    else:
        channels = last.outputs
    steps = _encoder(structure)
    afters, back_afters = _afters(steps, told), _afters(structure.decoder, told)
    second = structure.heads.second
    encoder = _convs(steps, told, afters, False)
    decoder = _convs(structure.decoder, told, back_afters, True)
    if encoder and not structure.heads.mu[-1].is_flat:
        encoder[-1] = replace(
            encoder[-1], spare=0, is_head=True
        )  # nothing is pooled behind the heads
    up: dict[int, list[Way]] = {}
    for way in ways(decoder, _start(structure), lambda side: 0.0, decoder=True, most=200):
        up.setdefault(way.last, []).append(way)
    usual = sides(channels)
    rest = range(4, 300) if decoder or encoder else ()
    found: list[Size] = []
    for candidates in ([side],) if side else (usual, rest):
        for here in candidates:
            if decoder and here not in up:
                continue
            ending = _ending(structure)
            down = ways(encoder, here, ending, decoder=False) if encoder else []
            if encoder and not down:
                continue
            back = up[here] if decoder else []
            cost = usual.get(here, 3.0) + sum(some[0].cost for some in (down, back) if some)
            found.append(Size(here, cost, tuple(down), tuple(back)))
        if found:
            break
    if not found:
        return None
    found.sort(key=lambda size: size.cost)
    found = [
        size
        for size in found
        if size is found[0] or (size.side in _KNOWN and size.cost <= found[0].cost + _SIZES)
    ][:_OFFERED]
    start = _start(structure) if decoder else 0
    found = [_both_offered(size, encoder, decoder, start, _ending(structure)) for size in found]
    return Plan(
        structure,
        channels,
        tuple(found),
        acts_after(structure.body, len(structure.body) - 1),
        _before_reshape(structure),
        told,
        afters,
        back_afters,
        told.after(second[-1].layer.path, None) if second else None,
        is_table,
    )


def is_of_table(structure: Structure) -> bool:
    """Whether it reads rows of numbers that are no image."""
    first = (*structure.body, *structure.heads.mu)[0]
    return first.is_flat and not square_of(first.inputs)[1]


def square_of(n: int) -> tuple[int, int]:
    """(channels, side) of a flattened image of n pixels; side 0 if it is none."""
    for channels in (1, 3):
        side = math.isqrt(n // channels)
        if channels * side * side == n and side >= 8:
            return channels, side
    return 1, 0


def _encoder(structure: Structure) -> tuple[Step, ...]:
    return (*structure.body, *structure.heads.mu)


def _both_offered(
    size: Size, encoder: list[Conv], decoder: list[Conv], start: int, ending: Ending
) -> Size:
    """The size with the ways to choose from: what is likely, and what undoes the other half."""

    def whole(side: int) -> float | None:
        return 0.0 if side == size.side else None

    down = _offered(size.encoder, encoder, size.side, ending)
    back = _offered(size.decoder, decoder, start, whole)
    more_down = [mirrored(way, encoder, size.side, ending) for way in back if down]
    more_back = [mirrored(way, decoder, start, whole) for way in down if back]
    return replace(size, encoder=_unlike(*down, *more_down), decoder=_unlike(*back, *more_back))


def _unlike(*found: Way | None) -> tuple[Way, ...]:
    """The ways that differ, the first of each."""
    seen: dict[str, Way] = {}
    for way in found:
        if way is not None:
            seen.setdefault(way.text(), way)
    return tuple(seen.values())


def _offered(
    found: tuple[Way, ...], convs: list[Conv], first: int, ending: Ending
) -> tuple[Way, ...]:
    """The likeliest ways, and the likeliest of each manner."""
    if not found:
        return ()
    near = [way for way in found if way.cost <= found[0].cost + _MARGIN][:_OFFERED]
    upwards = first < found[0].last
    for family in (STRIDED, UPSAMPLED) if upwards else (STRIDED, MAX_POOLED, MEAN_POOLED):
        near += ways(convs, first, ending, upwards, 1, family)
    return _unlike(*near)


def _afters(steps: Sequence[Step], told: Told) -> tuple[After | None, ...]:
    paths: list[str | None] = [step.layer.path for step in steps]
    return tuple(
        told.after(step.layer.path, upto)
        for step, upto in zip(steps, [*paths[1:], None], strict=True)
    )


def _convs(
    steps: Sequence[Step], told: Told, afters: Sequence[After | None], decoder: bool
) -> list[Conv]:
    result = []
    blocks = [i for i, step in enumerate(steps) if isinstance(step.layer, Block)]
    between = "pooled" if any(spare_after(steps, i) for i in blocks) else "strided"
    for i, step in enumerate(steps):
        if step.is_flat:
            continue
        lead = spare_after(steps, i - 1) if i and decoder else None
        if lead == 0 and isinstance(step.layer, Block) and gap(steps[i - 1].layer, step.layer) == 1:
            lead = None  # an activation, or what enlarges
        if lead is not None and steps[i - 1].is_flat:
            lead = max(0, lead - 1)  # what reshapes
        path, before = step.layer.path, afters[i - 1] if i else None
        here = afters[i]
        if isinstance(step.layer, Block):
            strides = [told.number(layer.path, "stride") for layer in step.layer.main]
            known = [stride for stride in strides if stride is not None]
            result.append(
                Conv(
                    step.layer.kernel,
                    spare=spare_after(steps, i),
                    stride=max(known) if known else None,
                    pool=None if here is None or decoder else here.pool,
                    up=(before.up or None) if before is not None and decoder else None,
                    block="block" if not step.layer.shortcut else between,
                    lead=lead,
                )
            )
            continue
        result.append(
            Conv(
                step.layer.kernel,
                step.transposed,
                spare_after(steps, i),
                next((n.shape[-1] for n in step.norms if len(n.shape) == 3), 0),
                told.number(path, "stride"),
                None if told.is_same(path) else told.number(path, "padding"),
                told.number(path, "output_padding"),
                None if here is None or decoder else here.pool,
                (before.up or None) if before is not None and decoder else None,
                told.channels_last,
                beside=bool(blocks),
                lead=lead,
            )
        )
    return result


def _ending(structure: Structure) -> Ending:
    """What a side at the end of the encoder's convolutions costs."""
    steps = _encoder(structure)
    flat = next(((a, b) for a, b in _pairs(steps) if not a.is_flat and b.is_flat), None)
    wanted = 1
    if flat is not None:
        wanted = math.isqrt(flat[1].inputs // flat[0].outputs)
        if wanted * wanted * flat[0].outputs != flat[1].inputs:
            return lambda side: None

    def cost(side: int) -> float | None:
        if side == wanted:
            return 0.0
        if side > wanted and side % wanted == 0 and flat is not None:
            return _POOLED if wanted == 1 else 2.5
        return None

    return cost


def _start(structure: Structure) -> int:
    decoder = structure.decoder
    for a, b in _pairs(decoder):
        if a.is_flat and not b.is_flat:
            return math.isqrt(a.outputs // b.inputs)
    return math.isqrt(structure.heads.latent_dim // decoder[0].inputs)


def _pairs(steps: Sequence[Step]) -> list[tuple[Step, Step]]:
    return list(pairwise(steps))


# --- what the numbers of a Sequential say ---


def _index(path: str) -> tuple[str, int] | None:
    parent, _, own = path.rpartition(".")
    return (parent, int(own)) if own.isdigit() else None


def gap(before: Layer, after: Layer) -> int | None:
    """How many layers without weights stand between two in a Sequential; None if unknown."""
    a, b = _index(before.path), _index(after.path)
    if isinstance(after, Block) or isinstance(before, Block):
        return _gap_of_blocks(before.path.split("."), after.path.split("."))
    if a is None or b is None or a[0] != b[0]:
        return None
    return b[1] - a[1] - 1


def _gap_of_blocks(before: list[str], after: list[str]) -> int | None:
    """The same beside a block, which may lie in a Sequential of its own: encoder.4.1, encoder.5.0.

    All that lies in such a one is a block.
    """
    a, b = next(((a, b) for a, b in zip(before, after, strict=False) if a != b), ("", ""))
    return int(b) - int(a) - 1 if a.isdigit() and b.isdigit() else None


def norm_is_told(step: Step) -> bool:
    """Whether numbers say what stands between a layer and the norm that reads it."""
    return not step.norms or gap(step.layer, step.norms[0]) is not None


def acts_before_norm(step: Step) -> bool:
    """Whether an activation stands between a layer and the norm that reads it."""
    return bool(step.norms) and (gap(step.layer, step.norms[0]) or 0) > 0


def _after(steps: Sequence[Step], i: int) -> int | None:
    if i + 1 >= len(steps):
        return None
    step = steps[i]
    found = gap(step.norms[-1] if step.norms else step.layer, steps[i + 1].layer)
    if isinstance(step.layer, Block) or isinstance(steps[i + 1].layer, Block):
        return found
    # Layers that follow each other without a gap everywhere are a list, not a Sequential.
    return None if found == 0 and not acts_before_norm(step) else found


def spare_after(steps: Sequence[Step], i: int) -> int | None:
    """How many layers without weights follow one besides its activation; None if unknown."""
    found = _after(steps, i)
    if found is None or isinstance(steps[i].layer, Block):
        return found
    return max(0, found - (0 if acts_before_norm(steps[i]) else 1))


def acts_after(steps: Sequence[Step], i: int) -> bool | None:
    """Whether an activation stands behind a layer, as far as the numbers say."""
    if i < 0 or acts_before_norm(steps[i]):
        return True if i >= 0 else None
    return True if _after(steps, i) else None


def _before_reshape(structure: Structure) -> bool | None:
    decoder = structure.decoder
    at = next((i for i, (a, b) in enumerate(_pairs(decoder)) if a.is_flat and not b.is_flat), -1)
    if at < 0:
        return None
    found = _after(decoder, at)
    if found is not None:
        return found > 1  # an activation, and what reshapes
    alone = at == 0 and not group(decoder[0].layer.path) and not decoder[0].norms
    return False if alone else None
