"""The encoder, its heads and the decoder among the units: which reads which."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from vae.formats.readers.chains.layers import (
    CONV,
    EMBEDDING,
    LINEAR,
    PRELU,
    Layer,
    numbers,
    says_label,
    says_mean,
    second_head,
    side,
)
from vae.formats.readers.chains.units import (
    Step,
    Unit,
    follows,
    norms_of,
    reads,
    units_of,
    with_norms,
)

MAX_LAYERS = 80
_MAX_TRIES = 300  # of ways on from one head
_MAX_CLASSES = 1000
_MANY = 26
_MAX_ONE_HOT = 200  # that is not seen in a layer of its own

_MAX_HEADS = 40
_MAX_BODIES = 30
_MAX_DECODERS = 80
_KEPT = 12

Path = tuple[Step, ...]


@dataclass(frozen=True)
class Label:
    """How the label reaches a network.

    Attributes:
        n_classes: of the one-hot label.
        encoder, decoder: how many numbers are joined to the network's own; 0 for none.
        encoder_layer, decoder_layer: what makes them of the label; None for the one-hot itself.
    """

    n_classes: int = 0
    encoder: int = 0
    decoder: int = 0
    encoder_layer: Layer | None = None
    decoder_layer: Layer | None = None


@dataclass(frozen=True)
class Heads:
    """The two halves of q's parameters.

    Attributes:
        mu, second: the layers of each half, the first from the body; `second` is empty where one
            layer gives both.
        how: what the order of the halves rests on: "both names", "names" of one, or "order"; ""
            where there are none, and z itself stands in both places.
    """

    mu: Path
    second: Path
    how: str

    @property
    def latent_dim(self) -> int:
        """k."""
        return self.mu[-1].outputs // (1 if self.second else 2)


@dataclass(frozen=True)
class Structure:
    """What was found: two networks.

    Attributes:
        body: the encoder from the image to the heads.
        heads: of q.
        decoder: from z to the image.
        label: how a label reaches them.
        unused: the layers that belong to neither.
    """

    body: Path
    heads: Heads
    decoder: Path
    label: Label
    unused: tuple[Layer, ...] = ()

    @property
    def has_encoder(self) -> bool:
        """False of a decoder alone."""
        return bool(self.heads.how)


def structures(layers: Sequence[Layer]) -> list[tuple[float, Structure]]:
    """The likeliest structures of these layers, each with its cost; none without two heads."""
    units = units_of(layers)
    norms = norms_of(layers)
    labels = [layer for layer in layers if layer.kind == EMBEDDING or _reads_label(layer)]
    label_paths = {layer.path for layer in labels}
    units = [unit for unit in units if not label_paths & {layer.path for layer in unit}]
    found: list[tuple[float, Structure]] = []
    heads = sorted(heads_of(units), key=lambda pair: _oddness(pair[1]))
    # Where two layers are called the mean and the variance, no other ones are tried.
    heads = [pair for pair in heads if pair[1].how == "both names"] or heads
    for at, pair in heads[: _MAX_HEADS if len(units) < 30 else 6]:
        taken = {step.layer.path for step in (*pair.mu, *pair.second)}
        free = [unit for unit in units if not taken & {layer.path for layer in unit}]
        forward: dict[int, list[tuple[float, Path]]] = {}
        for label in _labels(pair, units, labels):
            if label.decoder not in forward:
                forward[label.decoder] = from_z(pair.latent_dim, label.decoder, free)
            found += _complete(at, pair, label, units, forward[label.decoder])
    found.sort(key=lambda one: one[0])
    return [(cost, dressed(one, layers, norms)) for cost, one in found[:_KEPT]]


def dressed(
    found: Structure, layers: Sequence[Layer], norms: Mapping[str, tuple[Layer, ...]]
) -> Structure:
    """The structure with the norms of its layers, and with what is left over."""
    heads, label = found.heads, found.label

    def with_own(path: Path, is_end: bool = False) -> Path:
        steps = [with_norms(step, norms) for step in path]
        if is_end:  # q and the image are never a learnt activation's
            kept = (norm for norm in steps[-1].norms if norm.kind != PRELU)
            steps[-1] = replace(steps[-1], norms=tuple(kept))
        return tuple(steps)

    body, decoder = with_own(found.body), with_own(found.decoder, True)
    mu, second = with_own(heads.mu, True), with_own(heads.second, bool(heads.second))
    steps = (*body, *mu, *second, *decoder)
    used = {layer.path for step in steps for layer in (step.layer, *step.norms)}
    used |= {layer.path for layer in (label.encoder_layer, label.decoder_layer) if layer}
    unused = tuple(layer for layer in layers if layer.path not in used)
    return Structure(body, replace(heads, mu=mu, second=second), decoder, label, unused)


def _reads_label(layer: Layer) -> bool:
    return layer.kind == LINEAR and says_label(layer.path) and layer.shape[1] <= _MAX_CLASSES


# --- heads ---


def heads_of(units: Sequence[Unit]) -> Iterator[tuple[int, Heads]]:
    """Every two units that could be mu and the other half, and every one that could be both.

    Yields:
        The place of the first of them among the units, and the heads.
    """
    for i, a in enumerate(units):
        if side(a[-1].path) == "decoder":
            continue
        for j in range(i + 1, len(units)):
            b = units[j]
            if side(b[-1].path) == "decoder" or not _alike(a, b):
                continue
            is_named = any(says_mean(u[-1].path) or second_head(u[-1].path) for u in (a, b))
            if not is_named and (j > i + 1 or any(_alike(a, units[n]) for n in _beside(i, units))):
                continue
            swapped = bool(second_head(a[-1].path)) and not second_head(b[-1].path)
            swapped |= says_mean(b[-1].path) and not says_mean(a[-1].path)
            mu, second = (b, a) if swapped else (a, b)
            first = {1: _path(mu), 2: _path(second)}
            if first[1] and first[2]:
                yield i, Heads(first[1], first[2], _how(mu[-1].path, second[-1].path))
    for i, a in enumerate(units):
        layer = a[-1]
        halved = says_mean(layer.path) != bool(second_head(layer.path))
        if side(layer.path) != "decoder" and layer.shape[0] % 2 == 0 and not halved:
            inputs, outputs, transposed = (layer.ways(False) or [(0, 0, False)])[0]
            if outputs:
                yield i, Heads((Step(layer, inputs, outputs, transposed),), (), "order")


def _how(mu: str, second: str) -> str:
    if says_mean(mu) and second_head(second):
        return "both names"
    return "names" if second_head(second) or says_mean(mu) else "order"


def _beside(i: int, units: Sequence[Unit]) -> list[int]:
    """The units next to the pair that begins at i."""
    return [n for n in (i - 1, i + 2) if 0 <= n < len(units)]


def _alike(a: Unit, b: Unit) -> bool:
    return [(x.kind, x.shape, x.bias) for x in a] == [(x.kind, x.shape, x.bias) for x in b]


def _path(unit: Unit) -> Path:
    steps: list[Step] = []
    for layer in unit:
        ways = layer.ways(False)
        if not ways:
            return ()
        step = Step(layer, *ways[0])
        if steps and not reads(steps[-1].is_flat, steps[-1].outputs, layer.kind, step.inputs):
            return ()
        steps.append(step)
    return tuple(steps)


# --- labels ---


def _labels(heads: Heads, units: Sequence[Unit], layers: Sequence[Layer]) -> Iterator[Label]:
    """How a label could reach the networks, with k known; that none does comes first."""
    yield Label()
    k = heads.latent_dim
    if layers:
        own = {name: [x for x in layers if side(x.path) == name] for name in ("encoder", "decoder")}
        shared = [x for x in layers if not side(x.path)]
        for a in own["encoder"] or shared or [None]:
            for b in own["decoder"] or shared or [None]:
                yield from _label_of(a, b)
        return
    used = {step.layer.path for step in (*heads.mu, *heads.second)}
    seen: set[int] = set()
    for unit in units:
        first = unit[0]
        if first.path in used or side(first.path) == "encoder":
            continue
        for inputs, _, _ in first.ways(True):
            n = inputs - k
            if 2 <= n <= _MAX_ONE_HOT and n not in seen:
                seen.add(n)
                yield Label(n, n, n)
                if n <= _MANY:
                    yield Label(n, 0, n)


def _label_of(encoder: Layer | None, decoder: Layer | None) -> Iterator[Label]:
    if encoder is None and decoder is None:
        return

    def sizes(layer: Layer | None) -> tuple[int, int]:
        """(classes, width)."""
        if layer is None:
            return 0, 0
        a, b = layer.shape
        return (a, b) if layer.kind == EMBEDDING else (b, a)

    (n, e), (m, d) = sizes(encoder), sizes(decoder)
    if n and m and n != m:
        return
    n = n or m
    yield Label(n, e, d, encoder, decoder)
    if encoder is not None and decoder is not None:
        yield Label(n, 0, d, None, decoder)
        yield Label(n, e, 0, encoder, None)
    if encoder is None:
        yield Label(n, n, d, None, decoder)  # the one-hot itself, beside x
    if decoder is None:
        yield Label(n, e, n, encoder, None)


# --- chains ---


def _complete(
    at: int,
    heads: Heads,
    label: Label,
    units: Sequence[Unit],
    decoders: Sequence[tuple[float, Path]],
) -> Iterator[tuple[float, Structure]]:
    """Structures with these heads and this label, each with its cost."""
    taken = {step.layer.path for step in (*heads.mu, *heads.second)}
    if not decoders:
        return
    penalty = _oddness(heads)
    total = sum(len(unit) for unit in units)
    bodies = sorted(
        to_heads(heads, label.encoder, units, at), key=lambda one: one[0] - 10 * len(one[1])
    )
    for cost, body, joined in bodies[:_MAX_BODIES]:
        here = heads if joined != 1 else _joined(heads, label.encoder)
        inside = taken | {step.layer.path for step in body}
        for more, decoder in decoders:
            if inside & {step.layer.path for step in decoder}:
                continue
            first = next(u for u, unit in enumerate(units) if unit[0] == decoder[0].layer)
            steps = (*body, *here.mu)
            if not _same_image(steps[0], decoder[-1]):
                continue
            used = len(inside) + len(decoder)
            worth = cost + more + penalty + 10 * (total - used) + 0.5 * max(0, at - first)
            worth += 2 * bool(label.n_classes) + 5 * (label.encoder == 0 < label.n_classes)
            worth += 12 * (label.n_classes > _MANY and label.decoder_layer is None)
            worth -= 4.5 * (bool(body) and _same_number(body[-1], here.mu[0]))
            pairs = pairwise(decoder)
            worth -= 4.5 * any(a.is_flat > b.is_flat and _same_number(a, b) for a, b in pairs)
            if 10 * used < 6 * total:
                continue
            yield worth, Structure(body, here, decoder, label)


def _same_number(a: Step, b: Step) -> bool:
    """Whether the names of two layers end in the same number: conv4 and fc_mu_4."""
    return bool(numbers(a.layer.path)) and numbers(a.layer.path)[-1:] == numbers(b.layer.path)[-1:]


def _joined(heads: Heads, extra: int) -> Heads:
    def join(path: Path) -> Path:
        first = path[0]
        return (replace(first, inputs=first.inputs - extra, extra=extra), *path[1:])

    return replace(heads, mu=join(heads.mu), second=join(heads.second) if heads.second else ())


def _oddness(heads: Heads) -> float:
    if not heads.second:
        return 3.0
    mu, second = heads.mu[-1].layer, heads.second[-1].layer
    cost = 2.0 if heads.how == "order" else 0.0
    cost += 0.5 * (abs(mu.place - second.place) - 1)
    same = numbers(mu.path)[-1:] == numbers(second.path)[-1:]
    return cost if same or heads.how == "order" else cost + 4


def _same_image(first: Step, last: Step) -> bool:
    if first.is_flat and last.is_flat:
        return first.inputs == last.outputs
    if not first.is_flat and not last.is_flat:
        return first.inputs == last.outputs and first.inputs in (1, 3)
    flat, channels = (first.inputs, last.outputs) if first.is_flat else (last.outputs, first.inputs)
    return channels in (1, 3) and reads(True, flat, CONV, channels)


def _jump(here: int, there: int) -> float:
    """The cost of going from one unit to another one."""
    return 0.5 * (there - here - 1) if there > here else 2.5 + 0.5 * (here - there)


def to_heads(
    heads: Heads, extra: int, units: Sequence[Unit], at: int
) -> Iterator[tuple[float, Path, int]]:
    """Bodies that end in what the heads read: cost, steps, and where the label is joined.

    The label joins once where `extra` is not 0: 1 for at the heads, 2 in the body.
    """
    taken = {step.layer.path for step in (*heads.mu, *heads.second)}
    tries = 0

    def before(
        path: Path, place: int, joined: int, cost: float
    ) -> Iterator[tuple[float, Path, int]]:
        nonlocal tries
        tries += 1
        if tries > _MAX_TRIES:
            return
        body = path[: len(path) - len(heads.mu)]
        if (extra == 0) == (joined == 0) and (body or not extra):
            yield cost, body, joined
        elif extra and not joined and path[0].inputs > extra:  # beside the image itself
            first = replace(path[0], inputs=path[0].inputs - extra, extra=extra)
            yield cost, (first, *path[1:])[: len(body)], 2 if body else 1
        order = sorted(range(len(units)), key=lambda u: _jump(u, place))
        used = taken | {step.layer.path for step in path}
        for u in order:
            unit = units[u]
            if side(unit[0].path) == "decoder" or used & {layer.path for layer in unit}:
                continue
            steps = _path(unit)
            if not steps:
                continue
            for more in {0, 0 if joined else extra}:
                first = path[0]
                own = first.inputs - more
                if own <= 0 or (first.extra and more):
                    continue
                if not reads(steps[-1].is_flat, steps[-1].outputs, first.layer.kind, own):
                    continue
                if steps[-1].is_flat and not first.is_flat:
                    continue  # no encoder makes an image of a vector
                now = joined if not more else 2 if body else 1
                rest = (replace(first, inputs=own, extra=more or first.extra), *path[1:])
                yield from before((*steps, *rest), u, now, cost + _jump(u, place))

    # What precedes the last layer in its own Sequential, where the heads are one layer.
    inside = next(
        (unit for unit in units if unit[-1].path == heads.mu[-1].layer.path and not heads.second),
        (),
    )
    lead = _path(inside)[:-1] if inside else ()
    yield from before((*lead, *heads.mu), at, 0, 0.0)


def from_z(k: int, extra: int, units: Sequence[Unit]) -> list[tuple[float, Path]]:
    """Decoders that read z, the longest ones first, each with its cost."""
    found: list[tuple[float, Path]] = []
    tries = 0

    most = min(_MAX_TRIES, max(30, 3000 // max(1, len(units))))

    def after(path: Path, place: int, cost: float) -> None:
        nonlocal tries
        tries += 1
        if tries > most:
            return
        found.append((cost, path))
        used = {step.layer.path for step in path}
        for u in sorted(range(len(units)), key=lambda u: _jump(place, u)):
            if side(units[u][0].path) == "encoder" or used & {x.path for x in units[u]}:
                continue
            for steps in _onwards(path[-1], units[u]):
                after((*path, *steps), u, cost + _jump(place, u))

    for u, unit in enumerate(units):
        if side(unit[0].path) == "encoder":
            continue
        z = Step(replace(unit[0], kind=LINEAR), k, k)
        tries = 0
        for steps in _onwards(z, unit, extra):
            after(steps, u, 0.0 if side(unit[0].path) == "decoder" else 1.0)
    found.sort(key=lambda pair: pair[0] - 10 * len(pair[1]))
    return found[:_MAX_DECODERS]


def _onwards(before: Step, unit: Unit, extra: int = 0) -> list[Path]:
    """The ways through a unit from a step's outputs."""
    paths: list[Path] = [()]
    for i, layer in enumerate(unit):
        paths = [
            (*path, step)
            for path in paths
            for last in [path[-1] if path else before]
            if last.is_flat or layer.kind == CONV  # no decoder flattens its images again
            for step in follows(last, layer, True, 0 if i else extra)
        ][:8]
    return paths
