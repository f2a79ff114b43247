"""What stands for the objects of a pickle: nothing of them is looked up, made or called.

A class is its name, an object what the pickle says of it, a tensor its shape and its place, a numpy
array its bytes.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vae.errors import UserError

_MAX_AXES = 8
ITEM_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}
FLOATS = ("DoubleStorage", "FloatStorage", "HalfStorage", "BFloat16Storage")
_FLOAT_CODES = ("f2", "f4", "f8")
_CODES = (*_FLOAT_CODES, "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")

# Nothing is called, whatever it is; but a file that asks for one of these is meant to do harm.
_HARMFUL_ROOTS = {
    *("os", "posix", "nt", "io", "_io", "sys", "subprocess", "_posixsubprocess", "shutil", "runpy"),
    *("socket", "ssl", "http", "urllib", "urllib2", "requests", "ftplib", "smtplib", "webbrowser"),
    *("importlib", "imp", "zipimport", "pkgutil", "ctypes", "_ctypes", "cffi", "code", "codeop"),
    *("pty", "commands", "popen2", "pickle", "_pickle", "cPickle", "marshal", "shelve", "tempfile"),
    *("multiprocessing", "threading", "_thread", "signal", "pdb", "bdb", "timeit", "profile"),
    *("cProfile", "trace", "asyncio", "pip", "distutils", "setuptools", "ensurepip", "venv"),
    *("idlelib", "doctest", "gc", "mmap", "fcntl", "glob", "operator", "_operator", "sqlite3"),
    *("cloudpickle", "dill"),
}
_HARMFUL = ("torch.hub.", "torch.load", "torch.utils.cpp_extension.", "torch.serialization.load")
_BUILTINS = ("builtins", "__builtin__")
_HARMLESS_BUILTINS = {
    *("list", "dict", "set", "frozenset", "tuple", "int", "long", "float", "complex", "bool"),
    *("str", "unicode", "basestring", "bytes", "bytearray", "slice", "range", "xrange", "object"),
    *("type", "getattr", "property", "staticmethod", "classmethod", "abs", "sum", "max", "min"),
    *("len", "round", "print", "NotImplemented", "Ellipsis", "Exception", "super", "zip", "map"),
}


def is_harmful(name: str) -> bool:
    """Whether no file of weights has a reason to ask for it."""
    root, _, rest = name.partition(".")
    if root in _BUILTINS:
        return rest not in _HARMLESS_BUILTINS
    return root in _HARMFUL_ROOTS or name.startswith(_HARMFUL)


@dataclass(frozen=True)
class Global:
    """A class or a function, by its name."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file, as a pickle names it.

    Attributes:
        kind: "FloatStorage" and its like.
        key: where it lies.
        numel: how many numbers.
        data: they themselves, where the pickle holds them.
    """

    kind: str
    key: str
    numel: int
    data: bytes | None = field(default=None, repr=False)

    @property
    def n_bytes(self) -> int:
        """How many it promises."""
        return self.numel * ITEM_BYTES[self.kind]


@dataclass(frozen=True)
class PickledTensor:
    """A tensor before its numbers are read."""

    shape: tuple[int, ...]
    storage: Storage
    offset: int = 0
    stride: tuple[int, ...] = ()

    @property
    def is_float(self) -> bool:
        """Whether its numbers are of floating point."""
        return self.storage.kind in FLOATS


@dataclass
class Dtype:
    """A type of numpy's."""

    code: str
    order: str = "<"

    @property
    def is_known(self) -> bool:
        """Whether it is one of plain numbers."""
        return self.code in _CODES

    def of_numpy(self) -> np.dtype:
        """As numpy's own. Raises UserError for one that is not of plain numbers."""
        if not self.is_known:
            raise UserError(f"an array of the type {self.code[:20]}")
        return np.dtype((">" if self.order == ">" else "<") + self.code)


@dataclass
class PickledArray:
    """A numpy array; empty until the pickle has said what is in it."""

    shape: tuple[int, ...] = (0,)
    dtype: Dtype | None = None
    data: bytes | None = field(default=None, repr=False)
    is_fortran: bool = False

    @property
    def is_float(self) -> bool:
        """Whether it holds numbers of floating point."""
        return self.data is not None and self.dtype is not None and self.dtype.code in _FLOAT_CODES

    def build(self, shape: Any, dtype: Any, is_fortran: Any, data: Any) -> None:
        """Takes what the pickle says. Raises UserError if it does not fit together."""
        few = isinstance(shape, tuple) and len(shape) <= _MAX_AXES
        whole = few and all(isinstance(n, int) and n >= 0 for n in shape)
        if not whole or not isinstance(dtype, Dtype):
            raise UserError("an array's shape is not made of whole numbers")
        if not dtype.is_known or not isinstance(data, bytes):
            return  # of objects, texts, dates
        if len(data) != math.prod(shape) * dtype.of_numpy().itemsize:
            raise UserError("an array has not as many numbers as its shape says")
        self.shape, self.dtype, self.data = shape, dtype, data
        self.is_fortran = bool(is_fortran)

    def numbers(self) -> np.ndarray:
        """The array itself, read-only. Raises UserError for one that is not of plain numbers."""
        if self.data is None or self.dtype is None:
            raise UserError("an array is not of plain numbers")
        flat = np.frombuffer(self.data, self.dtype.of_numpy())
        return flat.reshape(self.shape, order="F" if self.is_fortran else "C")


class StandIn:
    """An object of some class: what the pickle says of it.

    Attributes:
        name: of its class, or of the function whose result it would be.
        state: its attributes.
        items: its keys and values, where it is a dict.
        sequence: its elements, where it is a list.
    """

    __slots__ = ("arguments", "items", "name", "sequence", "state")

    def __init__(self, name: str, arguments: Any = ()) -> None:
        self.name = name
        self.arguments = arguments
        self.state: dict[Any, Any] = {}
        self.items: dict[Any, Any] = {}
        self.sequence: list[Any] = []

    def build(self, state: Any) -> int:
        """Takes the attributes, as a pickle sets them: a dict, or two of them.

        Returns:
            How many values were copied.
        """
        copied = 0
        for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
            if isinstance(part, dict) and not self.state:
                self.state = part
            elif isinstance(part, dict):
                self.state = self.state | part
                copied += len(self.state)
        return copied


class _Key:
    """Stands for a key that is neither text nor a number.

    A tuple can be nested deeper than what computes its hash can follow.
    """


def put(mapping: dict[Any, Any], key: Any, value: Any) -> None:
    """mapping[key] = value, for a key of any kind."""
    mapping[key if isinstance(key, str | int | float | None) else _Key()] = value


def tensor_of(storage: Any, offset: Any, shape: Any, stride: Any) -> PickledTensor:
    """A tensor as torch rebuilds it. Raises UserError if it reaches beyond its numbers."""
    few = len(shape) <= _MAX_AXES and len(shape) == len(stride)
    if not few or not all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *stride)):
        raise UserError("a tensor's shape is not made of whole numbers")
    n = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    # A stride of 0 would make much out of little.
    reaches = isinstance(storage, Storage) and n and max(offset + n, last + 1) > storage.numel
    if not isinstance(storage, Storage) or reaches:
        raise UserError("a tensor is larger than the numbers it is made of")
    return PickledTensor(tuple(shape), storage, offset, tuple(stride))
