"""The list of a lesson's steps; what was seen and answered is known to the browser alone."""

import streamlit as st
from streamlit.components.v2 import component

from vae.lessons import course
from vae.lessons.course import QUESTIONS, Place
from vae.live import source
from vae.ui.learn import place as places

_KEY = "learn_course"
_component = component("elbo_room_course", js=source.module("learn.js"), css=source.css("learn"))


def steps(place: Place, right: list[str]) -> None:
    """The steps as numbers, with those marked that this browser has seen.

    Args:
        place: where the visitor is.
        right: keys of the questions of this lesson that are answered right now.
    """
    lesson = course.LESSONS[place.lesson]
    listed = [{"key": step.key, "title": step.title} for step in lesson.steps]

    def turn() -> None:
        asked = Place(place.lesson, st.session_state[_KEY]["step"])
        if asked in course.places(place.lesson):  # else it is not what our own script sends
            places.go(asked)

    _component(
        key=_KEY,
        data={
            "lesson": place.lesson,
            "step": place.step,
            "steps": [*listed, {"key": QUESTIONS, "title": "Questions"}],
            "right": right,
            "n": len(lesson.questions),
        },
        on_step_change=turn,
    )
