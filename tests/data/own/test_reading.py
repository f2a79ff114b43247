"""Files of one's own: open or as paths, their preview, their sizes."""

import io

import numpy as np
import pytest
from image_files import IMAGES, two_classes, zip_of

from vae.data import own
from vae.data.dataset import DatasetError


def test_an_open_file_serves_as_well_as_a_path(tmp_path):
    data = zip_of(tmp_path / "a.zip", two_classes()).read_bytes()
    file, labels = io.BytesIO(data), io.BytesIO(b"cats/1.png,a\n")
    file.name, labels.name = "upload.zip", "labels.csv"
    assert own.survey(file).name == "upload.zip"
    told = own.survey(file, labels)
    assert told.classes == {"a": 1, "unlabelled": 11}
    assert "labels for 1 of 12" in told.treatment()
    shown = own.preview(file, (3, 4, 4), per_class=2)
    assert {name: images.shape for name, images in shown.items()} == {
        "cats": (2, 3, 4, 4),
        "dogs": (2, 3, 4, 4),
    }
    seen = []
    own.add(file, "a", labels_csv=labels, progress=lambda *n: seen.append(n))
    assert seen == [(i, 12) for i in range(1, 13)]


def test_the_preview_shows_what_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=np.arange(12) % 2)
    shown = own.preview(tmp_path / "a.npz", per_class=3)
    data = own.read(tmp_path / "a.npz")
    for number, name in enumerate(data.class_names):
        assert np.array_equal(shown[name], data.images[data.labels == number][:3])


@pytest.mark.parametrize(
    ("text", "size"), [("28", (28, 28)), ("8x12", (8, 12)), (" 8 × 9", (8, 9))]
)
def test_a_size_is_read_as_it_is_typed(text, size):
    assert own.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "8x", "8x8x8", "-3", "8.5", "1e3", "9" * 5000])
def test_a_size_that_is_none_is_told(text):
    with pytest.raises(DatasetError, match=r"^size \(="):
        own.parse_size(text)


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 0, 8), (1, 8, 257), (8, 8), (1, 8.0, 8)])
def test_an_image_shape_that_no_set_may_have_is_told(tmp_path, shape):
    np.save(tmp_path / "a.npy", IMAGES)
    with pytest.raises(DatasetError, match=r"^image_shape \(="):
        own.read(tmp_path / "a.npy", shape)
