"""Another program's file in the sidebar: what was inferred, the warning, and the other reading."""

import pytest
import torch
from formats import strangers
from pages.answers import captions, stated_terms
from pages.conftest import APP
from streamlit.testing.v1 import AppTest

from vae.ui.session.selection import RUN


@pytest.fixture
def stranger(app, checkpoints):
    """Explore on a trained model whose file does not say what it is."""
    torch.save(strangers.state_dict(), checkpoints / "stranger.pt")
    app.session_state[RUN] = "stranger.pt"
    return app.run()


def field(app, label):
    return next(box for box in app.selectbox if box.label == label)


def warnings(app):
    return [box.value for box in app.warning]


def cost(app):
    return stated_terms(app)[2]


def test_each_inferred_fact_says_how_it_is_known_and_what_else_it_may_be(stranger):
    assert not stranger.error
    assert not warnings(stranger)
    assert field(stranger, "Input").value == r"[0, 1]"
    assert field(stranger, "Hidden activation").value in ("GELU", "SiLU")
    said = [box.value for box in stranger.caption]
    assert any(text.startswith("By the data, better by") for text in said)
    assert any(text.startswith("Assumed") for text in said)


def test_another_reading_is_tried_at_once_and_a_wrong_one_is_warned_of(stranger):
    right, activation = cost(stranger), field(stranger, "Hidden activation").value
    field(stranger, "Input").set_value("[-1, 1]").run()
    assert field(stranger, "Hidden activation").value == activation  # one thing at a time
    assert "Do not trust the numbers below" in warnings(stranger)[0]
    assert cost(stranger) != right
    named = [box.value for box in stranger.markdown]
    assert any("Which of these is your model?" in text for text in named)
    stranger.button(key="reading_0").click().run()
    assert not warnings(stranger)
    assert field(stranger, "Input").value == "[0, 1]"
    assert not any("Which of these" in box.value for box in stranger.markdown)


@pytest.mark.slow
def test_a_link_shows_the_same_reading(stranger):
    field(stranger, "Input").set_value("[-1, 1]").run()
    wrong, link = cost(stranger), dict(stranger.query_params)
    assert link["reading"] == "input=[-1, 1]"
    again = AppTest.from_file(APP, default_timeout=120)
    for name, value in link.items():
        again.query_params[name] = value
    again.run()
    assert (cost(again), field(again, "Input").value) == (wrong, r"[-1, 1]")
    again.query_params["reading"] = "input=[7, 9];x;=;no such=<b>"  # a link may say anything
    again.run()
    assert field(again, "Input").value == r"[0, 1]"
    assert not again.exception


@pytest.mark.slow
def test_what_was_chosen_can_be_taken_back(stranger):
    right = cost(stranger)
    field(stranger, "Input").set_value("[-1, 1]").run()
    stranger.button(key="facts_as_found_stranger.pt").click().run()
    assert cost(stranger) == right
    assert not warnings(stranger)


def test_weights_that_were_never_trained_are_warned_of(app, checkpoints):
    state = {name: torch.randn_like(value) / 8 for name, value in strangers.state_dict().items()}
    torch.save(state, checkpoints / "stranger.pt")
    app.session_state[RUN] = "stranger.pt"
    app.run()
    assert "one constant image for all costs" in warnings(app)[0]


def test_a_decoder_alone_says_so_over_its_map(app, checkpoints):
    state = {name: t for name, t in strangers.state_dict().items() if name.startswith("dec")}
    torch.save(state, checkpoints / "half.pt")
    app.session_state[RUN] = "half.pt"
    app.run()
    assert not app.error
    assert not warnings(app)
    assert any("a decoder alone: it holds no encoder" in box.value for box in app.info)
    assert "q, as there is no encoder, near the posterior" in captions(app)
