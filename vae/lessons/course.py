"""The course: eight lessons in order, and how one finds a step."""

import difflib
from typing import NamedTuple

from vae.errors import UserError
from vae.lessons import (
    autoencoder,
    bound,
    closed_form,
    collapse,
    latent_space,
    misses,
    price,
    reparameterisation,
)
from vae.lessons.lesson import Lesson

LESSONS: dict[str, Lesson] = {
    found.key: found
    for found in (
        latent_space.LESSON,
        autoencoder.LESSON,
        price.LESSON,
        closed_form.LESSON,
        bound.LESSON,
        reparameterisation.LESSON,
        collapse.LESSON,
        misses.LESSON,
    )
}
FIRST = latent_space.LESSON  # for who knows none of the field's words
QUESTIONS = "questions"  # the place behind a lesson's last step


class Place(NamedTuple):
    """A step of a lesson, by their keys; QUESTIONS stands behind the last one."""

    lesson: str
    step: str


def lesson(key: str) -> Lesson:
    """Raises UserError for a lesson that there is not."""
    if key not in LESSONS:
        raise UserError(f"there is no lesson {key!r}; the lessons are {', '.join(LESSONS)}")
    return LESSONS[key]


def places(key: str) -> tuple[Place, ...]:
    """All of a lesson's, in order."""
    return tuple(Place(key, step) for step in (*LESSONS[key].by_key, QUESTIONS))


def find(lesson_key: str, step_key: str = "") -> tuple[Place, str]:
    """The place that is meant, or the nearest one.

    Args:
        lesson_key, step_key: as a link has them; "" for the first.

    Returns:
        The place, and a sentence if it is another than was asked for; else "".
    """
    key = _nearest(lesson_key, tuple(LESSONS))
    known = tuple(place.step for place in places(key))
    if key != lesson_key and lesson_key:
        said = f"There is no lesson {lesson_key!r}; this is {LESSONS[key].title!r}."
        return Place(key, step_key if step_key in known else known[0]), said
    step = _nearest(step_key, known)
    if step != step_key and step_key:
        title = LESSONS[key].by_key[step].title if step != QUESTIONS else "Questions"
        return Place(key, step), f"This lesson has no step {step_key!r}; this is {title!r}."
    return Place(key, step), ""


def _nearest(asked: str, known: tuple[str, ...]) -> str:
    if asked in known or not asked:
        return asked or known[0]
    return next(iter(difflib.get_close_matches(asked[:64], known, 1, 0.6)), known[0])
