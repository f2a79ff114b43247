"""A training job: fit() into a run folder, in a process of its own that others can watch and stop.

The run folder is the only channel. The job keeps `status.json` there fresh, so whoever reads the
folder (a page, another machine on a shared disk) knows how far it is and whether it still lives;
a file named `stop` asks it to end.
"""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from vae import checkpoint, datasets
from vae.checkpoint import CheckpointError, Run
from vae.config import ModelConfig, TrainConfig
from vae.embedding import embed
from vae.model import VAE
from vae.training import EpochStats, NonFiniteLoss, choose_device, fit

STATUS, STOP = "status.json", "stop"
_STATES = ("running", "finished", "stopped", "failed", "interrupted")
_HEARTBEAT_S = 0.5
_SILENT_S = 15.0  # a job that has not stirred for so long is taken for dead
_EMBED_EVERY_S = 1.0  # between two epochs' maps


@dataclass(frozen=True)
class Status:
    """How far a job is.

    Attributes:
        state: "running", "finished", "stopped" (asked to), "failed" (see message) or
            "interrupted" (its process is gone).
        step, n_steps: optimiser steps done and in all.
        seconds: since the job began.
        updated: when this was written, seconds since the Unix epoch.
        message: what went wrong, if anything.
    """

    state: str
    step: int = 0
    n_steps: int = 0
    seconds: float = 0.0
    updated: float = 0.0
    message: str = ""

    @property
    def seconds_left(self) -> float | None:
        """What the rest takes at the pace so far; None while that is unknown."""
        if self.state != "running" or not self.step:
            return None
        return self.seconds * (self.n_steps - self.step) / self.step


class _Stopped(Exception):
    """Someone asked the job to end."""


def train(
    run_path: Path,
    model_config: ModelConfig,
    train_config: TrainConfig,
    device: str | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[EpochStats]:
    """Trains a new model into a new run folder, yielding as `fit` does.

    After every epoch the folder holds that epoch's weights and metrics, and it can be opened from
    the instant it appears: a kill loses the epoch in progress at most.

    Args:
        run_path: the folder to make; its name is the run's.
        model_config, train_config: what to train, and how.
        device: as in `training.choose_device`.
        on_step: as in `fit`.

    Raises:
        CheckpointError: the folder exists, or cannot be written.
        DatasetError: the data set cannot be had.
        NonFiniteLoss: training diverged; the folder keeps the last good weights.
        ValueError: the data set's images are not of the model's shape, or no such device.
    """
    checkpoint.check_free(run_path)
    chosen_device = choose_device(device)
    train_set = datasets.load(train_config.dataset, "train")
    test_set = datasets.load(train_config.dataset, "test")
    if train_set.image_shape != model_config.image_shape:
        raise ValueError(
            f"image_shape (={model_config.image_shape}) must be {train_set.image_shape}, "
            f"the shape of {train_config.dataset}'s images"
        )
    # Made in a hidden folder and moved once it is whole, so nobody meets a run without weights.
    draft = run_path.parent / f".{run_path.name}.{os.getpid()}.tmp"
    try:
        run = checkpoint.create(draft / run_path.name, model_config, train_config)
        reporter = _Reporter(run.path)
        model = VAE(model_config, torch.Generator().manual_seed(train_config.seed))
        checkpoint.save_model(run, model)
        checkpoint.save_embedding(run, embed(model, test_set))
        reporter.path = run_path
        run = checkpoint.move(run, run_path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)

    def step_done(step: int, n_steps: int) -> None:
        reporter.step, reporter.n_steps = step, n_steps
        if on_step:
            on_step(step, n_steps)
        if reporter.stop_asked.is_set():
            raise _Stopped

    history: list[EpochStats] = []
    embedded_at = time.monotonic()
    final = Status("failed", message="the job ended unexpectedly")
    reporter.start()
    try:
        images = train_set.images, test_set.images
        for stats in fit(model, *images, train_config, chosen_device, step_done):
            history.append(stats)
            checkpoint.save_model(run, model)
            checkpoint.save_metrics(run, history)
            is_last = stats.epoch == train_config.epochs
            if is_last or time.monotonic() - embedded_at > _EMBED_EVERY_S:
                checkpoint.save_embedding(run, embed(model, test_set))
                embedded_at = time.monotonic()
            yield stats
        final = Status("finished")
    except (_Stopped, KeyboardInterrupt, GeneratorExit) as reason:
        final = Status("stopped")
        if not isinstance(reason, _Stopped):
            raise
    except (NonFiniteLoss, CheckpointError) as error:
        final = Status("failed", message=str(error))
        raise
    finally:
        if final.state in ("stopped", "failed"):
            _embed_last(run, test_set)
        reporter.end(final)


def _embed_last(run: Run, test_set: datasets.Dataset) -> None:
    """The map of the weights that a shortened training leaves behind."""
    try:
        checkpoint.save_embedding(run, embed(run.load_model(), test_set))
    except CheckpointError:
        pass  # the disk that failed before; a missing embedding is computed when it is opened


class _Reporter(threading.Thread):
    """Keeps status.json fresh and watches for a request to stop, beside the training."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.step = self.n_steps = 0
        self.stop_asked = threading.Event()
        self._over = threading.Event()
        self._began = time.time()
        self._write(Status("running"))

    def run(self) -> None:
        while not self._over.wait(_HEARTBEAT_S):
            if (self.path / STOP).exists():
                self.stop_asked.set()
            try:
                self._write(Status("running"))
            except CheckpointError:
                pass  # a full disk shows itself, with a sentence, when the weights are written

    def end(self, final: Status) -> None:
        """Writes the last status, once the thread no longer does."""
        self._over.set()
        self.join()
        (self.path / STOP).unlink(missing_ok=True)
        try:
            self._write(final)
        except CheckpointError:
            pass  # readers see it go silent instead

    def _write(self, status: Status) -> None:
        now = time.time()
        status = dataclasses.replace(
            status,
            step=self.step,
            n_steps=self.n_steps,
            seconds=now - self._began,
            updated=now,
        )
        checkpoint.write_atomic(self.path / STATUS, json.dumps(vars(status)).encode())


def status(run_path: Path) -> Status:
    """How far the job in that folder is; "finished" for a folder that no job is known to fill."""
    try:
        found = Status(**json.loads((run_path / STATUS).read_bytes()))
        numbers = (found.step, found.n_steps, found.seconds, found.updated)
        texts = found.state in _STATES and isinstance(found.message, str)
        if not texts or not all(math.isfinite(n) for n in numbers):
            return Status("finished")
        silent = found.state == "running" and time.time() - found.updated > _SILENT_S
    except (OSError, ValueError, TypeError, OverflowError, RecursionError):
        return Status("finished")
    return dataclasses.replace(found, state="interrupted") if silent else found


def request_stop(run_path: Path) -> None:
    """Asks the job in that folder to end; it keeps its last whole epoch."""
    (run_path / STOP).touch()


@dataclass
class Launch:
    """A job that was just started, until its run folder appears."""

    run_path: Path
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def error(self) -> str | None:
        """Why the process ended before it had anything to show, in its own last words."""
        code = self.process.poll()
        if code in (None, 0):
            return None
        if code < 0:  # its last line would be the progress bar
            return f"the training process was ended by {signal.Signals(-code).name}"
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("vae: ") if lines else "the training process ended"


def start(run_path: Path, model_config: ModelConfig, train_config: TrainConfig) -> Launch:
    """Starts `python -m vae train` in a process that outlives this one.

    Raises:
        CheckpointError: the name cannot be used, or is taken.
    """
    checkpoint.check_free(run_path)
    options = {
        "name": run_path.name,
        "folder": run_path.parent.absolute(),
        "family": model_config.family,
        "hidden": ",".join(map(str, model_config.hidden)),
        "latent-dim": model_config.latent_dim,
        "activation": model_config.activation,
        "likelihood": model_config.likelihood,
        **{name.replace("_", "-"): value for name, value in train_config.to_dict().items()},
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the Launch
    process = subprocess.Popen(
        [sys.executable, "-m", "vae", "train", *arguments],
        cwd=Path(__file__).resolve().parent.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        start_new_session=True,  # a Ctrl-C meant for the server must not end the training
    )
    return Launch(run_path, process, log)
