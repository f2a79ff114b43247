"""Runs one ONNX network, in a process of its own: `python -P onnx_child.py`.

A graph says itself how much memory and time it takes: one operation of a few bytes asks for any
number of them. So onnxruntime runs where that ends nothing else, with limits on both. Nothing of
`vae` is imported here.

Standard input: the file, then one batch after another. Standard output: an answer to each. What
goes either way is eight bytes, how long it is, and then that many; an array is a line of JSON with
its type and shape, and its numbers.
"""

import json
import os
import sys
import threading
from typing import IO, Any

MOST_BYTES = 2_000_000_000  # of memory, besides four times the file
MOST_OUTPUT_BYTES = 2**29  # of all outputs for one batch
MOST_SECONDS = 120.0  # for one batch
_IDLE_SECONDS = 300.0  # after which it ends; it is begun anew when it is needed
_THREADS = 2
_MOST_ENTRIES, _MOST_LETTERS = 100, 1_000  # of the metadata


def send(out: IO[bytes], data: bytes) -> None:
    """Writes one message. Raises OSError if the other side has ended."""
    out.write(len(data).to_bytes(8, "little"))
    out.write(data)
    out.flush()


def receive(file: IO[bytes], most: int = 2**32) -> bytes:
    """Reads one message of at most so many bytes. Raises EOFError if the other side has ended."""
    head = file.read(8)
    length = int.from_bytes(head, "little")
    data = file.read(length) if len(head) == 8 and length <= most else b""
    if len(head) < 8 or len(data) < length:
        raise EOFError
    return data


def packed(array: Any) -> bytes:
    """An array as a message."""
    head = json.dumps([array.dtype.str, list(array.shape)]).encode()
    return b"".join([head, b"\n", array.tobytes()])


def unpacked(data: bytes) -> Any:
    """The array of a message. Raises ValueError if it is none."""
    import numpy as np

    head, _, numbers = data.partition(b"\n")
    dtype, shape = json.loads(head)
    return np.frombuffer(numbers, dtype).reshape(shape)


def _limit(n_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for what, most in ((resource.RLIMIT_DATA, n_bytes), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):  # macOS; or a lower limit is set already
            pass


def _loaded(data: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _THREADS
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what it has to say comes as an exception
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _said(session: Any) -> dict[str, Any]:
    metadata = list(session.get_modelmeta().custom_metadata_map.items())[:_MOST_ENTRIES]
    return {
        "inputs": [[i.name, i.type, list(i.shape)] for i in session.get_inputs()],
        "outputs": [output.name for output in session.get_outputs()],
        "metadata": {key: value for key, value in metadata if len(value) <= _MOST_LETTERS},
    }


def _computed(session: Any, name: str, x: Any) -> list[Any]:
    import numpy as np

    outputs = [np.asarray(output) for output in session.run(None, {name: x})]
    n_bytes = sum(4 * output.size for output in outputs)
    if n_bytes > MOST_OUTPUT_BYTES:
        raise ValueError(
            f"it gives {n_bytes:,} bytes for {len(x)} rows; at most {MOST_OUTPUT_BYTES:,} are taken"
        )
    return [np.ascontiguousarray(output, dtype=np.float32) for output in outputs]


def _ends_after(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, os._exit, [0])
    timer.daemon = True
    timer.start()
    return timer


def _serve(given: IO[bytes], out: IO[bytes]) -> None:
    session, answers = None, []
    while True:
        idle = _ends_after(_IDLE_SECONDS)
        try:
            data = receive(given)
        except EOFError:
            return
        idle.cancel()
        busy = _ends_after(2 * MOST_SECONDS)  # where whoever asked has ended in the meantime
        try:
            if session is None:
                _limit(MOST_BYTES + 4 * len(data))
                session = _loaded(data)
                said = _said(session)
                answers = []
            else:
                answers = _computed(session, session.get_inputs()[0].name, unpacked(data))
                said = {"n": len(answers)}
        except BaseException as error:  # onnxruntime has an exception for each kind of failure
            said, answers = {"failed": (str(error) or type(error).__name__)[:4_000]}, []
        send(out, json.dumps(said).encode())
        for array in answers:
            send(out, packed(array))
        busy.cancel()


if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    answers_to = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a library that prints disturbs no answer
    _serve(sys.stdin.buffer, answers_to)
