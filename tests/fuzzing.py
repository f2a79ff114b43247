"""What the tests that draw damaged files have in common."""

import resource
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def fuzz(use: Callable[[Callable], None], n: int, **options) -> None:
    """use(draw) for n cases; what a file promises must not be what is allocated.

    Args:
        use: draws a file and uses it.
        n: of the cases.
        options: more of hypothesis's settings.
    """
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(
        max_examples=n,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **options,
    )
    @given(st.data())
    def cases(data: st.DataObject) -> None:
        use(data.draw)

    cases()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000  # kB


def damaged(draw, data: bytes) -> bytes:
    """Some bytes of a file changed, cut out or put in."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        # Half of the blows go where the structure is, at the beginning.
        end = draw(st.sampled_from([10, 400, len(data), len(data)]))
        at = draw(st.integers(0, max(0, min(end, len(data)) - 1)))
        how = draw(st.sampled_from(["flip", "flip", "flip", "set", "cut", "insert", "truncate"]))
        if how == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del data[at : at + draw(st.integers(1, 100))]
        elif how == "truncate":
            del data[at:]
        else:
            data[at:at] = draw(st.binary(min_size=1, max_size=20))
    return bytes(data)
