import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from vae import checkpoint, datasets, job, workbench
from vae.checkpoint import CheckpointError, open_run
from vae.config import ModelConfig, TrainConfig

MODEL = ModelConfig(image_shape=(1, 8, 8), hidden=(16,))


def enqueue(folder: Path, name: str, epochs: int = 2, **settings) -> Path:
    config = TrainConfig("digits", epochs, **({"batch_size": 512} | settings))
    return job.create(folder / name, MODEL, config).path


def states(folder: Path) -> dict[str, str]:
    runs, _ = checkpoint.list_runs(folder)
    return {run.name: job.status(run.path).state for run in runs}


def wait_for(condition) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The queue.


def test_runs_are_trained_one_after_another_in_the_order_of_their_queueing(tmp_path):
    for name in ("c", "a", "b"):
        enqueue(tmp_path, name)
    job.enqueue(tmp_path / "c")  # to the end
    assert [path.name for path in workbench.queued(tmp_path)] == ["a", "b", "c"]
    seen = []

    def on_epoch(path, stats):
        seen.append((path.name, stats.epoch))
        assert list(states(tmp_path).values()).count("running") == 1

    workbench.work(tmp_path, "cpu", on_epoch)
    assert seen == [(name, epoch) for name in "abc" for epoch in (1, 2)]
    assert set(states(tmp_path).values()) == {"finished"}
    assert workbench.queued(tmp_path) == []


def test_a_run_queued_meanwhile_has_its_turn(tmp_path):
    enqueue(tmp_path, "first", 1)

    def on_epoch(path, _):
        if path.name == "first":
            enqueue(tmp_path, "second", 1)

    workbench.work(tmp_path, "cpu", on_epoch)
    assert states(tmp_path) == {"first": "finished", "second": "finished"}


def test_a_run_that_fails_says_so_and_the_next_one_begins(tmp_path, capsys):
    wild = enqueue(tmp_path, "a-wild", 5, learning_rate=1e6, schedule="constant")
    broken = enqueue(tmp_path, "b-broken")
    (broken / "config.json").write_text("{}")
    enqueue(tmp_path, "c-good")
    workbench.work(tmp_path, "cpu")
    assert job.status(wild).state == job.status(broken).state == "failed"
    assert job.status(wild).message.startswith("the loss stopped being finite in epoch")
    assert "format_version" in job.status(broken).message
    assert job.status(tmp_path / "c-good").state == "finished"
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == ["a-wild", "b-broken"]


def test_an_error_that_nobody_foresaw_does_not_stop_the_queue(tmp_path, monkeypatch):
    load = datasets.load
    for name in ("a", "b"):
        enqueue(tmp_path, name, 1)
    calls = []

    def fail_once(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyError("surprise")
        return load(*arguments)

    monkeypatch.setattr(datasets, "load", fail_once)
    workbench.work(tmp_path, "cpu")
    assert states(tmp_path) == {"a": "failed", "b": "finished"}


def test_of_two_workers_only_one_works(tmp_path):
    for name in ("a", "b", "c"):
        enqueue(tmp_path, name, 3)
    epochs, both = [], []

    def work() -> None:
        workbench.work(tmp_path, "cpu", lambda path, stats: epochs.append((path.name, stats.epoch)))
        both.append(len(epochs))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(epochs) == [(name, epoch) for name in "abc" for epoch in (1, 2, 3)]
    assert set(states(tmp_path).values()) == {"finished"}
    enqueue(tmp_path, "d", 1)
    workbench.work(tmp_path, "cpu")  # the lock is free again
    assert job.status(tmp_path / "d").state == "finished"


def test_a_queued_run_that_is_stopped_is_not_trained(tmp_path):
    path = enqueue(tmp_path, "run")
    job.request_stop(path)
    assert job.status(path).state == "stopped"
    workbench.work(tmp_path, "cpu")
    assert job.status(path).state == "stopped"
    assert open_run(path).load_metrics() == []
    job.enqueue(path)
    workbench.work(tmp_path, "cpu")
    assert job.status(path).state == "finished"


def test_a_stop_while_the_data_are_loaded_is_heard(tmp_path, monkeypatch):
    path, load = enqueue(tmp_path, "run", 100_000), datasets.load

    def stop_and_load(*arguments):
        job.request_stop(path)
        return load(*arguments)

    monkeypatch.setattr(datasets, "load", stop_and_load)
    workbench.work(tmp_path, "cpu")
    assert job.status(path).state == "stopped"
    assert not (path / job.STOP).exists()


def test_a_stopped_run_that_is_queued_again_goes_on(tmp_path):
    path, epochs = enqueue(tmp_path, "run", 4), []

    def stop_first(path, stats):
        epochs.append(stats.epoch)
        if epochs == [1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workbench.work(tmp_path, "cpu", stop_first)
    assert job.status(path).state == "stopped"
    job.enqueue(path)
    assert job.status(path).state == "queued"
    workbench.work(tmp_path, "cpu", stop_first)
    assert epochs == [1, 2, 3, 4]
    list(job.train(tmp_path / "unbroken", MODEL, open_run(path).train_config, "cpu"))
    assert open_run(path).fingerprint() == open_run(tmp_path / "unbroken").fingerprint()


def test_what_runs_is_finished_or_is_no_run_cannot_be_queued(tmp_path, tiny_run):
    run = tiny_run(tmp_path / "done")
    with pytest.raises(CheckpointError, match=r"^done is finished: it cannot be queued$"):
        job.enqueue(run.path)
    training = job.train(tmp_path / "busy", MODEL, TrainConfig("digits", 3, 512), "cpu")
    next(training)
    with pytest.raises(CheckpointError, match=r"^busy is running: it cannot be queued$"):
        job.enqueue(tmp_path / "busy")
    training.close()
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        job.enqueue(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_failure_is_not_noted_on_a_run_that_another_process_trains(tmp_path):
    training = job.train(tmp_path / "busy", MODEL, TrainConfig("digits", 3, 512), "cpu")
    next(training)
    job.fail(tmp_path / "busy", "somebody else's trouble")
    assert job.status(tmp_path / "busy").state == "running"
    assert len(list(training)) == 2
    job.fail(tmp_path / "busy", "too late")
    assert (job.status(tmp_path / "busy").state, job.status(tmp_path / "busy").message) == (
        "finished",
        "",
    )


def test_a_folder_that_is_not_there_is_refused_and_not_made(tmp_path):
    missing = tmp_path / "missing"
    assert workbench.queued(missing) == []
    for call in (workbench.work, workbench.start_worker):
        with pytest.raises(CheckpointError, match=r"^cannot write .*: No such file or directory"):
            call(missing)
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        workbench.start_now(missing / "run")
    assert not missing.exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot write"):
        workbench.work(tmp_path / "file")
    with pytest.raises(CheckpointError, match="cannot write"):
        workbench.start_worker(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_folder_is_refused(tmp_path):
    enqueue(tmp_path, "run")
    tmp_path.chmod(0o500)
    try:
        for call in (workbench.work, workbench.start_worker):
            with pytest.raises(CheckpointError, match="Permission denied"):
                call(tmp_path)
    finally:
        tmp_path.chmod(0o700)


# In processes of their own.


@pytest.fixture
def children():
    """The processes that the workbench starts, over when the test is."""
    workbench._children.clear()
    yield workbench._children
    for child in workbench._children:
        child.kill()
        child.wait()
    workbench._children.clear()


def test_a_worker_started_trains_the_queue_in_a_session_of_its_own(tmp_path, children, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a relative folder is the caller's, not the child's
    Path("runs").mkdir()
    for name in ("a", "b"):
        enqueue(Path("runs"), name)
    workbench.start_worker(Path("runs"))
    (child,) = children
    assert os.getsid(child.pid) not in (os.getsid(0), 0)
    assert child.wait() == 0
    assert states(tmp_path / "runs") == {"a": "finished", "b": "finished"}


def test_a_run_started_now_can_be_stopped_renamed_only_then_and_goes_on(tmp_path, children):
    path = enqueue(tmp_path, "run", 100_000)
    workbench.start_now(path)
    wait_for(lambda: (path / "metrics.jsonl").exists())
    assert job.status(path).state == "running"
    for refused in (lambda: workbench.rename(path, "new"), lambda: workbench.discard(path)):
        with pytest.raises(CheckpointError, match=r"^run is being trained; stop it before it is "):
            refused()
    job.request_stop(path)
    children[0].wait()
    assert job.status(path).state == "stopped"
    assert open_run(path).load_embedding() is not None
    assert workbench.rename(path, "new") == tmp_path / "new"


def test_a_run_started_now_that_is_killed_is_interrupted_at_once(tmp_path, children):
    path = enqueue(tmp_path, "run", 100_000)
    workbench.start_now(path)
    wait_for(lambda: (path / "metrics.jsonl").exists())
    children[0].kill()
    children[0].wait()
    assert job.status(path).state == "interrupted"


# Names and removal.


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_renamed_run_is_the_same_under_another_name(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "run")
    before = files(run.path)
    assert workbench.rename(run.path, "new-name") == tmp_path / "new-name"
    assert open_run(tmp_path / "new-name").load_embedding() is not None
    assert files(tmp_path / "new-name") == before
    assert not run.path.exists()


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", ".hidden", "x" * 65, "<b>", "a\n"])
def test_a_name_that_could_lead_astray_is_refused(tiny_run, tmp_path, name):
    run = tiny_run(tmp_path / "run")
    with pytest.raises(CheckpointError, match="must be 1 to 64"):
        workbench.rename(run.path, name)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_name_that_is_taken_is_refused(tiny_run, tmp_path):
    run, other = tiny_run(tmp_path / "run"), tiny_run(tmp_path / "other")
    for name in ("other", "run"):
        with pytest.raises(CheckpointError, match=f"^a run named '{name}' exists already"):
            workbench.rename(run.path, name)
    assert run.load_model() is not None
    assert other.load_model() is not None


def test_a_discarded_run_is_gone_and_comes_back_whole(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "run")
    before = files(run.path)
    place = workbench.discard(run.path)
    assert checkpoint.list_runs(tmp_path) == ([], {})
    assert workbench.queued(tmp_path) == []
    assert workbench.restore(place) == run.path
    assert files(run.path) == before


def test_two_of_one_name_can_be_discarded_and_one_comes_back(tiny_run, tmp_path):
    places = [workbench.discard(tiny_run(tmp_path / "run").path) for _ in range(2)]
    assert places[0] != places[1]
    workbench.restore(places[1])
    with pytest.raises(CheckpointError, match=r"^a run named 'run' exists already"):
        workbench.restore(places[0])
    shutil.rmtree(tmp_path / "run")
    assert workbench.restore(places[0]) == tmp_path / "run"


def test_what_was_discarded_long_ago_is_gone_for_good(tiny_run, tmp_path):
    old = workbench.discard(tiny_run(tmp_path / "old").path)
    os.utime(old.parent, (time.time() - 90_000,) * 2)
    recent = workbench.discard(tiny_run(tmp_path / "recent").path)
    assert (old.exists(), recent.exists()) == (False, True)
    with pytest.raises(CheckpointError, match=r"^cannot bring old back: No such file or directory"):
        workbench.restore(old)


def test_a_run_that_is_not_there_is_neither_renamed_nor_discarded(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        workbench.rename(tmp_path / "nowhere", "new")
    with pytest.raises(CheckpointError, match=r"^cannot delete .*: No such file or directory"):
        workbench.discard(tmp_path / "nowhere")


def test_a_training_in_the_background_lets_others_go_first(python):
    code = "import os; from vae import workbench; n = os.nice(0); workbench.step_back(); "
    finished = python("-c", code + "print(os.nice(0) - n)")
    assert finished.stdout.strip() == "10", finished.stderr
