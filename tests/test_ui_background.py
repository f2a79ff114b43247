"""Long computations in a thread of the server: one at a time, seen by all, ended by anybody."""

import os
import sys
import threading
import time
from collections.abc import Callable
from itertools import count

import pytest
import torch

from vae.ui import background
from vae.ui.background import CANCELLED, FAILED, FINISHED, RUNNING, WAITING, Task

_keys = count()


@pytest.fixture
def key() -> str:
    """One that no other test uses: what runs belongs to the whole process."""
    return f"test {next(_keys)}"


@pytest.fixture(autouse=True)
def _nothing_goes_on_afterwards():
    yield
    for key in list(background._tasks):
        background.cancel(key)
    until(lambda: not background._threads)


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def ended(task: Task) -> Task:
    until(lambda: not task.is_active)
    return task


class Held:
    """Work that reports what it is told to, and ends when it is let go."""

    def __init__(self) -> None:
        self.began, self.let_go, self.left = (threading.Event() for _ in range(3))
        self.progress = None

    def __call__(self, progress: background.Progress) -> None:
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


def test_what_is_done_is_told_while_it_runs(key):
    work = Held()
    task = background.start(key, work)
    until(lambda: task.done == 9)
    assert (task.state, task.total) == (RUNNING, 10)
    assert task.seconds > 0
    assert 0 <= task.seconds_left < 20
    work.let_go.set()
    ended(task)
    assert (task.state, task.done, task.problem) == (FINISHED, 10, "")
    assert background.task(key) is task


def test_the_time_left_is_that_of_the_pace_and_runs_down_until_the_next_report(monkeypatch):
    now = 100.0
    monkeypatch.setattr(background.time, "monotonic", lambda: now)
    task = Task(RUNNING, done=0, total=40, _began=90.0, _reported=0.0)
    assert task.seconds == 10
    assert task.seconds_left is None  # nothing is known before the first report
    task.done, task._reported = 10, 100.0
    assert task.seconds_left == 30
    now = 104.0
    assert task.seconds_left == 26
    now = 1000.0
    assert task.seconds_left == 0


def test_nobody_has_to_wait_for_what_was_never_started(key):
    assert background.task(key) is None
    background.cancel(key)  # of which nothing comes


def test_whoever_comes_second_sees_the_same_computation(key):
    first, second = Held(), Held()
    task = background.start(key, first)
    first.began.wait()
    assert background.start(key, second) is task is background.task(key)
    first.let_go.set()
    ended(task)
    assert not second.began.is_set()


def test_what_has_ended_can_be_done_again(key):
    ended(background.start(key, lambda progress: None))
    again = Held()
    task = background.start(key, again)
    again.began.wait()
    assert task.state == RUNNING
    again.let_go.set()
    assert ended(task).state == FINISHED


def test_only_one_computes_and_the_others_wait_in_their_order(key):
    works = [Held() for _ in range(3)]
    tasks = [background.start((key, i), work) for i, work in enumerate(works)]
    for i, (work, task) in enumerate(zip(works, tasks, strict=True)):
        assert work.began.wait(20)
        until(lambda task=task: task.done == 9)
        assert [t.state for t in tasks] == [FINISHED] * i + [RUNNING] + [WAITING] * (2 - i)
        assert not any(later.began.is_set() for later in works[i + 1 :])
        assert all(later.seconds == 0 for later in tasks[i + 1 :])
        work.let_go.set()
        ended(task)


# Cancelling


def test_cancelling_ends_the_work_at_its_next_report(key):
    work = Held()
    task = background.start(key, work)
    work.began.wait()
    background.cancel(key)
    assert task.state == CANCELLED
    assert not task.is_active
    assert work.left.wait(20)
    done = task.done
    time.sleep(0.05)
    assert task.done == done


def test_cancelling_ends_work_that_reports_nothing_in_its_next_call_of_pytorch(key):
    began, left = threading.Event(), threading.Event()

    def work(progress):
        began.set()
        try:
            while True:
                torch.ones(10) @ torch.ones(10)
        finally:
            left.set()

    task = background.start(key, work)
    began.wait()
    background.cancel(key)
    assert left.wait(20)
    assert (task.state, task.problem) == (CANCELLED, "")


def test_work_that_would_go_on_after_any_error_is_ended_all_the_same(key):
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

    background.start(key, work)
    began.wait()
    background.cancel(key)
    assert left.wait(20)


def test_what_is_cancelled_while_it_waits_never_begins(key):
    first, second, third = Held(), Held(), Held()
    tasks = [background.start((key, i), w) for i, w in enumerate((first, second, third))]
    first.began.wait()
    background.cancel((key, 1))
    assert [task.state for task in tasks] == [RUNNING, CANCELLED, WAITING]
    first.let_go.set()
    assert third.began.wait(20)
    assert not second.began.is_set()
    third.let_go.set()
    assert ended(tasks[2]).state == FINISHED


def test_what_was_cancelled_can_be_started_anew(key):
    first, second = Held(), Held()
    cancelled = background.start(key, first)
    first.began.wait()
    background.cancel(key)
    task = background.start(key, second)
    assert second.began.wait(20)
    assert (cancelled.state, task.state) == (CANCELLED, RUNNING)
    second.let_go.set()
    assert ended(task).state == FINISHED


def test_what_has_ended_stays_what_it_was_when_it_is_cancelled(key):
    task = ended(background.start(key, lambda progress: None))
    background.cancel(key)
    assert task.state == FINISHED


def test_other_threads_may_use_pytorch_while_something_is_cancelled(key):
    work = Held()
    background.start(key, work)
    work.began.wait()
    background.cancel(key)
    assert float(torch.ones(2).sum()) == 2
    work.left.wait(20)


def test_what_is_short_does_not_wait_behind_what_is_long(key):
    minutes = Held()
    background.start((key, "long"), minutes)
    minutes.began.wait()
    seconds = background.start((key, "short"), lambda progress: None, background.SHORT)
    assert ended(seconds).state == FINISHED
    assert background.task((key, "long")).state == RUNNING
    minutes.let_go.set()


# Failing


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("latent_dim (=3) must be at most 2"), "latent_dim (=3) must be at most 2"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
    ],
)
def test_what_went_wrong_is_told_in_its_own_words(key, error, sentence, caplog):
    def work(progress):
        raise error

    task = ended(background.start(key, work))
    assert (task.state, task.problem) == (FAILED, sentence)
    assert not caplog.records


@pytest.mark.parametrize("error", [RuntimeError("internals"), MemoryError(), SystemExit(3)])
def test_the_unforeseen_goes_to_the_log_and_the_next_has_its_turn(key, error, caplog):
    def work(progress):
        raise error

    task = background.start((key, 0), work)
    following = background.start((key, 1), lambda progress: None)
    assert ended(task).state == FAILED
    assert task.problem == "it failed unexpectedly; see the server's log"
    assert "Traceback" in caplog.text
    assert type(error).__name__ in caplog.text
    assert ended(following).state == FINISHED


# What it leaves behind


def test_only_so_many_ends_are_remembered(key):
    tasks = [background.start((key, i), lambda progress: None) for i in range(40)]
    for task in tasks:
        ended(task)
    background.start((key, 40), lambda progress: None)
    assert len(background._tasks) <= background._MOST_ENDED + 1
    assert background.task((key, 39)) is tasks[39]
    assert background.task((key, 0)) is None


def test_the_thread_ends_with_the_last_of_its_work(key):
    ended(background.start(key, lambda progress: None))
    until(lambda: not background._threads)
    names = {thread.name for thread in threading.enumerate() if thread.is_alive()}
    assert not names & {"background long", "background short"}


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is each thread's own on Linux alone")
def test_the_thread_steps_back_and_no_other_does(key):
    found = []
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    ended(
        background.start(
            key,
            lambda progress: found.append(
                os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            ),
        )
    )
    assert found == [max(mine, 15)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine


def test_a_server_that_ends_meanwhile_ends_without_a_crash(python):
    code = """
import threading, torch
from vae.ui import background

began = threading.Event()

def work(progress):
    began.set()
    while True:
        torch.randn(300, 300) @ torch.randn(300, 300)

background.start("a", work)
background.start("b", work)
began.wait()
"""
    result = python("-c", code, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
