"""The reader of any state dict: what its chains of layers are, and a card of what was inferred."""

from collections.abc import Mapping, Sequence
from functools import partial

from vae.config import VECTOR, ForeignModel
from vae.formats.card import Card, Choices, Recognised
from vae.formats.containers.tensors import Survey
from vae.formats.readers import kinds
from vae.formats.readers.chains import decoder, halves
from vae.formats.readers.chains.blocks import with_blocks
from vae.formats.readers.chains.build import parts, size_of
from vae.formats.readers.chains.layers import MAIN, Layer, layers_of
from vae.formats.readers.chains.plan import Plan, is_of_table, plan_of
from vae.formats.readers.chains.reading import NAME, facts_of, left_out, likelihood_of
from vae.formats.readers.chains.search import MAX_LAYERS, Structure, structures
from vae.formats.readers.chains.told import Told
from vae.formats.readers.chains.unread import missing, other_pairs, pairs_alone, skip_of
from vae.formats.shapes import text
from vae.formats.wording import listed

_NEAR = 2.0  # of cost, within which the sizes decide between two structures
_MOST = 4


def recognise(survey: Survey) -> Recognised | None:
    """What this reader makes of a file; None if nothing in it is known.

    Raises:
        CheckpointError: it is of a kind that is known and is no VAE of images with a Gaussian q;
            the message says which.
    """
    if (kind := kinds.other_kind(survey)) is not None:
        raise kind.refusal(survey.path)
    layers, odd = layers_of(survey)
    layers = with_blocks(layers)
    if not layers or sum(layer.kind in MAIN for layer in layers) > MAX_LAYERS:
        return None
    if any(name.endswith(".bias") and f"{name[:-4]}weight" not in survey.shapes for name in odd):
        return None  # the weights of a layer are missing
    found = structures(layers)
    if not found or _is_doubtful(found[0][1]):
        if (
            kind := kinds.autoencoder(layers) or kinds.of_several_z(pairs_alone(layers))
        ) is not None:
            raise kind.refusal(survey.path)
        if (alone := decoder.recognise(survey, layers, {})) is not None:
            return alone
        if (half := halves.encoder_alone(layers)) is not None:
            raise half.refusal(survey.path)
        if (kind := kinds.without_q(survey)) is not None:
            raise kind.refusal(survey.path)
        if not found:
            return None
    near = [(cost, one) for cost, one in found if cost <= found[0][0] + _NEAR][:_MOST]
    told = Told.of(survey)
    plans = [(cost, plan_of(structure, told)) for cost, structure in near]
    fitting = [(cost + plan.sizes[0].cost, plan) for cost, plan in plans if plan is not None]
    if not fitting:
        best = found[0][1]
        if is_of_table(best):
            raise kinds.of_table(best).refusal(survey.path)
        return None
    plan = min(fitting, key=lambda one: one[0])[1]
    if (kind := _of_unused(plan.structure, layers)) is not None:
        raise kind.refusal(survey.path)
    return _read(survey, plan, {name: survey.shapes[name] for name in odd}, {})


def _of_unused(structure: Structure, layers: Sequence[Layer]) -> kinds.Kind | None:
    """What the model is by the layers that are left out, if that is none with one Gaussian q."""
    if not any(layer.kind in MAIN for layer in structure.unused):
        return None
    if others := other_pairs(structure):
        return kinds.of_several_z(others)
    if (skip := skip_of(layers, structure)) is not None:
        return kinds.of_skips(*skip)
    return kinds.autoencoder(layers)


def _is_doubtful(structure: Structure) -> bool:
    """Whether there would have to be a label that no layer shows, and much else is missing."""
    label, heads = structure.label, structure.heads
    is_bare = bool(label.n_classes) and label.decoder_layer is None
    return is_bare and not (heads.second and structure.body)


def _read(
    survey: Survey, plan: Plan, odd: Mapping[str, tuple[int, ...]], choices: Choices
) -> Recognised:
    facts = facts_of(plan, choices)
    values = {fact.name: fact.value for fact in facts}
    structure = plan.structure
    side = size_of(plan, values).side
    hidden = tuple(step.outputs for step in structure.body)
    is_bernoulli = values["output"] == "sigmoid" and not plan.is_table
    is_conv = any(not step.is_flat for step in (*structure.body, *structure.decoder))
    of_table = {"kind": VECTOR, "reads": values["input"]} if plan.is_table else {}
    config = ForeignModel(
        (1, 1, side) if plan.is_table else (plan.channels, side, side),
        structure.heads.latent_dim,
        "bernoulli" if is_bernoulli else "gaussian",
        "conv" if is_conv else "MLP",
        hidden,
        structure.label.n_classes,
        **of_table,
    )
    return Recognised(
        config,
        _card(plan, config, values, odd),
        partial(parts, plan, values),
        facts,
        lambda choices: _read(survey, plan, odd, choices),
    )


def _card(
    plan: Plan,
    config: ForeignModel,
    values: Mapping[str, str],
    odd: Mapping[str, tuple[int, ...]],
) -> Card:
    structure = plan.structure
    notes = left_out(plan)
    if odd:
        notes.append(f"left out, as no layer that is known here has such: {listed(odd)}")
    label = structure.label
    if label.n_classes:
        where = " and ".join(name for name, n in (("x", label.encoder), ("z", label.decoder)) if n)
        notes.append(f"a conditional model: a label of {label.n_classes} classes beside {where}")
    widths = [step.outputs for step in structure.body]
    return Card(
        format=NAME,
        model="conditional VAE" if label.n_classes else "VAE",
        network=f"{config.family} {'-'.join(map(str, [*widths, config.latent_dim]))}, "
        f"{values['hidden activation']}",
        latent_dim=config.latent_dim,
        image_shape=config.image_shape,
        likelihood=likelihood_of(values["output"], values["input"]),
        trained_with="a loss that the file does not say, on "
        + (
            f"vectors of {config.image_shape[2]} numbers"
            if plan.is_table
            else f"images of {text(config.image_shape)}"
        ),
        factors={},
        notes=tuple(notes),
        pixels=values["input"],
        missing=tuple(missing(structure, odd)),
    )
