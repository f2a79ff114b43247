"""Images that were drawn for the Points page."""

import numpy as np

from vae.ui.session import drawings


def test_drawings_are_kept_by_shape_and_only_the_newest(session):
    assert drawings.of_shape((1, 2, 2)).shape == (0, 1, 2, 2)
    for value in range(25):
        drawings.keep(np.full((1, 2, 2), value, dtype=np.uint8))
    drawings.keep(np.zeros((1, 3, 3), dtype=np.uint8))
    kept = drawings.of_shape((1, 2, 2))
    assert kept[:, 0, 0, 0].tolist() == list(range(6, 25))  # twenty in all, one of them 3 x 3
    assert drawings.of_shape((1, 3, 3)).shape == (1, 1, 3, 3)
