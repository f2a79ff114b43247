"""The weights of one of our own models, without the run folder that says what they are.

Their names and shapes tell the family, the layers and k. They do not tell the activation or, of
Bernoulli and continuous Bernoulli, which; the usual ones are assumed.
"""

import math

import torch

from vae.config import ModelConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.errors import UserError
from vae.formats import shapes as image_shapes
from vae.formats.card import BERNOULLI, Card, Parts, Recognised
from vae.formats.containers.tensors import Survey
from vae.formats.readers.layers import State, numbers_after

NAME = "ELBO Room"
KEYS = frozenset(
    f"encoder.{head}.{part}" for head in ("mu", "logvar") for part in ("weight", "bias")
)


def recognise(survey: Survey) -> Recognised | None:
    """What this reader makes of a file; None if it is of another format.

    Raises:
        UserError: it is of this one, but its tensors do not fit each other.
    """
    found = survey.shapes
    numbers = numbers_after(found, "encoder.body.")
    layers = [found.get(f"encoder.body.{i}.weight", ()) for i in numbers]
    if not set(found) >= KEYS or not numbers_after(found, "decoder.body."):
        return None
    latent_dim = found["encoder.mu.weight"][0]
    family = "conv" if layers and len(layers[0]) == 4 else "mlp"
    hidden = tuple(shape[0] for shape in layers if shape)
    last = max(numbers_after(found, "decoder.body."))
    if family == "mlp":
        image_shape = image_shapes.of_pixels(found[f"decoder.body.{last}.weight"][0])
    else:
        image_shape = _conv_shape(found["decoder.body.0.weight"][0], hidden, layers[0][1])
    likelihood = "gaussian" if "likelihood.logvar_x" in found else "bernoulli"
    config = ModelConfig(image_shape, latent_dim, family, hidden, likelihood=likelihood)
    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in VAE(config).state_dict().items()}
    if expected != dict(found):
        odd = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise UserError(f"the tensor '{odd[:60]}' is missing, or has no place in that network")
    is_gaussian = likelihood == "gaussian"
    card = Card(
        format=NAME,
        model="VAE",
        network=f"{family} {'-'.join(map(str, hidden)) or 'linear'}",
        latent_dim=latent_dim,
        image_shape=image_shape,
        likelihood="Gaussian with the variance in the file" if is_gaussian else BERNOULLI,
        trained_with="the bound itself",
        factors={"recon": 1.0, "KL": None},
        notes=(
            "the run folder's config.json is missing: "
            f"{image_shapes.text(image_shape)} images, the activation {config.activation}"
            + ("" if is_gaussian else " and a Bernoulli likelihood")
            + " were assumed",
        ),
    )

    def build(state: State) -> Parts:
        with torch.device("meta"):
            model = VAE(config)
        model.load_state_dict(dict(state), assign=True)
        return model.encoder, model.decoder, model.likelihood

    return Recognised(config, card, build)


def _conv_shape(width: int, hidden: tuple[int, ...], channels: int) -> tuple[int, int, int]:
    """A shape whose sides, halved and rounded up at each stage, leave that width."""
    side = math.isqrt(width // hidden[-1])
    if side * side * hidden[-1] != width:
        raise UserError(f"its decoder begins with {width} numbers, no square of channels")
    known = [catalogue.describe(name).image_shape for name in ("mnist", "sprites", "digits")]
    whole = (channels, side * 2 ** len(hidden), side * 2 ** len(hidden))
    for shape in (*known, whole):
        if shape[0] == channels and -(-shape[1] // 2 ** len(hidden)) == side:
            return shape
    return whole
