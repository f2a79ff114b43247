"""What is loaded once and shared by all visitors: models, data sets, embeddings.

Everything here is read-only for its readers, and bounded: models by number, data sets and
embeddings by bytes. What takes long is computed in the background (`vae.ui.background`), so that
it does not slow others' pages down, and anybody may cancel it.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import streamlit as st

from vae import checkpoint, datasets, film, formats
from vae.datasets import Dataset
from vae.embedding import ARRAYS, Embedding, embed
from vae.evidence import Evidence
from vae.film import Frame
from vae.formats import AnyRun, ForeignRun
from vae.model import VAE
from vae.ui import waiting
from vae.ui.background import Progress
from vae.ui.bounded import Bounded

_datasets = Bounded[Dataset](1_000_000_000, lambda d: d.images.nbytes + d.labels.nbytes)
_embeddings = Bounded[Embedding](
    400_000_000, lambda e: sum(getattr(e, name).nbytes for name in ARRAYS)
)


def runs() -> tuple[list[AnyRun], dict[str, str]]:
    """Every checkpoint that can be opened, by name, and what is wrong with the others."""
    return _runs(checkpoint.folder(), _stamp_of_folder(checkpoint.folder()))


def model(run: AnyRun) -> VAE:
    """The run's model. Raises CheckpointError."""
    return _model(run.path, stamp_of_model(run), run)


def metrics(run: AnyRun) -> list[dict[str, Any]]:
    """The rows of the run's metrics.jsonl. Raises CheckpointError."""
    return _metrics(run.path, _stamp(run.path / checkpoint.METRICS), run)


def stored_embedding(run: AnyRun) -> Embedding | None:
    """The embedding in the run's folder, as `Run.load_embedding`. Raises CheckpointError."""
    if isinstance(run, ForeignRun):
        return None
    stamps = (stamp_of_model(run), _stamp(run.path / checkpoint.EMBEDDING))
    key = ("stored", run.path, stamps)
    found = _embeddings.get(key)
    if found is None:
        found = run.load_embedding()
        if found is not None:
            _embeddings.put(key, found)
    return found


def frames(run: AnyRun) -> list[Frame]:
    """The film of the run's training. Raises CheckpointError."""
    return _frames(run.path, stamp_of_film(run), run)


def stamp_of_film(run: AnyRun) -> tuple[Any, ...]:
    """Changes when a frame comes or goes."""
    return tuple(_stamp(film.path(run, epoch)) for epoch in film.epochs(run))


def dataset(name: str, split: str) -> Dataset:
    """The data set; shows how far it is while it is downloaded. Raises DatasetError."""
    source = datasets.describe(name)
    if not source.is_here():
        _download(name, source)
    key = (name, split, datasets.stamp(name))
    with st.spinner(f"Loading {source.title}", show_time=True):
        return _datasets.get_or_make(key, lambda: datasets.load(name, split))


def images(run: AnyRun, name: str, split: str) -> Dataset:
    """The data set as the run's model reads it: another than its own is resized. As `dataset`."""
    found, shape = dataset(name, split), run.model_config.image_shape
    is_own = not isinstance(run, ForeignRun) and name == run.train_config.held_out_dataset
    if is_own or found.image_shape == shape:
        return found
    key = (name, split, datasets.stamp(name), shape)
    with st.spinner("Resizing the images", show_time=True):
        return _datasets.get_or_make(key, lambda: found.resized(shape))


def embedding(run: AnyRun, name: str, split: str) -> Embedding:
    """The data set seen through the run's model: the stored one, or computed (`vae.ui.waiting`).

    Raises:
        ValueError: the model or the data cannot be had, or not be encoded.
    """
    if (name, split) == (run.train_config.held_out_dataset, "test"):
        stored = stored_embedding(run)
        if stored is not None:
            return stored
    key = ("embedding", run.path, stamp_of_model(run), datasets.stamp(name), name, split)
    place = st.empty()
    found = _embeddings.get(key)
    if found is not None:
        return found
    points, module = images(run, name, split), model(run)

    def work(progress: Progress) -> None:
        _embeddings.put(key, embed(module, points, progress=progress))

    waiting.until_done(key, work, "Encoding", place, "points")
    found = _embeddings.get(key)
    # Gone again already where many are computed at once.
    return embed(module, points) if found is None else found


def evidence(run: AnyRun, name: str, split: str) -> Evidence | None:
    """log p(x) in the run's folder, as `Run.load_evidence`. Raises CheckpointError."""
    stamp = _stamp(run.path / checkpoint.evidence_file(name, split))
    if not any(stamp):  # the name may be one that no file can have
        return None
    return _evidence(run.path, (stamp_of_model(run), stamp), name, split, run)


def unstored_evidence(run: AnyRun, name: str, split: str) -> list[tuple[Evidence, str]]:
    """A place for log p(x) that could not be written into the run's folder, and why not."""
    return _unstored_evidence(run.path, stamp_of_model(run), name, split)


def stamp_of_model(run: AnyRun) -> tuple[int, ...]:
    """Changes when the weights are replaced."""
    files = (
        (run.path, *run.more_files)
        if isinstance(run, ForeignRun)
        else (run.path / checkpoint.MODEL,)
    )
    return tuple(number for file in files for number in _stamp(file))


def pack(run: AnyRun, name: str, build: Callable[[], Any]) -> Any:
    """What `build` makes for the browser out of the run's weights, made once for all visitors."""
    stamps = (stamp_of_model(run), _stamp(run.path / checkpoint.EMBEDDING))
    return _pack(run.path, stamps, name, build)


_downloading = threading.Lock()


def _download(name: str, source: datasets.Source) -> None:
    bar = st.progress(0.0, f"Waiting to fetch {source.title}")
    # One at a time: two visitors must not write the same files.
    with _downloading, ThreadPoolExecutor(1) as pool:
        loading = pool.submit(datasets.load, name, "train")
        while not loading.done():
            here = min(source.bytes_here(), source.n_bytes)
            amount = f"{here / 1e6:.1f} of {source.n_bytes / 1e6:.1f} MB"
            bar.progress(here / source.n_bytes, f"Fetching {source.title}: {amount}")
            time.sleep(0.2)
        bar.empty()
        loading.result()  # raises what went wrong


def _stamp(path: Path) -> tuple[int, int, int]:
    """Changes when the file is replaced, so that a newer one is not hidden by the cache."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _stamp_of_folder(root: Path) -> tuple[Any, ...]:
    try:
        paths = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError:
        return ()
    # A folder's own time changes when a file in it comes or goes.
    names = (".", checkpoint.CONFIG, *formats.WEIGHTS)
    return tuple((p.name, *(_stamp(p / name) for name in names)) for p in paths)


def _shared(max_entries: int) -> Callable[..., Any]:
    return st.cache_resource(max_entries=max_entries, show_spinner=False)


@_shared(max_entries=2)
def _runs(root: Path, stamp: tuple[Any, ...]) -> tuple[list[AnyRun], dict[str, str]]:
    return formats.list_runs(root)


@_shared(max_entries=8)
def _model(path: Path, stamp: tuple[int, ...], _run: AnyRun) -> VAE:
    return _run.load_model().requires_grad_(False)


@_shared(max_entries=32)
def _metrics(path: Path, stamp: tuple[int, ...], _run: AnyRun) -> list[dict[str, Any]]:
    return _run.load_metrics()


@_shared(max_entries=8)
def _frames(path: Path, stamps: tuple[Any, ...], _run: AnyRun) -> list[Frame]:
    return list(film.frames(_run))


@_shared(max_entries=8)
def _pack(path: Path, stamps: tuple[Any, ...], name: str, _build: Callable[[], Any]) -> Any:
    return _build()


@_shared(max_entries=16)
def _evidence(
    path: Path, stamps: tuple[Any, ...], name: str, split: str, _run: AnyRun
) -> Evidence | None:
    return _run.load_evidence(name, split)


@_shared(max_entries=6)
def _unstored_evidence(
    path: Path, stamp: tuple[int, ...], name: str, split: str
) -> list[tuple[Evidence, str]]:
    return []
