"""Encoder, Decoder and VAE: q(z|x) and p(x|z) as plain modules. Nothing is sampled in here."""

import math
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from vae.config import ForeignModel, ModelConfig
from vae.likelihood import make_likelihood

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


class Encoder(nn.Module):
    """x (B, C, H, W) -> mu (B, D), logvar (B, D) of q(z|x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        build = _mlp_encoder if config.family == "mlp" else _conv_encoder
        self.body, width = build(config)
        self.mu = nn.Linear(width, config.latent_dim)
        self.logvar = nn.Linear(width, config.latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mu and logvar of q(z|x)."""
        h = self.body(x)  # (B, width)
        return self.mu(h), self.logvar(h)


class Decoder(nn.Module):
    """z (..., D) -> the likelihood's raw output, (..., C, H, W)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        build = _mlp_decoder if config.family == "mlp" else _conv_decoder
        self.body = build(config)

    def forward(self, z: Tensor) -> Tensor:
        """The raw output for each z."""
        out = self.body(z.reshape(-1, z.shape[-1]))  # (prod(...), C, H, W)
        return out.reshape(*z.shape[:-1], *out.shape[1:])


class VAE(nn.Module):
    """A variational autoencoder (Kingma & Welling, 2014) with a standard normal prior.

    Args:
        config: its shape.
        generator: draws the initial weights; by default one with seed 0.

    Attributes:
        config: as given.
        encoder, decoder, likelihood: its three parts.
    """

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.likelihood = make_likelihood(config.likelihood)
        _initialise(self, generator or torch.Generator().manual_seed(0))

    @classmethod
    def of_parts(
        cls,
        config: ForeignModel | ModelConfig,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: nn.Module,
    ) -> Self:
        """A VAE whose networks somebody else made.

        Args:
            config: what is known of it.
            encoder: images (B, C, H, W) in [0, 1] -> mu (B, D), logvar (B, D).
            decoder: z (..., D) -> the likelihood's raw output, (..., C, H, W).
            likelihood: p(x|z), one of `vae.likelihood`.
        """
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.config = config
        model.encoder, model.decoder, model.likelihood = encoder, decoder, likelihood
        return model

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar of q(z|x), each (B, D), for images x (B, C, H, W) in [0, 1].

        Raises:
            ValueError: the images are not of the model's shape.
        """
        if tuple(x.shape[1:]) != self.config.image_shape:
            raise ValueError(
                f"the images are {_size(x.shape[1:])}, but this model reads "
                f"{_size(self.config.image_shape)} (channels x height x width)"
            )
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """The likelihood's raw output (..., C, H, W) for z (..., D): logits, or x_mean.

        `likelihood.mean` turns it into pixels. Raises ValueError for another D.
        """
        if z.shape[-1] != self.config.latent_dim:
            raise ValueError(
                f"z has {z.shape[-1]} dimensions, but this model has {self.config.latent_dim}"
            )
        return self.decoder(z)

    def decode_mean(self, z: Tensor) -> Tensor:
        """E[x|z] as pixels in [0, 1], (..., C, H, W): what a page draws."""
        return self.likelihood.mean(self.decode(z)).clamp(0, 1)

    @property
    def n_parameters(self) -> int:
        """How many numbers training adjusts."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device


def _mlp_encoder(config: ModelConfig) -> tuple[nn.Module, int]:
    sizes = [math.prod(config.image_shape), *config.hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), _ACTIVATIONS[config.activation]()]
    return nn.Sequential(*layers), sizes[-1]


def _mlp_decoder(config: ModelConfig) -> nn.Module:
    sizes = [config.latent_dim, *reversed(config.hidden)]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), _ACTIVATIONS[config.activation]()]
    layers += [
        nn.Linear(sizes[-1], math.prod(config.image_shape)),
        nn.Unflatten(1, config.image_shape),
    ]
    return nn.Sequential(*layers)


def _conv_sides(config: ModelConfig) -> list[tuple[int, int]]:
    """(H, W) after each stride-2 stage, the image's own first; each halves, rounding up."""
    _, H, W = config.image_shape
    sides = [(H, W)]
    for _ in config.hidden:
        H, W = -(-H // 2), -(-W // 2)
        sides.append((H, W))
    return sides


def _conv_encoder(config: ModelConfig) -> tuple[nn.Module, int]:
    channels = [config.image_shape[0], *config.hidden]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(channels):
        layers += [
            nn.Conv2d(n_in, n_out, kernel_size=3, stride=2, padding=1),
            _ACTIVATIONS[config.activation](),
        ]
    layers.append(nn.Flatten())
    h, w = _conv_sides(config)[-1]
    return nn.Sequential(*layers), channels[-1] * h * w


def _conv_decoder(config: ModelConfig) -> nn.Module:
    channels = [config.image_shape[0], *config.hidden][::-1]
    sides = _conv_sides(config)[::-1]
    h, w = sides[0]
    layers: list[nn.Module] = [
        nn.Linear(config.latent_dim, channels[0] * h * w),
        nn.Unflatten(1, (channels[0], h, w)),
    ]
    for (n_in, n_out), ((h, w), (H, W)) in zip(pairwise(channels), pairwise(sides), strict=True):
        # Without padding a transposed stage gives 2h - 1; one more row or column for even sides.
        layers += [
            _ACTIVATIONS[config.activation](),
            nn.ConvTranspose2d(
                n_in,
                n_out,
                kernel_size=3,
                stride=2,
                padding=1,
                output_padding=(H - (2 * h - 1), W - (2 * w - 1)),
            ),
        ]
    return nn.Sequential(*layers)


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's own default initialisation, from the given generator and not the global one."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            bound = 1 / math.sqrt(module.weight[0].numel())  # 1 / sqrt(fan in)
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
