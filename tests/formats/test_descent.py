"""The search of facts, on costs whose lowest value is known."""

import math
import time

from vae.formats.card import ASSUMED, Fact
from vae.formats.descent import Descent

VALUES = ("a", "b", "c", "d")
FACTS = [Fact(name, "a", ASSUMED, VALUES) for name in ("hidden activation", "norms", "strides")]
START = {fact.name: fact.value for fact in FACTS}
BEST = dict.fromkeys(START, "d")


def trap(values):
    """Each step towards the best costs more, until all three are made."""
    right = sum(value == "d" for value in values.values())
    return 0 if right == len(values) else 10 + right


def descent(cost, seconds=60.0):
    return Descent(cost, cost, time.thread_time() + seconds)


def test_one_by_one_ends_in_the_trap_and_other_beginnings_do_not():
    found = descent(trap).best(dict(START), FACTS[:2])  # of two groups, so never tried together
    assert trap(found) > 0
    found = descent(trap).anew(found, dict(START), FACTS, lambda _: 200)
    assert found == BEST


def test_no_beginning_is_tried_where_the_first_reading_is_good():
    found = descent(trap).anew(dict(START), dict(START), FACTS, lambda _: 0)
    assert found == START


def test_it_ends_when_time_is_up():
    found = descent(trap, -1.0).anew(dict(START), dict(START), FACTS, lambda _: 10**9)
    assert found == START


def test_a_reading_that_cannot_be_scored_is_never_the_best():
    found = descent(lambda v: math.inf if v["norms"] == "a" else len(set(v.values()))).best(
        dict(START), FACTS
    )
    assert found["norms"] != "a"
