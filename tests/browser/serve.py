"""`streamlit`, whose work in the background is as urgent as its pages.

Elsewhere a training and a layout let every other process go first: beside other tests, for minutes.
And a test can hold the runs of pages at their end; see `Server.held`.
"""

import os
import subprocess
import sys
import time
import types
from pathlib import Path

from streamlit.web import cli

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vae.formats import gate
from vae.runs import queue
from vae.ui import collector
from vae.ui.results import lines

HOLD, HELD = (Path(os.environ["VAE_CHECKPOINTS"]).with_name(name) for name in ("hold", "held"))


def start(command: list[str], **options) -> subprocess.Popen:
    return subprocess.Popen([part for part in command if part != "--background"], **options)


collect = collector.collect


def collect_once_let_go() -> None:
    """The last thing that a page's run does."""
    while HOLD.exists():
        HELD.touch()
        time.sleep(0.01)
    collect()


collector.collect = collect_once_let_go
queue.subprocess = types.SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL)
gate.SECONDS = 4.0  # as in the other tests
lines._NICENESS = dict.fromkeys(lines.LINES, 0)

if __name__ == "__main__":
    cli.main()
