"""A run of a module, written down: every operation that touches its input.

The functions of torch are intercepted, not the layers, so any nesting of modules will do as long as
the functions have a rule (`vae.live.rules`). The interception belongs to one thread: other sessions
of a server go on using their models meanwhile.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vae.errors import UserError
from vae.live.rules import COMPARISONS, QUERIES, RULES


class ProgramError(UserError):
    """A module that cannot be turned into a program; the message is a sentence for the screen."""


class UnsupportedLayer(ProgramError):
    """The module does something that has no browser version; the message names the layer."""


class NonFiniteWeights(ProgramError):
    """A parameter or buffer holds NaN or infinity; the message names it."""


class Tape(TorchFunctionMode):
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
        if name in QUERIES:
            return result
        path, layer = self.layers[-1]
        if name not in RULES and type(layer).__module__.startswith("torch.nn"):
            raise UnsupportedLayer(f"{where(path, layer)} has no browser version")
        results = result if isinstance(result, tuple | list) else (result,)
        if name in COMPARISONS or not all(isinstance(one, Tensor) for one in results):
            self.refuse(f"calls {name}, so what it does depends on the values it is given")
        if name not in RULES:
            self.refuse(f"calls {name}, which has no browser version")
        try:
            self.function = func
            registers = RULES[name](self, result, *args, **kwargs)
        except ProgramError:
            raise
        except Exception as error:  # arguments that the rule does not know
            self.refuse(f"calls {name} in a way that has no browser version ({brief(error)})")
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
        return where(*self.layers[-1]) if self.layers else "the module"

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


def record(
    module: nn.Module, input_shape: tuple[int, ...], batch: int
) -> tuple[Tape, tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Runs the module, which is ours to change, on a batch of zeros.

    Returns:
        The tape, and the registers and shapes of the results, without the batch.
    """
    tape = Tape(batch)
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
            f"{tape.where()} fails on inputs of shape {tuple(input_shape)}: {brief(error)}"
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
                f"{kind_of(module)} returns a {type(result).__name__} that does not come from its "
                "input by functions of torch; it should return tensors"
            )
        if result.ndim == 0 or result.shape[0] != batch:
            raise UnsupportedLayer(f"{kind_of(module)} returns a tensor without the batch's axis")
        outputs.append(register)
    return tape, tuple(outputs), tuple(tuple(result.shape[1:]) for result in results)


def kind_of(module: nn.Module) -> str:
    """What a message calls a module."""
    return type(module).__name__


def where(path: str, layer: nn.Module) -> str:
    """What a message calls a layer of a module."""
    return f"layer {path} ({kind_of(layer)})" if path else f"the module ({kind_of(layer)})"


def brief(error: Exception) -> str:
    """The first line of an error."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
