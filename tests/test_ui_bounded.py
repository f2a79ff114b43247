"""The cache that counts bytes."""

import threading

import pytest

from vae.ui.bounded import Bounded


def of_bytes(limit: int) -> Bounded[bytes]:
    return Bounded(limit, len)


def test_what_was_asked_for_longest_ago_goes_first():
    cache = of_bytes(10)
    for name in "abc":
        cache.put(name, bytes(3))
    assert cache.get("a") == bytes(3)  # now b is the oldest
    cache.put("d", bytes(3))
    assert [cache.get(name) is not None for name in "abcd"] == [True, False, True, True]


@pytest.mark.parametrize("sizes", [[1] * 100, [4, 9, 2, 7, 1, 10, 3], [10, 10, 10]])
def test_it_never_holds_more_than_it_may(sizes):
    cache = of_bytes(10)
    for name, size in enumerate(sizes):
        cache.put(name, bytes(size))
        assert cache.bytes_kept <= 10
        assert cache.get(name) is not None


def test_one_value_larger_than_all_stays_until_the_next():
    cache = of_bytes(10)
    cache.put("small", bytes(2))
    cache.put("large", bytes(50))
    assert (cache.get("small"), cache.bytes_kept) == (None, 50)
    cache.put("small", bytes(2))
    assert (cache.get("large"), cache.bytes_kept) == (None, 2)


def test_a_value_that_is_replaced_is_counted_once():
    cache = of_bytes(10)
    cache.put("a", bytes(6))
    cache.put("b", bytes(3))
    cache.put("a", bytes(7))
    assert cache.bytes_kept == 10


def test_what_many_ask_for_at_once_is_made_once():
    cache, made, together = of_bytes(10), [], threading.Barrier(8)
    found = []

    def make() -> bytes:
        made.append(threading.get_ident())
        return bytes(5)

    def ask() -> None:
        together.wait()
        found.append(cache.get_or_make("a", make))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(found)) == (1, 8)
    assert all(value is found[0] for value in found)


def test_what_could_not_be_made_is_tried_again():
    cache = of_bytes(10)

    def fail() -> bytes:
        raise ValueError("no network")

    with pytest.raises(ValueError, match="no network"):
        cache.get_or_make("a", fail)
    assert cache.get_or_make("a", lambda: b"here") == b"here"
