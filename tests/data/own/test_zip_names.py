"""Zips and folders as Windows, macOS and people make them: which files are pictures of whom."""

import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import IMAGES, folder_of, noise, png, two_classes, zip_of

from vae.data import own
from vae.data.dataset import DatasetError
from vae.data.own.member_names import names_of

PICTURE = png(noise(9, 7))
# A character and an accent; macOS stores them apart.
COMPOSED, APART = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
TWO = {"cats": 6, "dogs": 6}


@pytest.mark.parametrize(
    "name",
    [
        "Screenshot 2024-05-01 at 9.41.{}\u202fAM.png",
        "v\u00a0{}.png",
        "新しい\u3000猫/{}.png",
        "گربه\u200cها/{}.png",
        "👨\u200d👩/{}.png",
        "a <b> & [c](http://d.e)/{}.png",
    ],
)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_names_of_any_script_are_used_as_they_are(tmp_path, name, kind):
    files = {name.format(i): PICTURE for i in range(10)} | {"z/0.png": PICTURE}
    make = folder_of if kind == "folder" else zip_of
    told = own.survey(make(tmp_path / ("a" if kind == "folder" else "a.zip"), files))
    assert (told.n_images, told.n_bad) == (11, 0)
    assert name.partition("/")[0] in told.classes or "/" not in name


@pytest.mark.parametrize(
    "hidden",
    [
        *(".ipynb_checkpoints/0.png", "cats/.ipynb_checkpoints/0.png", "cats/._0.png", ".x.png"),
        *("__MACOSX/cats/._0.png", "__MACOSX/cats/0.png", "cats/@eaDir/0.png", ".git/0.png"),
        *("$RECYCLE.BIN/0.png", "cats/Thumbs.db", "cats/desktop.ini", "cats/.DS_Store"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_programs_keep_for_themselves_is_no_picture_and_no_class(tmp_path, hidden, kind):
    make = folder_of if kind == "folder" else zip_of
    source = make(
        tmp_path / ("a" if kind == "folder" else "a.zip"), {**two_classes(), hidden: PICTURE}
    )
    told = own.survey(source)
    assert (told.classes, told.n_bad) == (TWO, 0)


def test_an_npz_that_macos_packed_anew_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("__MACOSX/._x.npy", b"Mac OS X        ")
    assert own.survey(tmp_path / "a.npz").n_images == 12


@pytest.mark.parametrize("inside", ["", "pets\\", "C:\\pets\\", "./", "pets//"])
def test_folders_are_parted_by_backslashes_too(tmp_path, inside):
    mark = "\\" if "\\" in inside or not inside else "/"
    files = {inside + k.replace("/", mark): v for k, v in two_classes().items()}
    files[f"{inside}dogs{mark}"] = b""
    assert own.survey(zip_of(tmp_path / "a.zip", files)).classes == TWO


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_name_with_its_accents_apart_is_the_same_name(tmp_path, kind):
    files = {f"{(COMPOSED, APART)[i % 2]}/{i}.png": PICTURE for i in range(10)}
    make = folder_of if kind == "folder" else zip_of
    source = make(tmp_path / ("a" if kind == "folder" else "a.zip"), files | {"z/0.png": PICTURE})
    assert own.survey(source).classes == {COMPOSED: 10, "z": 1}
    (tmp_path / "l.csv").write_text("".join(f"{APART}/{i}.png,a\n" for i in range(10)))
    assert own.survey(source, tmp_path / "l.csv").classes == {"a": 10, "unlabelled": 1}


def zip_in_bytes(path: Path, encoded: bytes, extra: bytes = b"") -> Path:
    """A zip whose 12 pictures lie in a folder of that name, in bytes of no stated alphabet."""
    stand_in = "N" * len(encoded)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(12):
            info = zipfile.ZipInfo(f"{'other' if i % 2 else stand_in}/{i:02}.png")
            if extra and not i % 2:
                raw = encoded + f"/{i:02}.png".encode()
                name = extra + f"/{i:02}.png".encode()
                body = b"\x01" + struct.pack("<L", zlib.crc32(raw)) + name
                info.extra = struct.pack("<HH", 0x7075, len(body)) + body
            archive.writestr(info, PICTURE)
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), encoded))
    return path


@pytest.mark.parametrize(
    ("encoded", "extra", "name", "is_guess"),
    [
        ("Café".encode("cp437"), b"", "Café", True),
        ("Кот".encode(), b"", "Кот", False),
        (APART.encode(), b"", COMPOSED, False),
        ("Кот".encode("cp866"), "Кот".encode(), "Кот", False),
        ("Кот".encode("cp866"), b"", "Кот", True),
    ],
)
def test_names_of_no_stated_alphabet_are_read_and_a_guess_is_said(
    tmp_path, encoded, extra, name, is_guess
):
    told = own.survey(zip_in_bytes(tmp_path / "a.zip", encoded, extra))
    assert told.classes == {name: 6, "other": 6}
    assert ("were read as code page" in told.treatment()) == is_guess


def test_of_two_files_of_one_name_in_a_zip_the_later_one_counts(tmp_path):
    source = zip_of(tmp_path / "a.zip", two_classes())
    with zipfile.ZipFile(source, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("cats/0.png", png(noise(9, 7, seed=7)))
    data = own.read(source)
    assert len(data) == 12
    assert np.array_equal(data.images[0, 0], noise(9, 7, seed=7))


def with_zip64(path: Path, n: int | None = None, size: int | None = None) -> Path:
    """The zip with the end records of Zip64, as streaming writers make them; with lies in them."""
    data = path.read_bytes()
    at = data.rfind(b"PK\x05\x06")
    found_n, found_size, offset = struct.unpack("<HLL", data[at + 10 : at + 20])
    n, size = n or found_n, size or found_size
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, n, n, size, offset)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
    path.write_bytes(data[:at] + record + locator + data[at:])
    return path


def test_a_small_zip64_is_read(tmp_path):
    assert own.survey(with_zip64(zip_of(tmp_path / "a.zip", two_classes()))).classes == TWO
    np.savez(tmp_path / "a.npz", x=IMAGES)
    assert own.survey(with_zip64(tmp_path / "a.npz")).n_images == 12


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ({"n": 2**40}, "holds more than 65,000 files"),
        ({"size": 2**40}, "holds more than 65,000 files"),
        ({"size": 10**7}, "cut short or no zip"),
    ],
)
def test_what_a_zip64_says_of_itself_is_held_against_the_limits(tmp_path, lie, told):
    source = with_zip64(zip_of(tmp_path / "a.zip", two_classes()), **lie)
    with pytest.raises(DatasetError, match=told):
        own.survey(source)


WORDS = {
    "cp437": ["Café", "Bébés", "größe", "mañana", "Äpfel", "naïve", "Ñandú"],
    "cp850": ["Água", "maçã", "coração", "Ícone", "Café"],
    "cp1252": ["Café", "Über", "größe", "mañana", "coração", "Élan", "gâteaux"],
    "cp932": ["猫", "犬", "ネコ", "いぬ", "新しい画像", "表示", "ソ連", "東京タワー"],
    "gbk": ["猫", "狗", "小猫", "图片", "新建文件夹", "蝴蝶", "汽车"],
    "cp866": ["Кот", "собака", "КОТЫ", "Новая папка", "Ёлки", "ещё рыба", "Їжак"],
    "cp1251": ["Кот", "собака", "КОШКИ", "Новая папка", "Ёлки", "ещё рыба", "Їжак"],
}


@pytest.mark.parametrize("page", WORDS)
def test_the_code_page_of_a_zip_is_told_by_its_names(page):
    for i in range(len(WORDS[page])):
        words = WORDS[page][i:] + WORDS[page][:i]
        for n in range(2, len(words) + 1):
            infos = [zipfile.ZipInfo(w.encode(page).decode("cp437") + "/1.png") for w in words[:n]]
            found, said = names_of(infos)
            assert found == [f"{word}/1.png" for word in words[:n]]
            assert "code page" in said


@pytest.mark.parametrize("words", [["Кот", "ёж"], [APART, "naïve"], ["שלום"], ["猫"], ["👨 a"]])
def test_utf_8_is_told_by_itself(words):
    infos = [zipfile.ZipInfo(word.encode().decode("cp437")) for word in words]
    assert names_of(infos) == ([unicodedata.normalize("NFC", word) for word in words], "")


def test_an_extra_field_of_another_name_does_not_count(tmp_path):
    body = b"\x01" + struct.pack("<L", 1) + b"Hund"
    info = zipfile.ZipInfo("Кот".encode("cp866").decode("cp437"))
    info.extra = struct.pack("<HH", 0x7075, len(body)) + body
    assert names_of([info])[0] == ["Кот"]


def test_names_that_no_code_page_explains_stay_apart():
    infos = [zipfile.ZipInfo(bytes([200, 7, code]).decode("cp437")) for code in range(128, 256)]
    assert len(set(names_of(infos)[0])) == 128
