"""How much the visitors of a server may ask of it, and how its owner says otherwise.

Each limit is a field of `Policy` and an environment variable of the same name in capitals behind
"VAE_", as in VAE_MOST_QUEUED=20. A refusal names the limit and the variable.
"""

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.errors import UserError
from vae.runs import queue


class LimitError(UserError):
    """More is asked for than the server's owner allows, or a limit of theirs is no number."""


def _limit(default: int, meaning: str) -> int:
    return dataclasses.field(default=default, metadata={"meaning": meaning})


@dataclasses.dataclass(frozen=True)
class Policy:
    """The limits of a server; the defaults are for a class on one computer."""

    most_queued: int = _limit(50, "runs that wait for their training")
    most_beside: int = _limit(4, "trainings at one time")
    most_weights: int = _limit(50_000_000, "weights of a model that is trained")
    most_epochs: int = _limit(10_000, "epochs of a training")
    most_computing: int = _limit(4, "visitors for whom something is computed at one time")
    most_seconds: int = _limit(3_600, "seconds of a computation")
    most_memory_mb: int = _limit(4_000, "megabytes of a computation")
    least_free_mb: int = _limit(500, "megabytes that stay free where runs are kept")


def variable(name: str) -> str:
    """The environment variable of a limit."""
    return f"VAE_{name.upper()}"


def current() -> Policy:
    """The limits as the owner has set them. Raises LimitError where one is no whole number."""
    found = {}
    for field in dataclasses.fields(Policy):
        text = os.environ.get(variable(field.name), "").strip()
        if not text:
            continue
        if not text.isdecimal():
            raise LimitError(
                f"{variable(field.name)} (={text[:40]!r}) must be a whole number, the most "
                f"{_meaning(field.name)}; whoever runs this server can mend it"
            )
        found[field.name] = int(text[:18])
    return Policy(**found)


def check_training(
    folder: Path, settings: Sequence[tuple[ModelConfig, TrainConfig]], at_once: bool
) -> None:
    """Refuses trainings that would be too many, too large or too long.

    Args:
        folder: where runs are kept.
        settings: of each run that is asked for.
        at_once: whether they are to be trained beside the others, and not after them.

    Raises:
        LimitError: names the limit, what was asked for, and what to do.
    """
    policy = current()
    states = queue.states(folder)
    if at_once:
        _hold(policy, "most_beside", states.count("running") + len(settings))
    else:
        _hold(policy, "most_queued", states.count("queued") + len(settings))
    for model, train in settings:
        _hold(policy, "most_epochs", train.epochs)
        with torch.device("meta"):  # which counts, and makes nothing
            _hold(policy, "most_weights", VAE(model).n_parameters)
    free = shutil.disk_usage(folder).free // 10**6
    if free < policy.least_free_mb:
        raise LimitError(
            f"only {free:,} MB are free where runs are kept, and {policy.least_free_mb:,} "
            f"{_meaning('least_free_mb')}; delete runs, or whoever runs this server sets "
            f"{variable('least_free_mb')}"
        )


def _hold(policy: Policy, name: str, asked: int) -> None:
    most = getattr(policy, name)
    if asked > most:
        raise LimitError(
            f"this would be {asked:,} {_meaning(name)}, and {most:,} are allowed here; ask for "
            f"fewer, or whoever runs this server sets {variable(name)}"
        )


def _meaning(name: str) -> str:
    return Policy.__dataclass_fields__[name].metadata["meaning"]
