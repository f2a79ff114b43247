"""pythae: `model.pt` with {"model_state_dict": ...}, and `model_config.json` beside it.

Source: https://github.com/clementchadebec/benchmark_VAE, version 0.1.2, src/pythae/models. Encoders
hold `layers`, `embedding` (mu) and `log_var` (logvar), decoders `layers` and a sigmoid at the end.
Networks that its users wrote themselves are pickled beside the weights (encoder.pkl, decoder.pkl)
and never opened; the library's own, the default MLP and the convolutional and residual ones of its
benchmarks for MNIST, CIFAR and CelebA, are told by the names and shapes of their weights. Strides
and paddings, which those do not tell, are the ones of these networks. Terms of the loss are summed
over pixels and averaged over images; "mse" is half the squared error (before 0.1.0: all of it).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from vae.config import ForeignModel
from vae.core.likelihood import Bernoulli, fixed_gaussian
from vae.errors import UserError
from vae.formats import shapes as image_shapes
from vae.formats.card import BERNOULLI, UNIT_GAUSSIAN, Card, Parts, Recognised
from vae.formats.containers.tensors import Survey
from vae.formats.readers.disentangling import total_correlation
from vae.formats.readers.layers import (
    Decoder,
    Encoder,
    Residual,
    State,
    conv,
    conv_transpose,
    linear,
    numbers_after,
)
from vae.formats.refusal import TRAIN, Refusal

NAME = "pythae"
CONFIG = "model_config.json"
CODE = ("encoder.pkl", "decoder.pkl")
KEYS = frozenset(f"encoder.embedding.{part}" for part in ("weight", "bias"))
_HEADS = frozenset(f"encoder.log_var.{part}" for part in ("weight", "bias"))

_Layer = tuple[nn.Module, ...]
_Loss = tuple[str, dict[str, float | None], float | None, tuple[str, ...]]


def recognise(survey: Survey, config: Mapping[str, Any]) -> Recognised | None:
    """What this reader makes of a file; None if it is of another format.

    Args:
        survey: of the file.
        config: the `model_config.json` beside it; empty if there is none.

    Raises:
        UserError: it is of this format, but it is no VAE with a Gaussian q(z|x), its network is
            not one of the library's, or its tensors do not fit each other.
    """
    found = survey.shapes
    if not set(found) >= KEYS or not numbers_after(found, "decoder.layers."):
        return None
    name = config.get("name")
    name = name if isinstance(name, str) else ""
    if name in _OTHER_SPACES:
        raise Refusal(
            survey.path, f"holds a {name} of pythae", "its prior and q are no Gaussians", TRAIN
        )
    if not set(found) >= _HEADS:
        raise Refusal(
            survey.path,
            f"holds an autoencoder of pythae ({name or 'no variance'}): its encoder gives one "
            "point and no logvar",
            "without a Gaussian q(z|x) it has no KL to show",
            TRAIN,
        )
    latent_dim, width = found["encoder.embedding.weight"]
    encoder_shapes, decoder_shapes = (_top(found, part) for part in ("encoder", "decoder"))
    network, hidden, image_shape, noted = _network(
        encoder_shapes, decoder_shapes, width, _input_dim(config), found
    )
    is_bernoulli = config.get("reconstruction_loss") == "bce"
    model, rest, factors, beta, notes = _loss(name, config)
    if not config:
        notes = (f"no {CONFIG} beside the file: its usual loss, mse, was assumed", *notes)
    if not is_bernoulli:
        notes = (*notes, "before pythae 0.1.0 mse was the whole squared error: beta is half then")
    recon = (
        "BCE summed over pixels" if is_bernoulli else "half the squared error summed over pixels"
    )
    shape_known = "" if _input_dim(config) else f"{image_shapes.text(image_shape)} was assumed"
    card = Card(
        format=NAME,
        model=model,
        network=network,
        latent_dim=latent_dim,
        image_shape=image_shape,
        likelihood=BERNOULLI if is_bernoulli else UNIT_GAUSSIAN,
        trained_with=f"{recon}{rest}",
        factors={recon: 1.0} | factors,
        implied_beta=beta,
        notes=tuple(note for note in (*notes, *noted, shape_known) if note),
    )
    family = f"pythae {network.split(',')[0].rstrip(' 0123456789-')}"
    shape = ForeignModel(
        image_shape, latent_dim, "bernoulli" if is_bernoulli else "gaussian", family, hidden
    )

    def build(state: State) -> Parts:
        encoder = Encoder(
            nn.Sequential(*_encoder_body(state, encoder_shapes, image_shape)),
            linear(state, "encoder.embedding"),
            linear(state, "encoder.log_var"),
        )
        body = _decoder_body(state, decoder_shapes, image_shape)
        if not is_bernoulli:
            body.append(nn.Sigmoid())
        likelihood = Bernoulli() if is_bernoulli else fixed_gaussian(1.0)
        return encoder, Decoder(nn.Sequential(*body)), likelihood

    return Recognised(shape, card, build)


# --- the network ---

_Shapes = dict[int, list[tuple[str, tuple[int, ...]]]]


def _top(found: Mapping[str, tuple[int, ...]], part: str) -> _Shapes:
    """layers.i -> the names and shapes of the weights in it, batch norms left out."""
    layers: _Shapes = {}
    for i in numbers_after(found, f"{part}.layers."):
        start = f"{part}.layers.{i}."
        layers[i] = sorted(
            (name.removesuffix(".weight"), shape)
            for name, shape in found.items()
            if name.startswith(start) and name.endswith(".weight") and len(shape) > 1
        )
    if not layers or list(layers) != list(range(len(layers))) or not all(layers.values()):
        raise UserError(f"its {part} has layers that are not among the library's own")
    return layers


def _input_dim(config: Mapping[str, Any]) -> tuple[int, int, int] | None:
    shape = config.get("input_dim")
    if not isinstance(shape, list | tuple) or not 1 <= len(shape) <= 3:
        return None
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n <= 4096 for n in shape):
        return None
    if len(shape) == 1:
        return image_shapes.of_pixels(shape[0])
    C, H, W = (1,) * (3 - len(shape)) + tuple(shape)
    return C, H, W


def _is_flat(layers: _Shapes) -> bool:
    return all(len(shape) == 2 for weights in layers.values() for _, shape in weights)


def _network(
    encoder: _Shapes,
    decoder: _Shapes,
    width: int,
    input_dim: tuple[int, int, int] | None,
    found: Mapping[str, tuple[int, ...]],
) -> tuple[str, tuple[int, ...], tuple[int, int, int], tuple[str, ...]]:
    """What it is, its widths, the images it reads, and notes."""
    if _is_flat(encoder) and _is_flat(decoder):
        widths = tuple(weights[0][1][0] for weights in encoder.values())
        n_pixels = encoder[0][0][1][1]
        image_shape = input_dim or image_shapes.of_pixels(n_pixels)
        if math.prod(image_shape) != n_pixels:
            raise UserError(f"{CONFIG} speaks of {image_shape}, its encoder of {n_pixels} pixels")
        text = "-".join(map(str, (n_pixels, *widths)))
        return f"MLP {text}, ReLU", widths, image_shape, ()
    kind = _DECODERS.get(_signature(decoder))
    if _is_flat(encoder) or kind is None:
        raise UserError(
            "its networks are neither the library's default MLP nor one of its benchmarks'; "
            f"they are in {' and '.join(CODE)}, which would run code and are not opened"
        )
    title, side, _, _ = kind
    channels = encoder[0][0][1][1]
    widths = tuple(weights[0][1][0] for weights in encoder.values())
    text = "-".join(map(str, widths))
    noted = ("strides and paddings are those of pythae's own network of these shapes",)
    if any(name.endswith("running_mean") for name in found):
        noted = (*noted, "batch norms are folded into the convolutions")
    return f"{title} {text}, ReLU", widths, (channels, side, side), noted


def _signature(layers: _Shapes) -> tuple[Any, ...]:
    """Kernel sizes of each layer: 0 for a linear one, "r" for residual blocks."""
    return tuple(
        "r" * _n_blocks(weights) if _is_residual(weights) else _kernel(weights[0][1])
        for weights in layers.values()
    )


def _kernel(shape: tuple[int, ...]) -> int:
    return shape[2] if len(shape) == 4 else 0


def _is_residual(weights: list[tuple[str, tuple[int, ...]]]) -> bool:
    return any(".conv_block." in name for name, _ in weights)


def _n_blocks(weights: list[tuple[str, tuple[int, ...]]]) -> int:
    return len({name.partition(".conv_block.")[0] for name, _ in weights})


# By the kernels of the decoder's layers: title, side of the image, side of its first map, and of
# every transposed convolution (stride, padding, output padding, what follows it).
_DECODERS: dict[tuple[Any, ...], tuple[str, int, int, dict[int, tuple[int, int, int, str]]]] = {
    (0, 3, 3, 3): (
        "ConvNet for MNIST",
        28,
        4,
        {1: (2, 1, 0, "relu"), 2: (2, 1, 1, "relu"), 3: (2, 1, 1, "")},
    ),
    (0, 4, 4, 4): (
        "ConvNet for CIFAR",
        32,
        8,
        {1: (2, 1, 0, "relu"), 2: (2, 1, 1, "relu"), 3: (1, 2, 0, "")},
    ),
    (0, 5, 5, 5, 5): (
        "ConvNet for CelebA",
        64,
        8,
        {1: (2, 2, 0, "relu"), 2: (2, 1, 0, "relu"), 3: (2, 2, 1, "relu"), 4: (1, 1, 0, "")},
    ),
    (0, 3, "rr", 3, 3): (
        "ResNet for MNIST",
        28,
        4,
        {1: (2, 1, 0, ""), 3: (2, 1, 1, "relu"), 4: (2, 1, 1, "")},
    ),
    (0, "rr", 4, 4): ("ResNet for CIFAR", 32, 8, {2: (2, 1, 0, ""), 3: (2, 1, 0, "")}),
    (0, 3, "rr", 5, 5, 4): (
        "ResNet for CelebA",
        64,
        4,
        {1: (2, 1, 0, ""), 3: (2, 1, 0, "sigmoid"), 4: (2, 1, 1, ""), 5: (2, 1, 0, "")},
    ),
}


def _encoder_body(
    state: State, layers: _Shapes, image_shape: tuple[int, int, int]
) -> list[nn.Module]:
    body: list[nn.Module] = []
    if _is_flat(layers):
        body.append(nn.Flatten())
        for weights in layers.values():
            body += [linear(state, weights[0][0]), nn.ReLU()]
        return body
    is_residual = any(_is_residual(weights) for weights in layers.values())
    for weights in layers.values():
        if _is_residual(weights):
            body += _blocks(state, weights)
            continue
        name, shape = weights[0]
        # In all of these networks the images are halved but by the residual one for CIFAR's third.
        keeps = is_residual and image_shape[1:] == (32, 32) and _kernel(shape) == 3
        body.append(conv(state, name, 1 if keeps else 2, 1, _norm(state, name)))
        if not is_residual:
            body.append(nn.ReLU())
    return [*body, nn.Flatten()]


def _decoder_body(
    state: State, layers: _Shapes, image_shape: tuple[int, int, int]
) -> list[nn.Module]:
    body: list[nn.Module] = []
    if _is_flat(layers):
        for i, weights in layers.items():
            body += [nn.ReLU()] if i else []
            body.append(linear(state, weights[0][0]))
        return [*body, nn.Unflatten(1, image_shape)]
    title, _, side, steps = _DECODERS[_signature(layers)]
    first = linear(state, layers[0][0][0])
    body += [first, nn.Unflatten(1, (first.out_features // side**2, side, side))]
    for i, weights in list(layers.items())[1:]:
        if _is_residual(weights):
            body += _blocks(state, weights)
            body += [nn.ReLU()] if title.endswith("MNIST") else []
            continue
        stride, padding, output_padding, then = steps[i]
        name = weights[0][0]
        body.append(
            conv_transpose(state, name, stride, padding, output_padding, _norm(state, name))
        )
        body += {"relu": [nn.ReLU()], "sigmoid": [nn.Sigmoid()], "": []}[then]
    return body


def _blocks(state: State, weights: list[tuple[str, tuple[int, ...]]]) -> list[nn.Module]:
    blocks = sorted({name.partition(".conv_block.")[0] for name, _ in weights})
    return [
        Residual(
            nn.Sequential(
                nn.ReLU(),
                conv(state, f"{block}.conv_block.1", 1, 1),
                nn.ReLU(),
                conv(state, f"{block}.conv_block.3", 1, 0),
            )
        )
        for block in blocks
    ]


def _norm(state: State, name: str) -> str:
    """The batch norm behind layers.i.0, if there is one."""
    norm = f"{name.removesuffix('.0')}.1"
    return norm if f"{norm}.running_mean" in state else ""


# --- the loss ---

_OTHER_SPACES = ("SVAEConfig", "PoincareVAEConfig", "VQVAEConfig", "HRQVAEConfig")
_TO_NORMAL = "the KL shown is the one to N(0, I)"


def _bound(*notes: str) -> Callable[[Callable[..., float]], _Loss]:
    return lambda number: ("", {"KL": 1.0}, 1.0, notes)


def _weighed(usual: float, *notes: str) -> Callable[[Callable[..., float]], _Loss]:
    def loss(number: Callable[..., float]) -> _Loss:
        beta = number("beta", usual)
        return ("" if beta == 1 else f" + {beta:g} KL"), {"KL": beta}, beta, notes

    return loss


def _capacity(number: Callable[..., float]) -> _Loss:
    beta, capacity = number("beta", 10.0), number("C", 50.0)
    note = f"the KL was drawn to {capacity:g} nats and not weighed: there is no single beta"
    return f" + {beta:g} |KL - {capacity:g}|", {"|KL - capacity|": beta}, None, (note,)


def _factor(number: Callable[..., float]) -> _Loss:
    gamma = number("gamma", 2.0)
    text = f" + KL + {gamma:g} total correlation"
    return text, {"KL": 1.0, "total correlation": gamma}, 1.0, ()


def _information(number: Callable[..., float]) -> _Loss:
    alpha, weight = number("alpha", 0.0), number("lbd", 1e-3)
    text = f" + {1 - alpha:g} KL + {alpha + weight - 1:g} MMD"
    return text, {"KL": 1 - alpha, "MMD": alpha + weight - 1}, 1 - alpha, ()


def _tc(number: Callable[..., float]) -> _Loss:
    return total_correlation(*(number(name, 1.0) for name in ("alpha", "beta", "gamma")))


def _samples(number: Callable[..., float]) -> _Loss:
    n = number("number_samples", 10)
    note = f"trained with the bound of {n:g} importance samples; -ELBO is that of one"
    return "", {"KL": 1.0}, 1.0, (note,)


_AFTER_Q = "{} changes z after q(z|x); that step is left out, so the terms are those of q(z|x)"
_ADVERSARIAL = "a discriminator was part of its loss, which is left out: no beta is implied"


def _unknown(*notes: str) -> Callable[[Callable[..., float]], _Loss]:
    return lambda number: ("", {"KL": None}, None, notes)


_MODELS: dict[str, tuple[str, Callable[[Callable[..., float]], _Loss]]] = {
    "VAEConfig": ("VAE", _bound()),
    "BetaVAEConfig": ("BetaVAE", _weighed(1.0)),
    "DisentangledBetaVAEConfig": ("DisentangledBetaVAE", _capacity),
    "FactorVAEConfig": ("FactorVAE", _factor),
    "BetaTCVAEConfig": ("BetaTCVAE", _tc),
    "INFOVAE_MMD_Config": ("INFOVAE_MMD", _information),
    "IWAEConfig": ("IWAE", _samples),
    "MIWAEConfig": ("MIWAE", _samples),
    "PIWAEConfig": ("PIWAE", _samples),
    "CIWAEConfig": ("CIWAE", _samples),
    "VAMPConfig": ("VAMP", _bound(f"its prior is a mixture of its own; {_TO_NORMAL}")),
    "VAE_LinNF_Config": ("VAE_LinNF", _bound(_AFTER_Q.format("a flow"))),
    "VAE_IAF_Config": ("VAE_IAF", _bound(_AFTER_Q.format("a flow"))),
    "HVAEConfig": ("HVAE", _bound(_AFTER_Q.format("a Hamiltonian step"))),
    "RHVAEConfig": ("RHVAE", _bound(_AFTER_Q.format("a Hamiltonian step"))),
    "MSSSIM_VAEConfig": (
        "MSSSIM_VAE",
        _unknown("trained with MS-SSIM, no likelihood: recon is not what was trained"),
    ),
    "VAEGANConfig": ("VAEGAN", _unknown(_ADVERSARIAL)),
    "Adversarial_AE_Config": ("Adversarial_AE", _unknown(_ADVERSARIAL)),
}


def _loss(
    name: str, config: Mapping[str, Any]
) -> tuple[str, str, dict[str, float | None], float | None, tuple[str, ...]]:
    def number(key: str, usual: float) -> float:
        value = config.get(key, usual)
        known = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if known and abs(value) < 1e12 else usual

    if name in _MODELS:
        title, loss = _MODELS[name]
        return (title, *loss(number))
    if not name:
        return ("VAE", *_bound()(number))
    title = "".join(c if c.isalnum() or c in "_-" else "?" for c in name[:40])
    note = f"{title} is not known here: no beta is implied"
    return (title.removesuffix("Config") or title, *_unknown(note)(number))
