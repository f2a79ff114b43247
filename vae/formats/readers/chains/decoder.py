"""The reader of a decoder alone: what its chain of layers gives, and p(z|x) in place of q."""

from collections.abc import Sequence
from functools import partial

from vae.config import ForeignModel
from vae.formats.card import ASSUMED, CHOSEN, Card, Choices, Fact, Parts, Recognised
from vae.formats.containers.tensors import Survey
from vae.formats.posterior import PRIOR_ASSUMED, PosteriorEncoder, said_of
from vae.formats.readers.chains.build import decoder_of, size_of
from vae.formats.readers.chains.halves import decoder_alone
from vae.formats.readers.chains.layers import Layer
from vae.formats.readers.chains.plan import Plan, plan_of
from vae.formats.readers.chains.reading import (
    NAME,
    OUTPUTS_ALONE,
    facts_of_decoder,
    left_out,
    likelihood_of,
)
from vae.formats.readers.chains.told import Told
from vae.formats.readers.layers import State

_CONDITION, _PLAIN = "condition", "none"
_CLASSES = 10  # of the one-hot label that may be part of what looks like z


def recognise(survey: Survey, layers: Sequence[Layer], choices: Choices) -> Recognised | None:
    """What this reader makes of a file; None if it is no decoder alone.

    Args:
        survey: of the file.
        layers: its layers.
        choices: values of some facts, by their names.
    """
    given = f"a label of {_CLASSES} classes"
    is_given = choices.get(_CONDITION) == given
    structure = decoder_alone(survey, layers, _CLASSES if is_given else 0)
    plan = None if structure is None else plan_of(structure, Told.of(survey))
    if structure is None or plan is None:
        return None
    facts = facts_of_decoder(plan, choices)
    values = {fact.name: fact.value for fact in facts}
    k = structure.heads.latent_dim
    if is_given or (not structure.label.n_classes and k > _CLASSES):
        value, known = (given, CHOSEN) if is_given else (_PLAIN, ASSUMED)
        facts = (Fact(_CONDITION, value, known, (_PLAIN, given)), *facts)
    output, pixels = OUTPUTS_ALONE[values["output"]]
    values |= {"output": output, "input": pixels}
    side = size_of(plan, values).side
    widths = tuple(step.outputs for step in structure.decoder[:-1])
    config = ForeignModel(
        (plan.channels, side, side),
        k,
        "bernoulli" if output == "sigmoid" else "gaussian",
        "MLP" if all(step.is_flat for step in structure.decoder) else "conv",
        widths[::-1],
        structure.label.n_classes,
    )
    found = Recognised(
        config,
        _card(plan, config, values),
        partial(_parts, plan, values, config),
        facts,
        lambda choices: recognise(survey, layers, choices) or found,
    )
    return found


def _parts(plan: Plan, values: dict[str, str], config: ForeignModel, state: State) -> Parts:
    decoder, likelihood = decoder_of(plan, values, state)
    return PosteriorEncoder(config, decoder, likelihood).eval(), decoder, likelihood


def _card(plan: Plan, config: ForeignModel, values: dict[str, str]) -> Card:
    output, pixels = values["output"], values["input"]
    return Card(
        format=NAME,
        model="decoder alone",
        network=f"{config.family} {'-'.join(map(str, [config.latent_dim, *config.hidden[::-1]]))}, "
        f"{values['hidden activation']}",
        latent_dim=config.latent_dim,
        image_shape=config.image_shape,
        likelihood=likelihood_of(output, pixels),
        trained_with="a loss that the file does not say",
        factors={},
        notes=(PRIOR_ASSUMED, *left_out(plan)),
        pixels=pixels,
        no_encoder=said_of(config.latent_dim),
    )
