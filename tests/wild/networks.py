"""A network as its author wrote it: modules under the names of a file, and a forward in words.

Nothing of `vae` is used: it is the truth that the readers are held against. The modules come from
names and shapes; what these do not say (order, activations, strides) is a `Recipe`, whose steps are
words from left to right:

    fc1                  the module of that name; a matrix is a Linear, four axes are a Conv2d
    enc1/s2p1            a Conv2d with stride 2 and padding 1; /s2same pads as Keras does
    dec1^s2p1o1          a ConvTranspose2d, with an output padding of 1
    norm/g8              a GroupNorm of 8 groups (without /g8 a LayerNorm, or a BatchNorm if it ran)
    relu  leaky  leaky2  LeakyReLU 0.01 and 0.2; tanh sigmoid elu gelu silu softplus
    relu@encoder.1       the same, registered under that name, as in an nn.Sequential
    flatten  to:32x7x7   pool2 (max)  mean2 (average)  avg (global)  up2 (nearest)  up:7 (to 7 x 7)
    last                 channels last from here (before flatten); first: after to:7x7x32
    y:label,relu         the condition becomes relu(label(y)); e:label looks the label up
    +y  y+  +planes      the condition behind, or before; a plane for each class behind the channels
    res:encoder.1        a residual block with its norms and shortcut
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky": nn.LeakyReLU,
    "leaky2": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "flatten": nn.Flatten,
    "drop": lambda: nn.Dropout(0.1),
    "pool2": lambda: nn.MaxPool2d(2),
    "pool3": lambda: nn.MaxPool2d(3),
    "mean2": lambda: nn.AvgPool2d(2),
    "up2": lambda: nn.Upsample(scale_factor=2),
}
_GEOMETRY = re.compile(r"(?:s(\d))?(?:p(\d))?(?:o(\d))?")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Recipe:
    """What the code of a file says that its names and shapes do not.

    Attributes:
        encoder, mu, second, decoder: steps; "second" is empty where "mu" gives both at once.
        meaning: of the second head: logvar, logsigma, sigma, or variance.
        fused: how one head gives both: chunked, swapped (second first) or interleaved.
        output: sigmoid, tanh, linear or logits; sigmoid@decoder.4 is registered under that name.
        pixels: what is read, and written unless by a sigmoid: unit, signed, or mean and std.
        loss: bce or mse, each summed over pixels, plus beta times the KL.
        gain: of the squared error, so that it does not vanish beside the KL.
        shape: of the images: C, H, W.
        n_classes: of the condition; 0 without one.
        unused: names that are in the file and nowhere in the forward.
        dataset, n_images: what it is trained on, and on how many a slow one is.
    """

    encoder: str
    mu: str
    second: str
    decoder: str
    shape: tuple[int, int, int] = (1, 28, 28)
    meaning: str = "logvar"
    fused: str = ""
    output: str = "sigmoid"
    pixels: str | tuple[float, float] = "unit"
    loss: str = "bce"
    beta: float = 1.0
    gain: float = 1.0
    n_classes: int = 0
    unused: tuple[str, ...] = ()
    dataset: str = "mnist"
    n_images: int = 8000

    def words(self) -> Iterable[str]:
        yield from f"{self.encoder} {self.mu} {self.second} {self.decoder}".split()


class Author:
    """The class behind a file: `encode`, `decode` and `forward`, with the file's names.

    Args:
        shapes: of every tensor of the file by name, in its order.
        recipe: the rest.

    Attributes:
        net: the modules, under the file's names.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]], recipe: Recipe) -> None:
        self.recipe = recipe
        self.net = Part()
        modules = dict(_modules(shapes, recipe))
        used = {_name(word) for word in recipe.words()} | set(recipe.unused)
        used |= {_name(w[2:].split(",")[0]) for w in recipe.words() if w[:2] in ("y:", "e:")}
        blocks = tuple(f"{w[4:]}." for w in recipe.words() if w.startswith("res:"))
        idle = {name for name in modules if name not in used and not name.startswith(blocks or "?")}
        assert not idle, f"no step uses {sorted(idle)}"
        for name, module in modules.items():
            _place(self.net, name, module)
        for word in [*recipe.words(), recipe.output]:
            act, _, name = word.partition("@")
            if name:
                _place(self.net, name, ACTIVATIONS[act]())
        for parent in list(self.net.modules()):
            children = parent._modules
            if isinstance(parent, nn.Sequential) and all(map(str.isdigit, children)):
                parent._modules = {k: children[k] for k in sorted(children, key=int)}

    def encode(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images in [0, 1] (B, C, H, W), labels (B,) -> mu and what the second head gives."""
        recipe = self.recipe
        h, c = self._run(recipe.encoder, self.read(x), y, self._one_hot(y))
        first, _ = self._run(recipe.mu, h, y, c)
        first = first.flatten(1)
        if recipe.second:
            return first, self._run(recipe.second, h, y, c)[0].flatten(1)
        if recipe.fused == "interleaved":
            return first[:, 0::2], first[:, 1::2]
        one, two = first.chunk(2, dim=1)
        return (two, one) if recipe.fused == "swapped" else (one, two)

    def q(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """mu and the log variance of q(z|x)."""
        mu, second = self.encode(x, y)
        if self.recipe.meaning == "logvar":
            return mu, second
        if self.recipe.meaning == "logsigma":
            return mu, 2 * second
        if self.recipe.meaning == "variance":
            return mu, second.clamp_min(1e-12).log()
        return mu, 2 * second.abs().clamp_min(1e-6).log()

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z (B, k) -> what the author's decoder returns, (B, C, H, W)."""
        recipe = self.recipe
        out, _ = self._run(recipe.decoder, z, y, self._one_hot(y))
        out = out.reshape(-1, *recipe.shape)
        act = recipe.output.partition("@")[0]
        return {"sigmoid": torch.sigmoid, "tanh": torch.tanh}.get(act, lambda x: x)(out)

    def mean(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The decoded image with pixels in [0, 1]."""
        out = self.decode(z, y)
        if self.recipe.output == "logits":
            return out.sigmoid()
        if self.recipe.output.startswith("sigmoid") or self.recipe.pixels == "unit":
            return out
        if self.recipe.pixels == "signed":
            return (out + 1) / 2
        mean, std = self.recipe.pixels
        return out * std + mean

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        mu, second = self.encode(x, y)
        sigma = second.exp() if self.recipe.meaning == "logsigma" else second
        if self.recipe.meaning == "logvar":
            sigma = torch.exp(0.5 * second)
        return self.decode(mu + sigma * torch.randn_like(mu), y), mu, second

    def read(self, x: Tensor) -> Tensor:
        if self.recipe.pixels == "unit":
            return x
        if self.recipe.pixels == "signed":
            return 2 * x - 1
        mean, std = self.recipe.pixels
        return (x - mean) / std

    def _one_hot(self, y: Tensor | None) -> Tensor | None:
        return None if y is None else F.one_hot(y, self.recipe.n_classes).float()

    def _run(self, steps: str, h: Tensor, y: Any, c: Any) -> tuple[Tensor, Any]:
        for word in steps.split():
            if word[:2] in ("y:", "e:"):
                name, *rest = word[2:].split(",")
                c = self.net.get_submodule(name)(c if word[0] == "y" else y)
                for act in rest:
                    c = ACTIVATIONS[act]()(c)
            elif word == "+y":
                h = torch.cat([h.flatten(1), c], 1)
            elif word == "y+":
                h = torch.cat([c, h.flatten(1)], 1)
            elif word == "+planes":
                h = torch.cat([h, c[:, :, None, None].expand(-1, -1, *h.shape[2:])], 1)
            else:
                h = self._step(word, h)
        return h, c

    def _step(self, word: str, h: Tensor) -> Tensor:
        act, _, name = word.partition("@")
        if name:
            return self.net.get_submodule(name)(h)
        if act in ACTIVATIONS:
            return ACTIVATIONS[act]().train(self.net.training)(h)
        if word.startswith("to:"):
            return h.reshape(-1, *map(int, word[3:].split("x")))
        if word.startswith("up:"):
            return F.interpolate(h, size=(int(word[3:]),) * 2)
        if word == "avg":
            return h.mean((2, 3))
        if word == "last":
            return h.permute(0, 2, 3, 1)
        if word == "first":
            return h.permute(0, 3, 1, 2)
        if word.startswith("res:"):
            return _residual(self.net.get_submodule(word[4:]), h)
        module = self.net.get_submodule(_name(word))
        if isinstance(module, nn.Linear):
            h = h.flatten(1)
        if word.endswith("same"):
            return _keras_same(module, h, int(word[-5]))
        return module(h)


def _name(word: str) -> str:
    return re.split(r"[/^]", word)[0]


def _modules(shapes: dict[str, tuple[int, ...]], recipe: Recipe) -> Iterable[tuple[str, nn.Module]]:
    """Name and module, in the order of the file."""
    how = {_name(word): word[len(_name(word)) :] for word in recipe.words()}
    embedded = {w[2:].split(",")[0] for w in recipe.words() if w.startswith("e:")}
    in_blocks = tuple(f"{w[4:]}." for w in recipe.words() if w.startswith("res:"))
    groups: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        module, _, part = name.rpartition(".")
        groups.setdefault(module, {})[part] = shape
    images = False
    for name, parts in groups.items():
        shape, bias = parts["weight"], "bias" in parts
        word = how.get(name, "")
        if name.startswith(in_blocks or "?") and len(shape) == 4:
            word = f"/s1p{shape[-1] // 2}"
        if len(shape) == 4:
            yield name, _convolution(shape, word, bias)
        elif len(shape) == 2:
            yield name, nn.Embedding(*shape) if name in embedded else _linear(shape, bias)
        elif "running_mean" in parts:
            yield name, (nn.BatchNorm2d if images else nn.BatchNorm1d)(shape[0])
        elif word.startswith("/g"):
            yield name, nn.GroupNorm(int(word[2:]), shape[0])
        else:
            yield name, nn.LayerNorm(shape)
        images = len(shape) == 4 or (images and len(shape) == 1)


def _linear(shape: tuple[int, ...], bias: bool) -> nn.Linear:
    return nn.Linear(shape[1], shape[0], bias=bias)


def _convolution(shape: tuple[int, ...], word: str, bias: bool) -> nn.Module:
    transposed, geometry = word[:1] == "^", word[1:]
    match = None if geometry.endswith("same") else _GEOMETRY.fullmatch(geometry)
    stride, padding, output = (int(n or 0) for n in match.groups()) if match else (0, 0, 0)
    stride = stride or (int(geometry[1]) if geometry.endswith("same") else 1)
    size = tuple(shape[2:])
    if transposed:
        return nn.ConvTranspose2d(shape[0], shape[1], size, stride, padding, output, bias=bias)
    return nn.Conv2d(shape[1], shape[0], size, stride, padding, bias=bias)


def _keras_same(module: nn.Module, h: Tensor, stride: int) -> Tensor:
    """Padding "same", which Keras puts behind first where it is odd."""
    kernel, n = module.kernel_size[0], h.shape[-1]
    if isinstance(module, nn.ConvTranspose2d):
        before = max(kernel - stride, 0) // 2
        return module(h)[:, :, before : before + n * stride, before : before + n * stride]
    total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
    sides = (total // 2, total - total // 2)
    return module(F.pad(h, sides * 2))


def _residual(block: nn.Module, x: Tensor) -> Tensor:
    get = block.get_submodule
    h = get("norm1")(get("conv1")(x)).relu()
    h = get("norm2")(get("conv2")(h))
    return (h + get("shortcut_norm")(get("shortcut_conv")(x))).relu()


class Part(nn.Module):
    """What holds other modules under names."""


def _place(root: nn.Module, name: str, module: nn.Module) -> None:
    """Registers a module under a name with dots; parents of numbers are nn.Sequential."""
    parent, names = root, name.split(".")
    for here, below in itertools.pairwise(names):
        if here not in parent._modules:
            parent.add_module(here, nn.Sequential() if below.isdigit() else Part())
        parent = parent._modules[here]
    parent.add_module(names[-1], module)
