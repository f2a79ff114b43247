import os
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vae.config import ModelConfig, TrainConfig
from vae.data import catalogue
from vae.runs import checkpoint, folders, job, queue
from vae.runs.checkpoint import CheckpointError, open_run
from vae.runs.status import STOP, Status, read_status, request_stop, write_status

MODEL = ModelConfig(image_shape=(1, 8, 8), hidden=(16,))


def enqueue(folder: Path, name: str, epochs: int = 2, **settings) -> Path:
    config = TrainConfig("digits", epochs, **({"batch_size": 512} | settings))
    return job.create(folder / name, MODEL, config).path


def states(folder: Path) -> dict[str, str]:
    runs, _ = checkpoint.list_runs(folder)
    return {run.name: read_status(run.path).state for run in runs}


def wait_for(condition) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The queue.


def test_runs_are_trained_one_after_another_in_the_order_of_their_queueing(tmp_path):
    for name in ("c", "a", "b"):
        enqueue(tmp_path, name)
    queue.enqueue(tmp_path / "c")  # to the end
    assert [path.name for path in queue.queued(tmp_path)] == ["a", "b", "c"]
    seen = []

    def on_epoch(path, stats):
        seen.append((path.name, stats.epoch))
        assert list(states(tmp_path).values()).count("running") == 1
        assert queue.in_training(tmp_path) == path

    queue.work(tmp_path, "cpu", on_epoch)
    assert queue.in_training(tmp_path) is None
    assert seen == [(name, epoch) for name in "abc" for epoch in (1, 2)]
    assert set(states(tmp_path).values()) == {"finished"}
    assert queue.queued(tmp_path) == []


def test_a_run_queued_meanwhile_has_its_turn(tmp_path):
    enqueue(tmp_path, "first", 1)

    def on_epoch(path, _):
        if path.name == "first":
            enqueue(tmp_path, "second", 1)

    queue.work(tmp_path, "cpu", on_epoch)
    assert states(tmp_path) == {"first": "finished", "second": "finished"}


def test_a_run_that_fails_says_so_and_the_next_one_begins(tmp_path, capsys):
    wild = enqueue(tmp_path, "a-wild", 5, learning_rate=1e6, schedule="constant")
    broken = enqueue(tmp_path, "b-broken")
    (broken / "config.json").write_text("{}")
    enqueue(tmp_path, "c-good")
    queue.work(tmp_path, "cpu")
    assert read_status(wild).state == read_status(broken).state == "failed"
    assert read_status(wild).message.startswith("the loss stopped being finite in epoch")
    assert "format_version" in read_status(broken).message
    assert read_status(tmp_path / "c-good").state == "finished"
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == ["a-wild", "b-broken"]


def test_an_error_that_nobody_foresaw_does_not_stop_the_queue(tmp_path, monkeypatch):
    load = catalogue.load
    for name in ("a", "b"):
        enqueue(tmp_path, name, 1)
    calls = []

    def fail_once(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyError("surprise")
        return load(*arguments)

    monkeypatch.setattr(catalogue, "load", fail_once)
    queue.work(tmp_path, "cpu")
    assert states(tmp_path) == {"a": "failed", "b": "finished"}


def test_of_two_workers_only_one_works(tmp_path):
    for name in ("a", "b", "c"):
        enqueue(tmp_path, name, 3)
    epochs, both = [], []

    def work() -> None:
        queue.work(tmp_path, "cpu", lambda path, stats: epochs.append((path.name, stats.epoch)))
        both.append(len(epochs))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(epochs) == [(name, epoch) for name in "abc" for epoch in (1, 2, 3)]
    assert set(states(tmp_path).values()) == {"finished"}
    enqueue(tmp_path, "d", 1)
    queue.work(tmp_path, "cpu")  # the lock is free again
    assert read_status(tmp_path / "d").state == "finished"


def test_a_queued_run_that_is_stopped_is_not_trained(tmp_path):
    path = enqueue(tmp_path, "run")
    request_stop(path)
    assert read_status(path).state == "stopped"
    queue.work(tmp_path, "cpu")
    assert read_status(path).state == "stopped"
    assert open_run(path).load_metrics() == []
    queue.enqueue(path)
    queue.work(tmp_path, "cpu")
    assert read_status(path).state == "finished"


def test_a_stop_while_the_data_are_loaded_is_heard(tmp_path, monkeypatch):
    path, load = enqueue(tmp_path, "run", 100_000), catalogue.load

    def stop_and_load(*arguments):
        request_stop(path)
        return load(*arguments)

    monkeypatch.setattr(catalogue, "load", stop_and_load)
    queue.work(tmp_path, "cpu")
    assert read_status(path).state == "stopped"
    assert not (path / STOP).exists()


def test_a_stopped_run_that_is_queued_again_goes_on(tmp_path):
    path, epochs = enqueue(tmp_path, "run", 4), []

    def stop_first(path, stats):
        epochs.append(stats.epoch)
        if epochs == [1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queue.work(tmp_path, "cpu", stop_first)
    assert read_status(path).state == "stopped"
    queue.enqueue(path)
    assert read_status(path).state == "queued"
    queue.work(tmp_path, "cpu", stop_first)
    assert epochs == [1, 2, 3, 4]
    list(job.train(tmp_path / "unbroken", MODEL, open_run(path).train_config, "cpu"))
    assert open_run(path).fingerprint() == open_run(tmp_path / "unbroken").fingerprint()


def test_what_runs_is_finished_or_is_no_run_cannot_be_queued(tmp_path, tiny_run):
    run = tiny_run(tmp_path / "done")
    with pytest.raises(CheckpointError, match=r"^done is finished: it cannot be queued$"):
        queue.enqueue(run.path)
    training = job.train(tmp_path / "busy", MODEL, TrainConfig("digits", 3, 512), "cpu")
    next(training)
    with pytest.raises(CheckpointError, match=r"^busy is running: it cannot be queued$"):
        queue.enqueue(tmp_path / "busy")
    training.close()
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        queue.enqueue(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_failure_is_not_noted_on_a_run_that_another_process_trains(tmp_path):
    training = job.train(tmp_path / "busy", MODEL, TrainConfig("digits", 3, 512), "cpu")
    next(training)
    queue.fail(tmp_path / "busy", "somebody else's trouble")
    assert read_status(tmp_path / "busy").state == "running"
    assert len(list(training)) == 2
    queue.fail(tmp_path / "busy", "too late")
    assert (read_status(tmp_path / "busy").state, read_status(tmp_path / "busy").message) == (
        "finished",
        "",
    )


def test_a_folder_that_is_not_there_is_refused_and_not_made(tmp_path):
    missing = tmp_path / "missing"
    assert queue.queued(missing) == []
    for call in (queue.work, queue.start_worker):
        with pytest.raises(CheckpointError, match=r"^cannot write .*: No such file or directory"):
            call(missing)
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        queue.start_now(missing / "run")
    assert not missing.exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot write"):
        queue.work(tmp_path / "file")
    with pytest.raises(CheckpointError, match="cannot write"):
        queue.start_worker(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_folder_is_refused(tmp_path):
    enqueue(tmp_path, "run")
    tmp_path.chmod(0o500)
    try:
        for call in (queue.work, queue.start_worker):
            with pytest.raises(CheckpointError, match="Permission denied"):
                call(tmp_path)
    finally:
        tmp_path.chmod(0o700)


# In processes of their own.


@pytest.fixture
def children():
    """The processes that the queue starts, over when the test is."""
    queue._children.clear()
    yield queue._children
    for child in queue._children:
        child.kill()
        child.wait()
    queue._children.clear()


@pytest.mark.slow
def test_a_worker_started_trains_the_queue_in_a_session_of_its_own(tmp_path, children, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a relative folder is the caller's, not the child's
    Path("runs").mkdir()
    for name in ("a", "b"):
        enqueue(Path("runs"), name)
    queue.start_worker(Path("runs"))
    (child,) = children
    assert os.getsid(child.pid) not in (os.getsid(0), 0)
    assert child.wait() == 0
    assert states(tmp_path / "runs") == {"a": "finished", "b": "finished"}


def test_a_run_started_now_can_be_stopped_renamed_only_then_and_goes_on(tmp_path, children):
    path = enqueue(tmp_path, "run", 100_000)
    queue.start_now(path)
    wait_for(lambda: (path / "metrics.jsonl").exists())
    assert read_status(path).state == "running"
    for refused in (lambda: folders.rename(path, "new"), lambda: folders.discard(path)):
        with pytest.raises(CheckpointError, match=r"^run is being trained; stop it before it is "):
            refused()
    request_stop(path)
    children[0].wait()
    assert read_status(path).state == "stopped"
    assert open_run(path).load_embedding() is not None
    assert folders.rename(path, "new") == tmp_path / "new"


@pytest.mark.slow
def test_a_run_started_now_that_is_killed_is_interrupted_at_once(tmp_path, children):
    path = enqueue(tmp_path, "run", 100_000)
    queue.start_now(path)
    wait_for(lambda: (path / "metrics.jsonl").exists())
    children[0].kill()
    children[0].wait()
    assert read_status(path).state == "interrupted"


def test_a_training_in_the_background_lets_others_go_first(python):
    code = "import os; from vae.runs import queue; n = os.nice(0); queue.step_back(); "
    # In a session of its own: Linux lowers a session as a whole, and that of the tests must stay.
    finished = python("-c", code + "print(os.nice(0) - n)", start_new_session=True)
    assert finished.stdout.strip() == "10", finished.stderr


def test_what_is_still_being_written_into_the_log_is_kept(tmp_path, children, monkeypatch):
    monkeypatch.setattr(
        queue.subprocess,
        "Popen",
        lambda *_, **__: types.SimpleNamespace(**dict.fromkeys(["poll", "kill", "wait"], int)),
    )
    path = enqueue(tmp_path, "run")
    with open(tmp_path / queue.WORKER_LOG, "ab", buffering=0) as run_started_now:
        run_started_now.write(b"beside the queue: a warning\n")
        queue.start_worker(tmp_path)
        assert queue.worker_problem(tmp_path) is None  # nothing was said since
        queue.start_now(path)
        run_started_now.write(b"beside the queue: no memory\n")
    words = (tmp_path / queue.WORKER_LOG).read_text().split("\n")
    assert [word for word in words if word] == [
        "beside the queue: a warning",
        "beside the queue: no memory",
    ]
    assert queue.worker_problem(tmp_path) == "beside the queue: no memory"


def test_a_log_that_grew_long_is_put_aside(tmp_path, children, monkeypatch):
    monkeypatch.setattr(
        queue.subprocess,
        "Popen",
        lambda *_, **__: types.SimpleNamespace(**dict.fromkeys(["poll", "kill", "wait"], int)),
    )
    log = tmp_path / queue.WORKER_LOG
    log.write_bytes(b"x" * 2_000_000)
    queue.start_worker(tmp_path)
    assert log.stat().st_size < 10
    assert log.with_suffix(".old").stat().st_size == 2_000_000


def test_visitors_who_stop_one_queued_run_at_once_all_succeed(tmp_path):
    path, together = enqueue(tmp_path, "run"), threading.Barrier(8)

    def stop(_) -> None:
        together.wait()
        for _ in range(20):
            write_status(path, Status("queued"))
            request_stop(path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(stop, range(8)))
    assert read_status(path).state == "stopped"
    assert not list(path.glob("*.tmp"))
