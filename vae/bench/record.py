"""How soon the presets reach given bounds on held-out images, each trained anew on the CPU.

A time is the seconds of training, summed over epochs; the held-out passes and what is evaluated
between epochs are not counted. It is that of the first epoch at whose end the bound was seen.
"""

import json
import math
import platform
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae.bench.train import ROOT
from vae.cli.common import progress_bar
from vae.config import ELBO, ModelConfig, TrainConfig
from vae.core.lattice import MOST_DIMENSIONS, lattice_log_px
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset, to_unit
from vae.errors import UserError
from vae.inference.evidence import exact, offers_exact
from vae.training import presets
from vae.training.device import fastest_precision
from vae.training.objectives import check_objective
from vae.training.trainer import Trainer

# In nats, of -ELBO and of -log p(x).
THRESHOLDS = {"mnist": ((140.0, 137.0, 133.0, 130.0), (130.0, 125.0, 120.0))}
_POINTS = 32_768  # of the lattice
_IMAGES = 2_000  # whose log p(x) is estimated during training
_ESTIMATES = 40  # in one training, at most
_WIDTHS = {"preset": 8, "objective": 11}
_NUMBER = 9  # characters


def main(
    as_json: bool,
    dataset: str = "mnist",
    names: Sequence[str] | None = None,
    latent_dim: int = 2,
    elbo: Sequence[float] | None = None,
    evidence: Sequence[float] | None = None,
    objectives: Sequence[str] = (ELBO,),
) -> None:
    """Trains presets one after another and prints a row for each.

    Args:
        as_json: one JSON object a row, with the machine in each, instead of the table.
        dataset: what is learnt.
        names: of presets; None: all.
        latent_dim: k.
        elbo, evidence: as in `thresholds`.
        objectives: by which each preset is trained.

    Raises:
        DatasetError: the data set is neither on disk nor to be downloaded.
        ConfigError: no such preset, or k out of range.
        NonFiniteLoss: a training diverged; the rows before it are printed.
        UserError: as `thresholds`.
    """
    source = catalogue.describe(dataset)
    bounds = thresholds(dataset, latent_dim, elbo, evidence)
    configs = {}
    for name in dict.fromkeys(names or presets.PRESETS):
        for objective in dict.fromkeys(objectives):
            model, train = presets.preset(name, source.n_train, objective=objective)
            train["precision"] = _precision(train["precision"])
            model_config = ModelConfig(
                image_shape=source.image_shape, latent_dim=latent_dim, **model
            )
            train_config = TrainConfig(dataset=dataset, objective=objective, **train)
            check_objective(model_config, train_config, source.n_train)
            configs[name, objective] = model_config, train_config
    data = catalogue.load(dataset, "train"), catalogue.load(dataset, "test")
    where = machine()
    if not as_json:
        print(
            f"{where['processor']}, {where['threads']} threads, torch {where['torch']}, "
            f"{where['date']}, commit {where['commit']}"
        )
        print(_titles(*bounds), flush=True)
    for (name, _), (model_config, train_config) in configs.items():
        row = {"preset": name, **record(name, model_config, train_config, *data, *bounds)}
        print(json.dumps(row | where) if as_json else _line(row), flush=True)


def thresholds(
    dataset: str,
    latent_dim: int,
    elbo: Sequence[float] | None = None,
    evidence: Sequence[float] | None = None,
) -> tuple[list[float], list[float]]:
    """What -ELBO and -log p(x) shall fall to, in nats per image, each from high to low.

    Args:
        dataset: whose own thresholds are taken where none are given.
        latent_dim: k.
        elbo, evidence: other thresholds, of -ELBO and of -log p(x).

    Raises:
        UserError: the data set has none and none are given, one is not finite, or they are about
            log p(x) and k is too large for it.
    """
    if elbo is None and evidence is None and dataset not in THRESHOLDS:
        raise UserError(
            f"there are no thresholds for {dataset}, only for {', '.join(THRESHOLDS)}; give some "
            "in nats per image, as --elbo 250 245 --evidence 245 243"
        )
    if evidence is not None and latent_dim > MOST_DIMENSIONS:
        raise UserError(
            f"--evidence needs log p(x), which is had for at most {MOST_DIMENSIONS} latent "
            f"dimensions; leave it out, or lower --latent-dim (={latent_dim})"
        )
    found = []
    usual = THRESHOLDS.get(dataset, ((), ()))
    for name, given, own in zip(("elbo", "evidence"), (elbo, evidence), usual, strict=True):
        values = own if given is None else given
        for value in values:
            if not math.isfinite(value):
                raise UserError(f"--{name} (={value:g}) must be a finite number of nats")
        found.append(sorted(set(values), reverse=True))
    return found[0], found[1]


def record(
    name: str,
    model_config: ModelConfig,
    train_config: TrainConfig,
    train_set: Dataset,
    test_set: Dataset,
    elbo: Sequence[float],
    evidence: Sequence[float],
) -> dict[str, Any]:
    """One training from scratch; nothing of it is kept.

    -log p(x) is estimated by `neg_log_px` on the first 2,000 held-out images, at most 40 times
    while a threshold of it is left: every epoch, every second one, and so on. At the end it is
    integrated for all held-out images, whose mean can differ from that of the 2,000.

    Args:
        name: for the progress bars.
        model_config, train_config: what to train, and how; without a condition.
        train_set, test_set: the images.
        elbo, evidence: thresholds of the mean held-out -ELBO and -log p(x), in nats.

    Returns:
        latent_dim, objective; elbo_s and evidence_s, from each threshold to the seconds, None
        where it was not reached; at the end neg_elbo (one sample per image), neg_log_px and
        neg_log_px_error (None where k is too large; the error also where it is not known), in
        nats per image; and the seconds of the whole training.

    Raises:
        NonFiniteLoss, UserError: as `Trainer` and `exact`.
    """
    model = VAE(model_config, torch.Generator().manual_seed(train_config.seed))
    trainer = Trainer(model, train_set.images, test_set.images, train_config, "cpu")
    elbo_s: dict[float, float | None] = dict.fromkeys(elbo)
    evidence_s: dict[float, float | None] = dict.fromkeys(evidence)
    every = math.ceil(train_config.epochs / _ESTIMATES)
    seconds, neg_elbo = 0.0, math.nan
    with progress_bar("step", desc=name, leave=False) as (_, on_step):
        while not trainer.over:
            stats = trainer.train_epoch(on_step)
            seconds += len(train_set) / stats.images_per_s
            neg_elbo = stats.test.neg_elbo
            _note(elbo_s, neg_elbo, seconds)
            due = trainer.over or trainer.epoch % every == 0
            if due and None in evidence_s.values() and offers_exact(model):
                estimate = neg_log_px(trainer.current, test_set.images[:_IMAGES])
                _note(evidence_s, float(estimate.mean()), seconds)
    final: dict[str, float | None] = {"log_px": None, "log_px_error": None}
    if offers_exact(model):
        with progress_bar("image", desc=f"{name}, log p(x)", leave=False) as (_, progress):
            final = exact(trainer.current, test_set, progress=progress).means()
    draws = train_config.n_draws
    return {
        "dataset": train_config.dataset,
        "latent_dim": model_config.latent_dim,
        "objective": train_config.objective + (f", K = {draws}" if draws > 1 else ""),
        "elbo_s": {_text(bound): s for bound, s in elbo_s.items()},
        "evidence_s": {_text(bound): s for bound, s in evidence_s.items()},
        "neg_elbo": neg_elbo,
        "neg_log_px": None if final["log_px"] is None else -final["log_px"],
        "neg_log_px_error": final["log_px_error"],
        "seconds": seconds,
    }


@torch.no_grad()
def neg_log_px(model: VAE, images: Tensor, n_points: int = _POINTS) -> Tensor:
    """A cheap estimate of -log p(x): p(x) as the mean of p(x|z) over a lattice of n points.

    See `core.lattice`. A logarithm of a mean is too low on average, the more so the fewer points a
    narrow posterior meets; the estimate is thus above the true -log p(x) in the mean over images,
    though not for each: of mnist-2d by 0.01 nats with 65,536 points, by 1 with 4,096.

    Args:
        model: the VAE, of one or two latent dimensions.
        images: uint8, shape (B, C, H, W).
        n_points: n.

    Returns:
        Shape (B,), float64, in nats.
    """
    return -lattice_log_px(model, to_unit(images), n_points)


def machine() -> dict[str, Any]:
    """What a time depends on: processor, threads, torch, date, and the commit of the code."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
        "commit": _commit(),
    }


def _processor() -> str:
    with suppress(OSError):  # Linux alone has the file
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Short, with "-dirty" where tracked files differ; "unknown" without a repository or git."""
    # Without a .git here, git would name the commit of a repository that this folder lies in.
    if (ROOT / ".git").exists():
        command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
        with suppress(OSError):
            found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if found.returncode == 0:
                return found.stdout.strip()
    return "unknown"


def _precision(name: str) -> str:
    return fastest_precision(torch.device("cpu")) if name == "auto" else name


def _note(reached: dict[float, float | None], value: float, seconds: float) -> None:
    """Writes the seconds beside each threshold that is now met for the first time."""
    for bound, at in reached.items():
        if at is None and value <= bound:
            reached[bound] = seconds


def _titles(elbo: Sequence[float], evidence: Sequence[float]) -> str:
    """Two lines: what fell, and to how many nats; the cells below are seconds."""
    above = (
        ["-ELBO"] * len(elbo) + ["-log p(x)"] * len(evidence) + ["-ELBO", "-log p(x)", "seconds"]
    )
    below = [*map(_text, (*elbo, *evidence)), "final", "final", "in all"]
    return f"{_cells('preset', 'objective', above)}\n{_cells('', 'seconds to', below)}"


def _line(row: dict[str, Any]) -> str:
    times = [*row["elbo_s"].values(), *row["evidence_s"].values()]
    log_px = _number(row["neg_log_px"], 2)
    if row["neg_log_px"] is not None and row["neg_log_px_error"] is None:
        log_px += "?"  # the posterior of an image reaches beyond what was integrated
    numbers = [*(_number(s, 1) for s in times), _number(row["neg_elbo"], 2), log_px]
    return _cells(row["preset"], row["objective"], [*numbers, _number(row["seconds"], 1)])


def _cells(preset: str, objective: str, numbers: Sequence[str]) -> str:
    texts = f"{preset:{_WIDTHS['preset']}}  {objective:{_WIDTHS['objective']}}"
    return "  ".join([texts, *(f"{number:>{_NUMBER}}" for number in numbers)])


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _text(bound: float) -> str:
    return f"{bound:.10g}"
