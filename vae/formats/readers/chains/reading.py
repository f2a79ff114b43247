"""What the shapes leave open: each question with its likeliest answer and the other ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from vae.features import READINGS
from vae.formats.card import (
    ASSUMED,
    BERNOULLI,
    CHOSEN,
    FILE,
    NAMES,
    SIZE,
    SIZES,
    UNIT_GAUSSIAN,
    Fact,
)
from vae.formats.meanings import SECOND, STATISTICS
from vae.formats.readers.chains import blocks
from vae.formats.readers.chains.blocks import Block
from vae.formats.readers.chains.layers import NORM, Layer, second_head
from vae.formats.readers.chains.plan import Plan, gap, norm_is_told
from vae.formats.readers.chains.told import After
from vae.formats.readers.chains.units import Step
from vae.formats.wording import listed

NAME = "a state dict"  # for the card

ACTIVATIONS = (
    *("ReLU", "LeakyReLU 0.01", "LeakyReLU 0.2", "tanh", "sigmoid", "ELU", "GELU", "SiLU"),
    *("SELU", "softplus", "none"),
)
SAME = "as in the encoder"
HEAD_ACTIVATIONS = ("none", "ReLU", "tanh", "sigmoid", "LeakyReLU 0.01")
OUTPUTS = ("sigmoid", "tanh", "linear")
# Of a decoder alone what it gives and the range of its pixels are one question.
OUTPUTS_ALONE = {
    "sigmoid": ("sigmoid", "[0, 1]"),
    "tanh, pixels in [-1, 1]": ("tanh", "[-1, 1]"),
    **{"linear" + (f", pixels in {x}" * (x != "[0, 1]")): ("linear", x) for x in STATISTICS},
}
_ALIKE = 1.0  # of cost, between two sizes of image of which either may be meant
LOGITS = "logits"  # a sigmoid in the loss: the same network to us
GROUPS, EACH = "norm groups", "each channel"
STRIDES, BACK = "strides", "decoder strides"
AFTER = ("activation", "none")
OWN = ("ReLU", "tanh", "sigmoid", "ELU", "softplus")  # of a layer that differs from the others
FIRST_BACK, FIRST_BACK_VALUES = "first decoder activation", ("as the others", "none", *OWN)
NORMS, NORM_PLACES = "norms", ("before the activation", "behind the activation")
ORDER, ORDERS = "flatten order", ("C, H, W", "H, W, C")
BLOCKS, BEFORE_BLOCKS = "residual blocks", "activation before the blocks"
WITHIN, IN_BLOCKS = "blocks enlarge", ("before their layers", "before their last layer")
ENLARGED = "upsampling"
UPSAMPLING = ("nearest", "bilinear", "bilinear, corners aligned")


def left_out(plan: Plan) -> list[str]:
    """For the card: which layers nothing reads; nothing where all are read."""
    unused = plan.structure.unused
    names = listed([layer.path for layer in unused])
    return [f"left out, as nothing reads it: {names}"] if unused else []


def likelihood_of(output: str, pixels: str) -> str:
    """For the card: p(x|z) of what the network gives and of the range of its pixels."""
    if output == "sigmoid" and pixels in STATISTICS:
        return BERNOULLI
    _, std = STATISTICS.get(pixels, (0.0, 1.0))
    if std == 1:
        return UNIT_GAUSSIAN
    return f"Gaussian of variance 1 in its units: variance {std**2:.4g} in ours, [0, 1]"


def facts_of(plan: Plan, chosen: Mapping[str, str]) -> tuple[Fact, ...]:
    """All that was inferred and could be otherwise, with the values that are taken.

    Args:
        plan: what the shapes say.
        chosen: values of some of them; those of others are ignored.
    """
    heads = plan.structure.heads
    facts = _activations(plan)
    if not heads.second:
        facts.append(Fact("heads", "mu first", ASSUMED, ("mu first", "mu second", "interleaved")))
    elif heads.how == "order":
        facts.append(Fact("heads", "mu first", ASSUMED, ("mu first", "mu second")))
    n = len(plan.structure.body)
    if plan.opens_flat and plan.encoder_after[n - 1] is None:
        before = _after("activation before the heads", plan.before_heads)
        if sum(step.is_flat for step in plan.structure.body) > 1:
            before = replace(before, values=(*before.values, *OWN))
        facts.append(before)
    if len(plan.structure.decoder) > 2 and plan.decoder_after[0] is None and plan.reshapes != 0:
        facts.append(Fact(FIRST_BACK, FIRST_BACK_VALUES[0], ASSUMED, FIRST_BACK_VALUES))
    if plan.reshapes is not None and plan.decoder_after[plan.reshapes] is None:
        facts.append(_after("activation before the reshape", plan.before_reshape))
    facts += _of_blocks(plan)
    structure = plan.structure
    chains = (
        zip((*structure.body, *structure.heads.mu), plan.encoder_after, strict=True),
        zip(structure.decoder, plan.decoder_after, strict=True),
    )
    if any(told is None and not norm_is_told(step) for chain in chains for step, told in chain):
        facts.append(Fact(NORMS, NORM_PLACES[0], ASSUMED, NORM_PLACES))
    facts += _of_groups(plan)
    facts += _of_order(plan)
    if plan.structure.label.n_classes:
        facts += _of_label(plan)
    inputs = tuple(STATISTICS) if plan.channels == 1 else tuple(STATISTICS)[:3]
    if plan.is_table:
        inputs = READINGS
    facts.append(Fact("input", inputs[0], ASSUMED, inputs))
    facts.append(_of_output(plan.decoder_after[-1], plan.is_table))
    facts = [_taken(fact, chosen) for fact in facts]
    return (*facts, *_of_sizes(plan, chosen))


def facts_of_decoder(plan: Plan, chosen: Mapping[str, str]) -> tuple[Fact, ...]:
    """The same of a decoder alone."""
    inside, registered = plan.decoder_after[:-1], plan.told.registered()
    facts = [_hidden("hidden activation", inside, "ReLU", ACTIVATIONS, registered)]
    if plan.reshapes is not None and plan.decoder_after[plan.reshapes] is None:
        facts.append(_after("activation before the reshape", plan.before_reshape))
    facts += _of_groups(plan)
    facts += _of_order(plan)
    if plan.structure.label.n_classes:
        facts += _of_label(plan)
    told = _of_output(plan.decoder_after[-1])
    n = len(OUTPUTS_ALONE) if plan.channels == 1 else len(OUTPUTS_ALONE) - 2  # of grey data sets
    values = tuple(x for x, (output, _) in list(OUTPUTS_ALONE.items())[:n] if output in told.values)
    facts.append(Fact("output", values[0], told.known, values))
    return (*(_taken(fact, chosen) for fact in facts), *_of_sizes(plan, chosen))


def _taken(fact: Fact, chosen: Mapping[str, str]) -> Fact:
    value = chosen.get(fact.name)
    if fact.name == "output" and value == LOGITS:
        value = "sigmoid"
    if value is None or value not in fact.values:
        return fact
    return replace(fact, value=value, known=CHOSEN)


def _of_sizes(plan: Plan, chosen: Mapping[str, str]) -> list[Fact]:
    sizes = tuple(str(size) for size in plan.sizes)
    facts = []
    size = sizes[0]
    if len(sizes) > 1:
        is_open = plan.sizes[1].cost - plan.sizes[0].cost < _ALIKE
        facts.append(_taken(Fact(SIZE, size, ASSUMED if is_open else SIZES, sizes), chosen))
        size = facts[0].value
    here = plan.sizes[sizes.index(size)]
    for name, ways in ((STRIDES, here.encoder), (BACK, here.decoder)):
        if ways:
            texts = tuple(dict.fromkeys(way.text() for way in ways))
            known = SIZES if len(texts) == 1 else ASSUMED  # the sizes leave several
            facts.append(_taken(Fact(name, texts[0], known, texts), chosen))
    if any(stage.up > 1 for way in here.decoder for stage in way.stages):
        mode = plan.told.upsampling()
        if mode is None:
            facts.append(_taken(Fact(ENLARGED, UPSAMPLING[0], ASSUMED, UPSAMPLING), chosen))
        else:
            facts.append(Fact(ENLARGED, mode, FILE, (mode,)))
        if any(isinstance(step.layer, Block) for step in plan.structure.decoder):
            facts.append(_taken(Fact(WITHIN, IN_BLOCKS[0], ASSUMED, IN_BLOCKS), chosen))
    return facts


def _after(name: str, told: bool | None) -> Fact:
    if told is None:
        return Fact(name, "activation", ASSUMED, AFTER)
    return Fact(name, "activation" if told else "none", ASSUMED, AFTER)


def _activations(plan: Plan) -> list[Fact]:
    inside = plan.encoder_after[:-1]
    registered = plan.told.registered()
    hidden = _hidden("hidden activation", inside, "ReLU", ACTIVATIONS, registered)
    back = _hidden("decoder activation", plan.decoder_after[:-1], SAME, (SAME, *ACTIVATIONS), None)
    head = plan.encoder_after[-1] if plan.structure.heads.second else None
    facts = [hidden, back]
    if head is None:
        facts.append(Fact("head activation", "none", ASSUMED, HEAD_ACTIVATIONS))
    else:
        facts.append(Fact("head activation", head.act, FILE, (head.act,)))
    facts.append(_second(plan))
    return facts


def _hidden(
    name: str,
    found: Sequence[After | None],
    usual: str,
    values: tuple[str, ...],
    registered: str | None,
) -> Fact:
    seen = [after.any_act for after in found if after and after.any_act != "none"]
    if seen:
        value = max(seen, key=seen.count)
        if all(after is not None for after in found):
            return Fact(name, value, FILE, (value,))
        return Fact(name, value, FILE, tuple(dict.fromkeys((value, *values))))
    if registered is not None:
        return Fact(name, registered, FILE, tuple(dict.fromkeys((registered, *values))))
    return Fact(name, usual, ASSUMED, values)


def _second(plan: Plan) -> Fact:
    heads, after = plan.structure.heads, plan.second_after
    path = (heads.second or heads.mu)[-1].layer.path
    named = second_head(path) if heads.second else ""
    if after is not None and after.act == "softplus":
        return Fact("second head", SECOND[3], FILE, SECOND[3:5])
    # A name that says sigma makes each way to write sigma likelier than a variance.
    first = SECOND[2:4] + SECOND[1:2] if named == "sigma" else (named,) if named else ()
    values = tuple(dict.fromkeys((*first, *SECOND)))
    # "var", "sigma" and even "log_sigma" are often written on a log variance.
    plain = named == "log variance" and ("log" in path.lower() or "lv" in path.lower())
    return Fact("second head", values[0], NAMES if plain else ASSUMED, values)


def _of_output(after: After | None, is_table: bool = False) -> Fact:
    if after is None or after.act not in ("sigmoid", "tanh", "none"):
        usual = OUTPUTS[::-1] if is_table else OUTPUTS
        return Fact("output", usual[0], ASSUMED, usual)
    if after.act == "none":  # or a sigmoid in the loss
        return Fact("output", "linear", ASSUMED, ("linear", "sigmoid"))
    return Fact("output", after.act, FILE, (after.act,))


def _of_blocks(plan: Plan) -> list[Fact]:
    """What is summed where in residual blocks, and what stands before the first of them."""
    structure = plan.structure
    chains = ((*structure.body, *structure.heads.mu), structure.decoder)
    found = [x.layer for steps in chains for x in steps if isinstance(x.layer, Block)]
    if not found:
        return []
    usual = [block.usual() for block in found]
    value = max(usual, key=usual.count)
    normed = any(block.norms[-1] and not block.norm_first for block in found)
    kinds = [kind for kind in blocks.KINDS if normed or kind != blocks.NORMED]
    facts = [Fact(BLOCKS, value, ASSUMED, tuple(dict.fromkeys((value, *kinds))))]
    before = [
        (a, b)
        for steps in chains
        for a, b in pairwise(steps)
        if isinstance(b.layer, Block) and not isinstance(a.layer, Block) and not a.is_flat
    ]
    if before:
        between = [gap(a.norms[-1] if a.norms else a.layer, b.layer) for a, b in before]
        told = value == blocks.AFTER if None in between else 0 not in between
        facts.append(_after(BEFORE_BLOCKS, told))
    return facts


def _norms(step: Step) -> tuple[Layer, ...]:
    inside = step.layer.every_norm if isinstance(step.layer, Block) else ()
    return (*inside, *step.norms)


def _of_groups(plan: Plan) -> list[Fact]:
    """How many groups of channels a group norm has."""
    structure = plan.structure
    widths = [
        norm.shape[0]
        for step in (*structure.body, *structure.heads.mu, *structure.decoder)
        for norm in _norms(step)
        if norm.kind == NORM and len(norm.shape) == 1 and not step.is_flat
        if plan.told.number(norm.path, "num_groups") is None
    ]
    if not widths:
        return []
    fitting = [f"{n} groups" for n in (32, 8, 16, 4, 2, 1) if not any(w % n for w in widths)]
    usual = fitting[0] if fitting else EACH
    return [Fact(GROUPS, usual, ASSUMED, (*fitting, EACH))]


def groups_of(value: str, width: int) -> int:
    """The number of groups that a value of the fact "norm groups" says for so many channels."""
    number = value.partition(" ")[0]
    return int(number) if number.isdigit() else width


def _of_order(plan: Plan) -> list[Fact]:
    """The order of an image's numbers in a vector, where one becomes the other."""
    if plan.told.channels_last:
        return []
    structure = plan.structure
    chains = ((*structure.body, *structure.heads.mu), structure.decoder)
    meets = any(a.is_flat != b.is_flat for steps in chains for a, b in pairwise(steps))
    meets |= plan.channels > 1 and any(steps[0].is_flat for steps in chains[:1])
    return [Fact(ORDER, ORDERS[0], ASSUMED, ORDERS)] if meets else []


def _of_label(plan: Plan) -> list[Fact]:
    label = plan.structure.label
    facts = [Fact("label", "label last", ASSUMED, ("label last", "label first"))]
    made = [layer for layer in (label.encoder_layer, label.decoder_layer) if layer]
    if made:
        usual = "ReLU" if made[0].kind == "Linear" else "none"
        values = ("ReLU", "none", "tanh", "LeakyReLU 0.01", "sigmoid")
        facts.append(Fact("label activation", usual, ASSUMED, values))
    return facts
