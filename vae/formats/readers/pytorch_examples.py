"""The VAE of pytorch/examples: one hidden layer, a bare state dict.

Source: https://github.com/pytorch/examples, vae/main.py. fc1 and ReLU; fc21 gives mu, fc22 logvar;
fc3 and ReLU; fc4 and a sigmoid. Loss: BCE summed over pixels and images, plus the KL summed.
"""

from dataclasses import replace

from torch import nn

from vae.config import ForeignModel
from vae.core.likelihood import Bernoulli
from vae.errors import UserError
from vae.formats import shapes as image_shapes
from vae.formats.card import BERNOULLI, Card, Choices, Parts, Recognised
from vae.formats.containers.tensors import Survey
from vae.formats.readers.chains import reader
from vae.formats.readers.layers import Decoder, Encoder, State, linear

NAME = "pytorch/examples"
KEYS = frozenset(
    f"{layer}.{part}"
    for layer in ("fc1", "fc21", "fc22", "fc3", "fc4")
    for part in ("weight", "bias")
)


def recognise(survey: Survey) -> Recognised | None:
    """What this reader makes of a file; None if it is of another format.

    Raises:
        UserError: it is of this one, but its tensors do not fit each other.
    """
    found = survey.shapes
    if set(found) != KEYS:
        return None
    hidden, n_pixels = found["fc1.weight"]
    latent_dim = found["fc21.weight"][0]
    image_shape = image_shapes.of_pixels(n_pixels)
    config = ForeignModel(image_shape, latent_dim, "bernoulli", "pytorch/examples MLP", (hidden,))
    card = Card(
        format=NAME,
        model="VAE",
        network=f"MLP {n_pixels}-{hidden}-{latent_dim}, ReLU",
        latent_dim=latent_dim,
        image_shape=image_shape,
        likelihood=BERNOULLI,
        trained_with="BCE summed over pixels",
        factors={"BCE": 1.0, "KL": 1.0},
        implied_beta=1.0,
        notes=(f"the file says {n_pixels} pixels; {image_shapes.text(image_shape)} was assumed",),
    )

    def build(state: State) -> Parts:
        body = nn.Sequential(nn.Flatten(), linear(state, "fc1"), nn.ReLU())
        encoder = Encoder(body, linear(state, "fc21"), linear(state, "fc22"))
        decoder = Decoder(
            nn.Sequential(
                linear(state, "fc3"), nn.ReLU(), linear(state, "fc4"), nn.Unflatten(1, image_shape)
            )
        )
        return encoder, decoder, Bernoulli()

    return _with_facts(survey, Recognised(config, card, build))


def _with_facts(survey: Survey, found: Recognised) -> Recognised:
    """With what others change while they keep the tutorial's names: range, output, activation."""
    try:
        chain = reader.recognise(survey)
    except UserError:  # rows of numbers
        return found
    if (
        chain is None
        or chain.choose is None
        or chain.config.image_shape != found.config.image_shape
    ):
        return found
    defaults = {fact.name: fact.value for fact in chain.facts}
    otherwise = chain.choose

    def choose(choices: Choices) -> Recognised:
        other = otherwise(choices)
        if all(fact.value == defaults.get(fact.name) for fact in other.facts):
            return replace(found, facts=other.facts, choose=choose)
        return replace(other, choose=choose)

    return replace(found, facts=chain.facts, choose=choose)
