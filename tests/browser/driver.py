"""What a hand does in a tab: the map, the live panel, the mouse, and waiting for the server."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
from browser.server import PATIENCE_S
from pages.answers import stated
from playwright.sync_api import Locator, Page, expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from vae.analysis.embedding import Embedding
from vae.core.model import VAE

expect.set_options(timeout=1000 * PATIENCE_S)

TSNE, UMAP_LIKE = "t-SNE, a layout", "UMAP-like, a layout"
EMPTY = (-2.0, 2.5)  # a place on the map of the digits with no point near it
NO_WEBGL = """
    const made = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
        return kind.includes("webgl") ? null : made.call(this, kind, ...more);
    };
"""

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
        while self._layout(200) != self._layout(0):
            pass  # the chart was made anew meanwhile

    def _layout(self, still_ms: int) -> list[float]:
        """Where the chart is and what its axes show, once that has not changed for so long."""
        return self.plot.evaluate(
            """(plot, still) => new Promise((done) => {
                let before, since, frames;
                const look = (now) => {
                    const {x, y, width, height} = plot.getBoundingClientRect();
                    const {xaxis, yaxis} = plot._fullLayout;
                    const layout = [x, y, width, height, ...xaxis.range, ...yaxis.range,
                                    xaxis._offset, yaxis._offset];
                    if (String(layout) !== before) {
                        [before, since, frames] = [String(layout), now, 0];
                    } else if (now - since >= still && ++frames > still / 40) {
                        done(layout);
                        return;
                    }
                    requestAnimationFrame(look);
                };
                requestAnimationFrame(look);
            })""",
            still_ms,
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

    def lasso(self, corner: tuple[float, float], opposite: tuple[float, float]) -> None:
        """Draws a rectangle between two places on the screen; its tool is chosen already."""
        (left, top), (right, bottom) = corner, opposite
        self.page.mouse.move(left, top)
        self.page.mouse.down()
        for at in ((right, top), (right, bottom), (left, bottom), (left, top)):
            self.page.mouse.move(*at, steps=6)
        self.page.mouse.up()

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
        self.page.wait_for_function("elboRoom.panel.isAtRest")

    @property
    def q(self) -> dict[str, list[float]]:
        return self.page.evaluate(
            "(({mu, sigma}) => ({mu: [...mu], sigma: [...sigma]}))(elboRoom.panel.selection.q)"
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
        rows = self.page.locator("table.bound").evaluate(  # at once: the next draw replaces them
            """table => [...table.rows].slice(1)
                .map((row) => [...row.cells].slice(0, 4).map((cell) => cell.textContent))"""
        )
        return {name: [float(cell.split(" ±")[0]) for cell in cells] for name, *cells in rows}


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


class Wire:
    """What goes between a tab and the server, and so whether the tab waits for a run of its page.

    `sent` and `received` are the lengths of the messages, in bytes.
    """

    of: ClassVar[WeakKeyDictionary[Page, Self]] = WeakKeyDictionary()

    def __init__(self, page: Page) -> None:
        self.of[page] = self
        self.is_awaited = False
        self.sent: list[int] = []
        self.received: list[int] = []
        page.on("websocket", self._listen)

    @classmethod
    def forget(cls, page: Page) -> None:
        """The tab goes to another test."""
        page.remove_listener("websocket", cls.of.pop(page)._listen)

    def _listen(self, socket) -> None:
        self.is_awaited = True  # the first run is asked for by coming
        socket.on("framesent", self._sent)
        socket.on("framereceived", self._received)

    def _sent(self, message: bytes) -> None:
        self.sent.append(len(message))
        if BackMsg.FromString(message).WhichOneof("type") == "rerun_script":
            self.is_awaited = True

    def _received(self, message: bytes) -> None:
        self.received.append(len(message))
        if len(message) > 100_000:  # a picture, or a model's weights
            return
        told = ForwardMsg.FromString(message)
        if told.WhichOneof("type") == "new_session":
            self.is_awaited = True
        elif told.WhichOneof("type") == "script_finished":
            self.is_awaited = told.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN


def stated_on(page: Page) -> list[float]:
    """recon, KL and -ELBO of the chosen point, as Explore states them."""
    return stated(page.locator(".st-key-heading").inner_text())


def put(page: Page, *paths: Path) -> None:
    """Gives files to "Open a file"."""
    page.get_by_role("button", name="Open a file").click()
    page.get_by_test_id("stPopoverBody").locator("input[type=file]").first.set_input_files(paths)


def settled(page: Page) -> None:
    """Waits until the server has answered everything that was asked of it."""
    page.wait_for_timeout(100)
    # What the hand did has then come through the browser, however busy it is.
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)))")
    end = time.monotonic() + PATIENCE_S
    while page in Wire.of and Wire.of[page].is_awaited:
        assert time.monotonic() < end, "the server does not answer"
        page.wait_for_timeout(20)
    page.wait_for_timeout(30)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def choose_axes(page: Page, axes: str) -> None:
    page.get_by_role("combobox", name="Axes").click()
    page.get_by_role("option", name=axes, exact=True).click()


def laid_out(page: Page) -> Map:
    """The map, once it is a layout."""
    page.wait_for_function("globalThis.elboRoom?.panel.scene.plane === null")
    expect(page.get_by_text("no place on it can be decoded")).to_be_visible()
    page.wait_for_function("elboRoom.panel.map.plot?._fullLayout.shapes.length === 0")
    return Map(page)


def ring(page: Page) -> list[tuple[float, float]]:
    """A zero on the pad, taller than it is wide."""
    box = page.locator("canvas.pad").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    turns = np.linspace(0, 2 * np.pi, 25)
    return [
        (x + 0.17 * box["width"] * np.sin(a), y - 0.27 * box["height"] * np.cos(a)) for a in turns
    ]


def decoded(model: VAE, z: list[float]) -> np.ndarray:
    """What a canvas should show of a latent point: (H, W) from 0 to 255."""
    with torch.no_grad():
        return 255 * model.decode_mean(torch.tensor(z, dtype=torch.float32))[0].numpy()


def is_of(embedding: Embedding, index: int) -> dict[str, object]:
    """The q of a data point, to compare a panel's with."""
    return {
        "mu": pytest.approx(embedding.mu[index].tolist(), abs=1e-6),
        "sigma": pytest.approx(embedding.sigma[index].tolist(), rel=1e-5),
    }


def count_redraws(plot: Map) -> Callable[[], int]:
    plot.plot.evaluate(
        "plot => { plot.redrawn = 0; plot.on('plotly_afterplot', () => plot.redrawn++) }"
    )
    return lambda: plot.plot.evaluate("plot => plot.redrawn")
