"""A folder with encoder.onnx and decoder.onnx, run by onnxruntime if that is installed.

    encoder.onnx   one input, images (B, C, H, W) or (B, C*H*W) -> mu, logvar, each (B, D)
    decoder.onnx   one input, z (B, D) -> images

How the decoder's output is read is found out as for a person's own module (`user_code.adapter`);
where that finds the image shape, the likelihood or logvar_x wrong, the metadata of decoder.onnx say
them ("image_shape": "1x28x28", "likelihood": "gaussian").
An ONNX file is a network with its weights. It may name other files to read numbers from, and hold
loops: such a file is refused before it is given to onnxruntime.
"""

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae.errors import UserError
from vae.formats.containers.tensors import MAX_FILE_BYTES, cannot_read
from vae.formats.readers.onnx_graph import fields
from vae.formats.readers.onnx_process import Network
from vae.formats.refusal import COPY_AGAIN, EXPORT, Refusal, install
from vae.formats.run import ForeignRun
from vae.formats.shapes import of_pixels
from vae.formats.user_code.adapter import adapt
from vae.formats.wording import printable
from vae.runs.checkpoint import CheckpointError

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
SUFFIX = ".onnx"
NAME = "ONNX"
_SETTING = 'the metadata "{}": {} in decoder.onnx'
_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
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
        self._encoder = Session(encoder, n_outputs=2)
        self._decoder = Session(decoder, n_outputs=1)
        names = [output.lower() for output in self._encoder.outputs]
        is_swapped = any(word in names[0] for word in _LOGVAR) and any(w in names[1] for w in _MU)
        self._order = (1, 0) if is_swapped else (0, 1)
        said = self._decoder.metadata
        self.likelihood, self.logvar_x = said.get("likelihood"), said.get("logvar_x")
        self.image_shape, self._channels_last = pixels(self._encoder.input_shape)
        if "image_shape" in said:
            self.image_shape = said["image_shape"].lower().replace(",", "x").split("x")

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mu and logvar, each (B, D)."""
        x = x.permute(0, 2, 3, 1) if self._channels_last and x.ndim == 4 else x
        outputs = self._encoder.run(x)
        return outputs[self._order[0]], outputs[self._order[1]]

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's output for z (B, D)."""
        out = self._decoder.run(z)[0]
        return out.permute(0, 3, 1, 2) if self._channels_last and out.ndim == 4 else out


class Session:
    """One file, checked and loaded.

    Args:
        path: of the file.
        n_outputs: that it must have.
        data: a part of the file, which is checked already; None for the whole file.
    """

    def __init__(self, path: Path, n_outputs: int, data: bytes | None = None) -> None:
        _check_installed(path)
        self._path = path
        try:
            self._network = Network(checked(path) if data is None else data)
        except CheckpointError:
            raise
        except UserError as error:
            raise Refusal(
                path, "cannot be loaded by onnxruntime", _reason(error), EXPORT
            ) from error
        inputs, self.outputs = self._network.inputs, self._network.outputs
        self.metadata = self._network.metadata
        if len(inputs) != 1 or len(self.outputs) != n_outputs:
            wanted = "x to mu and logvar" if n_outputs == 2 else "z to images"
            raise Refusal(
                path,
                f"has {len(inputs)} inputs and {len(self.outputs)} outputs "
                f"({printable(', '.join(self.outputs), 100)})",
                f"it must lead from {wanted}, so 1 input and {n_outputs} "
                f"{'output' if n_outputs == 1 else 'outputs'}",
                EXPORT,
            )
        _, kind, self.input_shape = inputs[0]
        if kind not in _TYPES:
            raise Refusal(
                path, f"reads {printable(kind)}", "it must read floating-point numbers", EXPORT
            )
        self._type = _TYPES[kind]

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
        try:
            return self._network.run(array)
        except UserError as error:
            raise Refusal(self._path, "fails when it is run", _reason(error), EXPORT) from error


def _check_installed(path: Path) -> None:
    if importlib.util.find_spec("onnxruntime") is None:
        raise Refusal(
            path,
            "is an ONNX file",
            "onnxruntime, which runs it, is not here",
            install("onnxruntime"),
        )


def checked(path: Path) -> bytes:
    """A file's bytes. Raises CheckpointError for one that is too large, damaged or refused."""
    data = _read(path)
    _check(path, data)
    return data


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise Refusal(
                path, f"has {size:,} bytes", f"at most {MAX_FILE_BYTES:,} are read", EXPORT
            )
        return path.read_bytes()
    except OSError as error:
        raise cannot_read(path, error) from error


def pixels(shape: list[Any]) -> tuple[tuple[int, int, int] | None, bool]:
    """(C, H, W) of an input (B, C, H, W), (B, H, W, C) or (B, pixels), and if channels are last.

    None for what the file does not say.
    """
    sides = shape[1:]
    is_last = len(sides) == 3 and sides[2] in (1, 3) and sides[0] not in (1, 3)
    if is_last:
        sides = [sides[2], *sides[:2]]
    if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
        return None, is_last
    if len(sides) == 3:
        return (sides[0], sides[1], sides[2]), is_last
    return (of_pixels(math.prod(sides)) if len(sides) == 1 else None), is_last


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
_MAX_FIELDS = 300_000  # of which MAX_NODES operations and their weights take half


def _check(path: Path, data: bytes) -> None:
    """Raises CheckpointError for a file that names other files, holds loops, or is damaged."""
    pending = [("model", memoryview(data), 0)]
    n_fields, has_graph = 0, False
    try:
        while pending:
            message, part, depth = pending.pop()
            if depth > _MAX_DEPTH:
                raise UserError(f"it is nested more than {_MAX_DEPTH} deep")
            for number, value in fields(part):
                n_fields += 1
                if n_fields > _MAX_FIELDS:
                    raise UserError(f"it has more than {_MAX_FIELDS:,} parts")
                if message == "tensor" and (
                    number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == 1)
                ):
                    raise _External
                if message == "node" and number == _OP_TYPE and isinstance(value, memoryview):
                    kind = bytes(value[:20]).decode("utf-8", "replace")
                    if kind in _LOOPS:
                        raise Refusal(
                            path,
                            f"holds the operation {kind}",
                            "it may never end, so it is not run",
                            EXPORT,
                        )
                inner = _MESSAGES[message].get(number)
                if inner and isinstance(value, memoryview):
                    has_graph |= inner == "graph"
                    pending.append((inner, value, depth + 1))
    except _External:
        raise Refusal(path, "keeps weights in another file", "that is not read", EXPORT) from None
    except (ValueError, IndexError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise Refusal(
            path, f"is damaged or no ONNX file: {error}", "a part of it is missing", COPY_AGAIN
        ) from error
    if not has_graph:
        raise Refusal(path, "is damaged or no ONNX file", "there is no network in it", COPY_AGAIN)


class _External(Exception):
    pass
