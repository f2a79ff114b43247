"""Pictures of a table."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from vae.ui import images


def shown(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_the_image_whatever_its_numbers_are_made_of(dtype, channels):
    image = np.arange(channels * 64).reshape(channels, 8, 8)
    picture = shown(images.data_url((image / 255).astype(dtype)))
    assert picture.shape == (64, 64, 3)
    rows = np.broadcast_to(image, (3, 8, 8)).transpose(1, 2, 0)
    assert (picture[::8, ::8] == rows).all()


def test_images_of_the_same_bytes_are_told_apart():
    flat = np.arange(48) / 255
    urls = {images.data_url(flat.reshape(shape)) for shape in ((1, 6, 8), (1, 8, 6), (3, 4, 4))}
    assert len(urls) == 3


def test_what_damaged_weights_decode_to_is_a_picture_too():
    picture = images.enlarged(np.array([[[np.nan, np.inf], [-np.inf, 0.5]]]), 2)
    assert picture[..., 0].tolist() == [[0, 255], [0, 128]]
