"""What is computed in a process of its own."""

import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest
import torch

from vae.errors import UserError
from vae.ui.results import inference, loaded
from vae.ui.results.store import RESULTS
from vae.ui.results.task import CANCELLED, FAILED, FINISHED
from vae.ui.results.workers import UnsendableError, Worker, WorkerEndedError


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker(5)
    made.warm()
    yield made
    made.end()


def ignored(*report) -> None:
    """Of what is reported, or asked whether it goes on."""


def test_it_is_another_process_and_the_same_one_again(worker):
    first, second = (worker.run(lambda progress: os.getpid(), ignored, ignored) for _ in range(2))
    assert first == second != os.getpid()


def test_what_it_reports_arrives(worker):
    def work(progress):
        for step in range(5):
            progress(step, 5, f"step {step}")
            time.sleep(0.15)
        return torch.arange(3)

    told = []
    assert worker.run(work, lambda *report: told.append(report), ignored).tolist() == [0, 1, 2]
    assert (0, 5, "step 0") in told
    assert (4, 5, "step 4") in told


@pytest.mark.parametrize("error", [UserError("no such point"), OSError(28, "?", "a"), ValueError()])
def test_what_the_work_raises_is_raised(worker, error):
    def work(progress):
        raise error

    with pytest.raises(type(error)) as raised:
        worker.run(work, ignored, ignored)
    assert str(raised.value) == str(error)


def test_what_cannot_be_sent_is_said(worker):
    unsendable = (n for n in range(3))
    with pytest.raises(UnsendableError):
        worker.run(lambda progress: next(unsendable), ignored, ignored)
    with pytest.raises(UnsendableError):
        worker.run(lambda progress: (n for n in range(3)), ignored, ignored)
    assert worker.run(lambda progress: 1, ignored, ignored) == 1


def test_whatever_ends_it_is_said_and_the_next_work_has_a_new_process(worker):
    for signal_number in (signal.SIGKILL, signal.SIGTERM):

        def end(progress, signal_number=signal_number):
            os.kill(os.getpid(), signal_number)

        with pytest.raises(WorkerEndedError, match="sets VAE_MOST_MEMORY_MB"):
            worker.run(end, ignored, ignored)
        assert worker.run(lambda progress: 1, ignored, ignored) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds what a process holds so")
def test_more_memory_than_allowed_is_a_sentence_and_the_process_lives(worker):
    before = worker.run(lambda progress: os.getpid(), ignored, ignored)
    for work in (lambda progress: torch.ones(10**10), lambda progress: bytearray(10**11)):
        with pytest.raises(UserError, match="needs more memory"):
            worker.run(work, ignored, ignored)
    assert worker.run(lambda progress: os.getpid(), ignored, ignored) == before


def test_what_is_no_longer_wanted_ends_with_its_process(worker):
    pid = worker.run(lambda progress: os.getpid(), ignored, ignored)

    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.run(lambda progress: time.sleep(60), ignored, check)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_pages_computations_are_the_same_in_a_process(view, monkeypatch):
    here = inference.of_point(view, 3)
    RESULTS.clear()
    monkeypatch.setenv("VAE_MOST_COMPUTING", "1")
    monkeypatch.setattr(loaded, "stored_embedding", lambda run: None)
    there = inference.of_point(view, 3)
    assert there is not here
    assert there.log_px == pytest.approx(here.log_px, abs=1e-4)
    embedding = loaded.embedding(view.run, "digits", "test")
    assert embedding.mu == pytest.approx(view.embedding.mu, abs=1e-5)


def test_a_task_is_cancelled_in_the_midst_of_its_work(monkeypatch):
    monkeypatch.setenv("VAE_MOST_COMPUTING", "1")
    task = RESULTS.start("a", lambda progress: time.sleep(60))
    while task.state != "running":
        time.sleep(0.01)
    RESULTS.cancel("a")
    following = RESULTS.start("b", lambda progress: 4)
    assert following.over.wait(60)
    assert (task.state, following.state, following.value) == (CANCELLED, FINISHED, 4)
    failed = RESULTS.start("c", lambda progress: os._exit(3))
    assert failed.over.wait(60)
    assert failed.state == FAILED


@pytest.mark.slow
def test_a_server_that_is_killed_takes_its_processes_with_it(python, tmp_path):
    code = f"""
import os, signal, time
from pathlib import Path
from vae.ui.results.store import RESULTS

def work(progress):
    Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
    time.sleep(60)

RESULTS.start("a", work)
while not Path({str(tmp_path / "pid")!r}).exists():
    time.sleep(0.05)
os.kill(os.getpid(), signal.SIGKILL)
"""
    python("-c", code, env={**os.environ, "VAE_MOST_COMPUTING": "1"}, timeout=120)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the process goes on without its server")
