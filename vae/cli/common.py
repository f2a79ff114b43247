"""What several commands share: their place in the parser, a checkpoint to open, a progress bar."""

import argparse
import os
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from tqdm import tqdm

from vae import formats
from vae.config import IMAGE
from vae.data.dataset import Dataset
from vae.errors import UserError
from vae.formats import AnyRun, ForeignRun
from vae.formats.card import Fact
from vae.formats.gate import settle
from vae.formats.user_code.module import named_argument
from vae.names import printable
from vae.training import distributed

BAR_DELAY_S = 0.1  # what fails at once shows its sentence and no bar
FOLDER = "where run folders are kept [checkpoints/, or VAE_CHECKPOINTS]"
DEVICE = "cuda, mps or cpu [the fastest there is]"
_ANY_CHECKPOINT = (
    "a run folder, a file in one, any file of a VAE's weights, or a folder with encoder.onnx and "
    "decoder.onnx"
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
  python -m vae evaluate --model my_vae.py:VAE --weights vae.pth --arg latent_dim=20
  python -m vae evaluate vae.pth --reading 'second head=sigma'
  python -m vae list
  python -m vae refit checkpoints/digits-2d
  python -m vae shrink checkpoints/digits-2d
  python -m vae queue
  python -m vae data add photographs/ --name cats --size 32x32 --grey
  python -m vae export checkpoints/digits-2d
  python -m vae bench train

All terms are in nats per image, summed over its pixels, or per vector or series. Data sets that
are not part of a package are kept in data/, or in the folder that the environment variable
VAE_DATA names.
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error here."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def error(self, message: str) -> NoReturn:
        """Ends the program with exit code 2."""
        self.exit(2, f"vae: {printable(message)}; `{self.prog} --help` shows how it is used\n")


class Commands:
    """The parser, to which each group adds its commands."""

    def __init__(self) -> None:
        self.parser = Parser(
            prog="python -m vae", description="Train and inspect variational autoencoders."
        )
        self._commands = self.parser.add_subparsers(required=True, metavar="COMMAND")

    def add(self, name: str, run: Callable[..., None], summary: str, more: str = "") -> Parser:
        """A command's parser, for its options.

        Args:
            name: of the command.
            run: called with the options.
            summary: half a sentence for the list of the commands.
            more: sentences that its own help says besides.
        """
        return add_parser(self._commands, name, run, summary, more)


def add_parser(
    parent: Any, name: str, run: Callable[..., None], summary: str, more: str = ""
) -> Parser:
    """As `Commands.add`, below any parser."""
    text = textwrap.fill(f"{summary[0].upper()}{summary[1:]}. {more}".strip(), 80)
    command: Parser = parent.add_parser(name, help=summary, description=text)
    command.set_defaults(command=run)
    return command


def show(line: object, **options: Any) -> None:
    """One line of what a command answers: no name in it steers the terminal.

    Args:
        line: its text.
        options: of `print`.
    """
    print(printable(str(line)), **options)


def say(what: object, up_to_rank: int = 0) -> None:
    """One sentence on stderr, not one from each process of a group, which is over by now."""
    if int(os.environ.get("RANK", 0)) <= up_to_rank:
        show(f"vae: {' '.join(str(what).split())}", file=sys.stderr)


@contextmanager
def writing(where: object) -> Iterator[None]:
    """What the system refuses to write there is told to the person who named the place."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"cannot write {where}: {error.strerror or error}; choose another place, or make room"
        ) from error


def add_model_arguments(command: argparse.ArgumentParser, metavar: str) -> None:
    """A checkpoint, or a person's own code in its place."""
    command.add_argument("path", nargs="?", metavar=metavar, help=_ANY_CHECKPOINT)
    command.add_argument(
        "--model",
        metavar="FILE.py:CLASS",
        help=f"in place of {metavar}: your own code, run as it is; also package.module:factory. It "
        "gives an object with encode(x) -> (mu, logvar) and decode(z), or a torch module whose "
        "forward(x) gives recon, mu and logvar",
    )
    command.add_argument("--weights", metavar="FILE", help="to put into what --model makes")
    command.add_argument(
        "--arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="that --model's class or factory is called with, as latent_dim=20; may be repeated",
    )
    command.add_argument(
        "--reading",
        action="append",
        default=[],
        metavar="'FACT=VALUE'",
        help="how something that the file does not say is meant, as 'second head=sigma'; may be "
        "repeated",
    )
    command.add_argument(
        "--data",
        metavar="package.module:factory",
        help="the factory gives images, (images, labels) or a data set of torch",
    )
    command.set_defaults(metavar=metavar)


def open_checkpoint(options: argparse.Namespace) -> AnyRun:
    """The checkpoint, or what a person's own code makes."""
    if (options.path is None) == (options.model is None):
        said = "neither was" if options.path is None else "both were"
        raise UserError(
            f"give {options.metavar}, a checkpoint, or --model FILE.py:CLASS; {said} given"
        )
    if options.model is None and (options.weights or options.arg):
        raise UserError("--weights and --arg go with --model, which names the class of the model")
    if options.data is not None and getattr(options, "dataset", None) is not None:
        raise UserError("--data cannot go with --dataset; give the images that are meant")
    if options.model is not None:
        arguments = [named_argument(text) for text in options.arg]
        run = formats.open_module(options.model, options.data, options.weights, arguments)
    else:
        run = formats.open_run(options.path)
    return read_as_chosen(run, options.reading)


def read_as_chosen(run: AnyRun, readings: list[str]) -> AnyRun:
    """The run, read as --reading says.

    Raises:
        UserError: a reading is not FACT=VALUE, or the run has no such fact or value.
    """
    if not readings:
        return run
    offered = run.offered if isinstance(run, ForeignRun) else {}
    if not isinstance(run, ForeignRun) or run.read_with is None or not offered:
        raise UserError(f"{run.name} can be read in one way alone, so --reading cannot be given")
    chosen = {}
    for text in readings:
        name, _, value = (part.strip() for part in text.partition("="))
        if name not in offered:
            raise UserError(f"--reading (={text!r}) must be FACT=VALUE of: {', '.join(offered)}")
        if value not in offered[name]:
            raise UserError(
                f"the reading {name} (={value!r}) must be one of: {', '.join(offered[name])}"
            )
        chosen[name] = value
    return run.read_with(chosen)


def settled(run: AnyRun, dataset: Dataset) -> AnyRun:
    """The run read as the images prefer where nothing else says how; a warning where they object.

    Args:
        run: ours are returned as they are.
        dataset: that it is shown on, of its shape.
    """
    if not isinstance(run, ForeignRun):
        return run
    with progress_bar("reading", desc="how it is read", leave=False) as (_, progress):
        run, verdict = settle(run, dataset, progress)
    if not verdict.passed:
        say(f"warning: these numbers may mean nothing. {' '.join(verdict.reasons)}")
    for doubt in verdict.doubts:
        say(f"note: {doubt}")
    if verdict.better:
        changes = verdict.better[0].changes(run)
        said = " ".join(f"--reading {shlex.quote(f'{k}={v}')}" for k, v in changes.items())
        say(f"to read it so, add {said}")
    return run


def fact_line(fact: Fact) -> str:
    """What was taken, how that is known, and what else it may be."""
    others = [value for value in fact.values if value != fact.value]
    return f"{fact.value} ({fact.how})" + (f"; or {', '.join(others)}" if others else "")


def dataset_name(options: argparse.Namespace, run: AnyRun) -> str:
    """The name of the data set to look at."""
    if name := getattr(options, "dataset", None):
        return name
    if options.data is not None:
        # A module's are made with it.
        return run.train_config.dataset if options.model else formats.open_data(options.data)
    if isinstance(run, ForeignRun):
        return run.usual_dataset()
    return run.train_config.held_out_dataset


def fit_to_model(dataset: Dataset, run: AnyRun) -> Dataset:
    """Images as they are for our own runs; for others, whose data are a guess, resized.

    Vectors and series as the model reads them. Raises DatasetError, as `Dataset.read_by`.
    """
    if not isinstance(run, ForeignRun) and dataset.kind == run.model_config.kind == IMAGE:
        return dataset
    dataset = dataset.read_by(run.model_config)
    if dataset.note:
        say(dataset.note)
    return dataset


@contextmanager
def progress_bar(unit: str, **options: Any) -> Iterator[tuple[tqdm, Callable[[int, int], None]]]:
    """A bar, and what is to be called with (units done, units in all)."""
    is_hidden = distributed.rank() > 0
    with tqdm(
        unit=unit, dynamic_ncols=True, delay=BAR_DELAY_S, disable=is_hidden, **options
    ) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield bar, show
