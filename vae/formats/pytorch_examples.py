"""The VAE of pytorch/examples: one hidden layer, a bare state dict.

Source: https://github.com/pytorch/examples, vae/main.py. fc1 and ReLU; fc21 gives mu, fc22 logvar;
fc3 and ReLU; fc4 and a sigmoid. Loss: BCE summed over pixels and images, plus the KL summed.
"""

from torch import nn

from vae.config import ForeignModel
from vae.formats import shapes as image_shapes
from vae.formats.card import BERNOULLI, Card, Parts, Recognised
from vae.formats.layers import Decoder, Encoder, State, linear
from vae.formats.tensors import Survey
from vae.likelihood import Bernoulli

NAME = "pytorch/examples"
KEYS = frozenset(
    f"{layer}.{part}"
    for layer in ("fc1", "fc21", "fc22", "fc3", "fc4")
    for part in ("weight", "bias")
)


def recognise(survey: Survey) -> Recognised | None:
    """What this reader makes of a file; None if it is of another format.

    Raises:
        ValueError: it is of this one, but its tensors do not fit each other.
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
        pixels="[0, 1]",
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
                linear(state, "fc3"),
                nn.ReLU(),
                linear(state, "fc4"),
                nn.Unflatten(1, image_shape),
            )
        )
        return encoder, decoder, Bernoulli()

    return Recognised(config, card, build)
