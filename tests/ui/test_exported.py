"""What the server answers where a class page is asked for, and where that is."""

import asyncio
import gzip
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from starlette.requests import Request

from vae.live import class_pages
from vae.ui import exported

PAGE = "<!doctype html><p>σ</p>" * 50


@pytest.fixture
def page(checkpoints) -> class_pages.ClassPage:
    return class_pages.add(PAGE, "", "run")


def ask(code: str, encodings: str = "gzip, br") -> tuple[int, dict[str, str], bytes]:
    """What a browser is sent: the status, the headers and the body."""
    headers = [(b"accept-encoding", encodings.encode())]
    scope = {"type": "http", "method": "GET", "path_params": {"code": code}, "headers": headers}
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        await asyncio.sleep(3600)  # the browser stays

    # In a thread: the browser tests leave their own event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(
            lambda: asyncio.run(exported.answer(Request(scope))(scope, receive, send))
        ).result()
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, b"".join(message.get("body", b"") for message in sent[1:])


def test_a_page_is_sent_as_it_lies_on_the_disk_to_be_kept_for_long(page):
    status, headers, body = ask(page.code)
    assert status == 200
    assert body == page.path.read_bytes()
    assert headers["content-encoding"] == "gzip"
    assert headers["content-type"].startswith("text/html")
    assert "max-age=31536000" in headers["cache-control"]


def test_a_browser_that_unpacks_nothing_is_sent_the_page_itself(page):
    status, headers, body = ask(page.code, "identity")
    assert (status, body.decode()) == (200, PAGE)
    assert "content-encoding" not in headers


@pytest.mark.parametrize("encodings", ["gzip", "identity"])
def test_a_page_cannot_read_the_apps_cookies(page, encodings):
    _, headers, _ = ask(page.code, encodings)
    rules = headers["content-security-policy"].split("; ")
    assert "sandbox allow-scripts allow-downloads" in rules
    assert "default-src 'none'" in rules


@pytest.mark.parametrize("code", ["abcdef", "../run", "x"])
def test_another_address_is_a_sentence(page, code):
    status, _, body = ask(code)
    assert status == 404
    assert "There is no class page at this address" in body.decode()


@pytest.mark.parametrize("damage", [b"no gzip", None])
def test_a_damaged_page_is_a_sentence_where_it_is_unpacked_here(page, damage):
    page.path.write_bytes(gzip.compress(PAGE.encode())[:-9] if damage is None else damage)
    status, _, body = ask(page.code, "identity")
    assert status == 404
    assert b"no class page" in body


@pytest.mark.parametrize(
    ("url", "address", "base", "own", "expected", "is_reached"),
    [
        ("http://room.school:8501/", "", "", "10.0.0.7", "http://room.school:8501/class/abc", True),
        ("https://vae.org/lab/points?run=a", "", "lab", "", "https://vae.org/lab/class/abc", True),
        ("http://localhost:8501/", "", "", "10.0.0.7", "http://10.0.0.7:8501/class/abc", True),
        ("http://localhost/", "localhost", "", "10.0.0.7", "http://localhost/class/abc", False),
        (
            "http://127.0.0.1:1/",
            "",
            "/a/b/",
            "127.0.0.1",
            "http://127.0.0.1:1/a/b/class/abc",
            False,
        ),
        ("http://[fe80::1]:8501/", "", "", "", "http://[fe80::1]:8501/class/abc", True),
        (None, "", "", None, "http://localhost/class/abc", False),
    ],
)
def test_the_address_is_one_that_phones_reach(
    url, address, base, own, expected, is_reached, monkeypatch
):
    options = {"server.address": address, "server.baseUrlPath": base}
    streamlit = SimpleNamespace(context=SimpleNamespace(url=url), get_option=options.get)
    monkeypatch.setattr(exported, "st", streamlit)
    monkeypatch.setattr(exported.net_util, "get_internal_ip", lambda: own)
    assert exported._address("abc") == (expected, is_reached)
