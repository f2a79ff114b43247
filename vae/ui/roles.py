"""What the visitors of this server may do, as its owner says in the environment.

VAE_READ_ONLY=1: they look, and open files that nobody else sees; nothing is trained, kept, fetched,
renamed or deleted. Without it everybody who reaches the server may do all of that.
"""

import logging
import os

import streamlit as st

from vae.errors import UserError

SENTENCE = (
    "On this server models are looked at: nothing is trained, kept or deleted. Whoever runs it can "
    "allow that; on a computer of your own, ELBO Room trains."
)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ReadOnlyError(UserError):
    """The server's owner lets nobody change anything."""


def may_change() -> bool:
    """Whether visitors may train, keep, fetch, rename and delete."""
    return os.environ.get("VAE_READ_ONLY", "").strip().lower() in ("", "0", "no", "false")


def check() -> None:
    """Called by whatever changes what others see. Raises ReadOnlyError where nobody may."""
    if not may_change():
        raise ReadOnlyError(SENTENCE)


@st.cache_resource(show_spinner=False)
def announce() -> None:
    """Says once, in the log, what strangers may do, if the server can be reached from elsewhere."""
    if st.get_option("server.address") in _LOOPBACK:
        return
    what = (
        "train, fetch data, keep what they upload, and rename or delete the models that were "
        "trained here; with VAE_READ_ONLY=1 they could look only"
        if may_change()
        else "look, and open files that nobody else sees"
    )
    logging.getLogger("vae").warning("Whoever reaches this server may %s.", what)
