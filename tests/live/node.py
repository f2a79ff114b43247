"""Node, which runs the JavaScript that needs no page as Chromium does: they have one engine."""

import base64
import json
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import playwright
import pytest

from vae.live import pack

# A line of standard input is a call, [expression, argument]; a line of the output its result.
LOOP = """
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
    let answer;
    try {
        const [expression, argument] = JSON.parse(line);
        const value = await (0, eval)(expression);
        answer = { value: typeof value === "function" ? await value(argument) : value };
    } catch (error) {
        answer = { error: String(error.stack ?? error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\\n");
}
"""


class Node:
    """A process in which expressions are evaluated, with a module's exports in `live`."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [executable(), "--input-type=module", "--eval", LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        encoded = base64.b64encode(module.encode()).decode()
        self.evaluate(
            "async (url) => { globalThis.live = await import(url); }",
            f"data:text/javascript;base64,{encoded}",
        )

    def evaluate(self, expression: str, argument: object = None) -> object:
        """As playwright's Page.evaluate: what an expression, or the function that it is, gives."""
        self._process.stdin.write(json.dumps([expression, argument]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "node has ended"}')
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def stop(self) -> None:
        self._process.communicate(timeout=60)


def executable() -> str:
    """The node that playwright brings along, which is new enough for relaxed SIMD, or another."""
    driver = Path(playwright.__file__).parent / "driver"
    own = next((path for path in driver.glob("node*") if path.is_file()), None)
    found = own or shutil.which("node")
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "no node: install it from nodejs.org"
        )
    return str(found)


def run_model(node: Node, data: bytes) -> dict[str, Any]:
    """Makes `model` in node of a pack whose arrays are float32; returns the pack's header."""
    header = pack.header_of(data)
    start = 8 + int.from_bytes(data[4:8], "little")
    arrays = {
        name: np.frombuffer(data, "<f4", math.prod(a["shape"]), start + a["offset"]).tolist()
        for name, a in header["arrays"].items()
    }
    node.evaluate(
        """([header, given]) => {
            const arrays = Object.fromEntries(
                Object.entries(given).map(([name, values]) => [name, Float32Array.from(values)]));
            globalThis.model = new live.Model({header, arrays});
        }""",
        [header, arrays],
    )
    return header
