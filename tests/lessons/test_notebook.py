"""A step of the course in a notebook."""

import pytest

import vae.lessons
from vae.errors import UserError
from vae.lessons import course, gaussian_pair


def test_a_step_is_markdown_with_its_formula_and_the_numbers_of_the_pair():
    pair = gaussian_pair.tilted(2)
    page = vae.lessons.show("closed-form", step="together", subject=pair)
    told = course.LESSONS["closed-form"].step("together").tell(pair)
    shown = page._repr_mimebundle_()["text/markdown"]
    for part in (told.text, f"$${told.formula}$$", *(f"$${line}$$" for line in told.numbers)):
        assert part in shown
    assert page.figure is not None
    assert len(page.figure.data) == 4  # both densities, both integrands


def test_the_first_step_is_shown_where_none_is_named():
    assert vae.lessons.show("closed-form").step.key == "question"


def test_what_there_is_not_is_named():
    with pytest.raises(UserError, match="no lesson 'close'"):
        vae.lessons.show("close")
    with pytest.raises(UserError, match="has no step 'circle'"):
        vae.lessons.show("closed-form", "circle")
    with pytest.raises(UserError, match=r"told with a Board .*, not Pair"):
        vae.lessons.show("bound", subject=gaussian_pair.tilted(2))
