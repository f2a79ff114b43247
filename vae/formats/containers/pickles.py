"""A pickle, followed without calling anything.

It is a little program; the interpreter here follows its operations and notes names, shapes and
where the numbers lie. An object of a class is a stand-in with the class's name
(`stand_ins`): no class is looked up, no function is called. A file that asks for something that no
weights need is refused by name.
"""

import io
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vae.errors import UserError
from vae.formats.containers.stand_ins import (
    ITEM_BYTES,
    Dtype,
    Global,
    PickledArray,
    PickledTensor,
    StandIn,
    Storage,
    is_harmful,
    put,
    tensor_of,
)
from vae.formats.refusal import SAVE_TRUSTED, SAVE_WEIGHTS, Refusal
from vae.formats.wording import quoted
from vae.runs.checkpoint import CheckpointError

MAX_OPERATIONS = 1_000_000
MAX_PICKLE_BYTES = 64 * 2**20
_MAX_NAMES = 1000

_REBUILT = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
_WRAPPED = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
    "torch.autograd.variable.Variable",
)
_DICTS = (
    *("collections.OrderedDict", "collections.defaultdict", "collections.Counter"),
    *("builtins.dict", "__builtin__.dict"),
)
_LISTS = {
    f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "frozenset")
} | {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("list", "tuple")}
_NUMPY_CORES = ("numpy.core.", "numpy._core.")

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "INT", "LONG", "FLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"),
    *("SHORT_BINSTRING", "BINSTRING", "STRING"),  # as Python 2 wrote texts
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = ("FRAME", "STOP")


class _Mark:
    """Where a row of values begins on the stack."""


_MARK = _Mark()


class Interpreter:
    """Follows one pickle of a stream and calls nothing.

    Attributes:
        result: what the pickle describes: plain values, dicts, lists, and the `stand_ins`.
        storages: every run of numbers that it refers to.
        names: of the classes and functions that it names, in order.
    """

    def __init__(
        self,
        path: Path,
        stream: io.BytesIO,
        nested: Callable[[bytes], Any] | None = None,
        names: dict[str, None] | None = None,
    ) -> None:
        """Starts at the place where the stream is.

        Args:
            path: of the file, to be named.
            stream: of one pickle, or several.
            nested: reads a file of torch.save inside the pickle; None to refuse those.
            names: to add the names to.
        """
        self.path, self._stream, self._nested = path, stream, nested
        self.result: Any = None
        self.storages: list[Storage] = []
        self.names: dict[str, None] = {} if names is None else names
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._copied = 0

    def run(self) -> "Interpreter":
        """Raises CheckpointError, or whatever a damaged pickle makes of the stack."""
        for count, (op, value, _) in enumerate(pickletools.genops(self._stream)):
            if count > MAX_OPERATIONS:
                raise too_much(self.path)
            self._step(op.name, value)
        self.result = self._stack.pop()
        return self

    def _step(self, op: str, value: Any) -> None:
        stack = self._stack
        if op in _CONSTANTS:
            stack.append(_CONSTANTS[op])
        elif op in _LITERALS:
            stack.append(bytes(value) if isinstance(value, bytearray) else value)
        elif op in _EMPTY:
            stack.append(_EMPTY[op]())
        elif op == "MARK":
            stack.append(_MARK)
        elif op == "PROTO":
            if value > 5:
                raise Refusal(
                    self.path,
                    f"is a pickle of the unknown protocol {value}",
                    "those from 0 to 5 are read",
                    SAVE_WEIGHTS,
                )
        elif op in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            self._memo[len(self._memo) if op == "MEMOIZE" else value] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self._memo[value])
        elif op in _TUPLES:
            items = self._pop(_TUPLES[op])
            stack.append(tuple(items))
        elif op == "TUPLE":
            stack.append(tuple(self._pop_mark()))
        elif op in ("LIST", "FROZENSET"):
            stack.append(self._pop_mark())
        elif op in ("POP", "POP_MARK"):
            self._pop(1) if op == "POP" and stack[-1] is not _MARK else self._pop_mark()
        elif op == "DUP":
            stack.append(stack[-1])
        else:
            self._fill(op, value)

    def _fill(self, op: str, value: Any) -> None:
        """The operations that put values into others, and those that would make objects."""
        stack = self._stack
        if op in ("APPEND", "APPENDS", "ADDITEMS"):
            items = self._pop(1) if op == "APPEND" else self._pop_mark()
            target = stack[-1]
            (target.sequence if isinstance(target, StandIn) else target).extend(items)
        elif op in ("SETITEM", "SETITEMS", "DICT"):
            items = self._pop(2) if op == "SETITEM" else self._pop_mark()
            if op == "DICT":
                stack.append({})
            target = stack[-1].items if isinstance(stack[-1], StandIn) else stack[-1]
            if not isinstance(target, dict):
                raise UserError("the pickle puts keys into what is no dict")
            for key, item in zip(items[::2], items[1::2], strict=True):
                put(target, key, item)
        elif op == "GLOBAL":
            stack.append(self._global(value.replace(" ", ".", 1)))
        elif op == "STACK_GLOBAL":
            module, name = self._pop(2)
            if not isinstance(module, str) or not isinstance(name, str):
                raise UserError("the pickle names a class by what is no text")
            stack.append(self._global(f"{module}.{name}"))
        elif op == "BINPERSID":
            stack.append(self._persistent(stack.pop()))
        elif op in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            function, arguments, *_ = self._pop(3 if op == "NEWOBJ_EX" else 2)
            if not isinstance(function, Global):  # the method of an object, say
                raise would_run(self.path, "it calls what another call has made")
            arguments = arguments if isinstance(arguments, tuple) else ()
            stack.append(self._called(function.name, arguments))
        elif op == "BUILD":
            (state,) = self._pop(1)
            self._build(stack[-1], state)
        elif op not in _NOTHING:
            raise would_run(self.path, f"it uses the operation {op}")

    def _pop(self, n: int) -> list[Any]:
        items = self._stack[-n:]
        if len(items) < n or any(item is _MARK for item in items):
            raise UserError("the pickle takes more than it has")
        del self._stack[-n:]
        return items

    def _pop_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1  # below zero it starts again from the end, and then there is no mark at all
            if at < 0:
                raise UserError("the pickle has no mark")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _global(self, name: str) -> Global:
        if len(self.names) < _MAX_NAMES:
            self.names[name] = None
        if is_harmful(name):
            raise would_run(self.path, f"it asks for {quoted(name)}")
        return Global(name)

    def _persistent(self, named: Any) -> Any:
        if isinstance(named, tuple) and named[:1] == ("module",) and len(named) > 1:
            return named[1]  # the class of a whole module, before torch 1.6, with its source
        if not isinstance(named, tuple) or len(named) < 5:
            raise UserError("a tensor's place is not one that torch.save writes")
        word, kind, key, _, numel = named[:5]
        view = named[5:]
        kind = kind.name.removeprefix("torch.").removeprefix("cuda.")
        good = word == "storage" and isinstance(numel, int) and numel >= 0 and kind in ITEM_BYTES
        if not good or view not in ((), (None,)) or not isinstance(key, str):
            raise UserError("a tensor's place is not one that torch.save writes")
        storage = Storage(kind, key, numel)
        self.storages.append(storage)
        return storage

    def _build(self, target: Any, state: Any) -> None:
        if isinstance(target, StandIn):
            self._charge(64 * target.build(state))
        elif isinstance(target, Dtype) and isinstance(state, tuple):
            target.order = state[1] if len(state) > 1 and isinstance(state[1], str) else "<"
        elif isinstance(target, PickledArray) and isinstance(state, tuple):
            *_, shape, dtype, is_fortran, data = state
            target.build(shape, dtype, is_fortran, self._bytes(data))
        # The attributes of an OrderedDict or a tensor say nothing of the weights.

    def _bytes(self, data: Any) -> Any:
        """Python 2's texts are bytes; how much that can make of one text is limited."""
        if not isinstance(data, str):
            return data
        self._charge(len(data))
        return data.encode("latin-1")

    def _charge(self, n: int) -> None:
        """Counts what is copied, since one value can be named a million times."""
        self._copied += n
        if self._copied > MAX_PICKLE_BYTES:
            raise too_much(self.path)

    def _called(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name in _REBUILT:
            return tensor_of(*arguments[:4])
        if name in _WRAPPED and arguments and isinstance(arguments[0], PickledTensor):
            return arguments[0]
        if name == "torch._tensor._rebuild_from_type_v2" and len(arguments) >= 3:
            function, _, inner = arguments[:3]
            if isinstance(function, Global) and function.name != name and isinstance(inner, tuple):
                return self._called(function.name, inner)
        if name in _DICTS:
            parts = [part for part in arguments[:2] if isinstance(part, dict | list)]
            self._charge(sum(64 * len(part) for part in parts))
            return _dict(parts)
        if name in _LISTS:
            return arguments[0] if arguments and isinstance(arguments[0], list) else []
        if name == "torch.Size" and arguments and isinstance(arguments[0], tuple):
            return arguments[0]
        if name == "_codecs.encode" and arguments:
            return self._bytes(arguments[0])
        if name.startswith("numpy."):
            return self._numpy(name, arguments)
        if name == "torch.storage._load_from_bytes" and self._nested and arguments:
            data = self._bytes(arguments[0])
            return self._nested(data) if isinstance(data, bytes) else None
        if name in ("copyreg._reconstructor", "copy_reg._reconstructor") and arguments:
            class_ = arguments[0]
            return StandIn(class_.name if isinstance(class_, Global) else name)
        return StandIn(name, arguments)

    def _numpy(self, name: str, arguments: tuple[Any, ...]) -> Any:
        core = next((c for c in _NUMPY_CORES if name.startswith(c)), None)
        what = name.removeprefix(core) if core else ""
        if name == "numpy.dtype" and arguments and isinstance(arguments[0], str):
            return Dtype(arguments[0].lstrip("<>=|"))
        if what == "multiarray._reconstruct":
            return PickledArray()
        if what == "numeric._frombuffer" and len(arguments) >= 4:
            data, dtype, shape, order = arguments[:4]
            array = PickledArray()
            array.build(shape, dtype, order == "F", data)
            return array
        if what == "multiarray.scalar" and len(arguments) == 2:
            dtype, data = arguments[0], self._bytes(arguments[1])
            if isinstance(dtype, Dtype) and dtype.is_known and isinstance(data, bytes):
                return np.frombuffer(data, dtype.of_numpy(), count=1)[0].item()
        return StandIn(name, arguments)


def _dict(parts: list[Any]) -> dict[Any, Any]:
    """An OrderedDict; Python 2 hands it its items as a list of pairs."""
    made: dict[Any, Any] = {}
    for part in parts:
        if isinstance(part, dict):
            made.update(part)
        for pair in part if isinstance(part, list) else ():
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise UserError("a dict is not made of pairs")
            put(made, *pair)
    return made


def storages_of(found: list[Storage]) -> list[Storage]:
    """One of each key, the largest."""
    by_key: dict[str, Storage] = {}
    for storage in found:
        if storage.key not in by_key or by_key[storage.key].n_bytes < storage.n_bytes:
            by_key[storage.key] = storage
    return list(by_key.values())


def would_run(path: Path, why: str) -> CheckpointError:
    """What is said of a file that would run code."""
    return Refusal(
        path,
        f"is not opened, as that could run code that it brings along ({why})",
        "only numbers, texts and known layers are read",
        SAVE_TRUSTED,
    )


def too_much(path: Path) -> CheckpointError:
    """What is said of a pickle beyond what weights take."""
    return Refusal(path, "holds far more than the weights", "only weights are read", SAVE_WEIGHTS)
