"""The figures of walks hold the numbers that they were given."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from vae.figures import traversal as traversal_figures
from vae.runs import checkpoint

ROOT = Path(__file__).resolve().parents[2]
EMBEDDING = checkpoint.open_run(ROOT / "checkpoints" / "digits-2d").load_embedding()
CENTRE = np.zeros(2)


def lettered(figure) -> dict[str, tuple[float, float]]:
    return {a.text[3:-4]: (a.x, a.y) for a in figure.layout.annotations if a.text.startswith("<b>")}


def test_both_ways_and_their_stops_are_on_the_map():
    stops = EMBEDDING.mu[[3, 9]]
    ways = [np.linspace(*stops, 5), np.linspace(*stops, 7) ** 2]
    figure = traversal_figures.map_of_ways(
        EMBEDDING, EMBEDDING.mu, ("z₁", "z₂"), CENTRE, ways, stops
    )
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    for way, line in zip(np.repeat(np.arange(2), 2), lines, strict=True):  # each with its halo
        np.testing.assert_allclose(np.stack([line.x, line.y], 1), ways[way])
    assert [line.line.dash for line in lines[1::2]] == ["solid", "dot"]
    assert lettered(figure) == {
        "1": tuple(stops[0].tolist()),
        "2": pytest.approx(stops[1].tolist()),
    }
    assert sum(len(t.customdata) for t in figure.data if t.customdata is not None) == 359


def test_the_points_of_the_groups_are_lit():
    groups = [np.array([3, 4]), np.array([4, 5, 6]), np.array([7])]
    means = np.stack([EMBEDDING.mu[g].mean(0) for g in groups])
    figure = traversal_figures.map_of_groups(
        EMBEDDING, EMBEDDING.mu, ("z₁", "z₂"), CENTRE, groups, means, CENTRE
    )
    lit = [t for t in figure.data if t.mode == "markers" and t.customdata is None]
    places = {(x, y) for trace in lit for x, y in zip(trace.x, trace.y, strict=True)}
    assert places == {tuple(EMBEDDING.mu[i].tolist()) for i in range(3, 8)}
    assert set(lettered(figure)) == set("ABC")


def test_the_band_is_that_of_the_chi_squared_distribution():
    k = 10
    figure = traversal_figures.squared_norms({"a <b>": np.ones(5)}, k, ["1", "2 <i>"])
    (band,) = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    law = stats.chi2(k)
    assert (band.y0, band.y1) == pytest.approx((law.mean() - law.std(), law.mean() + law.std()))
    assert figure.data[0].name == "a &lt;b&gt;"
    assert figure.layout.xaxis.ticktext[1] == "2 &lt;i&gt;"


def test_bars_are_the_density_of_the_means():
    mu = np.random.default_rng(0).normal(size=(5000, 2))
    values = np.array([[-1.0, 0, 1], [-2, 0, 2]])
    figure = traversal_figures.values_among_means(mu, values, ["z₁", "z₂"])
    bars = [trace for trace in figure.data if trace.type == "bar"]
    for bar in bars:
        assert sum(np.array(bar.y) * np.array(bar.width)) == pytest.approx(1, abs=0.01)
    scatters = [trace for trace in figure.data if trace.type == "scatter"]
    np.testing.assert_allclose(scatters[0].y, stats.norm.pdf(scatters[0].x))
    np.testing.assert_array_equal([marks.x for marks in scatters[1::2]], values)
