"""The map's zoom and hidden classes, kept for the next figure."""

import math

import plotly.graph_objects as go
import pytest
import streamlit as st

from vae.figures.prepared import Prepared
from vae.figures.theme import traces
from vae.ui.session import map_view


@pytest.fixture(autouse=True)
def session(monkeypatch):
    monkeypatch.setattr(st, "session_state", {})


def figure() -> Prepared:
    made = go.Figure()
    for name in "ab":
        made.add_scattergl(x=[0], y=[0], name=name, legendgroup=name)
    return Prepared.of(made)


def shown(of="map", drawn="label"):
    made = map_view.apply(figure(), of, drawn).whole
    return (
        made.layout.to_plotly_json().get("xaxis", {}).get("range"),
        [trace.name for trace in traces(made) if trace.visible == "legendonly"],
    )


VIEW = {"x": [-1.0, 2.0], "y": [0, 3], "hidden": ["b"]}


def test_another_colour_of_the_same_map_begins_where_the_hand_left_it():
    assert shown() == (None, [])
    map_view.take(VIEW)
    assert shown() == (None, [])  # the same figure is left alone
    assert shown(drawn="KL") == ([-1.0, 2.0], ["b"])
    assert shown(of="another map") == (None, [])
    assert shown() == ([-1.0, 2.0], ["b"])


def test_a_map_that_says_nothing_of_classes_keeps_those_that_are_hidden():
    shown()
    map_view.take(VIEW)
    shown(drawn="KL")
    map_view.take({"x": [0, 1], "y": [0, 1]})
    assert shown() == ([0, 1], ["b"])


@pytest.mark.parametrize(
    "report",
    [
        *(None, 3, [], "x", {}, {"x": [1, 0]}, {"x": [0, math.nan], "y": [0, 1]}),
        *({"x": ["0", "1"], "y": [0, 1]}, {"x": [0, 1]}, {"hidden": "ab"}, {"hidden": [3, None]}),
        {"x": {"0": 1}, "y": None, "hidden": {"a": 1}},
    ],
)
def test_what_makes_no_sense_moves_nothing(report):
    shown()
    map_view.take(report)
    assert shown(drawn="KL") == (None, [])
