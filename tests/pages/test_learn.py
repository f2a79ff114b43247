"""The page Learn without a browser: every step opens, guesses, answers, links, what is missing."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages.live_panel import LivePanel
from streamlit.testing.v1 import AppTest

from vae.lessons import course, gaussian_pair
from vae.lessons.course import LESSONS, QUESTIONS, Place
from vae.runs import checkpoint

ROOT = Path(__file__).resolve().parents[2]
WHOLE = [place for key in LESSONS for place in course.places(key)]


class Steps(LivePanel):
    """The browser's side of the list of steps."""

    @property
    def _proto(self) -> Any:
        (found,) = (proto for proto in self._told if '"steps"' in proto.json)
        return found


@pytest.fixture
def page(app, checkpoints, tiny_run) -> AppTest:
    tiny_run(checkpoints / "tiny")
    return app.run().switch_page("pages/learn.py").run()


def follow(page: AppTest, place: Place, **more: str) -> AppTest:
    """A link to the place, in a visit that goes on."""
    for key, value in {**place._asdict(), **more}.items():
        page.query_params[key] = value
    page.run()
    assert not page.exception
    return page


def text(page: AppTest) -> str:
    shown = [*page.main.markdown, *page.main.caption, *page.main.warning]
    return "\n".join(str(element.value) for element in shown).replace("\\", "")


def at(page: AppTest) -> Place:
    said = [page.query_params[key] for key in ("lesson", "step")]
    return Place(*(value if isinstance(value, str) else value[0] for value in said))


@pytest.mark.few(3)
@pytest.mark.parametrize("key", LESSONS)
def test_every_step_of_a_lesson_opens_in_turn(page, key):
    """With "Next", after each prediction was shown."""
    lesson = LESSONS[key]
    follow(page, course.places(key)[0])
    for place in course.places(key):
        assert at(page) == place
        assert not page.exception
        assert not page.main.error
        step = lesson.by_key.get(place.step)
        assert (step.title if step else "Questions") in text(page)
        if step and step.predict:
            hidden = text(page)
            page.button(key=f"learn_{key}_{step.key}_{step.predict.key}_skip").click().run()
            assert not page.exception
            assert len(text(page)) > len(hidden)
        if page.button(key="learn_next").disabled:
            assert place == WHOLE[-1]
            break
        page.button(key="learn_next").click().run()
    else:
        assert at(page) == WHOLE[WHOLE.index(course.places(key)[-1]) + 1]


def test_a_guess_stands_beside_the_truth(page, checkpoints):
    follow(page, Place("price", "kl"))
    (line,) = (v for v in (m.value for m in page.main.markdown) if "Predict" in v)
    assert "recon or KL" in line
    assert "tfrac12 big( (" not in text(page)  # the point's numbers
    key = "learn_price_kl_dearer"
    page.segmented_control(key=key).set_value("KL").run()
    embedding = checkpoint.open_run(checkpoints / "tiny").load_embedding()
    recon, kl = embedding.recon[0], embedding.kl[0]
    assert recon > kl
    said = f"You said KL; it is recon: recon is {recon:.2f} nats, KL {kl:.2f}."
    assert said in text(page)
    assert ":material/close:" in text(page)
    assert rf"mathrm{{KL}} = {kl:.3f}" in text(page)


def answer(page: AppTest, question: str, value: float | str) -> str:
    key = f"learn_{at(page).lesson}__{question}"
    if isinstance(value, str):
        page.segmented_control(key=key).set_value(value).run()
    else:
        page.number_input(key=key).set_value(value).run()
    assert not page.exception
    return text(page)


def test_an_answer_is_checked_against_the_point_that_is_chosen(page, checkpoints):
    embedding = checkpoint.open_run(checkpoints / "tiny").load_embedding()
    follow(page, Place("price", QUESTIONS))
    total = [round(float(v), 3) for v in embedding.neg_elbo]
    other = int(np.abs(np.array(total) - total[0]).argmax())
    assert f"No, it is {total[0]:.2f} nats: " in answer(page, "total", total[other])
    assert f"Right, it is {total[0]:.2f} nats: " in answer(page, "total", total[0])
    assert Steps(page).data["right"] == ["total"]
    follow(page, Place("price", QUESTIONS), point=str(other))
    assert "Right, " not in text(page)  # that was of another point
    assert Steps(page).data["right"] == []
    assert f"Right, it is {total[other]:.2f} nats: " in answer(page, "total", total[other])


def test_the_pair_that_was_dragged_on_gaussians_is_that_of_the_lesson(page):
    page.switch_page("pages/gaussians.py").run()
    page.button_group(key="gaussians_preset").set_value("Near-singular").run()
    page.switch_page("pages/learn.py").run()
    follow(page, Place("closed-form", QUESTIONS))
    found = LESSONS["closed-form"].questions[0].answer(gaussian_pair.near_singular(2))
    assert "Right, " in answer(page, "value", round(float(found), 2))


def test_a_link_opens_the_lesson_with_its_pair(page):
    place = Place("closed-form", "mahalanobis")
    follow(page, place, pair="1,0,1,0,1,0,2,4,0,0.25")
    assert "= 16.250" in text(page)  # 1 / 4 + 4 / 0.25
    assert page.query_params["pair"] == "1,0,1,0,1,0,2,4,0,0.25"
    for nonsense, said in (
        ("1,0,1,0,1", "it has 5 numbers and needs 10"),
        ("1,0,1,9,1,0,2,4,0,0.25", "s12 of P (=9) must lie between -1 and 1"),
        ("a,b", "The link's pair is none"),
    ):
        follow(page, place, pair=nonsense)
        assert [w for w in page.main.warning if said in w.value.replace("\\", "")]
        assert "= 16.250" in text(page)
    follow(page, Place("price", "kl"))
    assert "pair" not in page.query_params


def test_the_first_lesson_shows_the_pictures_alone(page):
    def panel() -> dict[str, Any]:
        (told,) = (p for p in LivePanel(page)._told if '"chart"' in p.json)
        return json.loads(told.json)

    assert panel()["only"] == []
    follow(page, Place("latent-space", "draw"))
    assert panel()["only"] == ["manifold", "draw"]
    follow(page, Place("autoencoder", "sample"))
    assert "only" not in panel()


@pytest.mark.parametrize(
    ("lesson", "step", "said"),
    [
        ("closed-form", "cyclc", "This lesson has no step 'cyclc'; this is 'A trace may be read"),
        ("nonsense<b>", "x", "There is no lesson 'nonsense<b>'; this is 'Latent space'."),
    ],
)
def test_a_link_to_what_there_is_not_says_so_and_shows_the_nearest(page, lesson, step, said):
    follow(page, Place(lesson, step))
    assert [w for w in page.main.warning if said in w.value.replace("\\", "")]
    page.button(key="learn_next").click().run()
    assert not page.main.warning


def test_the_list_of_steps_turns_to_one_and_takes_no_other(page):
    steps = Steps(page)
    assert [step["key"] for step in steps.data["steps"]] == [
        place.step for place in course.places("latent-space")
    ]
    steps.trigger("step", "decoder")
    assert at(page) == Place("latent-space", "decoder")
    for nonsense in ("nowhere", 3, None, ["decoder"]):
        Steps(page).trigger("step", nonsense)
        assert not page.exception
        assert at(page) == Place("latent-space", "decoder")


def test_collapse_is_taught_on_a_read_only_server(page, monkeypatch):
    from vae.ui import roles

    monkeypatch.setattr(roles, "may_change", lambda: False)
    follow(page, Place("collapse", "diagnose"))
    assert "The posterior has collapsed" in text(page)
    assert not page.main.error


def test_a_link_names_the_model_that_is_trained_in_a_lesson(page):
    place = Place("collapse", "diagnose")  # which begins with another beta
    follow(page, place, beta_diagnose="0.5", free_bits_diagnose="0.25")
    assert page.select_slider(key="beta_diagnose").value == 0.5
    assert page.select_slider(key="free_bits_diagnose").value == 0.25
    follow(page, place, beta_diagnose="7")  # there is none
    assert page.select_slider(key="beta_diagnose").value in (0.5, 8.0)


def test_the_film_of_the_checkpoint_stands_in_a_lesson_where_there_is_one(app, checkpoints):
    shutil.copytree(ROOT / "checkpoints" / "digits-2d", checkpoints / "digits-2d")
    page = app.run().switch_page("pages/learn.py").run()
    follow(page, Place("price", "training"))
    assert len(page.get("plotly_chart")) == 1
    assert "The axes are the same in all epochs" in text(page)
    shutil.rmtree(checkpoints / "digits-2d" / "history")
    page.run()
    assert "No epoch of this run was kept." in text(page)
