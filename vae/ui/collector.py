"""Keeps Python's garbage collector from holding all visitors up.

Streamlit has it look through every object after each run of a page. With PyTorch and the rest
loaded that takes a quarter of a second, in which nobody else's page gets on. What has been imported
is no garbage, so it is set aside, and the look takes milliseconds.
"""

import gc
import sys
import threading
import time

from streamlit import runtime

_AGAIN_S = 600.0  # what was set aside by the way, as others' sessions, may be garbage since

_lock = threading.Lock()
_modules = 0  # when everything was last set aside
_when = 0.0


def set_aside() -> None:
    """Sets aside what exists now, if modules were imported or much time has gone by since."""
    global _modules, _when
    if not runtime.exists() or not _lock.acquire(blocking=False):
        return
    try:
        if len(sys.modules) != _modules or time.monotonic() > _when + _AGAIN_S:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            _modules, _when = len(sys.modules), time.monotonic()
    finally:
        _lock.release()
