"""Figures without WebGL."""

import numpy as np
import plotly.graph_objects as go
import pytest

from vae.figures import svg
from vae.figures.theme import traces

N = 10_000


@pytest.fixture
def figure():
    places = np.arange(2 * N, dtype=np.float32).reshape(N, 2)
    figure = go.Figure(layout_template="none")  # others name every kind of trace
    figure.add_scattergl(
        **{"x": places[:, 0], "y": places[:, 1], "mode": "markers", "name": "points"},
        customdata=np.arange(N),
        text=[f"t{i}" for i in range(N)],
        hovertemplate="point %{customdata}",
        marker={"color": np.arange(N), "size": 4, "colorscale": [[0, "#000000"], [1, "#ffffff"]]},
    )
    figure.add_scattergl(x=np.arange(500), y=np.arange(500), mode="lines")
    figure.add_scattergl(x=[1.0], y=[2.0], mode="markers", marker={"size": 16})
    figure.add_bar(x=[1, 2], y=[3, 4])
    figure.update_layout(title="kept", uirevision="map")
    figure.frames = [go.Frame(name="7", data=[go.Scattergl(x=places[:, 1]), *traces(figure)[1:]])]
    return figure


def test_nothing_of_it_needs_webgl_and_what_is_said_of_a_point_stays_with_it(figure):
    drawn = svg.without_webgl(figure)
    assert "scattergl" not in str(drawn.to_json())
    points = traces(drawn)[0]
    assert len(points.x) <= svg.MOST_POINTS
    index = np.asarray(points.customdata)
    assert (np.asarray(points.x) == 2 * index).all()
    assert (np.asarray(points.marker.color) == index).all()
    assert list(points.text) == [f"t{i}" for i in index]
    assert points.marker.size == 4
    assert len(points.marker.colorscale) == 2
    (frame,) = drawn.frames
    assert len(frame.data[0].x) == len(points.x)
    assert frame.name == "7"


def test_lines_marks_and_the_rest_are_as_they_were(figure):
    drawn = svg.without_webgl(figure)
    assert len(traces(drawn)[1].x) == 500
    assert list(traces(drawn)[2].x) == [1.0]
    assert traces(drawn)[3] == traces(figure)[3]
    assert drawn.layout == figure.layout


def test_of_few_points_all_are_drawn():
    figure = go.Figure(go.Scattergl(x=np.arange(3000), y=np.arange(3000), mode="markers"))
    assert svg.thinning(figure) == 1
    assert len(traces(svg.without_webgl(figure))[0].x) == 3000
