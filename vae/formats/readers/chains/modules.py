"""The layers that networks of chains are made of besides torch's own."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae.errors import UserError
from vae.formats.meanings import log_variance


class Joined(nn.Module):
    """A layer that reads the label's numbers beside its own, in two layers: W x + V c.

    Args:
        own: reads x, and has the bias.
        label: reads the label, without one.
    """

    def __init__(self, own: nn.Module, label: nn.Module) -> None:
        super().__init__()
        self.own, self.label = own, label

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Of x (B, ...) and c (B, n)."""
        out = self.own(x)
        if x.ndim == 4:  # planes, each of one number
            return out + self.label(c[:, :, None, None].expand(-1, -1, *x.shape[2:]))
        # In double precision, so that it does not depend on the size of the batch.
        assert isinstance(self.label, nn.Linear)
        return out + F.linear(c.double(), self.label.weight.double()).to(out.dtype)


class Chain(nn.Module):
    """Layers in a row, of which some read the label too.

    Args:
        layers: in order.
        label: what makes the label's numbers of the one-hot; None for the one-hot itself.
    """

    def __init__(self, layers: Sequence[nn.Module], label: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.label = label

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Of x (B, ...) and the one-hot label c (B, n_classes)."""
        if c is not None and self.label is not None:
            c = self.label(c)
        for layer in self.layers:
            x = layer(x, c) if isinstance(layer, Joined) else layer(x)
        return x


class ChainEncoder(nn.Module):
    """x (B, C, H, W), and c (B, n_classes) where there is a label, -> mu, logvar (B, D)."""

    def __init__(self, body: Chain, mu: Chain, second: Chain, logvar: nn.Module) -> None:
        super().__init__()
        self.body, self.mu, self.second, self.logvar = body, mu, second, logvar

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mu and logvar of q(z|x)."""
        h = self.body(x, c)
        return self.mu(h, c).flatten(1), self.logvar(self.second(h, c).flatten(1))


class ChainDecoder(nn.Module):
    """z (..., D), and c (..., n_classes), -> the likelihood's raw output (..., C, H, W)."""

    def __init__(self, body: Chain) -> None:
        super().__init__()
        self.body = body

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """The raw output for each z."""
        flat = None if c is None else c.reshape(-1, c.shape[-1])
        out = self.body(z.reshape(-1, z.shape[-1]), flat)
        return out.reshape(*z.shape[:-1], *out.shape[1:])


class LogVariance(nn.Module):
    """What the second head gives, as log variance.

    Args:
        meaning: one of `meanings.SECOND`.
    """

    def __init__(self, meaning: str) -> None:
        super().__init__()
        self.meaning = meaning

    def forward(self, out: Tensor) -> Tensor:
        """Of any shape."""
        return log_variance(out, self.meaning)


class MaxPool(nn.Module):
    """The largest of each square of `side`, out of operations that the browser has too."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H // side, W // side)."""
        n = self.side
        h, w = x.shape[2] // n, x.shape[3] // n
        return _largest(x, [(r, c) for r in range(n) for c in range(n)], (h, w), n)


class OverlappingPool(nn.Module):
    """The largest of squares of 3 x 3 two apart, with a border: the pool of a ResNet."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, (H + 1) // 2, (W + 1) // 2)."""
        h, w = (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2
        # A border that repeats the pixels beside it changes no largest value.
        x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)
        x = torch.cat([x[:, :, :, :1], x, x[:, :, :, -1:]], 3)
        return _largest(x, [(r, c) for r in range(3) for c in range(3)], (h, w), 2)


def _largest(
    x: Tensor, corners: Sequence[tuple[int, int]], size: tuple[int, int], stride: int
) -> Tensor:
    """The largest of the pixels that are so far from the corners of a grid."""
    out: Tensor | None = None
    for row, column in corners:
        rows = slice(row, row + (size[0] - 1) * stride + 1, stride)
        other = x[:, :, rows, column : column + (size[1] - 1) * stride + 1 : stride]
        out = other if out is None else out + F.relu(other - out)
    assert out is not None
    return out


class Enlarge(nn.Module):
    """Images enlarged by a whole factor, or to one row and column more than that.

    Args:
        factor: of both sides.
        odd: one row and column more.
        mode: one of `reading.UPSAMPLING`.
    """

    def __init__(self, factor: int, odd: bool, mode: str) -> None:
        super().__init__()
        self.factor, self.odd, self.mode = factor, odd, mode

    def forward(self, x: Tensor) -> Tensor:
        """Of images."""
        size = [side * self.factor + self.odd for side in x.shape[2:]]
        if self.mode == "nearest":
            return F.interpolate(x, size)
        aligned = self.mode.endswith("aligned")
        return F.interpolate(x, size, mode="bilinear", align_corners=aligned)


class Sum(nn.Module):
    """last(main(h) + skip(h)) of h = first(x): a residual block.

    Args:
        first, main, skip, last: layers in a row each; none of them passes on what it gets.
    """

    def __init__(
        self,
        first: Sequence[nn.Module],
        main: Sequence[nn.Module],
        skip: Sequence[nn.Module],
        last: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.first, self.main = nn.Sequential(*first), nn.Sequential(*main)
        self.skip, self.last = nn.Sequential(*skip), nn.Sequential(*last)

    def forward(self, x: Tensor) -> Tensor:
        """Of vectors or images."""
        h = self.first(x)
        return self.last(self.main(h) + self.skip(h))


class MeanPool(nn.Module):
    """The mean of each square of `side`."""

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        self.side, self.channels = side, channels

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H // side, W // side)."""
        n = self.side
        kernel = torch.full((self.channels, 1, n, n), 1 / n**2, device=x.device, dtype=x.dtype)
        return F.conv2d(x, kernel, stride=n, groups=self.channels)


class FlattenLast(nn.Module):
    """(B, C, H, W) -> (B, H W C): the order of images whose channels are last."""

    def forward(self, x: Tensor) -> Tensor:
        """Of images."""
        return x.permute(0, 2, 3, 1).flatten(1)


class UnflattenLast(nn.Module):
    """(B, side side C) -> (B, C, side, side), the other way."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.channels, self.side = channels, side

    def forward(self, x: Tensor) -> Tensor:
        """Of vectors."""
        images = x.reshape(-1, self.side, self.side, self.channels)
        return images.permute(0, 3, 1, 2).contiguous()


class BatchNorm(nn.BatchNorm2d):
    """Of vectors and images alike."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 4):
            raise UserError(f"a batch norm reads {input.ndim} axes")


class Shrink(nn.Module):
    """The means of equal squares, as many as `side` x `side`: a global average pool if it is 1."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, side, side)."""
        n = x.shape[2] // self.side
        return x if n == 1 else MeanPool(n, x.shape[1])(x)
