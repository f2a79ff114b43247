"""A figure that is made once, and marked for each who looks at it."""

import copy
import json

import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest

from vae.figures import points
from vae.figures.prepared import Prepared


@pytest.fixture
def histogram() -> go.Figure:
    return points.histogram(np.linspace(0, 9, 100), "KL")


def as_json(figure) -> dict:
    return json.loads(plotly.io.to_json(figure, validate=False))


def test_it_is_sent_as_the_figure_itself_is(histogram):
    assert as_json(Prepared.of(histogram)) == as_json(histogram)
    assert as_json(Prepared.of(histogram).whole) == as_json(histogram)


def test_marks_are_those_that_the_figure_itself_would_have(histogram):
    marked = Prepared.of(histogram).marked(points.line_at(3.0))
    histogram.add_shape(points.line_at(3.0).layout.shapes[0])
    assert as_json(marked) == as_json(histogram)


def test_whoever_marks_or_zooms_changes_it_for_nobody_else(histogram):
    kept = Prepared.of(histogram)
    before = copy.deepcopy(kept.to_dict())
    ring = go.Figure(go.Scatter(x=[1], y=[2], legendgroup="a"))
    changed = kept.marked(points.line_at(3.0)).marked(ring).zoomed(xaxis=[0.0, 1.0])
    changed = changed.without_groups(["a"])
    layout, data = changed.to_dict()["layout"], changed.to_dict()["data"]
    assert layout["xaxis"]["range"] == [0.0, 1.0]
    assert layout["xaxis"]["title"] == before["layout"]["xaxis"]["title"]
    assert [trace.get("visible") for trace in data] == [None, "legendonly"]
    assert len(layout["shapes"]) == 1
    assert json.dumps(kept.to_dict(), default=str) == json.dumps(before, default=str)


def test_a_value_that_is_not_finite_is_marked_nowhere(histogram):
    assert not points.line_at(float("nan")).layout.shapes
    kept = Prepared.of(histogram)
    assert as_json(kept.marked(points.line_at(float("inf")))) == as_json(kept)


def test_figures_share_their_template():
    first, second = (Prepared.of(points.histogram(np.arange(n), "KL")) for n in (50, 60))
    assert first.to_dict()["layout"]["template"] is second.to_dict()["layout"]["template"]
