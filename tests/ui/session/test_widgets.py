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
