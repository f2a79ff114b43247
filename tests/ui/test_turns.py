"""Pages are run one after the other, and none that takes long or waits holds the others up."""

import threading
import time

import pytest

from vae.ui import turns
from vae.ui.results.store import Store


@pytest.fixture
def patient(monkeypatch):
    """A page may run alone for longer than any test."""
    monkeypatch.setattr(turns, "_ALONE_S", 60.0)


def begun(work) -> tuple[threading.Thread, threading.Event]:
    """A page that does the work, and whether its turn has come."""
    has_turn = threading.Event()

    def page() -> None:
        with turns.turn():
            has_turn.set()
            work()

    thread = threading.Thread(target=page, daemon=True)
    thread.start()
    return thread, has_turn


def test_one_page_is_run_after_the_other(patient):
    running, most = [], []

    def work() -> None:
        running.append(1)
        time.sleep(0.005)
        most.append(len(running))
        running.pop()

    for thread, _ in [begun(work) for _ in range(20)]:
        thread.join(10)
    assert most == [1] * 20


def test_a_page_that_fails_ends_its_turn(patient):
    with pytest.raises(ValueError, match="lost"), turns.turn():
        raise ValueError("lost")
    thread, has_turn = begun(lambda: None)
    assert has_turn.wait(5)
    thread.join(5)


def test_a_page_that_takes_long_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(turns, "_ALONE_S", 0.1)
    ends = threading.Event()
    slow, slow_has_turn = begun(lambda: ends.wait(10))
    assert slow_has_turn.wait(5)
    others = [begun(lambda: None) for _ in range(5)]
    assert all(has_turn.wait(5) for _, has_turn in others)
    assert slow.is_alive()
    ends.set()


def test_a_page_that_waits_for_anothers_result_holds_nobody_up(patient):
    store, computed = Store(1000), threading.Event()

    def compute() -> None:  # outside any turn, as a fragment's timer or another process
        store.make("key", lambda: computed.wait(10))

    maker = threading.Thread(target=compute, daemon=True)
    maker.start()
    while store.task("key") is None:
        time.sleep(0.001)
    waiting, has_turn = begun(lambda: store.make("key", lambda: True))
    assert has_turn.wait(5)
    _, others = begun(lambda: None)
    assert others.wait(5)
    assert waiting.is_alive()
    computed.set()
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_fragment_in_a_page_has_the_pages_turn(patient):
    with turns.turn(), turns.turn():
        other, has_turn = begun(lambda: None)
        assert not has_turn.wait(0.1)
    assert has_turn.wait(5)
    other.join(5)
