import json
import socket
import time

import pytest
from filelock import FileLock

from vae.runs import lock
from vae.runs.status import Status, read_status


def test_a_run_that_no_job_is_known_to_fill_is_finished(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "run")
    (run.path / "status.json").unlink()
    assert read_status(run.path).state == "finished"
    assert read_status(tmp_path / "nowhere").state == "finished"


def test_a_job_on_another_machine_that_fell_silent_is_interrupted(tmp_path):
    for age, state in ((0, "running"), (5, "running"), (60, "interrupted")):
        status = {"state": "running", "updated": time.time() - age, "host": "another"}
        (tmp_path / "status.json").write_text(json.dumps(status))
        assert read_status(tmp_path).state == state


def test_a_job_here_runs_as_long_as_its_lock_is_held(tmp_path):
    status = {"state": "running", "updated": 0.0, "host": socket.gethostname()}
    (tmp_path / "status.json").write_text(json.dumps(status))
    assert read_status(tmp_path).state == "interrupted"
    with FileLock(tmp_path / lock.LOCK):
        assert read_status(tmp_path).state == "running"
    assert read_status(tmp_path).state == "interrupted"


@pytest.mark.parametrize("state", ["queued", "finished", "stopped", "failed", "interrupted"])
def test_a_job_that_ended_never_becomes_interrupted(tmp_path, state):
    status = {"state": state, "step": 1, "n_steps": 4, "updated": 0.0, "message": "m"}
    (tmp_path / "status.json").write_text(json.dumps(status))
    assert (read_status(tmp_path).state, read_status(tmp_path).message) == (state, "m")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"{}",
        b'{"state"',
        b"[" * 100_000,
        b'{"state": "dancing"}',
        b'{"state": 5}',
        b'{"state": []}',
        b'{"state": "running", "unknown": 1}',
        b'{"state": "running", "updated": "now"}',
        b'{"state": "running", "updated": null}',
        b'{"state": "running", "updated": 1e999}',
        b'{"state": "running", "updated": NaN}',
        b'{"state": "running", "step": "x", "updated": 9e12}',
        b'{"state": "running", "seconds": [], "updated": 9e12}',
        b'{"state": "running", "message": {}, "updated": 9e12}',
        b'{"state": "running", "updated": 1' + b"0" * 400 + b"}",
    ],
    ids=lambda data: repr(data[:50]),
)
def test_a_damaged_status_counts_as_finished(tmp_path, data):
    (tmp_path / "status.json").write_bytes(data)
    assert read_status(tmp_path) == Status("finished")


def test_what_is_left_follows_from_the_pace():
    assert Status("running", step=25, n_steps=100, seconds=10.0).seconds_left == 30.0
    assert Status("running", step=0, n_steps=100, seconds=10.0).seconds_left is None
    assert Status("stopped", step=25, n_steps=100, seconds=10.0).seconds_left is None
