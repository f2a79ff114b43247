"""What is done to the images of any data set."""

import dataclasses

import numpy as np
import pytest
import torch
from fuzzing import memory_below
from image_files import noise
from torchvision.transforms import functional as transforms

from vae.data import catalogue
from vae.data.dataset import DatasetError


@pytest.mark.parametrize(("C", "size"), [(1, (28, 28)), (3, (20, 31))])
@pytest.mark.parametrize("target", [(32, 32), (8, 12), (64, 5)])
def test_resized_is_torchvisions_resize_of_a_pillow_image(C, size, target):
    images = torch.from_numpy(noise(3, C, *size))
    data = catalogue.Dataset("a", "test", images, torch.zeros(3, dtype=torch.int64), ("x",))
    resized = data.resized((C, *target))
    assert resized.images.dtype == torch.uint8
    for image, found in zip(images, resized.images, strict=True):
        expected = transforms.resize(transforms.to_pil_image(image), list(target))
        assert torch.equal(found, transforms.pil_to_tensor(expected))
    assert (resized.name, resized.split, len(resized)) == ("a", "test", 3)
    assert f"{target[0]} x {target[1]}" in resized.note


def test_colour_becomes_grey_and_grey_colour_as_torchvision_does_it():
    colour = torch.from_numpy(noise(2, 3, 8, 8))
    data = catalogue.Dataset("a", "test", colour, torch.zeros(2, dtype=torch.int64), ("x",))
    for image, found in zip(colour, data.resized((1, 8, 8)).images, strict=True):
        expected = transforms.to_grayscale(transforms.to_pil_image(image))
        assert torch.equal(found, transforms.pil_to_tensor(expected))
    back = data.resized((1, 8, 8)).resized((3, 8, 8)).images
    assert torch.equal(back, data.resized((1, 8, 8)).images.expand(2, 3, 8, 8))


def test_images_of_the_right_shape_stay_the_same_object():
    data = catalogue.load("digits")
    assert data.resized((1, 8, 8)) is data
    with pytest.raises(ValueError, match=r"image_shape \(=\(2, 8, 8\)\) must be"):
        data.resized((2, 8, 8))


def test_the_first_points_keep_their_labels_and_factors():
    data = catalogue.load("sprites", "test")
    first = data.first(10)
    assert len(first) == 10
    assert torch.equal(first.images, data.images[:10])
    assert torch.equal(first.labels, data.labels[:10])
    assert {k: v.tolist() for k, v in first.factors.items()} == {
        k: v[:10].tolist() for k, v in data.factors.items()
    }
    assert len(data.first(10**6)) == len(data)
    assert (first.name, first.split, first.class_names) == ("sprites", "test", data.class_names)


def test_the_fingerprint_is_of_the_images_and_labels_alone():
    digits = catalogue.load("digits")
    mine = dataclasses.replace(digits, images=digits.images.clone(), labels=digits.labels.clone())
    renamed = dataclasses.replace(mine, name="mine", split="train")
    assert renamed.fingerprint == mine.fingerprint == digits.fingerprint
    mine.images[7, 0, 3, 3] ^= 1
    pixel = dataclasses.replace(mine, images=mine.images.clone())
    mine.images[7, 0, 3, 3] ^= 1
    mine.labels[7] ^= 1
    label = dataclasses.replace(mine, labels=mine.labels.clone())
    turned = dataclasses.replace(digits, images=digits.images.reshape(-1, 1, 4, 16))
    others = [pixel.fingerprint, label.fingerprint, turned.fingerprint, digits.first(9).fingerprint]
    assert len({digits.fingerprint, *others}) == 5


def test_to_unit_maps_the_grey_levels_onto_zero_to_one():
    levels = torch.arange(256, dtype=torch.uint8)
    unit = catalogue.to_unit(levels)
    assert unit.dtype == torch.float32
    np.testing.assert_allclose(unit.numpy(), np.arange(256) / 255, rtol=1e-7)
    assert torch.equal(levels, torch.arange(256, dtype=torch.uint8))


def test_a_pixel_is_drawn_as_often_as_its_grey_level_says():
    n = 20_000
    levels = torch.arange(256, dtype=torch.uint8).reshape(256, 1, 1, 1)
    generator = torch.Generator().manual_seed(1)
    drawn = catalogue.binarise(levels.expand(256, 1, 1, n), generator) == 255
    share, p = drawn.float().mean((1, 2, 3)), torch.arange(256) / 255
    assert (share[0], share[255]) == (0, 1)
    assert ((share - p).abs() <= 5 * (p * (1 - p) / n).sqrt()).all()


def test_images_that_would_take_too_much_memory_are_not_resized():
    images = torch.zeros(10_000, 1, 8, 8, dtype=torch.uint8)
    data = catalogue.Dataset("many", "test", images, torch.zeros(10_000).long(), ("x",))
    with (
        memory_below(50),
        pytest.raises(DatasetError, match=r"10,000 images of many .* 7\.9 GB"),
    ):
        data.resized((3, 512, 512))
    data.check_resized((3, 64, 64))
    data.check_resized((1, 8, 8))
