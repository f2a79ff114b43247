"""Any checkpoint, whoever wrote it: `open_run` and `list_runs` as in `vae.checkpoint`, for all.

A format is told by what a file holds, not by its name. One module per format turns a state dict
into plain layers and says on a `Card` what it inferred. No code that a file brings is ever run.

    ours              a run folder, or its bare weights (`native`)
    pytorch/examples  `pytorch_examples`
    pythae            `pythae`
    disentangling-vae `disentangling`
    PyTorch-VAE       `pytorch_vae`
    ONNX              `onnx_pair`, if onnxruntime is installed

And any model that a person's own code makes: `open_module`, `of_object`, `as_vae` (`module`).
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae import checkpoint
from vae.checkpoint import CheckpointError, Run
from vae.formats import (
    disentangling,
    native,
    onnx_pair,
    pythae,
    pytorch_examples,
    pytorch_vae,
    tensors,
)
from vae.formats.card import Card, Recognised
from vae.formats.given import open_data
from vae.formats.module import as_vae, known_shapes, of_object, open_module, parse_arguments
from vae.formats.run import ForeignRun, ForeignTraining, check, reason
from vae.formats.tensors import SUFFIXES, Survey, printable
from vae.model import VAE

__all__ = [
    "AnyRun",
    "Card",
    "ForeignRun",
    "ForeignTraining",
    "as_vae",
    "list_runs",
    "of_object",
    "open_data",
    "open_module",
    "open_run",
    "parse_arguments",
]

AnyRun = Run | ForeignRun

_MAX_JSON_BYTES = 1_000_000
_OWN_FILES = (
    *(checkpoint.CONFIG, checkpoint.MODEL, checkpoint.METRICS),
    *(checkpoint.EMBEDDING, checkpoint.TRAINER),
)
# In a folder the weights are looked for under these names first; an ONNX model is two files.
WEIGHTS = ("model.pt", "model.safetensors", onnx_pair.ENCODER, onnx_pair.DECODER)
_CODE_SUFFIXES = (".pkl", ".pickle", ".joblib")

_Reader = Callable[[Survey, Path], Recognised | None]
# The stricter ones first: each knows its format by names that no other has.
_READERS: tuple[tuple[str, _Reader, frozenset[str]], ...] = (
    (
        pytorch_examples.NAME,
        lambda survey, _: pytorch_examples.recognise(survey),
        pytorch_examples.KEYS,
    ),
    (
        disentangling.NAME,
        lambda survey, folder: disentangling.recognise(survey, _json(folder / disentangling.SPECS)),
        disentangling.KEYS,
    ),
    (pytorch_vae.NAME, lambda survey, _: pytorch_vae.recognise(survey), pytorch_vae.KEYS),
    (native.NAME, lambda survey, _: native.recognise(survey), native.KEYS),
    (
        pythae.NAME,
        lambda survey, folder: pythae.recognise(survey, _json(folder / pythae.CONFIG)),
        pythae.KEYS,
    ),
)


def open_run(path: str | Path) -> AnyRun:
    """Opens a checkpoint: a run folder of ours, a file of weights, or the folder that one is in.

    No weight is loaded yet; that the network can be built of them is checked.

    Raises:
        CheckpointError: there is nothing there, it would run code, it is damaged or of no known
            format; then the message lists the tensors that were found and the nearest format.
    """
    try:
        return _open_any(Path(path))
    except CheckpointError as error:
        if str(error).isprintable():
            raise
        raise CheckpointError(printable(str(error), 1000)) from error  # of a hostile name
    except OSError as error:  # of a folder that may not be looked into, or is gone by now
        raise CheckpointError(
            f"cannot open {printable(str(path), 100)}: {error.strerror}"
        ) from error


def _open_any(path: Path) -> AnyRun:
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except ValueError as error:  # a null character in the name
        raise CheckpointError(f"cannot open {path}: {error}") from error
    if not is_there:
        return checkpoint.open_run(path)  # which says so
    if path.suffix.lower() == onnx_pair.SUFFIX:
        path, is_folder = path.parent, True
        _check_pair(path)
    if is_folder and _is_pair(path) and not (path / checkpoint.MODEL).is_file():
        return onnx_pair.open_pair(printable(path.name), path, known_shapes())
    if is_folder:
        weights = None if _is_ours(path) else _weights_in(path)
        if weights is None and any(path.glob(f"*{onnx_pair.SUFFIX}")):
            _check_pair(path)
        return checkpoint.open_run(path) if weights is None else _open(path.name, weights)
    if path.name in _OWN_FILES and (path.parent / checkpoint.CONFIG).is_file():
        return checkpoint.open_run(path)
    if path.suffix.lower() in _CODE_SUFFIXES:
        raise _code(path)
    return _open(path.name, path)


def list_runs(root: Path | None = None) -> tuple[list[AnyRun], dict[str, str]]:
    """Every checkpoint in a folder, by name; and for each thing that is none, what is wrong.

    Folders, and single files that end as weights do (`tensors.SUFFIXES`). One broken entry does not
    hide the others. A folder that does not exist holds none.

    Args:
        root: the folder [`vae.checkpoint.folder()`].
    """
    root = root or checkpoint.folder()
    runs: list[AnyRun] = []
    broken: dict[str, str] = {}
    try:
        home = root.resolve()
        paths = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError:
        return [], {}
    for path in paths:
        try:
            if not path.is_dir() and path.suffix.lower() not in SUFFIXES:
                continue
            if not path.is_dir():
                _check_inside(home, path)
            found = open_run(path)
            if isinstance(found, ForeignRun):
                for file in (found.path, *found.more_files):
                    _check_inside(home, file)
            runs.append(found)
        except CheckpointError as error:
            broken[printable(path.name)] = str(error)
    return runs, broken


def _check_inside(home: Path, path: Path) -> None:
    """Raises CheckpointError for a link that leads out of the folder of checkpoints."""
    try:
        is_inside = path.resolve().is_relative_to(home)
    except (OSError, RuntimeError):  # links in a circle
        is_inside = False
    if not is_inside:
        raise CheckpointError(
            f"{printable(str(path), 200)} is a link that leads out of {home}; put a copy there, or "
            "open it by its own path"
        )


def _open(name: str, weights: Path) -> ForeignRun:
    survey = tensors.survey(weights)
    for title, read, _ in _READERS:
        try:
            found = read(survey, weights.parent)
            if found is None:
                continue
            # Without numbers: that the layers fit each other shows in the shapes alone.
            state: dict[str, Tensor] = {
                key: torch.empty(shape, device="meta") for key, shape in survey.shapes.items()
            }
            check(VAE.of_parts(found.config, *found.build(state)), "meta")
        except CheckpointError:
            raise
        except Exception as error:  # a file can hold any shapes under the right names
            raise CheckpointError(
                f"{weights} has the names of {title}, but cannot be read as such: {reason(error)}; "
                f"it holds {tensors.describe(survey.shapes)}"
            ) from error
        return ForeignRun.of_file(printable(name), survey, found.config, found.card, found.build)
    raise _unknown(survey)


def _unknown(survey: Survey) -> CheckpointError:
    def likeness(known: frozenset[str]) -> float:
        return len(known & set(survey.shapes)) / len(known)

    name, _, known = max(_READERS, key=lambda reader: likeness(reader[2]))
    shared = len(known & set(survey.shapes))
    nearest = (
        f"the nearest known one is {name}, {shared} of whose {len(known)} names it has"
        if shared
        else f"those known are {', '.join(reader[0] for reader in _READERS)}"
    )
    return CheckpointError(
        f"{survey.path} is of no known format ({nearest}); "
        f"it holds {tensors.describe(survey.shapes) or 'no floating-point tensors'}"
    )


def _is_ours(folder: Path) -> bool:
    """Whether its config.json is that of a run folder, broken or not; or there is nothing else."""
    config = folder / checkpoint.CONFIG
    if not config.is_file():
        return False
    values = _json(config)
    foreign = bool(values) and not values.keys() & {"format_version", "train"}
    return not foreign or not (folder / checkpoint.MODEL).is_file()


def _is_pair(folder: Path) -> bool:
    return (folder / onnx_pair.ENCODER).is_file() and (folder / onnx_pair.DECODER).is_file()


def _check_pair(folder: Path) -> None:
    if not _is_pair(folder):
        raise CheckpointError(
            f"{folder} must hold both {onnx_pair.ENCODER} (x to mu and logvar) and "
            f"{onnx_pair.DECODER} (z to images) for an ONNX model"
        )


def _weights_in(folder: Path) -> Path | None:
    """The file with the weights in another library's folder; None if it holds none.

    Raises:
        CheckpointError: there are several, or only pickled code.
    """
    try:
        here = sorted(folder.iterdir())
        below = folder / "checkpoints"  # where Lightning puts them
        here += sorted(below.iterdir()) if below.is_dir() else []
    except OSError as error:
        raise CheckpointError(f"cannot open {folder}: {error.strerror}") from error
    files = [path for path in here if path.suffix.lower() in SUFFIXES and path.is_file()]
    for name in WEIGHTS:
        if folder / name in files:
            return folder / name
    if len(files) > 1:
        listed = ", ".join(path.name for path in files[:4])
        raise CheckpointError(f"{folder} holds {len(files)} files of weights ({listed}); name one")
    if not files and (code := [p for p in here if p.suffix.lower() in _CODE_SUFFIXES]):
        raise _code(code[0])
    return files[0] if files else None


def _code(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is pickled code and never opened, as it would be run; give the weights "
        "beside it (pythae keeps them in model.pt), or save them: torch.save(model.state_dict(), "
        "'weights.pt')"
    )


def _json(path: Path) -> Mapping[str, Any]:
    """What a JSON file beside the weights says; empty if it cannot be read or is no object."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_JSON_BYTES:
            return {}
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
