"""Commands on runs that there are: list, shrink, refit, export."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from vae import formats, wording
from vae.analysis.embedding import embed
from vae.cli.common import (
    FOLDER,
    Commands,
    add_model_arguments,
    dataset_name,
    fact_line,
    fit_to_model,
    open_checkpoint,
    say,
    settled,
    show,
)
from vae.data import catalogue
from vae.errors import UserError
from vae.formats import ForeignRun
from vae.names import printable
from vae.runs import checkpoint, film, refit
from vae.runs.checkpoint import CheckpointError
from vae.runs.status import read_status

if TYPE_CHECKING:
    from vae.live.export import Shown

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
    refitting = commands.add(
        "refit",
        _refit,
        "copy a finished run with an encoder that reads p(z|x) off a lattice",
        "Of images, with one or two latent dimensions. The decoder stays; what the encoder of "
        "layers lost against it, by taking another peak of p(z|x) than the highest, is won back.",
    )
    refitting.add_argument("path", metavar="PATH", help="a run folder, or a file in one")
    refitting.add_argument("--name", help="of the new run [NAME-lattice]")
    refitting.add_argument("--folder", type=Path, help="where the new run goes [beside the other]")
    export = commands.add(
        "export",
        _export,
        "write one HTML file with the map, the live panel and the model in it",
        "It opens from disk with no network and no Python. Images go with it where the data set "
        "is at hand.",
    )
    add_model_arguments(export, "CHECKPOINT")
    export.add_argument("more", nargs="*", metavar="CHECKPOINT", help="others, with --folder")
    export.add_argument("--html", type=Path, metavar="FILE", help="where to write [NAME.html]")
    export.add_argument(
        "--folder",
        type=Path,
        help="write NAME.html of each checkpoint and an index.html of them all, for a static host "
        "such as GitHub Pages",
    )


def _list(options: argparse.Namespace) -> None:
    runs, broken = formats.list_runs(options.folder)
    others = formats.left_out(options.folder)
    if not runs and not broken and not others:
        folder = options.folder or checkpoint.folder()
        show(f"no runs in {folder}; `python -m vae train` makes one")
    for run in runs:
        if isinstance(run, ForeignRun):
            card, words = run.card, wording.of(run.model_config.kind)
            show(
                f"{run.name:24} {card.format:14} k = {card.latent_dim:<4} {card.model}, "
                f"{card.network}; {words.said(card.sentence())}"
            )
            for fact in run.facts:
                show(f"{'':24} {fact.name}: {words.said(fact_line(fact))}")
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
    if any(not weight.half().isfinite().all() for weight in model.parameters()):
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
    point = wording.of(run.model_config.kind).point
    show(
        f"{run.path}: mean recon moved by {moved['recon']:+.4f} and mean KL by "
        f"{moved['kl']:+.4f} nats per {point}; the -ELBO of a single {point} by {single[0]:.3f} "
        f"(median), {single[1]:.3f} (95 %), {single[2]:.3f} (at most)"
    )


def _refit(options: argparse.Namespace) -> None:
    run = checkpoint.open_run(options.path)
    name = checkpoint.check_name(options.name or f"{run.name}-lattice")
    made = refit.refit(run, (options.folder or run.path.parent) / name)
    before, after = run.load_held_out_terms(), made.load_held_out_terms()
    assert after is not None  # its map has just been stored
    was = f", with the encoder of layers {before.neg_elbo:.2f}" if before else ""
    show(f"{made.path}: -ELBO {after.neg_elbo:.2f} nats per image{was}")


def _export(options: argparse.Namespace) -> None:
    from vae.live import export  # plotly takes a while to load

    if options.folder is not None:
        _export_all(options)
        return
    if options.more:
        raise UserError("several checkpoints need --folder, where their pages and an index go")
    shown = _shown(options)
    path = options.html or Path(f"{shown.name}.html")
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--html (={path}) must end in .html")
    size = export.write(path, shown.page())
    show(f"{path} {size / 1e6:.2f} MB")


def _export_all(options: argparse.Namespace) -> None:
    """What cannot be shown is left out with its reason, unless nothing can."""
    from vae.live import site

    if options.html is not None:
        raise UserError("--html names one page, and --folder the folder of several; give one")
    site.check(options.folder)
    paths = [options.path, *options.more]
    entries: dict[str, str] = {}
    for path in paths:
        options.path = path
        try:
            shown = _shown(options)
            if shown.name in entries:
                raise UserError(f"another one is called {shown.name}; rename one of them")
            entries[shown.name], size = site.write_page(options.folder, shown)
        except UserError as error:
            if len(paths) == 1:
                raise
            say(f"{path} is left out: {error}")
            continue
        show(f"{options.folder / shown.name}.html {size / 1e6:.2f} MB")
    if not entries:
        raise UserError("none of the checkpoints could be shown, so there is no index")
    site.write_index(options.folder, list(entries.values()))
    show(f"{options.folder / site.INDEX} of {len(entries)}")


def _shown(options: argparse.Namespace) -> "Shown":
    """What the page of the checkpoint that the options name is made of."""
    from vae.live import export

    run = open_checkpoint(options)
    if not isinstance(run, ForeignRun) and options.data is None:
        return export.of_run(run)
    images = catalogue.load(dataset_name(options, run))
    run = settled(run, images)
    model, images = run.load_model(), fit_to_model(images, run)
    return export.Shown(run.name, model, embed(model, images), images)
