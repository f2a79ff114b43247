"""The contours of a true posterior."""

import numpy as np
import pytest
from scipy.stats import chi2

from vae.figures import inference as figures


def test_the_mass_above_a_cell_is_that_of_the_ellipse_through_it():
    z = (np.arange(400) + 0.5) / 400 * 12 - 6
    distance = z[:, None] ** 2 + z[None] ** 2
    above = figures.mass_above(-distance / 2)
    inside = distance < 25
    assert above[inside] == pytest.approx(
        chi2.cdf(distance[inside], 2), abs=5e-3
    )  # of many cells at one distance


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan])
def test_where_nothing_is_finite_no_cell_is_inside(value):
    assert (figures.mass_above(np.full((3, 3), value)) == 1).all()


@pytest.mark.parametrize("recon", [40.0, -40.0])  # a density may be above 1
def test_both_bars_of_equation_8_end_where_the_cost_does(recon):
    kl, gap = 8.0, 4.0
    figure = figures.equation_8(recon, kl, -(recon + kl - gap), {"gap": gap})
    upper, lower = (
        [bar for bar in figure.data if bar.xaxis == "x" and bar.y[0] == name]
        for name in ("-ELBO", "-log p(x) + gap")
    )
    for bars in (upper, lower):
        assert bars[0].base[0] == 0
        assert bars[0].base[0] + bars[0].x[0] == bars[1].base[0]
        assert bars[1].base[0] + bars[1].x[0] == pytest.approx(recon + kl)
