"""What `torch.save` and `torch.jit.save` write, and plain pickles of weights.

A zip archive, or before torch 1.6 a row of pickles followed by the numbers. The pickle is followed
by an interpreter of our own (`pickles`), and the numbers are read by ourselves: torch's loader
would refuse whole modules, or run them.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae.errors import UserError
from vae.formats.containers import archives, nested, torchscript
from vae.formats.containers.pickles import (
    MAX_PICKLE_BYTES,
    Interpreter,
    storages_of,
    too_much,
    would_run,
)
from vae.formats.containers.stand_ins import PickledArray, PickledTensor, StandIn, Storage
from vae.formats.containers.surveyed import MAX_TENSORS, Survey, cleaner, too_many
from vae.formats.refusal import COPY_AGAIN, OTHER_FILE, SAVE_WEIGHTS, Refusal, Step
from vae.formats.wording import listed
from vae.runs.checkpoint import CheckpointError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_USUAL_PICKLE_BYTES = 4 * 2**20
_TORCH_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
}
# How much may be read out of a file beyond one use of each of its numbers: views can overlap.
_SPARE_NUMBERS = 2**20


@dataclass(frozen=True)
class _Pickled:
    """A followed pickle, and how to read the bytes of its storages."""

    container: str
    root: Any
    names: Mapping[str, None]
    storages: list[Storage]
    read: Callable[[list[Storage]], dict[str, bytes]]
    is_big_endian: bool = False


def survey_zip(path: Path, size: int, archive: zipfile.ZipFile) -> Survey:
    """The survey of a zip archive. Raises CheckpointError, or what a parser raises."""
    everything = archive.infolist()
    # Neither compresses, so that a file unpacks to no more than its own size; but the code of a
    # TorchScript program, of which little is read (`torchscript.code_in`), is compressed.
    places = [(part, part.filename.split("/")) for part in everything]
    parts = [part for part, steps in places if steps[1:2] != ["code"] or ".." in steps]
    if any(p.compress_type != zipfile.ZIP_STORED or p.file_size > p.compress_size for p in parts):
        raise Refusal(
            path,
            "is a compressed zip archive, as neither torch.save nor TorchScript writes it",
            "it is not unpacked here",
            Step(
                "unpack it, and give the file inside",
                "python -m zipfile -e {path} unpacked",
                "unpack it, and choose the file inside",
            ),
        )
    if sum(p.file_size for p in parts) > size:
        raise Refusal(
            path,
            "is a zip archive that unpacks to more than its own size",
            "torch.save writes no such",
            SAVE_WEIGHTS,
        )
    archives.check_names(path, [part.filename for part in parts])
    sizes = {p.filename: p.file_size for p in parts}
    pickles = [name for name in sizes if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1 or len({p.filename for p in everything}) != len(everything):
        raise Refusal(
            path,
            "is a zip archive, but not one that torch.save wrote",
            "there are no weights in it that are known here",
            OTHER_FILE,
        )
    root = pickles[0].removesuffix("data.pkl")
    is_script = f"{root}constants.pkl" in sizes or len(parts) < len(everything)
    if sizes[pickles[0]] > MAX_PICKLE_BYTES:
        raise too_much(path)
    followed = Interpreter(path, io.BytesIO(archive.read(pickles[0]))).run()
    storages = storages_of(followed.storages)
    for storage in storages:
        here = sizes.get(f"{root}data/{storage.key}")
        if here is None or storage.n_bytes > here:
            raise Refusal(
                path,
                f"is damaged: a tensor promises {storage.n_bytes:,} bytes",
                f"the file holds {0 if here is None else here:,} of them",
                COPY_AGAIN,
            )
    order = archive.read(f"{root}byteorder") if sizes.get(f"{root}byteorder", 99) < 10 else b""

    def read(wanted: list[Storage]) -> dict[str, bytes]:
        with archives.opened(path) as again:
            return {s.key: again.read(f"{root}data/{s.key}") for s in wanted}

    pickled = _Pickled(
        "TorchScript" if is_script else "torch.save",
        followed.result,
        followed.names,
        storages,
        read,
        order == b"big",
    )
    code = torchscript.code_in(archive, root) if is_script else None
    return _survey_of(path, pickled, code)


def survey_pickle(path: Path, size: int) -> Survey:
    """The survey of a file that begins as a pickle: torch.save's before 1.6, or a plain one."""
    try:  # torch's own pickles are short, and what follows them is long
        return _survey_pickle(path, size, _USUAL_PICKLE_BYTES)
    except CheckpointError:
        raise
    except Exception:
        if size <= _USUAL_PICKLE_BYTES:
            raise
    return _survey_pickle(path, size, MAX_PICKLE_BYTES)


def _survey_pickle(path: Path, size: int, n_bytes: int) -> Survey:
    with open(path, "rb") as file:
        stream = io.BytesIO(file.read(n_bytes))
    names: dict[str, None] = {}
    try:
        first = Interpreter(path, stream, _nested(path), names).run()
        if first.result == _LEGACY_MAGIC:
            pickled = _legacy(path, stream, size)
        else:
            # Those of tensors inside a plain pickle hold their own numbers.
            pickled = _Pickled("pickle", first.result, names, [], lambda wanted: {})
    except CheckpointError:
        raise
    except Exception as error:
        if not _telling(names) or n_bytes < min(size, MAX_PICKLE_BYTES):
            raise
        raise _of_objects(path, names) from error
    return _survey_of(path, pickled, None)


def _legacy(path: Path, stream: io.BytesIO, size: int) -> _Pickled:
    if Interpreter(path, stream).run().result != _LEGACY_PROTOCOL:
        raise Refusal(
            path,
            "is of a version of torch.save that is not known here",
            "those of 2017 and later are read",
            SAVE_WEIGHTS,
        )
    machine = Interpreter(path, stream).run().result  # what machine wrote it
    little = machine.get("little_endian", True) if isinstance(machine, dict) else True
    followed = Interpreter(path, stream).run()
    storages = storages_of(followed.storages)
    if sum(storage.n_bytes for storage in storages) > size:
        raise Refusal(path, "is truncated", "the numbers at its end are missing", COPY_AGAIN)
    keys = Interpreter(path, stream).run().result
    by_key = {storage.key: storage for storage in storages}
    if not isinstance(keys, list) or any(not isinstance(k, str) or k not in by_key for k in keys):
        raise UserError("its numbers are not those of its tensors")
    places, at = {}, stream.tell()
    for key in dict.fromkeys(keys):
        places[key] = at + 8  # after how many they are
        at += 8 + by_key[key].n_bytes
    if at > size:
        raise Refusal(path, "is truncated", "the numbers at its end are missing", COPY_AGAIN)

    def read(wanted: list[Storage]) -> dict[str, bytes]:
        found = {}
        with open(path, "rb") as file:
            for storage in wanted:
                file.seek(places[storage.key])
                found[storage.key] = file.read(storage.n_bytes)
        return found

    return _Pickled(
        "torch.save before 1.6", followed.result, followed.names, storages, read, not little
    )


def _nested(path: Path) -> Callable[[bytes], Any]:
    """Reads a tensor's numbers in a plain pickle: each is a whole file of torch.save's own."""

    def read(data: bytes) -> Any:
        if data[:1] != b"\x80":
            raise Refusal(
                path,
                "is a pickle of tensors of a kind that is not read",
                "their numbers are not as torch.save writes them",
                SAVE_WEIGHTS,
            )
        stream = io.BytesIO(data)
        if Interpreter(path, stream).run().result != _LEGACY_MAGIC:
            raise would_run(path, "a tensor in it is not as torch.save writes it")
        Interpreter(path, stream).run()
        Interpreter(path, stream).run()
        storage = Interpreter(path, stream).run().result
        Interpreter(path, stream).run()
        stream.read(8)
        if not isinstance(storage, Storage):
            raise UserError("a tensor's place is not one that torch.save writes")
        numbers = stream.read(storage.n_bytes)
        if len(numbers) < storage.n_bytes:
            raise UserError("a tensor is larger than the numbers it is made of")
        return Storage(storage.kind, f"inside {id(data)}", storage.numel, numbers)

    return read


def _survey_of(path: Path, pickled: _Pickled, code: torchscript.Code | None) -> Survey:
    found = nested.find(pickled.root)
    if found is None:
        raise _no_weights(path, pickled)
    if len(found.tensors) > MAX_TENSORS:
        raise too_many(path, len(found.tensors))
    floats = {name: tensor for name, tensor in found.tensors.items() if tensor.is_float}
    prefix, short = cleaner(floats)
    tensors = {short(name): tensor for name, tensor in floats.items()}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    modules = found.modules
    if code is not None and isinstance(pickled.root, StandIn):
        modules = torchscript.layers(pickled.root, code)
    modules = {short(f"{name}.").rstrip(".") or name: facts for name, facts in modules.items()}
    told = found.told | ({"module": found.kind} if found.kind else {})
    return Survey(
        path,
        pickled.container,
        shapes,
        told,
        found.under,
        prefix,
        modules,
        numbers=lambda: _numbers(path, pickled, tensors),
    )


def _numbers(
    path: Path, pickled: _Pickled, tensors: Mapping[str, PickledTensor | PickledArray]
) -> dict[str, Tensor]:
    """The tensors, each storage read once."""
    made: dict[str, Tensor] = {}
    by_storage: dict[str, list[tuple[str, PickledTensor]]] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, PickledArray):
            array = tensor.numbers()
            made[name] = torch.from_numpy(array.astype(np.float32))
        else:
            by_storage.setdefault(tensor.storage.key, []).append((name, tensor))
    _check_views(path, [t for uses in by_storage.values() for _, t in uses])
    largest = {storage.key: storage for storage in pickled.storages}
    for key, uses in by_storage.items():
        storage = largest.get(key, uses[0][1].storage)
        data = storage.data if storage.data is not None else pickled.read([storage])[key]
        same: dict[PickledTensor, Tensor] = {}
        for name, tensor in uses:
            if tensor not in same:
                same[tensor] = _view(data, tensor, pickled.is_big_endian)
            made[name] = same[tensor]
    return made


def _check_views(path: Path, tensors: list[PickledTensor]) -> None:
    """Raises CheckpointError for a file whose tensors come to more than the numbers it holds."""
    once = {(t.storage.key, t.offset, t.shape, t.stride): t for t in tensors}
    asked = sum(int(np.prod(t.shape, dtype=object)) for t in once.values())
    held = sum(storage.numel for storage in storages_of([t.storage for t in tensors]))
    if asked > 2 * held + _SPARE_NUMBERS:
        raise Refusal(
            path,
            f"makes {asked:,} numbers of {held:,}",
            "weights have one number each",
            SAVE_WEIGHTS,
        )


def _view(data: bytes, tensor: PickledTensor, is_big_endian: bool) -> Tensor:
    dtype = _TORCH_DTYPES[tensor.storage.kind]
    if not tensor.storage.numel or 0 in tensor.shape:
        return torch.zeros(tensor.shape)
    numel = len(data) // dtype.itemsize
    if is_big_endian:
        data = np.frombuffer(data, np.dtype(f"V{dtype.itemsize}"), numel).tobytes()
        data = np.frombuffer(data, np.dtype(f"u{dtype.itemsize}")).byteswap().tobytes()
    flat = torch.frombuffer(bytearray(data), dtype=dtype, count=numel)
    view = flat.as_strided(tensor.shape, tensor.stride, tensor.offset)
    return view.to(torch.float32, copy=True).contiguous()


def _no_weights(path: Path, pickled: _Pickled) -> CheckpointError:
    if nested.holds_optimiser(pickled.root):
        return Refusal(
            path, "holds the state of an optimiser", "there are no weights beside it", SAVE_WEIGHTS
        )
    if pickled.container == "TorchScript":
        return Refusal(
            path, "is a TorchScript program", "there are no weights in its modules", SAVE_WEIGHTS
        )
    if telling := _telling(pickled.names):
        return _of_objects(path, telling)
    if isinstance(pickled.root, dict):
        names = listed(str(key) for key in pickled.root if isinstance(key, str | int | float))
        return Refusal(path, f"holds {names}", "there are no tensors in it", OTHER_FILE)
    return Refusal(
        path, "is a pickle without a state dict", "a dict of tensors is needed", SAVE_WEIGHTS
    )


def _telling(names: Mapping[str, None]) -> dict[str, None]:
    """Names of classes that say what a pickle is about."""
    common = ("collections.", "builtins.", "__builtin__.", "copyreg.", "copy_reg.", "_codecs.")
    common += ("numpy.", "torch._utils.", "torch.storage.", "torch.Size", "torch.device")
    return {name: None for name in names if not name.startswith(common)}


def _of_objects(path: Path, names: Mapping[str, None]) -> CheckpointError:
    telling = _telling(names)
    is_torch = any(name.startswith(("torch.", "__main__.")) for name in telling)
    return Refusal(
        path,
        f"is a pickle of objects ({listed(telling, 4)}), which are never made here",
        "there are no weights in it that can be read without them",
        SAVE_WEIGHTS if is_torch else OTHER_FILE,
    )
