"""AntixK/PyTorch-VAE: VanillaVAE and BetaVAE, as Lightning checkpoints.

Source: https://github.com/AntixK/PyTorch-VAE, models/vanilla_vae.py and experiment.py.
Convolutions of kernel 3, stride 2, padding 1, each with batch norm and leaky ReLU, down to 2x2;
fc_mu, and fc_var which holds logvar; decoder_input, transposed convolutions, final_layer with a
tanh. The loss is the squared error averaged over pixels and channels, plus a weight (kld_weight, or
batch size over number of images) times the KL, which is summed over dimensions.

Its older versions bring the images to [-1, 1], its newer ones leave them in [0, 1], and the file
does not say which. The first batch norm does: its running mean is what the first convolution makes
of the training images' mean colour, which can be solved for.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vae.config import ForeignModel
from vae.core.likelihood import fixed_gaussian
from vae.errors import UserError
from vae.formats.card import Card, Parts, Recognised
from vae.formats.containers.tensors import Survey
from vae.formats.readers.layers import (
    Affine,
    Decoder,
    Encoder,
    State,
    conv,
    conv_transpose,
    linear,
    numbers_after,
)

NAME = "PyTorch-VAE"
KEYS = frozenset(
    f"{layer}.{part}"
    for layer in ("fc_mu", "fc_var", "decoder_input", "final_layer.0", "final_layer.3")
    for part in ("weight", "bias")
)
_DEFAULT_WEIGHT = 0.00025  # kld_weight in configs/vae.yaml
_PLAIN_FIT = 0.9  # of the first batch norm's mean that a mean colour must explain


def recognise(survey: Survey) -> Recognised | None:
    """What this reader makes of a file; None if it is of another format.

    Raises:
        UserError: it is of this one, but its tensors do not fit each other.
        CheckpointError: its numbers cannot be read.
    """
    found = survey.shapes
    if not set(found) >= KEYS:
        return None
    stages = numbers_after(found, "encoder.")
    back = numbers_after(found, "decoder.")
    if not stages or stages != list(range(len(stages))) or back != list(range(len(stages) - 1)):
        raise UserError(f"it has {len(stages)} stages down and {len(back) + 1} up")
    hidden = tuple(found[f"encoder.{i}.0.weight"][0] for i in stages)
    channels = found["encoder.0.0.weight"][1]
    latent_dim, width = found["fc_mu.weight"]
    if width != 4 * hidden[-1]:
        raise UserError(f"fc_mu reads {width} numbers, not 2 x 2 of {hidden[-1]} channels")
    side = 2 ** (len(stages) + 1)
    image_shape = (channels, side, side)
    config = ForeignModel(image_shape, latent_dim, "gaussian", "PyTorch-VAE conv", hidden)
    from_minus_one, why = _range(survey)
    n_values = math.prod(image_shape)
    told = _told(survey.told)
    weight = told.get("kld_weight")
    beta = None if weight is None else weight * n_values / 2
    usual = _DEFAULT_WEIGHT * n_values / 2
    weighed = (
        f"its loss times {n_values}/2 is half the squared error + {n_values // 2} x kld_weight x KL"
    )
    if beta is None:
        weighed += f": with the usual kld_weight {_DEFAULT_WEIGHT:g} an implied beta of {usual:.4g}"
    units = "[-1, 1]" if from_minus_one else "[0, 1]"
    card = Card(
        format=NAME,
        model="VanillaVAE or BetaVAE",
        network=f"conv {'-'.join(map(str, hidden))}, batch norm folded in, leaky ReLU",
        latent_dim=latent_dim,
        image_shape=image_shape,
        pixels=units,
        likelihood=(
            f"Gaussian of variance 1 in its units, pixels in {units}"
            + (": variance 1/4 in ours, [0, 1]" if from_minus_one else "")
        ),
        trained_with="squared error averaged over pixels + kld_weight x KL",
        factors={"half the squared error": 1.0, "KL": beta},
        implied_beta=beta,
        notes=(why, weighed),
    )

    def build(state: State) -> Parts:
        layers: list[nn.Module] = [Affine(2.0, -1.0)] if from_minus_one else []
        for i in stages:
            layers += [conv(state, f"encoder.{i}.0", 2, 1, f"encoder.{i}.1"), nn.LeakyReLU()]
        layers.append(nn.Flatten())
        encoder = Encoder(nn.Sequential(*layers), linear(state, "fc_mu"), linear(state, "fc_var"))
        layers = [linear(state, "decoder_input"), nn.Unflatten(1, (hidden[-1], 2, 2))]
        for name in (*(f"decoder.{i}" for i in back), "final_layer"):
            layers += [conv_transpose(state, f"{name}.0", 2, 1, 1, f"{name}.1"), nn.LeakyReLU()]
        layers += [conv(state, "final_layer.3", 1, 1), nn.Tanh()]
        if from_minus_one:
            layers.append(Affine(0.5, 0.5))
        return encoder, Decoder(nn.Sequential(*layers)), fixed_gaussian(_variance(from_minus_one))

    return Recognised(config, card, build)


def _variance(from_minus_one: bool) -> float:
    return 0.25 if from_minus_one else 1.0


def _told(values: Mapping[str, object]) -> dict[str, float]:
    """The numbers among the hyper-parameters that Lightning may have stored."""
    found: dict[str, float] = {}
    for group in (values, values.get("hyper_parameters"), values.get("params")):
        if isinstance(group, Mapping):
            for name in ("kld_weight",):
                value = group.get(name)
                if isinstance(value, int | float) and 0 <= value < 1e6:
                    found[name] = float(value)
    return found


def _range(survey: Survey) -> tuple[bool, str]:
    """Whether it reads pixels from -1 to 1, and how that is known."""
    mean = _mean_colour(survey.load())
    if mean is None:
        return True, "the file does not say in which range it reads pixels; [-1, 1] was assumed"
    text = ", ".join(f"{value:.2f}" for value in mean.tolist())
    if mean.min() < -0.03:
        return True, f"its training images had a mean colour of ({text}), so it reads [-1, 1]"
    return False, f"its training images had a mean colour of ({text}), so it reads [0, 1]"


def _mean_colour(state: Mapping[str, Tensor]) -> Tensor | None:
    """The mean input of each channel, by least squares; None where that explains too little."""
    weight = state["encoder.0.0.weight"].double().sum((2, 3))  # (outputs, channels)
    target = state["encoder.0.1.running_mean"].double() - state["encoder.0.0.bias"].double()
    if weight.shape[0] <= weight.shape[1] or not target.abs().max() > 0:
        return None
    mean = torch.linalg.lstsq(weight, target[:, None]).solution[:, 0]
    left = (target - weight @ mean).square().sum() / target.square().sum()
    usable = torch.isfinite(mean).all() and left < 1 - _PLAIN_FIT and mean.abs().max() <= 1.05
    return mean if usable else None
