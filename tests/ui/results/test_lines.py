"""Whose turn it is to have something computed, and what is given up."""

import threading
from collections.abc import Iterator

import pytest

from vae.ui.results import lines
from vae.ui.results.lines import LONG, SHORT
from vae.ui.results.store import Store
from vae.ui.results.task import CANCELLED, FINISHED, LEFT
from vae.ui.session import visitor


@pytest.fixture
def results() -> Iterator[Store]:
    made = Store(10_000)
    yield made
    made.clear()


@pytest.fixture
def visit(monkeypatch):
    """visit("ann") is who asks from now on; None is nobody in particular."""

    def come(who: str | None) -> None:
        monkeypatch.setattr(visitor, "current", lambda: who)

    return come


def held(results: Store) -> threading.Event:
    """Has something computed that holds the line until the event is set."""
    began, let_go = threading.Event(), threading.Event()

    def work(progress):
        began.set()
        let_go.wait(20)

    results.start(("held", id(let_go)), work)
    assert began.wait(20)
    return let_go


def test_who_was_served_longest_ago_goes_first(results, visit):
    visit("ann")
    let_go, order = held(results), []
    tasks = [results.start(("ann", i), lambda progress, i=i: order.append(i)) for i in (1, 2)]
    visit("bob")
    tasks.append(results.start("bob", lambda progress: order.append("bob")))
    let_go.set()
    assert all(task.over.wait(20) for task in tasks)
    assert order == ["bob", 1, 2]


def test_a_visitor_has_one_place_and_others_have_the_rest(results, visit, monkeypatch):
    monkeypatch.setenv("VAE_MOST_COMPUTING", "2")
    monkeypatch.setattr(lines, "Worker", Here)
    let_go, began = threading.Event(), []

    def slow(progress):
        began.append(1)
        let_go.wait(20)

    visit("ann")
    first = results.start("first", slow, SHORT)
    with results.awaited(first), results.awaited(second := results.start("second", slow, SHORT)):
        visit("bob")
        quick = results.start("quick", lambda progress: 3, SHORT)
        assert quick.over.wait(20)
        assert len(began) == 1
        let_go.set()
        assert first.over.wait(20)
        assert second.over.wait(20)
    assert first.state == second.state == FINISHED


class Here:
    """A worker that computes in the thread that asks."""

    def __init__(self, niceness):
        pass

    def run(self, work, report, check):
        return work(report)

    def end(self):
        pass


def test_whoever_clicks_on_takes_back_what_they_waited_for(results, visit):
    visit("ann")
    began, let_go = threading.Event(), threading.Event()

    def hold(progress):
        began.set()
        let_go.wait(20)

    results.start("first", hold, SHORT)
    assert began.wait(20)
    second = results.start("second", lambda progress: 2, SHORT)
    third = results.start("third", lambda progress: 3, SHORT)
    assert second.state == LEFT
    assert results.task("second") is None  # nobody has cancelled it: it is begun anew
    again = results.start("second", lambda progress: 2, SHORT)
    let_go.set()
    assert again.over.wait(20)
    assert (third.state, again.value) == (LEFT, 2)


def test_what_another_waits_for_too_is_not_taken_back(results, visit):
    visit("ann")
    let_go = held(results)
    shared = results.start("shared", lambda progress: 1)
    visit("bob")
    assert results.task("shared") is shared
    assert shared.visitors == ["ann", "bob"]
    let_go.set()
    assert shared.over.wait(20)


@pytest.mark.parametrize("stays", [False, True])
def test_what_all_have_left_is_given_up(results, visit, monkeypatch, stays):
    monkeypatch.setenv("VAE_MOST_COMPUTING", "1")
    monkeypatch.setattr(lines, "Worker", Looking)
    monkeypatch.setattr(lines, "_GONE_S", 0.0)
    Looking.go_on.clear()
    monkeypatch.setattr(visitor, "is_here", lambda who: stays and who == "bob")
    visit("ann")
    task = results.start("a", lambda progress: 3, LONG)
    visit("bob")
    results.task("a")
    Looking.go_on.set()
    assert task.over.wait(20)
    assert task.state == (FINISHED if stays else LEFT)


class Looking(Here):
    """One that looks once whether the work is still wanted."""

    go_on = threading.Event()

    def run(self, work, report, check):
        self.go_on.wait(20)
        check()
        return work(report)


def test_what_takes_too_long_is_ended_in_a_sentence(results, monkeypatch):
    monkeypatch.setenv("VAE_MOST_COMPUTING", "1")
    monkeypatch.setenv("VAE_MOST_SECONDS", "0")
    monkeypatch.setattr(lines, "Worker", Looking)
    Looking.go_on.set()
    task = results.start("a", lambda progress: 3, LONG)
    assert task.over.wait(20)
    assert task.problem.startswith("it took longer than the 0 seconds")
    assert task.problem.endswith("sets VAE_MOST_SECONDS")


def test_what_no_page_waits_for_any_more_is_given_up(results, monkeypatch):
    monkeypatch.setenv("VAE_MOST_COMPUTING", "1")
    monkeypatch.setattr(lines, "_UNAWAITED_S", 0.0)
    monkeypatch.setattr(lines, "Worker", Looking)
    Looking.go_on.clear()
    left = results.start("a", lambda progress: 3, SHORT)
    Looking.go_on.set()
    assert left.over.wait(20)
    assert left.state == LEFT
    Looking.go_on.clear()
    task = results.start("b", lambda progress: 3, SHORT)
    with results.awaited(task):
        Looking.go_on.set()
        assert task.over.wait(20)
    assert task.state == FINISHED


def test_what_is_cancelled_stays_cancelled_for_all(results, visit):
    visit("ann")
    let_go = held(results)
    task = results.start("a", lambda progress: 3)
    results.cancel("a")
    visit("bob")
    assert results.task("a") is task
    assert task.state == CANCELLED
    let_go.set()
