"""Networks of every kind: each function makes one of random size, from z of length D."""

import random
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Also(nn.Module):
    """A network with a function of torch after it."""

    def __init__(self, body: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.function = body, function

    def forward(self, z):
        return self.function(self.body(z))


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, h):
        return h + self.body(h)


def image_of(rng: random.Random, channels: int, D: int, least: int = 3) -> tuple[nn.Module, int]:
    """z -> a small image; the second result is its height."""
    H, W = rng.randint(least, 9), rng.randint(least, 9)
    return nn.Sequential(
        nn.Linear(D, channels * H * W), nn.Tanh(), nn.Unflatten(1, (channels, H, W))
    ), H


def pair(rng: random.Random, low: int, high: int) -> tuple[int, int]:
    return rng.randint(low, high), rng.randint(low, high)


def linear(rng, D):
    sizes = [D, rng.randint(1, 70), rng.randint(1, 70), rng.randint(2, 200)]
    layers = [nn.Linear(n, m, bias=rng.random() < 0.7) for n, m in pairwise(sizes)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.Tanh(), layers[2])


def linear_on_rows(rng, D):
    T, n = rng.randint(2, 5), rng.randint(2, 9)
    return nn.Sequential(
        nn.Linear(D, T * n), nn.Unflatten(1, (T, n)), nn.Linear(n, rng.randint(1, 9))
    )


def conv(rng, D):
    groups = rng.choice([1, 1, 2, 3])
    channels, outputs = groups * rng.randint(1, 5), groups * rng.randint(1, 6)
    image, _ = image_of(rng, channels, D, least=5)
    return image.append(
        nn.Conv2d(
            channels,
            outputs,
            pair(rng, 1, 3),
            stride=pair(rng, 1, 3),
            padding=pair(rng, 0, 3),
            dilation=pair(rng, 1, 2),
            groups=groups,
            bias=rng.random() < 0.7,
        )
    )


def conv_by_name(rng, D):
    channels = rng.randint(1, 4)
    image, _ = image_of(rng, channels, D, least=5)
    for padding in ("same", "valid"):
        dilation, kernel = rng.choice([((1, 2), (3, 2)), ((2, 2), (2, 3)), ((1, 1), (1, 3))])
        image.append(nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation))
    return image


def conv_transpose(rng, D):
    groups = rng.choice([1, 1, 2, 3])
    channels, outputs = groups * rng.randint(1, 5), groups * rng.randint(1, 4)
    image, _ = image_of(rng, channels, D)
    stride, dilation = pair(rng, 1, 3), pair(rng, 1, 2)
    more = [rng.randrange(max(s, d)) for s, d in zip(stride, dilation, strict=True)]
    return image.append(
        nn.ConvTranspose2d(
            channels,
            outputs,
            pair(rng, 1, 4),
            stride=stride,
            padding=pair(rng, 0, 1),
            output_padding=more,
            dilation=dilation,
            groups=groups,
            bias=rng.random() < 0.7,
        )
    )


def trained(norm: nn.Module, generator: torch.Generator) -> nn.Module:
    """As training leaves a normalisation: with weights and statistics of its own."""
    for values in norm.state_dict().values():
        if values.is_floating_point():
            values.uniform_(0.3, 2.0, generator=generator)
    return norm


def batch_norm_1d(rng, D):
    generator = torch.Generator().manual_seed(rng.randrange(1000))
    n = rng.randint(2, 40)
    return nn.Sequential(
        trained(nn.BatchNorm1d(D), generator),
        nn.Linear(D, n, bias=rng.random() < 0.5),
        trained(nn.BatchNorm1d(n), generator),
        nn.ReLU(),
        trained(nn.BatchNorm1d(n, affine=False), generator),
    )


def batch_norm_2d(rng, D):
    generator = torch.Generator().manual_seed(rng.randrange(1000))
    C = rng.randint(2, 5)
    image, _ = image_of(rng, C, D)
    return image.extend(
        [
            trained(nn.BatchNorm2d(C), generator),
            nn.Conv2d(C, 2 * C, 3, padding=1, bias=False),
            trained(nn.BatchNorm2d(2 * C), generator),
            nn.ConvTranspose2d(2 * C, 2 * C, 3, groups=2),
            trained(nn.BatchNorm2d(2 * C), generator),
            nn.ReLU(inplace=True),
            trained(nn.BatchNorm2d(2 * C, affine=False), generator),
        ]
    )


def layer_norm(rng, D):
    generator = torch.Generator().manual_seed(rng.randrange(1000))
    C, H, W = rng.randint(1, 4), rng.randint(2, 6), rng.randint(2, 6)
    return nn.Sequential(
        nn.Linear(D, C * H * W),
        trained(nn.LayerNorm(C * H * W), generator),
        nn.Unflatten(1, (C, H, W)),
        nn.LayerNorm((H, W), elementwise_affine=False),
        trained(nn.LayerNorm(W, eps=0.1), generator),
        trained(nn.LayerNorm((C, H, W), bias=False), generator),
    )


def group_norm(rng, D):
    generator = torch.Generator().manual_seed(rng.randrange(1000))
    groups = rng.randint(1, 3)
    image, _ = image_of(rng, groups * 2, D)
    return image.extend(
        [
            trained(nn.GroupNorm(groups, groups * 2), generator),
            nn.GroupNorm(groups, groups * 2, affine=False, eps=0.01),
        ]
    )


def slopes(act):
    nn.init.uniform_(act.weight, -0.3, 0.9, torch.Generator().manual_seed(act.num_parameters))
    return act


def activation(rng, D):
    kinds = [
        *(nn.ReLU(), nn.LeakyReLU(rng.random()), nn.ELU(rng.random() + 0.5), nn.GELU(), nn.SiLU()),
        *(nn.GELU("tanh"), nn.Tanh(), nn.Sigmoid(), nn.Softplus(rng.random() + 0.5, 3.0)),
        *(nn.Hardtanh(-0.3, 0.4), nn.ReLU6(), nn.SELU(), nn.PReLU(1, rng.random())),
    ]
    n = rng.randint(20, 40)
    kinds.append(slopes(nn.PReLU(n)))
    layers = []
    for kind in rng.sample(kinds, 6):
        layers += [kind, nn.Linear(n, n)]
    return nn.Sequential(nn.Linear(D, n), *layers)


def upsample(rng, D):
    C = rng.randint(1, 3)
    image, _ = image_of(rng, C, D, least=2)
    mode = rng.choice(["nearest", "bilinear", "bilinear", "nearest-exact"])
    corners = rng.random() < 0.5 if mode == "bilinear" else None
    by_size = {"size": pair(rng, 1, 17)}
    by_scale = {"scale_factor": rng.choice([2, 3.0, 1.7, (0.6, 2.3)])}
    return image.append(
        nn.Upsample(**rng.choice([by_size, by_scale]), mode=mode, align_corners=corners)
    )


def interpolate(rng, D):
    image, _ = image_of(rng, 2, D, least=2)
    factor = rng.choice([2, 0.7, 2.5])
    options = [
        {"mode": "nearest"},
        {"mode": "bilinear", "recompute_scale_factor": True},
        {"mode": "bilinear", "align_corners": True},
    ]
    option = rng.choice(options)
    return Also(image, lambda h: F.interpolate(h, scale_factor=factor, **option))


def residual(rng, D):
    C = rng.randint(1, 4)
    image, _ = image_of(rng, C, D)
    block = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(C, C, 3, padding=1), nn.BatchNorm2d(C))
    return image.append(Residual(block)).append(Residual(nn.Identity()))


def arithmetic(rng, D):
    a = rng.uniform(0.5, 2)
    shift = torch.randn(7, generator=torch.Generator().manual_seed(rng.randrange(1000)))
    functions = [
        lambda h: torch.add(h, torch.tanh(h), alpha=a) - a,
        lambda h: (a - h) / 3 + 2 * h.sigmoid(),
        lambda h: h * F.silu(h) - torch.sub(h, F.elu(h), alpha=a),
        lambda h: -h.clamp(-0.3, 0.5) + shift * F.softplus(h) + shift,
        lambda h: F.dropout(h.mul(a).clone().add_(1).relu_() * 2, training=False),
    ]
    return Also(nn.Linear(D, 7), rng.choice(functions))


def moves(rng, D):
    functions = [
        lambda h: h.chunk(3, 1)[1] + h.chunk(3, 1)[2],
        lambda h: h.split([2, 4, 6], 1)[2].reshape(-1, 2, 3).transpose(1, 2),
        lambda h: h.narrow(1, 3, 5) * h[:, 1:6] + h[..., -5:],
        lambda h: h.view(*h.shape[:-1], 3, 4).permute(0, 2, 1).flatten(1),
        lambda h: F.pixel_shuffle(h.unflatten(1, (4, 3, 1)), 2).squeeze(-1),
        lambda h: h[:, ::2].unsqueeze(1).expand(-1, 4, -1).flip(2).contiguous(),
    ]
    return Also(nn.Sequential(nn.Linear(D, 12), nn.Tanh()), rng.choice(functions))


def joined(rng, D):
    C = rng.randint(1, 4)
    image, _ = image_of(rng, C, D)
    functions = [
        lambda h: torch.cat([h, h.tanh()], 1),
        lambda h: torch.cat((h.relu(), h), dim=-1),
        lambda h: torch.concat([h, h.flip(2), h], 2),
        lambda h: torch.cat([h.flatten(1), h[:, :, 0, 0]], 1),
    ]
    return Also(image, rng.choice(functions))


NETWORKS = (
    *(linear, linear_on_rows, conv, conv_by_name, conv_transpose, batch_norm_1d, batch_norm_2d),
    *(layer_norm, group_norm, activation, upsample, interpolate, residual, arithmetic, moves),
    joined,
)

ACTIVATION_LAYERS = [
    *(nn.ReLU(), nn.LeakyReLU(0.2), nn.ELU(1.3), nn.GELU(), nn.GELU("tanh"), nn.SiLU()),
    *(nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.Softplus(3.0, 5.0), nn.Hardtanh(-2, 3)),
]


def whole_range() -> Tensor:
    """Numbers of either sign, near 0 and far out, shape (N, 1)."""
    x = torch.cat([torch.linspace(-20, 20, 4001), torch.logspace(-10, 30, 200)])
    return torch.cat([x, -x]).unsqueeze(1)


def of_random_size(make: Callable, seed: int, n: int) -> tuple[nn.Module, Tensor]:
    """A network of one of these kinds, and n inputs for it."""
    rng = random.Random(f"{make.__name__} {seed}")
    D = rng.choice([1, 2, 3, 8])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.randrange(10**6))
        return make(rng, D), 1.5 * torch.randn(n, D)
