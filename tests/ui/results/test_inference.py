"""The exact posterior of a point, for a whole class at once."""

import threading
import time

from vae.inference import gap
from vae.ui.results import inference


def test_thirty_who_ask_at_once_share_one_computation(view, monkeypatch):
    real, calls, found, together = gap.infer, [], [], threading.Barrier(30)

    def slow(*arguments, **options):
        calls.append(1)
        time.sleep(0.3)
        return real(*arguments, **options)

    def ask() -> None:
        together.wait()
        found.append(inference.of_point(view, 3))

    monkeypatch.setattr(gap, "infer", slow)
    threads = [threading.Thread(target=ask) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert (len(calls), len(found)) == (1, 30)
    assert all(one is found[0] for one in found)
    assert inference.of_point(view, 4) is not found[0]
    assert len(calls) == 2
