"""The latent map of a line."""

from itertools import pairwise

import numpy as np
import pytest

from vae import embed
from vae.analysis.axes import strip_places
from vae.config import ModelConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.figures import explore as figures
from vae.figures.theme import traces


@pytest.fixture(scope="module")
def line():
    return embed(VAE(ModelConfig((1, 8, 8), latent_dim=1, hidden=(4,))), catalogue.load("digits"))


def test_points_of_a_line_stand_at_their_mu_each_class_in_a_row_of_its_own(line):
    x, y = strip_places(line).T
    assert (x == line.mu[:, 0]).all()
    assert y.max() < 0
    rows = [(y[line.labels == label].min(), y[line.labels == label].max()) for label in range(10)]
    for (low, _), (_, high) in pairwise(rows):
        assert high < low
    assert (strip_places(line) == strip_places(line)).all()


def test_above_them_is_the_curve_of_the_prior_and_no_ring(line):
    places = strip_places(line)
    figure = figures.latent_map(line, places, "label", ("z", ""), np.zeros(2), is_strip=True)
    assert not figure.to_dict()["layout"].get("shapes")
    curve = next(trace for trace in traces(figure) if trace.mode == "lines")
    assert np.array(curve.y) == pytest.approx(np.exp(-(np.array(curve.x) ** 2) / 2))
    low, high = figure.to_dict()["layout"]["yaxis"]["range"]
    assert low < places[:, 1].min()
    assert high > 1
