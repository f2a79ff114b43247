"""An ONNX network in a process of its own (`onnx_child`), begun when it is needed."""

import json
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from vae.errors import UserError
from vae.formats.readers import onnx_child

MOST_PROCESSES = 8  # at once; the one that was asked longest ago is ended for a ninth
_MOST_MESSAGE = onnx_child.MOST_OUTPUT_BYTES + 2**16
_OUT_OF_MEMORY = ("alloc", "MemoryError", "out of memory")


class Network:
    """One network; it can be pickled and sent to another process, which begins its own.

    Args:
        data: the file, checked already.

    Attributes:
        inputs: (name, type, sizes) of each.
        outputs: the names.
        metadata: those of the file.

    Raises:
        UserError: onnxruntime refuses it, or it takes too much memory or time.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._too_slow = ""
        self._begin_idle()
        with self._lock:
            said = self._begin()
        self.inputs: list[tuple[str, str, list[Any]]] = [tuple(i) for i in said["inputs"]]
        self.outputs: list[str] = said["outputs"]
        self.metadata: dict[str, str] = said["metadata"]

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        """Every output for one batch, float32. Raises UserError as the class does."""
        with self._lock:
            if self._too_slow:  # not tried again, for each trial and page
                raise UserError(self._too_slow)
            if self._process is None or self._process.poll() is not None:
                self._begin()
            said = self._ask(onnx_child.packed(x))
            return [self._array() for _ in range(said["n"])]

    def end(self) -> None:
        """Ends the process; the next batch begins another."""
        process, self._process = self._process, None
        _live.discard(self)
        if process is not None:
            _end(process)

    def _begin_idle(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = 0.0

    def _begin(self) -> dict[str, Any]:
        self.end()
        _make_room()
        self._process = subprocess.Popen(
            [sys.executable, "-P", onnx_child.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        weakref.finalize(self, _end, self._process)
        _live.add(self)
        return self._ask(self._data)

    def _ask(self, data: bytes) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        self._asked = time.monotonic()
        timer = threading.Timer(onnx_child.MOST_SECONDS, stop)
        timer.daemon = True
        timer.start()
        try:
            onnx_child.send(process.stdin, data)
            said = json.loads(self._message())
        except (OSError, EOFError, ValueError) as error:
            self.end()
            if late.is_set():
                self._too_slow = f"it was not done after {onnx_child.MOST_SECONDS:,.0f} s"
            gave_up = f"onnxruntime gave up; it may need more than {_memory()}"
            raise UserError(self._too_slow or gave_up) from error
        finally:
            timer.cancel()
        if "failed" in said:
            if any(word in said["failed"] for word in _OUT_OF_MEMORY):
                raise UserError(f"it needs more than {_memory()}, which is the most it may take")
            raise UserError(said["failed"])
        return said

    def _message(self) -> bytes:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        return onnx_child.receive(process.stdout, _MOST_MESSAGE)

    def _array(self) -> np.ndarray:
        try:
            return onnx_child.unpacked(self._message())
        except (OSError, EOFError, ValueError) as error:
            self.end()
            raise UserError("onnxruntime gave up amid its answer") from error

    def __getstate__(self) -> dict[str, Any]:
        left = ("_lock", "_process", "_asked")
        return {name: value for name, value in self.__dict__.items() if name not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin_idle()

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        raise TypeError("it is run by onnxruntime, which has no browser version")


_live: weakref.WeakSet[Network] = weakref.WeakSet()


def _make_room() -> None:
    """Ends those that were asked longest ago, of those that nobody waits for."""
    there = list(_live)  # which others may change meanwhile
    there.sort(key=lambda network: network._asked)
    for network in there:
        if len(_live) < MOST_PROCESSES:
            return
        if network._lock.acquire(blocking=False):
            try:
                network.end()
            finally:
                network._lock.release()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    process.wait()


def _memory() -> str:
    return f"{onnx_child.MOST_BYTES // 10**6:,} MB"
