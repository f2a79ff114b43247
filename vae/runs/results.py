"""The files of results that are kept with a run: its embedding, and log p(x) of data sets.

Each says in its metadata of which weights and of which data it is, so that it is not taken for
that of others. Files of earlier versions do not name their data.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from vae.analysis.embedding import ARRAYS, Embedding
from vae.inference.evidence import METHODS, Evidence
from vae.runs import files
from vae.runs.files import CheckpointError

EMBEDDING = "embedding.safetensors"
_WIDE = {"mu", "logvar", "kl_per_dim"}
_EVIDENCE_ARRAYS = ("log_px", "error", "elbo")
_LARGEST, _LARGEST_SINGLE = 1e100, 1e15  # magnitudes, of float64 and of float32
_NUMBERS = ("n_samples", "seed")


def evidence_file(dataset: str, split: str) -> str:
    """The name of the file in a run's folder that holds log p(x) of a data set."""
    return f"log-px-{dataset}-{split}.safetensors"


def write_embedding(path: Path, embedding: Embedding, model_sha256: str) -> None:
    """Writes the embedding that those weights made. Raises CheckpointError if that fails."""
    arrays = {name: getattr(embedding, name) for name in ARRAYS}
    arrays |= {f"factor.{name}": values for name, values in embedding.factors.items()}
    names = {"class_names": json.dumps(embedding.class_names)}
    _write(path, embedding, arrays, ("dataset", "split", *_NUMBERS), names, model_sha256)


def write_evidence(path: Path, evidence: Evidence, model_sha256: str) -> None:
    """Writes log p(x) under those weights. Raises CheckpointError if that fails."""
    arrays = {name: getattr(evidence, name) for name in _EVIDENCE_ARRAYS}
    names = "dataset", "split", "method", "n_ended", *_NUMBERS
    _write(path, evidence, arrays, names, {}, model_sha256)


def _write(
    path: Path,
    result: Embedding | Evidence,
    arrays: dict[str, np.ndarray],
    names: tuple[str, ...],
    more: dict[str, str],
    model_sha256: str,
) -> None:
    metadata = {name: str(getattr(result, name)) for name in names} | more
    metadata["model_sha256"] = model_sha256
    if result.data_fingerprint:
        metadata["data_sha256"] = result.data_fingerprint
    arrays = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    files.write_atomic(path, safetensors.numpy.save(arrays, metadata))


def is_of(metadata: dict[str, str], model_sha256: str, data_fingerprint: str | None) -> bool:
    """Whether a file is of those weights, and of those data as far as both are known."""
    data = metadata.get("data_sha256") or data_fingerprint
    same_data = data_fingerprint is None or data == data_fingerprint
    return metadata.get("model_sha256") == model_sha256 and same_data


def read_embedding(path: Path, latent_dim: int) -> tuple[dict[str, str], Embedding]:
    """A stored embedding and its file's metadata.

    Raises:
        CheckpointError: the file is damaged, or of another number of dimensions.
    """
    arrays, metadata = files.read_tensors(path, safetensors.numpy.load)

    def require(condition: bool, what: str) -> None:
        if not condition:
            raise CheckpointError(f"{path}: {what}; delete it, and it is computed anew")

    for name in ARRAYS:
        require(name in arrays, f"the column '{name}' is missing")
    N = arrays["labels"].size
    # The file keeps its tensors in an order of its own.
    factors = {
        name.removeprefix("factor."): arrays[name]
        for name in sorted(arrays)
        if name.startswith("factor.")
    }
    for name in ARRAYS:
        array, shape = arrays[name], (N, latent_dim) if name in _WIDE else (N,)
        require(array.shape == shape, f"'{name}' is {array.shape}, expected {shape}")
        is_number = array.dtype == (np.int64 if name == "labels" else np.float32)
        require(is_number and _is_usable(array), f"'{name}' holds unusable values")
    for name, values in factors.items():
        require(values.shape == (N,), f"the factor {name[:60]!r} has another length")
        usable = values.dtype.kind in "fiub" and _is_usable(values)
        require(usable, f"the factor {name[:60]!r} holds unusable values")
    try:
        class_names = tuple(str(name) for name in json.loads(metadata["class_names"]))
        origin = _origin(metadata, ("dataset", "split"))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata cannot be used; delete it") from error
    labels = arrays["labels"]
    require(N > 0 and labels.min() >= 0 and labels.max() < len(class_names), "labels have no name")
    require(origin["n_samples"] > 0 and origin["seed"] >= 0, "its metadata is unusable")
    columns = {name: arrays[name] for name in ARRAYS}
    return metadata, Embedding(class_names=class_names, factors=factors, **origin, **columns)


def _is_usable(values: np.ndarray) -> bool:
    """Whether all are finite, and sums of their squares, too, in the values' own precision."""
    largest = _LARGEST_SINGLE if values.dtype == np.float32 else _LARGEST
    return bool((np.abs(values) <= largest).all())  # no comparison holds for NaN


def read_evidence(path: Path) -> tuple[dict[str, str], Evidence]:
    """Stored log p(x) and its file's metadata. Raises CheckpointError if the file is damaged."""
    arrays, metadata = files.read_tensors(path, safetensors.numpy.load)
    try:
        columns = {name: arrays[name] for name in _EVIDENCE_ARRAYS}
        shapes = {values.shape for values in columns.values()}
        usable = all(values.dtype == np.float64 for values in columns.values())
        # An error or a bound may be infinite; sums and squares of what is not are finite.
        usable = usable and bool(np.isfinite(columns["log_px"]).all())
        usable = usable and not any(
            bool((np.isfinite(values) & (np.abs(values) > _LARGEST)).any())
            for values in columns.values()
        )
        if len(shapes) != 1 or len(next(iter(shapes))) != 1 or not usable:
            raise ValueError("columns of unequal length, of another type or not finite")
        origin = _origin(metadata, ("dataset", "split", "method"))
        if origin["method"] not in METHODS:
            raise ValueError("an unknown method")
        n_ended = int(metadata.get("n_ended", 0))  # files of earlier versions do not say
        if not 0 <= n_ended <= len(columns["log_px"]):
            raise ValueError("more integrals than points")
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: its columns or metadata cannot be used; delete it, and it is computed anew"
        ) from error
    return metadata, Evidence(**origin, **columns, n_ended=n_ended)


def _origin(metadata: dict[str, str], names: tuple[str, ...]) -> dict[str, Any]:
    """Of what, and how, a result was made. Raises KeyError or ValueError."""
    numbers = {name: int(metadata[name]) for name in _NUMBERS}
    texts = {name: metadata[name] for name in names}
    return {**texts, **numbers, "data_fingerprint": metadata.get("data_sha256", "")}
