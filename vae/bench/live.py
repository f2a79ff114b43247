"""What a dragging hand sees: the live panel in a real Chromium, driven by its mouse.

Beside it, in the same run: the server-side slider of the same model, and the bare decode in torch
on one thread. Chromium is headless and has no graphics card, so the chart is drawn in software.
"""

import asyncio
import contextlib
import importlib.util
import json
import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vae.analysis.embedding import Embedding
from vae.config import SERIES, VECTOR, ModelConfig, TrainConfig
from vae.core import gaussian
from vae.core.model import VAE
from vae.errors import UserError
from vae.features import Feature
from vae.runs import checkpoint
from vae.runs.checkpoint import Run

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 3.0  # of dragging, and of hovering
POINTS = (10_000, 70_000)
MOVES_PER_S = 125  # a common mouse
_RELEASES = 5  # of the server's slider
# Networks that do not ship: what they cost does not depend on what they have learnt.
_UNTRAINED = {
    "conv 28x28": ModelConfig((1, 28, 28), family="conv", hidden=(32, 64)),
    "conv 64x64x3": ModelConfig((3, 64, 64), family="conv", hidden=(32, 64, 128)),
    "conv 128x128x3": ModelConfig((3, 128, 128), family="conv", hidden=(32, 64, 128, 256, 512)),
    "500 features": ModelConfig(
        (1, 1, 500),
        likelihood="mixed",
        kind=VECTOR,
        features=tuple(Feature(f"feature {i}") for i in range(500)),
    ),
    "series of 1000": ModelConfig(
        (1, 1, 1000),
        family="conv",
        hidden=(32, 64, 64),
        likelihood="gaussian",
        kind=SERIES,
        features=(Feature("x"),),
    ),
}
CHROMIUM_OPTIONS = [
    "--no-sandbox",  # containers, and CI as root
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--disable-background-networking",
]
# The server's own sliders, as the Explore page shows them for a model that no browser can run.
_SLIDERS = """
import streamlit as st
from vae.runs import checkpoint
from vae.ui import projection, sliders
from vae.ui.view import View

st.set_page_config(layout="wide")
run = checkpoint.open_run(st.query_params["path"])
embedding = run.load_embedding()
model = run.load_model().requires_grad_(False)
view = View(run, model, embedding, None, "", weights=run.path, data=embedding.dataset)
sliders.show(view, projection.choose(embedding), 0)
"""
_COLUMNS = {
    "model": "model",
    "points": "points",
    "gesture": "gesture",
    "updates_per_s": "updates/s",
    "images_per_s": "images/s",
    "decode_ms": "decode ms",
    "decode_p95_ms": "p95",
    "event_to_canvas_ms": "event to canvas ms",
    "event_to_canvas_p95_ms": "p95",
    "messages": "messages",
    "server_updates_per_s": "server updates/s",
    "server_release_to_image_ms": "server release to image ms",
    "torch_decode_ms": "torch decode ms",
    "speed_up": "server / live",
}


def main(as_json: bool) -> None:
    """Measures every shipped checkpoint and some networks that do not ship; prints a row for each.

    Raises:
        UserError: Playwright or a Chromium is missing.
    """
    check_playwright("live")
    if not as_json:
        print("  ".join(f"{title:>{_width(key)}}" for key, title in _COLUMNS.items()))

    async def measure() -> None:
        from playwright.async_api import async_playwright

        with tempfile.TemporaryDirectory() as folder:
            async with async_playwright() as playwright, open_chromium(playwright) as chromium:
                async for row in _rows(chromium, Path(folder)):
                    _print(row, as_json)

    asyncio.run(measure())


def check_playwright(what: str) -> None:
    """Raises UserError, with what to do, where `bench what` has no Playwright."""
    if importlib.util.find_spec("playwright") is None:
        raise UserError(
            f"bench {what} needs Playwright; `pip install -r tests/requirements.txt` brings it"
        )


@contextlib.asynccontextmanager
async def open_chromium(playwright: Any) -> AsyncIterator[Any]:
    """A headless Chromium. Raises UserError where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None and not Path(playwright.chromium.executable_path).exists():
        raise UserError(
            "this benchmark needs a Chromium: install Debian's chromium, or run "
            "`playwright install chromium`"
        )
    chromium = await playwright.chromium.launch(executable_path=found, args=CHROMIUM_OPTIONS)
    yield chromium
    await chromium.close()


async def _rows(chromium: Any, folder: Path) -> AsyncIterator[dict[str, Any]]:
    checkpoints, sliders = folder / "checkpoints", folder / "sliders.py"
    checkpoints.mkdir()
    sliders.write_text(_SLIDERS)
    runs = list(make_runs(checkpoints))
    with serve(ROOT / "app.py", checkpoints) as app, serve(sliders, checkpoints) as server:
        for name, n_points, run in runs:
            beside = await _server_slider(chromium, server, run)
            beside["torch_decode_ms"] = _torch_decode_ms(run.load_model())
            for gesture in ("slider", "hover"):
                row = {"model": name, "points": n_points, "gesture": gesture}
                row |= await drag(chromium, app, run, gesture) | beside
                row["speed_up"] = row["server_release_to_image_ms"] / row["event_to_canvas_ms"]
                yield row


def _print(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(row), flush=True)
        return
    cells = []
    for key in _COLUMNS:
        style = {float: ".2f", int: ",", str: ""}[type(row[key])]
        cells.append(f"{row[key]:>{_width(key)}{style}}")
    print("  ".join(cells), flush=True)


def _width(key: str) -> int:
    return max(12 if key in ("model", "points") else 0, len(_COLUMNS[key]), 7)


def make_runs(root: Path) -> Iterator[tuple[str, int, Run]]:
    """Every model with every number of points on its map, as run folders under root.

    Yields:
        Its name, the number of points, the run; what cost the same is there once.
    """
    shipped, _ = checkpoint.list_runs(ROOT / "checkpoints")
    kinds: dict[tuple[Any, ...], Run] = {}
    for run in shipped:
        kinds.setdefault((run.model_config.image_shape, run.model_config.hidden), run)
    models = [
        (run.name, run.model_config, run.train_config, run.load_model()) for run in kinds.values()
    ]
    for name, config in _UNTRAINED.items():
        models.append((name, config, TrainConfig("mnist", epochs=1), VAE(config)))
    for name, model_config, train_config, model in models:
        for n_points in POINTS:
            path = root / f"{name.replace(' ', '-')}-{n_points}"
            run = checkpoint.create(path, model_config, train_config)
            checkpoint.save_model(run, model)
            checkpoint.save_embedding(run, _scattered(n_points, model_config, train_config.dataset))
            yield name, n_points, run


def _scattered(n: int, config: ModelConfig, dataset: str) -> Embedding:
    """An embedding of n points drawn from the prior: what the chart costs is their number."""
    rng = np.random.default_rng(0)
    D = config.latent_dim
    mu = rng.normal(size=(n, D)).astype(np.float32)
    logvar = np.full((n, D), -4, dtype=np.float32)
    recon = rng.gamma(9, 10, size=n).astype(np.float32)
    kl = gaussian.kl_to_standard_normal(torch.from_numpy(mu), torch.from_numpy(logvar)).numpy()
    return Embedding(
        dataset=dataset,
        split="test",
        n_samples=16,
        seed=0,
        class_names=tuple("0123456789"),
        mu=mu,
        logvar=logvar,
        kl_per_dim=kl,
        recon=recon,
        recon_stderr=np.ones(n, dtype=np.float32),
        recon_at_mu=recon,
        labels=rng.integers(10, size=n),
    )


@contextlib.contextmanager
def serve(script: Path, checkpoints: Path, root: Path = ROOT) -> Iterator[str]:
    """A Streamlit server on loopback for as long as the block lasts; yields its address.

    Args:
        script: what it runs.
        checkpoints: the folder of the runs.
        root: of the project whose library it imports.
    """
    with serve_process(script, checkpoints, root) as (url, _):
        yield url


@contextlib.contextmanager
def serve_process(script: Path, checkpoints: Path, root: Path = ROOT) -> Iterator[tuple[str, int]]:
    """The same; yields its process id, too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}"),
            *("--server.address=127.0.0.1", "--server.headless=true"),
        ],
        cwd=root,
        env={**os.environ, "VAE_CHECKPOINTS": str(checkpoints), "PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=5).close()
                break
            time.sleep(0.2)
        else:
            raise UserError(f"`streamlit run {script.name}` did not start within a minute")
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


async def drag(chromium: Any, url: str, run: Run, gesture: str) -> dict[str, Any]:
    """Drags or hovers for SECONDS, and asks the panel what it did meanwhile."""
    page = await chromium.new_page(viewport={"width": 1440, "height": 900})
    sent: list[Any] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    await page.goto(f"{url}/?run={run.name}")
    await page.wait_for_function(
        "() => globalThis.elboRoom?.panel.isOpen() && elboRoom.panel.map.plot",
        timeout=120_000,
    )
    await page.wait_for_timeout(3000)
    if gesture == "slider":
        box = await page.locator(".live .rows input[type=range]").first.bounding_box()
        reach = (0.4 * box["width"], 0.0)
    else:
        box = await page.locator(".st-key-map .nsewdrag").first.bounding_box()
        reach = (0.35 * box["width"], 0.35 * box["height"])
    centre = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await page.mouse.move(*centre)
    if gesture == "slider":
        await page.mouse.down()
    await page.wait_for_timeout(500)
    before = len(sent)
    await page.evaluate(
        """() => Object.assign(elboRoom.panel.frames.stats,
                               {on: true, updates: 0, images: 0, decode: [], toCanvas: []})"""
    )
    seconds = await _move(page, centre, reach, SECONDS)
    stats = await page.evaluate("() => ({...elboRoom.panel.frames.stats})")
    messages = len(sent) - before
    await page.close()
    return {
        "updates_per_s": stats["updates"] / seconds,
        # A worker's come when they are ready, behind what follows the hand.
        "images_per_s": min(stats["images"], stats["updates"]) / seconds,
        "decode_ms": statistics.median(stats["decode"]),
        "decode_p95_ms": float(np.percentile(stats["decode"], 95)),
        "event_to_canvas_ms": statistics.median(stats["toCanvas"]),
        "event_to_canvas_p95_ms": float(np.percentile(stats["toCanvas"], 95)),
        "messages": messages,
    }


async def _move(page: Any, centre: Any, reach: Any, seconds: float) -> float:
    """Moves the mouse to and fro, as often as a common mouse tells; returns the seconds taken.

    A move is sent when it is due, not when the last one was answered: the browser answers once a
    frame, and a hand does not wait for it.
    """
    moves = []
    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        angle = 2 * math.pi * passed
        x, y = centre[0] + reach[0] * math.sin(angle), centre[1] + reach[1] * math.sin(1.7 * angle)
        moves.append(asyncio.create_task(page.mouse.move(x, y)))
        await asyncio.sleep(max(0.0, len(moves) / MOVES_PER_S - (time.perf_counter() - start)))
    await asyncio.gather(*moves)
    return time.perf_counter() - start


async def _server_slider(chromium: Any, url: str, run: Run) -> dict[str, float]:
    """The same drag on Streamlit's slider: images while dragging, and from release to the image."""
    page = await chromium.new_page(viewport={"width": 1440, "height": 900})
    await page.goto(f"{url}/?path={run.path}")
    thumb = page.get_by_test_id("stSlider").first.get_by_test_id("stSliderThumbValue")
    await thumb.wait_for(timeout=60_000)
    await page.get_by_test_id("stImage").first.wait_for(timeout=60_000)
    await page.wait_for_timeout(1500)
    await page.evaluate(
        """() => {
            globalThis.loads = [];
            document.addEventListener("load", (e) => {
                if (e.target.tagName === "IMG") loads.push(performance.now());
            }, true);
            const release = () => { globalThis.released = performance.now(); };
            document.addEventListener("pointerup", release, true);
        }"""
    )
    waits, dragged = [], 0
    for turn in range(_RELEASES):
        box = await thumb.bounding_box()  # the number stands right above the handle
        centre = (box["x"] + box["width"] / 2, box["y"] + box["height"] + 8)
        await page.mouse.move(*centre)
        await page.mouse.down()
        await page.evaluate("() => { loads.length = 0; }")
        await _move(page, centre, (40, 0), SECONDS / _RELEASES)
        await page.mouse.move(centre[0] + (15 + 5 * turn) * (-1) ** turn, centre[1])
        dragged += await page.evaluate("() => loads.length")
        await page.mouse.up()
        await page.wait_for_function("() => loads.some(t => t > released)", timeout=60_000)
        waits.append(await page.evaluate("() => loads.find(t => t > released) - released"))
        await page.wait_for_timeout(700)
    await page.close()
    return {
        "server_updates_per_s": dragged / SECONDS,
        "server_release_to_image_ms": statistics.median(waits),
    }


@torch.no_grad()
def _torch_decode_ms(model: VAE) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    z = torch.randn(1, model.config.latent_dim, generator=torch.Generator().manual_seed(0))
    times = []
    for _ in range(300):
        start = time.perf_counter()
        model.decode_mean(z)
        times.append(1000 * (time.perf_counter() - start))
    torch.set_num_threads(threads)
    return statistics.median(times[50:])
