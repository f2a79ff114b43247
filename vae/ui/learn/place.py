"""Where a visitor is in the course: in the session, and in the address bar."""

import streamlit as st

from vae.lessons import course
from vae.lessons.course import Place
from vae.ui.learn import address
from vae.ui.text import plain

LESSON, STEP = "lesson", "step"  # in the address bar
_PLACE = "_learn_place"
_MISSED = "_learn_missed"  # (place, what a link asked for in vain)
_LONGEST = 64  # characters of a link that are repeated


def current() -> Place:
    """Where the visitor is; a link that says something new is followed."""
    asked = tuple(st.query_params.get(key, "")[:_LONGEST] for key in (LESSON, STEP))
    if any(asked) and address.follow(LESSON, asked):
        place, missed = course.find(*asked)
        go(place)
        st.session_state[_MISSED] = place, missed
    return st.session_state.setdefault(_PLACE, course.find("")[0])


def go(place: Place) -> None:
    """Turns to another step or lesson."""
    st.session_state[_PLACE] = place


def publish(place: Place) -> None:
    """Makes the address bar a link to it."""
    address.note(LESSON, tuple(place))
    if any(st.query_params.get(key) != value for key, value in _link(place).items()):
        st.query_params.update(_link(place))


def missed(place: Place) -> str:
    """What is to be said of a link that asked for another step than there is; plain."""
    at, sentence = st.session_state.get(_MISSED, (None, ""))
    return plain(sentence) if at == place else ""


def neighbours(place: Place) -> tuple[Place | None, Place | None]:
    """The places before and behind, across lessons; None at the course's ends."""
    whole = [place for key in course.LESSONS for place in course.places(key)]
    at = whole.index(place)
    return (whole[at - 1] if at else None), (whole[at + 1] if at + 1 < len(whole) else None)


def _link(place: Place) -> dict[str, str]:
    return {LESSON: place.lesson, STEP: place.step}
