"""A network as a program: a list of operations and one buffer of float32, run by js/program/.

`compile_module` runs a copy of the module in evaluation mode on an example, writes down every
operation that touches the example (`vae.live.recording`), and drops, folds and packs them.

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
    softmax         length: each run of `length` values becomes shares of 1
    resample        channels, from (H, W), and the source coordinate of each row and column of
                    the result, between two of which it interpolates
    activation      kind, and its parameters by name
    gather          index: the place in `in` of each value of the result; a slice, a permutation
    concat          with: the second register, whose values go behind those of the first
    add, multiply   with: the second register, which `add` multiplies by `alpha` first
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vae.live.recording import (
    NonFiniteWeights,
    Tape,
    UnsupportedLayer,
    brief,
    kind_of,
    record,
    where,
)

# Examples of two sizes: what follows the size of the batch then shows, as a difference.
_BATCHES = (3, 4)


@dataclass(frozen=True)
class Program:
    """What js/program/ runs.

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
        raise UnsupportedLayer(f"{kind_of(module)} cannot be copied: {brief(error)}") from error
    first, second = (_pack(*record(module, tuple(input_shape), batch)) for batch in _BATCHES)
    if first.header() != second.header() or not np.array_equal(first.weights, second.weights):
        raise UnsupportedLayer(
            f"what {kind_of(module)} computes depends on the size of the batch, or on chance"
        )
    return first


def compile_given(module: nn.Module, input_shape: tuple[int, ...], n_classes: int) -> Program:
    """The program of a module that is called with a one-hot label besides: of the joined input.

    Args:
        module: reads (B, *input_shape) and (B, n_classes).
        input_shape: the shape of one input without the label.
        n_classes: numbers of the label, which stand behind those of the input.

    Raises:
        As `compile_module`.
    """
    return compile_module(_Joined(module, input_shape), (math.prod(input_shape) + n_classes,))


class _Joined(nn.Module):
    """A network of an input and a label, as one of both in a row."""

    def __init__(self, network: nn.Module, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.input_shape = network, input_shape

    def forward(self, joined: Tensor) -> Any:
        """Of (B, numbers of the input and of the label)."""
        n = math.prod(self.input_shape)
        inputs = joined[:, :n].reshape(-1, *self.input_shape)
        return self.network(inputs, joined[:, n:])


def _check(module: nn.Module) -> None:
    for path, layer in module.named_modules():
        if isinstance(layer, torch.jit.ScriptModule):
            raise UnsupportedLayer(f"{where(path, layer)} is TorchScript: it cannot be followed")
        if layer._forward_hooks or layer._forward_pre_hooks:
            raise UnsupportedLayer(
                f"{where(path, layer)} has a forward hook (the older weight_norm sets one), "
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


def _pack(tape: Tape, outputs: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]) -> Program:
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
