"""Keeps Python's garbage collector from holding all visitors up.

Streamlit has it look through every object after each run of a page. With PyTorch and the rest
loaded that takes a quarter of a second, in which nobody else's page gets on. So that is turned off
in .streamlit/config.toml, and done here: now and then, and without what has been imported, which
is no garbage.
"""

import gc
import sys
import threading
import time

from streamlit import runtime

_EVERY_S = 10.0  # so long at least lies between two looks
_ALL_EVERY_S = 600.0  # what was set aside by the way, as others' sessions, may be garbage since

_lock = threading.Lock()
_modules = 0  # when everything was last set aside
_looked = _set_aside = 0.0


def collect() -> None:
    """Frees what is garbage if the last look is long enough ago; called after each run of a page.

    Everything that exists is set aside, and not looked at again, when modules have been imported.
    """
    global _modules, _looked, _set_aside
    if not runtime.exists() or not _lock.acquire(blocking=False):
        return
    try:
        now = time.monotonic()
        if len(sys.modules) != _modules or now > _set_aside + _ALL_EVERY_S:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            _modules, _looked, _set_aside = len(sys.modules), now, now
        elif now > _looked + _EVERY_S:
            gc.collect()
            _looked = now
    finally:
        _lock.release()
