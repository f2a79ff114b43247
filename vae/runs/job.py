"""A training job: fit() into a run folder that others can watch and stop (`vae.runs.status`).

Whoever trains holds the folder's lock (`vae.runs.lock`).
"""

import dataclasses
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from vae.analysis.embedding import embed
from vae.config import IMAGE, LAYERS, ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.catalogue import Dataset
from vae.data.dataset import Source
from vae.errors import UserError
from vae.runs import checkpoint, files, film
from vae.runs.checkpoint import Run
from vae.runs.files import CheckpointError
from vae.runs.lock import claimed
from vae.runs.status import STATUS, STOP, Status, forget_stop, read_status, write_status
from vae.training import distributed
from vae.training.device import choose_device
from vae.training.distributed import PeerLost
from vae.training.film import kept_epochs, shoot
from vae.training.objectives import check_objective
from vae.training.trainer import EpochStats, Trainer

_HEARTBEAT_S = 0.5
_ASK_EVERY = 16  # steps between two questions to the other processes whether one shall stop


class _Stopped(Exception):
    """Someone asked the job to end."""


def train(
    run_path: Path,
    model_config: ModelConfig,
    train_config: TrainConfig,
    device: str | torch.device | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[EpochStats]:
    """Trains a new model into a new run folder, yielding as `fit` does.

    After every epoch the folder holds that epoch's weights and metrics, and it can be opened from
    the instant it appears: a kill loses the epoch in progress at most. In a group of processes
    (`vae.training.distributed`) the first of them alone writes.

    Args:
        run_path: the folder to make; its name is the run's.
        model_config, train_config: what to train, and how.
        device: as in `training.choose_device`.
        on_step: as in `Trainer.train_epoch`.

    Raises:
        CheckpointError: the folder exists, or cannot be written.
        DatasetError: the data set cannot be had.
        NonFiniteLoss: training diverged; the folder keeps the last good weights.
        PeerLost: another process of the group is gone; the folder keeps the last whole epoch.
        UserError: the data set's images are not of the model's shape, it has no labels for a
            condition, or no such device.
    """
    checkpoint.check_free(run_path)
    model_config = _as_trained(model_config, train_config)
    device = choose_device(device) if not isinstance(device, torch.device) else device
    data = _load(model_config, train_config)
    distributed.any_of(False, device)  # all have looked whether the name is free
    if distributed.rank() == 0:
        # Nobody holds its lock yet: until then it counts as interrupted, and is in no queue.
        create(run_path, model_config, train_config, "running")
    distributed.any_of(False, device)  # the others wait for the folder
    run = checkpoint.open_run(run_path)
    yield from _carry_on(run, data, device, on_step)


def resume(
    run_path: Path,
    device: str | torch.device | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[EpochStats]:
    """Goes on with a run from its last whole epoch, or begins one that waits; as `train`.

    On the CPU the weights end up as those of an unbroken training, bit for bit.

    Raises:
        CheckpointError: the run is finished, is being trained at this moment, or what it left
            behind does not fit its settings.
        DatasetError, NonFiniteLoss, PeerLost, UserError: as in `train`.
    """
    run = checkpoint.open_run(run_path)
    if read_status(run_path).state == "finished":
        raise CheckpointError(
            f"{run_path} is finished: there is nothing to resume; train a new run for more epochs"
        )
    device = choose_device(device) if not isinstance(device, torch.device) else device
    if distributed.rank() == 0:
        forget_stop(run_path)  # it was asked of an earlier process; from here on it is of this one
    yield from _carry_on(run, _load(run.model_config, run.train_config), device, on_step)


def create(
    run_path: Path, model_config: ModelConfig, train_config: TrainConfig, state: str = "queued"
) -> Run:
    """Makes a run folder with untrained weights, whole from the instant it appears.

    Args:
        run_path: the folder to make; its name is the run's.
        model_config, train_config: what to train, and how.
        state: of its first status; a queued run waits for a worker (`vae.runs.queue`).

    Raises:
        CheckpointError: the folder exists, or cannot be written.
        DatasetError, UserError: no such data set, its images are not of the model's shape, it has
            no labels for a condition, or as `objectives.check_objective`.
    """
    checkpoint.check_free(run_path)
    model_config = _as_trained(model_config, train_config)
    _check_shape(catalogue.describe(train_config.dataset), model_config, train_config)
    check_objective(model_config, train_config, catalogue.describe(train_config.dataset).n_train)
    # Made in a hidden folder and moved once it is whole, so nobody meets a run without weights.
    draft = files.temporary(run_path)
    try:
        run = checkpoint.create(draft / run_path.name, model_config, train_config)
        checkpoint.save_model(run, _untrained(run))
        write_status(run.path, Status(state))
        return checkpoint.move(run, run_path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _as_trained(model: ModelConfig, train: TrainConfig) -> ModelConfig:
    """The model with the classes of the data that its condition is about, and with an encoder of
    layers, since a lattice is not trained. Raises UserError."""
    n_classes = 0
    if train.condition == "label":
        n_classes = catalogue.describe(train.dataset).n_classes
        if n_classes < 2:
            raise UserError(
                f"condition (='label') needs labels of two classes or more, and {train.dataset} "
                "has none; leave it out (condition none), or add the data again with labels"
            )
    return dataclasses.replace(model, n_classes=n_classes, encoder=LAYERS)


def _untrained(run: Run) -> VAE:
    return VAE(run.model_config, torch.Generator().manual_seed(run.train_config.seed))


def _check_shape(data: Source | Dataset, model: ModelConfig, train: TrainConfig) -> None:
    if (data.kind, data.image_shape) != (model.kind, model.image_shape):
        raise UserError(
            f"image_shape (={model.image_shape}) of a model of kind {model.kind} must be "
            f"{data.image_shape} of kind {data.kind}, as {train.dataset} has it"
        )
    if data.kind != IMAGE and train.binarise != "off":
        raise UserError(
            f"binarise (={train.binarise}) is of pixels, and {train.dataset} has none; leave it off"
        )


def _load(model_config: ModelConfig, train_config: TrainConfig) -> tuple[Dataset, Dataset]:
    """The training images and the held-out ones."""
    train_set = catalogue.load(train_config.dataset, "train")
    _check_shape(train_set, model_config, train_config)
    test_set = catalogue.load(train_config.held_out_dataset, "test")
    if train_set.kind == IMAGE:
        return train_set, test_set
    # Data of the same name may have been added anew since the run was made.
    return train_set.read_by(model_config), test_set.read_by(model_config)


def _carry_on(
    run: Run,
    data: tuple[Dataset, Dataset],
    device: torch.device,
    on_step: Callable[[int, int], None] | None,
) -> Iterator[EpochStats]:
    """Trains what the folder holds to its end; of several processes, the first one writes."""
    _, test_set = data
    if distributed.rank() > 0:
        trainer = _restored(run, data, device)[0]
        asked = _StopQuestion(device)
        try:
            while not trainer.over:
                yield trainer.train_epoch(asked)
        except _Stopped:
            pass
        return

    with claimed(run.path):
        trainer, rows = _restored(run, data, device)
        film.cut(run, trainer.epoch)
        _sweep(run.path)
        reporter = _Reporter(run.path, trainer, rows)
        stop_question = _StopQuestion(device, reporter)

        def step_done(step: int, n_steps: int) -> None:
            reporter.step = step
            if on_step:
                on_step(step, n_steps)
            stop_question(step, n_steps)

        def keep_frame() -> None:
            if trainer.epoch not in film.epochs(run):
                frame = shoot(trainer.current, test_set.images, trainer.epoch, test_set.labels)
                film.save(run, frame)

        kept = set(kept_epochs(run.train_config.epochs))
        final, map_is_due = Status("failed", message="the job ended unexpectedly"), True
        reporter.start()
        try:
            if trainer.epoch == 0:
                keep_frame()
            while not trainer.over:
                stats = trainer.train_epoch(step_done)
                rows += stats.rows()
                checkpoint.save_model(run, trainer.model)
                checkpoint.save_metrics(run, rows)
                if trainer.epoch in kept:
                    keep_frame()
                # Last: what is resumed must never be ahead of what is shown.
                checkpoint.save_trainer(run, *trainer.state())
                yield stats
            keep_frame()
            checkpoint.save_embedding(run, embed(trainer.model, test_set))
            final = Status("finished")
        except (_Stopped, KeyboardInterrupt, GeneratorExit) as reason:
            final = Status("stopped")
            if not isinstance(reason, _Stopped):
                raise
        except Exception as error:
            final = Status("failed", message=" ".join(str(error).split()) or repr(error))
            # Whoever started this group ends it now, and there is no time for a map.
            map_is_due = not isinstance(error, PeerLost)
            raise
        finally:
            try:
                if final.state != "finished" and map_is_due:
                    _embed_last(run, test_set)
            finally:
                reporter.end(final)
        if final.state == "finished":
            # After the status: without either nobody could tell a whole training from a broken one.
            with suppress(OSError):
                (run.path / checkpoint.TRAINER).unlink(missing_ok=True)


def _sweep(run_path: Path) -> None:
    """Takes away the half-written files that a killed training left behind."""
    for leftover in run_path.rglob(".*.tmp"):
        if not leftover.name.startswith(f".{STATUS}."):  # which others write too
            with suppress(OSError):
                leftover.unlink()


def _restored(
    run: Run, data: tuple[Dataset, Dataset], device: torch.device
) -> tuple[Trainer, list[dict[str, Any]]]:
    """The trainer as the folder left it, and the rows of the epochs that it has done."""
    images = data[0].images, data[1].images
    labels = data[0].labels, data[1].labels
    with distributed.peers():
        trainer = Trainer(_untrained(run), *images, run.train_config, device, labels)
    rows, state = run.load_metrics(), run.load_trainer()
    if state is not None:
        try:
            trainer.restore(*state)
        except ValueError as error:
            raise CheckpointError(
                f"{run.path / checkpoint.TRAINER} does not fit {checkpoint.CONFIG}: {error}; put "
                "the settings back as they were, or train a new run with the new ones"
            ) from error
    elif any(row["epoch"] > 1 for row in rows):
        raise CheckpointError(
            f"{run.path} has no {checkpoint.TRAINER}, without which training cannot go on where "
            "it ended; train a new run"
        )
    return trainer, [row for row in rows if row["epoch"] <= trainer.epoch]


def _embed_last(run: Run, test_set: Dataset) -> None:
    """The map of the weights that a shortened training leaves behind."""
    try:
        checkpoint.save_embedding(run, embed(run.load_model(), test_set))
    except CheckpointError:
        pass  # the disk that failed before; a missing embedding is computed when it is opened


class _StopQuestion:
    """Called after every step: raises _Stopped in all processes of the group at the same one."""

    def __init__(self, device: torch.device, reporter: "_Reporter | None" = None) -> None:
        self._device, self._reporter = device, reporter

    def __call__(self, step: int, n_steps: int) -> None:
        if distributed.size() > 1 and step % _ASK_EVERY:
            return
        asked = self._reporter is not None and self._reporter.stop_asked.is_set()
        if distributed.any_of(asked, self._device):
            raise _Stopped


class _Reporter(threading.Thread):
    """Keeps status.json fresh and watches for a request to stop, beside the training."""

    def __init__(self, path: Path, trainer: Trainer, rows: list[dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.step = trainer.epoch * trainer.steps_per_epoch
        self.n_steps = trainer.n_steps
        self.stop_asked = threading.Event()
        self._over = threading.Event()
        spent = sum(row["seconds"] for row in rows if row["split"] == "test")
        self._began = time.time() - spent
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
        try:
            forget_stop(self.path)
            self._write(final)
        except CheckpointError:
            pass  # readers see that nobody holds the lock

    def _write(self, status: Status) -> None:
        seconds = max(0.0, time.time() - self._began)  # a clock can be set back
        write_status(
            self.path,
            dataclasses.replace(status, step=self.step, n_steps=self.n_steps, seconds=seconds),
        )
