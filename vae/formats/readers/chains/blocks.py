"""Residual blocks among the layers of a file: a few layers whose outputs are added to their inputs.

A block is told by a layer that reads what the others read and gives what they give (a shortcut), or
by the name of the module that its layers lie in; blocks beside one that was told so are told by
having the same names inside. A block then stands in a chain as one layer. What is summed where
(`KINDS`) neither names nor shapes say: it is a fact with alternatives, like an activation.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vae.formats.readers.chains.layers import CONV, LINEAR, MAIN, NORM_KINDS, Layer, words

# What a block computes of x; f is its layers with their norms and activations, s its shortcut.
AFTER = "activation after the sum"  # act(f(x) + s(x))
OPEN = "no activation after the sum"  # f(x) + s(x)
NORMED = "norm and activation after the sum"  # act(norm(f(x) + s(x)))
FIRST = "activation first"  # f(act(x)) + s(x)
FIRST_END = "activation first, one behind the last"
SHARED = "activation first, added too"  # f(act(x)) + s(act(x)), as where it is done in place
SHARED_END = "activation first, added too, one behind the last"
NO_SUM = "no sum"
KINDS = (AFTER, OPEN, NORMED, FIRST, FIRST_END, SHARED, SHARED_END, NO_SUM)

_MOST = 4  # layers besides the shortcut
_SHORTCUT = re.compile(
    r"short_?cut|down_?sampl|up_?sampl|skip|residual$|identity|proj|bypass|match|adjust|nin"
    r"|(conv|fc|linear)_?(res|skip|id|sc|short)|res_?conv|^(conv_?)?(sc|id)$"
)
_NAMED = re.compile(
    r"^res(net|block|idual|layer|stack|unit|module|down|up|conv|enc|dec|s?$)|^rb$"
    r"|residual|bottleneck$|basic_?block"
)
_STAGE = re.compile(r"(^|\.)(layer|block|stage)s?_?\d*(\.\d+)*$")


@dataclass(frozen=True)
class Block(Layer):
    """A residual block as one layer; its weight's shape is (outputs, inputs, kernel, kernel).

    Attributes:
        main: its layers in order.
        norms: those of each of `main`: what reads its outputs, or what comes before it.
        norm_first: whether the norms stand before their layers.
        shortcut: the layer through which x comes to the sum; None where x itself does.
        shortcut_norms: what reads its outputs.
        is_sum: whether names or shapes show the sum; else it is as likely that there is none.
    """

    main: tuple[Layer, ...] = ()
    norms: tuple[tuple[Layer, ...], ...] = ()
    norm_first: bool = False
    shortcut: Layer | None = None
    shortcut_norms: tuple[Layer, ...] = ()
    is_sum: bool = True

    @property
    def every_norm(self) -> tuple[Layer, ...]:
        """All norms inside."""
        return (*(norm for norms in self.norms for norm in norms), *self.shortcut_norms)

    def usual(self) -> str:
        """Which of `KINDS` is the likeliest."""
        if not self.is_sum:
            return NO_SUM
        if self.norm_first:
            return FIRST
        own = self.main[0].path.removeprefix(f"{self.path}.").rpartition(".")[2]
        if own.isdigit() and int(own) > 0 and not self.every_norm:
            return SHARED  # an activation is what has no weights
        return AFTER


def with_blocks(layers: Sequence[Layer]) -> list[Layer]:
    """The same layers, those of each residual block as one."""
    members: dict[str, list[Layer]] = {}
    for layer in layers:
        for prefix in _prefixes(layer.path):
            members.setdefault(prefix, []).append(layer)
    found = _found(members, frozenset())
    # Where a shortcut keeps the width it looks like one layer more; others show that it is none.
    shortcuts = {b.shortcut.path.removeprefix(b.path) for b in found.values() if b.shortcut}
    return list(_replaced(layers, _found(members, frozenset(shortcuts)) if shortcuts else found))


def _found(members: dict[str, list[Layer]], shortcuts: frozenset[str]) -> dict[str, Block]:
    """The blocks by their paths, of which some shortcuts have names that are known already."""
    found: dict[str, Block] = {}
    unsure: dict[str, Block] = {}
    taken: set[str] = set()
    # The smallest first, and of those with the same layers the outermost.
    for prefix, inside in sorted(members.items(), key=lambda item: (len(item[1]), len(item[0]))):
        paths = {layer.path for layer in inside}
        if taken & paths:
            continue
        block = _block(prefix, inside, shortcuts)
        if block is None:
            continue
        if block.is_sum:
            found[prefix] = block
            taken |= paths
        else:  # one inside or around it may show what this one does not
            unsure[prefix] = block
    alike = {_inner(block) for block in found.values()}
    for prefix, block in unsure.items():
        paths = {layer.path for layer in members[prefix]}
        if taken & paths:
            continue
        if _inner(block) in alike:
            found[prefix] = Block(**{**vars(block), "is_sum": True})
            taken |= paths
        elif _STAGE.search(prefix):
            found[prefix] = block
            taken |= paths
    return found


def _replaced(layers: Sequence[Layer], found: dict[str, Block]) -> Iterator[Layer]:
    done: set[str] = set()
    for layer in layers:
        prefix = next((p for p in _prefixes(layer.path) if p in found), None)
        if prefix is None:
            yield layer
        elif prefix not in done:
            done.add(prefix)
            yield found[prefix]


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _inner(block: Block) -> tuple[tuple[str, ...], bool]:
    """The names of a block's layers inside it."""
    return tuple(x.path.removeprefix(block.path) for x in block.main), bool(block.every_norm)


def _block(prefix: str, inside: Sequence[Layer], shortcuts: frozenset[str]) -> Block | None:
    """The block of all layers under a path; None if they are none."""
    mains = [layer for layer in inside if layer.kind in MAIN]
    if not 2 <= len(mains) <= _MOST + 1 or len({m.kind for m in mains}) > 1:
        return None
    if any(layer.kind not in (*MAIN, *NORM_KINDS) or isinstance(layer, Block) for layer in inside):
        return None
    shortcut, main = _split(prefix, mains, shortcuts)
    if not _chained(main) or len(main) < 2:
        return None
    inputs, outputs = _ends(main[0])[0], _ends(main[-1])[1]
    if shortcut is not None and _ends(shortcut) != (inputs, outputs):
        return None
    if shortcut is None and inputs != outputs:
        return None
    named = any(_NAMED.search(word) for word in words(prefix))
    is_sum = shortcut is not None or named
    if main[0].kind == LINEAR and not named:
        return None
    norms = _norms(inside, main, shortcut)
    if norms is None:
        return None
    own, of_shortcut, first = norms
    kernel = max((m.kernel for m in main), default=1)
    is_conv = main[0].kind == CONV
    shape = (outputs, inputs, kernel, kernel) if is_conv else (outputs, inputs)
    return Block(
        *(prefix, main[0].kind, shape, 0, main[0].place, False if is_conv else None),
        *(tuple(main), own, first, shortcut, of_shortcut, is_sum),
    )


def _ends(layer: Layer) -> tuple[int, int]:
    """Inputs and outputs; blocks with transposed convolutions are not known here."""
    return layer.shape[1], layer.shape[0]


def _chained(main: Sequence[Layer]) -> bool:
    fits = all(_ends(a)[1] == _ends(b)[0] for a, b in pairwise(main))
    odd = all(layer.kernel % 2 and layer.bias in (0, layer.shape[0]) for layer in main)
    return fits and odd and not any(layer.transposed for layer in main)


def _split(
    prefix: str, mains: Sequence[Layer], shortcuts: frozenset[str]
) -> tuple[Layer | None, list[Layer]]:
    """The shortcut, by its name or as what reads and gives the same as all others together."""
    for layer in mains:
        own = layer.path.removeprefix(f"{prefix}.").lower()
        known = layer.path.removeprefix(prefix) in shortcuts and len(mains) > 2
        if known or any(_SHORTCUT.search(part) for part in own.split(".")):
            return layer, [m for m in mains if m is not layer]
    if not _chained(mains):
        for layer in mains[::-1]:
            rest = [m for m in mains if m is not layer]
            ends = (_ends(rest[0])[0], _ends(rest[-1])[1])
            if len(rest) > 1 and _chained(rest) and _ends(layer) == ends:
                return layer, rest
    return None, list(mains)


def _norms(
    inside: Sequence[Layer], main: Sequence[Layer], shortcut: Layer | None
) -> tuple[tuple[tuple[Layer, ...], ...], tuple[Layer, ...], bool] | None:
    """Norms of each layer, of the shortcut, and whether they come first; None if they do not fit.

    In order of declaration, by widths where that leaves a choice.
    """
    norms = [layer for layer in inside if layer.kind in NORM_KINDS]
    of_shortcut: tuple[Layer, ...] = ()
    if shortcut is not None:
        after = [n for n in norms if n.place == shortcut.place + 1]
        named = [n for n in norms if any(_SHORTCUT.search(w) for w in words(n.path)[-2:])]
        spare = after if len(norms) > len(main) else []
        of_shortcut = tuple((named or spare)[:1])
    own = [n for n in norms if n not in of_shortcut]
    if not own:
        return ((),) * len(main), of_shortcut, False
    if len(own) > len(main):
        return None
    widths = [n.shape[0] for n in own]
    behind = [_ends(m)[1] for m in main][: len(own)] == widths
    before = [_ends(m)[0] for m in main][: len(own)] == widths
    if not behind and not before:
        return None
    first = before and (not behind or own[0].place < main[0].place)
    padded = [(norm,) for norm in own] + [()] * (len(main) - len(own))
    return tuple(padded), of_shortcut, first
