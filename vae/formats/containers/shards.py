"""safetensors: one file, or several shards with an index that says which tensor is in which."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import safetensors.torch
from torch import Tensor

from vae.formats.containers.surveyed import MAX_TENSORS, Survey, cleaner, damaged, too_many
from vae.formats.refusal import COPY_AGAIN, SAVE_WEIGHTS, Refusal, Step
from vae.formats.wording import quoted
from vae.runs import headers
from vae.runs.headers import HeaderError, LongHeader

INDEX = ".safetensors.index.json"
_MAX_INDEX_BYTES = 4_000_000
_MAX_SHARDS = 200
_WHOLE = Step(
    "save it as one file, where the model is",
    "safetensors.torch.save_model(model, 'model.safetensors')",
)
_TOGETHER = Step(
    "put all of them into one folder, beside the index",
    "python -m vae evaluate {path}",
    "choose the index and all of them together",
)
_FLOATS = ("F64", "F32", "F16", "BF16")


def survey_one(path: Path) -> Survey:
    """The survey of one file. Raises CheckpointError."""
    header = _header(path)
    shapes = _floats(header)
    prefix, short = cleaner(shapes)

    def numbers() -> Mapping[str, Tensor]:
        return {
            short(name): tensor
            for name, tensor in safetensors.torch.load_file(path).items()
            if name in shapes
        }

    return Survey(
        path,
        "safetensors",
        {short(name): shape for name, shape in shapes.items()},
        dict(header.metadata),
        prefix=prefix,
        numbers=numbers,
    )


def survey_index(path: Path) -> Survey:
    """The survey of all the shards that an index names, as one file.

    Raises:
        CheckpointError: the index is none, or a shard is missing, elsewhere or damaged.
    """
    try:
        if path.stat().st_size > _MAX_INDEX_BYTES:
            raise Refusal(
                path,
                f"is an index of shards of more than {_MAX_INDEX_BYTES:,} bytes",
                "it must list tensors alone",
                _WHOLE,
            )
        index = json.loads(path.read_text(encoding="utf-8"))
        places = index["weight_map"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise damaged(path, error) from error
    if not isinstance(places, dict) or not all(isinstance(p, str) for p in places.values()):
        raise Refusal(
            path, "is an index of shards", "it does not say which tensor is in which file", _WHOLE
        )
    shards = sorted(set(places.values()))
    if not shards or len(shards) > _MAX_SHARDS:
        raise Refusal(
            path,
            f"is an index of {len(shards)} shards",
            f"from 1 to {_MAX_SHARDS} are read",
            _WHOLE,
        )
    for name in shards:
        if Path(name).name != name or not (path.parent / name).is_file():
            raise Refusal(
                path,
                f"is an index of {len(shards)} shards",
                f"{quoted(name)} is not beside it",
                _TOGETHER,
            )
    shapes: dict[str, tuple[int, ...]] = {}
    held: set[str] = set()
    for name in shards:
        found = _header(path.parent / name)
        held |= set(found.shapes)
        here = _floats(found)
        shapes |= {key: shape for key, shape in here.items() if places.get(key) == name}
    missing = [key for key in places if key not in held]
    if missing:
        raise Refusal(
            path,
            f"is an index of {len(shards)} shards",
            f"the tensor {quoted(missing[0])} is in none of them",
            COPY_AGAIN,
        )
    if len(shapes) > MAX_TENSORS:
        raise too_many(path, len(shapes))
    prefix, short = cleaner(shapes)

    def numbers() -> Mapping[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name in shards:
            for key, tensor in safetensors.torch.load_file(path.parent / name).items():
                if key in shapes and places[key] == name:
                    found[short(key)] = tensor
        return found

    whole = Survey(
        path,
        "safetensors",
        {short(name): shape for name, shape in shapes.items()},
        prefix=prefix,
        numbers=numbers,
    )
    return replace(whole, more_files=tuple(path.parent / name for name in shards))


def _floats(header: headers.Header) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of floating point."""
    return {name: s for name, s in header.shapes.items() if header.dtypes[name] in _FLOATS}


def _header(path: Path) -> headers.Header:
    try:
        return headers.read(path)
    except LongHeader as error:
        raise Refusal(path, error.found, error.most, SAVE_WEIGHTS) from error
    except HeaderError as error:
        raise damaged(path, error) from error
