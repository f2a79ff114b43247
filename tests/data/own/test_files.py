"""Folders, zips and files of one's own that would do harm, or hold too much."""

import io
import os
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_files import IMAGES, folder_of, noise, png, two_classes, zip_of
from PIL import Image

from vae.data import own
from vae.data.dataset import DatasetError

ROOT = Path(__file__).resolve().parents[3]
HOSTILE_NAMES = ["../out.png", "a/../../out.png", "/etc/out.png", "a\\..\\b.png", "\x1b[2J.png"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_lead_out_or_hold_escapes_are_refused_and_nothing_is_written(tmp_path, name):
    inner = tmp_path / "inner"
    inner.mkdir()
    source = zip_of(inner / "a.zip", {**two_classes(), name: png(noise(9, 7))})
    before = sorted(tmp_path.rglob("*"))
    told = own.survey(source)
    assert told.n_images == 12
    assert told.n_bad == 1
    assert "\x1b" not in told.bad[0][0]
    own.preview(source)
    own.read(source, n_bad_agreed=1)
    assert sorted(tmp_path.rglob("*")) == before
    np.savez(inner / "b.npz", **{name.removesuffix(".png"): IMAGES})
    with pytest.raises(DatasetError, match="cannot be used: its name"):
        own.survey(inner / "b.npz")


def test_links_out_of_the_folder_are_listed_and_not_followed(tmp_path):
    outside = folder_of(tmp_path / "outside", {"secret.png": png(noise(9, 7)), "d/x.png": b""})
    source = folder_of(tmp_path / "a", two_classes())
    (source / "cats" / "link.png").symlink_to(outside / "secret.png")
    (source / "dir").symlink_to(outside)
    (source / "loop").symlink_to(source)
    (source / "dead.png").symlink_to(source / "nothing")
    (source / "cats" / "good.png").symlink_to(source / "dogs" / "1.png")
    os.mkfifo(source / "pipe.png")
    told = own.survey(source)
    assert told.n_images == 13
    reasons = dict(told.bad)
    assert reasons["cats/link.png"] == reasons["dir"] == "a link that leads out of the folder"
    assert reasons["loop"] == "a link to a folder; none is followed"
    assert reasons["pipe.png"] == reasons["dead.png"] == "not a file"
    assert len(reasons) == told.n_bad == 5


def test_a_link_in_a_zip_is_bad(tmp_path):
    source = zip_of(tmp_path / "a.zip", two_classes())
    with zipfile.ZipFile(source, "a") as archive:
        info = zipfile.ZipInfo("cats/link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert own.survey(source).bad == (("cats/link.png", "a link"),)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_a_bound_are_refused(tmp_path, method):
    files = {**two_classes(), "cats/bomb.png": bytes(40_000_000)}
    source = zip_of(tmp_path / "a.zip", two_classes())
    with zipfile.ZipFile(source, "a", method) as archive:
        archive.writestr("cats/bomb.png", files["cats/bomb.png"])
    told = own.survey(source)
    assert told.bad == (("cats/bomb.png", "packed by another method than deflate"),)


def test_a_zip_bomb_is_refused_by_what_it_says_and_by_what_it_does(tmp_path):
    bomb = {f"{i}.png": bytes(49_000_000) for i in range(1)}
    source = zip_of(tmp_path / "a.zip", bomb)
    with pytest.raises(DatasetError, match="no picture that can be used"):
        own.survey(source)
    # The same bytes under many names, as a zip of overlapping entries has them.
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for i in range(100):
            info = zipfile.ZipInfo(f"{i}.png")
            archive.writestr(info, b"")
            info.file_size = 49_000_000
    with pytest.raises(DatasetError, match=r"unpacks to 4\.9 GB; at most 4\.0 GB"):
        own.survey(tmp_path / "b.zip")


def test_a_zip_of_66000_files_is_refused_whatever_it_says_of_itself(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for i in range(66_000):
            archive.writestr(zipfile.ZipInfo(f"{i}.png"), b"")
    with pytest.raises(DatasetError, match="holds more than 65,000 files"):
        own.survey(path)
    # Without the Zip64 records and with a count that is a lie, Python would parse them all.
    data = path.read_bytes()
    long = data.rfind(b"PK\x06\x06")
    end = data.rfind(b"PK\x05\x06")
    size, begin = struct.unpack("<QQ", data[long + 40 : long + 56])
    record = data[end : end + 8] + struct.pack("<HHLLH", 12, 12, size, begin, 0)
    path.write_bytes(data[:long] + record)
    assert len(zipfile.ZipFile(path).infolist()) == 66_000
    with pytest.raises(DatasetError, match="holds more than 65,000 files"):
        own.survey(path)


def test_a_folder_of_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(own.limits, "MAX_FILES", 10)
    with pytest.raises(DatasetError, match="holds more than 10 files"):
        own.survey(folder_of(tmp_path / "a", two_classes()))


@pytest.mark.parametrize(
    ("limit", "value", "told"),
    [
        ("MAX_PICTURE_BYTES", 50, "no picture that can be used"),
        ("MAX_TOTAL_PIXELS", 100, "billion pixels"),
        ("MAX_UNPACKED_BYTES", 100, "unpacks to"),
        ("MAX_ARCHIVE_BYTES", 100, "has .* at most"),
        ("MAX_DIRECTORY_BYTES", 100, "holds more than"),
        ("MAX_KEPT_BYTES", 100, "12 images of 9 x 7 grey pixels are"),
        ("MIN_IMAGES", 13, "12 usable images; at least 13"),
    ],
)
def test_every_limit_of_a_zip_is_held(tmp_path, monkeypatch, limit, value, told):
    source = zip_of(tmp_path / "a.zip", two_classes())
    monkeypatch.setattr(own.limits, limit, value)
    with pytest.raises(DatasetError, match=told):
        own.read(source)


def test_what_is_neither_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe.zip")
    for name, told in {
        "a.txt": "neither a folder nor one of",
        "nothing.zip": "no folder or file",
        "pipe.zip": "neither a folder nor a file",
    }.items():
        with pytest.raises(DatasetError, match=told):
            own.survey(tmp_path / name)
    for data in (b"", b"PK", b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + b"\x01" * 18, bytes(5000)):
        (tmp_path / "a.zip").write_bytes(data)
        with pytest.raises(DatasetError):
            own.survey(tmp_path / "a.zip")


@pytest.mark.parametrize("kind", ["zip", "npz", "npy"])
def test_a_damaged_archive_never_raises_anything_else(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        zip_of(path, two_classes())
    elif kind == "npz":
        np.savez_compressed(path, x=IMAGES, y=np.arange(12) % 3)
    else:
        np.save(path, IMAGES)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refused = []
    for i in range(150):
        data = bytearray(whole)
        if i % 3 == 0:
            data = data[: random.integers(0, len(whole))]
        else:
            for at in random.integers(0, len(whole), 1 + i % 7):
                data[at] = random.integers(0, 256)
        path.write_bytes(data)
        try:
            own.read(path, (1, 6, 5), n_bad_agreed=None)
        except DatasetError as error:
            refused.append(str(error))
    assert len(refused) > 40
    assert not any("\n" in sentence for sentence in refused)


MEASURED = """
import re, sys
from vae.data import own
def kilobytes(what):
    return int(re.search(what + r":\\s+(\\d+)", open("/proc/self/status").read())[1])
before = kilobytes("VmRSS")
for path in sys.argv[1:]:
    try:
        own.read(path, n_bad_agreed=None)  # surveys it too
        print("read")
    except ValueError as error:
        print(error)
print((kilobytes("VmHWM") - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak")
def test_reading_adds_less_than_1_gb_of_memory(tmp_path):
    largest = Image.new("RGBA", (4000, 5000), (1, 2, 3, 100))
    file = io.BytesIO()
    largest.save(file, "PNG", compress_level=1)
    files = two_classes() | {f"{i}.png": file.getvalue() for i in range(2)}
    zip_of(tmp_path / "large.zip", files, zipfile.ZIP_STORED)
    zip_of(tmp_path / "bombs.zip", {f"{i}.png": bytes(49_000_000) for i in range(3)})
    np.savez_compressed(tmp_path / "zeros.npz", np.full((510, 1000, 1000), 255, dtype=np.uint8))
    np.save(tmp_path / "kept.npy", np.tile(noise(1, 1, 64, 64), (48_000, 1, 1, 1)))
    paths = [tmp_path / name for name in ("large.zip", "bombs.zip", "zeros.npz", "kept.npy")]
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    *said, added = result.stdout.splitlines()
    assert said[0] == "read"
    assert "no picture that can be used" in said[1]
    assert said[3] == "read"
    assert int(added) < 500  # 319 where this was written
