"""The app as a process on loopback, and the Chromium that visits it."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Playwright

from vae.bench.live import CHROMIUM_OPTIONS

ROOT = Path(__file__).resolve().parents[2]
LAPTOP = {"width": 1440, "height": 900}
# How long anything is waited for. How fast it is on a loaded machine is not what is tested.
PATIENCE_S = 120


def open_chromium(playwright: Playwright) -> Browser:
    """The system's Chromium, or playwright's own.

    Raises:
        FileNotFoundError: neither is installed; the message says how to get one.
    """
    own = Path(playwright.chromium.executable_path)
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if path is None and not own.exists():
        raise FileNotFoundError(
            "no Chromium: install Debian's chromium, or run `playwright install chromium`"
        )
    return playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)


def new_window(browser: Browser, **options) -> BrowserContext:
    """A window as large as a laptop's, unless `options` say otherwise."""
    window = browser.new_context(**{"viewport": LAPTOP, **options})
    window.set_default_timeout(1000 * PATIENCE_S)
    return window


class Server:
    """`streamlit run app.py`, as by serve.py, with checkpoints of its own.

    Args:
        checkpoints: the folder of the runs; the log is written beside it.
        script: in this folder, what stands for `streamlit`.
        data: the folder of the data sets, if not that of this process.
    """

    def __init__(
        self,
        checkpoints: Path,
        script: str = "serve.py",
        data: Path | None = None,
    ) -> None:
        self.checkpoints, self.data = checkpoints, data
        self._script = Path(__file__).with_name(script)
        self._log = checkpoints.parent / "server.log"
        self._start()

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folders = {"VAE_CHECKPOINTS": self.checkpoints, "VAE_DATA": self.data}
        options = {"port": port, "address": "127.0.0.1", "headless": "true"}
        self.url = f"http://127.0.0.1:{port}"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, self._script, "run", "app.py"]
                + [f"--server.{name}={value}" for name, value in options.items()],
                cwd=ROOT,
                env={**os.environ, **{name: str(path) for name, path in folders.items() if path}},
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the server did not start")

    def restart(self) -> None:
        """A cold server: nobody has opened any page of it."""
        self.stop()
        self._start()

    @contextmanager
    def held(self) -> Iterator[Callable[[], None]]:
        """No page's run ends meanwhile; yields what waits until one is held at its end."""
        hold, held = (self.checkpoints.with_name(name) for name in ("hold", "held"))

        def wait() -> None:
            end = time.monotonic() + PATIENCE_S
            while not held.exists():
                assert time.monotonic() < end, "no page's run came to its end"
                time.sleep(0.02)

        held.unlink(missing_ok=True)
        hold.touch()
        try:
            yield wait
        finally:
            hold.unlink()

    def take_problems(self) -> str:
        """What the server has written of exceptions since this was last asked."""
        log = self._log.read_text("utf-8", "replace")
        self._log.write_bytes(b"")  # the server appends
        return log if "Traceback" in log else ""

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
