"""The browser, the server and the tabs of the tests: one of each for a worker of pytest.

A fresh window costs a page three times what a tab does that has shown the app before, and a cold
server as much again, so both are handed from test to test. To load a page is still the most that a
test does, so the tests of a file can hand on the page, too.
"""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from browser.driver import Wire, settled
from browser.server import ROOT, Server, new_window, open_chromium
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from vae.analysis.embedding import Embedding
from vae.core.model import VAE
from vae.runs import checkpoint


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            chromium = open_chromium(playwright)
        except FileNotFoundError as error:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def window(browser) -> Iterator[BrowserContext]:
    """The window of the tabs that need no options of their own."""
    context = new_window(browser)
    yield context
    context.close()


@pytest.fixture(scope="session")
def idle_tabs() -> dict[Page, str]:
    """The tab of that window, where no test holds it, and the link that was kept open in it."""
    return {}


@pytest.fixture(scope="session")
def odd_windows() -> dict[str, BrowserContext]:
    """The windows with options or a script, as a phone's, by what these are."""
    return {}


@pytest.fixture(scope="session")
def app(tmp_path_factory) -> Iterator[Server]:
    """The server that most test files share; they ask for `server`."""
    place = tmp_path_factory.mktemp("served")
    (place / "checkpoints").mkdir()
    running = Server(place / "checkpoints", data=place / "data")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def server(app) -> Server:
    """A server with two of the checkpoints that ship, and no data set of anybody's own.

    Tests may add to its folders: they are as new for the next file.
    """
    for folder in (app.checkpoints, app.data):
        for path in folder.glob("*"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    for name in ("digits-2d", "sprites-2d"):
        shutil.copytree(ROOT / "checkpoints" / name, app.checkpoints / name)
    return app


@pytest.fixture(scope="session")
def run() -> checkpoint.Run:
    """What a file's `model` and `embedding` are of, unless it has a `run` of its own."""
    return checkpoint.open_run(ROOT / "checkpoints" / "digits-2d")


@pytest.fixture(scope="module")
def model(run) -> VAE:
    return run.load_model()


@pytest.fixture(scope="module")
def embedding(run) -> Embedding:
    return run.load_embedding()


@pytest.fixture
def new_page(
    request, browser, window, idle_tabs, odd_windows, server
) -> Iterator[Callable[..., Page]]:
    """new_page(path) opens a tab; at the end no page may have failed or asked another server.

    Nor may the server have met an exception.

    `of` is a server of the test's own. A `script` that runs first, and other options, if there are
    any, go to a window of such tabs; whoever is `new` here has a window of their own. A page to be
    `kept` is as the last test of the file has left it that passed, opened the same link and kept
    it, too; it is loaded if there is none.
    """
    windows, tabs, odd_tabs, problems, servers, links = [], [], [], [], {server}, {}
    n_failed = request.session.testsfailed

    def failed(error) -> None:
        problems.append(str(error))

    def asked(request) -> None:
        if not request.url.startswith((*(known.url for known in servers), "data:", "blob:")):
            problems.append(f"asked {request.url}")

    def opened(
        path: str = "/",
        of: Server = server,
        script: str = "",
        kept: bool = False,
        new: bool = False,
        **options,
    ) -> Page:
        servers.add(of)
        link, shown = f"{request.path}: {of.url}{path}", ""
        # A tab behind another draws one frame a second: the second of a test has its own window.
        if tabs or new:
            windows.append(new_window(browser, **options))
            page = windows[-1].new_page()
            page.add_init_script(script)
        elif script or options:
            kind = repr((script, sorted(options.items())))
            if kind not in odd_windows:
                odd_windows[kind] = new_window(browser, **options)
                odd_windows[kind].add_init_script(script)
            page = odd_windows[kind].new_page()
            odd_tabs.append(page)
        elif idle_tabs:
            page, shown = idle_tabs.popitem()
        else:
            page = window.new_page()
        is_there = kept and shown == link
        if shown and not is_there:
            leave(page)
        if kept:
            links[page] = link
        if not is_there:
            Wire(page)
        page.on("pageerror", failed)
        page.on("request", asked)
        if page.context is window:
            tabs.append(page)
        if not is_there:
            page.goto(of.url + path)
        return page

    yield opened
    for page in tabs:
        if not page.is_closed():
            rested(page)
            has_failed = request.session.testsfailed > n_failed
            if link := "" if has_failed else links.get(page, ""):
                settled(page)
            else:
                leave(page)
            page.remove_listener("pageerror", failed)
            page.remove_listener("request", asked)
            idle_tabs[page] = link
    for opened_here in (*windows, *odd_tabs):
        opened_here.close()
    for one in servers:
        if log := one.take_problems():
            pytest.fail(log)
    assert not problems


def rested(page: Page) -> None:
    """Lets go of what a test may still hold."""
    page.mouse.up()
    page.keyboard.up("Shift")
    page.emulate_media(color_scheme="light")
    page.mouse.move(0, 0)


def leave(page: Page) -> None:
    """Leaves the app."""
    Wire.forget(page)
    page.goto("about:blank")
