"""The checkpoints that this visitor may open: their uploads, what the start named, the server's."""

import sys
from pathlib import Path

import streamlit as st

from vae import formats
from vae.errors import UserError
from vae.formats import AnyRun
from vae.formats.user_code import module, user_data
from vae.ui import upload
from vae.ui.results import loaded


def found() -> tuple[list[AnyRun], dict[str, str]]:
    """All of them, the visitor's own first; and what is wrong with those that cannot be opened."""
    runs, broken = loaded.runs()
    return [*upload.runs(), *named_at_start(), *runs], broken


def named_at_start() -> list[AnyRun]:
    """The model that `streamlit run app.py -- ...` names, if it does and the model opens."""
    return _named(_arguments())[0]


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
        named = module.parse_arguments(list(arguments))
        if named.model is None:
            if named.data is not None:
                user_data.open_data(named.data)
            return [], ""
        return [formats.open_module(named.model, named.data, named.weights, named.arguments)], ""
    except UserError as error:
        return [], str(error)
