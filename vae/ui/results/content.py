"""What an array is known by, whichever run or file it comes from."""

import hashlib
from collections.abc import Hashable

import numpy as np


def content(array: np.ndarray) -> Hashable:
    """The same for arrays of the same numbers, type and shape."""
    data = np.ascontiguousarray(array).data
    return array.shape, array.dtype.str, hashlib.blake2b(data, digest_size=16).digest()
