"""A run is a folder: save it, open it, list what there is.

    config.json            format version, model and training settings, library versions
    model.safetensors      the weights
    metrics.jsonl          one line per epoch and split
    embedding.safetensors  mu, logvar, terms and labels of the held-out split, see `results.py`
    trainer.safetensors    until the training is finished: what it needs to go on
    history/               the film of the training, see `vae.runs.film`

Every file is written beside its place and then renamed into it, so a reader never sees half of
one. Nothing here can run code that a file brings along: there is no pickle.
"""

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from vae.analysis.embedding import Embedding
from vae.config import ConfigError, ModelConfig, TrainConfig, brief
from vae.core.model import VAE, LatticeEncoder
from vae.errors import UserError
from vae.inference.evidence import Evidence
from vae.runs import files, headers, results
from vae.runs.files import MAX_JSON_BYTES, CheckpointError
from vae.runs.headers import HeaderError
from vae.runs.results import EMBEDDING, evidence_file
from vae.training.objectives import MeanTerms

FORMAT_VERSION = 1
CONFIG, MODEL = "config.json", "model.safetensors"
METRICS, TRAINER = "metrics.jsonl", "trainer.safetensors"
METRIC_NAMES = (
    *("epoch", "split", "recon", "kl", "neg_elbo"),
    *("beta", "lr", "images_per_s", "seconds"),
)
# What a training can come to; sums and squares of it are finite.
_LARGE = 1e100
_RANGES: dict[str, tuple[float, float]] = {
    "epoch": (0, 10**6),
    "beta": (0, 1e6),
    "lr": (0, 1e6),
    "images_per_s": (0, 1e12),
    "seconds": (0, 1e9),
}
_MAX_METRICS_BYTES = 32_000_000  # two lines for each of some 70,000 epochs
_MAX_LINE = 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def folder() -> Path:
    """Where runs are kept: the environment variable VAE_CHECKPOINTS, or checkpoints/ here."""
    default = Path(__file__).resolve().parents[2] / "checkpoints"
    return Path(os.environ.get("VAE_CHECKPOINTS") or default)


def check_name(name: str) -> str:
    """The name, if a run may be called so.

    Raises:
        CheckpointError: it is empty, too long or could lead out of the folder.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise CheckpointError(
            f"name (={name!r}) must be 1 to 64 letters, digits, '-', '_' or single dots, "
            "beginning with a letter or digit"
        )
    return name


def check_free(path: Path) -> None:
    """Raises CheckpointError if a new run cannot be called so, or one of that name exists."""
    check_name(path.name)
    if path.exists():
        raise _taken(path)


@dataclass(frozen=True)
class Run:
    """An opened run folder: its settings are read and checked, the rest is loaded on demand."""

    path: Path
    model_config: ModelConfig
    train_config: TrainConfig

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    def fingerprint(self) -> str:
        """SHA-256 of the weights' file: changes when the weights do.

        Raises:
            CheckpointError: the file cannot be read.
        """
        path = self.path / MODEL
        try:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror}") from error

    def load_model(self) -> VAE:
        """The model with its weights, on the CPU.

        Raises:
            CheckpointError: the weights are missing, damaged, not finite or not this config's.
        """
        path = self.path / MODEL
        _check_header(path, self.model_config)
        state, _ = files.read_tensors(path, safetensors.torch.load)
        for name, tensor in state.items():
            if not torch.isfinite(tensor).all():
                raise CheckpointError(
                    f"{path}: the tensor '{name}' holds NaN or infinite weights; "
                    "the training that wrote it diverged, so train again"
                )
        model = _on_meta(self.model_config)
        weights = {name: tensor.float() for name, tensor in state.items()}
        for name in _shapes(self.model_config).keys() - weights.keys():
            weights[name] = torch.tensor(LatticeEncoder.ADDED[name])
        model.load_state_dict(weights, assign=True)
        return model.eval()

    def load_metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl (see METRIC_NAMES); none if it is not there.

        Raises:
            CheckpointError: a line is not what training writes.
        """
        path = self.path / METRICS
        if not path.exists():
            return []
        rows = []
        for number, line in enumerate(files.read_text(path, _MAX_METRICS_BYTES).splitlines(), 1):
            where = f"{path}, line {number}"
            row = files.parse_json(line, where, _MAX_LINE)
            if problem := _problem_of_row(row):
                raise CheckpointError(f"{where}, is not a row of training metrics: {problem}")
            rows.append({name: row[name] for name in METRIC_NAMES})
        return rows

    def load_held_out_terms(self) -> MeanTerms | None:
        """What the held-out images cost on average, wherever it is told; None before an epoch.

        It is that of the stored embedding, which names each point's, where there is one of these
        weights; else that of the last epoch, whose noise is another.

        Raises:
            CheckpointError: a file is damaged.
        """
        return held_out_terms(self.load_metrics(), self.load_embedding())

    def load_trainer(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save_trainer` wrote; None if there is no such file.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = self.path / TRAINER
        if not path.exists():
            return None
        tensors, metadata = files.read_tensors(path, safetensors.torch.load)
        values = files.parse_json(metadata.get("state", ""), f"the metadata of {path}")
        if not isinstance(values, dict):
            raise CheckpointError(f"{path} does not hold the state of a training")
        return tensors, values

    def load_embedding(self, data_fingerprint: str | None = None) -> Embedding | None:
        """The stored embedding; None if there is none, or it is of other weights or other data.

        Args:
            data_fingerprint: `Dataset.fingerprint` of the data at hand; None if there are none. A
                file of an earlier version, which does not name its data, is taken for theirs.

        Raises:
            CheckpointError: the file is damaged or does not fit the config.
        """
        path = self.path / EMBEDDING
        if not path.exists():
            return None
        metadata, found = results.read_embedding(path, self.model_config.latent_dim)
        return found if results.is_of(metadata, self.fingerprint(), data_fingerprint) else None

    def load_evidence(
        self, dataset: str, split: str, data_fingerprint: str | None = None
    ) -> Evidence | None:
        """The stored log p(x) of a data set; None as for `load_embedding`.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = self.path / evidence_file(dataset, split)
        try:
            if not path.exists():
                return None
        except OSError:  # a name that no file can have
            return None
        metadata, found = results.read_evidence(path)
        if (found.dataset, found.split) != (dataset, split):
            return None
        return found if results.is_of(metadata, self.fingerprint(), data_fingerprint) else None


def held_out_terms(metrics: list[dict[str, Any]], stored: Embedding | None) -> MeanTerms | None:
    """As `Run.load_held_out_terms`, of what is loaded already."""
    rows = [row for row in metrics if row["split"] == "test"]
    last = stored.means() if stored is not None else rows[-1] if rows else None
    return MeanTerms(last["recon"], last["kl"]) if last else None


def create(path: Path, model_config: ModelConfig, train_config: TrainConfig) -> Run:
    """Makes a new run folder with its config.json.

    Raises:
        CheckpointError: a folder of that name exists, or it cannot be written.
    """
    check_name(path.name)
    _expected(model_config, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
    except OSError as error:
        if path.is_dir():
            raise _taken(path) from None
        raise CheckpointError(f"cannot make the folder {path}: {error.strerror}") from error
    config = {
        "format_version": FORMAT_VERSION,
        "model": model_config.to_dict(),
        "train": train_config.to_dict(),
        "held_out": f"{train_config.held_out_dataset}, split 'test'",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    try:
        files.write_atomic(path / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    except CheckpointError:
        path.rmdir()
        raise
    return Run(path, model_config, train_config)


def move(run: Run, path: Path) -> Run:
    """Moves a run folder to another place on the same disk, in one step.

    Raises:
        CheckpointError: a folder of that name exists, or it cannot be moved there.
    """
    try:
        os.rename(run.path, path)  # never onto a folder that holds anything
    except OSError as error:
        if path.exists():
            raise _taken(path) from None
        raise CheckpointError(f"cannot make the folder {path}: {error.strerror}") from error
    return replace(run, path=path)


def save_model(run: Run, model: VAE, dtype: torch.dtype = torch.float32) -> None:
    """Writes the weights. Raises CheckpointError if that fails; the old file then stays.

    Args:
        run: where.
        model: what.
        dtype: of the numbers in the file: float32, or float16 for half the size; what a lattice
            encoder needs exactly stays float32.
    """
    exact = LatticeEncoder.EXACT if isinstance(model.encoder, LatticeEncoder) else ()
    state = {
        name: tensor.detach().cpu().to(torch.float32 if name in exact else dtype)
        for name, tensor in model.state_dict().items()
    }
    files.write_atomic(run.path / MODEL, safetensors.torch.save(state))


def save_metrics(run: Run, rows: Iterable[dict[str, Any]]) -> None:
    """Writes metrics.jsonl anew. Raises CheckpointError if that fails; the old file then stays.

    Args:
        run: where.
        rows: as `EpochStats.rows` and `Run.load_metrics` give them.
    """
    files.write_atomic(run.path / METRICS, "".join(json.dumps(row) + "\n" for row in rows).encode())


def save_trainer(run: Run, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Writes what `Trainer.state` gave. Raises CheckpointError if it fails; the old file stays."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = safetensors.torch.save(tensors, {"state": json.dumps(values)})
    files.write_atomic(run.path / TRAINER, data)


def save_embedding(run: Run, embedding: Embedding) -> None:
    """Writes the embedding of the weights now in the folder. Raises CheckpointError if it fails."""
    results.write_embedding(run.path / EMBEDDING, embedding, run.fingerprint())


def save_evidence(run: Run, evidence: Evidence) -> None:
    """Writes log p(x) of a data set under the weights now in the folder; replaces what was there.

    Raises CheckpointError if that fails.
    """
    path = run.path / evidence_file(evidence.dataset, evidence.split)
    results.write_evidence(path, evidence, run.fingerprint())


def open_run(path: str | Path) -> Run:
    """Opens a run folder, or the one that a file belongs to.

    The settings are read and the weights' names, shapes and types checked against them; no
    weight is loaded yet.

    Raises:
        CheckpointError: there is no such folder, or it is not a run that can be used.
    """
    path = Path(path)
    try:
        if path.name in (CONFIG, MODEL, METRICS, EMBEDDING, TRAINER) and not path.is_dir():
            path = path.parent
        exists = path.exists()
    except OSError as error:  # a name that is too long, or a folder that may not be looked into
        raise CheckpointError(f"cannot open {str(path)[:100]}: {error.strerror}") from error
    if not exists:
        raise CheckpointError(
            f"there is no checkpoint at {path}; `python -m vae list` shows those there are"
        )
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is not a run folder; expected a folder with {CONFIG} and {MODEL} in it"
        )
    config = files.parse_json(files.read_text(path / CONFIG, MAX_JSON_BYTES), str(path / CONFIG))
    if not isinstance(config, dict):
        raise CheckpointError(f"{path / CONFIG} must hold a JSON object")
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path / CONFIG}: format_version (={repr(version)[:40]}) must be {FORMAT_VERSION}; "
            "it may be another program's file, or a newer ELBO Room's"
        )
    try:
        run = Run(
            path,
            ModelConfig.from_dict(config.get("model")),
            TrainConfig.from_dict(config.get("train")),
        )
    except ConfigError as error:
        raise CheckpointError(f"{path / CONFIG}: {error}") from error
    _check_header(path / MODEL, run.model_config)
    return run


def list_runs(root: Path | None = None) -> tuple[list[Run], dict[str, str]]:
    """Every run in a folder, by name; and for each folder that is none, what is wrong with it.

    One broken folder does not hide the others. A folder that does not exist holds no runs.
    """
    root = root or folder()
    runs, broken = [], {}
    try:
        paths = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError:
        return [], {}
    for path in paths:
        try:
            runs.append(open_run(path))
        except CheckpointError as error:
            broken[path.name] = str(error)
    return runs, broken


def _taken(path: Path) -> CheckpointError:
    return CheckpointError(
        f"a run named '{path.name}' exists already in {path.parent}; choose another name"
    )


def _problem_of_row(row: Any) -> str:
    """What of a row no training writes, as a clause; "" if it is one."""
    if not isinstance(row, dict) or row.get("split") not in ("train", "test"):
        return "it names no split"
    for name in METRIC_NAMES:
        if name == "split":
            continue
        low, high = _RANGES.get(name, (-_LARGE, _LARGE))
        value, kind = row.get(name), int if name == "epoch" else int | float
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            return f"{name} is {brief(value)}"
    return ""


def _on_meta(config: ModelConfig) -> VAE:
    """The model without numbers."""
    with torch.device("meta"):
        return VAE(config)


@lru_cache(maxsize=256)  # many runs of a folder are alike, and to build one takes 20 ms
def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of its weights by name. Raises UserError for one too large to be looked at."""
    model = _on_meta(config)
    model.check_footprint()
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _expected(config: ModelConfig, path: Path) -> dict[str, tuple[int, ...]]:
    """As `_shapes`. Raises CheckpointError that names the path."""
    try:
        return _shapes(config)
    except UserError as error:
        raise CheckpointError(f"{path}: the model is too large: {error}") from error


def _check_header(path: Path, config: ModelConfig) -> None:
    """Holds the file's tensor names, shapes and types against the config, loading none."""
    expected = _expected(config, path)
    if not path.is_file():
        raise CheckpointError(f"{path.parent} has no {MODEL}; the weights are missing")
    try:
        header = headers.read(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except HeaderError as error:
        raise files.not_safetensors(path, error) from error
    found = {name: (shape, header.dtypes[name]) for name, shape in header.shapes.items()}
    for name, shape in expected.items():
        if name not in found and name in LatticeEncoder.ADDED:
            continue
        if name not in found:
            raise CheckpointError(f"{path} lacks the tensor '{name}' that {CONFIG} calls for")
        if found[name][0] != shape or found[name][1] not in ("F32", "F16"):
            raise CheckpointError(
                f"{path}: the tensor '{name}' is {found[name][1]} {list(found[name][0])}, but "
                f"{CONFIG} calls for F32 or F16 {list(shape)}; these two files are not of one run"
            )
    if extra := sorted(set(found) - set(expected)):
        raise CheckpointError(
            f"{path} has a tensor {extra[0][:60]!r} that {CONFIG} does not call for"
        )
