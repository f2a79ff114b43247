import os
import threading

import pytest

from vae.runs import checkpoint, names


def taken(root, reservation) -> None:
    """As if a run had been made of a reservation."""
    (root / reservation.name).mkdir()
    reservation.release()


def test_the_name_is_the_stem_or_the_first_number_that_is_free(tmp_path):
    first = names.reserve("digits-2d", tmp_path)
    taken(tmp_path, first)
    second = names.reserve("digits-2d", tmp_path)
    third = names.reserve("digits-2d", tmp_path)
    assert [first.name, second.name, third.name] == ["digits-2d", "digits-2d-2", "digits-2d-3"]
    second.release()
    del third  # as with a visitor who has left
    assert names.reserve("digits-2d", tmp_path).name == "digits-2d-2"
    assert names.reserve("digits-2d", tmp_path).name == "digits-2d-2"  # nobody holds it
    assert checkpoint.list_runs(tmp_path)[0] == []


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("digits-2, 3d", "digits-2-3d"),
        ("../up", "up"),
        ("<b>", "b"),
        ("", "run"),
        ("x" * 99, "x" * 40),
    ],
)
def test_any_text_makes_a_name(tmp_path, stem, name):
    assert names.reserve(stem, tmp_path).name == checkpoint.check_name(name)


def test_what_is_held_is_kept_while_it_serves(tmp_path):
    mine = names.reserve("a", tmp_path)
    assert names.reserve("a", tmp_path, held=mine) is mine
    other = names.reserve("b", tmp_path, held=mine)  # the form asks for another
    assert other.name == "b"
    again = names.reserve("a", tmp_path)
    assert again.name == "a"
    (tmp_path / "a").mkdir()  # somebody made it outright
    assert names.reserve("a", tmp_path, held=again).name == "a-2"


def test_a_name_is_free_for_a_sweep_if_none_of_its_runs_exists(tmp_path):
    (tmp_path / "a-k3").mkdir()
    assert names.reserve("a", tmp_path, ("-k2", "-k3")).name == "a-2"
    (tmp_path / "b").mkdir()
    assert names.reserve("b", tmp_path, ("-k2", "-k3")).name == "b"


def test_threads_that_ask_at_once_get_different_names(tmp_path):
    held, together = [], threading.Barrier(20)

    def ask() -> None:
        together.wait()
        held.append(names.reserve("a", tmp_path))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {mine.name for mine in held} == {"a", *(f"a-{number}" for number in range(2, 21))}


ASK = """
import sys, pathlib
from vae.runs import names
mine = names.reserve("a", pathlib.Path(sys.argv[1]))
print(mine.name)
"""


@pytest.mark.slow
def test_another_process_gets_another_name_until_it_ends(tmp_path, python):
    mine = names.reserve("a", tmp_path)
    for _ in range(2):
        assert python("-c", ASK, tmp_path).stdout == "a-2\n"
    mine.release()
    assert python("-c", ASK, tmp_path).stdout == "a\n"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_offers_names_all_the_same(tmp_path):
    tmp_path.chmod(0o500)
    try:
        assert names.reserve("a", tmp_path).name == "a"
    finally:
        tmp_path.chmod(0o700)
    (tmp_path / "file").touch()
    assert names.reserve("a", tmp_path / "file" / "runs").name == "a"
