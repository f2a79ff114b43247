"""The matrix products in WebAssembly, held against numpy outside any browser."""

import base64
import importlib.machinery
import importlib.util
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from vae.live import constants, source

wasmtime = pytest.importorskip("wasmtime")
ROOT = Path(__file__).resolve().parents[2]
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 33]


@pytest.fixture(scope="module")
def builder():
    loader = importlib.machinery.SourceFileLoader("wasm", str(ROOT / ".ci" / "wasm"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("wasm", loader))
    loader.exec_module(module)
    return module


class Kernel:
    """One of the modules, with a memory of its own."""

    def __init__(self, path: Path) -> None:
        self.store = wasmtime.Store()
        module = wasmtime.Module(self.store.engine, path.read_bytes())
        self.memory = wasmtime.Memory(self.store, wasmtime.MemoryType(wasmtime.Limits(2, None)))
        self.exports = wasmtime.Instance(self.store, module, [self.memory]).exports(self.store)

    def __call__(self, name: str, arrays: list[np.ndarray], *sizes: int) -> np.ndarray:
        """Places the arrays one behind the other and gives back the last of them, y."""
        starts = np.cumsum([64] + [array.nbytes + 12 for array in arrays]).tolist()
        for array, start in zip(arrays, starts, strict=False):
            self.memory.write(self.store, array.tobytes(), start)
        end = starts[len(arrays) - 1] + arrays[-1].nbytes
        self.memory.write(self.store, bytes(12), end)
        self.exports[name](self.store, *starts[: len(arrays)], *sizes)
        # What lies behind y is as it was.
        assert self.memory.read(self.store, end, end + 12) == bytes(12)
        y = self.memory.read(self.store, starts[len(arrays) - 1], end)
        return np.frombuffer(bytes(y), "<f4").reshape(arrays[-1].shape)


@pytest.fixture(scope="module", params=constants.KERNELS)
def kernel(request):
    return Kernel(ROOT / "vae" / "live" / "wasm" / request.param)


def arrays(M: int, N: int, K: int):
    rng = np.random.default_rng(M * 10_000 + N * 100 + K)
    return tuple(rng.normal(size=s).astype("<f4") for s in ((M, K), (K, N), (M,)))


@pytest.mark.parametrize("M", SIZES)
def test_a_product_is_that_of_numpy(kernel, M):
    for N, K in itertools.product(SIZES, SIZES):
        w, x, bias = arrays(M, N, K)
        expected = w.astype(float) @ x + bias[:, None]
        y = kernel("multiply", [w, x, bias, np.zeros((M, N), "<f4")], M, N, K)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
        rows = [w, np.ascontiguousarray(x.T), bias]
        y = kernel("multiplyRows", [*rows, np.zeros((M, N), "<f4")], M, N, K, N, 1)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
        y = kernel("multiplyRows", [*rows, np.zeros((N, M), "<f4")], M, N, K, 1, M)
        np.testing.assert_allclose(y, expected.T, rtol=1e-5, atol=1e-5)


def test_the_modules_are_what_their_source_says(builder):
    for name, made in builder.modules().items():
        assert (builder.FOLDER / name).read_bytes() == made, f"{name}: run .ci/wasm --write"


def test_the_page_is_sent_them_with_relaxed_simd_first():
    sent = re.search(r"KERNELS = \[(.*)\];", source.module("program/runner.js")).group(1)
    sizes = [len(base64.b64decode(text)) for text in re.findall(r'"([^"]*)"', sent)]
    folder = ROOT / "vae" / "live" / "wasm"
    assert sizes == [len((folder / name).read_bytes()) for name in constants.KERNELS]
    assert max(sizes) < 4096  # what a browser compiles at once, without a wait
