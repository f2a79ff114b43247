"""Files that promise more than they hold, or unpack to more than they are."""

import io
import resource
import struct
import zipfile

import pytest
import torch
from formats.hostile_files import archive, examples, parts_of, pythae, refusal, save, use_everything

from vae import formats
from vae.formats.containers import shards, surveyed, tensors, torch_files
from vae.runs import headers
from vae.runs.checkpoint import CheckpointError


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    parts = parts_of(save(examples()))
    parts["archive/data/0"] = bytes(300_000_000)
    path = archive(tmp_path / "bomb.pt", parts, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "compressed" in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_parts_that_overlap_are_not_unpacked(tmp_path):
    """A directory may name the same bytes a thousand times."""
    data = bytearray(save(examples()))
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        largest = max(file.infolist(), key=lambda part: part.file_size)
        start = file.start_dir
    end = data.rindex(b"PK\x05\x06")
    entry = bytes(data[start : start + 46 + struct.unpack_from("<H", data, start + 28)[0]])
    copies = b""
    for i in range(2000):
        name = f"archive/data/{i + 100}".encode()
        head = bytearray(entry[:46])
        struct.pack_into("<LL", head, 20, largest.file_size, largest.file_size)
        struct.pack_into("<HHH", head, 28, len(name), 0, 0)
        struct.pack_into("<L", head, 42, largest.header_offset)
        copies += bytes(head) + name
    directory = bytes(data[start : start + sum_of_directory(data, start, end)]) + copies
    n = struct.unpack_from("<H", data, end + 10)[0] + 2000
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, n, n, len(directory), start, 0)
    path = tmp_path / "overlap.pt"
    path.write_bytes(bytes(data[:start]) + directory + tail)
    assert not use_everything(path)


def sum_of_directory(data: bytes, start: int, end: int) -> int:
    at = start
    while data[at : at + 4] == b"PK\x01\x02":
        lengths = struct.unpack_from("<HHH", data, at + 28)
        at += 46 + sum(lengths)
    return min(at, end) - start


def changed_pickle(state: dict, old: bytes, new: bytes) -> dict[str, bytes]:
    parts = parts_of(save(state))
    assert old in parts["archive/data.pkl"]
    parts["archive/data.pkl"] = parts["archive/data.pkl"].replace(old, new)
    return parts


def test_a_tensor_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    # BININT1 80 for the 5 x 16 numbers of fc1, and its shape.
    parts = changed_pickle(examples(), b"KPt", b"J\x00\x00\x00\x40t")
    assert "promises" in refusal(archive(tmp_path / "reach.pt", parts))


def test_a_tensor_that_is_larger_than_its_numbers_is_refused(tmp_path):
    parts = changed_pickle(examples(), b"K\x05K\x10\x86", b"M\xff\xffM\xff\xff\x86")
    assert "larger than the numbers" in refusal(archive(tmp_path / "wide.pt", parts))


def test_a_tensor_repeated_by_a_stride_of_zero_is_refused(tmp_path):
    state = examples()
    state["fc1.weight"] = torch.zeros(1).expand(5, 16)
    path = tmp_path / "thin.pt"
    torch.save(state, path)
    assert "larger than the numbers" in refusal(path)


def test_a_storage_of_a_terabyte_is_not_allocated(tmp_path):
    data = save(examples(), "legacy")
    assert b"KPN" in data
    path = tmp_path / "huge.pt"
    path.write_bytes(data.replace(b"KPN", b"\x8a\x06\x00\x00\x00\x00\x00\x01N"))
    assert "truncated" in refusal(path)


def pickled(*operations: bytes) -> bytes:
    return b"\x80\x02" + b"".join(operations) + b"."


@pytest.mark.few(6)
@pytest.mark.parametrize(
    "data",
    {
        "a bytearray of a terabyte": pickled(
            b"cbuiltins\nbytearray\n", b"\x8a\x06\x00\x00\x00\x00\x00\x01", b"\x85R"
        ),
        "a key nested deeper than a hash can follow": pickled(
            b"}", b")" + b"\x85" * 500_000, b"K\x01", b"s"
        ),
        "a list in itself": pickled(b"]q\x00h\x00a"),
        "lists of lists of lists": pickled(b"]q\x00", *[b"](h\x00h\x00eq\x00"] * 200),
        "more operations than weights take": pickled(b"N0" * 1_500_000, b"N"),
        "more than there is on the stack": pickled(b"R"),
        "no end": b"\x80\x02}",
        "nothing": b"",
        "a stream within a stream": pickled(b"}") * 3,
        "a storage by another name": pickled(b"X\x07\x00\x00\x00storageK\x01K\x01K\x01K\x01tQ"),
        "a text of two gigabytes": b"\x80\x02X\xff\xff\xff\x7fabc.",
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize("container", ["zip", "bare"])
def test_a_pickle_that_is_a_trap_is_refused(tmp_path, data, container):
    _, bytes_ = data
    path = tmp_path / "trap.pt"
    if container == "zip":
        archive(path, {"a/data.pkl": bytes_, "a/version": b"3\n", "a/byteorder": b"little"})
    else:
        path.write_bytes(bytes_)
    assert not use_everything(path)


def test_too_many_tensors_are_refused(tmp_path, monkeypatch):
    for module in (headers, shards, surveyed, torch_files):
        monkeypatch.setattr(module, "MAX_TENSORS", 9)
    for container in ("zip", "legacy", "safetensors"):
        path = tmp_path / f"{container}.pt"
        path.write_bytes(save(examples(), container))
        assert "at most 9" in refusal(path)


def test_too_large_a_file_is_refused(tmp_path):
    path = tmp_path / "sparse.pt"
    with open(path, "wb") as file:
        file.truncate(tensors.MAX_FILE_BYTES + 1)
    assert "at most" in refusal(path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = examples()
    state["fc3.bias"][1] = float("nan")
    path = tmp_path / "nan.pt"
    path.write_bytes(save(state))
    assert "'fc3.bias' holds NaN" in refusal(path)


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, container):
    data = save(examples(), container)
    path = tmp_path / "weights.pt"
    for end in {*range(0, len(data), max(1, len(data) // 60)), len(data) - 1}:
        path.write_bytes(data[:end])
        assert not use_everything(path), end


def test_a_file_that_changes_between_the_look_and_the_load_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(save(examples()))
    run = formats.open_run(path)
    path.write_bytes(save(pythae()))
    with pytest.raises(CheckpointError, match="changed"):
        run.load_model()
    path.unlink()
    with pytest.raises(CheckpointError, match="is no file"):
        run.load_model()
