"""The app in a real Chromium, served on loopback."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self
from weakref import WeakKeyDictionary

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from vae.embedding import Embedding
from vae.model import VAE

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


# Where the point of an index is on the screen, asked of a plot.
PLACE = """(plot, index) => {
    for (const trace of plot._fullData) {
        const at = Array.from(trace.customdata ?? []).indexOf(index);
        if (at < 0) continue;
        const box = plot.getBoundingClientRect();
        const {xaxis, yaxis} = plot._fullLayout;
        return [box.left + xaxis._offset + xaxis.d2p(trace.x[at]),
                box.top + yaxis._offset + yaxis.d2p(trace.y[at])];
    }
}"""


@pytest.fixture(scope="module")
def model(run) -> VAE:
    """Of the `run` that the test file names."""
    return run.load_model()


@pytest.fixture(scope="module")
def embedding(run) -> Embedding:
    """Of the `run` that the test file names."""
    return run.load_embedding()


class Server:
    """`streamlit run app.py` with checkpoints of its own; `python` names what runs it."""

    def __init__(self, checkpoints: Path, python: Sequence[str] = ("-m", "streamlit")) -> None:
        self.checkpoints = checkpoints
        self._python = python
        self._log = checkpoints.parent / "server.log"
        self._start()

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = {"port": port, "address": "127.0.0.1", "headless": "true"}
        self.url = f"http://127.0.0.1:{port}"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._python, "run", "app.py"]
                + [f"--server.{name}={value}" for name, value in options.items()],
                cwd=ROOT,
                env={**os.environ, "VAE_CHECKPOINTS": str(self.checkpoints)},
                stdout=log,
                stderr=log,
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

    def take_problems(self) -> str:
        """What the server has written of exceptions since this was last asked."""
        log = self._log.read_text("utf-8", "replace")
        self._log.write_bytes(b"")  # the server appends
        return log if "Traceback" in log else ""

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
    """new_page(path) opens a tab; at the end no page may have failed or asked another server.

    Nor may the server have met an exception.

    `before` is given the empty tab; other options go to the browser's context.
    """
    contexts, problems = [], []

    def opened(
        path: str = "/", before: Callable[[Page], object] = lambda page: None, **options
    ) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        Runs(page)
        before(page)
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
    if told := server.take_problems():
        pytest.fail(told)
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
        self.rest()

    def rest(self) -> None:
        """Waits until the axes stay where they are; a hand does, too.

        Fonts and colour bars move them after the first drawing, and a wheel for a while.
        """
        before = None
        while (now := self._layout()) != before:
            before = now
            self.page.wait_for_timeout(400)

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
        return tuple(self.plot.evaluate(PLACE, index))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where on the screen the place (x, y) of the axes is, in the whole pixels of a mouse."""
        return tuple(
            self.plot.evaluate(
                """(plot, [x, y]) => {
                    const box = plot.getBoundingClientRect();
                    const {xaxis, yaxis} = plot._fullLayout;
                    return [box.left + xaxis._offset + xaxis.d2p(x),
                            box.top + yaxis._offset + yaxis.d2p(y)].map(Math.round);
                }""",
                [x, y],
            )
        )

    def z(self, left: float, top: float) -> tuple[float, float]:
        """What the axes say of a place on the screen."""
        return tuple(
            self.plot.evaluate(
                """(plot, [left, top]) => {
                    const box = plot.getBoundingClientRect();
                    const {xaxis, yaxis} = plot._fullLayout;
                    return [xaxis.p2d(left - box.left - xaxis._offset),
                            yaxis.p2d(top - box.top - yaxis._offset)];
                }""",
                [left, top],
            )
        )

    def ranges(self) -> list[float]:
        """What the axes show: the least x and the most, the least y and the most."""
        return self.plot.evaluate(
            "plot => [...plot._fullLayout.xaxis.range, ...plot._fullLayout.yaxis.range]"
        )

    def click(self, index: int) -> None:
        """A click on the point of that index."""
        expect(self.plot.locator(".elbo-map")).to_be_attached()
        self.page.mouse.click(*self.place(index))


class Panel:
    """The live panel as a hand meets it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        expect(page.locator("canvas.mean")).to_be_visible()
        page.wait_for_function("elboRoom.panel.map.plot")  # it has found the chart
        self.rest()

    def rest(self) -> None:
        """Waits until nothing is left to be drawn."""
        self.page.wait_for_function(
            """() => {
                const {frame, dirty, own, encoders, bests, map} = elboRoom.panel;
                return !frame && !dirty.size && !map.missing?.length
                    && ![own, encoders, bests].some((estimate) => estimate.left);
            }"""
        )

    @property
    def q(self) -> dict[str, list[float]]:
        return self.page.evaluate(
            "() => ({mu: [...elboRoom.panel.q.mu], sigma: [...elboRoom.panel.q.sigma]})"
        )

    def text_in_link(self, text: str) -> None:
        """Waits until the address bar has the text."""
        self.page.wait_for_function("text => location.search.includes(text)", arg=text)
        settled(self.page)

    def canvas(self, name: str) -> str:
        """The pixels of the canvas of that class, as something to compare."""
        return self.page.locator(f"canvas.{name}").evaluate("canvas => canvas.toDataURL()")

    def image(self, selector: str, H: int = 8, W: int = 8) -> np.ndarray:
        """The image that a canvas shows, (H, W) from 0 to 255: the middle of each square."""
        return np.array(
            self.page.locator(selector).evaluate(
                """(canvas, [H, W]) => {
                    const {width, height} = canvas;
                    const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
                    const at = (i, n, length) => Math.floor((i + 0.5) * length / n);
                    return Array.from({length: H}, (_, i) => Array.from({length: W}, (_, j) =>
                        data[4 * (at(i, H, height) * width + at(j, W, width))]));
                }""",
                [H, W],
            )
        )

    def slider(self, name: str) -> Locator:
        return self.page.get_by_label(name, exact=True)

    def field(self, name: str) -> Locator:
        return self.page.get_by_label(f"{name}, as a number")

    def button(self, name: str) -> Locator:
        return self.page.locator(".live").get_by_role("button", name=name, exact=True)

    def thumb(self, name: str) -> tuple[float, float]:
        """Where a slider is to be taken hold of."""
        return tuple(
            self.slider(name).evaluate(
                """range => {
                    const {left, top, width, height} = range.getBoundingClientRect();
                    const share = (range.value - range.min) / (range.max - range.min);
                    return [left + 8 + share * (width - 16), top + height / 2];
                }"""
            )
        )

    def handle(self, name: str) -> Locator:
        """On the map: "mu", "sigma x" or "sigma y"."""
        return self.page.locator(f".elbo-handle[data-handle='{name}']")

    def kl(self) -> tuple[list[float], float]:
        """KL as shown: of each dimension, and their sum."""
        each = self.page.locator(".rows .kl output").all_text_contents()
        return [float(value) for value in each], float(
            self.page.locator("output.sum").text_content().removesuffix(" nats")
        )

    def bound(self) -> dict[str, list[float]]:
        """recon, KL and -ELBO of each row of the table, by the row's name."""
        self.rest()
        rows = [
            row.locator("th, td").all_text_contents()
            for row in self.page.locator("table.bound tr").all()[1:]
        ]
        return {name: [float(cell.split(" ±")[0]) for cell in cells] for name, *cells in rows}


class Wire:
    """What goes between a tab and the server; made before the tab is opened."""

    def __init__(self, page: Page) -> None:
        self.sent: list[int] = []  # bytes of each message
        self.received: list[int] = []
        page.on("websocket", self._listen)

    def _listen(self, socket) -> None:
        socket.on("framesent", lambda message: self.sent.append(len(message)))
        socket.on("framereceived", lambda message: self.received.append(len(message)))


@contextmanager
def dragged(
    page: Page, start: tuple[float, float], by: tuple[float, float], steps: int = 6
) -> Iterator[None]:
    """The mouse holds what was at `start` and has moved it; at the end it lets go."""
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0], start[1] + by[1], steps=steps)
    yield
    page.mouse.up()


def middle(place: Locator) -> tuple[float, float]:
    """The middle of something on the screen, in whole pixels."""
    box = place.bounding_box()
    return round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)


class Runs:
    """Whether a tab waits for the server to run its page, by what goes between them."""

    of: ClassVar[WeakKeyDictionary[Page, Self]] = WeakKeyDictionary()

    def __init__(self, page: Page) -> None:
        self.of[page] = self
        self.is_awaited = False
        page.on("websocket", self._listen)

    def _listen(self, socket) -> None:
        self.is_awaited = True  # the first run is asked for by coming
        socket.on("framesent", self._sent)
        socket.on("framereceived", self._received)

    def _sent(self, message: bytes) -> None:
        if BackMsg.FromString(message).WhichOneof("type") == "rerun_script":
            self.is_awaited = True

    def _received(self, message: bytes) -> None:
        if len(message) > 100_000:  # a picture, or a model's weights
            return
        told = ForwardMsg.FromString(message)
        if told.WhichOneof("type") == "new_session":
            self.is_awaited = True
        elif told.WhichOneof("type") == "script_finished":
            self.is_awaited = told.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN


def settled(page: Page) -> None:
    """Waits until the server has answered everything that was asked of it."""
    page.wait_for_timeout(100)
    # What the hand did has then come through the browser, however busy it is.
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)))")
    end = time.monotonic() + 60
    while page in Runs.of and Runs.of[page].is_awaited:
        assert time.monotonic() < end, "the server has not answered for a minute"
        page.wait_for_timeout(20)
    page.wait_for_timeout(30)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
