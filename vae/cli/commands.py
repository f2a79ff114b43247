"""All commands: what they share in their help, and how each ends."""

import os
import sys
import traceback

from vae.cli import bench, common, data, evaluate, runs, train
from vae.errors import UserError
from vae.training.distributed import PeerLost


def parser() -> common.Parser:
    """Of all commands."""
    commands = common.Commands()
    for group in (train, evaluate, runs, data, bench):
        group.add(commands)
    return commands.parser


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit code: 0; 1 if it broke off, by a fault of ours or of the training; 2 for bad input;
        130 if it was stopped.
    """
    options = parser().parse_args(arguments)
    try:
        try:
            options.command(options)
            with common.writing("standard output"):
                sys.stdout.flush()
        except UserError as error:
            return _refused(error)
    except KeyboardInterrupt as error:
        if isinstance(error.__context__, PeerLost):  # torchrun was quicker than the sentence
            return _refused(error.__context__)
        # Ctrl-C reaches every process; torchrun ends those whose peer is gone, perhaps the first.
        common.say("stopped", up_to_rank=1 if isinstance(error, train.Terminated) else 0)
        return 130
    except BrokenPipeError:  # as in `python -m vae list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception:
        traceback.print_exc()
        common.say("something went wrong in ELBO Room itself, not in what you asked for; see above")
        return 1
    return 0


def _refused(error: UserError) -> int:
    # After a lost peer it may be the first process that is gone.
    common.say(error, up_to_rank=1 if isinstance(error, PeerLost) else 0)
    return error.exit_code
