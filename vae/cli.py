"""The command line: python -m vae train | evaluate | terms | list | export | bench."""

import argparse
import json
import math
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from vae import checkpoint, config, datasets, job
from vae.checkpoint import CheckpointError
from vae.config import ModelConfig, TrainConfig
from vae.embedding import N_SAMPLES, Embedding, embed, log_px
from vae.model import VAE
from vae.training import NonFiniteLoss, choose_device

_MODEL, _TRAIN = ModelConfig(image_shape=(1, 1, 1)), TrainConfig(dataset="digits", epochs=1)

_BAR_DELAY_S = 0.1  # what fails at once shows its sentence and no bar
_MAX_SAMPLES = 1_000_000

_EPILOG = """\
examples:
  python -m vae train --dataset digits
      a 2-D VAE of scikit-learn's digits, in under a minute
  python -m vae train --dataset mnist --epochs 5 --latent-dim 10 --name mnist-10d
  python -m vae evaluate checkpoints/digits-2d --importance-samples 500
  python -m vae terms checkpoints/digits-2d --output terms.csv
  python -m vae list
  python -m vae export checkpoints/digits-2d
  python -m vae bench live

All terms are in nats per image, summed over its pixels. Data sets that are not part of a package
are kept in data/, or in the folder that the environment variable VAE_DATA names.
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 1 (training diverged), 2 (bad input), 130."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except NonFiniteLoss as error:
        print(f"vae: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"vae: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vae: stopped", file=sys.stderr)
        return 130
    return 0


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
        "epoch is kept.",
    )
    train.add_argument(
        "--dataset", default="digits", metavar="NAME", help=f"{', '.join(datasets.NAMES)} [digits]"
    )
    train.add_argument("--name", help="of the run [DATASET-Kd]")
    train.add_argument(
        "--folder", type=Path, help="where run folders are kept [checkpoints/, or VAE_CHECKPOINTS]"
    )
    train.add_argument(
        "--latent-dim", type=int, default=_MODEL.latent_dim, metavar="K", help="dimensions of z [2]"
    )
    train.add_argument("--family", default=_MODEL.family, help="mlp or conv [mlp]")
    train.add_argument(
        "--hidden",
        metavar="N,N,...",
        help="encoder's layers from the image inwards, mirrored by the decoder: widths for mlp, "
        "channels of the stride-2 stages for conv; '' for a linear VAE [256,256,128 or 32,64]",
    )
    train.add_argument(
        "--activation", default=_MODEL.activation, help=f"{', '.join(config.ACTIVATIONS)} [gelu]"
    )
    train.add_argument(
        "--likelihood",
        default=_MODEL.likelihood,
        help=f"p(x|z): {', '.join(config.LIKELIHOODS)} [bernoulli]",
    )
    train.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the data [about 4,500 steps' worth]"
    )
    train.add_argument(
        "--batch-size",
        type=int,
        default=_TRAIN.batch_size,
        metavar="N",
        help="images per step [64]",
    )
    train.add_argument(
        "--learning-rate",
        type=float,
        default=_TRAIN.learning_rate,
        metavar="X",
        help="of Adam; the highest one for one-cycle [0.002]",
    )
    train.add_argument(
        "--schedule",
        default=_TRAIN.schedule,
        help="of the learning rate: one-cycle or constant [one-cycle]",
    )
    train.add_argument(
        "--beta", type=float, default=_TRAIN.beta, metavar="X", help="weight of the KL term [1]"
    )
    train.add_argument(
        "--kl-warmup",
        type=float,
        default=_TRAIN.kl_warmup,
        metavar="SHARE",
        help="share of the steps over which that weight climbs from 0 [0.3]",
    )
    train.add_argument(
        "--seed",
        type=int,
        default=_TRAIN.seed,
        metavar="N",
        help="of the first weights, the images' order and every draw [0]",
    )
    train.add_argument("--device", help="cuda, mps or cpu [the fastest there is]")

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
        "Columns: index, label, recon, kl, neg_elbo, then kl, mu and sigma of each dimension.",
    )
    for command in (evaluate, terms):
        command.add_argument("path", metavar="PATH", help="a run folder, or a file in one")
        command.add_argument("--dataset", metavar="NAME", help="[the one it was trained on]")
        command.add_argument("--split", default="test", help="test (held out), train or all [test]")
        command.add_argument("--limit", type=int, metavar="N", help="only the first N points")
        command.add_argument(
            "--samples", type=int, default=N_SAMPLES, metavar="S", help="draws behind recon [16]"
        )
        command.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws [0]")
        command.add_argument("--device", help="cuda, mps or cpu [the fastest there is]")
    evaluate.add_argument(
        "--importance-samples",
        type=int,
        metavar="K",
        help="also estimate log p(x) with K importance samples per point, with its standard error",
    )
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    terms.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="ending in .csv or .parquet [CSV on standard output]",
    )

    listing = add("list", _list, "list the run folders there are", "Broken ones say why.")
    listing.add_argument("--folder", type=Path, help="[checkpoints/, or VAE_CHECKPOINTS]")

    export = add(
        "export",
        _export,
        "write one HTML file with the map, the live panel and the model in it",
        "It opens from disk with no network and no Python. Images go with it where the data set "
        "is at hand.",
    )
    export.add_argument("path", metavar="CHECKPOINT", help="a run folder, or a file in one")
    export.add_argument("--html", type=Path, metavar="FILE", help="where to write [NAME.html]")

    bench = add(
        "bench",
        _bench,
        "measure, against a baseline in the same run",
        "live: what a dragging hand sees in a real Chromium, the server-side slider and the bare "
        "decode in torch beside it; needs tests/requirements.txt and a Chromium.",
    )
    bench.add_argument("what", choices=["live"], metavar="live")
    bench.add_argument("--json", action="store_true", help="print one JSON object a row")
    return parser


def _train(options: argparse.Namespace) -> None:
    source = datasets.describe(options.dataset)
    if options.hidden is None:
        hidden = config.usual_hidden(options.family)
    else:
        hidden = config.parse_hidden(options.hidden)
    model_config = ModelConfig(
        image_shape=source.image_shape,
        latent_dim=options.latent_dim,
        family=options.family,
        hidden=hidden,
        activation=options.activation,
        likelihood=options.likelihood,
    )
    epochs = options.epochs
    if epochs is None:
        epochs = config.usual_epochs(source.n_train, max(1, options.batch_size))
    train_config = TrainConfig(
        dataset=options.dataset,
        epochs=epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        schedule=options.schedule,
        beta=options.beta,
        kl_warmup=options.kl_warmup,
        seed=options.seed,
    )
    name = options.name or f"{options.dataset}-{options.latent_dim}d"
    path = (options.folder or checkpoint.folder()) / checkpoint.check_name(name)
    speeds = []
    with tqdm(unit="step", desc=name, dynamic_ncols=True, delay=_BAR_DELAY_S) as bar:

        def on_step(step: int, n_steps: int) -> None:
            bar.total = n_steps
            bar.update(step - bar.n)

        for stats in job.train(path, model_config, train_config, options.device, on_step):
            speeds.append(stats.images_per_s)
            bar.set_postfix_str(
                f"epoch {stats.epoch}, held-out -ELBO {stats.test.neg_elbo:.2f}", refresh=False
            )
    if not speeds:
        raise ValueError("stopped before the first epoch ended; nothing was learnt")
    print(
        f"{path}: epoch {stats.epoch}, held-out recon {stats.test.recon:.2f} + "
        f"KL {stats.test.kl:.2f} = -ELBO {stats.test.neg_elbo:.2f} nats per image; "
        f"{sorted(speeds)[len(speeds) // 2]:,.0f} images/s"
    )


def _evaluate(options: argparse.Namespace) -> None:
    model, dataset, embedding = _embed(options)
    result = embedding.means()
    result["bits_per_dim"] = result["neg_elbo"] / (dataset.images[0].numel() * math.log(2))
    if options.importance_samples is not None:
        with _progress("log p(x)") as progress:
            values, stderr = log_px(
                model, dataset, options.importance_samples, options.seed, progress
            )
        result["log_px"] = float(values.mean(dtype="float64"))
        # The points' errors are independent, so the mean's variance is theirs over n squared.
        total = float((stderr.astype("float64") ** 2).sum()) ** 0.5
        result["log_px_stderr"] = total / len(values) if math.isfinite(total) else None
    if options.json:
        print(json.dumps(result))
        return
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

    embedding = _embed(options)[2]
    data = (tables.as_csv if suffix == ".csv" else tables.as_parquet)(embedding)
    if options.output:
        checkpoint.write_atomic(options.output, data)
    else:
        sys.stdout.write(data.decode())


def _list(options: argparse.Namespace) -> None:
    runs, broken = checkpoint.list_runs(options.folder)
    if not runs and not broken:
        folder = options.folder or checkpoint.folder()
        print(f"no runs in {folder}; `python -m vae train` makes one")
    for run in runs:
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


def _export(options: argparse.Namespace) -> None:
    from vae.live import export  # plotly takes a while to load

    run = checkpoint.open_run(options.path)
    path = options.html or Path(f"{run.name}.html")
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--html (={path}) must end in .html")
    size = export.write(path, export.of_run(run))
    print(f"{path} {size / 1e6:.2f} MB")


def _bench(options: argparse.Namespace) -> None:
    from vae.bench import live

    live.main(options.json)


def _embed(options: argparse.Namespace) -> tuple[VAE, datasets.Dataset, Embedding]:
    for name in ("limit", "samples", "importance_samples"):
        value = getattr(options, name, None)
        if value is not None and not 1 <= value <= _MAX_SAMPLES:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} (={value}) must be from 1 to {_MAX_SAMPLES}")
    if not 0 <= options.seed < 2**63:
        raise ValueError(f"--seed (={options.seed}) must be from 0 to {2**63 - 1}")
    run = checkpoint.open_run(options.path)
    model = run.load_model().to(choose_device(options.device))
    dataset = datasets.load(options.dataset or run.train_config.dataset, options.split)
    if options.limit is not None:
        dataset = dataset.first(options.limit)
    with _progress("terms") as progress:
        return model, dataset, embed(model, dataset, options.samples, options.seed, progress)


@contextmanager
def _progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is called with (points done, points in all), gone when the work is."""
    with tqdm(
        desc=description, unit="point", leave=False, dynamic_ncols=True, delay=_BAR_DELAY_S
    ) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
