"""The live panel's module alone, on an empty page."""

import base64
import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Page

from vae.live import pack, source


@pytest.fixture(scope="module")
def blank(browser) -> Iterator[Page]:
    """A page without anything, with the module in the variable `live`."""
    page = browser.new_page()
    page.evaluate(
        """async (text) => {
            const url = URL.createObjectURL(new Blob([text], {type: "text/javascript"}));
            globalThis.live = await import(url);
        }""",
        source.module("streamlit.js"),
    )
    yield page
    page.close()


def test_a_program_that_its_weights_do_not_fit_stops_the_panel_with_a_sentence(blank, model):
    data = pack.model_pack(model, "digits")
    header = pack.header_of(data)
    del header["id"]
    entry = header.pop("arrays")["decoder"]
    n = entry["shape"][0]
    start = 8 + int.from_bytes(data[4:8], "little")
    weights = np.frombuffer(data[start:], "<f4", n).copy()
    nan = weights.copy()
    nan[5] = np.nan
    for wrong in (weights[:-1], nan):
        header["encoder"] = None
        text = pack.pack(header, {"decoder": wrong})
        said = blank.evaluate(
            """(data) => {
                live.keep(Uint8Array.from(atob(data.pack), (c) => c.charCodeAt(0)));
                const place = document.body.appendChild(document.createElement("div"));
                const sent = [];
                const panel = new live.Panel(place, {
                    findPlot: () => null, can: () => true, send: (...what) => sent.push(what)});
                panel.setData(data.told);
                const said = place.querySelector(".problem").textContent;
                panel.destroy();
                place.remove();
                return [said, sent];
            }""",
            {
                "pack": base64.b64encode(text).decode(),
                "told": {"model": pack.header_of(text)["id"], "points": None},
            },
        )
        sentence, sent = said
        assert re.fullmatch(r"The network's program and its weights disagree: [^.]*\.", sentence)
        assert sent == [["problem", sentence]]
