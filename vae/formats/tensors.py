"""The tensors of a file, read without running anything that the file brings along.

Two containers are known: safetensors, and what `torch.save` writes (a zip archive, or before
torch 1.6 a row of pickles followed by the numbers). A pickle is a little program, so that it is
first followed here by an interpreter of our own, which calls nothing: it knows the handful of
operations that a state dict takes, notes names, shapes and where the numbers lie, and refuses the
rest by name. Only a file that has passed is given to `torch.load(..., weights_only=True)`.

A look at a file (`survey`) costs its directory and its pickle, not its weights.
"""

import hashlib
import io
import math
import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from vae.checkpoint import CheckpointError

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")

MAX_FILE_BYTES = 2**31
MAX_TENSORS = 10_000
MAX_PARTS = 20_000  # of a zip archive
MAX_PICKLE_BYTES = 4 * 2**20
MAX_OPERATIONS = 1_000_000
_MAX_AXES = 8

_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

# The keys under which programs put the weights beside other things, the likeliest first.
_UNDER = ("model_state_dict", "state_dict", "model", "vae", "net", "weights")
# What wrappers put before every name: Lightning modules, DataParallel, torch.compile.
_PREFIXES = ("module.", "_orig_mod.", "model.", "vae.", "net.")

_ITEM_BYTES = {
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
_FLOATS = ("DoubleStorage", "FloatStorage", "HalfStorage", "BFloat16Storage")
_FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
_REBUILT = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
_HARMLESS = {
    "collections.OrderedDict",
    "torch.Size",
    "torch.device",
    "torch._utils._rebuild_parameter",
    *_REBUILT,
    *(f"torch.{name}" for name in _ITEM_BYTES),
    *(f"torch.{name}" for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32")),
}

_GET_WEIGHTS = (
    "open it with the library that wrote it, in a place you trust, and save its weights alone: "
    "torch.save(model.state_dict(), 'weights.pt')"
)


@dataclass(frozen=True)
class Survey:
    """What a file of tensors holds, before its numbers are read.

    Attributes:
        path: the file.
        container: "safetensors", "torch.save" or "torch.save before 1.6".
        shapes: of every tensor of floating point by name, wrappers' prefixes taken off.
        told: the plain values beside the weights: numbers, texts, and dicts of those.
        under: the keys that lead to the state dict.
        prefix: what was taken off every name.
    """

    path: Path
    container: str
    shapes: Mapping[str, tuple[int, ...]]
    told: Mapping[str, Any] = field(default_factory=dict)
    under: tuple[str, ...] = ()
    prefix: str = ""

    def load(self) -> dict[str, Tensor]:
        """The tensors by name as in `shapes`, float32, on the CPU.

        Raises:
            CheckpointError: the file has changed meanwhile, is damaged, or holds NaN or infinity.
        """
        again = survey(self.path)
        if again.shapes != self.shapes:
            raise CheckpointError(f"{self.path} has changed while it was read; open it again")
        try:
            found = self._read()
        except CheckpointError:
            raise
        except Exception as error:  # whatever a parser met
            raise _damaged(self.path, error) from error
        tensors = {}
        for name, shape in self.shapes.items():
            tensor = found.get(self.prefix + name) if isinstance(found, Mapping) else None
            if not _is_plain(tensor) or tuple(tensor.shape) != shape:
                raise CheckpointError(f"{self.path}: the tensor {_quoted(name)} cannot be read")
            tensor = tensor.detach().float()
            if not torch.isfinite(tensor).all():
                raise CheckpointError(
                    f"{self.path}: the tensor {_quoted(name)} holds NaN or infinite weights; "
                    "the training that wrote it diverged, so take an earlier checkpoint"
                )
            tensors[name] = tensor
        return tensors

    def _read(self) -> Any:
        if self.container == "safetensors":
            return safetensors.torch.load_file(self.path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(self.path, map_location="cpu", weights_only=True)
        for key in self.under:
            found = found[key]
        return found


def sha256(path: Path) -> str:
    """Of a file's bytes. Raises CheckpointError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def survey(path: Path) -> Survey:
    """Names and shapes of the tensors in a file, whichever container it is.

    Raises:
        CheckpointError: it cannot be read, is too large, is no container of tensors, is damaged,
            or would run code; the message says which, and how to get at the weights.
    """
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            raise CheckpointError(f"cannot read {path}: it is not a file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise CheckpointError(
                f"{path} has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read, so save the "
                "weights alone, without the optimiser's state"
            )
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # a null character in the name
        raise CheckpointError(f"cannot read {str(path)[:100]!r}: {error}") from error
    try:
        if head.startswith(_ZIP_MAGIC):
            return _survey_zip(path, size)
        if head[:1] == b"\x80":
            return _survey_legacy(path, size)
        if len(head) > 8 and head[8:9] == b"{":
            return _survey_safetensors(path)
    except CheckpointError:
        raise
    except Exception as error:  # whatever a parser met in a file that somebody else made
        raise _damaged(path, error) from error
    raise CheckpointError(
        f"{path} is neither a safetensors file nor one that torch.save wrote; "
        "give the file with the weights"
    )


def _survey_safetensors(path: Path) -> Survey:
    shapes = {}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            if len(names) > MAX_TENSORS:
                raise _too_many(path, len(names))
            for name in names:
                tensor = file.get_slice(name)
                if tensor.get_dtype() in _FLOAT_DTYPES:
                    shapes[name] = tuple(tensor.get_shape())
            told = dict(file.metadata() or {})
    except SafetensorError as error:
        raise _damaged(path, error) from error
    return _survey_of(path, "safetensors", shapes, told, ())


def _survey_zip(path: Path, size: int) -> Survey:
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if len(parts) > MAX_PARTS:
            raise _too_many(path, len(parts))
        # torch.save never compresses, so that a file unpacks to no more than its own size.
        if any(
            p.compress_type != zipfile.ZIP_STORED or p.file_size > p.compress_size for p in parts
        ):
            raise CheckpointError(
                f"{path} is a compressed zip archive, which torch.save never writes; unpack it, "
                "and give the file inside"
            )
        if sum(p.file_size for p in parts) > size:
            raise CheckpointError(f"{path} unpacks to more than its own size; it is not opened")
        sizes = {p.filename: p.file_size for p in parts}
        pickles = [name for name in sizes if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or len(sizes) != len(parts):
            raise CheckpointError(
                f"{path} is a zip archive, but not one that torch.save wrote; "
                "give the file with the weights"
            )
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in sizes or any(n.startswith(f"{root}code/") for n in sizes):
            raise CheckpointError(
                f"{path} is a TorchScript program, which brings its code along; {_GET_WEIGHTS}"
            )
        if sizes[pickles[0]] > MAX_PICKLE_BYTES:
            raise CheckpointError(f"{path} holds far more than the weights; {_GET_WEIGHTS}")
        data = archive.read(pickles[0])
    found = _Interpreter(path, io.BytesIO(data)).run()
    for storage in _storages(found.storages):
        here = sizes.get(f"{root}data/{storage.key}")
        if here is None or storage.n_bytes > here:
            raise CheckpointError(
                f"{path} is damaged: a tensor promises {storage.n_bytes:,} bytes and the file "
                f"holds {0 if here is None else here:,}; copy it again from where it came"
            )
    return _survey_of_pickle(path, "torch.save", found.result)


def _survey_legacy(path: Path, size: int) -> Survey:
    with open(path, "rb") as file:
        stream = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    magic = _Interpreter(path, stream).run().result
    if magic != _LEGACY_MAGIC:
        raise _would_run(path, "it is a pickle, and no state dict of torch.save")
    if _Interpreter(path, stream).run().result != _LEGACY_PROTOCOL:
        raise CheckpointError(f"{path} is of a version of torch.save that is not known here")
    _Interpreter(path, stream).run()  # what machine wrote it
    found = _Interpreter(path, stream).run()
    storages = _storages(found.storages)
    if sum(storage.n_bytes for storage in storages) > size:
        raise CheckpointError(f"{path} is truncated; copy it again from where it came")
    return _survey_of_pickle(path, "torch.save before 1.6", found.result)


def _survey_of_pickle(path: Path, container: str, root: Any) -> Survey:
    if isinstance(root, _Tensor):
        root = {"tensor": root}
    if not isinstance(root, dict):
        raise CheckpointError(f"{path} holds no state dict, a dict of tensors; {_GET_WEIGHTS}")
    under, state = _state_dict(root)
    tensors = {name: t for name, t in state.items() if isinstance(t, _Tensor)}
    if len(tensors) > MAX_TENSORS:
        raise _too_many(path, len(tensors))
    if not tensors:
        raise CheckpointError(
            f"{path} holds no tensors, only {_names(map(str, root))}; give the file with the "
            "weights"
        )
    if not all(isinstance(name, str) for name in tensors):
        raise CheckpointError(f"{path} holds tensors without names; {_GET_WEIGHTS}")
    shapes = {name: t.shape for name, t in tensors.items() if t.storage.kind in _FLOATS}
    told = {k: v for k, v in root.items() if isinstance(k, str) and k not in under and _is_told(v)}
    return _survey_of(path, container, shapes, told, under)


def _state_dict(root: dict[Any, Any]) -> tuple[tuple[str, ...], dict[Any, Any]]:
    def holds(value: Any) -> bool:
        return isinstance(value, dict) and any(isinstance(v, _Tensor) for v in value.values())

    dicts = [key for key, value in root.items() if isinstance(key, str) and holds(value)]
    best = next((key for key in _UNDER if key in dicts), None)
    if best is None and not holds(root):
        best = dicts[0] if dicts else None
    return ((), root) if best is None else ((best,), root[best])


def _survey_of(
    path: Path,
    container: str,
    shapes: dict[str, tuple[int, ...]],
    told: Mapping[str, Any],
    under: tuple[str, ...],
) -> Survey:
    prefix = ""
    while shapes:
        head = next((p for p in _PREFIXES if all(n.startswith(prefix + p) for n in shapes)), None)
        if head is None:
            break
        prefix += head
    shapes = {name.removeprefix(prefix): shape for name, shape in shapes.items()}
    return Survey(path, container, shapes, told, under, prefix)


# --- following a pickle ---


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    kind: str
    key: str
    numel: int

    @property
    def n_bytes(self) -> int:
        return self.numel * _ITEM_BYTES[self.kind]


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    storage: _Storage


class _Opaque:
    """Something that is of no use here."""


_MARK = _Opaque()


def _storages(found: list[_Storage]) -> list[_Storage]:
    """One of each key, the largest."""
    by_key: dict[str, _Storage] = {}
    for storage in found:
        if storage.key not in by_key or by_key[storage.key].n_bytes < storage.n_bytes:
            by_key[storage.key] = storage
    return list(by_key.values())


class _Interpreter:
    """Follows one pickle of a stream and calls nothing.

    Attributes:
        result: what the pickle describes: plain values, dicts, lists, and `_Tensor`.
        storages: every run of numbers that it refers to.
    """

    def __init__(self, path: Path, stream: io.BytesIO) -> None:
        self.path, self._stream = path, stream
        self.result: Any = None
        self.storages: list[_Storage] = []
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> "_Interpreter":
        """Raises CheckpointError, or whatever a damaged pickle makes of the stack."""
        for count, (op, value, _) in enumerate(pickletools.genops(self._stream)):
            if count > MAX_OPERATIONS:
                raise CheckpointError(f"{self.path} holds far more than the weights")
            self._step(op.name, value)
        self.result = self._stack.pop()
        return self

    def _step(self, op: str, value: Any) -> None:
        stack = self._stack
        if op in _CONSTANTS:
            stack.append(_CONSTANTS[op])
        elif op in _LITERALS:
            stack.append(value)
        elif op in _EMPTY:
            stack.append(_EMPTY[op]())
        elif op == "MARK":
            stack.append(_MARK)
        elif op == "PROTO":
            if value != 2:  # torch.save's own; encoder.pkl and its like are of protocol 4 or 5
                raise _would_run(self.path, f"it is a pickle of protocol {value}")
        elif op in ("BINPUT", "LONG_BINPUT"):
            self._memo[value] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[value])
        elif op in _TUPLES:
            items = self._pop(_TUPLES[op])
            stack.append(tuple(items))
        elif op == "TUPLE":
            stack.append(tuple(self._pop_mark()))
        elif op in ("APPEND", "APPENDS"):
            items = self._pop(1) if op == "APPEND" else self._pop_mark()
            stack[-1].extend(items)
        elif op in ("SETITEM", "SETITEMS"):
            items = self._pop(2) if op == "SETITEM" else self._pop_mark()
            for key, item in zip(items[::2], items[1::2], strict=True):
                # A tuple can be nested deeper than what computes its hash can follow.
                if not isinstance(key, str | int | float | None):
                    raise _would_run(self.path, "it has keys that are neither text nor numbers")
                stack[-1][key] = item
        elif op == "GLOBAL":
            name = value.replace(" ", ".", 1)
            if name not in _HARMLESS:
                raise _would_run(self.path, f"it asks for {_quoted(name)}")
            stack.append(_Global(name))
        elif op == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif op == "REDUCE":
            function, arguments = self._pop(2)
            stack.append(self._called(function.name, arguments))
        elif op == "BUILD":
            stack.pop()  # the attributes of an OrderedDict, which say nothing of the weights
            if not isinstance(stack[-1], dict):
                raise _would_run(self.path, "it sets the state of an object")
        elif op != "STOP":
            raise _would_run(self.path, f"it uses the operation {op}")

    def _pop(self, n: int) -> list[Any]:
        items = self._stack[-n:]
        if len(items) < n or any(item is _MARK for item in items):
            raise ValueError("the pickle takes more than it has")
        del self._stack[-n:]
        return items

    def _pop_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1  # below zero it starts again from the end, and then there is no mark at all
            if at < 0:
                raise ValueError("the pickle has no mark")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _storage(self, named: Any) -> _Storage:
        word, kind, key, _, numel = named[:5]
        view = named[5:]
        kind = kind.name.removeprefix("torch.")
        good = word == "storage" and isinstance(numel, int) and numel >= 0 and kind in _ITEM_BYTES
        if not good or view not in ((), (None,)) or not isinstance(key, str):
            raise ValueError("a tensor's place is not one that torch.save writes")
        storage = _Storage(kind, key, numel)
        self.storages.append(storage)
        return storage

    def _called(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name in _REBUILT:
            storage, offset, shape, stride = arguments[:4]
            whole = all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *stride))
            if not whole or len(shape) > _MAX_AXES or len(shape) != len(stride):
                raise ValueError("a tensor's shape is not made of whole numbers")
            # A stride of 0 would make much out of little.
            if not isinstance(storage, _Storage) or math.prod(shape) + offset > storage.numel:
                raise ValueError("a tensor is larger than the numbers it is made of")
            return _Tensor(tuple(shape), storage)
        if name == "torch._utils._rebuild_parameter":
            return arguments[0]
        if name == "collections.OrderedDict" and arguments == ():
            return {}
        if name == "torch.Size":
            return tuple(arguments[0])
        return _Opaque()


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"),
}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _is_plain(value: Any) -> bool:
    """Whether it is a dense tensor on the CPU that is no larger than its memory."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and value.is_floating_point()
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _is_told(value: Any, depth: int = 2) -> bool:
    if isinstance(value, dict) and depth:
        return all(isinstance(k, str) and _is_told(v, depth - 1) for k, v in value.items())
    return value is None or isinstance(value, bool | int | float | str)


# --- what is said ---


def describe(shapes: Mapping[str, tuple[int, ...]], most: int = 12) -> str:
    """Tensors as a sentence lists them: "fc1.weight 400x784, fc1.bias 400 and 8 more"."""
    listed = [
        f"{printable(name)} {'x'.join(map(str, shape)) or 'scalar'}"
        for name, shape in list(shapes.items())[:most]
    ]
    more = len(shapes) - len(listed)
    return ", ".join(listed) + (f" and {more} more" if more > 0 else "")


def _names(names: Any, most: int = 6) -> str:
    names = [printable(name) for name in names]
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "") if names else "nothing"


def printable(text: str, most: int = 60) -> str:
    """Text from a file as a sentence may quote it: cut off, and without control characters."""
    text = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return text if len(text) <= most else text[: most - 3] + "..."


def _quoted(text: str) -> str:
    return f"'{printable(text)}'"


def _would_run(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not opened, as that could run code that it brings along ({why}); {_GET_WEIGHTS}"
    )


def _too_many(path: Path, n: int) -> CheckpointError:
    return CheckpointError(f"{path} holds {n:,} parts; at most {MAX_TENSORS:,} tensors are read")


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = printable(" ".join(str(error).split()) or type(error).__name__, 100)
    return CheckpointError(
        f"{path} is truncated or damaged ({reason}); copy it again from where it came"
    )
