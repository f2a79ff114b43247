"""Labels of one's own from a CSV."""

import numpy as np
import pytest
from image_files import IMAGES, folder_of, noise, png, two_classes

from vae.data import own
from vae.data.dataset import DatasetError


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
        (b"\xff\xfe" * 40, "not a CSV in UTF-8"),
        (b"\x1b[2J\n" * 12, "cannot be shown"),
        (b"x" * 200 + b"\n" + b"y\n" * 11, "more than 60 letters"),
        (b'"' + b"x" * 300_000, "not a CSV"),
    ],
)
def test_a_bad_csv_is_told(tmp_path, text, told):
    np.save(tmp_path / "a.npy", IMAGES)
    (tmp_path / "l.csv").write_bytes(text)
    with pytest.raises(DatasetError, match=told):
        own.survey(tmp_path / "a.npy", tmp_path / "l.csv")


def test_a_csv_of_other_files_or_too_many_classes_is_told(tmp_path):
    source = folder_of(tmp_path / "a", two_classes())
    (tmp_path / "l.csv").write_text("x.png,a\n")
    with pytest.raises(DatasetError, match="names none of the pictures"):
        own.survey(source, tmp_path / "l.csv")
    np.save(tmp_path / "a.npy", noise(200, 4, 4))
    (tmp_path / "l.csv").write_text("".join(f"{i}\n" for i in range(200)))
    with pytest.raises(DatasetError, match="200 classes; at most 100"):
        own.survey(tmp_path / "a.npy", tmp_path / "l.csv")
