"""Plain layers out of a state dict's tensors: what every reader builds its networks of."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from torch import Tensor, nn

from vae.errors import UserError

State = Mapping[str, Tensor]
_Layer = TypeVar("_Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
_EPS = 1e-5  # of torch's BatchNorm, which a state dict does not hold


class Encoder(nn.Module):
    """x (B, C, H, W) -> mu (B, D), logvar (B, D): a body and two linear heads."""

    def __init__(self, body: nn.Module, mu: nn.Linear, logvar: nn.Linear) -> None:
        super().__init__()
        self.body, self.mu, self.logvar = body, mu, logvar

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mu and logvar of q(z|x)."""
        h = self.body(x)  # (B, width)
        return self.mu(h), self.logvar(h)


class Decoder(nn.Module):
    """z (..., D) -> the likelihood's raw output, (..., C, H, W)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, z: Tensor) -> Tensor:
        """The raw output for each z."""
        out = self.body(z.reshape(-1, z.shape[-1]))  # (prod(...), C, H, W)
        return out.reshape(*z.shape[:-1], *out.shape[1:])


class Affine(nn.Module):
    """scale * x + shift, with two numbers."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return x * self.scale + self.shift


class Residual(nn.Module):
    """x + block(x)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape that the block keeps."""
        return x + self.block(x)


def linear(state: State, name: str) -> nn.Linear:
    """The layer whose weight (outputs, inputs) and bias have that name."""
    return linear_of(state[f"{name}.weight"], state[f"{name}.bias"])


def linear_of(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer with these numbers, weight (outputs, inputs)."""
    outputs, inputs = weight.shape
    return _filled(nn.Linear(inputs, outputs, device="meta"), weight, bias)


def conv(state: State, name: str, stride: int, padding: int, norm: str = "") -> nn.Conv2d:
    """A convolution, weight (outputs, inputs, h, w); the batch norm `norm` folded into it."""
    weight, bias = _folded(state, name, norm, outputs_at=0)
    outputs, inputs, h, w = weight.shape
    layer = nn.Conv2d(inputs, outputs, (h, w), stride, padding, device="meta")
    return _filled(layer, weight, bias)


def conv_transpose(
    state: State, name: str, stride: int, padding: int, output_padding: int = 0, norm: str = ""
) -> nn.ConvTranspose2d:
    """A transposed convolution, weight (inputs, outputs, h, w); the batch norm folded into it."""
    weight, bias = _folded(state, name, norm, outputs_at=1)
    inputs, outputs, h, w = weight.shape
    layer = nn.ConvTranspose2d(
        inputs, outputs, (h, w), stride, padding, output_padding, device="meta"
    )
    return _filled(layer, weight, bias)


def numbers_after(names: Iterable[str], prefix: str) -> list[int]:
    """The different whole numbers that follow a prefix in names, in order."""
    pattern = re.compile(re.escape(prefix) + r"(\d{1,4})(?=\.)")
    return sorted({int(found[1]) for name in names if (found := pattern.match(name))})


def _filled(layer: _Layer, weight: Tensor, bias: Tensor) -> _Layer:
    assert layer.bias is not None  # it was made with one
    # A bias of another length would only fail, or spread, when the layer is used.
    if bias.shape != layer.bias.shape or weight.shape != layer.weight.shape:
        raise UserError(f"a bias {list(bias.shape)} beside a weight {list(weight.shape)}")
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer


def _folded(state: State, name: str, norm: str, outputs_at: int) -> tuple[Tensor, Tensor]:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    if not norm:
        return weight, bias
    # In double precision, as the running variance can be tiny.
    variance = state[f"{norm}.running_var"].double()
    scale = state[f"{norm}.weight"].double() / (variance + _EPS).sqrt()
    shape = [1] * weight.ndim
    shape[outputs_at] = -1
    shift = (bias.double() - state[f"{norm}.running_mean"].double()) * scale
    folded = (weight.double() * scale.reshape(shape)).float()
    return folded, (shift + state[f"{norm}.bias"].double()).float()
