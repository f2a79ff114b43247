"""What the tests that draw damaged files have in common."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def fuzz(use: Callable[[Callable], None], n: int, memory_kb: int = 300_000, **options) -> None:
    """use(draw) for n cases; what a file promises must not be what is allocated.

    Args:
        use: draws a file and uses it.
        n: of the cases.
        memory_kb: that all of them may add.
        options: more of hypothesis's settings.
    """
    before = peak_memory()

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
    assert peak_memory() - before < memory_kb


def peak_memory() -> int:
    """The most that this process has held, in kB; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


@contextmanager
def memory_below(mb: int) -> Iterator[None]:
    """Holds that what is done meanwhile adds less than so many MB; on Linux alone."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held now
    before = _most_held()
    yield
    assert _most_held() - before < mb


def _most_held() -> float:
    """The most that this process has held since the peak was set back, in MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM")), 0.0)


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
