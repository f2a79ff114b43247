"""Any checkpoint, whoever wrote it: `open_run` and `list_runs` as in `runs.checkpoint`, for all.

A format is told by what a file holds, not by its name. One module per format turns a state dict
into plain layers and says on a `Card` what it inferred. No code that a file brings is ever run.

    ours              a run folder, or its bare weights (`native`)
    pytorch/examples  `pytorch_examples`
    pythae            `pythae`
    disentangling-vae `disentangling`
    PyTorch-VAE       `pytorch_vae`
    ONNX              `onnx_pair`, `onnx_whole`, `onnx_decoder`, if onnxruntime is installed
    any state dict    `chains`, without the code that belongs to it

And any model that a person's own code makes: `open_module`, `of_object`, `as_vae` (`module`).
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae.core.model import VAE
from vae.errors import UserError
from vae.formats.card import Card, Recognised
from vae.formats.containers import pairs, tensors
from vae.formats.containers.tensors import Survey
from vae.formats.readers import (
    disentangling,
    native,
    onnx_decoder,
    onnx_pair,
    onnx_whole,
    pythae,
    pytorch_examples,
    pytorch_vae,
)
from vae.formats.readers.chains import reader as chains
from vae.formats.readers.onnx_graph import Graph
from vae.formats.refusal import (
    BESIDE,
    EXPORT,
    INTO_FOLDER,
    NAME_ONE,
    OTHER_FILE,
    OWN_CLASS,
    SAVE_WEIGHTS,
    Refusal,
    Step,
)
from vae.formats.run import ForeignRun, ForeignTraining, check, reason
from vae.formats.user_code.module import (
    as_vae,
    known_shapes,
    of_object,
    open_module,
    parse_arguments,
)
from vae.formats.user_code.user_data import open_data
from vae.formats.wording import listed, printable, tensors_listed
from vae.runs import checkpoint
from vae.runs.checkpoint import CheckpointError, Run

__all__ = [
    "AnyRun",
    "Card",
    "ForeignRun",
    "ForeignTraining",
    "as_vae",
    "left_out",
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
_LIST = Step("see those there are", "python -m vae list", "choose a file that there is")
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
    # Any other state dict, by its shapes.
    (chains.NAME, lambda survey, _: chains.recognise(survey), frozenset()),
)


# Their names are on many another network, too.
_OFTEN_COPIED = (pytorch_examples.NAME, pytorch_vae.NAME)


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
        said = printable(str(error), 1000)  # of a hostile name
        if said == str(error):
            raise
        raise CheckpointError(said) from error
    except OSError as error:  # of a folder that may not be looked into, or is gone by now
        raise tensors.cannot_read(path, error) from error


def _open_any(path: Path) -> AnyRun:
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except ValueError as error:  # a null character in the name
        raise Refusal(path, "has a name that no file can have", str(error), OTHER_FILE) from error
    if not is_there:
        raise Refusal(path, "does not exist", "there is no checkpoint at that path", _LIST)
    if path.suffix.lower() == onnx_pair.SUFFIX and not is_folder:
        if not _is_pair(path.parent):
            return _open_graph(path)
        path, is_folder = path.parent, True
    if is_folder and _is_pair(path) and not (path / checkpoint.MODEL).is_file():
        return onnx_pair.open_pair(printable(path.name), path, known_shapes())
    if is_folder:
        is_ours = _is_ours(path)
        weights = None if is_ours else _weights_in(path)
        if weights is None and (graphs := sorted(path.glob(f"*{onnx_pair.SUFFIX}"))):
            if len(graphs) == 1:
                return _open_graph(graphs[0])
            raise Refusal(
                path,
                f"holds {len(graphs)} ONNX files",
                f"which is the encoder is told by the names {onnx_pair.ENCODER} and "
                f"{onnx_pair.DECODER}",
                BESIDE,
            )
        if weights is None and not is_ours:
            raise Refusal(path, "is a folder", "it holds no checkpoint", INTO_FOLDER)
        return checkpoint.open_run(path) if weights is None else _open(path.name, *weights)
    if path.name in _OWN_FILES and _is_ours(path.parent):
        return checkpoint.open_run(path)
    if (encoder := pairs.encoder_of(path)) is not None:
        return _open(path.name, encoder, path)
    return _open(path.name, path, pairs.decoder_of(path))


def list_runs(
    root: Path | None = None, opened: Callable[[Path], AnyRun] = open_run
) -> tuple[list[AnyRun], dict[str, str]]:
    """Every checkpoint in a folder, by name; and for each thing that is none, what is wrong.

    Folders, and single files that end as weights do (`tensors.SUFFIXES`). One broken entry does not
    hide the others. A folder that does not exist holds none.

    Args:
        root: the folder [`vae.runs.checkpoint.folder()`].
        opened: what opens each; raises CheckpointError.
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
            if not path.is_dir() and (not _ends_as_weights(path) or pairs.encoder_of(path)):
                continue
            if not path.is_dir():
                _check_inside(home, path)
            found = opened(path)
            if isinstance(found, ForeignRun):
                for file in (found.path, *found.more_files):
                    _check_inside(home, file)
            runs.append(found)
        except CheckpointError as error:
            broken[printable(path.name)] = str(error)
    return runs, broken


def left_out(root: Path | None = None) -> dict[str, str]:
    """The files in a folder that `list_runs` takes for no weights, by name, and why: one clause.

    Args:
        root: the folder [`vae.runs.checkpoint.folder()`].
    """
    root = root or checkpoint.folder()
    found = {}
    try:
        paths = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        others = [path for path in paths if not path.is_dir() and not _ends_as_weights(path)]
    except OSError:
        return {}
    for path in others:
        try:
            kind = tensors.kind_of(path)
        except Refusal as error:
            kind = f"{error.found}; {error.missing}"
        found[printable(path.name)] = (
            f"{kind}, whose name does not end as weights do; if it is a model, open it by its path"
        )
    return found


def _ends_as_weights(path: Path) -> bool:
    return tensors.is_weights(path) or path.suffix.lower() == onnx_pair.SUFFIX


def _check_inside(home: Path, path: Path) -> None:
    """Raises CheckpointError for a link that leads out of the folder of checkpoints."""
    try:
        is_inside = path.resolve().is_relative_to(home)
    except (OSError, RuntimeError):  # links in a circle
        is_inside = False
    if not is_inside:
        raise Refusal(
            path,
            f"is a link that leads out of {home}",
            "only what lies in that folder is listed",
            Step(
                "put a copy there, or open it by its own path",
                "python -m vae evaluate {path}",
                "choose the file itself",
            ),
        )


def _open(name: str, weights: Path, decoder: Path | None = None) -> ForeignRun:
    """Opens a file of weights, or two of which the first is the encoder's."""
    survey = _surveyed(weights, decoder)
    wrong: CheckpointError | None = None
    for title, read, _ in _READERS:
        try:
            found = read(survey, weights.parent)
            if found is None:
                continue
            # Without numbers: that the layers fit each other shows in the shapes alone.
            state: dict[str, Tensor] = {
                key: torch.empty(shape, device="meta") for key, shape in survey.shapes.items()
            }
            check(VAE.of_parts(found.config, *found.build(state)).eval(), "meta")
        except CheckpointError:
            raise
        except Exception as error:  # a file can hold any shapes under the right names
            found_wrong = Refusal(
                weights,
                f"has the names of {title} ({tensors_listed(survey.shapes)}), but cannot be read "
                "as such",
                reason(error),
                OWN_CLASS,
            )
            if title not in _OFTEN_COPIED:
                raise found_wrong from error
            wrong = wrong or found_wrong  # the readers after this one can know it
            continue
        return ForeignRun.of_file(printable(name), survey, found)
    if wrong is not None:
        raise wrong
    raise _unknown(survey)


def _surveyed(weights: Path, decoder: Path | None) -> Survey:
    try:
        return tensors.survey(weights) if decoder is None else pairs.survey_pair(weights, decoder)
    except Refusal as error:
        if weights.name.lower().endswith(_CODE_SUFFIXES):
            step = Step(
                f"give the weights beside it, {WEIGHTS[0]}, or save them in a place you trust",
                SAVE_WEIGHTS.command,
            )
            raise Refusal(weights, error.found, error.missing, step) from error
        raise


def _unknown(survey: Survey) -> CheckpointError:
    def likeness(known: frozenset[str]) -> float:
        return len(known & set(survey.shapes)) / max(1, len(known))

    name, _, known = max(_READERS, key=lambda reader: likeness(reader[2]))
    shared = len(known & set(survey.shapes))
    if not survey.shapes:
        return Refusal(
            survey.path, "holds no floating-point tensors", "weights are such", SAVE_WEIGHTS
        )
    nearest = (
        f"; the nearest known format is {name}, {shared} of whose {len(known)} names it has"
        if shared
        else ""
    )
    return Refusal(
        survey.path,
        f"is of no known format: it holds {tensors_listed(survey.shapes)}",
        f"in these no encoder with two heads and no decoder of images was found{nearest}",
        OWN_CLASS,
    )


def _is_ours(folder: Path) -> bool:
    """Whether its config.json is that of a run folder, broken or not; or there is nothing else.

    Many programs call their settings so: beside other weights it is theirs unless it is ours.
    """
    config = folder / checkpoint.CONFIG
    if not config.is_file():
        return False
    values = _json(config)
    if values.keys() & {"format_version", "train"}:
        return True
    names = [path.name for path in folder.iterdir() if tensors.is_weights(path)]
    if set(names) <= {checkpoint.MODEL, checkpoint.EMBEDDING, checkpoint.TRAINER}:
        return not values or checkpoint.MODEL not in names
    return False


def _is_pair(folder: Path) -> bool:
    return (folder / onnx_pair.ENCODER).is_file() and (folder / onnx_pair.DECODER).is_file()


def _open_graph(path: Path) -> ForeignRun:
    """Opens an ONNX file that stands alone."""
    name = printable(path.name)
    if path.name == onnx_pair.ENCODER:
        raise _lacks_decoder(path, "is an encoder")
    try:
        graph = Graph(onnx_pair.checked(path))
    except CheckpointError:
        raise
    except UserError as error:
        raise Refusal(path, "is no network that can be followed", str(error), EXPORT) from error
    if onnx_whole.is_whole(graph):
        return onnx_whole.open_whole(name, path, graph, known_shapes())
    if onnx_whole.is_encoder(graph):
        outputs = listed(value.name for value in graph.outputs)
        raise _lacks_decoder(path, f"is an encoder alone, from images to {outputs}")
    return onnx_decoder.open_decoder(name, path)


def _lacks_decoder(path: Path, found: str) -> Refusal:
    return Refusal(path, found, f"there is no {onnx_pair.DECODER} beside it", BESIDE)


def _weights_in(folder: Path) -> tuple[Path, Path | None] | None:
    """The file with the weights in another library's folder, and the decoder's if it has its own.

    None if the folder holds no weights.

    Raises:
        CheckpointError: there are several files that do not belong together.
    """
    try:
        here = sorted(folder.iterdir())
        below = folder / "checkpoints"  # where Lightning puts them
        here += sorted(below.iterdir()) if below.is_dir() else []
    except OSError as error:
        raise tensors.cannot_read(folder, error) from error
    files = [path for path in here if tensors.is_weights(path) and path.is_file()]
    indices = [path for path in files if path.suffix == ".json"]
    for first in (*(folder / name for name in WEIGHTS), *indices[:1]):
        if first in files:
            return first, None
    if pair := pairs.pair_among(files):
        return pair
    if len(files) > 1:
        names = ", ".join(path.name for path in files[:4])
        raise Refusal(
            folder, f"holds {len(files)} files of weights ({names})", "which is meant", NAME_ONE
        )
    if not files:  # a pickle of something else, which is told what to do instead
        files = [path for path in here if path.name.lower().endswith(_CODE_SUFFIXES)]
    return (files[0], None) if files else None


def _json(path: Path) -> Mapping[str, Any]:
    """What a JSON file beside the weights says; empty if it cannot be read or is no object."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_JSON_BYTES:
            return {}
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
