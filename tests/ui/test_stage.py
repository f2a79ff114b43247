"""What Python knows of the stage: larger figures, and stops that are views of this app."""

from urllib.parse import parse_qsl

import plotly.graph_objects as go
import pytest
from pages.conftest import APP
from streamlit.testing.v1 import AppTest

from vae.figures.prepared import Prepared
from vae.lessons import course
from vae.ui import stage


def test_a_figure_is_enlarged_and_the_one_that_all_share_is_not():
    figure = go.Figure(go.Scatter(x=[1, 2], y=[1, 2], marker={"size": 4}, line={"width": 1}))
    figure.update_layout(xaxis={"title": "z"}, height=400, annotations=[{"font": {"size": 10}}])
    shared = Prepared.of(figure)
    before = str(shared.to_dict())
    large = shared.enlarged(2.0)
    spec = large.to_dict()
    assert spec["data"][0]["marker"]["size"] == 8
    assert spec["data"][0]["line"]["width"] == 2
    assert spec["layout"]["font"]["size"] == spec["layout"]["xaxis"]["tickfont"]["size"] == 24
    assert spec["layout"]["xaxis"]["title"]["font"]["size"] == 24
    assert spec["layout"]["annotations"][0]["font"]["size"] == 24  # 12 at least before
    assert large.whole.layout.xaxis.title.text == "z"  # Plotly takes it
    assert str(shared.to_dict()) == before


@pytest.mark.parametrize(("title", "page", "query"), stage.TOUR)
def test_each_stop_of_the_tour_opens(title, page, query):
    app = AppTest.from_file(APP, default_timeout=120).run()
    app.session_state[stage._ASKED] = {"page": page, "query": query}
    app.run()
    assert not app.exception
    assert not app.error
    assert not [box.value for box in app.warning if "There is no" in box.value]
    assert app.session_state["run"] == query.split("&")[0].removeprefix("run=")


def test_each_lesson_has_its_stops_in_order():
    tours = stage._tours()
    assert len(tours) == 1 + len(course.LESSONS)
    for tour, lesson in zip(tours[1:], course.LESSONS.values(), strict=True):
        assert tour["title"] == lesson.title
        assert [stop["title"] for stop in tour["stops"]] == [step.title for step in lesson.steps]
        for stop, step in zip(tour["stops"], lesson.steps, strict=True):
            query = dict(parse_qsl(stop["query"]))
            place, said = course.find(query["lesson"], query["step"])
            assert (stop["page"], place.lesson, place.step, said) == (
                *("learn", lesson.key, step.key),
                "",
            )


@pytest.mark.parametrize("sent", [None, 7, {}, {"page": "../x", "query": ""}, {"page": "points"}])
def test_nonsense_from_the_browser_goes_nowhere(monkeypatch, sent):
    state: dict = {stage.KEY: {"go": sent}}
    monkeypatch.setattr(stage.st, "session_state", state)
    stage._ask(["explore", "points"])
    assert stage._ASKED not in state
