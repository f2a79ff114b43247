"""A folder with encoder.onnx and decoder.onnx, run by onnxruntime if that is installed.

    encoder.onnx   one input, images (B, C, H, W) or (B, C*H*W) -> mu, logvar, each (B, D)
    decoder.onnx   one input, z (B, D) -> images

How the decoder's output is read is found out as for a person's own module (`vae.formats.adapt`);
where that finds the image shape, the likelihood or logvar_x wrong, the metadata of decoder.onnx say
them ("image_shape": "1x28x28", "likelihood": "gaussian").
An ONNX file is a network with its weights. It may name other files to read numbers from, and hold
loops: such a file is refused before it is given to onnxruntime.
"""

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from vae.checkpoint import CheckpointError
from vae.formats.adapt import adapt
from vae.formats.run import ForeignRun
from vae.formats.shapes import of_pixels
from vae.formats.tensors import MAX_FILE_BYTES, printable

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
SUFFIX = ".onnx"
NAME = "ONNX"
_SETTING = 'the metadata "{}": {} in decoder.onnx'
_THREADS = 2
_MAX_SECONDS = 120.0  # for one batch
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}
_LOGVAR = ("logvar", "log_var", "logsigma2", "log_variance")
_MU = ("mu", "mean", "loc")


def open_pair(name: str, folder: Path, shapes: list[tuple[int, int, int]]) -> ForeignRun:
    """The run of a folder that holds both files.

    Args:
        name: of the run.
        folder: where they are.
        shapes: image shapes to try where the encoder's input does not say one.

    Raises:
        CheckpointError: onnxruntime is not installed, or the files are damaged, too large, refused,
            or no such pair.
    """
    pair = OnnxPair(folder / ENCODER, folder / DECODER)
    found = adapt(pair, printable(str(folder), 200), shapes, None, NAME, _SETTING)
    return ForeignRun(
        name,
        folder / DECODER,
        found.model.config,
        found.card,
        lambda: found.model,
        more_files=(folder / ENCODER,),
    )


class OnnxPair:
    """encode and decode by two sessions of onnxruntime."""

    def __init__(self, encoder: Path, decoder: Path) -> None:
        self._encoder = _Session(encoder, n_outputs=2)
        self._decoder = _Session(decoder, n_outputs=1)
        names = [output.lower() for output in self._encoder.outputs]
        is_swapped = any(word in names[0] for word in _LOGVAR) and any(w in names[1] for w in _MU)
        self._order = (1, 0) if is_swapped else (0, 1)
        said = self._decoder.metadata
        self.likelihood, self.logvar_x = said.get("likelihood"), said.get("logvar_x")
        self.image_shape = _image_shape(self._encoder.input_shape)
        if "image_shape" in said:
            self.image_shape = said["image_shape"].lower().replace(",", "x").split("x")

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mu and logvar, each (B, D)."""
        outputs = self._encoder.run(x)
        return outputs[self._order[0]], outputs[self._order[1]]

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's output for z (B, D)."""
        return self._decoder.run(z)[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        raise TypeError("it is run by onnxruntime, which has no browser version")


class _Session:
    """One file, checked and loaded."""

    def __init__(self, path: Path, n_outputs: int) -> None:
        runtime = _runtime(path)
        data = _read(path)
        _check(path, data)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = _THREADS
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it has to say comes as an exception
        self._path, self._runtime = path, runtime
        try:
            self._session = runtime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
            self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        except Exception as error:  # onnxruntime has an exception for each kind of failure
            raise CheckpointError(f"{path} cannot be loaded: {_reason(error)}") from error
        self.outputs = [output.name for output in outputs]
        if len(inputs) != 1 or len(outputs) != n_outputs:
            wanted = "x to mu and logvar" if n_outputs == 2 else "z to images"
            raise CheckpointError(
                f"{path} has {len(inputs)} inputs and {len(outputs)} outputs "
                f"({printable(', '.join(self.outputs), 100)}); it must lead from {wanted}, so "
                f"1 input and {n_outputs} {'output' if n_outputs == 1 else 'outputs'}"
            )
        self.input_shape, self._input = list(inputs[0].shape), inputs[0].name
        if inputs[0].type not in _TYPES:
            raise CheckpointError(
                f"{path} reads {printable(str(inputs[0].type))}; it must read floating-point "
                "numbers"
            )
        self._type = _TYPES[inputs[0].type]

    def run(self, values: Tensor) -> list[Tensor]:
        """Every output for a batch. Raises CheckpointError if it fails or takes too long."""
        array = values.detach().cpu().numpy().astype(self._type, copy=False)
        B = len(array)
        # An export without dynamic axes reads batches of one size alone.
        fixed = self.input_shape[0] if self.input_shape else None
        size = fixed if isinstance(fixed, int) and fixed > 0 else max(B, 1)
        parts = []
        for start in range(0, max(B, 1), size):
            part = array[start : start + size]
            missing = size - len(part) if isinstance(fixed, int) and fixed > 0 else 0
            padding = np.zeros((missing, *array.shape[1:]), array.dtype)
            outputs = self._run(np.concatenate([part, padding]) if missing else part)
            parts.append([output[: len(part)] for output in outputs])
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return [torch.from_numpy(np.ascontiguousarray(c, dtype=np.float32)) for c in columns]

    def _run(self, array: np.ndarray) -> list[np.ndarray]:
        options = self._runtime.RunOptions()
        timer = threading.Timer(_MAX_SECONDS, lambda: setattr(options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return self._session.run(None, {self._input: array}, options)
        except Exception as error:
            raise _Failed(f"{self._path.name}: {_reason(error)}") from error
        finally:
            timer.cancel()


class _Failed(ValueError):
    pass


def _runtime(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise CheckpointError(
            f"{path.parent} holds ONNX files, which onnxruntime runs, and that is not installed: "
            "pip install onnxruntime"
        ) from error
    return onnxruntime


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise CheckpointError(f"{path} has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def _image_shape(shape: list[Any]) -> tuple[int, int, int] | None:
    """(C, H, W) of an encoder's input (B, C, H, W), (B, H, W) or (B, pixels); None if unsaid."""
    sides = shape[1:]
    if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
        return None
    if len(sides) == 3:
        return tuple(sides)
    return of_pixels(math.prod(sides)) if len(sides) == 1 else None


def _reason(error: Exception) -> str:
    # "[ONNXRuntimeError] : 1 : FAIL : Load model failed: ..." says most at its end.
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return printable(line.removeprefix("[ONNXRuntimeError] : "), 300)


# What a file is made of (onnx.proto): message -> field -> the message that it holds.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {
        **{5: "tensor", 10: "tensor", 6: "graph", 11: "graph"},
        **{22: "sparse", 23: "sparse"},
    },
    "tensor": {},
}
_OP_TYPE = 4  # of a node
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_LOOPS = ("Loop", "Scan")
_MAX_DEPTH = 30
_MAX_FIELDS = 5_000_000


def _check(path: Path, data: bytes) -> None:
    """Raises CheckpointError for a file that names other files, holds loops, or is damaged."""
    pending = [("model", memoryview(data), 0)]
    n_fields, has_graph = 0, False
    try:
        while pending:
            message, part, depth = pending.pop()
            if depth > _MAX_DEPTH:
                raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
            for number, value in _fields(part):
                n_fields += 1
                if n_fields > _MAX_FIELDS:
                    raise ValueError(f"it has more than {_MAX_FIELDS:,} parts")
                if message == "tensor" and (
                    number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == 1)
                ):
                    raise _External
                if message == "node" and number == _OP_TYPE and isinstance(value, memoryview):
                    kind = bytes(value[:20]).decode("utf-8", "replace")
                    if kind in _LOOPS:
                        raise CheckpointError(
                            f"{path} holds the operation {kind}, which may never end, and is not "
                            "opened; export the model without it"
                        )
                inner = _MESSAGES[message].get(number)
                if inner and isinstance(value, memoryview):
                    has_graph |= inner == "graph"
                    pending.append((inner, value, depth + 1))
    except _External:
        raise CheckpointError(
            f"{path} keeps weights in another file, which is not read; save it whole: "
            "torch.onnx.export(..., external_data=False), or onnx.save without external data"
        ) from None
    except (ValueError, IndexError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is damaged or no ONNX file: {error}") from error
    if not has_graph:
        raise CheckpointError(f"{path} is damaged or no ONNX file: it holds no network")


class _External(Exception):
    pass


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protocol buffer message: number, and an integer or bytes."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            if at > end:
                raise ValueError("it is cut short")
            yield number, 0
        elif wire == 2:
            length, at = _varint(data, at)
            if length > end - at:
                raise ValueError("it is cut short")
            yield number, data[at : at + length]
            at += length
        else:
            raise ValueError(f"a part of it is of the unknown kind {wire}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number in it has no end")
