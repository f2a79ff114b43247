"""The q that was set by hand, between the panel, the session and the URL."""

import pytest

from vae.ui.session import manual_q, selection

POINT = {"run": "run", "data": "digits", "split": "test", "index": 7}
OTHERS = [POINT | c for c in ({"run": "b"}, {"data": "b"}, {"split": "all"}, {"index": 8})]
REPORTED = {
    "point": POINT,
    **{"mu": [1, -0.5], "sigma": [0.25, 2.0], "seed": 3, "S": 12},
    **{"follow": False, "smooth": True, "manifold": False},
}
CHOSEN = {"run": "run", "data": "digits held-out", "point": "7"}


def test_nothing_is_held_at_first(session):
    assert manual_q.of_point(POINT, 2) is None
    selection.publish()
    assert session.query_params == CHOSEN


def test_the_hand_is_kept_for_its_point_and_its_number_of_dimensions(session):
    manual_q.take(REPORTED)
    assert manual_q.of_point(POINT, 2) == {"point": POINT, "mu": [1, -0.5], "sigma": [0.25, 2]}
    assert all(manual_q.of_point(other, 2) is None for other in OTHERS)
    assert manual_q.of_point(POINT, 3) is None
    expected = {"seed": 3, "S": 12, "follow": False, "smooth": True, "manifold": False}
    assert session.session_state[manual_q.SETTINGS] == expected


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
    manual_q.take(REPORTED)
    manual_q.take({**REPORTED, **changed, "S": 13})
    assert manual_q.of_point(POINT, 2)["mu"] == [1, -0.5]
    assert session.session_state[manual_q.SETTINGS]["S"] == 13


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("seed", 2**31), ("seed", 1.5), ("seed", "1"), ("S", 0), ("S", 65), ("S", None)],
)
def test_a_setting_that_makes_no_sense_is_left_out(name, value, session):
    manual_q.take({**REPORTED, name: value})
    assert name not in session.session_state[manual_q.SETTINGS]


def test_a_link_gives_the_view_to_another_visitor(session, follow):
    manual_q.take({**REPORTED, "follow": True})
    selection.publish()
    link = {"mu": "1,-0.5", "sigma": "0.25,2", "eps": "3", "samples": "12", "follow": "1"}
    assert session.query_params == CHOSEN | link
    other = follow()
    assert other.session_state["point"] == 7
    assert manual_q.of_point(POINT, 2)["mu"] == [1, -0.5]
    assert other.session_state[manual_q.SETTINGS] == {"seed": 3, "S": 12, "follow": True}
    selection.publish()
    assert other.query_params == session.query_params


def test_a_linked_q_belongs_to_the_point_that_the_link_names(session, follow):
    manual_q.take(REPORTED)
    selection.publish()
    follow()
    assert all(manual_q.of_point(other, 2) is None for other in OTHERS)
    other = follow(run="gone")  # the sidebar then shows another one
    other.session_state["run"] = "run"
    assert manual_q.of_point(POINT, 2) is None


def test_a_q_whose_link_names_no_checkpoint_belongs_to_the_first_point_that_is_shown(follow):
    other = follow(mu="1,2", sigma="1,1")
    assert "run" not in other.session_state
    assert manual_q.of_point(POINT, 2)["mu"] == [1, 2]
    assert all(manual_q.of_point(other, 2) is None for other in OTHERS)


@pytest.mark.parametrize(
    "change",
    [{"run": "b"}, {"data": "b held-out"}, {"data": "digits all"}, {"point": 17}],
    ids=str,
)
def test_the_link_drops_the_q_when_another_point_checkpoint_or_data_set_is_chosen(
    change, session, follow
):
    manual_q.take(REPORTED)
    selection.publish()
    session.session_state.update(change)
    selection.publish()
    assert set(session.query_params) == {*CHOSEN, "eps", "samples"}
    follow()
    assert manual_q.of_point(POINT, 2) is None


def test_the_link_stays_short(session):
    manual_q.take({**REPORTED, "mu": [1 / 3] * 16, "sigma": [1 / 3] * 16})
    selection.publish()
    assert session.query_params["mu"] == ",".join(["0.33333"] * 16)
    manual_q.take({**REPORTED, "mu": [1 / 3] * 17, "sigma": [1 / 3] * 17})
    selection.publish()
    assert not {"mu", "sigma"} & set(session.query_params)
    assert manual_q.of_point(POINT, 17) is not None


def test_what_was_published_does_not_come_back_as_news(session):
    manual_q.take({**REPORTED, "mu": [1 / 3, 0]})
    selection.publish()
    selection.restore()
    assert manual_q.of_point(POINT, 2)["mu"] == [1 / 3, 0]  # not the five digits of the link


def test_a_link_followed_in_the_same_tab_is_news(session):
    manual_q.take(REPORTED)
    selection.publish()
    session.query_params.update(mu="0,0", samples="5")
    selection.restore()
    assert manual_q.of_point(POINT, 2)["mu"] == [0, 0]
    assert session.session_state[manual_q.SETTINGS]["S"] == 5
    assert session.session_state[manual_q.SETTINGS]["seed"] == 3
