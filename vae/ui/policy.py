"""How much the visitors of a server may ask of it, and how its owner says otherwise.

Each limit is a field of `Policy`, a key of that name in the owner's file (`vae.ui.owner`), and an
environment variable of the same name in capitals behind "VAE_", as in VAE_MOST_QUEUED=20. A refusal
names the limit, its value and the variable. Rooms below this one are handed `hold`, and a number
where they need one.

Not the owner's are the limits that keep a reader safe whatever is opened: those of `vae.config`,
`vae.data.own.limits` (but for what all sets take together), `vae.runs.headers` and the containers
of `vae.formats`. Files are refused by them before a limit of here is asked.
"""

import dataclasses
import difflib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from vae.config import MAX_LATENT_DIM, MAX_NUMBERS, ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.errors import UserError
from vae.runs import queue
from vae.ui import owner


class LimitError(UserError):
    """More is asked for than the server's owner allows."""


def _limit(default: int, meaning: str) -> int:
    return dataclasses.field(default=default, metadata={"meaning": meaning})


@dataclasses.dataclass(frozen=True)
class Policy:
    """The limits of a server; the defaults are for a class on one computer."""

    most_queued: int = _limit(50, "runs that wait for their training")
    most_queued_each: int = _limit(20, "runs of one visitor that wait for their training")
    most_beside: int = _limit(4, "trainings at one time")
    most_weights: int = _limit(50_000_000, "weights of a model that is trained")
    most_epochs: int = _limit(10_000, "epochs of a training")
    most_images: int = _limit(200_000_000, "images of a training, those of all its epochs together")
    most_computing: int = _limit(4, "visitors for whom something is computed at one time")
    most_seconds: int = _limit(3_600, "seconds of a computation")
    most_memory_mb: int = _limit(4_000, "megabytes of a computation")
    most_upload_mb: int = _limit(100, "megabytes of one upload")
    most_open: int = _limit(8, "uploads that one visitor has open")
    most_open_mb: int = _limit(500, "megabytes of the uploads that one visitor has open")
    most_open_mb_in_all: int = _limit(2_000, "megabytes of the uploads that all have open")
    most_pixels: int = _limit(MAX_NUMBERS, "numbers in an image of an uploaded model")
    most_dimensions: int = _limit(MAX_LATENT_DIM, "latent dimensions of an uploaded model")
    most_kept: int = _limit(200, "uploads that are kept")
    most_kept_mb: int = _limit(50_000, "megabytes of all runs and kept uploads")
    most_data_sets: int = _limit(100, "data sets that visitors have added")
    most_data_mb: int = _limit(2_000, "megabytes of the data sets that visitors have added")
    most_class_pages: int = _limit(200, "pages that are given to a class")
    most_class_mb: int = _limit(1_000, "megabytes of the pages that are given to a class")
    least_free_mb: int = _limit(500, "megabytes that stay free on each disk that is written to")


def variable(name: str) -> str:
    """The environment variable of a limit."""
    return f"VAE_{name.upper()}"


def current() -> Policy:
    """The limits as the owner has set them; of what cannot be used (`problems`) the default."""
    return _found()[0]


def problems() -> list[str]:
    """What the owner has set that cannot be used, a sentence each."""
    return _found()[1]


def _found() -> tuple[Policy, list[str]]:
    fields = {field.name: field for field in dataclasses.fields(Policy)}
    found, said = {}, []
    written = owner.table(owner.LIMITS)
    for key in written.keys() - fields.keys():
        near = difflib.get_close_matches(key, fields, 1)
        said.append(
            f"[{owner.LIMITS}] in {owner.FILE.name} has no {key[:40]!r}"
            + (f"; {near[0]} may be meant" if near else "; README lists what it has")
        )
    for name in fields:
        text = os.environ.get(variable(name), "").strip()
        if not text and name not in written:
            continue
        value = text or written[name]
        number = int(text[:18]) if text.isdecimal() else value
        if isinstance(number, int) and not isinstance(number, bool) and number >= 0:
            found[name] = number
        else:
            where = variable(name) if text else f"{name} in {owner.FILE.name}"
            said.append(
                f"{where} (={str(value)[:40]!r}) must be a whole number, of {_meaning(name)}; "
                f"until whoever runs this server mends it, it is {fields[name].default:,}"
            )
    return Policy(**found), said


def hold(name: str, asked: int) -> None:
    """Refuses what is more than a limit. Raises LimitError.

    Args:
        name: a field of `Policy`.
        asked: how much there would be, in the limit's unit.
    """
    most = getattr(current(), name)
    if asked > most:
        raise LimitError(
            f"this would be {asked:,} {_meaning(name)}, and {most:,} are allowed here; ask for "
            f"fewer, or whoever runs this server sets {variable(name)}"
        )


def check_room(folder: Path, n_bytes: int = 0) -> None:
    """Refuses to write where the disk has too little room.

    Args:
        folder: where it will be written; it need not be there yet.
        n_bytes: how much, as far as that is known.

    Raises:
        LimitError: less than `least_free_mb` would stay free.
    """
    there = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    if there is None:
        return  # whoever writes there is told by the disk
    free = (shutil.disk_usage(there).free - n_bytes) // 10**6
    least = current().least_free_mb
    if free < least:
        raise LimitError(
            f"only {max(free, 0):,} MB would be free on this server's disk, and {least:,} "
            f"must stay free; delete what is not needed, or whoever runs this server "
            f"sets {variable('least_free_mb')}"
        )


def check_training(
    folder: Path,
    settings: Sequence[tuple[ModelConfig, TrainConfig]],
    at_once: bool,
    n_of_visitor: int = 0,
) -> None:
    """Refuses trainings that would be too many, too large or too long.

    Args:
        folder: where runs are kept.
        settings: of each run that is asked for.
        at_once: whether they are to be trained beside the others, and not after them.
        n_of_visitor: runs that wait there already and belong to who asks.

    Raises:
        LimitError: names the limit, what was asked for, and what to do.
        DatasetError: there is no such data set.
    """
    states = queue.states(folder)
    if at_once:
        hold("most_beside", states.count("running") + len(settings))
    else:
        hold("most_queued", states.count("queued") + len(settings))
        hold("most_queued_each", n_of_visitor + len(settings))
    for model, train in settings:
        hold("most_epochs", train.epochs)
        hold("most_images", train.n_decodes(catalogue.describe(train.dataset).n_train))
        with torch.device("meta"):  # which counts, and makes nothing
            hold("most_weights", VAE(model).n_parameters)
    check_room(folder)


def _meaning(name: str) -> str:
    return Policy.__dataclass_fields__[name].metadata["meaning"]
