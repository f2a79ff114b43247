"""A cache whose size is counted in bytes: what was asked for longest ago goes first."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_T = TypeVar("_T")
_LOCKS = 16


class Bounded(Generic[_T]):
    """Values by key, of at most so many bytes together; the newest stays even if it is larger.

    All visitors share it. What a reader still holds stays alive until it lets go, too.

    Args:
        max_bytes: of all values together.
        n_bytes: of one value.
    """

    def __init__(self, max_bytes: int, n_bytes: Callable[[_T], int]) -> None:
        self.max_bytes = max_bytes
        self._n_bytes = n_bytes
        self._kept: OrderedDict[Hashable, _T] = OrderedDict()
        self._lock = threading.Lock()
        # Two who ask for the same wait for one of them; others mostly meet another lock.
        self._making = [threading.Lock() for _ in range(_LOCKS)]

    def get(self, key: Hashable) -> _T | None:
        """The value, now the last to go; None if there is none."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Hashable, value: _T) -> None:
        """Keeps the value; others go until all fit."""
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and self._total() > self.max_bytes:
                self._kept.popitem(last=False)

    def get_or_make(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """The value, made if there is none, once for all who ask meanwhile."""
        with self._making[hash(key) % _LOCKS]:
            value = self.get(key)
            if value is None:
                value = make()
                self.put(key, value)
            return value

    @property
    def bytes_kept(self) -> int:
        """Of all values together."""
        with self._lock:
            return self._total()

    def _total(self) -> int:
        return sum(map(self._n_bytes, self._kept.values()))
