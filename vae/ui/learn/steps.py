"""A step as it is read: its text, what to predict, its formula and numbers, what to do."""

import re
from collections.abc import Iterator

import streamlit as st

from vae.errors import UserError
from vae.lessons import course
from vae.lessons.glossary import GLOSSARY
from vae.lessons.lesson import Lesson, Step
from vae.ui.learn import place as places
from vae.ui.learn import questions
from vae.ui.learn.subject import Shown
from vae.ui.text import plain, sentence

# KaTeX breaks no line within brackets that grow.
_FIXED = {r"\left[": r"\Big[", r"\right]": r"\Big]", r"\left(": r"\big(", r"\right)": r"\big)"}


_OPEN = re.compile(r"^[+=<]|[+=<-]$")
_TEXT = r"\text{"
_DIFFERENCE = re.compile(r"\((?:x|\\mu_1)-\\mu_[12]\)")  # which shall stay on one line


def is_hidden(lesson: Lesson, step: Step, shown: Shown) -> bool:
    """Whether what is to be seen waits for a guess."""
    asked = step.predict
    return asked is not None and questions.is_open(lesson, step.key, asked, shown)


def show(lesson: Lesson, step: Step, shown: Shown) -> None:
    """The step; its numbers stand there once they were guessed, or asked for."""
    number = lesson.steps.index(step) + 1
    st.markdown(f"##### {number}. {step.title}")
    try:
        told = step.tell(shown.subject)
        st.markdown(told.text)
        if told.formula:
            _formula(told.formula)
        if step.predict:
            questions.predict(lesson, step.key, step.predict, shown)
        if not is_hidden(lesson, step, shown):
            for line in told.numbers:
                _formula(line)
    except UserError as error:
        if step.text:
            st.markdown(step.text)
        st.warning(sentence(error))
    if step.do and not is_hidden(lesson, step, shown):
        st.markdown(f"**Do.** {step.do}")


def _formula(line: str) -> None:
    r"""KaTeX, with its words as words of the page; it breaks at \qquad, at words and relations."""
    for grows, fixed in _FIXED.items():
        line = line.replace(grows, fixed)
    line = _DIFFERENCE.sub(r"{\g<0>}", line)
    for part in line.split(r"\qquad"):
        pieces = (
            plain(text) if is_text else rf"$\displaystyle {_OPEN.sub(_with_room, text)}$"
            for is_text, text in _pieces(part)
            if text
        )
        st.markdown(" ".join(pieces))


def _with_room(sign: re.Match[str]) -> str:
    """A sign at an end keeps its distance only from something, be it empty."""
    return f"{sign[0]} {{}}" if sign.end() == len(sign.string) else f"{{}} {sign[0]}"


def _pieces(line: str) -> Iterator[tuple[bool, str]]:
    r"""The words that stand in a formula's \text{}, and what stands between them: (is it text, it).

    Words within a fraction, a brace or the like are left to KaTeX.
    """
    depth = start = place = 0
    while place < len(line):
        if depth == 0 and line.startswith(_TEXT, place):
            yield False, line[start:place].strip(" ,")
            end = line.index("}", place)
            yield True, line[place + len(_TEXT) : end].strip()
            start = place = end + 1
            continue
        depth += {"{": 1, "}": -1}.get(line[place], 0)
        place += 1
    yield False, line[start:].strip(" ,")


def turn(place: course.Place) -> None:
    """The buttons to the step before and to the one behind."""
    before, behind = places.neighbours(place)
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Previous",
            key="learn_previous",
            icon=":material/arrow_back:",
            disabled=before is None,
            on_click=places.go,
            args=(before,),
        )
        st.button(
            "Next" if behind is None or behind.lesson == place.lesson else "Next lesson",
            key="learn_next",
            icon=":material/arrow_forward:",
            icon_position="right",
            type="primary",
            disabled=behind is None,
            on_click=places.go,
            args=(behind,),
        )


def symbols(lesson: Lesson) -> None:
    """The lesson's symbols, each in a sentence."""
    lines = []
    for name in lesson.symbols:
        word = GLOSSARY[name]
        equation = f" *{plain(word.equation)}*" if word.equation else ""
        lines.append(f"**{plain(name)}** {plain(word.sentence)}{equation}")
    st.markdown("\n\n".join(lines))


def for_the_teacher(lesson: Lesson) -> None:
    """Ten lines."""
    st.markdown(f"About {lesson.minutes} minutes.")
    st.markdown("\n".join(f"{i}. {plain(line)}" for i, line in enumerate(lesson.teacher, 1)))
