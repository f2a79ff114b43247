"""A network as a program: a list of operations and one buffer of float32, run by program.js.

`compile_module` runs a copy of the module in evaluation mode on an example and writes down every
operation that touches the example. Its functions are intercepted, not its layers, so any nesting
of modules will do as long as the functions have a rule below. The interception belongs to one
thread: other sessions of a server go on using their models meanwhile.

A program computes on registers, flat float32 arrays that hold one value of the network for each
input of a batch, channels first as in torch. Register 0 is the input. Weights are named by where
they start in the buffer, counted in floats. The operations, with what they hold besides
`op`, `in` and `out`:

    linear          rows, inputs, outputs; weight (outputs, inputs), bias (outputs)
    conv            groups, from and to (C, H, W), kernel, stride, padding (top, left), dilation;
                    weight (outputs, inputs / groups, *kernel), bias (outputs)
    conv_transpose  the same, but weight (groups, outputs / groups, *kernel, inputs / groups)
    affine          channels, inner; scale and shift (channels), each for `inner` neighbours
    normalise       length, eps: each run of `length` values gets mean 0 and variance 1
    resample        channels, from (H, W), and the source coordinate of each row and column of
                    the result, between two of which it interpolates
    activation      kind, and its parameters by name
    gather          index: the place in `in` of each value of the result; a slice, a permutation
    add, multiply   with: the second register, which `add` multiplies by `alpha` first
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# Examples of two sizes: what follows the size of the batch then shows, as a difference.
_BATCHES = (3, 4)


class ProgramError(ValueError):
    """A module that cannot be turned into a program; the message is a sentence for the screen."""


class UnsupportedLayer(ProgramError):
    """The module does something that has no browser version; the message names the layer."""


class NonFiniteWeights(ProgramError):
    """A parameter or buffer holds NaN or infinity; the message names it."""


@dataclass(frozen=True)
class Program:
    """What program.js runs.

    Attributes:
        ops: the operations in order, as in this file's docstring.
        sizes: floats of each register for one input; register 0 is the input.
        outputs: the registers of the results: (raw,) of a decoder, (mu, logvar) of an encoder.
        output_shapes: their shapes, without the batch.
        weights: shape (floats,), little-endian float32.
    """

    ops: tuple[dict[str, Any], ...]
    sizes: tuple[int, ...]
    outputs: tuple[int, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    weights: np.ndarray

    def header(self) -> dict[str, Any]:
        """Everything but the weights, ready for JSON; `floats` is how many weights there are."""
        return {
            "ops": list(self.ops),
            "sizes": list(self.sizes),
            "outputs": list(self.outputs),
            "output_shapes": [list(shape) for shape in self.output_shapes],
            "floats": len(self.weights),
        }


def compile_module(module: nn.Module, input_shape: tuple[int, ...]) -> Program:
    """The program that computes what the module computes in evaluation mode.

    Args:
        module: reads one tensor (B, *input_shape) and returns a tensor or a tuple of tensors,
            each (B, ...). It is left as it is: a copy is run, on the CPU and in float32.
        input_shape: the shape of one input, without the batch: (2,), or (1, 28, 28).

    Raises:
        UnsupportedLayer: the module does something that has no browser version.
        NonFiniteWeights: a parameter or buffer holds NaN or infinity.
        ProgramError: the module cannot be run on inputs of that shape.
    """
    _check(module)
    try:
        module = copy.deepcopy(module).to("cpu", torch.float32).eval()
    except Exception as error:  # of whatever a person's own module holds
        raise UnsupportedLayer(f"{_kind(module)} cannot be copied: {_brief(error)}") from error
    first, second = (_record(module, tuple(input_shape), batch) for batch in _BATCHES)
    if first.header() != second.header() or not np.array_equal(first.weights, second.weights):
        raise UnsupportedLayer(
            f"what {_kind(module)} computes depends on the size of the batch, or on chance"
        )
    return first


def _check(module: nn.Module) -> None:
    for path, layer in module.named_modules():
        if isinstance(layer, torch.jit.ScriptModule):
            raise UnsupportedLayer(f"{_where(path, layer)} is TorchScript: it cannot be followed")
        if layer._forward_hooks or layer._forward_pre_hooks:
            raise UnsupportedLayer(
                f"{_where(path, layer)} has a forward hook (the older weight_norm sets one), "
                "which has no browser version"
            )
    for name, values in [*module.named_parameters(), *module.named_buffers()]:
        if nn.parameter.is_lazy(values):
            raise UnsupportedLayer(f"{name} has no size yet: run the model once first")
        if not torch.isfinite(values).all():
            raise NonFiniteWeights(
                f"{name} holds values that are not finite (NaN or infinity); "
                "load an earlier checkpoint, or train with a lower learning rate"
            )


def _kind(module: nn.Module) -> str:
    return type(module).__name__


def _where(path: str, layer: nn.Module) -> str:
    return f"layer {path} ({_kind(layer)})" if path else f"the module ({_kind(layer)})"


def _brief(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _record(module: nn.Module, input_shape: tuple[int, ...], batch: int) -> Program:
    """Runs the module, which is ours to change, on a batch of zeros."""
    tape = _Tape(batch)
    hooks = []
    for path, layer in module.named_modules():
        hooks.append(layer.register_forward_pre_hook(tape.enter(path)))
        hooks.append(layer.register_forward_hook(tape.leave))
    x = torch.zeros(batch, *input_shape)
    tape.follow(x, tape.register(x))
    try:
        with torch.no_grad(), tape:
            results = module(x)
    except ProgramError:
        raise
    except Exception as error:  # the module's own code: anything may come out of it
        raise ProgramError(
            f"{tape.where()} fails on inputs of shape {tuple(input_shape)}: {_brief(error)}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()

    results = results if isinstance(results, tuple | list) else (results,)
    outputs = []
    for result in results:
        register = tape.registers.get(id(result))
        if register is None:
            raise UnsupportedLayer(
                f"{_kind(module)} returns a {type(result).__name__} that does not come from its "
                "input by functions of torch; it should return tensors"
            )
        if result.ndim == 0 or result.shape[0] != batch:
            raise UnsupportedLayer(f"{_kind(module)} returns a tensor without the batch's axis")
        outputs.append(register)
    return _pack(tape, tuple(outputs), tuple(tuple(result.shape[1:]) for result in results))


class _Tape(TorchFunctionMode):
    """Follows the values that come from the input through every function of torch.

    Attributes:
        batch: B of the example.
        layers: path and layer of each call under way, outermost first.
        registers: id of each followed tensor -> its register.
        ops: as in `Program`, but with tensors in place of offsets.
        sizes: as in `Program`.
    """

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch
        self.layers: list[tuple[str, nn.Module]] = []
        self.registers: dict[int, int] = {}
        self.ops: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        self.function: Callable[..., Any] | None = None  # the one that a rule is asked about
        self._followed: dict[int, Tensor] = {}  # alive, or another tensor could take over its id

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        operands = [*args, *kwargs.values()]
        for nested in [value for value in operands if isinstance(value, tuple | list)]:
            operands += nested
        followed = [value for value in operands if id(value) in self.registers]
        result = func(*args, **kwargs)
        if not followed:
            return result  # computed from weights and constants alone

        name = func.__name__
        if name == "__get__":
            name = func.__self__.__name__
        name = name.strip("_")  # add_ and __add__ are add
        if name in _QUERIES:
            return result
        path, layer = self.layers[-1]
        if name not in _RULES and type(layer).__module__.startswith("torch.nn"):
            raise UnsupportedLayer(f"{_where(path, layer)} has no browser version")
        results = result if isinstance(result, tuple | list) else (result,)
        if name in _COMPARISONS or not all(isinstance(one, Tensor) for one in results):
            self.refuse(f"calls {name}, so what it does depends on the values it is given")
        if name not in _RULES:
            self.refuse(f"calls {name}, which has no browser version")
        try:
            self.function = func
            registers = _RULES[name](self, result, *args, **kwargs)
        except ProgramError:
            raise
        except Exception as error:  # arguments that the rule does not know
            self.refuse(f"calls {name} in a way that has no browser version ({_brief(error)})")
        if isinstance(registers, int):
            registers = (registers,)
        for one, register in zip(results, registers, strict=True):
            self.follow(one, register)
        return result

    def enter(self, path: str) -> Callable[..., None]:
        """A hook for before the layer of that path is called."""

        def hook(layer: nn.Module, _: tuple[Any, ...]) -> None:
            self.layers.append((path, layer))

        return hook

    def leave(self, *_: Any) -> None:
        """A hook for after a layer; one that fails stays on the list, for `where`."""
        self.layers.pop()

    def where(self) -> str:
        """The layer that is being called."""
        return _where(*self.layers[-1]) if self.layers else "the module"

    def refuse(self, reason: str) -> NoReturn:
        """Raises UnsupportedLayer in the name of the layer that is being called."""
        raise UnsupportedLayer(f"{self.where()} {reason}")

    def follow(self, tensor: Tensor, register: int) -> None:
        """From here on the tensor is the register's value, in place too."""
        before = self.registers.get(id(tensor))
        if before is not None and before != register:
            memory = tensor.untyped_storage().data_ptr()
            for key, other in self._followed.items():
                if other.untyped_storage().data_ptr() == memory:
                    if self.registers[key] != before:
                        self.refuse("changes a part of a tensor in place")
                    self.registers[key] = register
        self.registers[id(tensor)] = register
        self._followed[id(tensor)] = tensor

    def register(self, value: Tensor) -> int:
        """A new register, of the value's size."""
        if value.dtype not in (torch.float32, torch.float64):
            self.refuse(f"makes a tensor of {value.dtype}, which has no browser version")
        if value.numel() % self.batch:
            self.refuse("mixes the inputs of a batch")
        self.sizes.append(value.numel() // self.batch)
        return len(self.sizes) - 1

    def of(self, value: Tensor, *, batched: bool = True) -> int:
        """The register of a followed tensor; if `batched`, its first axis must be the batch's."""
        if id(value) not in self.registers:
            self.refuse("reads a constant where its input belongs, which has no browser version")
        if batched and (value.ndim == 0 or value.shape[0] != self.batch):
            self.refuse("mixes the inputs of a batch")
        return self.registers[id(value)]

    def constant(self, value: Tensor | None, default: Tensor) -> Tensor:
        """The value of a weight; `default` for None."""
        if value is None:
            return default
        if id(value) in self.registers:
            self.refuse("computes its weights from its input, which has no browser version")
        return value.detach()

    def emit(self, op: str, source: int, result: Tensor, **fields: Any) -> int:
        """Writes an operation down; the register of its result."""
        out = self.register(result)
        self.ops.append({"op": op, "in": source, "out": out, **fields})
        return out

    def affine(
        self, source: int, result: Tensor, scale: Tensor, shift: Tensor, inner: int | None = None
    ) -> int:
        """scale * x + shift, with one of each, of shape (channels,), for `inner` neighbours.

        By default the channels share the value out evenly.
        """
        channels = len(scale)
        inner = inner or result.numel() // self.batch // channels
        fields = {"channels": channels, "inner": inner, "scale": scale, "shift": shift}
        return self.emit("affine", source, result, **fields)


_Rule = Callable[..., int | tuple[int, ...]]
_RULES: dict[str, _Rule] = {}  # rule(tape, result, *arguments of the function) -> register(s)

# What may be asked about a tensor, or made like it, without its values.
_QUERIES = {
    *("shape", "ndim", "dtype", "device", "layout", "requires_grad", "is_leaf", "itemsize"),
    *("size", "dim", "ndimension", "numel", "nelement", "len", "stride", "storage_offset"),
    *("is_contiguous", "is_floating_point", "is_complex", "is_cuda", "get_device", "element_size"),
    *("data_ptr", "version", "is_inference"),
    *("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "new_tensor"),
}

_COMPARISONS = {"gt", "ge", "lt", "le", "eq", "ne", "isnan", "isfinite", "any", "all", "allclose"}


def _rule(*names: str) -> Callable[[_Rule], _Rule]:
    def add(rule: _Rule) -> _Rule:
        _RULES.update(dict.fromkeys(names, rule))
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
    weight = tape.constant(weight, weight)
    return _any_conv(
        "conv", tape, result, input, weight, bias, kernel, stride, padding, dilation, groups
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
        tape.refuse("has no running statistics: it normalises by those of its batch")
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


for _kind_of in ("relu", "silu", "tanh", "sigmoid"):
    _rule(_kind_of)(_activation(_kind_of))


@_rule("leaky_relu")
def _leaky_relu(tape, result, input, negative_slope=0.01, inplace=False):
    return _activate(tape, result, input, "leaky_relu", slope=negative_slope)


@_rule("elu")
def _elu(tape, result, input, alpha=1.0, inplace=False):
    return _activate(tape, result, input, "elu", alpha=alpha)


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


@_rule("pad")
def _pad(tape, result, input, pad, mode="constant", value=None):
    tape.refuse(f"pads in mode {mode!r}, which has no browser version")


# --- from the tape to a program ---


def _pack(tape: _Tape, outputs: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]) -> Program:
    """Drops what nothing reads, folds affine operations and lays the weights out."""
    ops = _fold(_needed(tape.ops, outputs), outputs)
    used = {0, *outputs, *(op["out"] for op in ops)}
    renamed = {register: place for place, register in enumerate(sorted(used))}
    packed, buffers, floats = [], [np.empty(0, "<f4")], 0
    for op in ops:
        fields = {}
        for name, value in op.items():
            if isinstance(value, Tensor):
                values = value.detach().numpy().astype("<f4").reshape(-1)
                if not np.isfinite(values).all():
                    raise NonFiniteWeights(
                        f"{op['op']} with a {name} beyond float32: infinite or NaN"
                    )
                buffers.append(values)
                value, floats = floats, floats + len(values)
            elif name in ("in", "out", "with"):
                value = renamed[value]
            fields[name] = value
        packed.append(fields)
    return Program(
        ops=tuple(packed),
        sizes=tuple(tape.sizes[register] for register in sorted(used)),
        outputs=tuple(renamed[register] for register in outputs),
        output_shapes=shapes,
        weights=np.concatenate(buffers),
    )


def _needed(ops: list[dict[str, Any]], outputs: tuple[int, ...]) -> list[dict[str, Any]]:
    """The operations that the outputs depend on."""
    read, kept = set(outputs), []
    for op in reversed(ops):
        if op["out"] in read:
            read |= _reads(op)
            kept.append(op)
    return kept[::-1]


def _reads(op: dict[str, Any]) -> set[int]:
    return {op[name] for name in ("in", "with") if name in op}


def _fold(ops: list[dict[str, Any]], outputs: tuple[int, ...]) -> list[dict[str, Any]]:
    """Affine operations become part of the linear map before them, where nothing else reads it."""
    folded: list[dict[str, Any]] = []
    by_register: dict[int, dict[str, Any]] = {}
    for op in ops:
        before = by_register.get(op["in"])
        readers = sum(op["in"] in _reads(other) for other in ops) + outputs.count(op["in"])
        if op["op"] == "affine" and before is not None and readers == 1:
            scale, shift = (_per_output(op, name, before) for name in ("scale", "shift"))
            if scale is not None and shift is not None:
                weight = before["weight"].double()
                rows = weight.reshape(len(scale), -1) * scale[:, None]
                before["weight"] = rows.reshape(weight.shape)
                before["bias"] = before["bias"].double() * scale + shift
                before["out"] = op["out"]
                by_register[op["out"]] = before
                continue
        op = dict(op)
        folded.append(op)
        if op["op"] in ("linear", "conv", "conv_transpose"):
            by_register[op["out"]] = op
    return folded


def _per_output(affine: dict[str, Any], name: str, before: dict[str, Any]) -> Tensor | None:
    """One number for each output (channel) of `before`, or None where it takes more."""
    whole = affine[name].double().repeat_interleave(affine["inner"])
    if before["op"] == "linear":
        size = before["rows"] * before["outputs"]
        table = whole.repeat(size // len(whole)).reshape(-1, before["outputs"]).T
    else:
        size = math.prod(before["to"])
        table = whole.repeat(size // len(whole)).reshape(before["to"][0], -1)
    return table[:, 0] if (table == table[:, :1]).all() else None
