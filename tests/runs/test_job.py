import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.numpy
import torch

from vae.analysis.embedding import embed
from vae.config import ModelConfig, TrainConfig
from vae.data import catalogue
from vae.runs import checkpoint, files, job
from vae.runs.checkpoint import CheckpointError, open_run
from vae.runs.status import STATUS, read_status, request_stop
from vae.training.trainer import NonFiniteLoss

MODEL = ModelConfig(image_shape=(1, 8, 8), hidden=(16,))


def digits(epochs: int, **settings) -> TrainConfig:
    return TrainConfig("digits", epochs, **({"batch_size": 512} | settings))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_whole(run: checkpoint.Run) -> None:
    """The folder opens, its weights are finite, its rows are whole and the map is theirs."""
    model = run.load_model()
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    epochs = [row["epoch"] for row in run.load_metrics()]
    assert epochs == [1 + i // 2 for i in range(len(epochs))]
    stored, fresh = run.load_embedding(), embed(model, catalogue.load("digits"))
    assert stored.mu.tobytes() == fresh.mu.tobytes()
    assert stored.recon.tobytes() == fresh.recon.tobytes()


@pytest.fixture
def quick_heartbeat(monkeypatch):
    monkeypatch.setattr(job, "_HEARTBEAT_S", 0.01)


# A training from its first instant to its end.


def test_the_folder_opens_after_every_epoch(tmp_path):
    for stats in job.train(tmp_path / "new", MODEL, digits(4), "cpu"):
        run = open_run(tmp_path / "new")
        run.load_model()
        rows = run.load_metrics()
        assert rows[-2:] == stats.rows()
        assert len(rows) == 2 * stats.epoch
        assert read_status(run.path).state == "running"
    assert read_status(run.path).state == "finished"
    assert_whole(run)


def test_the_last_status_counts_every_step(tmp_path):
    seen = []
    for _ in job.train(
        tmp_path / "new", MODEL, digits(2), "cpu", lambda step, of: seen.append((step, of))
    ):
        pass
    status = read_status(tmp_path / "new")
    assert seen == [(step, 6) for step in range(1, 7)]  # 1,438 images are three batches of 512
    assert (status.step, status.n_steps, status.message) == (6, 6, "")
    assert abs(status.updated - time.time()) < 60
    assert status.seconds_left is None


def test_only_whole_runs_are_ever_seen(tmp_path, monkeypatch):
    """Whatever is being written, a list of the runs shows the folder whole or not at all."""
    write, seen = files.write_atomic, []

    def look_and_write(path, data):
        for act in (lambda: None, lambda: write(path, data)):
            act()
            runs, broken = checkpoint.list_runs(tmp_path)
            assert broken == {}
            for run in runs:
                run.load_model()
                # "interrupted" for the instant before its lock is held
                assert read_status(run.path).state in ("interrupted", "running", "finished")
            seen.append(len(runs))

    monkeypatch.setattr(files, "write_atomic", look_and_write)
    for _ in job.train(tmp_path / "new", MODEL, digits(2), "cpu"):
        pass
    assert set(seen) == {0, 1}
    assert sorted(seen) == seen
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_nothing_is_left_where_training_cannot_begin(tmp_path, monkeypatch):
    def refuse(*_):
        raise CheckpointError("no room")

    with pytest.raises(ValueError, match="unknown data set"):
        next(job.train(tmp_path / "a", MODEL, TrainConfig("nonesuch", 1), "cpu"))
    with pytest.raises(ValueError, match="not available here"):
        next(job.train(tmp_path / "a", MODEL, digits(1), "abacus"))
    with pytest.raises(ValueError, match=r"must be \(1, 32, 32\)"):
        next(job.train(tmp_path / "a", MODEL, TrainConfig("sprites", 1), "cpu"))
    with pytest.raises(CheckpointError, match="must be 1 to 64"):
        next(job.train(tmp_path / "..", MODEL, digits(1), "cpu"))
    for step in ("save_model", "move"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, step, refuse)
            with pytest.raises(CheckpointError, match="no room"):
                next(job.train(tmp_path / "a", MODEL, digits(1), "cpu"))
    assert list(tmp_path.iterdir()) == []


# Endings.


def stop_at_once(path: Path) -> list[bytes]:
    """Trains until the request to stop after epoch 2 is met; the weights after each epoch."""
    weights = []
    for stats in job.train(path, MODEL, digits(100_000), "cpu"):
        weights.append((path / "model.safetensors").read_bytes())
        if stats.epoch == 2:
            request_stop(path)
    return weights


def test_a_stopped_run_keeps_its_last_whole_epoch(tmp_path, quick_heartbeat):
    path = tmp_path / "new"
    weights = stop_at_once(path)
    run = open_run(path)
    assert 2 <= len(weights) < 100_000
    assert (path / "model.safetensors").read_bytes() == weights[-1]
    assert len(run.load_metrics()) == 2 * len(weights)
    assert_whole(run)
    status = read_status(path)
    assert status.state == "stopped"
    assert status.step >= 3 * len(weights)
    assert not (path / "stop").exists()


def test_a_reader_that_leaves_stops_the_training(tmp_path):
    training = job.train(tmp_path / "new", MODEL, digits(100), "cpu")
    next(training)
    training.close()
    assert read_status(tmp_path / "new").state == "stopped"
    assert_whole(open_run(tmp_path / "new"))


@pytest.mark.parametrize("at", [1, 5])
def test_ctrl_c_stops_and_goes_on_to_the_caller(tmp_path, at):
    def interrupt(step, _):
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(job.train(tmp_path / "new", MODEL, digits(100), "cpu", interrupt))
    run = open_run(tmp_path / "new")
    assert read_status(run.path).state == "stopped"
    assert len(run.load_metrics()) == 2 * ((at - 1) // 3)
    assert_whole(run)


def test_a_diverged_run_says_so_and_keeps_finite_weights(tmp_path):
    config = digits(5, learning_rate=1e6, schedule="constant")
    with pytest.raises(NonFiniteLoss) as caught:
        list(job.train(tmp_path / "new", MODEL, config, "cpu"))
    status = read_status(tmp_path / "new")
    assert (status.state, status.message) == ("failed", str(caught.value))
    assert "smaller learning rate than 1e+06" in status.message
    assert_whole(open_run(tmp_path / "new"))


def test_a_disk_that_fills_says_so_and_the_folder_still_opens(tmp_path, monkeypatch):
    save_metrics = checkpoint.save_metrics

    def fill(run, rows):
        if len(rows) == 6:
            raise CheckpointError("no room")
        save_metrics(run, rows)

    monkeypatch.setattr(checkpoint, "save_metrics", fill)
    with pytest.raises(CheckpointError, match="no room"):
        list(job.train(tmp_path / "new", MODEL, digits(5), "cpu"))
    status = read_status(tmp_path / "new")
    assert (status.state, status.message) == ("failed", "no room")
    assert_whole(open_run(tmp_path / "new"))


@pytest.mark.parametrize(
    "name",
    [
        *("model.safetensors", "metrics.jsonl", "trainer.safetensors", "embedding.safetensors"),
        *("epoch-000002.png", "epoch-000002.safetensors"),
    ],
)
def test_a_disk_that_fills_during_any_write_loses_nothing_earlier(tmp_path, monkeypatch, name):
    list(job.train(tmp_path / "unbroken", MODEL, digits(4), "cpu"))
    write, seen = files.write_atomic, []

    def full(path, data):
        seen.append(path.name)
        # The weights are written once more than the others: untrained.
        times = 3 if name.startswith("model") else 1 if name.startswith("e") else 2
        if path.name == name and seen.count(name) == times:
            raise CheckpointError(f"cannot write {path}: No space left on device")
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomic", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            list(job.train(tmp_path / "new", MODEL, digits(4), "cpu"))
    run = open_run(tmp_path / "new")
    status = read_status(run.path)
    assert (status.state, "No space left" in status.message) == ("failed", True)
    assert all(tensor.isfinite().all() for tensor in run.load_model().state_dict().values())
    assert len(run.load_metrics()) >= 2
    assert not list(run.path.rglob("*.tmp"))

    list(job.resume(run.path, "cpu"))  # once there is room again
    other = open_run(tmp_path / "unbroken")
    assert run.fingerprint() == other.fingerprint()
    assert read_status(run.path).state == "finished"


def test_what_nobody_foresaw_is_told_too(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("not enough\n  memory")

    monkeypatch.setattr(job, "embed", fail)
    with pytest.raises(RuntimeError):
        list(job.train(tmp_path / "new", MODEL, digits(1), "cpu"))
    status = read_status(tmp_path / "new")
    assert (status.state, status.message) == ("failed", "not enough memory")


def test_a_second_ctrl_c_while_the_map_is_drawn_leaves_a_stopped_run(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "embed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(job.train(tmp_path / "new", MODEL, digits(9), "cpu", interrupt))
    assert read_status(tmp_path / "new").state == "stopped"


def test_a_status_that_cannot_be_written_does_not_end_the_training(tmp_path, monkeypatch):
    write, began = files.write_atomic, []

    def fail_later(path, data):
        if path.name == STATUS:
            if len(began) == 2:  # as the folder was made, and as the training began
                raise CheckpointError("no room")
            began.append(path)
        write(path, data)

    monkeypatch.setattr(files, "write_atomic", fail_later)
    monkeypatch.setattr(job, "_HEARTBEAT_S", 0.001)
    assert len(list(job.train(tmp_path / "new", MODEL, digits(5), "cpu"))) == 5
    assert_whole(open_run(tmp_path / "new"))


# Two of one name.


def test_the_second_training_of_a_name_is_refused_and_the_first_unharmed(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "taken")
    before = contents(tmp_path)
    for begin in (
        lambda: next(job.train(run.path, MODEL, digits(1), "cpu")),
        lambda: job.create(run.path, MODEL, digits(1)),
    ):
        with pytest.raises(
            CheckpointError, match=r"^a run named 'taken' exists already in [^\n]*$"
        ):
            begin()
    assert contents(tmp_path) == before


def test_of_threads_that_make_a_run_at_once_one_gets_the_name_and_it_is_whole(tmp_path):
    def make(i: int) -> str:
        together.wait()
        try:
            job.create(tmp_path / f"same-{i}", MODEL, digits(1))
        except CheckpointError as error:
            return str(error)
        return "made"

    with ThreadPoolExecutor(3) as pool:
        for i in range(10):
            together = threading.Barrier(3)
            said = sorted(pool.map(make, [i] * 3))
            assert said[2] == "made"
            assert all("exists already in" in refusal for refusal in said[:2])
            open_run(tmp_path / f"same-{i}").load_model()
    assert len(list(tmp_path.iterdir())) == 10


# Each program below imports once and forks its trainings, so that many of them cost little.
FORK = """
import os, signal, sys, time
from pathlib import Path
import torch._dynamo  # which optimisers import when first used
from vae.data import catalogue
from vae.runs import job
from vae.runs.checkpoint import CheckpointError
from vae.config import ModelConfig, TrainConfig

root = Path(sys.argv[1])
catalogue.load("digits")  # what is imported here need not be imported again

def fork(path, epochs):
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        config = ModelConfig(image_shape=(1, 8, 8), hidden=(16,))
        for _ in job.train(path, config, TrainConfig("digits", epochs, 512), "cpu"):
            pass
        code = 0
    except CheckpointError as error:
        print(error, flush=True)
        code = 2
    finally:
        os._exit(code)
"""

TOGETHER = (
    FORK
    + """
for i in range(3):
    children = [fork(root / f"same-{i}", 3) for _ in range(3)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(codes) == [0, 2, 2], codes
"""
)


@pytest.mark.slow
def test_of_trainings_begun_together_exactly_one_gets_the_name(tmp_path, python):
    finished = python("-c", TOGETHER, tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("exists already in") == 6  # two of three, three times
    runs, broken = checkpoint.list_runs(tmp_path)
    assert ([run.name for run in runs], broken) == ([f"same-{i}" for i in range(3)], {})
    assert len(list(tmp_path.iterdir())) == 3
    for run in runs:
        assert read_status(run.path).state == "finished"
        assert len(run.load_metrics()) == 6
        assert_whole(run)


KILLED = (
    FORK
    + """
def kill(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

for i in range(12):
    child = fork(root / f"early-{i}", 100_000)
    time.sleep(0.005 * i)
    kill(child)
for i in range(6):
    child = fork(root / f"late-{i}", 100_000)
    while not (root / f"late-{i}" / "metrics.jsonl").exists():
        time.sleep(0.001)
    time.sleep(0.005 * i)
    kill(child)
"""
)


@pytest.mark.slow
def test_a_run_killed_at_any_instant_opens(tmp_path, python, monkeypatch):
    finished = python("-c", KILLED, tmp_path)
    assert finished.returncode == 0, finished.stderr
    runs, broken = checkpoint.list_runs(tmp_path)
    assert broken == {}
    assert {f"late-{i}" for i in range(6)} <= {run.name for run in runs}
    for run in runs:  # of the early ones some were killed before there was a folder
        run.load_model()
        run.load_embedding()  # none, or one that fits; never damaged
        assert len(run.load_metrics()) % 2 == 0
        assert len(run.load_metrics()) >= 2 or run.name.startswith("early")
    monkeypatch.setattr("vae.runs.status._SILENT_S", 600)  # known at once: nobody holds the locks
    assert {read_status(run.path).state for run in runs} == {"interrupted"}


def test_a_job_writes_tensors_that_others_read(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "run")
    stored = safetensors.numpy.load_file(run.path / "model.safetensors")
    assert stored["encoder.body.1.weight"].shape == (16, 64)
    assert torch.from_numpy(stored["encoder.body.1.weight"]).abs().max() > 0


def test_a_lattice_is_never_trained(tmp_path):
    asked = ModelConfig((1, 8, 8), hidden=(16,), encoder="lattice")
    settings = TrainConfig("digits", epochs=1)
    assert job.create(tmp_path / "queued", asked, settings).model_config.encoder == "layers"
    for _ in job.train(tmp_path / "now", asked, settings, "cpu"):
        pass
    assert checkpoint.open_run(tmp_path / "now").model_config.encoder == "layers"
