"""Keras's files as tensors in torch's shapes: `.h5`, `.weights.h5` and `.keras`.

Names are those of the layers, "encoder.dense.weight"; what the model's description in the file
says of them is in `Survey.modules`. What is flattened stays in the order of channels last.
"""

import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae.formats.containers import archives, hdf5
from vae.formats.containers.hdf5 import Array, Listing
from vae.formats.containers.keras_config import facts_of, name_of, parsed, saved_names
from vae.formats.containers.surveyed import MAX_TENSORS, Survey, too_many
from vae.formats.refusal import SAVE_KERAS, Refusal

_MAX_UNPACKED = 2**29
_MAX_CONFIG_BYTES = 4 * 2**20
_GROUPS = ("layers", "_layer_checkpoint_dependencies", "vars", "model_weights")
_NOT_WEIGHTS = re.compile(r"^(optimizer|metrics?|_metrics|loss_tracker|seed_generator)", re.I)

_NAMES = {
    "kernel": "weight",
    "gamma": "weight",
    "embeddings": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "depthwise_kernel": "weight",
}
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
# Keras's axes (h, w, in, out), or (h, w, out, in) of a transposed convolution, in torch's order.
_AXES = {2: (1, 0), 3: (2, 1, 0), 4: (3, 2, 0, 1), 5: (4, 3, 0, 1, 2)}
_DEPTHWISE = (2, 3, 0, 1)


@dataclass(frozen=True)
class _Weight:
    """An array and what it becomes."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None


def survey_h5(path: Path) -> Survey:
    """The survey of an HDF5 file. Raises CheckpointError."""
    found = hdf5.kept(path, lambda: hdf5.listing(path))
    config = next((parsed(a["model_config"]) for a in _with(found, "model_config")), {})
    return _survey(path, "Keras HDF5", found, config, partial(hdf5.numbers, path))


def is_archive(archive: zipfile.ZipFile) -> bool:
    """Whether a zip archive is what Keras 3 saves: a description and weights."""
    names = archive.namelist()
    return "config.json" in names and any(name.endswith(".weights.h5") for name in names)


def survey_archive(path: Path, archive: zipfile.ZipFile) -> Survey:
    """The survey of a `.keras` file. Raises CheckpointError, or what a parser raises."""
    part = next(p for p in archive.infolist() if p.filename.endswith(".weights.h5"))
    described = archive.getinfo("config.json")
    if part.file_size > _MAX_UNPACKED or described.file_size > _MAX_CONFIG_BYTES:
        raise Refusal(
            path,
            f"is an archive of Keras that unpacks to {part.file_size + described.file_size:,} "
            "bytes",
            f"at most {_MAX_UNPACKED:,} are read",
            SAVE_KERAS,
        )
    with archive.open(described) as file:
        config = parsed(file.read(_MAX_CONFIG_BYTES))

    def inside(use: Callable[[Path], Any]) -> Any:
        with tempfile.TemporaryDirectory() as folder, archives.opened(path) as again:
            place = Path(folder) / "model.weights.h5"
            with again.open(part.filename) as source, open(place, "wb") as target:
                left = part.file_size
                while left > 0 and (piece := source.read(min(left, 2**20))):
                    target.write(piece)
                    left -= len(piece)
            return use(place)

    def numbers() -> list[tuple[Array, np.ndarray]]:
        return inside(lambda place: list(hdf5.numbers(place, path)))

    found = hdf5.kept(path, lambda: inside(lambda place: hdf5.listing(place, path)))
    return _survey(path, "Keras archive", found, config, numbers)


def _with(found: Listing, attribute: str) -> list[dict[str, Any]]:
    return [a for a in found.attributes.values() if isinstance(a.get(attribute), str)]


def _survey(
    path: Path,
    container: str,
    found: Listing,
    config: dict[str, Any],
    numbers: Callable[[], Any],
) -> Survey:
    arrays = [a for a in found.arrays if not _NOT_WEIGHTS.match(a.path[0])]
    base = "model_weights" if any(a.path[0] == "model_weights" for a in arrays) else ""
    if base:
        arrays = [a for a in arrays if a.path[0] == base]
    if len(arrays) > MAX_TENSORS:
        raise too_many(path, len(arrays))
    if not arrays:
        raise Refusal(path, "is an HDF5 file", "there are no weights in it", SAVE_KERAS)
    is_legacy = "layer_names" in _joined(found.attributes.get(base, {}))
    weights = _legacy(found, base, arrays) if is_legacy else _by_place(found, arrays, config)
    modules = facts_of(config)
    is_keras = is_legacy or bool(config) or any("vars" in a.path for a in arrays)
    first = any(facts.values.get("data_format") == "channels_first" for facts in modules.values())
    told = {k: v for k, v in found.attributes.get("", {}).items() if k in ("keras_version",)}
    if name := name_of(config):
        told["module"] = name

    def read() -> Mapping[str, Tensor]:
        made = {}
        for array, values in numbers():
            weight = weights.get(array.path)
            if weight is not None:
                turned = values if weight.axes is None else values.transpose(weight.axes)
                made[weight.name] = torch.from_numpy(np.array(turned, dtype=np.float32, order="C"))
        return made

    return Survey(
        path,
        container if is_keras else "HDF5",
        {weight.name: weight.shape for weight in weights.values()},
        told,
        modules=modules,
        channels_last=is_keras and not first,
        numbers=read,
    )


def _joined(attributes: Mapping[str, Any]) -> dict[str, list[str]]:
    """Lists of texts, also those that are in several attributes: layer_names0, layer_names1."""
    found: dict[str, list[str]] = {}
    numbered = sorted(
        (re.sub(r"\d+$", "", key), int("0" + key[len(re.sub(r"\d+$", "", key)) :]), value)
        for key, value in attributes.items()
        if isinstance(value, list)
    )
    for key, _, value in numbered:
        found.setdefault(key, []).extend(value)
    return found


def _legacy(found: Listing, base: str, arrays: list[Array]) -> dict[tuple[str, ...], _Weight]:
    """Weights by the lists of names that Keras 2 writes, in their order."""
    here = {array.path: array for array in arrays}
    weights: dict[tuple[str, ...], _Weight] = {}
    for layer in _joined(found.attributes.get(base, {})).get("layer_names", []):
        group = f"{base}/{layer}" if base else layer
        for name in _joined(found.attributes.get(group, {})).get("weight_names", []):
            array = here.get((*group.split("/"), *name.split("/")))
            if array is not None and array.path not in weights:
                parts = [part.partition(":")[0] for part in (*layer.split("/"), *name.split("/"))]
                weights[array.path] = _weight(_without_repeats(parts), array)
    if not weights:  # of other lists than these arrays
        for array in arrays:
            parts = [part.partition(":")[0] for part in array.path if part != base]
            weights[array.path] = _weight(_without_repeats(parts), array)
    return _unambiguous(weights, here)


def _without_repeats(parts: list[str]) -> list[str]:
    """A layer's path begins with its own name again: dense_1/dense_1/kernel."""
    *path, last = parts
    if path and path[0] in path[1:]:
        path = path[len(path) - 1 - path[::-1].index(path[0]) :]
    return [*(p for i, p in enumerate(path) if i == 0 or p != path[i - 1]), last]


def _by_place(
    found: Listing, arrays: list[Array], config: dict[str, Any]
) -> dict[tuple[str, ...], _Weight]:
    """Weights by the groups that they are in, as Keras 3 writes them, in the order of writing."""
    named = saved_names(config)
    here = {array.path: array for array in arrays}
    groups: dict[tuple[str, ...], list[Array]] = {}
    for array in sorted(arrays, key=lambda a: a.address):
        groups.setdefault(array.path[:-1], []).append(array)
    weights: dict[tuple[str, ...], _Weight] = {}
    for group, inside in groups.items():
        inside.sort(key=lambda a: (len(a.path[-1]), a.path[-1]))
        path = _names_of(group, found.attributes, named)
        if group[-1:] != ("vars",):  # another program's HDF5: the names are as they are
            parts = [part.partition(":")[0] for part in group if part not in _GROUPS]
            for array in inside:
                weights[array.path] = _weight(
                    _without_repeats([*parts, array.path[-1].partition(":")[0]]), array
                )
            continue
        class_ = group[-2] if len(group) > 1 else ""
        for array, name in zip(inside, _variables(class_, path, inside), strict=True):
            weights[array.path] = _weight([*path, name], array)
    return _unambiguous(weights, here)


def _names_of(
    group: tuple[str, ...],
    attributes: Mapping[str, Mapping[str, Any]],
    named: Mapping[tuple[str, ...], str],
) -> list[str]:
    """The layers' own names on the way to a group; an attribute's name where it is one."""
    path = []
    for i, part in enumerate(group):
        if part in _GROUPS:
            continue
        own = attributes.get("/".join((*group[: i + 1], "vars")), {}).get("name")
        is_listed = i > 0 and group[i - 1] in ("layers", "_layer_checkpoint_dependencies")
        plain = tuple(p for p in group[: i + 1] if p not in _GROUPS)
        if not is_listed:
            path.append(part)
        elif isinstance(own, str) and own:
            path.append(own.replace("/", "."))
        else:
            path.append(named.get(plain, part))
    return path


def _variables(class_: str, path: list[str], inside: list[Array]) -> list[str]:
    """The names of a layer's variables, which Keras 3 only counts."""
    axes = [len(array.shape) for array in inside]
    of = f"{class_} {path[-1] if path else ''}"
    if axes == [1] * 4:
        return list(_NORM)
    if axes == [1] * 3:
        return list(_NORM[1:] if "batch" in of else _NORM[:3])
    if axes == [1] * 2:
        return list(_NORM[2:] if "batch_norm" in of and "layer" not in of else _NORM[:2])
    if axes and axes[0] >= 2 and axes[1:] in ([], [1]):
        first = "embeddings" if "embedding" in of else "kernel"
        return [first, "bias"][: len(axes)]
    return [array.path[-1] for array in inside]


def _weight(parts: list[str], array: Array) -> _Weight:
    *path, last = parts
    axes = None
    if last == "kernel":
        axes = _AXES.get(len(array.shape))
    elif last == "depthwise_kernel" and len(array.shape) == 4:
        axes = _DEPTHWISE
    shape = array.shape if axes is None else tuple(array.shape[i] for i in axes)
    return _Weight(".".join([*path, _NAMES.get(last, last)]), shape, axes)


def _unambiguous(
    weights: dict[tuple[str, ...], _Weight], arrays: Mapping[tuple[str, ...], Array]
) -> dict[tuple[str, ...], _Weight]:
    """The same, each layer's together; places in the file as names if two have the same name."""
    order: dict[str, int] = {}
    for weight in weights.values():
        order.setdefault(weight.name.rpartition(".")[0], len(order))
    # Keras 2 lists what is not trained after all that is.
    pairs = sorted(weights.items(), key=lambda pair: order[pair[1].name.rpartition(".")[0]])
    weights = dict(pairs)
    if len({weight.name for weight in weights.values()}) == len(weights):
        return weights
    return {
        path: _Weight(".".join(p for p in path if p not in _GROUPS), weight.shape, weight.axes)
        for path, weight in weights.items()
        if path in arrays
    }
