"""What tests do to the files of a run, and what they expect to be told."""

import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hostile_names import is_text

from vae.runs.files import CheckpointError


def refusal(call, *arguments) -> str:
    """The sentence with which a call is refused: one line that any terminal can print."""
    with pytest.raises(CheckpointError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert is_text(message)
    return message


def edit_tensors(path: Path, change) -> None:
    """Rewrites a safetensors file after `change(arrays, metadata)`."""
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata() or {})
    arrays = safetensors.numpy.load_file(path)
    change(arrays, metadata)
    path.write_bytes(safetensors.numpy.save(arrays, metadata))


def header_of(path: Path) -> dict:
    """A safetensors header read by hand: eight bytes of length, then JSON."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def column(name, change):
    return lambda arrays, metadata: arrays.update(
        {name: np.ascontiguousarray(change(arrays[name]))}
    )


def with_value(value, at=3):
    def change(array):
        array = array.copy()
        array.reshape(-1)[at] = value
        return array

    return change


def cuts(path: Path) -> list[int]:
    """Lengths on both sides of everything that a safetensors file is made of."""
    size = path.stat().st_size
    start = 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]
    steps = range(0, size, max(1, size // 60))
    return sorted({0, 1, 7, 8, 9, start - 1, start, start + 1, size - 4, size - 1, *steps})


class Payload:
    """Unpickling one touches a file."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self):
        return (os.mknod, (str(self.touched),))


def foreign_files(folder: Path, touched: Path) -> dict[str, bytes]:
    zipped = folder / "weights.pt"
    torch.save({"w": torch.zeros(3), "payload": Payload(touched)}, zipped)
    torch.save({"w": torch.zeros(3)}, folder / "old.pt", _use_new_zipfile_serialization=False)
    header = json.dumps({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}).encode()
    return {
        "text": b"these are not weights\n" * 50,
        "zip of PyTorch": zipped.read_bytes(),
        "PyTorch before 1.6": (folder / "old.pt").read_bytes(),
        "pickle": pickle.dumps(Payload(touched)),
        "old pickle": pickle.dumps(Payload(touched), protocol=0),
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "HTML": b"<!DOCTYPE html><title>404</title>" * 20,
        "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "zeros": bytes(5000),
        "header of 2**63 bytes": struct.pack("<Q", 2**63) + header + bytes(12),
        "header of 99 MB": struct.pack("<Q", 99_000_000) + header + bytes(12),
        "pickle after a header": struct.pack("<Q", len(header))
        + header
        + pickle.dumps(Payload(touched)),
    }
