"""What is shown to who followed no link."""

from types import SimpleNamespace

import pytest

from vae.ui.session import checkpoints, manual_q, opening, selection


@pytest.fixture
def there(monkeypatch):
    """there("a", "b") makes these the checkpoints that can be opened."""
    monkeypatch.delenv("VAE_OPEN", raising=False)

    def give(*names: str, named_at_start: bool = False) -> None:
        runs = [SimpleNamespace(name=name) for name in names]
        monkeypatch.setattr(checkpoints, "found", lambda: (runs, {}))
        monkeypatch.setattr(checkpoints, "named_at_start", lambda: runs[:named_at_start])

    return give


def opened(enter, **query: str) -> dict:
    visitor = enter(SimpleNamespace(session_state={}, query_params=query))
    selection.restore(opening.query)
    return visitor.session_state


def test_the_shipped_mnist_opens_whatever_else_lies_in_the_folder(there, enter):
    there("aaa", "mnist-2d", "zzz")
    session = opened(enter)
    assert session[selection.RUN] == "mnist-2d"
    assert session[selection.DATA] == "mnist held-out"
    assert session[selection.POINT] > 0
    assert session[manual_q.SETTINGS] == {"manifold": True}


def test_without_it_nothing_is_chosen(there, enter):
    there("aaa", "zzz")
    session = opened(enter)
    assert session[selection.POINT] == 0
    assert selection.RUN not in session


def test_a_link_to_a_checkpoint_is_followed_as_it_is(there, enter):
    there("aaa", "mnist-2d")
    session = opened(enter, run="aaa")
    assert session[selection.RUN] == "aaa"
    assert session[selection.POINT] == 0
    assert selection.DATA not in session
    assert manual_q.SETTINGS not in session


def test_a_link_that_leaves_the_checkpoint_open_is_followed_in_the_rest(there, enter):
    there("mnist-2d")
    session = opened(enter, point="5", colour="kl")
    assert (session[selection.RUN], session[selection.POINT]) == ("mnist-2d", 5)
    assert session[selection.COLOUR] == "kl"


@pytest.mark.parametrize("text", ["run=b&point=3&samples=5", "?run=b&point=3&samples=5 "])
def test_an_owner_says_what_opens(there, enter, monkeypatch, text):
    there("a", "b", "mnist-2d")
    monkeypatch.setenv("VAE_OPEN", text)
    session = opened(enter)
    assert (session[selection.RUN], session[selection.POINT]) == ("b", 3)
    assert session[manual_q.SETTINGS] == {"S": 5}


def test_a_run_that_the_owner_names_and_is_missing_is_asked_for(there, enter, monkeypatch):
    there("mnist-2d")  # the frame says that there is none of that name
    monkeypatch.setenv("VAE_OPEN", "run=gone")
    assert opened(enter)[selection.RUN] == "gone"


@pytest.mark.parametrize("text", ["%%", "&&=", "run", "point=x&samples=-1&mu=a"])
def test_what_the_owner_says_may_make_no_sense(there, enter, monkeypatch, text):
    there("mnist-2d")
    monkeypatch.setenv("VAE_OPEN", text)
    assert opened(enter)[selection.POINT] == 0


def test_a_model_that_the_start_names_comes_before_all(there, enter, monkeypatch):
    there("named", "mnist-2d", named_at_start=True)
    monkeypatch.setenv("VAE_OPEN", "run=mnist-2d")
    assert selection.RUN not in opened(enter)
