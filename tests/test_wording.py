"""What sentences call the points of each kind of data."""

import pytest

from vae import wording
from vae.config import IMAGE, SERIES, VECTOR
from vae.wording import IMAGES


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (IMAGE, "Pixels of an image, and of 3 images; an imagined pixel."),
        (SERIES, "Steps of a point, and of 3 points; an imagined step."),
        (VECTOR, "Features of a point, and of 3 points; an imagined feature."),
    ],
)
def test_a_text_of_images_is_said_of_each_kind(kind, said):
    text = "Pixels of an image, and of 3 images; an imagined pixel."
    assert wording.of(kind).said(text) == said


def test_a_capital_stays_one():
    assert wording.of(VECTOR).said("Images cost. An image costs.") == "Points cost. A point costs."


def test_the_words_of_several_kinds_suit_all_of_them():
    assert wording.of() == wording.of(IMAGE, IMAGE) == IMAGES
    assert wording.of(VECTOR, VECTOR) == wording.of(VECTOR)
    for kinds in ((IMAGE, VECTOR), (VECTOR, SERIES)):
        assert (wording.of(*kinds).points, wording.of(*kinds).numbers) == ("points", "numbers")
    assert [wording.of(kind).a_point for kind in (IMAGE, SERIES)] == ["an image", "a point"]


@pytest.mark.parametrize(
    ("kind", "shape", "size"),
    [
        (IMAGE, (3, 28, 20), "images of 28 × 20"),
        (VECTOR, (1, 1, 1300), "vectors of 1,300 features"),
        (SERIES, (1, 1, 128), "series of 128 steps"),
        (SERIES, (2, 1, 128), "series of 128 steps in 2 channels"),
    ],
)
def test_a_size_in_words(kind, shape, size):
    assert wording.size(kind, shape) == size
