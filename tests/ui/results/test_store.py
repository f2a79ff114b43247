"""The store of results: computed once for all, bounded in bytes, ended by anybody."""

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch

from vae.errors import UserError
from vae.ui.results import lines
from vae.ui.results import task as tasks
from vae.ui.results.store import Store
from vae.ui.results.task import CANCELLED, FAILED, FINISHED, RUNNING, WAITING, Progress, Task


@pytest.fixture
def results() -> Iterator[Store]:
    """A store of ten thousand bytes."""
    made = Store(10_000)
    yield made
    made.clear()


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def ended(task: Task) -> Task:
    assert task.over.wait(20), "it never ended"
    return task


def nothing(progress: Progress) -> None:
    """Work that is over at once."""


class Held:
    """Work that reports what it is told to, and ends when it is let go."""

    def __init__(self) -> None:
        self.began, self.let_go, self.left = (threading.Event() for _ in range(3))
        self.progress = None

    def __call__(self, progress: Progress) -> None:
        self.progress = progress
        self.began.set()
        try:
            step = 0
            while not self.let_go.wait(0.005):
                step += 1
                progress(min(step, 9), 10)
            progress(10, 10)
        finally:
            self.left.set()


def test_what_is_done_is_told_while_it_runs(results):
    work = Held()
    task = results.start("a", work)
    until(lambda: task.done == 9)
    assert (task.state, task.total) == (RUNNING, 10)
    assert task.seconds > 0
    assert 0 <= task.seconds_left < 20
    work.let_go.set()
    ended(task)
    assert (task.state, task.done, task.problem) == (FINISHED, 10, "")
    assert results.task("a") is task


def test_the_time_left_is_that_of_the_pace_and_runs_down_until_the_next_report(monkeypatch):
    now = 100.0
    monkeypatch.setattr(tasks.time, "monotonic", lambda: now)
    task = Task(state=RUNNING, done=0, total=40, began=90.0, _reported=0.0)
    assert task.seconds == 10
    assert task.seconds_left is None  # nothing is known before the first report
    task.done, task._reported = 10, 100.0
    assert task.seconds_left == 30
    now = 104.0
    assert task.seconds_left == 26
    now = 1000.0
    assert task.seconds_left == 0


def test_nobody_has_to_wait_for_what_was_never_started(results):
    assert results.task("a") is None
    results.cancel("a")  # of which nothing comes


def test_whoever_comes_second_sees_the_same_computation(results):
    first, second = Held(), Held()
    task = results.start("a", first)
    first.began.wait()
    assert results.start("a", second) is task is results.task("a")
    first.let_go.set()
    ended(task)
    assert not second.began.is_set()


def test_what_has_failed_can_be_done_again_and_what_is_known_is_not(results):
    def fail(progress):
        raise UserError("no network")

    assert ended(results.start("a", fail)).state == FAILED
    task = ended(results.start("a", lambda progress: 3))
    assert (task.state, task.value, results.get("a")) == (FINISHED, 3, 3)
    assert results.start("a", fail) is task
    results.forget("a")
    assert results.get("a") is None
    assert ended(results.start("a", fail)).state == FAILED


def test_only_one_computes_and_the_others_wait_in_their_order(results):
    works = [Held() for _ in range(3)]
    tasks = [results.start(("a", i), work) for i, work in enumerate(works)]
    for i, (work, task) in enumerate(zip(works, tasks, strict=True)):
        assert work.began.wait(20)
        until(lambda task=task: task.done == 9)
        assert [t.state for t in tasks] == [FINISHED] * i + [RUNNING] + [WAITING] * (2 - i)
        assert not any(later.began.is_set() for later in works[i + 1 :])
        assert all(later.seconds == 0 for later in tasks[i + 1 :])
        work.let_go.set()
        ended(task)


# Cancelling


def test_cancelling_ends_the_work_at_its_next_report(results):
    work = Held()
    task = results.start("a", work)
    work.began.wait()
    results.cancel("a")
    assert task.state == CANCELLED
    assert not task.is_active
    assert work.left.wait(20)
    done = task.done
    time.sleep(0.05)
    assert task.done == done


def test_cancelling_ends_work_that_reports_nothing_in_its_next_call_of_pytorch(results):
    began, left = threading.Event(), threading.Event()

    def work(progress):
        began.set()
        try:
            while True:
                torch.ones(10) @ torch.ones(10)
        finally:
            left.set()

    task = results.start("a", work)
    began.wait()
    results.cancel("a")
    assert left.wait(20)
    assert (task.state, task.problem) == (CANCELLED, "")


def test_work_that_would_go_on_after_any_error_is_ended_all_the_same(results):
    began, left = threading.Event(), threading.Event()

    def work(progress):
        began.set()
        try:
            while True:
                try:
                    progress(1, 2)
                except Exception:
                    continue
        finally:
            left.set()

    results.start("a", work)
    began.wait()
    results.cancel("a")
    assert left.wait(20)


def test_what_is_cancelled_while_it_waits_never_begins(results):
    first, second, third = Held(), Held(), Held()
    tasks = [results.start(("a", i), w) for i, w in enumerate((first, second, third))]
    first.began.wait()
    results.cancel(("a", 1))
    assert [task.state for task in tasks] == [RUNNING, CANCELLED, WAITING]
    first.let_go.set()
    assert third.began.wait(20)
    assert not second.began.is_set()
    third.let_go.set()
    assert ended(tasks[2]).state == FINISHED


def test_what_was_cancelled_can_be_started_anew(results):
    first, second = Held(), Held()
    cancelled = results.start("a", first)
    first.began.wait()
    results.cancel("a")
    task = results.start("a", second)
    assert second.began.wait(20)
    assert (cancelled.state, task.state) == (CANCELLED, RUNNING)
    second.let_go.set()
    assert ended(task).state == FINISHED


def test_what_has_ended_stays_what_it_was_when_it_is_cancelled(results):
    task = ended(results.start("a", nothing))
    results.cancel("a")
    assert task.state == FINISHED


def test_other_threads_may_use_pytorch_while_something_is_cancelled(results):
    work = Held()
    results.start("a", work)
    work.began.wait()
    results.cancel("a")
    assert float(torch.ones(2).sum()) == 2
    work.left.wait(20)


def test_what_is_short_does_not_wait_behind_what_is_long(results):
    minutes = Held()
    results.start(("a", "long"), minutes)
    minutes.began.wait()
    seconds = results.start(("a", "short"), nothing, lines.SHORT)
    assert ended(seconds).state == FINISHED
    assert results.task(("a", "long")).state == RUNNING
    minutes.let_go.set()


# Failing


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("latent_dim (=3) must be at most 2"), "latent_dim (=3) must be at most 2"),
        (OSError(28, "?"), "a file has no room left on its disk; free some, and try again"),
        (FileNotFoundError(2, "?", "a.gz"), "a.gz is gone; put it back, and try again"),
        (
            OSError(5, "Bad", "b"),
            "b cannot be read or written (Bad); see whether its disk is sound",
        ),
    ],
)
def test_what_went_wrong_is_told_in_words_of_ours(results, error, sentence, caplog):
    def work(progress):
        raise error

    task = ended(results.start("a", work))
    assert task.state == FAILED
    assert task.problem.startswith(sentence)
    assert not caplog.records


@pytest.mark.parametrize("error", [ValueError("internals"), MemoryError(), SystemExit(3)])
def test_the_unforeseen_goes_to_the_log_and_the_next_has_its_turn(results, error, caplog):
    def work(progress):
        raise error

    task = results.start(("a", 0), work)
    following = results.start(("a", 1), nothing)
    assert ended(task).state == FAILED
    assert task.problem == "it failed unexpectedly; see the server's log"
    assert "Traceback" in caplog.text
    assert type(error).__name__ in caplog.text
    assert ended(following).state == FINISHED


# What it leaves behind


def test_only_so_many_ends_are_remembered(results):
    def fail(progress):
        raise UserError("no")

    tasks = [ended(results.start(i, fail)) for i in range(40)]
    results.start(40, fail)
    assert results.task(39) is tasks[39]
    assert sum(results.task(i) is not None for i in range(40)) <= 16


def test_a_failure_holds_on_to_nothing_that_the_work_held(results):
    class Large:
        pass

    def fail(progress):
        held = Large()
        kept.append(weakref.ref(held))
        raise UserError("no")

    kept = []
    ended(results.start("a", fail))
    until(lambda: results.is_idle)
    assert kept[0]() is None


def test_the_thread_ends_with_the_last_of_its_work(results):
    ended(results.start("a", nothing))
    until(lambda: results.is_idle)
    assert not [t for t in threading.enumerate() if t.name.startswith("results ")]


@pytest.mark.parametrize(("line", "niceness"), lines._NICENESS.items())
@pytest.mark.skipif(sys.platform != "linux", reason="niceness is each thread's own on Linux alone")
def test_the_thread_steps_back_as_far_as_its_line_and_no_other_does(results, line, niceness):
    found = []
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    ended(
        results.start(
            "a",
            lambda progress: found.append(
                os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            ),
            line=line,
        )
    )
    assert found == [max(mine, niceness)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine


def test_a_server_that_ends_meanwhile_ends_without_a_crash(python):
    code = """
import threading, torch
from vae.ui.results.store import RESULTS

began = threading.Event()

def work(progress):
    began.set()
    while True:
        torch.randn(300, 300) @ torch.randn(300, 300)

RESULTS.start("a", work)
RESULTS.start("b", work)
began.wait()
"""
    result = python("-c", code, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")


# Once for all who ask


def test_what_many_ask_for_at_once_is_made_once(results):
    made, found, together = [], [], threading.Barrier(30)

    def make() -> bytes:
        made.append(threading.get_ident())
        time.sleep(0.05)
        return bytes(5)

    def ask() -> None:
        together.wait()
        found.append(results.make("a", make))

    in_threads(ask, 30)
    assert (len(made), len(found)) == (1, 30)
    assert all(value is found[0] for value in found)


def in_threads(ask: Callable[[], None], n: int) -> None:
    threads = [threading.Thread(target=ask) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_why_it_could_not_be_made_reaches_all_and_the_next_one_tries_again(results):
    made, told, together = [], [], threading.Barrier(8)

    def fail() -> bytes:
        made.append(1)
        time.sleep(0.05)
        raise UserError("no network")

    def ask() -> None:
        together.wait()
        with pytest.raises(UserError, match="no network"):
            results.make("a", fail)
        told.append(1)

    in_threads(ask, 8)
    assert (len(made), len(told)) == (1, 8)
    assert results.make("a", lambda: b"here") == b"here"


def test_what_was_read_of_another_version_is_made_anew(results):
    assert results.make("a", lambda: "old", version=1) == "old"
    assert results.make("a", lambda: "never", version=1) == "old"
    assert results.make("a", lambda: "new", version=2) == "new"
    assert results.bytes_kept == sys.getsizeof("new")


def test_a_part_that_was_cancelled_with_its_whole_is_made_by_the_next_who_waits_for_it(results):
    began, go_on = threading.Event(), threading.Event()

    def part():
        began.set()
        go_on.wait(20)
        return float(torch.ones(2).sum())

    results.start("whole", lambda progress: results.make("part", part))
    assert began.wait(20)
    found = []
    thread = threading.Thread(target=lambda: found.append(results.make("part", part)))
    thread.start()
    results.cancel("whole")
    go_on.set()
    thread.join(20)
    assert found == [2.0]


# Bounded


def kept(results: Store, keys: str) -> str:
    return "".join(key for key in keys if results.task(key))


def test_what_was_asked_for_longest_ago_goes_first(results):
    for key in "abc":
        results.make(key, lambda: bytes(3000))
    results.get("a")  # now b is the oldest
    results.make("d", lambda: bytes(3000))
    assert kept(results, "abcd") == "acd"


@pytest.mark.parametrize("sizes", [[1] * 100, [4, 9, 2, 7, 1, 9, 3], [9, 9, 9]])
def test_it_never_holds_more_than_it_may(sizes, results):
    for key, size in enumerate(sizes):
        results.make(key, lambda size=size: bytes(1000 * size))
        assert results.bytes_kept <= results.max_bytes
        assert results.task(key)


def test_one_result_larger_than_all_stays_until_the_next(results):
    results.make("a", lambda: bytes(2000))
    results.make("b", lambda: bytes(50_000))
    assert kept(results, "ab") == "b"
    results.make("c", lambda: bytes(2000))
    assert kept(results, "abc") == "c"


def test_nothing_goes_while_somebody_waits_for_it_or_has_not_read_it_yet(results):
    waited_for = ended(results.start("a", lambda progress: bytes(9000)))
    results.get("a")
    with results.awaited(waited_for):
        ended(results.start("b", lambda progress: bytes(9000)))  # whose page looks once a second
        for key in "cde":
            results.make(key, lambda: bytes(9000))
        assert kept(results, "abcde") == "abe"
    results.get("b")
    results.make("f", lambda: bytes(9000))
    assert kept(results, "abcdef") == "f"


def test_a_page_that_never_comes_back_for_its_result_holds_nothing_up_for_long(
    results, monkeypatch
):
    ended(results.start("a", lambda progress: bytes(9000)))
    now = time.monotonic()
    monkeypatch.setattr(tasks.time, "monotonic", lambda: now + 61)
    results.make("b", lambda: bytes(9000))
    assert kept(results, "ab") == "b"


def test_a_result_that_grows_by_being_used_can_be_weighed_anew(results):
    grown = results.make("a", lambda: [])
    results.make("b", lambda: bytes(5000))
    grown.append(bytes(9000))
    results.weigh("a")
    assert kept(results, "ab") == "a"
    assert results.bytes_kept > 9000
