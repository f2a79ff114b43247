"""The figures of points: the cost of each pixel of one."""

import numpy as np
import pytest

from vae.figures.points import pixel_map


@pytest.mark.parametrize(
    ("least", "most", "shown"),
    [(0.0, 2.5, (0.0, 2.5)), (0.3, 2.5, (0.0, 2.5)), (-1.5, 2.5, (-1.5, 2.5)), (0, 0.01, (0, 0.1))],
)
def test_the_costs_of_pixels_have_the_images_shape_and_a_scale_that_begins_at_zero(
    least, most, shown
):
    costs = np.linspace(least, most, 32).reshape(4, 8)
    figure = pixel_map(costs, 112)
    below = figure.layout.margin.b
    drawn = figure.layout.width - figure.layout.margin.l - figure.layout.margin.r
    assert (drawn, figure.layout.height - below) == (112, 56)
    (heat,) = figure.data
    assert (heat.zmin, heat.zmax) == pytest.approx(shown)
    assert heat.colorbar.ticktext == tuple(f"{end:.1f}" for end in shown)
