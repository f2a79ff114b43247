"""How a file is read by choice, and what a link says of it."""

from vae.ui.session import readings, selection

CHOSEN = {"input": "[-1, 1]", "second head": "sigma"}


def test_a_link_says_how_the_file_is_read(session, follow):
    readings.choose("run", CHOSEN)
    selection.publish()
    follow()
    assert readings.chosen("run") == CHOSEN


def test_a_url_that_lags_behind_takes_nothing_back(session):
    readings.choose("run", CHOSEN)
    selection.publish()
    session.query_params.pop(readings.IN_URL)  # as the browser still has it
    selection.restore()
    assert readings.chosen("run") == CHOSEN
