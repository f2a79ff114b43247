"""What is loaded once and shared by all visitors: checkpoints, models, data sets, embeddings.

Everything here is read-only for its readers. What is read from files that change is replaced when
they do; what follows from a model and its data is known by their fingerprints.
"""

import dataclasses
import os
import threading
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import streamlit as st
import torch

from vae import formats
from vae.analysis import diagnosis
from vae.analysis.embedding import Embedding, embed
from vae.config import IMAGE
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset, DatasetError, Source
from vae.errors import UserError
from vae.formats import AnyRun, ForeignRun
from vae.inference.condition import OWN_LABEL, Condition, name_of
from vae.inference.evidence import Evidence
from vae.runs import checkpoint, film
from vae.runs.checkpoint import Run
from vae.runs.status import STATUS, read_status
from vae.training.film import Frame
from vae.training.objectives import MeanTerms
from vae.ui import policy, roles
from vae.ui.results import waiting
from vae.ui.results.lines import FETCH
from vae.ui.results.store import RESULTS
from vae.ui.results.task import Progress

_RESIZED_AT_ONCE = 500
_LOOKS_EVERY_S = 0.2  # how much of a download has arrived
_JUDGES_FOR_S = 0.2  # the health of many runs, for one page
# When a folder of runs is looked at again, its own stamp, and what was found.
_LOOKED: dict[Path, tuple[float, tuple[int, int, int], dict[str, tuple[Any, ...]]]] = {}


def runs() -> tuple[list[AnyRun], dict[str, str]]:
    """Every checkpoint that can be opened, by name, and what is wrong with the others."""
    root = checkpoint.folder()
    stamps = _stamps(root)

    def opened(path: Path) -> AnyRun:  # while one run of many is trained, the others are known
        return RESULTS.make(
            ("checkpoint", path), lambda: formats.open_run(path), stamps.get(path.name)
        )

    return RESULTS.make(("checkpoints", root), lambda: formats.list_runs(root, opened), stamps)


def left_out() -> dict[str, str]:
    """What else lies in the folder of checkpoints, and why it is no checkpoint."""
    root = checkpoint.folder()
    return RESULTS.make(("left out", root), lambda: formats.left_out(root), _stamps(root))


def weights(run: AnyRun) -> Hashable:
    """What a model is known by: its weights' fingerprint, its shape, and how the file was read.

    Raises CheckpointError.
    """
    digest = RESULTS.make(("fingerprint", run.path), run.fingerprint, _stamp_of_model(run))
    return digest, run.model_config, run.choices if isinstance(run, ForeignRun) else ()


def model(run: AnyRun) -> VAE:
    """The run's model. Raises CheckpointError."""
    return RESULTS.make(("model", weights(run)), lambda: run.load_model().requires_grad_(False))


def metrics(run: AnyRun) -> list[dict[str, Any]]:
    """The rows of the run's metrics.jsonl. Raises CheckpointError."""
    stamp = _stamp(run.path / checkpoint.METRICS)
    return RESULTS.make(("metrics", run.path), run.load_metrics, stamp)


def frames(run: Run) -> list[Frame]:
    """The film of the run's training. Raises CheckpointError."""
    return RESULTS.make(("film", run.path), lambda: list(film.frames(run)), stamp_of_film(run))


def stamp_of_film(run: Run) -> tuple[Any, ...]:
    """Changes when a frame comes or goes."""
    return tuple(_stamp(film.path(run, epoch)) for epoch in film.epochs(run))


def stored_embedding(run: AnyRun) -> Embedding | None:
    """The embedding in the run's folder, as `Run.load_embedding`. Raises CheckpointError."""
    stamps = _stamp_of_model(run), _stamp(run.path / checkpoint.EMBEDDING)
    return RESULTS.make(("stored embedding", run.path), run.load_embedding, stamps)


def held_out_terms(run: Run) -> MeanTerms | None:
    """As `Run.load_held_out_terms`. Raises CheckpointError."""
    return _outcome(run)[0]


def ill_health(run: AnyRun) -> str:
    """What is plainly wrong with a run, by its status and its stored embedding alone.

    Returns:
        "training failed", or Diagnose's verdict where it is "collapsed" or "broken"; else "".
    """
    if isinstance(run, ForeignRun):
        return ""
    try:
        return _outcome(run)[1]
    except UserError:  # what is wrong with its files is said where it is opened
        return ""


def ill_healths(runs: list[AnyRun]) -> dict[Path, str]:
    """As `ill_health`, by path, of as many as can be judged in a moment: each call knows more."""
    root = checkpoint.folder()
    known: dict[Path, str] = RESULTS.make(("ill health", root), dict, _stamps(root))
    until = time.monotonic() + _JUDGES_FOR_S
    for run in runs:
        if run.path not in known:
            known[run.path] = ill_health(run)
            if time.monotonic() > until:
                break
    return dict(known)


def _outcome(run: Run) -> tuple[MeanTerms | None, str]:
    """What a run costs and what is wrong with it; the embedding is read once and not kept."""

    def judge() -> tuple[MeanTerms | None, str]:
        stored = run.load_embedding()
        terms = checkpoint.held_out_terms(run.load_metrics(), stored)
        if read_status(run.path).state == "failed":
            return terms, "training failed"
        if stored is None:
            return terms, ""
        measured = diagnosis.measure(stored, beta=run.train_config.beta)
        verdict = diagnosis.diagnose(measured).verdict
        is_ill = verdict in (diagnosis.COLLAPSED, diagnosis.BROKEN)
        return terms, verdict.lower() if is_ill else ""

    names = checkpoint.EMBEDDING, checkpoint.METRICS, STATUS
    stamps = _stamp_of_model(run), *(_stamp(run.path / name) for name in names)
    return RESULTS.make(("outcome", run.path), judge, stamps)


def evidence(run: AnyRun, name: str, split: str, here: Dataset | None) -> Evidence | None:
    """log p(x) in the run's folder; None if it is of other images than those that are at hand.

    Raises CheckpointError.
    """
    stamp = _stamp(run.path / checkpoint.evidence_file(name, split))
    if not any(stamp):  # the name may be one that no file can have
        return None
    found = RESULTS.make(
        ("stored log p(x)", run.path, name, split),
        lambda: run.load_evidence(name, split),
        (_stamp_of_model(run), stamp),
    )
    return None if found is not None and here is not None and not _is_of(found, here) else found


def dataset(name: str, split: str) -> Dataset:
    """The data set; shows how far it is while it is downloaded. Raises DatasetError."""
    source = catalogue.describe(name)
    if not source.is_here(split):
        try:
            roles.check()
            policy.check_room(catalogue.folder(), source.n_bytes)
        except UserError as error:  # as for a missing network, for whoever can do without
            raise DatasetError(str(error)) from error
        key = "download", source.files
        waiting.result(
            key,
            lambda progress: _fetch(name, source, progress),
            f"Fetching {source.title}",
            line=FETCH,
        )
        RESULTS.forget(key)  # who deletes the files may have them fetched again

    def load() -> Dataset:
        found = catalogue.load(name, split)
        _ = found.fingerprint  # which is kept
        return found

    with st.spinner(f"Loading {source.title}", show_time=True):
        return RESULTS.make(("data", name, split), load, catalogue.fingerprint(name))


def images(run: AnyRun, name: str, split: str) -> Dataset:
    """The data set as the run's model reads it: another than its own is resized. As `dataset`."""
    found, config = dataset(name, split), run.model_config
    is_own = not isinstance(run, ForeignRun) and name == run.train_config.held_out_dataset
    if found.is_read_by(config) or (is_own and found.kind == IMAGE):
        return found
    found.check_read_by(config)
    if found.kind != IMAGE:
        return RESULTS.make(
            ("read", name, split, config),
            lambda: found.read_by(config),
            found.fingerprint,
        )
    shape = config.image_shape
    return waiting.result(
        ("resized", name, split, found.fingerprint, shape),
        lambda progress: _resized(found, shape, progress),
        "Resizing",
        unit="images",
    )


def at_hand(run: AnyRun, name: str, split: str) -> tuple[Dataset | None, str]:
    """The images if nothing has to be downloaded for them, else why there are none."""
    try:
        source = catalogue.describe(name)
        if not source.is_here(split):
            return None, f"{source.title} is not in {catalogue.folder()}"
        found = images(run, name, split)
    except DatasetError as error:
        return None, str(error)
    if found.kind == IMAGE and not found.is_read_by(run.model_config):
        return None, "the stored map is of another version of this data set"
    return found, ""


def class_names(run: AnyRun, name: str) -> tuple[str, ...]:
    """The names of the classes that a model's condition has; their numbers where none are known.

    Args:
        run: of the model.
        name: the data set that is looked at, whose names serve where the model's own are unknown.
    """
    n, known = run.model_config.n_classes, ()
    for source in filter(None, (run.train_config.dataset, name)):
        try:
            if catalogue.describe(source).is_here("test"):
                known = dataset(source, "test").class_names
                break
        except DatasetError:
            continue
    return tuple(name_of(label, known) for label in range(n))


def embedding(run: AnyRun, name: str, split: str, condition: Condition = OWN_LABEL) -> Embedding:
    """The data set seen through the run's model: the stored one, or computed (`results.waiting`).

    Raises:
        UserError: the model or the data cannot be had, or not be encoded.
    """
    place = st.empty()
    is_held_out = (name, split) == (run.train_config.held_out_dataset, "test")
    if is_held_out and condition == OWN_LABEL:
        stored = stored_embedding(run)
        if stored is not None:
            here, _ = at_hand(run, name, split)
            if here is None or _is_of(stored, here):
                return stored
    found, module = images(run, name, split), model(run)
    return waiting.result(
        ("embedding", weights(run), name, split, found.fingerprint, condition),
        lambda progress: embed(module, found, progress=progress, condition=condition),
        "Encoding",
        place,
        "points",
    )


def _is_of(stored: Embedding | Evidence, here: Dataset) -> bool:
    """Whether what was stored is of these images; a file of an earlier version does not say so."""
    if len(stored) != len(here):
        return False
    if stored.data_fingerprint:
        return stored.data_fingerprint == here.fingerprint
    return not here.note  # which is of images that were resized


def _fetch(name: str, source: Source, progress: Progress) -> None:
    """Downloads it. Where that is cancelled the rest arrives unseen, and replaces nothing."""
    problems: list[Exception] = []

    def load() -> None:
        try:
            catalogue.load(name, "train")
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=load, name="download", daemon=True)
    thread.start()
    while thread.is_alive():
        here = min(source.bytes_here(), source.n_bytes)
        amount = f"{here / 1e6:.1f} of {source.n_bytes / 1e6:.1f} MB"
        progress(here, source.n_bytes, f"Fetching {source.title}: {amount}")
        thread.join(_LOOKS_EVERY_S)
    if problems:
        raise problems[0]


def _resized(whole: Dataset, image_shape: tuple[int, int, int], progress: Progress) -> Dataset:
    parts = []
    for first in range(0, len(whole), _RESIZED_AT_ONCE):
        progress(first, len(whole))
        some = slice(first, first + _RESIZED_AT_ONCE)
        parts.append(dataclasses.replace(whole, images=whole.images[some]).resized(image_shape))
    made = torch.cat([part.images for part in parts])
    return dataclasses.replace(whole, images=made, note=parts[0].note)


def _stamp(path: str | Path) -> tuple[int, int, int]:
    """Changes when the file is replaced, so that a newer one is not hidden by what is kept."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _stamp_of_model(run: AnyRun) -> tuple[int, ...]:
    """Changes when the weights are replaced."""
    files = (
        (run.path, *run.more_files)
        if isinstance(run, ForeignRun)
        else (run.path / checkpoint.MODEL,)
    )
    return tuple(number for file in files for number in _stamp(file))


def _stamps(root: Path) -> dict[str, tuple[Any, ...]]:
    """Of everything in a folder of runs, by name.

    A run that comes, goes or is renamed is seen at once. What changes in one of thousands may be
    seen a moment later: a page looks several times, and shall not spend its time on that.
    """
    began, own = time.monotonic(), _stamp(root)
    until, of, stamps = _LOOKED.get(root, (0.0, own, {}))
    if of == own and began < until:
        return stamps
    try:
        entries = sorted(e for e in os.listdir(root) if not e.startswith("."))
    except OSError:
        return {}
    # A folder's own time changes when a file in it comes or goes.
    names = (checkpoint.CONFIG, *formats.WEIGHTS)
    stamps = {}
    for entry in entries:
        path = os.path.join(root, entry)
        stamps[entry] = (_stamp(path), *(_stamp(os.path.join(path, name)) for name in names))
    took = time.monotonic() - began
    _LOOKED[root] = (began + 10 * took, own, stamps)
    return stamps
