"""How each function of torch becomes operations of a program: one rule per function.

A rule is given the tape (`vae.live.recording.Tape`), the function's result and its arguments, and
returns the register of the result, or those of several.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_Rule = Callable[..., Any]
RULES: dict[str, _Rule] = {}  # rule(tape, result, *arguments of the function) -> register(s)

# What may be asked about a tensor, or made like it, without its values.
QUERIES = {
    *("shape", "ndim", "dtype", "device", "layout", "requires_grad", "is_leaf", "itemsize"),
    *("size", "dim", "ndimension", "numel", "nelement", "len", "stride", "storage_offset"),
    *("is_contiguous", "is_floating_point", "is_complex", "is_cuda", "get_device", "element_size"),
    *("data_ptr", "version", "is_inference"),
    *("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "new_tensor"),
}

COMPARISONS = {"gt", "ge", "lt", "le", "eq", "ne", "isnan", "isfinite", "any", "all", "allclose"}


def _rule(*names: str) -> Callable[[_Rule], _Rule]:
    def add(rule: _Rule) -> _Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return add


# --- linear maps ---


@_rule("linear")
def _linear(tape, result, input, weight, bias=None):
    outputs, inputs = weight.shape
    source = tape.of(input, batched=False)
    if input.numel() % (tape.batch * inputs):
        tape.refuse("mixes the inputs of a batch")
    return tape.emit(
        "linear",
        source,
        result,
        rows=input.numel() // tape.batch // inputs,
        inputs=inputs,
        outputs=outputs,
        weight=tape.constant(weight, weight),
        bias=tape.constant(bias, torch.zeros(outputs)),
    )


@_rule("matmul")
def _matmul(tape, result, input, other):
    if other.ndim != 2:
        tape.refuse("calls matmul with other than a matrix, which has no browser version")
    return _linear(tape, result, input, tape.constant(other, other).T)


@_rule("conv2d")
def _conv(tape, result, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    kernel, dilation = weight.shape[2:], _pair(dilation)
    if padding == "same":  # an odd row or column goes to the bottom and right
        padding = [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
    padding = _pair(0 if padding == "valid" else padding)
    outputs, inputs, taps = len(weight) // groups, weight.shape[1], math.prod(kernel)
    weight, op = tape.constant(weight, weight), "conv"
    turned = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    if _pair(stride) == [1, 1] and outputs < inputs and min(turned) >= 0:
        # The same as a transposed one of the flipped kernel, whose patches are of its few outputs.
        weight = weight.flip(2, 3).reshape(groups, outputs, inputs, taps).mT.contiguous()
        op, padding = "conv_transpose", turned
    return _any_conv(
        op, tape, result, input, weight, bias, kernel, stride, padding, dilation, groups
    )


@_rule("conv_transpose2d")
def _conv_transpose(
    tape,
    result,
    input,
    weight,
    bias=None,
    stride=1,
    padding=0,
    output_padding=0,  # is in the result's shape already
    groups=1,
    dilation=1,
):
    inputs, _, *kernel = weight.shape
    # Inputs last: the browser multiplies by these rows, and then adds up where they overlap.
    weight = tape.constant(weight, weight).reshape(groups, inputs // groups, -1).mT.contiguous()
    name = "conv_transpose"
    return _any_conv(
        name, tape, result, input, weight, bias, kernel, stride, padding, dilation, groups
    )


def _any_conv(op, tape, result, input, weight, bias, kernel, stride, padding, dilation, groups):
    if input.ndim != 4:
        tape.refuse("reads a tensor without the batch's axis")
    return tape.emit(
        op,
        tape.of(input),
        result,
        groups=groups,
        **{"from": list(input.shape[1:]), "to": list(result.shape[1:])},
        kernel=list(kernel),
        stride=_pair(stride),
        padding=_pair(padding),
        dilation=_pair(dilation),
        weight=weight,
        bias=tape.constant(bias, torch.zeros(result.shape[1])),
    )


def _pair(value: int | tuple[int, ...] | list[int]) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values


# --- normalisation ---


@_rule("batch_norm")
def _batch_norm(
    tape,
    result,
    input,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
):
    if training or running_mean is None:
        return tape.refuse("has no running statistics: it normalises by those of its batch")
    ones = torch.ones_like(running_var)
    scale = tape.constant(weight, ones).double() / (running_var.double() + eps).sqrt()
    shift = tape.constant(bias, 0 * ones).double() - running_mean.double() * scale
    return tape.affine(tape.of(input), result, scale, shift)


@_rule("layer_norm")
def _layer_norm(tape, result, input, normalized_shape, weight=None, bias=None, eps=1e-5):
    length = math.prod(normalized_shape)
    if input.numel() % (tape.batch * length):
        tape.refuse("mixes the inputs of a batch")
    out = tape.emit(
        "normalise", tape.of(input, batched=False), result, length=length, eps=float(eps)
    )
    if weight is None and bias is None:
        return out
    ones = torch.ones(length)
    scale, shift = tape.constant(weight, ones), tape.constant(bias, 0 * ones)
    return tape.affine(out, result, scale.reshape(-1), shift.reshape(-1), inner=1)


@_rule("group_norm")
def _group_norm(tape, result, input, num_groups, weight=None, bias=None, eps=1e-5):
    length = input.numel() // tape.batch // num_groups
    out = tape.emit("normalise", tape.of(input), result, length=length, eps=float(eps))
    if weight is None and bias is None:
        return out
    ones = torch.ones(input.shape[1])
    return tape.affine(out, result, tape.constant(weight, ones), tape.constant(bias, 0 * ones))


@_rule("softmax")
def _softmax(tape, result, input, dim=None, _stacklevel=3, dtype=None):
    if dim is None or dim % input.ndim != input.ndim - 1:
        tape.refuse("calls softmax over another axis than the last, which has no browser version")
    return tape.emit("softmax", tape.of(input, batched=False), result, length=int(input.shape[-1]))


# --- activations: one number in, one out ---


def _activation(kind: str) -> _Rule:
    def rule(tape, result, input, inplace=False):
        return _activate(tape, result, input, kind)

    return rule


def _activate(tape, result, input, kind, **parameters):
    parameters = {name: float(value) for name, value in parameters.items()}
    if not all(map(math.isfinite, parameters.values())):
        tape.refuse(f"has {kind} with parameters that are not finite: {parameters}")
    source = tape.of(input, batched=False)
    return tape.emit("activation", source, result, kind=kind, **parameters)


for _kind_of in ("relu", "silu", "tanh", "sigmoid", "log"):
    _rule(_kind_of)(_activation(_kind_of))


@_rule("leaky_relu")
def _leaky_relu(tape, result, input, negative_slope=0.01, inplace=False):
    return _activate(tape, result, input, "leaky_relu", slope=negative_slope)


@_rule("elu")
def _elu(tape, result, input, alpha=1.0, inplace=False):
    return _activate(tape, result, input, "elu", alpha=alpha)


@_rule("selu")
def _selu(tape, result, input, inplace=False):
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    out = _activate(tape, result, input, "elu", alpha=alpha)
    return tape.affine(out, result, torch.tensor([scale]), torch.zeros(1))


@_rule("prelu")
def _prelu(tape, result, input, weight):
    """Slope * x + (1 - slope) * max(0, x), the slope of each channel its own."""
    slope = tape.constant(weight, weight).double()
    below = tape.affine(tape.of(input), result, slope, 0 * slope)
    above = tape.affine(_activate(tape, result, input, "relu"), result, 1 - slope, 0 * slope)
    return tape.emit("add", above, result, **{"with": below}, alpha=1.0)


@_rule("gelu")
def _gelu(tape, result, input, approximate="none"):
    return _activate(tape, result, input, "gelu_tanh" if approximate == "tanh" else "gelu")


@_rule("softplus")
def _softplus(tape, result, input, beta=1.0, threshold=20.0):
    return _activate(tape, result, input, "softplus", beta=beta, threshold=threshold)


@_rule("clamp", "clip")
def _clamp(tape, result, input, min=None, max=None):
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        tape.refuse("clamps to tensors, which has no browser version")
    limits = {"low": -math.inf if min is None else min, "high": math.inf if max is None else max}
    limits = {name: limit for name, limit in limits.items() if math.isfinite(limit)}
    return _activate(tape, result, input, "clamp", **limits)


@_rule("hardtanh")
def _hardtanh(tape, result, input, min_val=-1.0, max_val=1.0, inplace=False):
    return _clamp(tape, result, input, min_val, max_val)


@_rule("relu6")
def _relu6(tape, result, input, inplace=False):
    return _clamp(tape, result, input, 0, 6)


# --- arithmetic ---


@_rule("add", "radd", "iadd")
def _add(tape, result, input, other, *, alpha=1):
    return _sum(tape, result, input, other, 1, alpha)


@_rule("sub", "subtract", "isub")
def _subtract(tape, result, input, other, *, alpha=1):
    return _sum(tape, result, input, other, 1, -alpha)


@_rule("rsub")
def _subtract_from(tape, result, input, other, *, alpha=1):
    return _sum(tape, result, input, other, -alpha, 1)


@_rule("neg", "negative")
def _negative(tape, result, input):
    return _sum(tape, result, input, 0.0, -1, 1)


@_rule("mul", "multiply", "rmul", "imul")
def _multiply(tape, result, input, other):
    a, b = _followed_first(tape, input, other)
    if id(b) in tape.registers:
        return tape.emit("multiply", tape.of(a), result, **{"with": _same(tape, a, b)})
    scale = _each(tape, result, a, b)
    return tape.affine(tape.of(a), result, scale, torch.zeros_like(scale))


@_rule("div", "divide", "true_divide", "truediv", "itruediv")
def _divide(tape, result, input, other):
    if id(other) in tape.registers:
        tape.refuse("divides by a tensor, which has no browser version")
    scale = 1 / _each(tape, result, input, other).double()
    return tape.affine(tape.of(input), result, scale, torch.zeros_like(scale))


def _sum(tape, result, input, other, alpha, beta):
    """Alpha * input + beta * other."""
    a, b = input, other
    if id(a) not in tape.registers:
        a, b, alpha, beta = b, a, beta, alpha
    if id(b) not in tape.registers:
        shift = beta * _each(tape, result, a, b)
        return tape.affine(tape.of(a), result, torch.full_like(shift, alpha), shift)
    if alpha != 1:
        a, b, alpha, beta = b, a, beta, alpha
    if alpha != 1:
        tape.refuse("multiplies both parts of a sum, which has no browser version")
    return tape.emit("add", tape.of(a), result, **{"with": _same(tape, a, b)}, alpha=float(beta))


def _followed_first(tape, a, b):
    return (a, b) if id(a) in tape.registers else (b, a)


def _same(tape, a: Tensor, b: Tensor) -> int:
    """The register of b, which must have the shape of a."""
    if a.shape != b.shape:
        tape.refuse(
            f"combines tensors of two shapes, {tuple(a.shape[1:])} and {tuple(b.shape[1:])}, "
            "which has no browser version"
        )
    return tape.of(b)


def _each(tape, result: Tensor, value: Tensor, constant: Tensor | float) -> Tensor:
    """A constant operand, one for each number of the result or one for all."""
    if not isinstance(constant, Tensor) or constant.numel() == 1:
        return torch.full((1,), float(constant), dtype=torch.float64)
    whole = constant.detach().expand(result.shape)
    if result.shape != value.shape or (whole != whole[:1]).any():
        tape.refuse("combines its input with a constant of another shape or for a whole batch")
    return whole[0].reshape(-1)


# --- moving numbers about ---


@_rule("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
def _dropout(tape, result, input, p=0.5, training=True, inplace=False):
    if training:
        tape.refuse("drops values at random even in evaluation")
    return tape.of(input, batched=False)


@_rule("interpolate")
def _interpolate(tape, result, input, size=None, scale_factor=None, mode="nearest", **options):
    if mode not in ("nearest", "nearest-exact", "bilinear") or options.get("antialias"):
        tape.refuse(f"resizes by mode {mode!r}, which has no browser version")
    if input.ndim != 4:
        tape.refuse("resizes other than images, which has no browser version")
    H, W = input.shape[2:]
    # Resizing two ramps gives the coordinate in the source that each row and column is read at.
    ramps = torch.zeros(1, 2, H, W, dtype=torch.float64)
    ramps[0, 0] = torch.arange(H)[:, None]
    ramps[0, 1] = torch.arange(W)
    rows, columns = F.interpolate(ramps, size, scale_factor, mode, **options)[0]
    return tape.emit(
        "resample",
        tape.of(input),
        result,
        channels=input.shape[1],
        **{"from": [H, W]},
        rows=rows[:, 0].clamp(0, H - 1).tolist(),  # rounding may lead off the edge
        columns=columns[0].clamp(0, W - 1).tolist(),
    )


def _move(tape, result, input, *args, **kwargs):
    """Any function that only moves numbers: it is given their places to move instead."""
    source = tape.of(input, batched=False)
    if input.numel() >= 2**24:
        tape.refuse("moves more numbers than float32 can count")
    places = torch.arange(input.numel(), dtype=torch.float32).reshape(input.shape)
    moved = tape.function(places, *args, **kwargs)
    if isinstance(result, Tensor):
        return _gather(tape, source, input, result, moved)
    return tuple(_gather(tape, source, input, *pair) for pair in zip(result, moved, strict=True))


def _gather(tape, source: int, value: Tensor, result: Tensor, moved: Tensor) -> int:
    size, batch = value.numel() // tape.batch, tape.batch
    if moved.dtype not in (torch.float32, torch.float64):
        tape.refuse(f"makes a tensor of {moved.dtype}, which has no browser version")
    if moved.numel() % batch:
        tape.refuse("mixes the inputs of a batch")
    places = moved.reshape(batch, -1).long()
    index = places[0]
    if (index >= size).any() or (places != index + size * torch.arange(batch)[:, None]).any():
        tape.refuse("mixes the inputs of a batch")
    if torch.equal(index, torch.arange(size)):
        return source  # the same numbers in the same order
    return tape.emit("gather", source, result, index=index.tolist())


_rule(
    *("reshape", "view", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "view_as"),
    *("reshape_as", "contiguous", "clone", "detach", "data", "to", "type_as", "float", "double"),
    *("chunk", "split", "tensor_split", "narrow", "getitem", "select", "unbind", "expand"),
    *("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "flip", "mT"),
    *("expand_as", "repeat", "repeat_interleave", "tile", "pixel_shuffle", "pixel_unshuffle"),
    *("channel_shuffle", "cpu"),
)(_move)


@_rule("cat", "concat", "concatenate")
def _cat(tape, result, tensors, dim=0):
    parts = list(tensors)
    registers = [tape.of(part) for part in parts]
    if dim % result.ndim == 0:
        tape.refuse("joins inputs of a batch")
    source, size = registers[0], parts[0].numel() // tape.batch
    for part, register in zip(parts[1:], registers[1:], strict=True):
        size += part.numel() // tape.batch
        joined = torch.empty(tape.batch, size)
        source = tape.emit("concat", source, joined, **{"with": register})
    if len(parts) == 1:
        return source
    # One input's numbers, part behind part, and where the result has them.
    places, first = [], 0
    for part in parts:
        n = part.numel() // tape.batch
        places.append(torch.arange(first, first + n).reshape(1, *part.shape[1:]))
        first += n
    index = torch.cat(places, dim).reshape(-1)
    if torch.equal(index, torch.arange(first)):
        return source
    return tape.emit("gather", source, result, index=index.tolist())


@_rule("pad")
def _pad(tape, result, input, pad, mode="constant", value=None):
    tape.refuse(f"pads in mode {mode!r}, which has no browser version")
