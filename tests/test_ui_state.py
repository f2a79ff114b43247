"""What the hand has set, between the panel, the session and the URL."""

from types import SimpleNamespace

import numpy as np
import pytest

from vae.ui import state

KEY = "run/digits/test/7"
HAND = {
    "point": KEY,
    **{"mu": [1, -0.5], "sigma": [0.25, 2.0], "seed": 3, "S": 12},
    **{"follow": False, "smooth": True, "manifold": False},
}


@pytest.fixture
def session(monkeypatch) -> SimpleNamespace:
    """A visitor at point 7."""
    visitor = SimpleNamespace(session_state={"point": 7}, query_params={})
    monkeypatch.setattr(state, "st", visitor)
    return visitor


def follow(monkeypatch, session: SimpleNamespace) -> SimpleNamespace:
    """Another visitor, who has opened the first one's link."""
    other = SimpleNamespace(session_state={}, query_params=dict(session.query_params))
    monkeypatch.setattr(state, "st", other)
    state.restore()
    return other


def test_nothing_is_held_at_first(session):
    assert state.hand(KEY, 2) is None
    state.publish()
    assert session.query_params == {"point": "7"}


def test_the_hand_is_kept_for_its_point_and_its_number_of_dimensions(session):
    state.take_hand(HAND)
    assert state.hand(KEY, 2) == {"point": KEY, "mu": [1, -0.5], "sigma": [0.25, 2]}
    assert state.hand("run/digits/test/8", 2) is None
    assert state.hand(KEY, 3) is None
    expected = {"seed": 3, "S": 12, "follow": False, "smooth": True, "manifold": False}
    assert session.session_state[state.LIVE] == expected


@pytest.mark.parametrize(
    "changed",
    [
        {"mu": None, "sigma": None},  # the panel shows a drawing
        {"mu": []},
        {"mu": ["x", 1]},
        {"mu": [float("nan"), 1]},
        {"mu": {"a": 1}},
        {"mu": 3},
        {"sigma": [0, 1]},
        {"sigma": [-1, 1]},
        {"sigma": [float("inf"), 1]},
    ],
)
def test_a_q_that_makes_no_sense_leaves_the_last_one(changed, session):
    state.take_hand(HAND)
    state.take_hand({**HAND, **changed, "S": 13})
    assert state.hand(KEY, 2)["mu"] == [1, -0.5]
    assert session.session_state[state.LIVE]["S"] == 13


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("seed", 2**31), ("seed", 1.5), ("seed", "1"), ("S", 0), ("S", 65), ("S", None)],
)
def test_a_setting_that_makes_no_sense_is_left_out(name, value, session):
    state.take_hand({**HAND, name: value})
    assert name not in session.session_state[state.LIVE]


def test_a_link_gives_the_view_to_another_visitor(session, monkeypatch):
    state.take_hand({**HAND, "follow": True})
    state.publish()
    link = {"mu": "1,-0.5", "sigma": "0.25,2", "eps": "3", "samples": "12", "follow": "1"}
    assert session.query_params == {"point": "7", **link}
    other = follow(monkeypatch, session)
    assert other.session_state["point"] == 7
    assert state.hand(KEY, 2)["mu"] == [1, -0.5]
    assert other.session_state[state.LIVE] == {"seed": 3, "S": 12, "follow": True}
    state.publish()
    assert other.query_params == session.query_params


def test_a_linked_q_belongs_to_the_first_point_that_is_shown(session, monkeypatch):
    state.take_hand(HAND)
    state.publish()
    follow(monkeypatch, session)
    assert state.hand(KEY, 2) is not None
    assert state.hand("run/digits/test/8", 2) is None


def test_the_link_drops_the_hand_when_another_point_is_chosen(session):
    state.take_hand(HAND)
    state.publish()
    session.session_state["point"] = 17  # its key ends in a 7 too
    state.publish()
    assert set(session.query_params) == {"point", "eps", "samples"}


def test_the_link_stays_short(session):
    state.take_hand({**HAND, "mu": [1 / 3] * 16, "sigma": [1 / 3] * 16})
    state.publish()
    assert session.query_params["mu"] == ",".join(["0.33333"] * 16)
    state.take_hand({**HAND, "mu": [1 / 3] * 17, "sigma": [1 / 3] * 17})
    state.publish()
    assert not {"mu", "sigma"} & set(session.query_params)
    assert state.hand(KEY, 17) is not None


def test_what_was_published_does_not_come_back_as_news(session):
    state.take_hand({**HAND, "mu": [1 / 3, 0]})
    state.publish()
    state.restore()
    assert state.hand(KEY, 2)["mu"] == [1 / 3, 0]  # not the five digits of the link


def test_a_link_followed_in_the_same_tab_is_news(session):
    state.take_hand(HAND)
    state.publish()
    session.query_params.update(mu="0,0", samples="5")
    state.restore()
    assert state.hand(KEY, 2)["mu"] == [0, 0]
    assert session.session_state[state.LIVE]["S"] == 5
    assert session.session_state[state.LIVE]["seed"] == 3


def test_drawings_are_kept_by_shape_and_only_the_newest(session):
    assert state.drawings((1, 2, 2)).shape == (0, 1, 2, 2)
    for value in range(25):
        state.keep_drawing(np.full((1, 2, 2), value, dtype=np.uint8))
    state.keep_drawing(np.zeros((1, 3, 3), dtype=np.uint8))
    kept = state.drawings((1, 2, 2))
    assert kept[:, 0, 0, 0].tolist() == list(range(6, 25))  # twenty in all, one of them 3 x 3
    assert state.drawings((1, 3, 3)).shape == (1, 1, 3, 3)


def test_a_widget_is_set_only_where_it_shows_something_else(session):
    options = state.widget("point", "value")
    assert (options["value"], options["persist_state"]) == (7, "session")
    key = options["key"]
    assert key not in session.session_state  # what it shows at first needs no setting
    assert state.widget("point")["key"] == key
    assert session.session_state[key] == 7
    assert "value" in state.widget("point", "value")
    session.session_state["point"] = 8
    assert "value" not in state.widget("point", "value")
    assert session.session_state[key] == 8

    session.session_state[key] = 9
    options["on_change"]()
    assert session.session_state["point"] == 9
    del session.session_state[key]  # its page was left
    options["on_change"]()
    assert session.session_state["point"] == 9
