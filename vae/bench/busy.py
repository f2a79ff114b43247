"""Whether the app stays usable while it trains on the same processors: everything twice, first
alone, then beside a training that the Train page's own queue has started.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from vae.bench import live
from vae.config import ModelConfig, TrainConfig
from vae.data import catalogue
from vae.errors import UserError
from vae.runs import job, queue
from vae.runs.checkpoint import Run
from vae.runs.status import read_status, request_stop
from vae.training import presets
from vae.training.device import choose_device, fastest_precision

_SWITCHES = 6  # of pages
_STOP_S = 60.0  # a training that was asked to stop has so long
# What is on a page once it is there: the panel draws, the table has its rows.
_EXPLORE = "() => globalThis.elboRoom?.panel.scene.model && elboRoom.panel.map.plot?.isConnected"
_POINTS = "() => document.querySelector('[data-testid=stDataFrame] canvas')"


def main(as_json: bool) -> None:
    """Prints one row alone and one beside a training.

    Args:
        as_json: one JSON object a row instead of sentences.

    Raises:
        UserError: Playwright or a Chromium is missing.
    """
    live.check_playwright("busy")

    async def measure() -> None:
        from playwright.async_api import async_playwright

        with tempfile.TemporaryDirectory() as folder:
            async with async_playwright() as playwright, live.open_chromium(playwright) as chromium:
                async for row in _rows(chromium, Path(folder)):
                    print(json.dumps(row) if as_json else _sentence(row), flush=True)

    asyncio.run(measure())


async def _rows(chromium: Any, folder: Path) -> AsyncIterator[dict[str, Any]]:
    _, _, run = next(live.make_runs(folder))
    with live.serve(live.ROOT / "app.py", folder) as url:
        yield {"beside": "nothing"} | await _measure(chromium, url, run)
        training = _begin(folder)
        try:
            row = await _measure(chromium, url, run)
            rows = training.load_metrics()
            speed = statistics.median(r["images_per_s"] for r in rows) if rows else None
            yield {"beside": "a training"} | row | {"training_images_per_s": speed}
        finally:
            _end(training)


def _begin(folder: Path) -> Run:
    """A training of the preset `best`, under way."""
    name = "mnist" if catalogue.describe("mnist").is_here("train") else "sprites"
    source = catalogue.describe(name)
    model, train = presets.preset("best", source.n_train)
    if train["precision"] == "auto":
        train["precision"] = fastest_precision(choose_device("cpu"))
    run = job.create(
        folder / "training",
        ModelConfig(source.image_shape, **model),
        TrainConfig(name, **train),
    )
    queue.start_worker(folder)
    while not read_status(run.path).step:
        if problem := queue.worker_problem(folder):
            raise UserError(f"the training did not begin: {problem}")
        time.sleep(0.2)
    return run


def _end(run: Run) -> None:
    request_stop(run.path)
    deadline = time.monotonic() + _STOP_S
    while read_status(run.path).state == "running" and time.monotonic() < deadline:
        time.sleep(0.2)


async def _measure(chromium: Any, url: str, run: Run) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for gesture in ("slider", "hover"):
        stats = await live.drag(chromium, url, run, gesture)
        found[f"{gesture}_updates_per_s"] = stats["updates_per_s"]
        found[f"{gesture}_event_to_canvas_p95_ms"] = stats["event_to_canvas_p95_ms"]
    found["page_switch_s"] = await _switch_pages(chromium, url, run)
    return found


async def _switch_pages(chromium: Any, url: str, run: Run) -> list[float]:
    """Seconds from the click on a page's name to the page, there and back, ascending."""
    page = await chromium.new_page(viewport={"width": 1440, "height": 900})
    await page.goto(f"{url}/?run={run.name}")
    await page.wait_for_function(_EXPLORE, timeout=120_000)
    seconds = []
    for turn in range(_SWITCHES):
        name, there = (("Points", _POINTS), ("Explore", _EXPLORE))[turn % 2]
        await page.wait_for_timeout(1500)
        await page.evaluate("() => { delete globalThis.elboRoom; }")
        started = time.perf_counter()
        await page.get_by_role("link", name=name, exact=True).first.click()
        await page.wait_for_function(there, timeout=120_000)
        seconds.append(time.perf_counter() - started)
    await page.close()
    return sorted(seconds)


def _sentence(row: dict[str, Any]) -> str:
    switches = ", ".join(f"{s:.2f}" for s in row["page_switch_s"])
    text = (
        f"beside {row['beside']}: slider {row['slider_updates_per_s']:.1f} updates/s (event to "
        f"canvas p95 {row['slider_event_to_canvas_p95_ms']:.1f} ms), hover "
        f"{row['hover_updates_per_s']:.1f} (p95 {row['hover_event_to_canvas_p95_ms']:.1f} ms); "
        f"page switches {switches} s"
    )
    if row.get("training_images_per_s"):
        text += f"; it trained on {row['training_images_per_s']:,.0f} images/s meanwhile"
    return text
