"""Labels of one's own from a CSV."""

from pathlib import Path

import numpy as np
import pytest
from image_files import IMAGES, folder_of, noise, png, two_classes

from vae.data import own
from vae.data.dataset import DatasetError
from vae.data.own import limits


@pytest.mark.parametrize("title", ["", "file,label\n", "id,breed,class\n"])
@pytest.mark.parametrize("key", ["{}", "{}.png", "cats/{}.png"])
def test_a_csv_gives_pictures_their_labels(tmp_path, title, key):
    source = folder_of(
        tmp_path / "a", {f"cats/{i}.png": png(noise(5, 5, seed=i)) for i in range(10)}
    )
    (tmp_path / "l.csv").write_text(
        "\ufeff"
        + title
        + "".join(f"{key.format(i)},{'odd' if i % 2 else 'even'}\n" for i in range(10))
    )
    data = own.read(source, labels_csv=tmp_path / "l.csv")
    assert data.class_names == ("even", "odd")
    assert data.labels.tolist() == [0, 1] * 5


@pytest.mark.parametrize("title", ["", "label\n", "whatever\n"])
def test_a_csv_gives_rows_their_labels_in_order(tmp_path, title):
    np.save(tmp_path / "a.npy", IMAGES)
    (tmp_path / "l.csv").write_text(title + "a\nb\nc\n" * 4)
    data = own.read(tmp_path / "a.npy", labels_csv=tmp_path / "l.csv")
    assert data.labels.tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "has no rows"),
        (b"a\nb\n", "2 rows for 12 images"),
        (b"\xff\xfe" * 40, "1 rows for 12 images"),
        (b"\x1b[2J\n" * 12, "is no text"),
        (b"PK\x03\x04" + bytes(90), "is no text"),
        (b"x" * 200 + b"\n" + b"x" * 200 + b"\n" + b"y\n" * 10, "more than 60 letters"),
        (b'"' + b"x" * 300_000, "not a CSV"),
    ],
)
def test_a_bad_csv_is_told(tmp_path, text, told):
    np.save(tmp_path / "a.npy", IMAGES)
    (tmp_path / "l.csv").write_bytes(text)
    with pytest.raises(DatasetError, match=told):
        own.survey(tmp_path / "a.npy", tmp_path / "l.csv")


def test_a_csv_of_other_files_is_told(tmp_path):
    source = folder_of(tmp_path / "a", two_classes())
    (tmp_path / "l.csv").write_text("x.png,a\n")
    with pytest.raises(DatasetError, match="names none of the pictures"):
        own.survey(source, tmp_path / "l.csv")


def told_of(tmp_path: Path, text: str | bytes, n: int = 12) -> tuple[list[str], str]:
    """The label of each of n rows by that CSV, and what is said of it."""
    np.save(tmp_path / "a.npy", noise(n, 6, 5))
    path = tmp_path / "l.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    data = own.read(tmp_path / "a.npy", labels_csv=path)
    return [data.class_names[label] for label in data.labels], data.note


PLAIN = "label\n" + "ä b\nc\nd\n" * 4
READ = ["ä b", "c", "d"] * 4


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_csv_of_any_usual_encoding_is_read(tmp_path, encoding, end):
    labels, note = told_of(tmp_path, PLAIN.replace("\n", end).encode(encoding))
    assert labels == READ
    assert ("Windows-1252" in note) == (encoding == "cp1252")


COUNTED = [f"{i}" for i in range(12)]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", ", "])
@pytest.mark.parametrize("titles", [["index", "weight", "label"], ["", "weight", "label"], None])
def test_columns_are_told_apart_whatever_stands_between_them(tmp_path, separator, titles):
    weight = "0,5" if separator in ";\t|" else "0.5"
    rows = [[i, weight, label] for i, label in zip(COUNTED, READ, strict=True)]
    text = "\n".join(separator.join(row) for row in ([titles] if titles else []) + rows)
    for trailing in ("", "\n\n"):
        labels, note = told_of(tmp_path, text + trailing)
        assert labels == READ
        assert "not used" in note  # the weights
        assert "index" not in note


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nlabel;\n" + "ä b;\nc;\nd;\n" * 4,  # Excel, and a separator at every end
        '"label"\n' + '"ä b"\n"c"\n"d"\n' * 4,
        "label,id\n" + "\n".join(f"{x},{i}" for i, x in enumerate(READ)),
        '"label"\n' + "\n".join(f'"{i}","{x}"' for i, x in enumerate(READ, 1)),  # R's names of rows
        "index,label\n"
        + "\n".join(f"{i},{x}" for i, x in reversed([*enumerate(READ)])),  # in any order
    ],
)
def test_csvs_as_programs_write_them_give_the_labels_that_are_meant(tmp_path, text):
    assert told_of(tmp_path, text)[0] == READ


@pytest.mark.parametrize("titles", ["", "label\n", "species\n"])
@pytest.mark.parametrize("n", [10, 11, 13, 14])
def test_one_label_too_many_or_too_few_is_refused_with_titles_and_without(tmp_path, titles, n):
    text = titles + "".join(f"{'ab'[i % 2]}\n" for i in range(n))
    with pytest.raises(DatasetError, match=f"l.csv has {n} rows.* for 12 images"):
        told_of(tmp_path, text)


def test_a_line_without_a_label_is_an_image_without_one(tmp_path):
    labels, _ = told_of(tmp_path, "label\n" + "a\n\nb\n" * 4)
    assert labels == ["a", "unlabelled", "b"] * 4


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1.0", "2.0", "", "2.0"], ["1", "2", "unlabelled", "2"]),
        (["-1", "5", "100", "5"], ["-1", "5", "100", "5"]),
        (["0,5", "1,5", "0,5", "1,5"], ["0,5", "1,5", "0,5", "1,5"]),
        (["/m/01", "a/../b", "<b>", "c\\d"], ["/m/01", "a/../b", "<b>", "c\\d"]),
    ],
)
def test_labels_are_numbers_or_any_text(tmp_path, values, expected):
    text = "label\n" + "".join(f'"{value}"\n' for value in values * 3)
    assert told_of(tmp_path, text)[0] == expected * 3


@pytest.mark.parametrize("kind", ["measurements", "many"])
@pytest.mark.parametrize("where", ["csv", "npz", "folders"])
def test_what_makes_no_classes_is_not_used_and_that_is_said(tmp_path, monkeypatch, kind, where):
    monkeypatch.setattr(limits, "MAX_CLASSES", 20)
    values = [f"{0.1 + i / 7:.3f}" if kind == "measurements" else f"n{i % 21}" for i in range(63)]
    if where == "csv":
        labels, note = told_of(tmp_path, "label\n" + "\n".join(values), 63)
    else:
        if where == "npz":
            array = np.array([float(x) for x in values] if kind == "measurements" else values)
            np.savez(tmp_path / "a.npz", x=noise(63, 4, 4), label=array)
            data = own.read(tmp_path / "a.npz")
        else:
            files = {f"{x}/{i}.png": png(noise(4, 4)) for i, x in enumerate(values)}
            data = own.read(folder_of(tmp_path / "a", files))
        labels, note = [data.class_names[label] for label in data.labels], data.note
    assert labels == ["unlabelled"] * 63
    assert "not used for labels" in note
    assert ("at most 20" in note) or kind == "measurements"


# Pictures


def labelled(tmp_path: Path, names: list[str], text: str) -> tuple[dict[str, str], str]:
    """The label of each picture by that CSV, and what is said."""
    source = folder_of(tmp_path / "a", {name: png(noise(5, 5)) for name in names})
    (tmp_path / "l.csv").write_text(text)
    data = own.read(source, labels_csv=tmp_path / "l.csv")
    labels = (data.class_names[label] for label in data.labels)
    return dict(zip(sorted(names), labels, strict=True)), data.note


NAMES = [f"{i}.png" for i in range(12)]
ODD = {name: "odd" if i % 2 else "even" for i, name in enumerate(NAMES)}


@pytest.mark.parametrize(
    "text",
    [
        # In another order than the names have when they are sorted.
        "file,label\n" + "".join(f"{n},{x}\n" for n, x in reversed(ODD.items())),
        "label,file\n" + "".join(f"{x},{n}\n" for n, x in ODD.items()),
        "".join(f"{n};{x}\n" for n, x in ODD.items()),
        ",file,label\n" + "".join(f"{i},{n},{x}\n" for i, (n, x) in enumerate(ODD.items())),
        "".join(f"{i},{n},{x}\n" for i, (n, x) in enumerate(ODD.items())),
        "path,breed,class\n" + "".join(f"data\\{n},b,{x}\n" for n, x in ODD.items()),
        "".join(f"./x/y/{n},{x}\n" for n, x in ODD.items()),
    ],
)
def test_the_column_of_files_is_found_and_rows_may_be_in_any_order(tmp_path, text):
    labels, note = labelled(tmp_path, NAMES, text)
    assert labels == ODD
    assert ("not used: 'breed'" in note) == ("breed" in text)


def test_rows_that_name_no_picture_are_counted(tmp_path):
    text = "file,label\n" + "".join(f"{n},{x}\n" for n, x in ODD.items()) + "77.png,odd\n"
    assert "1 of its rows name no picture" in labelled(tmp_path, NAMES, text)[1]


TWINS = [f"{c}/{i}.png" for c in ("cats", "dogs") for i in range(6)]


@pytest.mark.parametrize(
    ("names", "text", "told"),
    [
        (NAMES, "".join(f"{n},a\n{n},b\n" for n in NAMES), "gives '0.png' two labels, 'a' and 'b'"),
        (NAMES, "0.png,a\n1.png,b\n0,c\n", "gives '0.png' two labels, 'a' and 'c'"),
        (
            TWINS,
            "".join(f"{i}.png,a\n" for i in range(6)),
            "may be 2.*write their folders",
        ),
        ([f"{i}.{s}" for i in range(6) for s in ("png", "gif")], "0,a\n1,b\n", "may be 2 pictures"),
        (NAMES, "0.png\n1.png\n", "must have two columns"),
        (NAMES, "0.png,a\n1.png\n2.png,b\n", r"row 2 of the file \('1.png'\) has 1 of 2 columns"),
    ],
)
def test_rows_that_can_be_meant_in_two_ways_are_refused(tmp_path, names, text, told):
    with pytest.raises(DatasetError, match=told):
        labelled(tmp_path, names, text)


def test_the_same_label_twice_is_no_conflict_and_a_whole_path_comes_first(tmp_path):
    names = ["0.png", *TWINS]
    text = "".join(f"{n},{n[:3]}\n" for n in names) + "0.png,0.p\n"
    labels, _ = labelled(tmp_path, names, text)
    assert labels == {name: name[:3] for name in names}
