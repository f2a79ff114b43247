"""Who asks: the session of one browser tab."""

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx


def current() -> str | None:
    """The visitor whose page runs in this thread; None where no page does."""
    context = get_script_run_ctx(suppress_warning=True)
    return None if context is None else context.session_id


def is_here(visitor: str | None) -> bool:
    """Whether their tab is still open; nobody in particular never leaves."""
    if visitor is None or not runtime.exists():
        return True
    return runtime.get_instance().is_active_session(visitor)
