import json
import math
import socket
import time

import pytest
from filelock import FileLock
from hostile_names import is_text

from vae.runs import lock
from vae.runs.status import Status, read_status, write_status


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
        b'{"state": "running"' + b" " * 200_000 + b"}",
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
    ],
    ids=lambda data: repr(data[:50]),
)
def test_a_damaged_status_counts_as_finished_and_says_so(tmp_path, data):
    (tmp_path / "status.json").write_bytes(data)
    found = read_status(tmp_path)
    assert found == Status("finished", message=found.message)
    assert found.message.startswith("status.json ")
    assert found.message.endswith("; delete that file")
    assert is_text(found.message)
    assert len(found.message) < 200


ABSURD = [
    *({"step": 5, "n_steps": 2}, {"step": -1, "n_steps": 2}, {"step": True, "n_steps": 2}),
    *({"step": 1.5, "n_steps": 2}, {"n_steps": 10**400}, {"n_steps": -3}, {"step": "x"}),
    *({"seconds": math.inf}, {"seconds": math.nan}, {"seconds": -1}, {"seconds": 1e300}),
    *({"seconds": []}, {"seconds": None}, {"updated": "now"}, {"updated": None}),
    *({"updated": math.inf}, {"updated": math.nan}, {"updated": -1e9}, {"message": {}}),
    *({"host": 5}, {"host": ["x"]}),
]


@pytest.mark.parametrize("state", ["queued", "running", "finished", "stopped", "failed"])
@pytest.mark.parametrize("values", ABSURD, ids=str)
def test_an_absurd_status_says_nothing_but_its_state_and_what_is_wrong(tmp_path, values, state):
    known = {"state": state, "updated": time.time(), "host": "another"}
    try:
        (tmp_path / "status.json").write_text(json.dumps(known | values))
    except ValueError:  # a number that Python writes no digits of
        (tmp_path / "status.json").write_text(f'{{"state": "{state}", "n_steps": 1{"0" * 400}}}')
    found = read_status(tmp_path)
    # Nobody is seen to work in it: it is in no queue, and no page waits for it.
    shown = "interrupted" if state in ("queued", "running") else state
    assert found == Status(shown, message=found.message)
    (name, *_) = values
    assert found.message.startswith(f"status.json says that {name} is ")


@pytest.mark.parametrize(
    ("ahead", "state"),
    [(5, "running"), (60, "running"), (3600, "interrupted"), (1e9, "interrupted")],
)
def test_a_job_elsewhere_is_not_in_progress_for_ever(tmp_path, ahead, state):
    status = {"state": "running", "updated": time.time() + ahead, "host": "another"}
    (tmp_path / "status.json").write_text(json.dumps(status))
    assert read_status(tmp_path).state == state


def test_a_long_message_is_cut_and_the_status_stays_readable(tmp_path):
    write_status(tmp_path, Status("failed", message="x" * 1_000_000))
    found = read_status(tmp_path)
    assert (found.state, found.message) == ("failed", "x" * 1000)


def test_what_is_left_follows_from_the_pace():
    assert Status("running", step=25, n_steps=100, seconds=10.0).seconds_left == 30.0
    assert Status("running", step=0, n_steps=100, seconds=10.0).seconds_left is None
    assert Status("stopped", step=25, n_steps=100, seconds=10.0).seconds_left is None
