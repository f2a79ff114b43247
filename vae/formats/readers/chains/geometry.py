"""Strides, paddings and pooling, which a state dict does not hold: solved by the sizes that meet.

Each convolution may do what people let it do, at a cost that is the higher the rarer it is; what
changes from one layer to the next costs more. The cheapest ways through all layers, for which the
sizes at both ends fit, are found layer by layer (Viterbi), for each size of image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from itertools import groupby

_WAYS = 8  # kept at each size
_SPREAD = 5.0  # of cost between the likeliest way so far and those that are kept
_MAX_SIDE = 600
OVERLAPPING = 32  # for the side of a pool: squares of 3 x 3, two apart


@dataclass(frozen=True)
class Stage:
    """What one convolution does with the size of its images.

    Attributes:
        kernel, stride, padding, output_padding: as in torch.
        transposed: whether it makes images larger.
        up: the factor by which its inputs are enlarged first.
        odd: to one row and column more than that: 3 to 7.
        pool: the side of the squares whose largest value is kept, after it; negative for their
            mean; OVERLAPPING; 0 for none.
        grown: the kernel gets a row and a column of zeros before its own: how TensorFlow pads where
            the padding cannot be the same on both sides.
    """

    kernel: int
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    transposed: bool = False
    up: int = 1
    pool: int = 0
    grown: bool = False
    odd: bool = False

    def size(self, side: int) -> int:
        """The side of its outputs; 0 or less where it cannot be used."""
        side, kernel = side * self.up + self.odd, self.kernel + self.grown
        if self.transposed:
            out = (side - 1) * self.stride - 2 * self.padding + kernel + self.output_padding
        elif side + 2 * self.padding < kernel or (self.grown and side % 2):
            return 0
        else:
            out = (side + 2 * self.padding - kernel) // self.stride + 1
        if self.pool == OVERLAPPING:
            return (out + 1) // 2
        return out // abs(self.pool) if self.pool else out

    def loss(self, side: int) -> float:
        """The cost of rows that no kernel reaches: people choose even kernels to have none."""
        if self.transposed or self.stride == 1 or self.kernel % 2:
            return 0.0
        return 1.0 if (side * self.up + 2 * self.padding - self.kernel) % self.stride else 0.0

    def text(self) -> str:
        """In words: "stride 2, padding 1"."""
        more = " and 1" if self.odd else ""
        parts = [f"upsampled {self.up} times{more}"] if self.up > 1 else []
        parts.append(f"stride {self.stride}")
        parts.append("padding same" if self.grown else f"padding {self.padding}")
        if self.output_padding:
            parts.append(f"output padding {self.output_padding}")
        if self.pool == OVERLAPPING:
            parts.append("max pool 3, 2 apart")
        elif self.pool:
            parts.append(f"{'max' if self.pool > 0 else 'mean'} pool {abs(self.pool)}")
        return ", ".join(parts)

    @cached_property
    def manner(self) -> tuple[object, ...]:
        """What stays from layer to layer where people change nothing."""
        same = self.padding == (self.kernel - 1) // 2
        return (self.stride, same or self.padding, self.up, self.pool)


@dataclass(frozen=True)
class Conv:
    """A convolution of which the strides are sought.

    Attributes:
        kernel: its side.
        transposed: whether it is a transposed one.
        spare: how many layers without weights follow it besides its activation, as numbers of a
            Sequential say; None where nothing does.
        stride, padding, output_padding, pool, up: what the file says of it; None where it does not.
        channels_last: whether TensorFlow pads.
        is_head: whether it gives q's parameters.
        block: whether it is a residual block: "strided" where its shortcut lets it shrink, "pooled"
            where something else is between such blocks.
        beside: whether there are such blocks beside it, which then do what it would do.
        lead: of a decoder, the same as `spare` of what stands before it.
        side: the side that its outputs must have, as a norm over whole images says; 0 if none does.
    """

    kernel: int
    transposed: bool = False
    spare: int | None = None
    side: int = 0
    stride: int | None = None
    padding: int | None = None
    output_padding: int | None = None
    pool: int | None = None
    up: int | None = None
    channels_last: bool = False
    is_head: bool = False
    block: str = ""
    beside: bool = False
    lead: int | None = None


@dataclass(frozen=True)
class Way:
    """One way through the convolutions: its cost, its stages, and the sides before and after."""

    cost: float
    stages: tuple[Stage, ...]
    first: int
    last: int

    def text(self) -> str:
        """The stages in words."""
        runs = [(text, len(list(run))) for text, run in groupby(s.text() for s in self.stages)]
        return "; ".join(f"{text} (x{n})" if n > 1 else text for text, n in runs)


Ending = Callable[[int], float | None]


# Manners of which each is offered, however rare it is: data tell them apart, costs do not.
STRIDED, MAX_POOLED, MEAN_POOLED, UPSAMPLED = "strided", "max", "mean", "upsampled"
_FAMILIES: dict[str, Callable[[Stage], bool]] = {
    STRIDED: lambda stage: stage.pool == 0 and stage.up == 1,
    MAX_POOLED: lambda stage: stage.pool > 0 or (stage.stride == 1 and not stage.pool),
    MEAN_POOLED: lambda stage: stage.pool < 0 or (stage.stride == 1 and not stage.pool),
    UPSAMPLED: lambda stage: stage.stride == 1,
}


def ways(
    convs: Sequence[Conv],
    first: int,
    ending: Ending,
    decoder: bool,
    most: int = _WAYS,
    family: str = "",
) -> list[Way]:
    """The likeliest ways through convolutions, the cheapest first.

    Args:
        convs: in order.
        first: the side of the first one's inputs.
        ending: what a side at the end costs; None where it cannot be.
        decoder: whether images get larger.
        most: how many ways to keep.
        family: one of the manners above, to which all of them belong.
    """
    result = []
    for side, found in _paths(tuple(convs), first, decoder, most, family).items():
        price = ending(side)
        if price is not None:
            result += [Way(cost + price, path, first, side) for cost, path in found]
    return sorted(result, key=lambda way: way.cost)[:most]


def mirrored(way: Way, convs: Sequence[Conv], first: int, ending: Ending) -> Way | None:
    """The way through the other half that undoes this one, as people write it; None if none does.

    Args:
        way: through one half.
        convs: of the other half.
        first: the side of the first one's inputs.
        ending: as of `ways`.
    """
    if len(convs) != len(way.stages) or any(c.block or c.channels_last for c in convs):
        return None
    sides = [way.first]
    for stage in way.stages:
        sides.append(stage.size(sides[-1]))
    stages: list[Stage] = []
    side = first
    for conv, stage, wanted in zip(convs, way.stages[::-1], sides[-2::-1], strict=True):
        undoing = (
            Stage(stage.kernel, stage.stride, stage.padding, more, conv.transposed)
            for more in range(stage.stride if conv.transposed else 1)
        )
        found = next((own for own in undoing if own.size(side) == wanted), None)
        plain = stage.up == 1 and not stage.pool and stage.transposed != conv.transposed
        if found is None or not plain or conv.kernel != stage.kernel or conv.stride is not None:
            return None
        stages.append(found)
        side = wanted
    price = ending(side)
    return None if price is None else Way(way.cost + price, tuple(stages), first, side)


@lru_cache(maxsize=512)  # a folder is listed again and again while something in it is trained
def _paths(
    convs: tuple[Conv, ...], first: int, decoder: bool, most: int, family: str
) -> dict[int, list[tuple[float, tuple[Stage, ...]]]]:
    """The stages and what they cost, by the side at their end."""
    states: dict[int, list[tuple[float, tuple[Stage, ...]]]] = {first: [(0.0, ())]}
    for i, conv in enumerate(convs):
        options = _options(conv, decoder, i == len(convs) - 1)
        if family:
            options = tuple(option for option in options if _FAMILIES[family](option[1]))
        after: dict[int, list[tuple[float, tuple[Stage, ...]]]] = {}
        for side, found in states.items():
            for price, stage in options:
                out = stage.size(side)
                if not 1 <= out <= _MAX_SIDE or (conv.side and out != conv.side):
                    continue
                if stage.pool and out < 1:
                    continue
                into = after.setdefault(out, [])
                for cost, path in found:
                    if conv.block:
                        into.append((cost + price, (*path, stage)))
                        continue
                    before = next(
                        (path[n] for n in range(i - 1, -1, -1) if not convs[n].block), None
                    )
                    whole = (conv.is_head and side == conv.kernel) or (not i and first == 1)
                    if whole and stage.stride == 1 and not stage.padding and stage.up == 1:
                        into.append((cost + 0.2, (*path, stage)))  # from, or to, 1x1
                        continue
                    changed = before is not None and before.manner != stage.manner
                    if i == 1 and first == 1 and path[0].stride == 1:
                        changed = False
                    alike = any(s.manner == stage.manner for s in path)
                    more = (0.2 if conv.beside else 0.6 if alike else 1.0) if changed else 0.0
                    more += price * (0.3 if alike and not conv.beside else 1.0) + stage.loss(side)
                    more += 0.8 * (not i and first == 1 < conv.kernel)
                    into.append((cost + more, (*path, stage)))
        least = min((f[0] for found in after.values() for f in found), default=0.0)
        states = {
            side: sorted((f for f in found if f[0] <= least + _SPREAD), key=lambda f: f[0])[:most]
            for side, found in after.items()
            if any(f[0] <= least + _SPREAD for f in found)
        }
    return states


@cache
def _options(conv: Conv, decoder: bool, is_last: bool) -> tuple[tuple[float, Stage], ...]:
    k, same = conv.kernel, (conv.kernel - 1) // 2
    found: dict[Stage, float] = {}

    def add(
        cost: float,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        up: int = 1,
        pool: int = 0,
        odd: bool = False,
    ) -> None:
        stage = Stage(k, stride, padding, output_padding, conv.transposed, up, pool, odd=odd)
        if stage not in found or cost < found[stage]:
            found[stage] = cost

    if conv.stride is not None:
        _as_told(conv, decoder, add)
    elif conv.block:
        _of_block(conv, same, decoder, add)
    elif conv.transposed:
        _transposed(k, same, is_last, add)
    elif decoder:
        upsampled = _enlarging(conv)
        add(2.0 + upsampled, padding=same, up=2, odd=True)
        stays = 0.0 if conv.beside else 0.3
        add(stays if k % 2 else 1.5, padding=same)
        add(0.4 + upsampled, padding=same, up=2)
        add(1.6, up=2)
        add(1.3, padding=0)
        add(2.2, padding=same, up=4)
        add(2.4, padding=same, up=3)
        add(2.8, padding=k - 1)
        add(2.5, padding=same + 1)
    else:
        if conv.beside and k % 2:
            add(0.0, padding=same)
        _downwards(k, same, conv.spare, add, 0.5 if conv.beside and k % 2 else 0.0)
    if conv.channels_last:
        found = _of_tensorflow(found)
    return tuple(
        (cost, stage)
        for stage, cost in found.items()
        if conv.pool in (None, stage.pool) and conv.up in (None, stage.up)
    )


def _as_told(conv: Conv, decoder: bool, add: Callable[..., None]) -> None:
    same = (conv.kernel - 1) // 2
    values = {
        "stride": conv.stride or 1,
        "padding": same if conv.padding is None else conv.padding,
        "output_padding": conv.output_padding or 0,
    }
    if conv.channels_last and conv.transposed and conv.padding is None and conv.stride == 2:
        values["output_padding"] = 1
    add(0.0, **values)
    if decoder:
        for up in (2, 4) if conv.up is None else (conv.up,):
            add(1.0, **values, up=up)
    else:
        for pool in (2, -2, 3, 4) if conv.pool is None else (conv.pool,):
            add(1.0, **values, pool=pool)


def _enlarging(conv: Conv) -> float:
    """What it costs more that images are enlarged before a layer of a decoder."""
    if conv.lead is None:
        return 0.0 if conv.spare is None else -0.2
    return -0.5 if conv.lead else 1.5


def _of_block(conv: Conv, same: int, decoder: bool, add: Callable[..., None]) -> None:
    is_strided, can_stride = conv.block == "strided", conv.block != "block"
    if decoder:
        more = _enlarging(conv) + (0.4 if can_stride else 1.0)
        add(0.3, padding=same)
        add(more, padding=same, up=2)
        add(1.6 + more, padding=same, up=2, odd=True)
        add(1.8 + more, padding=same, up=4)
        return
    add(0.6 if is_strided else 0.2, padding=same)
    pooled = 0.0 if conv.spare else 0.8
    for pool, cost in ((2, 0.1), (-2, 0.8), (OVERLAPPING, 1.8)):
        add(cost + pooled, padding=same, pool=pool)
    if can_stride:
        add(0.0 if is_strided else 0.8, stride=2, padding=same)


def _of_tensorflow(found: dict[Stage, float]) -> dict[Stage, float]:
    """The same manners as TensorFlow pads them, where it differs."""
    padded = {}
    for stage, cost in found.items():
        same = stage.kernel % 2 and stage.padding == (stage.kernel - 1) // 2
        if stage.stride == 2 and same and stage.kernel > 1:
            if not stage.transposed:
                padded[replace(stage, grown=True)] = cost
                padded[stage] = cost + 0.5  # of an odd side
            elif stage.output_padding:
                padded[replace(stage, grown=True, output_padding=0)] = cost
        else:
            padded[stage] = cost
    return padded


def _downwards(
    k: int, same: int, spare: int | None, add: Callable[..., None], plain: float
) -> None:
    pooled = 0.5 if spare is None else 0.9 if spare == 0 else -0.5
    plain += 0.4 if spare else 0.0
    if k == 1:
        add(plain, stride=1)
        add(1.0, stride=2)
    elif k % 2:
        add(plain, stride=2, padding=same)
        add(0.6 + plain, stride=1, padding=same)
        add(1.0 + plain, stride=2)
        add(1.0 + plain, stride=1)
    else:
        add(plain, stride=2, padding=same)
        add(1.0 + plain, stride=2)
        add(1.0 + plain, stride=1)
        add(1.6 + plain, stride=1, padding=same)
    for pool, cost in ((2, 0.4), (-2, 1.4), (3, 1.4), (4, 2.2), (OVERLAPPING, 1.8)):
        if spare != 0:
            add(cost + pooled, stride=1, padding=same, pool=pool)
            add(cost + pooled + 0.6, stride=1, pool=pool)
            stem = -1.8 if pool == OVERLAPPING and k == 7 else 1.2
            add(cost + pooled + stem, stride=2, padding=same, pool=pool)
    for stride in (1, 2, 3, 4):
        for padding in range(min(k, 4)):
            add(2.0 + 0.5 * abs(stride - 2) + plain, stride=stride, padding=padding)


def _transposed(k: int, same: int, is_last: bool, add: Callable[..., None]) -> None:
    if k % 2:
        add(0.0, stride=2, padding=same, output_padding=1)
        add(0.3 if is_last else 0.6, stride=1, padding=same)
        add(0.6, stride=2, padding=same)
        add(0.9, stride=2)
        add(1.0, stride=1)
        add(1.3, stride=2, output_padding=1)
        add(1.0, padding=same, up=2)
    else:
        add(0.0, stride=2, padding=same)
        add(0.8, stride=2)
        add(0.9, stride=1)
        add(1.5, stride=1, padding=same)
    for stride in (1, 2, 3, 4):
        for padding in range(min(k, 4)):
            for output_padding in range(min(stride, 2)):
                cost = 1.8 + 0.5 * abs(stride - 2) + 0.4 * output_padding
                if cost > 2.5:
                    continue
                add(cost, stride=stride, padding=padding, output_padding=output_padding)


# The sides that images usually have, each with its cost.
_GREY = {28: 0.0, 32: 0.8, 64: 1.2, 128: 1.6, 8: 8.0, 16: 6.0, 48: 3.0, 56: 3.0, 96: 2.5, 256: 2.0}
_COLOUR = {32: 0.0, 64: 0.0, 128: 0.3, 256: 0.8, 28: 1.2, 96: 1.2, 224: 1.2, 48: 2.5, 512: 2.0}
_ODD = {8: 8.0, 14: 7.0, 16: 6.0, 20: 4.5, 24: 4.5, 40: 4.0, 50: 4.0, 72: 4.0, 80: 4.0, 84: 3.0} | {
    **{100: 3.0, 112: 3.0, 120: 3.5, 144: 3.5, 148: 3.5, 150: 3.0, 160: 3.0, 192: 3.0, 200: 3.0},
    **{224: 2.5, 320: 3.0, 512: 3.0},
}


def sides(channels: int) -> dict[int, float]:
    """The sides that images of so many channels usually have, each with its cost."""
    return _ODD | (_GREY if channels == 1 else _COLOUR)
