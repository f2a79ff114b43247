"""What is parsed is bounded before it is parsed, and what is followed is what is read."""

import io
import json
import os
import pickle
import pickletools
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from formats.hostile_files import examples, parts_of, refusal, save
from fuzzing import memory_below

from vae import formats
from vae.formats import sent
from vae.formats.containers import tensors
from vae.runs import headers

ENTRY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


def header_of(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


EMPTY = encoded(ENTRY)
# Made when a test asks for one: every process of the tests imports this file.
LONG_HEADERS = {
    "a million tensors": lambda: b"{%s}" % b",".join(b'"%d":%s' % (i, EMPTY) for i in range(10**6)),
    "a million words": lambda: encoded({"__metadata__": {str(i): "" for i in range(1_000_000)}}),
    "one long word": lambda: encoded({"__metadata__": {"a": "b" * 90_000_000}}),
    "a shape of ten million axes": lambda: encoded({"a": ENTRY | {"shape": [0] + [1] * 10**7}}),
    "a million brackets": lambda: b'{"a":' * 1_000_000 + b"0" + b"}" * 1_000_000,
}


@pytest.fixture(scope="module", params=LONG_HEADERS.values(), ids=LONG_HEADERS)
def header(request) -> bytes:
    return request.param()


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt", "run"])
def test_a_long_header_is_not_parsed(tmp_path, tiny_run, name, header):
    path = tmp_path / name
    if name == "run":
        path = tiny_run(path).path / "model.safetensors"
    path.write_bytes(header_of(header))
    with memory_below(100):
        if name == "run":
            _, broken = formats.list_runs(tmp_path)
            said = broken[name]
        else:
            said = refusal(path)
    assert "has a header of" in said


@pytest.mark.parametrize("name", ["embedding.safetensors", "trainer.safetensors"])
def test_a_long_header_of_what_is_kept_with_a_run_is_not_parsed(tmp_path, tiny_run, name, header):
    run = tiny_run(tmp_path / "run")
    (run.path / name).write_bytes(header_of(header))
    load = run.load_embedding if name.startswith("embedding") else run.load_trainer
    with memory_below(150), pytest.raises(formats.CheckpointError, match="has a header of"):
        load()


@pytest.mark.parametrize("n", [headers.MAX_TENSORS, headers.MAX_TENSORS + 1])
def test_as_many_tensors_as_may_be_are_read_and_no_more(tmp_path, n):
    path = tmp_path / "many.safetensors"
    path.write_bytes(header_of(encoded({f"layer{i}.weight": ENTRY for i in range(n)})))
    said = refusal(path)
    assert ("holds 10,001 tensors; at most 10,000 are read" in said) == (n > headers.MAX_TENSORS)


def test_more_axes_than_a_weight_has_are_refused(tmp_path):
    path = tmp_path / "deep.safetensors"
    path.write_bytes(header_of(encoded({"a": ENTRY | {"shape": [0] + [1] * 1000}})))
    assert "holds a tensor of 1,001 axes" in refusal(path)


# --- zip archives ---


def many_parts(n: int) -> bytes:
    """A zip archive of so many empty parts."""
    head = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *[20] * 2, *[0] * 7, 1, *[0] * 6) + b"a"
    size = n * len(entry)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, n % 65536, n % 65536, size, len(head), 0)
    return head + entry * n + end


@pytest.mark.parametrize("n", [20_001, 1_000_000])
@pytest.mark.parametrize("name", ["weights.pt", "weights.zip"])
def test_a_long_table_of_contents_is_not_parsed(tmp_path, n, name):
    data = many_parts(n)
    path = tmp_path / name
    path.write_bytes(data)
    assert len(zipfile.ZipFile(io.BytesIO(many_parts(100))).infolist()) == 100
    with memory_below(200):
        if name.endswith(".pt"):
            assert "parts" in refusal(path)
        else:
            stream = io.BytesIO(data)
            stream.name = name
            with pytest.raises(formats.CheckpointError, match="parts"):
                sent.taken([stream], 2**30)


BESIDE = [
    *("archive/DATA.PKL", "Archive/data.pkl", "archive/./data.pkl", "./archive/data.pkl"),
    *("archive\\data.pkl", "archive//data.pkl", "archive/data/../data.pkl", "archive/DATA/0"),
    *("archive/code/../data.pkl", "archive/code/../DATA.PKL"),
    *("../archive/data.pkl", "archive/data.pkl", "archive/data/0", "/archive/data.pkl"),
]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_parts_that_a_reader_can_take_for_one_are_refused(tmp_path, name, first):
    """torch's loader, for one, finds DATA.PKL where it is asked for data.pkl."""
    path = tmp_path / "weights.pt"
    parts = list(parts_of(save(examples())).items())
    other = (name, b"\x80\x02}.")
    with zipfile.ZipFile(path, "w") as file:
        for part, data in [other, *parts] if first else [*parts, other]:
            file.writestr(zipfile.ZipInfo(part), data)
    assert "is a zip archive" in refusal(path)


# --- pickles ---


def sized(operation: bytes, width: int, n: int) -> bytes:
    return b"\x80\x05" + operation + n.to_bytes(width, "little")


BUILT = {
    "bytearray": (b"\x96", 8),
    "bytes": (b"\x8e", 8),
    "short bytes": (b"B", 4),
    "text": (b"X", 4),
    "long text": (b"\x8d", 8),
    "Python 2's text": (b"T", 4),
    "a whole number": (b"\x8b", 4),
}


@pytest.mark.parametrize("place", ["first", "fifth", "zip"])
@pytest.mark.parametrize("built", BUILT)
def test_what_a_pickle_builds_is_bounded(tmp_path, built, place):
    """The numbers at the end of a file are no part of a pickle, however long it says it is."""
    n = 1_500_000_000
    path = tmp_path / "weights.pt"
    pickled = sized(*BUILT[built], n)
    if place == "zip":
        parts = parts_of(save(examples())) | {"archive/data.pkl": pickled + bytes(1000)}
        with zipfile.ZipFile(path, "w") as file:
            for name, data in parts.items():
                file.writestr(name, data)
    else:
        head = b"" if place == "first" else legacy_head(4)
        path.write_bytes(head + pickled)
        os.truncate(path, len(head + pickled) + n)
    with memory_below(250):
        refusal(path)


def legacy_head(n: int) -> bytes:
    """The first pickles of a file that torch.save wrote before 1.6."""
    data = save(examples(), "legacy")
    stream = io.BytesIO(data)
    for _ in range(n):
        for _ in pickletools.genops(stream):
            pass
    return data[: stream.tell()]


# --- which container it is ---


def padded(state: dict[str, torch.Tensor], low: int) -> bytes:
    """A safetensors file whose header's length begins with that byte."""
    data = save(state, "safetensors")
    n = int.from_bytes(data[:8], "little")
    more = (low - n) % 256
    return struct.pack("<Q", n + more) + data[8 : 8 + n] + b" " * more + data[8 + n :]


@pytest.mark.parametrize("low", [*range(256)])
def test_safetensors_are_told_whatever_the_length_of_their_header(tmp_path, low):
    path = tmp_path / "weights.pt"
    path.write_bytes(padded(examples(), low))
    assert tensors.survey(path).container == "safetensors"
    assert tensors.kind_of(path) == "a file of safetensors"


def test_a_header_whose_length_spells_another_kind_is_still_one(tmp_path):
    data = save({"w": torch.ones(3)}, "safetensors")
    n = int.from_bytes(data[:8], "little")
    for magic in (b"\x80\x02", b"\x80\x04", b"MZ", b"\x1f\x8b"):
        length = int.from_bytes(magic, "little")
        path = tmp_path / "weights.bin"
        path.write_bytes(struct.pack("<Q", length) + data[8 : 8 + n].ljust(length) + data[8 + n :])
        assert tensors.kind_of(path) == "a file of safetensors"
        assert tensors.survey(path).container == "safetensors"


@pytest.mark.parametrize(
    "data",
    [
        b'{"abcd":{"weight_map":{}}}',
        b"a,b,c,d {1}\n" * 20,
        b"\x80\x02}q\x00X\x01{",
        *(pickle.dumps({"a{" * i: "{"}, protocol) for protocol in (2, 3, 4, 5) for i in (1, 2, 3)),
    ],
)
def test_other_files_with_a_bracket_there_are_not_safetensors(tmp_path, data):
    path = tmp_path / "weights.bin"
    path.write_bytes(data)
    assert tensors.kind_of(path) in ("a pickle", "a file of text")
    assert "safetensors file" not in refusal(path)


def test_every_container_is_told_by_its_bytes_under_any_name(tmp_path):
    for kind in ("zip", "legacy", "safetensors"):
        found = set()
        for suffix in tensors.SUFFIXES[:8]:
            path: Path = tmp_path / f"{kind}{suffix}"
            path.write_bytes(save(examples(), kind))
            found.add(tensors.survey(path).container)
        assert len(found) == 1


# --- ONNX ---


@pytest.mark.few(2)
@pytest.mark.parametrize("number", [1, 5, 11, 12, 15])
def test_a_million_parts_of_a_network_are_not_listed(tmp_path, number):
    """Operations, weights, inputs, outputs: each an empty message of two bytes."""
    pytest.importorskip("onnxruntime")
    parts = bytes([number << 3 | 2, 0]) * 1_000_000
    n = len(parts)
    varint = bytes([n & 127 | 128, n >> 7 & 127 | 128, n >> 14 & 127 | 128, n >> 21])
    path = tmp_path / "decoder.onnx"
    path.write_bytes(bytes([7 << 3 | 2]) + varint + parts)
    with memory_below(400):
        assert "more than 300,000 parts" in refusal(path)
