"""Looking whether a folder is locked keeps nobody out, and those who look do not see each other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock

from vae.runs import lock
from vae.runs.files import CheckpointError
from vae.runs.lock import LOCK, claimed, is_claimed, is_locked


def looks(path, n_threads: int = 8, n_looks: int = 200) -> set[bool]:
    """What so many threads see that look at once."""
    together = threading.Barrier(n_threads)

    def look(_) -> set[bool]:
        together.wait()
        return {is_locked(path) for _ in range(n_looks)}

    with ThreadPoolExecutor(n_threads) as pool:
        return set().union(*pool.map(look, range(n_threads)))


def test_a_lock_is_seen_by_all_while_it_is_held_and_by_none_before_and_after(tmp_path):
    path = tmp_path / "lock"
    assert looks(path) == {False}
    assert not path.exists()
    with FileLock(path):
        assert looks(path) == {True}
    assert looks(path) == {False}


# Imports once, and forks those who look.
LOOK = """
import os, sys
from pathlib import Path
from filelock import FileLock
from vae.runs.lock import is_locked

def look():
    child = os.fork()
    if not child:
        os._exit(sum(is_locked(Path(sys.argv[1])) for _ in range(100)))
    return child

def seen():
    children = [look() for _ in range(4)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

print([seen() for _ in range(10)])
with FileLock(sys.argv[1]):
    print(seen())
"""


def test_processes_that_look_at_once_do_not_see_each_other(tmp_path, python):
    path = tmp_path / "lock"
    path.touch()
    finished = python("-c", LOOK, path)
    assert finished.stdout.splitlines() == [str([[0] * 4] * 10), str([100] * 4)], finished.stderr


def test_a_training_begins_although_many_look(tmp_path):
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            is_claimed(tmp_path)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            with claimed(tmp_path):
                assert is_claimed(tmp_path)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_who_comes_second_is_refused(tmp_path):
    with claimed(tmp_path):
        with pytest.raises(CheckpointError, match="is being trained by another process"):
            claimed(tmp_path).__enter__()
        assert lock.take(tmp_path / LOCK) is None
    assert lock.take(tmp_path / LOCK) is not None


def test_a_folder_that_is_gone_is_not_made_anew(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        lock.take(tmp_path / "gone" / LOCK)
    assert list(tmp_path.iterdir()) == []
