"""The command line: python -m vae COMMAND; see `_parser` for the commands."""

import argparse
import json
import math
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from tqdm import tqdm

from vae import (
    checkpoint,
    config,
    datasets,
    distributed,
    evidence,
    film,
    formats,
    job,
    own_data,
    workbench,
)
from vae.checkpoint import CheckpointError
from vae.config import ModelConfig, TrainConfig
from vae.datasets import DatasetError
from vae.distributed import PeerLost
from vae.embedding import N_SAMPLES, Embedding, embed
from vae.evidence import Evidence
from vae.formats import AnyRun, ForeignRun
from vae.model import VAE
from vae.training import EpochStats, NonFiniteLoss, choose_device, fastest_precision, remark

_MODEL_SETTINGS = tuple(f.name for f in fields(ModelConfig) if f.name != "image_shape")
_TRAIN_SETTINGS = tuple(f.name for f in fields(TrainConfig) if f.name != "dataset")

_SHRUNK_FRAMES, _SHRUNK_BYTES = (18, 12, 8, 4), 8_000_000  # as few as make the folder so small
_BACKGROUND = "let every other process go first"
_BAR_DELAY_S = 0.1  # what fails at once shows its sentence and no bar
_MAX_SAMPLES = 1_000_000
_MOMENTS = ("mu", "logvar")
_ANY_CHECKPOINT = (
    "a run folder, a file in one, the weights of pytorch/examples, pythae, disentangling-vae or "
    "PyTorch-VAE, or a folder with encoder.onnx and decoder.onnx"
)

_EPILOG = """\
examples:
  python -m vae train --dataset digits
      a 2-D VAE of scikit-learn's digits, in under a minute
  python -m vae train --dataset mnist --preset standard --latent-dim 10 --name mnist-10d
  python -m vae train --resume checkpoints/mnist-10d
  torchrun --nproc-per-node=2 -m vae train --dataset mnist
  python -m vae evaluate checkpoints/digits-2d --importance-samples 500
  python -m vae evaluate checkpoints/digits-2d --exact
  python -m vae terms checkpoints/digits-2d --log-px --output terms.csv
  python -m vae terms --model my_models.vae:make --data my_data:images
  python -m vae list
  python -m vae shrink checkpoints/digits-2d
  python -m vae queue
  python -m vae data add photographs/ --name cats --size 32x32 --grey
  python -m vae export checkpoints/digits-2d
  python -m vae bench train

All terms are in nats per image, summed over its pixels. Data sets that are not part of a package
are kept in data/, or in the folder that the environment variable VAE_DATA names.
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 1 (training broke off), 2 (bad input), 130."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except PeerLost as error:
        _say(error, up_to_rank=1)  # the one that is gone may be the first
        return 1
    except NonFiniteLoss as error:
        _say(error)
        return 1
    except (ValueError, OSError) as error:
        _say(error)
        return 2
    except KeyboardInterrupt as error:
        # Ctrl-C reaches every process; torchrun ends those whose peer is gone, perhaps the first.
        _say("stopped", up_to_rank=1 if isinstance(error, _Terminated) else 0)
        return 130
    return 0


def _say(what: object, up_to_rank: int = 0) -> None:
    """One sentence on stderr, not one from each process of a group, which is over by now."""
    if int(os.environ.get("RANK", 0)) <= up_to_rank:
        print(f"vae: {' '.join(str(what).split())}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error here."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"vae: {message}; `{self.prog} --help` shows how it is used\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m vae",
        description="Train and inspect variational autoencoders.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: Any, summary: str, description: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=summary,
            description=textwrap.fill(f"{summary[0].upper()}{summary[1:]}. {description}", 80),
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(command=function)
        return command

    train = add(
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
    train.add_argument(
        "--folder", type=Path, help="where run folders are kept [checkpoints/, or VAE_CHECKPOINTS]"
    )
    train.add_argument("--name", help="of the run [DATASET-Kd]")
    train.add_argument("--device", help="cuda, mps or cpu [the fastest there is]")

    train.add_argument("--background", action="store_true", help=_BACKGROUND)

    def setting(name: str, help_: str, **options: Any) -> None:
        # None where nothing was said: the preset then decides.
        train.add_argument(f"--{name}", help=help_, **options)

    setting(
        "dataset",
        f"{', '.join(datasets.NAMES)}, or one of your own that `data add` keeps [digits]",
        metavar="NAME",
    )
    setting(
        "preset",
        "the settings that the others start from: "
        + "; ".join(f"{name} (MNIST: {preset.summary})" for name, preset in config.PRESETS.items())
        + " [quick]",
        choices=config.PRESETS,
    )
    setting("latent-dim", "dimensions of z [2]", type=int, metavar="K")
    setting("family", "mlp or conv [mlp]")
    setting(
        "hidden",
        "encoder's layers from the image inwards, mirrored by the decoder: widths for mlp, "
        "channels of the stride-2 stages for conv; '' for a linear VAE",
        metavar="N,N,...",
    )
    setting("activation", f"{', '.join(config.ACTIVATIONS)} [gelu]")
    setting("likelihood", f"p(x|z): {', '.join(config.LIKELIHOODS)} [bernoulli]")
    setting("epochs", "passes over the data", type=int, metavar="N")
    setting("batch-size", "images per step", type=int, metavar="N")
    setting(
        "learning-rate",
        "of Adam; the highest one for one-cycle, the first one for cosine",
        type=float,
        metavar="X",
    )
    setting("schedule", f"{', '.join(config.SCHEDULES)} [one-cycle]")
    setting("beta", "weight of the KL term [1]", type=float, metavar="X")
    setting("kl-warmup", "share of the steps over which beta is reached", type=float, metavar="X")
    setting(
        "free-bits", "nats of KL that each dimension has for nothing [0]", type=float, metavar="X"
    )
    setting(
        "binarise",
        "what is drawn as 0 or 1 each time it is read: off, input (what the encoder reads) or all",
    )
    setting("max-grad-norm", "cut longer gradients; 0: none [0]", type=float, metavar="X")
    setting(
        "weight-average", "decay of an average of the weights; 0: none [0]", type=float, metavar="X"
    )
    setting(
        "patience",
        "epochs without a better held-out bound after which training ends, the best weights kept; "
        "0: never [0]",
        type=int,
        metavar="N",
    )
    setting(
        "precision",
        f"of the matrix products: {', '.join(config.PRECISIONS)}, or auto, the faster here [auto]",
    )
    setting("seed", "of the first weights, the images' order and every draw [0]", type=int)

    queue = add(
        "queue",
        _queue,
        "train the runs that wait in the queue, one after another",
        "The Train page starts this by itself; it ends when nothing waits.",
    )
    queue.add_argument("--folder", type=Path, help="[checkpoints/, or VAE_CHECKPOINTS]")
    queue.add_argument("--device", help="cuda, mps or cpu [the fastest there is]")
    queue.add_argument("--background", action="store_true", help=_BACKGROUND)

    evaluate = add(
        "evaluate",
        _evaluate,
        "print the mean terms of a checkpoint on a data set",
        "recon is -E_q log p(x|z), recon_at_mu the same at z = mu without sampling, neg_elbo "
        "their bound recon + kl; bits_per_dim is neg_elbo per pixel and channel in bits.",
    )
    terms = add(
        "terms",
        _terms,
        "write the terms of every point as CSV or Parquet",
        "Columns: index, label, recon, kl, neg_elbo, then kl, mu and sigma of each dimension; with "
        "--log-px also log_px, its error and the gap.",
    )
    for command in (evaluate, terms):
        _model_arguments(command, "PATH")
        command.add_argument("--dataset", metavar="NAME", help="[the one it was trained on]")
        command.add_argument("--split", default="test", help="test (held out), train or all [test]")
        command.add_argument("--limit", type=int, metavar="N", help="only the first N points")
        command.add_argument(
            "--samples", type=int, default=N_SAMPLES, metavar="S", help="draws behind recon [16]"
        )
        command.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws [0]")
        command.add_argument("--device", help="cuda, mps or cpu [the fastest there is]")
        method = command.add_mutually_exclusive_group()
        method.add_argument(
            "--exact",
            action="store_true",
            help="also integrate log p(x) over the latent plane (k up to 2), and print the gap",
        )
        method.add_argument(
            "--importance-samples",
            type=int,
            metavar="K",
            help="also estimate log p(x) with K importance samples per point, with its standard "
            "error",
        )
        method.add_argument(
            "--ais",
            type=int,
            metavar="T",
            help="also estimate log p(x) by annealed importance sampling over T temperatures, "
            "32 chains per point; slow",
        )
    terms.add_argument(
        "--log-px",
        action="store_true",
        help="also log_px, its error and the gap: exact where k is at most 2, else with 500 "
        "importance samples, or by the method that is named",
    )
    evaluate.add_argument(
        "--neighbours",
        action="store_true",
        help="also print leave-one-out 5-nearest-neighbour accuracy on mu, and trustworthiness",
    )
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    terms.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="ending in .csv or .parquet [CSV on standard output]",
    )

    listing = add("list", _list, "list the checkpoints there are", "Broken ones say why.")
    listing.add_argument("--folder", type=Path, help="[checkpoints/, or VAE_CHECKPOINTS]")

    shrink = add(
        "shrink",
        _shrink,
        "store a finished run's weights in half precision and thin its film",
        "The terms are computed anew, and how far they moved is printed.",
    )
    shrink.add_argument("path", metavar="PATH", help="a run folder, or a file in one")

    export = add(
        "export",
        _export,
        "write one HTML file with the map, the live panel and the model in it",
        "It opens from disk with no network and no Python. Images go with it where the data set "
        "is at hand.",
    )
    _model_arguments(export, "CHECKPOINT")
    export.add_argument("--html", type=Path, metavar="FILE", help="where to write [NAME.html]")

    data = add(
        "data",
        _data_list,
        "add images of your own as a data set, list or remove such sets",
        "Folders or .zip files of pictures, one subfolder per class; arrays in an .npz or .npy. "
        "One image in five is held out.",
    )
    _data_arguments(data)

    bench = add(
        "bench",
        _bench,
        "measure, against a baseline in the same run",
        "train: images per second of our loop, of the textbook's, and of the matrix products "
        "alone. live: what a dragging hand sees in a real Chromium, the server-side slider and "
        "the bare decode in torch beside it. busy: the same hand, and page switches, while a "
        "training runs. Those two need tests/requirements.txt and a Chromium. inference: the exact "
        "posterior against the points, the grid's nodes, and importance sampling. classroom: "
        "thirty visitors at one server.",
    )
    bench.add_argument(
        "what",
        choices=["train", "live", "busy", "inference", "classroom"],
        metavar="train|live|busy|inference|classroom",
    )
    bench.add_argument(
        "--plot", type=Path, metavar="FILE", help="inference: an HTML file for the cost curves"
    )
    bench.add_argument("--json", action="store_true", help="print one JSON object a row")
    return parser


def _model_arguments(command: argparse.ArgumentParser, metavar: str) -> None:
    """A checkpoint, or a person's own code in its place."""
    command.add_argument("path", nargs="?", metavar=metavar, help=_ANY_CHECKPOINT)
    command.add_argument(
        "--model",
        metavar="package.module:factory",
        help=f"in place of {metavar}: your own code, run as it is; the factory gives an object "
        "with encode(x) -> (mu, logvar) and decode(z)",
    )
    command.add_argument(
        "--data",
        metavar="package.module:factory",
        help="the factory gives images, (images, labels) or a data set of torch",
    )
    command.set_defaults(metavar=metavar)


def _data_arguments(data: argparse.ArgumentParser) -> None:
    actions = data.add_subparsers(metavar="add|list|remove|show")

    def add(name: str, function: Any, summary: str) -> argparse.ArgumentParser:
        action = actions.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        action.set_defaults(command=function)
        return action

    new = add("add", _data_add, "survey a folder or file, and keep its images as a data set")
    add("list", _data_list, "list the data sets of your own")
    gone = add("remove", _data_remove, "delete a data set of your own")
    show = add("show", _data_show, "survey a folder or file, and keep nothing")
    for action in (new, show):
        action.add_argument("path", type=Path, metavar="PATH", help="folder, .zip, .npz or .npy")
        action.add_argument(
            "--labels",
            type=Path,
            metavar="FILE.csv",
            help="rows of file,label for pictures; for arrays one label per image, in order",
        )
        action.add_argument("--size", metavar="HxW", help="in pixels [as the survey says]")
        colours = action.add_mutually_exclusive_group()
        colours.add_argument("--colour", action="store_true", help="three channels")
        colours.add_argument("--grey", action="store_true", help="one channel")
    new.add_argument("--name", required=True, help="that `train --dataset` then takes")
    new.add_argument(
        "--skip-bad", action="store_true", help="leave out the files that cannot be used"
    )
    gone.add_argument("name", metavar="NAME")


class _Terminated(KeyboardInterrupt):
    pass


def _terminated(*_: object) -> None:
    raise _Terminated


def _begin_work(options: argparse.Namespace) -> None:
    if options.background:
        workbench.step_back()
    # What torchrun, or a system that shuts down, asks with.
    signal.signal(signal.SIGTERM, _terminated)


def _train(options: argparse.Namespace) -> None:
    _begin_work(options)
    with distributed.group(options.device) as device:
        device = device or choose_device(options.device)
        path, begin = _resumed(options) if options.resume else _new(options, device)
        last: EpochStats | None = None
        speeds = []
        is_first = distributed.rank() == 0
        with tqdm(
            unit="step",
            desc=path.name,
            dynamic_ncols=True,
            delay=_BAR_DELAY_S,
            disable=not is_first,
        ) as bar:

            def on_step(step: int, n_steps: int) -> None:
                bar.total = n_steps
                bar.update(step - bar.n)

            for last in begin(device, on_step):
                speeds.append(last.images_per_s)
                bar.set_postfix_str(
                    f"epoch {last.epoch}, held-out -ELBO {last.test.neg_elbo:.2f}", refresh=False
                )
        if not is_first:
            return
        if last is None:
            if job.status(path).state == "finished":  # killed after its last epoch
                return
            raise ValueError("stopped before the first epoch ended; nothing was learnt")
        print(
            f"{path}: epoch {last.epoch}, held-out recon {last.test.recon:.2f} + "
            f"KL {last.test.kl:.2f} = -ELBO {last.test.neg_elbo:.2f} nats per image; "
            f"{sorted(speeds)[len(speeds) // 2]:,.0f} images/s"
        )
        if note := remark(checkpoint.open_run(path).train_config, last.test):
            print(note)


_Begin = Callable[[torch.device, Callable[[int, int], None]], Iterator[EpochStats]]


def _resumed(options: argparse.Namespace) -> tuple[Path, _Begin]:
    refused = ("folder", "name", "dataset", "preset", *_MODEL_SETTINGS, *_TRAIN_SETTINGS)
    if given := [name for name in refused if getattr(options, name) is not None]:
        raise ValueError(
            f"--{given[0].replace('_', '-')} cannot go with --resume: a run keeps its settings; "
            "leave it out, or train a new run"
        )
    path = checkpoint.open_run(options.resume).path
    return path, partial(job.resume, path)


def _new(options: argparse.Namespace, device: torch.device) -> tuple[Path, _Begin]:
    dataset = "digits" if options.dataset is None else options.dataset
    source = datasets.describe(dataset)
    model, train = config.preset(
        options.preset or "quick", source.n_train, options.family or "mlp", options.batch_size
    )
    given = {name: value for name, value in vars(options).items() if value is not None}
    if options.hidden is not None:
        given["hidden"] = config.parse_hidden(options.hidden)
    model |= {name: given[name] for name in _MODEL_SETTINGS if name in given}
    train |= {name: given[name] for name in _TRAIN_SETTINGS if name in given}
    if train["precision"] == "auto":
        train["precision"] = fastest_precision(device, model["family"])
    model_config = ModelConfig(image_shape=source.image_shape, **model)
    train_config = TrainConfig(dataset=dataset, **train)
    name = options.name or f"{dataset}-{model_config.latent_dim}d"
    path = (options.folder or checkpoint.folder()) / checkpoint.check_name(name)
    return path, partial(job.train, path, model_config, train_config)


def _queue(options: argparse.Namespace) -> None:
    def tell(path: Path, stats: EpochStats) -> None:
        print(f"{path.name}: epoch {stats.epoch}, held-out -ELBO {stats.test.neg_elbo:.2f}")

    _begin_work(options)
    workbench.work(options.folder or checkpoint.folder(), options.device, tell)


def _evaluate(options: argparse.Namespace) -> None:
    with distributed.group(options.device) as device:
        run, model, dataset, embedding = _embed(options, device)
        result = embedding.means()
        result["bits_per_dim"] = result["neg_elbo"] / (dataset.images[0].numel() * math.log(2))
        if found := _evidence(options, run, model, dataset):
            result |= found.means()
        if distributed.rank() > 0:
            return
    if options.neighbours:
        from vae.diagnostics import neighbourhood  # scikit-learn takes a while to load

        images, labels = dataset.images.numpy(), dataset.labels.numpy()
        result |= neighbourhood(embedding.mu, labels, images)._asdict()
    card = run.card if isinstance(run, ForeignRun) else None
    if options.json:
        if card is not None:
            result |= {"card": card.to_dict(), "images": dataset.note or "as they are"}
            # Of the first image: what another library can be held against without sampling.
            result |= {f"{name}_first": getattr(embedding, name)[0].tolist() for name in _MOMENTS}
        print(json.dumps(result))
        return
    if card is not None:
        for name, text in card.facts().items():
            print(f"{name:14} {text}")
        print(card.sentence())
    for name, value in result.items():
        if isinstance(value, list):
            value = " ".join(f"{v:.4f}" for v in value)
        elif isinstance(value, float):
            value = f"{value:.4f}"
        print(f"{name:14} {value}")


def _terms(options: argparse.Namespace) -> None:
    suffix = options.output.suffix if options.output else ".csv"
    if suffix not in (".csv", ".parquet"):
        raise ValueError(f"--output (={options.output}) must end in .csv or .parquet")
    from vae import tables  # pandas takes half a second that the other commands need not wait

    with distributed.group(options.device) as device:
        run, model, dataset, embedding = _embed(options, device)
        if options.log_px and not (options.exact or options.importance_samples or options.ais):
            options.exact = evidence.offers_exact(model)
            options.importance_samples = None if options.exact else evidence.USUAL_SAMPLES
        found = _evidence(options, run, model, dataset)
        if distributed.rank() > 0:
            return
    data = (tables.as_csv if suffix == ".csv" else tables.as_parquet)(embedding, found)
    if options.output:
        checkpoint.write_atomic(options.output, data)
    else:
        sys.stdout.write(data.decode())


def _evidence(
    options: argparse.Namespace, run: AnyRun, model: VAE, dataset: datasets.Dataset
) -> Evidence | None:
    """log p(x) of each point by the method that the options name; None if they name none.

    That of a whole split is kept in the run's folder, where the pages find it, too.
    """
    is_whole = options.limit is None
    kept = run.load_evidence(dataset.name, dataset.split) if is_whole else None
    if kept is not None and _is_asked_for(kept, options) and len(kept) == len(dataset):
        return kept
    with _progress("log p(x)") as progress:
        if options.exact:
            found = evidence.exact(model, dataset, progress=progress, shared=True)
        elif options.importance_samples is not None:
            found = evidence.importance_weighted(
                model, dataset, options.importance_samples, options.seed, progress, True
            )
        elif options.ais is not None:
            return evidence.annealed(
                model, dataset, options.ais, seed=options.seed, progress=progress, shared=True
            )
        else:
            return None
    # An estimate does not take the place of the integral.
    is_better = kept is None or kept.method != evidence.EXACT or options.exact
    is_kept = isinstance(run, checkpoint.Run)  # others' folders are left as they are
    if is_kept and is_whole and is_better and distributed.rank() == 0:
        try:
            checkpoint.save_evidence(run, found)
        except CheckpointError:
            pass  # it is printed all the same
    return found


def _is_asked_for(kept: Evidence, options: argparse.Namespace) -> bool:
    if options.exact:
        return kept.method == evidence.EXACT
    K = options.importance_samples
    asked = (evidence.IMPORTANCE_WEIGHTED, K, options.seed)
    return K is not None and (kept.method, kept.n_samples, kept.seed) == asked


def _list(options: argparse.Namespace) -> None:
    runs, broken = formats.list_runs(options.folder)
    if not runs and not broken:
        folder = options.folder or checkpoint.folder()
        print(f"no runs in {folder}; `python -m vae train` makes one")
    for run in runs:
        if isinstance(run, ForeignRun):
            card = run.card
            print(
                f"{run.name:24} {card.format:14} k = {card.latent_dim:<4} {card.model}, "
                f"{card.network}; {card.sentence()}"
            )
            continue
        model, train = run.model_config, run.train_config
        try:
            held_out = [row for row in run.load_metrics() if row["split"] == "test"]
        except CheckpointError as error:
            broken[run.name] = str(error)
            continue
        score = f"-ELBO {held_out[-1]['neg_elbo']:.2f} nats" if held_out else "untrained"
        print(
            f"{run.name:24} {train.dataset:14} k = {model.latent_dim:<4} {model.family:5} "
            f"{model.likelihood:21} {score:20} {job.status(run.path).state}"
        )
    for name, reason in broken.items():
        print(f"{name:24} cannot be opened: {reason}")


def _shrink(options: argparse.Namespace) -> None:
    run = checkpoint.open_run(options.path)
    if (state := job.status(run.path).state) != "finished":
        raise ValueError(f"{run.path} is {state}; only a finished run can be shrunk")
    dataset = datasets.load(run.train_config.held_out_dataset, "test")
    before = run.load_embedding() or embed(run.load_model(), dataset)
    model = run.load_model()
    if any(not tensor.half().isfinite().all() for tensor in model.state_dict().values()):
        raise ValueError(f"{run.path} has weights that are too large for half precision")
    checkpoint.save_model(run, model, torch.float16)
    after = embed(run.load_model(), dataset)
    checkpoint.save_embedding(run, after)
    moved = {name: after.means()[name] - before.means()[name] for name in ("recon", "kl")}
    single = np.percentile(abs(after.neg_elbo - before.neg_elbo), (50, 95, 100))
    for frames in _SHRUNK_FRAMES:
        film.thin(run, frames)
        if sum(path.stat().st_size for path in run.path.rglob("*")) < _SHRUNK_BYTES:
            break
    print(
        f"{run.path}: mean recon moved by {moved['recon']:+.4f} and mean KL by "
        f"{moved['kl']:+.4f} nats per image; the -ELBO of a single image by {single[0]:.3f} "
        f"(median), {single[1]:.3f} (95 %), {single[2]:.3f} (at most)"
    )


def _export(options: argparse.Namespace) -> None:
    from vae.live import export  # plotly takes a while to load

    run = _opened(options)
    path = options.html or Path(f"{run.name}.html")
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--html (={path}) must end in .html")
    if isinstance(run, ForeignRun) or options.data is not None:
        model = run.load_model()
        images = _fitted(datasets.load(_data_of(options, run)), run)
        page = export.page(model, embed(model, images), run.name, images)
    else:
        page = export.of_run(run)
    size = export.write(path, page)
    print(f"{path} {size / 1e6:.2f} MB")


def _data_add(options: argparse.Namespace) -> None:
    path = datasets.own_path(options.name)
    if path.exists():
        raise DatasetError(
            f"a data set named {options.name} exists already in {path.parent}; choose another "
            f"name, or `python -m vae data remove {options.name}` first"
        )
    told = own_data.survey(options.path, options.labels)
    shape = _shape_of(options, told)
    _tell_survey(told, shape)
    if told.n_bad and not options.skip_bad:
        raise _bad_files(told.n_bad, told.n_images)
    try:
        with _progress("images", "image") as progress:
            source = own_data.add(
                options.path,
                options.name,
                shape,
                options.labels,
                None if options.skip_bad else 0,
                progress,
            )
    except own_data.BadFiles as error:  # those that only decoding showed
        _tell_bad(error.bad, error.n_bad)
        raise _bad_files(error.n_bad, error.n_good) from error
    print(
        f"{options.name}: {source.n_train:,} images to train on and the others held out, in "
        f"{datasets.own_path(options.name)}; `python -m vae train --dataset {options.name}`"
    )


def _data_list(_: argparse.Namespace) -> None:
    paths = sorted((datasets.folder() / "own").glob("*.safetensors"))
    if not paths:
        print(f"no data sets of your own in {datasets.folder()}; `python -m vae data add` adds one")
    for path in paths:
        try:
            source = datasets.describe(path.stem)
        except DatasetError as error:
            print(f"{path.stem:24} cannot be used: {error}")
            continue
        shape = "x".join(map(str, source.image_shape))
        print(f"{source.title:24} {shape:10} {source.n_train:>7,} to train on; {source.note}")


def _data_remove(options: argparse.Namespace) -> None:
    own_data.remove(options.name)
    print(f"{options.name} removed; runs that were trained on it stay, without its images")


def _data_show(options: argparse.Namespace) -> None:
    told = own_data.survey(options.path, options.labels)
    _tell_survey(told, _shape_of(options, told))


def _shape_of(options: argparse.Namespace, told: own_data.Survey) -> tuple[int, int, int]:
    """(C, H, W) as the options say, else as the survey does."""
    C, H, W = told.image_shape
    if options.size is not None:
        H, W = own_data.parse_size(options.size)
    if options.colour or options.grey:
        C = 3 if options.colour else 1
    return C, H, W


def _tell_survey(told: own_data.Survey, image_shape: tuple[int, int, int]) -> None:
    classes = [f"{name} ({n:,})" for name, n in told.classes.items()]
    sizes = [f"{H} x {W} ({n:,})" for (H, W), n in told.sizes.items()]
    rows = {
        told.kind: told.name,
        "images": f"{told.n_images:,}, {'grey' if told.is_grey else 'colour'}",
        f"{len(classes)} {'class' if len(classes) == 1 else 'classes'}": _listed(
            classes, len(classes)
        ),
        "height x width": _listed(sizes, told.n_sizes),
        "become": told.treatment(image_shape),
    }
    if told.n_other:
        rows["left alone"] = f"{told.n_other:,} other files"
    for name, text in rows.items():
        print(f"{name:14} {text}")
    if told.n_bad:
        print(f"{'bad files':14} {told.n_bad:,}", flush=True)
        _tell_bad(told.bad, told.n_bad)


def _listed(texts: list[str], n: int) -> str:
    """The first dozen, and how many more of n there are."""
    shown = texts[:12]
    return ", ".join(shown) + (f" and {n - len(shown):,} more" if n > len(shown) else "")


def _bad_files(n_bad: int, n_good: int) -> DatasetError:
    return DatasetError(
        f"{n_bad:,} of {n_bad + n_good:,} files cannot be used, so nothing was kept; mend them, or "
        "leave them out with --skip-bad"
    )


def _tell_bad(bad: tuple[tuple[str, str], ...], n_bad: int) -> None:
    for name, reason in bad:
        print(f"  {name}: {reason}", file=sys.stderr)
    if n_bad > len(bad):
        print(f"  and {n_bad - len(bad):,} more", file=sys.stderr)


def _bench(options: argparse.Namespace) -> None:
    from importlib import import_module

    main_ = import_module(f"vae.bench.{options.what}").main
    main_(options.json, options.plot) if options.what == "inference" else main_(options.json)


def _embed(
    options: argparse.Namespace, device: torch.device | None
) -> tuple[AnyRun, VAE, datasets.Dataset, Embedding]:
    for name in ("limit", "samples", "importance_samples", "ais"):
        value = getattr(options, name, None)
        if value is not None and not 1 <= value <= _MAX_SAMPLES:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} (={value}) must be from 1 to {_MAX_SAMPLES}")
    if not 0 <= options.seed < 2**63:
        raise ValueError(f"--seed (={options.seed}) must be from 0 to {2**63 - 1}")
    run = _opened(options)
    model = run.load_model().to(device or choose_device(options.device))
    dataset = datasets.load(_data_of(options, run), options.split)
    if options.limit is not None:
        dataset = dataset.first(options.limit)
    dataset = _fitted(dataset, run)
    with _progress("terms") as progress:
        embedding = embed(model, dataset, options.samples, options.seed, progress, True)
    return run, model, dataset, embedding


def _opened(options: argparse.Namespace) -> AnyRun:
    """The checkpoint, or what a person's own code makes."""
    if (options.path is None) == (options.model is None):
        said = "neither was" if options.path is None else "both were"
        raise ValueError(
            f"give {options.metavar}, a checkpoint, or --model package.module:factory; {said} given"
        )
    if options.data is not None and getattr(options, "dataset", None) is not None:
        raise ValueError("--data cannot go with --dataset; give the images that are meant")
    if options.model is not None:
        return formats.open_module(options.model, options.data)
    return formats.open_run(options.path)


def _data_of(options: argparse.Namespace, run: AnyRun) -> str:
    """The name of the data set to look at."""
    if name := getattr(options, "dataset", None):
        return name
    if options.data is not None:
        # A module's are made with it.
        return run.train_config.dataset if options.model else formats.open_data(options.data)
    if isinstance(run, ForeignRun):
        return run.usual_dataset()
    return run.train_config.held_out_dataset


def _fitted(dataset: datasets.Dataset, run: AnyRun) -> datasets.Dataset:
    """As it is for our own runs; for others, whose data are a guess, resized to what they read."""
    if not isinstance(run, ForeignRun):
        return dataset
    dataset = dataset.resized(run.model_config.image_shape)
    if dataset.note:
        _say(dataset.note)
    return dataset


@contextmanager
def _progress(description: str, unit: str = "point") -> Iterator[Callable[[int, int], None]]:
    """A bar that is called with (points done, points in all), gone when the work is."""
    with tqdm(
        desc=description,
        unit=unit,
        leave=False,
        dynamic_ncols=True,
        delay=_BAR_DELAY_S,
        disable=distributed.rank() > 0,
    ) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
