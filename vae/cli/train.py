"""Commands that train: train, queue."""

import argparse
import signal
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vae import config, wording
from vae.cli.common import DEVICE, FOLDER, Commands, progress_bar, show
from vae.config import ELBO, ModelConfig, TrainConfig
from vae.data import catalogue
from vae.errors import UserError
from vae.runs import checkpoint, job, queue
from vae.runs.status import read_status
from vae.training import distributed, presets
from vae.training.device import choose_device, fastest_precision
from vae.training.remarks import remark
from vae.training.trainer import EpochStats

_MODEL, _TRAIN = config.settings(ModelConfig), config.settings(TrainConfig)
_Begin = Callable[[torch.device, Callable[[int, int], None]], Iterator[EpochStats]]


class Terminated(KeyboardInterrupt):
    """The system, or torchrun, asks this process to end."""


def add(commands: Commands) -> None:
    """Adds these commands."""
    train = commands.add(
        "train",
        _train,
        "train a VAE into a new run folder",
        "The folder can be opened by the app while training goes on. Ctrl-C stops; the last whole "
        "epoch is kept, and --resume goes on from it. Under torchrun several processes train one "
        "model.",
    )
    train.add_argument(
        "--resume",
        type=Path,
        metavar="PATH",
        help="go on with the run in this folder, whose settings it keeps",
    )
    train.add_argument("--name", help="of the run [DATASET-Kd]")
    train.add_argument(
        "--preset",
        choices=presets.PRESETS,
        help="the settings that the others start from: "
        + "; ".join(f"{name} (MNIST: {p.summary})" for name, p in presets.PRESETS.items())
        + " [quick]",
    )
    _add_settings(train)
    worker = commands.add(
        "queue",
        _queue,
        "train the runs that wait in the queue, one after another",
        "The Train page starts this by itself; it ends when nothing waits.",
    )
    for command in (train, worker):
        command.add_argument("--folder", type=Path, help=FOLDER)
        command.add_argument("--device", help=DEVICE)
        command.add_argument(
            "--background", action="store_true", help="let every other process go first"
        )


def _add_settings(train: argparse.ArgumentParser) -> None:
    """One option for each setting of a model and its training."""
    by_preset = {name for part in presets.preset("quick", 1) for name in part} - {"family"}
    known = (*fields(ModelConfig), *fields(TrainConfig))
    defaults = {f.name: "by the preset" if f.name in by_preset else f.default for f in known}
    defaults["dataset"] = "digits"
    helps = {name: setting.text for name, setting in (_MODEL | _TRAIN).items()}
    helps["dataset"] = f"{', '.join(catalogue.NAMES)}, or one of your own that `data add` keeps"
    groups = {name: train.add_argument_group(name.lower()) for name in config.GROUPS}
    for name, setting in (_MODEL | _TRAIN).items():
        # None where nothing was said: the preset then decides.
        groups[setting.group].add_argument(
            f"--{name.replace('_', '-')}",
            type=setting.kind if setting.kind in (int, float) else str,
            metavar={int: "N", float: "X", tuple: "N,N,..."}.get(setting.kind, "NAME"),
            help=f"{helps[name]} [{defaults[name]}]",
        )


def _on_terminated(*_: object) -> None:
    raise Terminated


def _begin_work(options: argparse.Namespace) -> None:
    if options.background:
        queue.step_back()
    # What torchrun, or a system that shuts down, asks with.
    signal.signal(signal.SIGTERM, _on_terminated)


def _train(options: argparse.Namespace) -> None:
    _begin_work(options)
    with distributed.group(options.device) as device:
        device = device or choose_device(options.device)
        path, begin = _resumed(options) if options.resume else _new(options, device)
        last: EpochStats | None = None
        speeds = []
        with progress_bar("step", desc=path.name) as (bar, on_step):
            for last in begin(device, on_step):
                speeds.append(last.images_per_s)
                bar.set_postfix_str(
                    f"epoch {last.epoch}, held-out -ELBO {last.test.neg_elbo:.2f}", refresh=False
                )
        if distributed.rank() > 0:
            return
        if last is None:
            if read_status(path).state == "finished":  # killed after its last epoch
                return
            raise UserError("stopped before the first epoch ended; nothing was learnt")
        run = checkpoint.open_run(path)
        words = wording.of(run.model_config.kind)
        show(
            f"{path}: epoch {last.epoch}, held-out recon {last.test.recon:.2f} + "
            f"KL {last.test.kl:.2f} = -ELBO {last.test.neg_elbo:.2f} nats per {words.point}; "
            f"{sorted(speeds)[len(speeds) // 2]:,.0f} {words.points}/s"
        )
        if note := remark(run.train_config, last.test, words):
            show(note)


def _resumed(options: argparse.Namespace) -> tuple[Path, _Begin]:
    refused = ("folder", "name", "preset", *_MODEL, *_TRAIN)
    if given := [name for name in refused if getattr(options, name) is not None]:
        raise UserError(
            f"--{given[0].replace('_', '-')} cannot go with --resume: a run keeps its settings; "
            "leave it out, or train a new run"
        )
    path = checkpoint.open_run(options.resume).path
    return path, partial(job.resume, path)


def _new(options: argparse.Namespace, device: torch.device) -> tuple[Path, _Begin]:
    given: dict[str, Any] = {k: v for k, v in vars(options).items() if v is not None}
    source = catalogue.describe(given.setdefault("dataset", "digits"))
    model, train = presets.preset(
        options.preset or "quick",
        source.n_train,
        options.family or "mlp",
        options.batch_size,
        options.objective or ELBO,
        source.kind,
    )
    if options.hidden is not None:
        given["hidden"] = config.parse_hidden(options.hidden)
    model |= {name: given[name] for name in _MODEL if name in given}
    train |= {name: given[name] for name in _TRAIN if name in given}
    if train["precision"] == "auto":
        train["precision"] = fastest_precision(device, model["family"])
    model_config = ModelConfig(
        image_shape=source.image_shape, kind=source.kind, features=source.features, **model
    )
    train_config = TrainConfig(**train)
    name = options.name or f"{train_config.dataset}-{model_config.latent_dim}d"
    path = (options.folder or checkpoint.folder()) / checkpoint.check_name(name)
    return path, partial(job.train, path, model_config, train_config)


def _queue(options: argparse.Namespace) -> None:
    def tell(path: Path, stats: EpochStats) -> None:
        show(f"{path.name}: epoch {stats.epoch}, held-out -ELBO {stats.test.neg_elbo:.2f}")

    _begin_work(options)
    queue.work(options.folder or checkpoint.folder(), options.device, tell)
