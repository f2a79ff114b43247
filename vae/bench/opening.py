"""How long it takes from opening the root to a map that answers the pointer.

Cold: the first visit to a server that was just started. Warm: the next visitors. Beside both, in
the same run: a page that says one word, on a server of its own, which is what Streamlit and the
browser cost; and, if asked for, another version of this project.
"""

import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from vae.bench import live
from vae.errors import UserError

_REPEATS = 5  # of each kind of visit
_LONGEST_S = 120.0
_WORD = "import streamlit as st\n\nst.write('ready')\n"


def main(as_json: bool, other: Path | None = None) -> None:
    """Prints the medians of each kind of visit.

    Args:
        as_json: one JSON object a row instead of sentences.
        other: the folder of another version of this project, measured in turns with this one.

    Raises:
        UserError: Playwright or a Chromium is missing, or the folder has no app.py.
    """
    live.check_playwright("opening")
    if other is not None and not (other / "app.py").exists():
        raise UserError(f"{other} has no app.py; name the folder of another version of the project")

    async def measure() -> None:
        from playwright.async_api import async_playwright

        async with async_playwright() as playwright, live.open_chromium(playwright) as chromium:
            async for row in _rows(chromium, other):
                print(json.dumps(row) if as_json else _sentence(row), flush=True)

    asyncio.run(measure())


async def _rows(chromium: Any, other: Path | None) -> AsyncIterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as made:
        word = Path(made) / "word.py"
        word.write_text(_WORD)
        trees = {"a page of one word": (word, live.ROOT), "this": (live.ROOT / "app.py", live.ROOT)}
        if other is not None:
            trees["the other"] = other.resolve() / "app.py", other.resolve()
        seconds: dict[tuple[str, str], list[float]] = {}
        for repeat in range(_REPEATS):
            for name, (script, root) in trees.items():
                folder = Path(made) / f"{name}-{repeat}"
                shutil.copytree(root / "checkpoints", folder)
                with live.serve(script, folder, root) as url:
                    for kind in ("cold", "warm"):
                        took = await _opened(chromium, url, is_app=script != word)
                        seconds.setdefault((name, kind), []).append(took)
    for kind in ("cold", "warm"):
        for name in trees:
            median = statistics.median(seconds[name, kind])
            floor = statistics.median(seconds["a page of one word", kind])
            yield {"visit": kind, "page": name, "seconds": median, "over_one_word": median / floor}


async def _opened(chromium: Any, url: str, is_app: bool) -> float:
    """Seconds from the address to the answer: the decode under a pointer that moves on the map."""
    window = await chromium.new_context(viewport={"width": 1440, "height": 900})
    page = await window.new_page()
    start = time.perf_counter()
    await page.goto(url)
    if is_app:
        await _hovered(page, start)
    else:
        await page.get_by_text("ready").wait_for(timeout=1000 * _LONGEST_S)
    took = time.perf_counter() - start
    await window.close()
    return took


async def _hovered(page: Any, start: float) -> None:
    area = page.locator(".st-key-map .nsewdrag").first
    await area.wait_for(state="attached", timeout=1000 * _LONGEST_S)
    step = 0
    while not await page.locator(".elbo-thumb").is_visible():
        if time.perf_counter() - start > _LONGEST_S:
            raise UserError(f"the map at {page.url} did not answer within {_LONGEST_S:.0f} s")
        step += 1
        if box := await area.bounding_box():
            # Not in the middle, where the handles of q can lie.
            x, y = box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"]
            await page.mouse.move(x + step % 7, y + step % 5)
        await page.wait_for_timeout(20)


def _sentence(row: dict[str, Any]) -> str:
    return (
        f"{row['visit']}, {row['page']}: {row['seconds']:.2f} s, "
        f"{row['over_one_word']:.1f} times a page of one word"
    )
