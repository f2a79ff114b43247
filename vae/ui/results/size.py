"""How many bytes a result takes, whatever it is made of."""

import sys
from collections.abc import Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

_CODE = (type, FunctionType, MethodType, ModuleType)


def n_bytes_of(value: Any) -> int:
    """Of the arrays, tensors, texts and plain objects in it, each counted once."""
    total, seen, left = 0, set(), [value]
    while left:
        part = left.pop()
        if id(part) in seen or part is None or isinstance(part, _CODE):
            continue
        seen.add(id(part))
        if isinstance(part, np.ndarray | torch.Tensor):
            total += part.nbytes
            continue
        total += sys.getsizeof(part)
        if isinstance(part, Mapping):
            left += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            left += part
        left += getattr(part, "__dict__", {}).values()
    return total
