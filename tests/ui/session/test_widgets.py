"""Widgets that show a part of the session and change it."""

from vae.ui.session import widgets


def test_a_widget_is_set_only_where_it_shows_something_else(session):
    options = widgets.widget("point", "value")
    assert (options["value"], options["persist_state"]) == (7, "session")
    key = options["key"]
    assert key not in session.session_state  # what it shows at first needs no setting
    assert widgets.widget("point")["key"] == key
    assert session.session_state[key] == 7
    assert "value" in widgets.widget("point", "value")
    session.session_state["point"] = 8
    assert "value" not in widgets.widget("point", "value")
    assert session.session_state[key] == 8

    session.session_state[key] = 9
    options["on_change"]()
    assert session.session_state["point"] == 9
    del session.session_state[key]  # its page was left
    options["on_change"]()
    assert session.session_state["point"] == 9


def test_an_option_whose_words_have_changed_can_be_chosen_by_the_older_ones(session):
    options = widgets.widget("run", words={"run": "run, k = 2", "other": "other, k = 2"})
    assert options["format_func"]("other") == "other, k = 2"
    options = widgets.widget("run", words={"run": "run, k = 2", "other": "other, collapsed"})
    for chosen in ("other", "other, k = 2", "other, collapsed"):
        session.session_state |= {"run": "run", options["key"]: chosen}
        options["on_change"]()
        assert session.session_state["run"] == "other"
