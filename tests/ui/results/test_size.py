"""How many bytes a result takes."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from vae.ui.results.size import n_bytes_of


@dataclass(frozen=True)
class Pair:
    first: object
    second: object


ARRAY = np.zeros(10_000, np.float32)


@pytest.mark.parametrize(
    "value",
    [
        ARRAY,
        torch.zeros(10_000),
        bytes(40_000),
        [ARRAY, ARRAY],  # one array, counted once
        {"a": (None, {ARRAY.tobytes()})},
        Pair(Pair(1.0, "a"), ARRAY),
        nn.Sequential(nn.Linear(99, 100), nn.Tanh()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_holds_forty_thousand_bytes_takes_a_little_more(value):
    assert 40_000 <= n_bytes_of(value) < 50_000


def test_what_holds_itself_is_counted_all_the_same():
    ring = [ARRAY]
    ring.append(ring)
    assert 40_000 <= n_bytes_of(ring) < 41_000
