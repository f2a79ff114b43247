"""A lesson as a student walks it: by keyboard, with right and wrong answers, and what is kept."""

import json

import pytest
from browser.driver import Map, settled
from playwright.sync_api import Page, expect

from vae.data import catalogue
from vae.lessons import course
from vae.lessons.board import board
from vae.lessons.gaussian_pair import tilted
from vae.lessons.lesson import PAIR, Question

LESSON = course.LESSONS["closed-form"]
KEPT = "localStorage.getItem('elbo-room-lessons')"


def opened(page: Page, number: int) -> None:
    """Waits for a step, by its number."""
    listed = page.locator(".course button")
    expect(listed.nth(number - 1)).to_have_attribute("aria-current", "step")
    settled(page)


def answer(page: Page, place: int, question: Question, value: float | str) -> None:
    """By keyboard alone."""
    if isinstance(value, str):
        option = page.get_by_role("radio", name=value, exact=True).last
        option.focus()
        option.press("Space")
    else:
        field = page.get_by_label("Your answer").and_(page.locator("input")).nth(place)
        field.fill(f"{value:.4g}")
        field.press("Enter")
    settled(page)


@pytest.mark.slow
def test_a_lesson_is_walked_by_keyboard_and_the_browser_keeps_what_was_done(new_page):
    page = new_page("/learn?run=digits-2d&lesson=closed-form&step=trace")
    opened(page, 9)
    expect(page.locator("[data-kl='PQ']")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    opened(page, 8)
    for number in range(9, 16):
        page.keyboard.press("ArrowRight" if number % 2 else "PageDown")
        opened(page, number)
    assert "step=questions" in page.url
    expect(page.locator(".course .done")).to_have_text("0 of 3 answered")

    pair, fields = tilted(2), 0
    for number, question in enumerate(LESSON.questions, 1):
        truth = question.answer(pair)
        if isinstance(truth, str):
            wrong = next(choice for choice in question.choices if choice != truth)
        else:
            wrong = truth + 3
        for given, said in ((wrong, "No, "), (truth, "Right, ")):
            answer(page, fields, question, given)
            sentence = f"{said}{question.judge(pair, given).sentence}"
            expect(page.get_by_text(sentence, exact=False)).to_be_visible()
        fields += not isinstance(truth, str)
        expect(page.locator(".course .done")).to_have_text(f"{number} of 3 answered")

    kept = json.loads(page.evaluate(KEPT))["closed-form"]
    assert kept["right"] == [question.key for question in LESSON.questions]
    page.reload()
    opened(page, 15)
    expect(page.locator(".course .done")).to_have_text("3 of 3 answered")
    expect(page.locator(".course button.seen")).to_have_count(8)  # 8 to 14, and the questions
    page.evaluate("localStorage.setItem('elbo-room-lessons', '[3')")  # not what we wrote
    page.reload()
    opened(page, 15)
    expect(page.locator(".course button.seen")).to_have_count(1)


def test_a_drag_gives_the_step_other_numbers_and_keys_stay_with_what_has_the_focus(new_page):
    page = new_page("/learn?lesson=closed-form&step=mahalanobis")
    opened(page, 10)
    before = page.locator(".katex-mathml").all_inner_texts()
    handle = page.locator(".handle[data-handle='P mean']")
    handle.focus()
    for _ in range(3):
        handle.press("ArrowRight")
    expect(page.locator(".course button").nth(9)).to_have_attribute("aria-current", "step")
    page.wait_for_timeout(500)
    settled(page)
    assert page.locator(".katex-mathml").all_inner_texts() != before


def test_the_first_lesson_shows_no_word_that_it_has_not_explained(new_page):
    page = new_page("/learn?run=digits-2d&point=100&lesson=latent-space&step=picture")
    Map(page)
    opened(page, 1)
    words = {
        word
        for part in (".live", ".st-key-map")
        for word in page.locator(part).inner_text().split()
    }
    assert {"Picture", "picture", "place"} <= words
    assert not words & {"recon", "KL", "μ₁", "σ₁", "encoder", "decoder", "Manifold", "prior", "1σ"}
    expect(page.get_by_role("button", name="Draw", exact=True)).to_be_hidden()
    page.locator(".course button").nth(5).click()
    opened(page, 6)
    expect(page.get_by_role("button", name="Draw", exact=True)).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize("key", [key for key in course.LESSONS if key != LESSON.key])
def test_the_questions_of_each_lesson_are_judged_by_the_live_numbers(key, new_page, run, embedding):
    lesson = course.LESSONS[key]
    page = new_page(f"/learn?run=digits-2d&point=0&lesson={key}&step=questions")
    opened(page, len(lesson.steps) + 1)
    subject = tilted(2)
    if lesson.subject != PAIR:
        subject = board(run.load_model(), embedding, 0, catalogue.load("digits"))
    fields = 0
    for number, question in enumerate(lesson.questions, 1):
        truth = question.answer(subject)
        if isinstance(truth, str):
            wrong = next(choice for choice in question.choices if choice != truth)
        else:
            wrong = 3 * truth + 3
        for given, said in ((wrong, "No, "), (truth, "Right, ")):
            answer(page, fields, question, given)
            shown = page.get_by_test_id("stMarkdown").filter(has_text=said)
            expect(shown).to_have_count(1 if said == "No, " else number)
        fields += not isinstance(truth, str)
        expect(page.locator(".course .done")).to_have_text(
            f"{number} of {len(lesson.questions)} answered"
        )
