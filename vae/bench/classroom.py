"""Many visitors at once: how long a page takes, what the server's memory does, who sees what.

Each visitor speaks the browser's own protocol to a server: a web socket that sends "run this page
with this address" and is sent what to draw. Nothing is drawn, so what is measured is the server.
Every answer is checked against the stored terms of the point that this very visitor has chosen.

The last row has one visitor more, who has log p(x) of all images of data sets computed meanwhile,
and cancels that at the end. With phones, so many of them fetch a class page in the course of each
minute, besides.
"""

import asyncio
import json
import math
import random
import re
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vae.analysis import answers
from vae.analysis.embedding import Embedding
from vae.bench import live
from vae.live import class_pages, export
from vae.live.class_pages import ClassPage
from vae.runs import checkpoint

SECONDS = 60.0  # of a row
_THINKS_S = (2.0, 6.0)  # between an answer and the next wish, as somebody who looks at it
_PAGES = ("explore", "points", "explore", "train", "explore")
_RUNS = ("digits-2d", "sprites-2d")
_PATIENCE_S = 60.0  # for one answer
_LARGEST = 64_000_000  # bytes of one message
# What log p(x) is computed of meanwhile: together some minutes.
_HEAVY = ("run=sprites-2d&data=sprites all", "run=sprites-2d&data=sprites training")
_COMPUTE, _CANCEL = "Compute log p(x)", "Cancel"  # as its buttons begin


@dataclass
class Visitor:
    """What one of them met.

    Attributes:
        ready_s: from asking for a page until the server had run it, seconds.
        problems: errors on the page, or numbers that are not those of the chosen point.
        cancelled_s: from cancelling a computation until the page said that it had ended.
    """

    ready_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    cancelled_s: float | None = None


def main(as_json: bool, visitors: int, repeats: int, n_servers: int, phones: int) -> None:
    """Prints rows for a single visitor, for repeats of many, and for those beside heavy work.

    Args:
        as_json: one JSON object a row.
        visitors: at one time.
        repeats: rows of them, of a minute each.
        n_servers: over one folder of checkpoints; each visitor stays with one, as behind a proxy.
        phones: that fetch a class page in each minute.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = _shipped(Path(name))
        servers = [
            running.enter_context(live.serve_process(live.ROOT / "app.py", folder))
            for _ in range(n_servers)
        ]
        given = class_pages.add(
            export.of_run(checkpoint.open_run(folder / _RUNS[0])).page(), "", _RUNS[0], root=folder
        )
        rounds = [(1, SECONDS / 2, False), *[(visitors, SECONDS, False)] * repeats]
        for n, seconds, beside in (*rounds, (visitors, SECONDS, True)):
            row = measure(servers, n, seconds, beside, given, phones if n > 1 else 0)
            print(json.dumps(row) if as_json else _sentence(row), flush=True)


def measure(
    servers: Sequence[tuple[str, int]],
    n_visitors: int,
    seconds: float,
    beside: bool = False,
    given: ClassPage | None = None,
    n_phones: int = 0,
) -> dict[str, Any]:
    """Lets so many visitors in for so long.

    Args:
        servers: the address of each, and its process, for its memory.
        n_visitors: each with a run, points and a pace of their own.
        seconds: after which nobody asks for anything more.
        beside: whether one more has something heavy computed meanwhile.
        given, n_phones: the class page, and how many fetch it meanwhile.
    """

    async def all_of_them() -> list[Visitor]:
        embeddings = {
            run.name: embedding
            for run in (checkpoint.open_run(live.ROOT / "checkpoints" / name) for name in _RUNS)
            if (embedding := run.load_embedding()) is not None
        }
        until = time.monotonic() + seconds
        visits = [
            _visit(urls[number % len(urls)], number, embeddings, until)
            for number in range(n_visitors)
        ]
        if beside:
            visits.append(_compute(urls[0], until))
        return await asyncio.gather(*visits)

    urls = [url for url, _ in servers]
    with ThreadPoolExecutor(max(1, n_phones)) as pool:
        fetches = [
            pool.submit(_fetch, urls[number % len(urls)], number, given, seconds)
            for number in range(n_phones)
            if given is not None
        ]
        visitors = asyncio.run(all_of_them())
        phones = [fetch.result() for fetch in fetches]
    fetched = sorted(s for s, problem in phones if not problem) or [math.inf]
    cancelled = [v.cancelled_s for v in visitors if v.cancelled_s is not None]
    ready = sorted(s for visitor in visitors for s in visitor.ready_s) or [math.inf]
    problems = [problem for visitor in visitors for problem in visitor.problems]
    problems += [problem for _, problem in phones if problem]
    return {
        "visitors": n_visitors,
        "servers": len(servers),
        "pages": len(ready),
        "median_s": statistics.median(ready),
        "p95_s": ready[int(0.95 * (len(ready) - 1))],
        "memory_mb": _memory_mb([pid for _, pid in servers]),
        "beside_computation": beside,
        "cancelled_s": cancelled[0] if cancelled else None,
        "phones": n_phones,
        "phone_median_s": statistics.median(fetched) if n_phones else None,
        "phone_p95_s": fetched[int(0.95 * (len(fetched) - 1))] if n_phones else None,
        "problems": len(problems),
        "first_problem": problems[0] if problems else None,
    }


async def _visit(url: str, number: int, embeddings: dict[str, Embedding], until: float) -> Visitor:
    from websockets.exceptions import ConnectionClosed  # comes with Streamlit

    visitor = Visitor()
    chance = random.Random(number)
    run = _RUNS[number % len(_RUNS)]
    await asyncio.sleep(chance.uniform(0, 3))  # nobody presses at the same instant
    async with _session(url) as session:
        while time.monotonic() < until:
            for page in _PAGES:
                index = chance.randrange(len(embeddings[run]))
                start = time.monotonic()
                try:
                    texts = await asyncio.wait_for(
                        session.open(page, f"run={run}&point={index}"), _PATIENCE_S
                    )
                except TimeoutError:
                    visitor.problems.append(f"{page} was not there after {_PATIENCE_S:.0f} s")
                    return visitor
                except ConnectionClosed as error:
                    visitor.problems.append(f"{page}: the server hung up: {error}")
                    return visitor
                visitor.ready_s.append(time.monotonic() - start)
                visitor.problems += _wrong(page, index, embeddings[run], texts)
                await asyncio.sleep(chance.uniform(*_THINKS_S))
                if time.monotonic() > until:
                    break
    return visitor


def _fetch(url: str, number: int, given: ClassPage, seconds: float) -> tuple[float, str]:
    """One phone: after how long it had the whole page, and what was wrong; "" if nothing was."""
    time.sleep(random.Random(number).uniform(0, seconds))
    start = time.monotonic()
    asked = urllib.request.Request(f"{url}/class/{given.code}", headers={"Accept-Encoding": "gzip"})
    try:
        with urllib.request.urlopen(asked, timeout=_PATIENCE_S) as told:
            came = told.read()
    except OSError as error:
        return 0.0, f"a phone: {error}"
    is_whole = came == given.path.read_bytes()
    return time.monotonic() - start, "" if is_whole else "a phone got another page"


async def _compute(url: str, until: float) -> Visitor:
    """One who has one computation after another done, and cancels the last one at the end."""
    visitor = Visitor()
    async with _session(url) as session:
        await session.open("explore", _HEAVY[0])
        for query in _HEAVY:
            told = await session.open("points", query)
            told = await session.open("points", query, told.button(_COMPUTE))
            if told.button(_CANCEL) is None:
                visitor.problems.append("the computation did not begin")
                return visitor
            while told.button(_CANCEL) and time.monotonic() < until:
                await asyncio.sleep(1.0)
                told = await session.open("points", query)
            cancel, start = told.button(_CANCEL), time.monotonic()
            if cancel is None:
                continue  # it was over before it could be cancelled
            told = await session.open("points", query, cancel)
            visitor.cancelled_s = time.monotonic() - start
            if told.button(_COMPUTE) is None:
                visitor.problems.append("the computation was not cancelled")
            return visitor
    visitor.problems.append("every computation was over before it could be cancelled")
    return visitor


@asynccontextmanager
async def _session(url: str) -> AsyncIterator["_Session"]:
    from websockets.asyncio.client import connect

    address = url.replace("http", "ws", 1) + "/_stcore/stream"
    options = {"subprotocols": ["streamlit"], "max_size": _LARGEST}
    # A browser sends no pings of its own either.
    async with connect(address, ping_interval=None, **options) as socket:
        yield _Session(socket)


@dataclass
class _Texts:
    """What a page says: its metrics by their labels, sentences, errors, and its buttons."""

    metrics: list[tuple[str, str]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    buttons: dict[str, str] = field(default_factory=dict)  # label: the widget's id

    def button(self, beginning: str) -> str | None:
        """The id of the first button whose label begins so."""
        return next((i for label, i in self.buttons.items() if label.startswith(beginning)), None)


class _Session:
    """One tab's half of Streamlit's protocol."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.pages: dict[str, str] = {}

    async def open(self, page: str, query: str, button: str | None = None) -> _Texts:
        """Asks for a page as a link would, and reads until the server has run it.

        Args:
            page: its name in the navigation, in small letters.
            query: of its address.
            button: the id of one that is pressed there.
        """
        from streamlit.proto.BackMsg_pb2 import BackMsg
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        wish = BackMsg()
        wish.rerun_script.query_string = query
        wish.rerun_script.page_script_hash = self.pages.get(page, "")
        if button is not None:
            wish.rerun_script.widget_states.widgets.add(id=button, trigger_value=True)
        if not self.pages:
            page = "explore"  # the first address is the root's
        await self.socket.send(wish.SerializeToString())
        told = _Texts()
        while True:
            message = ForwardMsg()
            message.ParseFromString(await self.socket.recv())
            kind = message.WhichOneof("type")
            if kind == "navigation":
                self.pages = {
                    p.page_name.lower(): p.page_script_hash for p in message.navigation.app_pages
                }
            elif kind == "new_session":
                told = _Texts()  # a page that hands over to another begins anew
            elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                _read(message.delta.new_element, told)
            elif kind == "script_finished" and message.script_finished == (
                ForwardMsg.FINISHED_SUCCESSFULLY
            ):
                return told


def _read(element: Any, told: _Texts) -> None:
    kind = element.WhichOneof("type")
    if kind == "exception":
        told.errors.append(element.exception.message)
    elif kind == "alert" and element.alert.format == element.alert.ERROR:
        told.errors.append(element.alert.body)
    elif kind == "button":
        told.buttons[element.button.label] = element.button.id
    elif kind == "metric":
        told.metrics.append((element.metric.label, element.metric.body))
    elif kind == "markdown":
        told.sentences.append(element.markdown.body.replace("\\", ""))


def _wrong(page: str, index: int, embedding: Embedding, told: _Texts) -> list[str]:
    """What is not as it must be for the point that was chosen."""
    problems = [f"{page}: {error}" for error in told.errors]
    if page == "explore" and answers.where(embedding, index) not in told.sentences:
        problems.append(f"explore: the sentence of point {index} is not there")
    if page != "points":
        return problems
    expected = {
        "recon": embedding.recon[index],
        "KL": embedding.kl[index],
        "-ELBO": embedding.neg_elbo[index],
    }
    shown = {label.split(",")[0]: body for label, body in told.metrics}
    for name, value in expected.items():
        text = re.sub(r"[^0-9.\-]", "", shown.get(name, ""))
        if text != f"{value:.2f}":
            problems.append(f"{page}: {name} of point {index} is {value:.2f}, shown: {text!r}")
    return problems


def _shipped(folder: Path) -> Path:
    """Copies of the runs that visitors open: log p(x) is written beside them."""
    for name in _RUNS:
        shutil.copytree(live.ROOT / "checkpoints" / name, folder / name)
    return folder


def _memory_mb(pids: Iterable[int]) -> float | None:
    """What the servers hold together, where the system tells."""
    try:
        found = [Path(f"/proc/{pid}/status").read_text(encoding="ascii") for pid in pids]
    except OSError:
        return None
    return sum(int(status.split("VmRSS:")[1].split()[0]) for status in found) / 1e3


def _sentence(row: dict[str, Any]) -> str:
    n = row["servers"]
    whose = "the server holds" if n == 1 else f"the {n} servers hold"
    memory = "" if row["memory_mb"] is None else f", {whose} {row['memory_mb']:,.0f} MB"
    beside = " beside a computation" if row["beside_computation"] else ""
    if row["cancelled_s"] is not None:
        memory += f"; cancelling took {row['cancelled_s']:.2f} s"
    if row["phones"]:
        memory += (
            f"; {row['phones']} phones had the class page after {row['phone_median_s']:.2f} s "
            f"(median), {row['phone_p95_s']:.2f} s (95 %)"
        )
    return (
        f"{row['visitors']} visitors{beside}, {row['pages']} pages: ready after "
        f"{row['median_s']:.2f} s (median), {row['p95_s']:.2f} s (95 %){memory}; "
        f"{row['problems']} problems"
        + (f", the first: {row['first_problem']}" if row["first_problem"] else "")
    )
