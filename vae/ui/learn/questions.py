"""Questions of a lesson: answered by a number or a choice, and judged by the live numbers."""

import streamlit as st

from vae.lessons.lesson import Lesson, Question
from vae.ui.learn.subject import Shown
from vae.ui.text import plain

_GIVEN = "_learn_given"  # (lesson, step or "", question) -> (whose numbers, the answer or None)


def is_open(lesson: Lesson, step: str, question: Question, shown: Shown) -> bool:
    """Whether nobody has answered yet, or asked to be shown."""
    return _given(lesson, step, question, shown) is None


def predict(lesson: Lesson, step: str, question: Question, shown: Shown) -> None:
    """What is asked before anything is shown; afterwards the guess beside the truth."""
    st.markdown(f"**Predict.** {question.text}")
    given = _given(lesson, step, question, shown)
    if given is None:
        _form(lesson, step, question, shown, "Guess", "Show it")
        return
    verdict = question.judge(shown.subject, given[0]) if given[0] is not None else None
    truth = question.said(question.answer(shown.subject))
    if given[0] is None:
        _say(f"It is {truth}: {question.why(shown.subject)}")
    else:
        assert verdict is not None
        said = question.said(given[0])
        _say(f"You said {said}; {verdict.sentence}", verdict.is_right)


def ask(lesson: Lesson, shown: Shown) -> None:
    """The lesson's questions."""
    for number, question in enumerate(lesson.questions, 1):
        st.markdown(f"**{number}.** {question.text}")
        given = _given(lesson, "", question, shown)
        _form(lesson, "", question, shown, "Check")
        if given is not None and given[0] is not None:
            verdict = question.judge(shown.subject, given[0])
            _say(f"{'Right' if verdict.is_right else 'No'}, {verdict.sentence}", verdict.is_right)


def right(lesson: Lesson, shown: Shown) -> list[str]:
    """Keys of those that are answered right."""
    found = []
    for question in lesson.questions:
        given = _given(lesson, "", question, shown)
        if given and given[0] is not None and question.judge(shown.subject, given[0]).is_right:
            found.append(question.key)
    return found


def _say(sentence: str, is_right: bool | None = None) -> None:
    icon = {True: ":green[:material/check:] ", False: ":orange[:material/close:] ", None: ""}
    st.markdown(icon[is_right] + plain(sentence))


def _form(
    lesson: Lesson, step: str, question: Question, shown: Shown, label: str, skip: str = ""
) -> None:
    """The field, and the button; `skip` is that of a second one, which answers nothing."""
    key = f"learn_{lesson.key}_{step}_{question.key}"

    def take(is_skipped: bool = False) -> None:
        value = None if is_skipped else st.session_state.get(key)
        if value is None and not is_skipped:
            return
        st.session_state.setdefault(_GIVEN, {})[lesson.key, step, question.key] = (
            shown.identity,
            value,
        )

    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if question.choices:
            st.segmented_control(
                "Your answer",
                question.choices,
                key=key,
                label_visibility="collapsed",
                on_change=take,
            )
        else:
            unit = f", {question.unit}" if question.unit else ""
            st.number_input(
                f"Your answer{unit}",
                value=None,
                key=key,
                step=None,
                format="%g",
                width=190,
                placeholder=question.unit or "a number",
                label_visibility="collapsed",
                on_change=take,
            )
            st.button(label, key=f"{key}_check", on_click=take)
        if skip:
            st.button(skip, key=f"{key}_skip", on_click=take, args=(True,), type="tertiary")


def _given(
    lesson: Lesson, step: str, question: Question, shown: Shown
) -> tuple[float | str | None] | None:
    """The answer in a tuple, None in it where it was asked to be shown; None for no answer yet."""
    of, value = st.session_state.get(_GIVEN, {}).get((lesson.key, step, question.key), (None, None))
    return (value,) if of == shown.identity and of is not None else None
