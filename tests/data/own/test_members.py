"""Which arrays of an .npz are the images, which the labels, which the names of the classes."""

from pathlib import Path

import numpy as np
import pytest
from image_files import IMAGES, noise

from vae.data import own
from vae.data.dataset import DatasetError

N = len(IMAGES)
Y = np.arange(N) % 3
NAMES = np.array(["cat", "dog", "eel"])


def read(tmp_path: Path, **arrays: np.ndarray) -> tuple[list[str], str]:
    """The label of each image, and what is said."""
    np.savez(tmp_path / "a.npz", **arrays)
    data = own.read(tmp_path / "a.npz")
    return [data.class_names[label] for label in data.labels], data.note


@pytest.mark.parametrize("key", ["images", "x", "X", "arr_0", "whatever", "train images", "<b>"])
def test_images_of_any_key_are_found(tmp_path, key):
    assert len(read(tmp_path, **{key: IMAGES})[0]) == N


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array(["a", "b", "c"])[Y], ["a", "b", "c"]),
        (np.array([b"a", b"b", b"c"])[Y], ["a", "b", "c"]),
        (Y.astype(float), ["0", "1", "2"]),
        (Y.astype(np.int8) - 1, ["-1", "0", "1"]),
        (10 * Y**2, ["0", "10", "40"]),
        (0.5 * Y, ["0.0", "0.5", "1.0"]),
        (np.where(Y == 2, np.nan, Y), ["0", "1", "unlabelled"]),
        (np.eye(3)[Y], ["0", "1", "2"]),
        (np.eye(3, dtype=bool)[Y], ["0", "1", "2"]),
        (Y[:, None], ["0", "1", "2"]),
        (Y[::-1][::-1], ["0", "1", "2"]),
    ],
)
def test_labels_of_any_type_are_read(tmp_path, values, expected):
    assert read(tmp_path, images=IMAGES, labels=values)[0] == [expected[y] for y in Y]


@pytest.mark.parametrize("key", ["class_names", "classes", "label_names", "names", "categories"])
@pytest.mark.parametrize("labels", [Y, Y.astype(float), np.eye(3)[Y]])
def test_names_of_the_classes_beside_them_name_the_labels(tmp_path, key, labels):
    found, _ = read(tmp_path, images=IMAGES, labels=labels, **{key: NAMES})
    assert found == NAMES[Y].tolist()


@pytest.mark.parametrize(
    ("labels", "names"), [(Y + 1, NAMES), (Y, NAMES[:2]), (Y, np.array(["a", "a", "b"]))]
)
def test_names_that_do_not_fit_the_labels_shift_nothing_and_are_said(tmp_path, labels, names):
    found, note = read(tmp_path, images=IMAGES, labels=labels, class_names=names)
    assert found == [str(label) for label in labels]
    assert "class_names is not used: it has" in note


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (("x_train", "x_test"), ("y_train", "y_test")),
        (("train_images", "test_images"), ("train_labels", "test_labels")),
        (("trainX", "testX"), ("trainY", "testY")),
        (("arr_0", "arr_2"), ("arr_1", "arr_3")),
        (("arr_8", "arr_10"), ("arr_9", "arr_11")),
    ],
)
def test_each_part_has_its_own_labels(tmp_path, images, labels):
    parts = {images[0]: IMAGES, images[1]: IMAGES[:5], labels[0]: Y, labels[1]: Y[:5] + 5}
    found, note = read(tmp_path, **parts, class_names=NAMES)
    first = [str(y) for y in Y]
    second = [str(y + 5) for y in Y[:5]]
    assert found in (first + second, second + first)
    assert "Joined: " in note


@pytest.mark.parametrize(
    "other",
    [
        {"masks": IMAGES > 128},
        {"segmentation": IMAGES[..., None] > 128},
        {"image_depth": IMAGES / 255},
        {"landmarks": noise(N, 68, 2)},
        {"features": noise(N, 4, 4)},
    ],
)
def test_what_is_said_of_the_images_is_not_taken_for_images(tmp_path, other):
    found, note = read(tmp_path, images=IMAGES, labels=Y, **other)
    assert found == [str(y) for y in Y]
    assert f"Not used: {next(iter(other))}" in note


@pytest.mark.parametrize("names", [("a", "b"), ("images", "x"), ("left", "right")])
def test_several_arrays_that_may_be_the_images_are_refused(tmp_path, names):
    with pytest.raises(DatasetError, match="several arrays that may be the images"):
        read(tmp_path, **dict.fromkeys(names, IMAGES))


@pytest.mark.parametrize(
    ("others", "expected", "told"),
    [
        ({"gender": Y % 2, "age": Y}, Y, "Labels from age; not used: gender"),
        ({"label": Y, "age": Y % 2}, Y, "Labels from label; not used: age"),
        ({"y1": Y, "y2": Y % 2}, Y, "Labels from y1; not used: y2"),
        ({"id": np.arange(N), "kind": Y}, Y, "Labels from kind; not used: id"),
        ({"id": np.arange(N)}, None, "Not used for labels, for their number, shape or values"),
        ({"age": np.linspace(20, 60, N)}, None, "Not used for labels"),
        ({"label": np.linspace(20, 60, N)}, None, "different numbers for 12 images"),
        ({"labels": Y[:-1]}, None, "Not used for labels, for their number"),
        ({"labels": np.r_[Y, 0]}, None, "Not used for labels, for their number"),
        ({"labels": NAMES[Y].astype(object)}, None, "labels is not used: it holds Python objects"),
        ({"labels": noise(N, 5)}, None, "Not used for labels"),
    ],
)
def test_which_labels_are_used_and_which_are_not_is_said(tmp_path, others, expected, told):
    found, note = read(tmp_path, images=IMAGES, **others)
    assert found == ["unlabelled" if expected is None else str(expected[i]) for i in range(N)]
    assert told in note


@pytest.mark.parametrize("shape", [(12, 6, 5, 4), (12, 4, 6, 5)])
def test_four_channels_are_colours_on_black_wherever_they_stand(tmp_path, shape):
    values = noise(*shape)
    last = values if shape[-1] == 4 else values.transpose(0, 2, 3, 1)
    np.save(tmp_path / "a.npy", values)
    found = own.read(tmp_path / "a.npy").images.permute(0, 2, 3, 1).numpy()
    expected = last[..., :3] * (last[..., 3:] / 255)
    assert np.abs(found - expected).max() <= 0.5
