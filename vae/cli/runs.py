"""Commands on runs that there are: list, shrink, export."""

import argparse
from pathlib import Path

import numpy as np
import torch

from vae import formats
from vae.analysis.embedding import embed
from vae.cli.common import (
    FOLDER,
    Commands,
    add_model_arguments,
    dataset_name,
    fact_line,
    fit_to_model,
    open_checkpoint,
    settled,
    show,
)
from vae.data import catalogue
from vae.errors import UserError
from vae.formats import ForeignRun
from vae.names import printable
from vae.runs import checkpoint, film
from vae.runs.checkpoint import CheckpointError
from vae.runs.status import read_status

_SHRUNK_FRAMES, _SHRUNK_BYTES = (18, 12, 8, 4), 8_000_000  # as few as make the folder so small


def add(commands: Commands) -> None:
    """Adds these commands."""
    listing = commands.add(
        "list",
        _list,
        "list the checkpoints there are",
        "What cannot be opened, and what is left out, says why.",
    )
    listing.add_argument("--folder", type=Path, help=FOLDER)
    shrink = commands.add(
        "shrink",
        _shrink,
        "store a finished run's weights in half precision and thin its film",
        "The terms are computed anew, and how far they moved is printed.",
    )
    shrink.add_argument("path", metavar="PATH", help="a run folder, or a file in one")
    export = commands.add(
        "export",
        _export,
        "write one HTML file with the map, the live panel and the model in it",
        "It opens from disk with no network and no Python. Images go with it where the data set "
        "is at hand.",
    )
    add_model_arguments(export, "CHECKPOINT")
    export.add_argument("--html", type=Path, metavar="FILE", help="where to write [NAME.html]")


def _list(options: argparse.Namespace) -> None:
    runs, broken = formats.list_runs(options.folder)
    others = formats.left_out(options.folder)
    if not runs and not broken and not others:
        folder = options.folder or checkpoint.folder()
        show(f"no runs in {folder}; `python -m vae train` makes one")
    for run in runs:
        if isinstance(run, ForeignRun):
            card = run.card
            show(
                f"{run.name:24} {card.format:14} k = {card.latent_dim:<4} {card.model}, "
                f"{card.network}; {card.sentence()}"
            )
            for fact in run.facts:
                show(f"{'':24} {fact.name}: {fact_line(fact)}")
            continue
        model, train = run.model_config, run.train_config
        try:
            terms = run.load_held_out_terms()
        except CheckpointError as error:
            broken[run.name] = str(error)
            continue
        status = read_status(run.path)
        said = status.state, printable(status.message, 200)
        score = f"-ELBO {terms.neg_elbo:.2f} nats" if terms else "untrained"
        show(
            f"{run.name:24} {train.dataset:14} k = {model.latent_dim:<4} {model.family:5} "
            f"{model.likelihood:21} {score:20} {': '.join(filter(None, said))}"
        )
    for name, reason in broken.items():
        show(f"{name:24} cannot be opened: {reason}")
    for name, reason in others.items():
        show(f"{name:24} left out: {reason}")


def _shrink(options: argparse.Namespace) -> None:
    run = checkpoint.open_run(options.path)
    if (state := read_status(run.path).state) != "finished":
        raise UserError(f"{run.path} is {state}; only a finished run can be shrunk")
    dataset = catalogue.load(run.train_config.held_out_dataset, "test")
    before = run.load_embedding(dataset.fingerprint) or embed(run.load_model(), dataset)
    model = run.load_model()
    if any(not tensor.half().isfinite().all() for tensor in model.state_dict().values()):
        raise UserError(f"{run.path} has weights that are too large for half precision")
    checkpoint.save_model(run, model, torch.float16)
    after = embed(run.load_model(), dataset)
    checkpoint.save_embedding(run, after)
    moved = {name: after.means()[name] - before.means()[name] for name in ("recon", "kl")}
    single = np.percentile(abs(after.neg_elbo - before.neg_elbo), (50, 95, 100))
    for frames in _SHRUNK_FRAMES:
        film.thin(run, frames)
        if sum(path.stat().st_size for path in run.path.rglob("*")) < _SHRUNK_BYTES:
            break
    show(
        f"{run.path}: mean recon moved by {moved['recon']:+.4f} and mean KL by "
        f"{moved['kl']:+.4f} nats per image; the -ELBO of a single image by {single[0]:.3f} "
        f"(median), {single[1]:.3f} (95 %), {single[2]:.3f} (at most)"
    )


def _export(options: argparse.Namespace) -> None:
    from vae.live import export  # plotly takes a while to load

    run = open_checkpoint(options)
    path = options.html or Path(f"{run.name}.html")
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--html (={path}) must end in .html")
    if isinstance(run, ForeignRun) or options.data is not None:
        images = catalogue.load(dataset_name(options, run))
        run = settled(run, images)
        model, images = run.load_model(), fit_to_model(images, run)
        page = export.page(model, embed(model, images), run.name, images)
    else:
        page = export.of_run(run)
    size = export.write(path, page)
    show(f"{path} {size / 1e6:.2f} MB")
