"""The checkpoints that this visitor may open: their uploads, what the start named, the server's."""

import sys
from pathlib import Path

import streamlit as st

from vae import formats
from vae.formats import AnyRun, given, module
from vae.ui import cache, upload


def found() -> tuple[list[AnyRun], dict[str, str]]:
    """All of them, the visitor's own first; and what is wrong with those that cannot be opened."""
    runs, broken = cache.runs()
    named, _ = _named(_arguments())
    return [*upload.runs(), *named, *runs], broken


def problem() -> str:
    """What is wrong with the model or the data that `streamlit run app.py -- ...` names."""
    return _named(_arguments())[1]


def _arguments() -> tuple[str, ...]:
    """What stands behind `streamlit run app.py --`; nothing where something else runs the app."""
    return tuple(sys.argv[1:]) if Path(sys.argv[0]).name == "app.py" else ()


@st.cache_resource(show_spinner="Importing your model")
def _named(arguments: tuple[str, ...]) -> tuple[list[AnyRun], str]:
    # Once for all visitors, a failure too: a module that took long to fail would do so again.
    try:
        model, data = module.parse_arguments(list(arguments))
        if model is None:
            if data is not None:
                given.open_data(data)
            return [], ""
        return [formats.open_module(model, data)], ""
    except ValueError as error:
        return [], str(error)
