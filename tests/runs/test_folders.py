import os
import shutil
import time
from pathlib import Path

import pytest

from vae.runs import checkpoint, folders, queue
from vae.runs.checkpoint import open_run
from vae.runs.files import CheckpointError


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_renamed_run_is_the_same_under_another_name(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "run")
    before = files(run.path)
    assert folders.rename(run.path, "new-name") == tmp_path / "new-name"
    assert open_run(tmp_path / "new-name").load_embedding() is not None
    assert files(tmp_path / "new-name") == before
    assert not run.path.exists()


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", ".hidden", "x" * 65, "<b>", "a\n"])
def test_a_name_that_could_lead_astray_is_refused(tiny_run, tmp_path, name):
    run = tiny_run(tmp_path / "run")
    with pytest.raises(CheckpointError, match="must be 1 to 64"):
        folders.rename(run.path, name)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_name_that_is_taken_is_refused(tiny_run, tmp_path):
    run, other = tiny_run(tmp_path / "run"), tiny_run(tmp_path / "other")
    for name in ("other", "run"):
        with pytest.raises(CheckpointError, match=f"^a run named '{name}' exists already"):
            folders.rename(run.path, name)
    assert run.load_model() is not None
    assert other.load_model() is not None


def test_a_discarded_run_is_gone_and_comes_back_whole(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "run")
    before = files(run.path)
    place = folders.discard(run.path)
    assert checkpoint.list_runs(tmp_path) == ([], {})
    assert queue.queued(tmp_path) == []
    assert folders.restore(place) == run.path
    assert files(run.path) == before


def test_two_of_one_name_can_be_discarded_and_one_comes_back(tiny_run, tmp_path):
    places = [folders.discard(tiny_run(tmp_path / "run").path) for _ in range(2)]
    assert places[0] != places[1]
    folders.restore(places[1])
    with pytest.raises(CheckpointError, match=r"^a run named 'run' exists already"):
        folders.restore(places[0])
    shutil.rmtree(tmp_path / "run")
    assert folders.restore(places[0]) == tmp_path / "run"


def test_what_was_discarded_long_ago_is_gone_for_good(tiny_run, tmp_path):
    old = folders.discard(tiny_run(tmp_path / "old").path)
    os.utime(old.parent, (time.time() - 90_000,) * 2)
    recent = folders.discard(tiny_run(tmp_path / "recent").path)
    assert (old.exists(), recent.exists()) == (False, True)
    with pytest.raises(CheckpointError, match=r"^cannot bring old back: No such file or directory"):
        folders.restore(old)


def test_a_run_that_is_not_there_is_neither_renamed_nor_discarded(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        folders.rename(tmp_path / "nowhere", "new")
    with pytest.raises(CheckpointError, match=r"^cannot delete .*: No such file or directory"):
        folders.discard(tmp_path / "nowhere")


def test_every_checkpoint_that_ships_is_protected():
    shipped = Path(__file__).resolve().parents[2] / "checkpoints"
    names = {path.name for path in shipped.iterdir() if (path / "README.md").exists()}
    assert names
    assert all(folders.is_protected(shipped / name) for name in names)
