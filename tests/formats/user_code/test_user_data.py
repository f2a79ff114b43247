"""A person's data by the name of what makes them."""

import sys
import types

import numpy as np
import pytest
import torch

from vae import formats
from vae.data import catalogue
from vae.data.dataset import Dataset, DatasetError


def given(data: object) -> tuple[Dataset, str]:
    """The whole set that a factory's data become, and the note."""
    sys.modules["data_given"] = types.ModuleType("data_given")
    sys.modules["data_given"].load = lambda: data
    try:
        name = formats.open_data("data_given:load")
    finally:
        del sys.modules["data_given"]
    return catalogue.load(name, "all"), catalogue.describe(name).note


class MapStyle(torch.utils.data.Dataset):
    classes = ("cat", "dog")

    def __init__(self, n: int = 12) -> None:
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return torch.full((3, 4, 5), i / self.n), i % 2


BYTES = np.arange(12 * 20, dtype=np.uint8).reshape(12, 4, 5)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (BYTES, (1, 4, 5)),
        (BYTES[:, None], (1, 4, 5)),
        (BYTES[..., None], (1, 4, 5)),
        (np.stack([BYTES] * 3, 1), (3, 4, 5)),
        (np.stack([BYTES] * 3, 3), (3, 4, 5)),
        (BYTES[:, :, :4].reshape(12, 16), (1, 4, 4)),
        (torch.from_numpy(BYTES) / 255, (1, 4, 5)),
        (torch.from_numpy(BYTES).double() / 255, (1, 4, 5)),
        (BYTES.astype(np.int64), (1, 4, 5)),
        (list(BYTES), (1, 4, 5)),
        ((BYTES, ["a", "b"] * 6), (1, 4, 5)),
        ({"test": BYTES[:6], "train": BYTES[6:]}, (1, 4, 5)),
        ({"test": (BYTES[:6], [1.0, 2.5] * 3), "train": (BYTES[6:], [2.5] * 6)}, (1, 4, 5)),
        (MapStyle(), (3, 4, 5)),
        (torch.utils.data.DataLoader(MapStyle(), 5), (3, 4, 5)),
        (torch.utils.data.TensorDataset(torch.from_numpy(BYTES)), (1, 4, 5)),
        ([{"image": image, "label": 3} for image in BYTES], (1, 4, 5)),
    ],
)
def test_data_of_every_form_become_bytes(data, shape):
    found, _ = given(data)
    assert (found.images.dtype, found.image_shape, len(found)) == (torch.uint8, shape, 12)
    if shape == (1, 4, 5):
        rows = {image.tobytes() for image in found.images.numpy()}
        assert rows == {image.tobytes() for image in BYTES}


def test_what_is_known_of_data_is_kept():
    found, _ = given(MapStyle())
    assert found.class_names == ("cat", "dog")
    brightness = {int(i): round(i / 12 * 255) for i in range(12)}
    for image, label in zip(found.images, found.labels, strict=True):
        (i,) = [i for i, value in brightness.items() if value == int(image[0, 0, 0])]
        assert int(label) == i % 2
    found, _ = given((BYTES, ["b", "a"] * 6))
    assert found.class_names == ("a", "b")
    found, _ = given({"test": (BYTES[:6], [1.0, 2.5] * 3), "train": (BYTES[6:], [2.5] * 6)})
    assert (found.class_names, found.labels.tolist()) == (("1", "2.5"), [1] * 6 + [0, 1] * 3)
    sprites = catalogue.load("sprites").first(20)
    found, _ = given(sprites)
    assert found.class_names == sprites.class_names
    assert sorted(found.factors["x"].tolist()) == sorted(sprites.factors["x"].tolist())
    found, note = given((BYTES > 128, torch.randn(12)))
    assert set(found.images.unique().tolist()) == {0, 255}
    found, note = given((np.minimum(BYTES, 1), np.arange(12)))
    assert set(found.images.unique().tolist()) == {0, 255}
    assert "Values 0 and 1 become 0 and 255." in note


def test_held_out_images_alone_are_no_training_set():
    given_name = "data_given.load"
    sys.modules["data_given"] = types.ModuleType("data_given")
    sys.modules["data_given"].load = lambda: {"test": BYTES}
    assert formats.open_data("data_given:load") == given_name
    del sys.modules["data_given"]
    assert len(catalogue.load(given_name, "test")) == 12
    with pytest.raises(DatasetError, match="has no training images"):
        catalogue.load(given_name, "train")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "a NoneType is no set of images; give images (N, C, H, W)"),
        ("photographs/", "a str is no set of images"),
        (BYTES[:5], "5 images; at least 10"),
        (BYTES[:0], "there are no images in it"),
        ([], "0 images; from 1 to 100,000 are read"),
        (BYTES / 255 * 2 - 1, "values from -1 to 0.87451; give pixels in [0, 1], or bytes"),
        (BYTES.astype(int) + 99, "whole values from 99 to 338; pixels go from 0 to 255"),
        (np.full((12, 4, 4), np.nan), "values that are NaN or infinite"),
        (np.array(["a"] * 12), "values of type <U1 are no pixels"),
        (np.zeros((12, 2, 4, 4)), "values of shape 12x2x4x4 are no images"),
        ((BYTES, [1, 2]), "2 labels for 12 images; give one per image"),
        ((BYTES, np.zeros((12, 10))), "labels of shape 12x10; give one per image, (12,)"),
        ((BYTES, 3), "labels of type int"),
        ([BYTES[0]] * 11 + [BYTES[0, :2]], "item 11 is 2x5, item 0 is 4x5"),
        ([{"pixels": 1}] * 12, "item 0 has no 'image', but: pixels"),
        ({"train": BYTES}, 'a dict must have the keys "train" and "test", or "test" alone'),
        ({"test": BYTES, "val": BYTES}, "it has: test, val"),
        ({"test": BYTES, "train": BYTES[:, :3]}, "must have one shape: train 1x3x5, test 1x4x5"),
        (MapStyle(100_001), "100,001 images; from 1 to 100,000 are read"),
        (np.broadcast_to(np.uint8(9), (12, 5000, 5000)), "300 MB of images; at most 200 MB"),
    ],
)
def test_data_that_cannot_be_used_are_told_in_one_sentence(data, said):
    with pytest.raises(DatasetError) as caught:
        given(data)
    assert said in str(caught.value)
    assert str(caught.value).startswith("--data (='data_given:load'): ")
    assert "\n" not in str(caught.value)


def test_an_error_inside_a_persons_data_set_is_told_where():
    class Broken(MapStyle):
        def __getitem__(self, i):
            return [][i]

    with pytest.raises(DatasetError, match=r"raised IndexError: list index out of range \(line"):
        given(Broken())


def test_given_data_need_a_name_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA", str(tmp_path))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "data_given.load.safetensors").touch()
    with pytest.raises(DatasetError, match="a data set named 'data_given"):
        given(BYTES)
    few = catalogue.load("digits").first(3)
    with pytest.raises(DatasetError, match="must be 1 to 40 letters"):
        catalogue.give("mnist", few)
    with pytest.raises(DatasetError, match="must be uint8"):
        catalogue.give("floats", Dataset("", "test", few.images / 255, few.labels, ("a",)))
    with pytest.raises(DatasetError, match="from 0 to 0"):
        catalogue.give("labels", Dataset("", "test", few.images, few.labels + 1, ("a",)))
