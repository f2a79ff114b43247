"""Learn: the course, a step at a time, with the live model as the blackboard."""

import streamlit as st

from vae.lessons import course
from vae.lessons.course import Place
from vae.lessons.gaussian_pair import Pair
from vae.ui import frame, heading
from vae.ui.learn import pair, parts, progress, questions, steps, subject
from vae.ui.learn import place as places
from vae.ui.session import widgets

frame.require("pages/learn.py")


def main() -> None:
    place = places.current()
    lesson = course.LESSONS[place.lesson]
    heading.ask(lesson.question)
    choose(place)
    if missed := places.missed(place):
        st.warning(missed)
    left, right = st.columns([0.86, 2.1], gap="small")
    with left:
        listed, told, turned, picker = (st.container() for _ in range(4))
        shown = subject.of(lesson, picker)
        step = lesson.by_key.get(place.step)
        with turned:
            steps.turn(place)
        with told:
            if step is None:
                st.markdown("##### Questions")
                questions.ask(lesson, shown)
            else:
                steps.show(lesson, step, shown)
        with listed:
            progress.steps(place, questions.right(lesson, shown))
    with right:
        beside = step or lesson.by_key[lesson.beside]
        is_hidden = step is not None and steps.is_hidden(lesson, step, shown)
        parts.show(lesson, beside, shown, is_hidden)
    places.publish(place)
    pair.publish(shown.subject if isinstance(shown.subject, Pair) else None)


def choose(place: Place) -> None:
    """The lessons, and what stands about the chosen one."""
    lesson = course.LESSONS[place.lesson]

    def take() -> None:
        places.go(course.places(st.session_state["learn_lesson"])[0])

    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="learn_top"):
        shown = widgets.showing("learn_lesson", place.lesson)
        st.segmented_control(
            "Lesson",
            list(course.LESSONS),
            format_func=lambda key: course.LESSONS[key].title,
            label_visibility="collapsed",
            required=True,
            on_change=take,
            **shown,
        )
        with st.popover("Symbols", type="tertiary"):
            steps.symbols(lesson)
        with st.popover("For the teacher", type="tertiary"):
            steps.for_the_teacher(lesson)


main()
