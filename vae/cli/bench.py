"""The command that measures: bench."""

import argparse
from importlib import import_module
from pathlib import Path

from vae.cli.common import Commands
from vae.config import ELBO, OBJECTIVES
from vae.errors import UserError
from vae.training import presets

_WHAT = ("train", "record", "live", "busy", "inference", "classroom", "opening", "wild")


def add(commands: Commands) -> None:
    """Adds this command."""
    bench = commands.add(
        "bench",
        _bench,
        "measure, against a baseline in the same run",
        "train: images per second of our loop, of the textbook's, and of the matrix products "
        "alone. record: seconds until presets reach given bounds on held-out images. live: what a "
        "dragging hand sees in a real Chromium, the server-side slider and the bare decode in "
        "torch beside it. busy: the same hand, and page switches, while a "
        "training runs. Those two need tests/requirements.txt and a Chromium. inference: the exact "
        "posterior against the points, the grid's nodes, and importance sampling. classroom: "
        "many visitors at one server, and phones that fetch a class page. opening: from the "
        "address to a map that answers, on a server that was just started and on one that was "
        "not. wild: how many checkpoints of a "
        "folder are opened, and read as the classes that made them (`python tests/wild/make.py` "
        "makes such a folder).",
    )
    bench.add_argument("what", choices=_WHAT, metavar="|".join(_WHAT))
    bench.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help="wild: the checkpoints that were made; opening: another version of the project",
    )
    bench.add_argument(
        "-v", "--verbose", action="store_true", help="wild: a line for each file, too"
    )
    bench.add_argument(
        "--wider", action="store_true", help="wild: search each file's readings for minutes"
    )
    bench.add_argument(
        "--plot", type=Path, metavar="FILE", help="inference: an HTML file for the cost curves"
    )
    bench.add_argument(
        "--visitors", type=int, default=30, metavar="N", help="classroom: at one time"
    )
    bench.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="classroom: minutes of them"
    )
    bench.add_argument(
        "--servers", type=int, default=1, metavar="N", help="classroom: that share the visitors"
    )
    bench.add_argument(
        "--phones", type=int, default=0, metavar="N", help="classroom: that fetch a class page"
    )
    bench.add_argument("--dataset", default="mnist", metavar="NAME", help="record: what is learnt")
    bench.add_argument(
        "--preset",
        nargs="+",
        metavar="NAME",
        help=f"record: some of {', '.join(presets.PRESETS)} [all]",
    )
    bench.add_argument(
        "--objective",
        nargs="+",
        default=[ELBO],
        choices=OBJECTIVES,
        metavar="NAME",
        help=f"record: some of {', '.join(OBJECTIVES)} [{ELBO}]",
    )
    bench.add_argument(
        "--latent-dim", type=int, default=2, metavar="K", help="record: dimensions of z [2]"
    )
    for name, bound in (("elbo", "-ELBO"), ("evidence", "-log p(x)")):
        bench.add_argument(
            f"--{name}",
            nargs="+",
            type=float,
            metavar="NATS",
            help=f"record: what {bound} shall fall to [for mnist a few]",
        )
    bench.add_argument("--json", action="store_true", help="print one JSON object a row")


def _bench(options: argparse.Namespace) -> None:
    for name in ("visitors", "repeats", "servers"):
        if (n := getattr(options, name)) < 1:
            raise UserError(f"--{name} (={n}) must be at least 1")
    if options.phones < 0:
        raise UserError(f"--phones (={options.phones}) must be at least 0")
    main = import_module(f"vae.bench.{options.what}").main
    more = {
        "record": (
            *(options.dataset, options.preset, options.latent_dim),
            *(options.elbo, options.evidence, options.objective),
        ),
        "inference": (options.plot,),
        "classroom": (options.visitors, options.repeats, options.servers, options.phones),
        "opening": (options.folder,),
        "wild": (options.folder, options.verbose, options.wider),
    }
    main(options.json, *more.get(options.what, ()))
