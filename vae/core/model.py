"""Encoder, Decoder and VAE: q(z|x) and p(x|z) as plain modules. Nothing is sampled in here."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae import wording
from vae.config import IMAGE, LATTICE, SERIES, ForeignModel, ModelConfig
from vae.core import gaussian
from vae.core.likelihood import Likelihood, likelihood_of
from vae.errors import UserError
from vae.features import COUNT

MAX_FOOTPRINT = 2**26  # 256 MB
_SHARPNESS = 1000.0  # of nats: a point that is better by 0.01 is taken nearly alone
_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


class Encoder(nn.Module):
    """x (B, C, H, W) -> mu (B, D), logvar (B, D) of q(z|x).

    With `config.n_classes`, of q(z|x, y): the one-hot label goes beside the pixels of an mlp, and
    as planes, each all 0 or all 1, beside the channels of a conv.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.is_mlp = config.family == "mlp"
        self.reading = None if config.kind == IMAGE else Reading(config)
        build = _mlp_encoder if config.family == "mlp" else _conv_encoder
        self.body, width = build(config)
        self.mu = nn.Linear(width, config.latent_dim)
        self.logvar = nn.Linear(width, config.latent_dim)

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mu and logvar of q(z|x), or with the one-hot label c (B, n_classes) of q(z|x, y)."""
        return self.of_read(x if self.reading is None else self.reading(x), c)

    def of_read(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same of points without missing numbers, whose counts are standardised already."""
        if c is not None:
            B, _, H, W = x.shape
            planes = c[..., None, None].expand(B, -1, H, W)
            x = torch.cat([x.flatten(1), c] if self.is_mlp else [x, planes], 1)
        h = self.body(x)  # (B, width)
        return self.mu(h), self.logvar(h)


class LatticeEncoder(nn.Module):
    """x (B, C, H, W) -> mu (B, D), logvar (B, D) of p(z|x) round its highest peak.

    How it comes by its weights, and what they are: `vae.core.lattice_encoder`. Its sizes are part
    of the format of a checkpoint.

    Attributes:
        down, score: log p(x|z_m) of an image through `softness`, but for what is the same at all
            points, (B, M).
        places: the z_m, (M, D).
        width: of the Gaussian window round the best point in which p(z|x) is looked at.
        softness: T. p(z|x)^(1/T) has about the same mean as p(z|x) and T times the variance, so
            that the points round a peak that is narrower than their distance tell of it, too.
    """

    N_POINTS, RANK = 8192, 192
    # Never stored in half precision:
    EXACT = ("encoder.score.bias", "encoder.places", "encoder.width", "encoder.softness")
    # Files of before lack what was added, and mean this by it:
    ADDED: ClassVar = {"encoder.softness": 1.0}
    places: Tensor
    width: Tensor
    softness: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n = math.prod(config.image_shape)
        self.rank = min(self.RANK, n)
        self.down = nn.Linear(n, self.rank, bias=False)
        self.score = nn.Linear(self.rank, self.N_POINTS)
        self.register_buffer("places", torch.zeros(self.N_POINTS, config.latent_dim))
        self.register_buffer("width", torch.ones(()))
        self.register_buffer("softness", torch.ones(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mu and logvar of q(z|x)."""
        scores = self.score(self.down(x.flatten(1)))  # (B, M)
        # The best point; but for ties, and without a choice that has no slope.
        best = F.linear(torch.softmax(_SHARPNESS * scores, -1), self.places.T)  # (B, D)
        precision = self.width**-2
        # The points are as dense as the prior: so much of it is in p(z|x)^(1/T) too often.
        prior = 1 - 1 / self.softness
        window = self.places * precision, self.places.square().sum(1) * ((prior - precision) / 2)
        share = torch.softmax(scores + F.linear(best, *window), -1)
        # Moments round the best point: of those round 0 float32 would leave little.
        means, squares = [], []
        axes, total = torch.eye(self.places.shape[1]).to(self.places), x.new_ones(1, self.N_POINTS)
        for axis, place in zip(axes, self.places.T, strict=True):
            away = F.linear(best, -axis.expand(self.N_POINTS, -1), place)  # (B, M)
            weighed = share * away
            means.append(F.linear(weighed, total))
            squares.append(F.linear(weighed * away, total))
        mean, square = torch.cat(means, -1), torch.cat(squares, -1)
        within = F.linear(share, self._cells().expand(len(axes), -1))
        variance = torch.relu(square - mean * mean) + within
        return best + mean, torch.log(F.linear(variance, axes / self.softness))

    def _cells(self) -> Tensor:
        """The variance along an axis within what a point stands for, (M,): of a cube as large."""
        log_volume = -math.log(self.N_POINTS) - gaussian.standard_normal_log_prob(self.places)
        return torch.exp(log_volume * (2 / self.places.shape[1])) / 12


class Reading(nn.Module):
    """What an encoder reads of vectors or series: 0 where one is missing, counts by log(1 + x).

    0 is the mean of what is standardised; counts are standardised here.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.shape = (len(config.features), 1, 1) if config.kind == SERIES else (1, 1, -1)
        self.of = [(float(f.kind == COUNT), f.mean, f.scale) for f in config.features]
        self.has_counts = any(is_count for is_count, _, _ in self.of)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W), NaN where a number is missing -> the same shape, without NaN."""
        if self.has_counts:
            # Made here, as they are part of the config and no weights.
            of = torch.tensor(self.of, dtype=x.dtype, device=x.device)
            is_count, mean, scale = (values.view(self.shape) for values in of.unbind(1))
            # No logarithm of what is no count.
            count = torch.where(is_count > 0, x, 0).clamp_min(0)
            x = torch.where(is_count > 0, (torch.log1p(count) - mean) / scale, x)
        return x.nan_to_num(0.0)


class Decoder(nn.Module):
    """z (..., D) -> the likelihood's raw output, (..., C, H, W).

    With `config.n_classes` the one-hot label goes behind z.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        build = _mlp_decoder if config.family == "mlp" else _conv_decoder
        self.body = build(config)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """The raw output for each z, and for its one-hot label c (..., n_classes)."""
        if c is not None:
            z = torch.cat([z, c], -1)
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
        self.encoder = (LatticeEncoder if config.encoder == LATTICE else Encoder)(config)
        self.decoder = Decoder(config)
        self.likelihood: Likelihood = likelihood_of(config)
        self._trial: Trial | None = None
        _initialise(self, generator or torch.Generator().manual_seed(0))

    @classmethod
    def of_parts(
        cls,
        config: ForeignModel | ModelConfig,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
    ) -> Self:
        """A VAE whose networks somebody else made.

        Args:
            config: what is known of it.
            encoder: images (B, C, H, W) in [0, 1] -> mu (B, D), logvar (B, D).
            decoder: z (..., D) -> the likelihood's raw output, (..., C, H, W).
            likelihood: p(x|z), one of `vae.core.likelihood`.

        Where `config.n_classes` is not 0, encoder and decoder are each called with the label as a
        second argument: one-hot, float, (B, n_classes) and (..., n_classes).
        """
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.config = config
        model.encoder, model.decoder, model.likelihood = encoder, decoder, likelihood
        model._trial = None
        return model

    @property
    def footprint(self) -> int:
        """How many numbers its layers give of one image, all of them, to z and back; at least 1."""
        return self.trial.footprint

    @property
    def trial(self) -> "Trial":
        """What one image of zeros and one z of zeros become; the networks are asked once."""
        if self._trial is None:
            self._trial = _trial(self)
        return self._trial

    def check_footprint(self) -> None:
        """Raises UserError if one image takes more memory on its way than there may be.

        Of a model on the meta device nothing is allocated.
        """
        if self.footprint > MAX_FOOTPRINT:
            words = wording.of(self.config.kind)
            raise UserError(
                f"its layers make {self.footprint:,} numbers of one {words.point}; at most "
                f"{MAX_FOOTPRINT:,}, so take fewer or narrower layers, or smaller {words.points}"
            )

    def given(self, label: int | Tensor) -> "VAE":
        """q(z|x, y) and p(x|z, y) with y fixed: a VAE without a condition, of the same weights.

        Args:
            label: of all images; or one for each image of a batch, int64, shape (B,), and the
                z that are decoded then are (..., B, D).

        Returns:
            The model itself, if it has no condition.

        Raises:
            UserError: a label that the model has no class for.
        """
        n = self.config.n_classes
        if not n:
            return self
        labels = torch.as_tensor(label)  # not on the meta device, which has no values to check
        if labels.numel() and not (labels.min() >= 0 and labels.max() < n):
            wrong = int(labels.min() if labels.min() < 0 else labels.max())
            raise UserError(f"the label (={wrong}) must be from 0 to {n - 1}, the model's classes")
        return self.under(F.one_hot(labels, n).float().to(self.device))

    def under(self, c: Tensor) -> "VAE":
        """As `given`, with the label one-hot already, (n_classes,) or (B, n_classes); unchecked."""
        encoder, decoder = _Given(self.encoder, c, 3), _Given(self.decoder, c, 1)
        config = replace(self.config, n_classes=0)
        made = VAE.of_parts(config, encoder, decoder, self.likelihood).train(self.training)
        made._trial = self.trial
        return made

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar of q(z|x), each (B, D), for images x (B, C, H, W) in [0, 1].

        Raises:
            UserError: the images are not of the model's shape, or the model has a condition and it
                is not fixed (`given`).
        """
        self._check_no_condition()
        if tuple(x.shape[1:]) != self.config.image_shape:
            points = wording.of(self.config.kind).points
            raise UserError(
                f"the {points} are {_size(x.shape[1:])}, but this model reads "
                f"{_size(self.config.image_shape)} (channels x height x width)"
            )
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """The likelihood's raw output (..., C, H, W) for z (..., D): logits, or x_mean.

        `likelihood.mean` turns it into pixels. Raises UserError for another D, or as `encode`.
        """
        self._check_no_condition()
        if z.shape[-1] != self.config.latent_dim:
            raise UserError(
                f"z has {z.shape[-1]} dimensions, but this model has {self.config.latent_dim}"
            )
        return self.decoder(z)

    def decode_mean(self, z: Tensor) -> Tensor:
        """E[x|z], (..., C, H, W), as a page draws it: pixels in [0, 1], or numbers as they are."""
        mean = self.likelihood.mean(self.decode(z))
        return mean.clamp(0, 1) if self.config.kind == IMAGE else mean

    def _check_no_condition(self) -> None:
        if n := self.config.n_classes:
            raise UserError(
                f"the model is conditional on a label of {n} classes; choose one of them"
            )

    @property
    def n_parameters(self) -> int:
        """How many numbers training adjusts."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device


class _Given(nn.Module):
    """A network whose second argument, the label, is fixed.

    Args:
        network: it.
        c: the label, one-hot, (n_classes) or (B, n_classes).
        axes: of one input: 3 for an image, 1 for z.
    """

    c: Tensor

    def __init__(self, network: nn.Module, c: Tensor, axes: int) -> None:
        super().__init__()
        self.network, self.axes = network, axes
        self.register_buffer("c", c, persistent=False)

    def forward(self, inputs: Tensor) -> Any:
        """Of x (B, C, H, W) or z (..., D)."""
        batch = inputs.shape[: inputs.ndim - self.axes]
        return self.network(inputs, self.c.expand(*batch, self.c.shape[-1]))


@dataclass(frozen=True)
class Trial:
    """What a model makes of one image and of one z; of no size on the meta device.

    Attributes:
        footprint: how many numbers all layers give, at least 1.
        encoded: the shapes of mu and logvar; none of an encoder without weights, whose layers are
            not ours to see.
        decoded: the shape of the raw output; none as of the encoder.
    """

    footprint: int
    encoded: tuple[torch.Size, ...]
    decoded: torch.Size | None


@torch.no_grad()
def _trial(model: VAE) -> Trial:
    total, config, was_training = 1, model.config, model.training
    weights = next(model.parameters(), torch.empty(0))
    like = {"device": weights.device, "dtype": weights.dtype}

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        parts = output if isinstance(output, tuple | list) else (output,)
        total += sum(part.numel() for part in parts if isinstance(part, Tensor))

    layers = [m for m in model.modules() if next(m.children(), None) is None]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    c = (torch.zeros(1, config.n_classes, **like),) if config.n_classes else ()
    model.eval()  # batch norm neither learns of it nor wants a second image
    try:
        encoded, decoded = (
            network(torch.zeros(1, *shape, **like), *c)
            if next(network.parameters(), None) is not None
            else None
            for network, shape in (
                (model.encoder, config.image_shape),
                (model.decoder, (config.latent_dim,)),
            )
        )
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    shapes = () if encoded is None else tuple(part.shape for part in encoded)
    return Trial(total, shapes, None if decoded is None else decoded.shape)


def _mlp_encoder(config: ModelConfig) -> tuple[nn.Module, int]:
    sizes = [math.prod(config.image_shape) + config.n_classes, *config.hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), _ACTIVATIONS[config.activation]()]
    return nn.Sequential(*layers), sizes[-1]


def _mlp_decoder(config: ModelConfig) -> nn.Module:
    sizes = [config.latent_dim + config.n_classes, *reversed(config.hidden)]
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


class _Stage(NamedTuple):
    """Kernel, stride and padding of a stage: along a series there is one dimension."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    @classmethod
    def of(cls, config: ModelConfig) -> Self:
        if config.kind == SERIES:
            return cls((1, 3), (1, 2), (0, 1))
        return cls((3, 3), (2, 2), (1, 1))


def _conv_encoder(config: ModelConfig) -> tuple[nn.Module, int]:
    channels = [config.image_shape[0] + config.n_classes, *config.hidden]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(channels):
        layers += [
            nn.Conv2d(n_in, n_out, *_Stage.of(config)),
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
        nn.Linear(config.latent_dim + config.n_classes, channels[0] * h * w),
        nn.Unflatten(1, (channels[0], h, w)),
    ]
    for (n_in, n_out), ((h, w), (H, W)) in zip(pairwise(channels), pairwise(sides), strict=True):
        # Without padding a transposed stage gives 2h - 1; one more row or column for even sides.
        layers += [
            _ACTIVATIONS[config.activation](),
            nn.ConvTranspose2d(
                n_in,
                n_out,
                *_Stage.of(config),
                output_padding=(H - (2 * h - 1) if H > 1 else 0, W - (2 * w - 1)),
            ),
        ]
    return nn.Sequential(*layers)


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's own default initialisation, from the given generator and not the global one."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            bound = 1 / math.sqrt(module.weight[0].numel())  # 1 / sqrt(fan in)
            for parameter in module.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
