"""Who may do what on this server, as its owner says.

VAE_READ_ONLY=1 (or `read_only` in the owner's file): visitors look, and open files that nobody else
sees; nothing is trained, kept, fetched, renamed or deleted. Without it they may train, keep and
fetch; what is there already is renamed, deleted, stopped and queued again by whoever made it.

VAE_OWNER (or `owner`): one e-mail or several, separated by commas. Who has logged in with one of
them, by Streamlit's own login, may do everything with everything.

At home, which is in a browser on the server's own computer and with no owner named, everybody may
do everything. A request that a proxy has passed on does not come from home.

A visitor is known by their login, or else by a random cookie. What they make notes a digest of that
(`makers`), from which nobody can make the cookie. Without cookies they are known until their page
is loaded again.
"""

import hashlib
import ipaddress
import logging
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from streamlit import auth_util, runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from vae.errors import UserError
from vae.runs import makers
from vae.ui import owner, policy

SENTENCE = (
    "On this server models are looked at: nothing is trained, kept or deleted. Whoever runs it can "
    "allow that; on a computer of your own, ELBO Room trains."
)
OTHERS = "Another visitor made this. They can change it, and so can whoever runs this server."
_PASSED_ON = {"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"}
_KEYS = ("read_only", "owner")
_TOKEN = "_visitor"  # of this session
_COOKIE = "elbo-room-visitor"
_IS_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")
_NO, _YES = ("", "0", "no", "false"), ("1", "yes", "true")
_YEAR_S = 365 * 24 * 3600


class ReadOnlyError(UserError):
    """The server's owner does not let this visitor change that."""


def may_change() -> bool:
    """Whether this visitor may train, keep and fetch."""
    return not _is_read_only() or _is_owner()


def check() -> None:
    """Called by whatever changes what others see. Raises ReadOnlyError where nobody may."""
    if not may_change():
        raise ReadOnlyError(SENTENCE)


def may_alter(path: Path) -> bool:
    """Whether this visitor may rename, delete, stop or queue a run, or remove a data set.

    Args:
        path: the run's folder or the data set's file.
    """
    return may_change() and (is_at_home() or _is_owner() or is_mine(path))


def check_alter(path: Path) -> None:
    """As `may_alter`. Raises ReadOnlyError."""
    check()
    if not may_alter(path):
        raise ReadOnlyError(OTHERS)


def is_mine(path: Path) -> bool:
    """Whether this visitor made it, before they logged in or since; `path` as for `may_alter`."""
    return makers.maker_of(path) in (me(), _digest(f"cookie {_token()}"))


def me() -> str:
    """By what a visitor's runs and data sets are known for theirs; nobody can log in with it."""
    email = _email()
    return _digest(f"login {email}" if email else f"cookie {_token()}")


def cookie_script() -> str:
    """For `st.html`: has the browser keep what this visitor is known by, for a year."""
    return (
        "<script>if (!document.cookie.includes('"
        f"{_COOKIE}=')) document.cookie = '{_COOKIE}={_token()}; path=/; max-age={_YEAR_S}; "
        "samesite=lax' + (location.protocol === 'https:' ? '; secure' : '');</script>"
    )


def is_at_home() -> bool:
    """Whether this visitor sits at the server's own computer, and no owner is named."""
    if _named_owner():
        return False
    found = connection()
    if found is None:
        return not runtime.exists()  # no server; else one whose visitor has just left
    headers = {name.lower(): value for name, value in found.headers}
    if headers.keys() & _PASSED_ON:
        return False
    try:
        asked_of = urlsplit(headers.get("origin", "")).hostname
    except ValueError:
        return False
    # A program that is no browser names no address that it asks.
    return is_loopback(found.remote_ip) and (asked_of is None or is_loopback(asked_of))


def connection() -> Any:
    """The visitor's, as Streamlit's `ClientContext`; None where there is none."""
    context = get_script_run_ctx(suppress_warning=True)
    if context is None or not runtime.exists():
        return None
    client = runtime.get_instance().get_client(context.session_id)
    return None if client is None else client.client_context


def owners() -> frozenset[str]:
    """The e-mails of who may do everything, in small letters."""
    said = _named_owner()
    emails = said.split(",") if isinstance(said, str) else said if isinstance(said, list) else ()
    return frozenset(e.strip().lower() for e in emails if isinstance(e, str) and "@" in e)


def problems() -> list[str]:
    """What the owner has said of roles that cannot be used, a sentence each."""
    said = [
        f"[{owner.ROLES}] in {owner.FILE.name} has no {key[:40]!r}; it has {' and '.join(_KEYS)}"
        for key in owner.table(owner.ROLES)
        if key not in _KEYS
    ]
    if not isinstance(_written("read_only", False), bool):
        said.append(f"read_only in {owner.FILE.name} must be true or false; it is taken for true")
    text = os.environ.get("VAE_READ_ONLY", "").strip().lower()
    if text not in _NO + _YES:
        said.append(f"VAE_READ_ONLY (={text[:40]!r}) must be 1 or 0; it is taken for 1")
    if _named_owner() and not owners():
        said.append(
            "the owner (VAE_OWNER) must be an e-mail, or several; nobody is taken for the owner, "
            "and nobody is at home"
        )
    elif owners() and not _providers():
        said.append(
            "an owner is named (VAE_OWNER), but nobody can log in: .streamlit/secrets.toml needs "
            "Streamlit's [auth], and Python the package Authlib"
        )
    return said


def all_problems() -> list[str]:
    """What is wrong with all that the owner has set, a sentence each."""
    return owner.problems() + policy.problems() + problems()


def offer_login() -> None:
    """Log in or Log out, where the owner has set Streamlit's login up."""
    if not (providers := _providers()):
        return
    if email := _email():
        st.caption(f"Logged in{' as the owner' if _is_owner() else ''}.", help=email)
        st.button("Log out", key="log_out", type="tertiary", on_click=st.logout)
        return
    for provider in providers:
        name = f" with {provider}" if provider else ""
        st.button(
            f"Log in{name}",
            key=f"log_in{name}",
            type="tertiary",
            on_click=st.login,
            args=(provider,) if provider else (),
        )


@st.cache_resource(show_spinner=False)
def announce() -> None:
    """Says once, in the log, what strangers may do, if the server can be reached from elsewhere."""
    log = logging.getLogger("vae")
    for problem in all_problems():
        log.warning("%s.", problem)
    if is_loopback(st.get_option("server.address")) and not _named_owner():
        return
    if _is_read_only():
        what = "look, and open files that nobody else sees"
    else:
        what = (
            "train, fetch data, keep what they upload, and rename or delete what they made "
            "themselves; with VAE_READ_ONLY=1 they could look only"
        )
    log.warning("Whoever reaches this server may %s.", what)
    who = "who logs in as VAE_OWNER" if _named_owner() else "a browser on this computer"
    log.warning("Everything may be changed by %s.", who)


def _is_read_only() -> bool:
    text = os.environ.get("VAE_READ_ONLY", "").strip().lower()
    if text:
        return text not in _NO
    if owner.is_damaged():  # it may have said so
        return not is_at_home()
    return _written("read_only", False) is not False


def _written(key: str, otherwise: Any = None) -> Any:
    return owner.table(owner.ROLES).get(key, otherwise)


def _named_owner() -> Any:
    return os.environ.get("VAE_OWNER", "").strip() or _written("owner")


def _is_owner() -> bool:
    return _email() in owners()


def _email() -> str:
    """Of who has logged in, in small letters; "" for nobody, or one that is not confirmed."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return ""
    user: Mapping[str, Any] = st.user.to_dict()
    if user.get("is_logged_in") is not True or user.get("email_verified") is False:
        return ""
    return str(user.get("email") or "").strip().lower()


def _providers() -> list[str]:
    """Whom Streamlit can ask who somebody is: "" for the one that has no name."""
    section = auth_util.get_secrets_auth_section()
    if not section or not auth_util.is_authlib_installed():  # which looks for it each time
        return []
    named = [name for name, value in section.items() if isinstance(value, Mapping)]
    return [""] if "client_id" in section else named


def _digest(known: str) -> str:
    return hashlib.sha256(known.encode()).hexdigest()


def _token() -> str:
    if _TOKEN not in st.session_state:
        found = connection()
        cookie = None if found is None else found.cookies.get(_COOKIE)
        is_good = isinstance(cookie, str) and _IS_TOKEN.fullmatch(cookie)
        st.session_state[_TOKEN] = cookie if is_good else secrets.token_urlsafe(16)
    return st.session_state[_TOKEN]


def is_loopback(address: str | None) -> bool:
    """Whether a host's name or number is this computer's own."""
    if address == "localhost":
        return True
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
