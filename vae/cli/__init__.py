"""The command line: python -m vae COMMAND."""

from vae.cli.commands import main

__all__ = ["main"]
