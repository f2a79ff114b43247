"""The app in a real Chromium, served on loopback."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_OPTIONS = [
    "--no-sandbox",  # containers, and CI as root
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--disable-background-networking",
]
expect.set_options(timeout=30_000)  # a loaded machine with two cores


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
        if found is None and not own.exists():
            problem = "no Chromium: install Debian's chromium, or run `playwright install chromium`"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(problem)
        chromium = playwright.chromium.launch(executable_path=found, args=CHROMIUM_OPTIONS)
        yield chromium
        chromium.close()


class Server:
    """`streamlit run app.py` with checkpoints of its own."""

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints
        self._start()

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = {"port": port, "address": "127.0.0.1", "headless": "true"}
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py"]
            + [f"--server.{name}={value}" for name, value in options.items()],
            cwd=ROOT,
            env={**os.environ, "VAE_CHECKPOINTS": str(self.checkpoints)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError("the server did not start")

    def restart(self) -> None:
        """A cold server: nobody has opened any page of it."""
        self.stop()
        self._start()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A server with the checkpoints that ship, in a folder that tests may add to."""
    checkpoints = tmp_path_factory.mktemp("served") / "checkpoints"
    for name in ("digits-2d", "sprites-2d"):
        shutil.copytree(ROOT / "checkpoints" / name, checkpoints / name)
    running = Server(checkpoints)
    yield running
    running.stop()


@pytest.fixture
def new_page(browser, server) -> Iterator[Callable[..., Page]]:
    """new_page(path) opens a tab; at the end no page may have failed or asked another server."""
    contexts, problems = [], []

    def opened(path: str = "/", **options) -> Page:
        context = browser.new_context(viewport={"width": 1440, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((server.url, "data:", "blob:"))
                else problems.append(f"asked {request.url}")
            ),
        )
        page.goto(server.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not problems


class Map:
    """The latent map as a hand meets it."""

    def __init__(self, page: Page, key: str = "map") -> None:
        self.page = page
        # While a fragment is polled the page can hold the last picture beside the new one.
        self.plot = page.locator(f".st-key-{key} .js-plotly-plot").last
        expect(self.plot).to_be_visible()
        page.wait_for_function(
            "key => document.querySelector(`.st-key-${key} .js-plotly-plot`)?._fullLayout?.xaxis",
            arg=key,
        )
        settled(page)
        # Fonts and colour bars move the axes after the first drawing; a hand waits for that too.
        before = None
        while (now := self._layout()) != before:
            before = now
            page.wait_for_timeout(400)

    def _layout(self) -> list[float]:
        return self.plot.evaluate(
            """plot => {
                const {x, y, width, height} = plot.getBoundingClientRect();
                const {xaxis, yaxis} = plot._fullLayout;
                return [x, y, width, height, ...xaxis.range, ...yaxis.range,
                        xaxis._offset, yaxis._offset];
            }"""
        )

    def place(self, index: int) -> tuple[float, float]:
        """Where the point of that index is on the screen, in pixels."""
        return tuple(
            self.plot.evaluate(
                """(plot, index) => {
                    for (const trace of plot._fullData) {
                        const at = Array.from(trace.customdata ?? []).indexOf(index);
                        if (at < 0) continue;
                        const box = plot.getBoundingClientRect();
                        const {xaxis, yaxis} = plot._fullLayout;
                        return [box.left + xaxis._offset + xaxis.d2p(trace.x[at]),
                                box.top + yaxis._offset + yaxis.d2p(trace.y[at])];
                    }
                }""",
                index,
            )
        )

    def click(self, index: int) -> None:
        """A click on the point of that index."""
        x, y = self.place(index)
        self.page.mouse.move(x - 30, y - 30)
        self.page.mouse.move(x, y, steps=3)
        expect(self.plot.locator(".hoverlayer .hovertext")).to_be_visible()
        self.page.wait_for_timeout(250)  # plotly looks under the pointer a few times a second
        self.page.mouse.click(x, y)


def settled(page: Page) -> None:
    """Waits until the server has answered everything that was asked of it."""
    page.wait_for_timeout(150)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def picture(page: Page, caption: str) -> bytes:
    """The pixels of the image with that caption, as the browser shows it."""
    exactly = re.compile(f"^{re.escape(caption)}$")
    return page.get_by_test_id("stImage").filter(has_text=exactly).locator("img").screenshot()
