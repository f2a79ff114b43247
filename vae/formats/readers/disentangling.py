"""YannDubs/disentangling-vae: the network of Burgess et al. (2018), at 32x32 and 64x64.

Source: https://github.com/YannDubs/disentangling-vae, disvae/models. Convolutions of kernel 4,
stride 2, padding 1 with ReLU (conv1, conv2, conv3 and, at 64x64, conv_64), two linear layers and
one, mu_logvar_gen, whose rows are mu and logvar by turns; the decoder is its mirror and ends in a
sigmoid. `specs.json` beside it holds the loss and its factors. Reconstruction terms there are
summed over pixels; the Gaussian one is 255 times the squared error.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from vae.config import ForeignModel
from vae.core.likelihood import Bernoulli, fixed_gaussian
from vae.errors import UserError
from vae.formats.card import BERNOULLI, Card, Parts, Recognised
from vae.formats.containers.tensors import Survey
from vae.formats.readers.layers import (
    Decoder,
    Encoder,
    State,
    conv,
    conv_transpose,
    linear,
    linear_of,
)

NAME = "disentangling-vae"
SPECS = "specs.json"
_BOTH = ("lin1", "lin2")
KEYS = frozenset(
    f"{layer}.{part}"
    for layer in (
        *(f"encoder.{name}" for name in ("conv1", "conv2", "conv3", *_BOTH, "mu_logvar_gen")),
        *(f"decoder.{name}" for name in (*_BOTH, "lin3", "convT1", "convT2", "convT3")),
    )
    for part in ("weight", "bias")
)
_AT_64 = frozenset(
    f"{layer}.{part}"
    for layer in ("encoder.conv_64", "decoder.convT_64")
    for part in ("weight", "bias")
)


def recognise(survey: Survey, specs: Mapping[str, Any]) -> Recognised | None:
    """What this reader makes of a file; None if it is of another format.

    Args:
        survey: of the file.
        specs: the `specs.json` beside it; empty if there is none.

    Raises:
        UserError: it is of this format, but its tensors do not fit each other.
    """
    found = survey.shapes
    if not set(found) >= KEYS:
        return None
    large = set(found) >= _AT_64
    side = 64 if large else 32
    channels = found["encoder.conv1.weight"][1]
    image_shape = (channels, side, side)
    n_heads = found["encoder.mu_logvar_gen.weight"][0]
    if n_heads % 2:
        raise UserError(f"mu_logvar_gen has {n_heads} rows, which is no number of pairs")
    latent_dim = n_heads // 2
    hidden = tuple(
        found[f"encoder.{name}.weight"][0]
        for name in ("conv1", "conv2", "conv3", *(("conv_64",) if large else ()), *_BOTH)
    )
    distribution = specs.get("rec_dist", "bernoulli")
    distribution = distribution if isinstance(distribution, str) else "bernoulli"
    is_bernoulli = distribution == "bernoulli"
    config = ForeignModel(
        image_shape,
        latent_dim,
        "bernoulli" if is_bernoulli else "gaussian",
        "disentangling-vae conv",
        hidden,
    )
    recon, likelihood = _RECON.get(distribution, _RECON["laplace"])
    loss, regulariser, factors, beta, notes = _loss(specs)
    if not specs:
        notes = (f"no {SPECS} beside the file: a Bernoulli likelihood was assumed", *notes)
    card = Card(
        format=NAME,
        model=loss,
        network=f"conv {'-'.join(map(str, hidden))}, kernels of 4, stride 2, ReLU",
        latent_dim=latent_dim,
        image_shape=image_shape,
        likelihood=likelihood,
        trained_with=f"{recon}{regulariser}",
        factors={recon: 1.0} | factors,
        implied_beta=beta,
        notes=notes,
    )

    build = partial(_parts, large=large, distribution=distribution)
    return Recognised(config, card, build)


def _parts(state: State, large: bool, distribution: str) -> Parts:
    is_bernoulli = distribution == "bernoulli"
    convs = ("conv1", "conv2", "conv3", *(("conv_64",) if large else ()))
    layers: list[nn.Module] = []
    for name in convs:
        layers += [conv(state, f"encoder.{name}", 2, 1), nn.ReLU()]
    layers.append(nn.Flatten())
    for name in _BOTH:
        layers += [linear(state, f"encoder.{name}"), nn.ReLU()]
    weight, bias = (state[f"encoder.mu_logvar_gen.{part}"] for part in ("weight", "bias"))
    mu, logvar = (
        linear_of(weight[row::2].contiguous(), bias[row::2].contiguous()) for row in (0, 1)
    )
    encoder = Encoder(nn.Sequential(*layers), mu, logvar)

    layers = []
    for name in (*_BOTH, "lin3"):
        layers += [linear(state, f"decoder.{name}"), nn.ReLU()]
    first = "decoder.convT_64" if large else "decoder.convT1"
    layers.append(nn.Unflatten(1, (state[f"{first}.weight"].shape[0], 4, 4)))
    for name in (*(("convT_64",) if large else ()), "convT1", "convT2"):
        layers += [conv_transpose(state, f"decoder.{name}", 2, 1), nn.ReLU()]
    layers.append(conv_transpose(state, "decoder.convT3", 2, 1))
    if not is_bernoulli:
        layers.append(nn.Sigmoid())
    likelihood = Bernoulli()
    if not is_bernoulli:
        likelihood = fixed_gaussian(1 / 510 if distribution == "gaussian" else 1.0)
    return encoder, Decoder(nn.Sequential(*layers)), likelihood


# The reconstruction term of the loss, and what stands for it here.
_RECON = {
    "bernoulli": ("BCE summed over pixels", BERNOULLI),
    "gaussian": (
        "255 x squared error summed over pixels",
        "Gaussian of variance 1/510: 255 times the squared error, and a constant",
    ),
    "laplace": (
        "absolute error summed over pixels",
        "Gaussian of variance 1 in place of its Laplace, which is not known here: recon is not "
        "what was trained",
    ),
}


def _loss(
    specs: Mapping[str, Any],
) -> tuple[str, str, dict[str, float | None], float | None, tuple[str, ...]]:
    """The model's name, the rest of its loss, the factors, the implied beta and notes."""

    def number(name: str, usual: float) -> float:
        value = specs.get(name, usual)
        known = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if known and abs(value) < 1e12 else usual

    kind = specs.get("loss")
    if kind == "VAE":
        return "VAE", "", {"KL": 1.0}, 1.0, ()
    if kind == "betaH":
        beta = number("betaH_B", 4.0)
        return "beta-VAE", f" + {beta:g} KL", {"KL": beta}, beta, ()
    if kind == "betaB":
        gamma, capacity = number("betaB_G", 1000.0), number("betaB_finC", 25.0)
        note = f"the KL was drawn to {capacity:g} nats and not weighed: there is no single beta"
        return (
            "beta-VAE with a capacity",
            f" + {gamma:g} |KL - {capacity:g}|",
            {"|KL - capacity|": gamma},
            None,
            (note,),
        )
    if kind == "factor":
        gamma = number("factor_G", 6.0)
        text = f" + KL + {gamma:g} total correlation"
        return "FactorVAE", text, {"KL": 1.0, "total correlation": gamma}, 1.0, ()
    if kind == "btcvae":
        return ("beta-TCVAE", *total_correlation(*(number(f"btcvae_{n}", 1.0) for n in "ABG")))
    return "VAE", "", {"KL": None}, None, ("its loss is not known, so no beta is implied",)


def total_correlation(
    alpha: float, beta: float, gamma: float
) -> tuple[str, dict[str, float | None], float | None, tuple[str, ...]]:
    """The loss of a beta-TCVAE (Chen et al., 2018), whose KL is split in three.

    The KL, averaged over the images, is mutual information + total correlation + dimension-wise
    KL, so that equal factors on the outer two are the KL's, and the rest is a penalty of its own.

    Returns:
        The rest of the loss, the factors, the implied beta and notes.
    """
    text = f" + {alpha:g} mutual information + {beta:g} total correlation + {gamma:g} dim-wise KL"
    factors: dict[str, float | None] = {
        "mutual information": alpha,
        "total correlation": beta,
        "dimension-wise KL": gamma,
    }
    if alpha != gamma:
        return (
            text,
            factors,
            None,
            ("the KL's three parts had factors of their own: no single beta",),
        )
    extra = beta - alpha
    note = f"that is {alpha:g} KL and {extra:g} more on the total correlation"
    return text, factors, alpha, ((note,) if extra else ())
