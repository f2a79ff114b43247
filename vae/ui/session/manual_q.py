"""The q that was set by hand on the live panel, and the panel's settings; both are in the URL."""

import math
from typing import Any

import streamlit as st

Point = dict[str, Any]  # which one it is: {"run": ..., "data": ..., "split": ..., "index": ...}

_Q = "manual_q"  # {"point": whose it is, "mu": [...], "sigma": [...]}
SETTINGS = "live_settings"  # seed, S, follow, smooth, manifold
KEYS = ("mu", "sigma")  # of q in the URL
_MOST_IN_URL = 16  # dimensions; a longer q would make no link
# Names in the URL, in the panel's settings, and what they may be.
_IN_URL = {
    "eps": ("seed", range(2**31)),
    "samples": ("S", range(1, 65)),
    "follow": ("follow", range(2)),
    "manifold": ("manifold", range(2)),
}


def take(reported: dict[str, Any]) -> None:
    """Keeps what the panel reports; values that make no sense are left out."""
    q = {name: _numbers(reported.get(name)) for name in KEYS}
    point = reported.get("point")
    if q["mu"] and q["sigma"] and min(q["sigma"]) > 0 and isinstance(point, dict):
        st.session_state[_Q] = {"point": point, **q}
    settings = {}
    for name, allowed in _IN_URL.values():
        value = reported.get(name)
        if isinstance(value, int) and value in allowed:
            settings[name] = value
    settings["smooth"] = reported.get("smooth") is True
    st.session_state[SETTINGS] = settings


def of_point(point: Point, latent_dim: int) -> dict[str, Any] | None:
    """The q that was set for that point, if one was: {"mu": ..., "sigma": ...}."""
    kept = _kept(point)
    fits = kept and len(kept["mu"]) == len(kept["sigma"]) == latent_dim
    return kept if fits else None


def is_unusable(point: Point, latent_dim: int) -> bool:
    """Whether a link gives that point a q that is none, or one of other dimensions."""
    return _kept(point) is not None and of_point(point, latent_dim) is None


def forget_others(point: Point) -> None:
    """Drops what was set for another point: choosing one begins anew."""
    if _kept(point) is None:
        st.session_state.pop(_Q, None)


def restore(query: dict[str, str], published: dict[str, str], point: Point | None) -> None:
    """Takes both from the URL where that says something new.

    Args:
        query: what the URL says.
        published: what the URL was last given.
        point: which the URL names; None if it leaves that open: then it is the first one shown.
    """
    if any(name in query and query[name] != published.get(name) for name in KEYS):
        q = {name: _numbers(query.get(name, "").split(",")) for name in KEYS}
        is_q = bool(q["mu"]) and len(q["mu"]) == len(q["sigma"]) and min(q["sigma"]) > 0
        # What is none is kept too, without a dimension, so that the page can say so.
        st.session_state[_Q] = {"point": point, **(q if is_q else {"mu": [], "sigma": []})}
    for key, (name, allowed) in _IN_URL.items():
        text = query.get(key, "")
        if text != published.get(key, "") and text.isdecimal() and int(text[:12]) in allowed:
            settings = st.session_state.setdefault(SETTINGS, {})
            settings[name] = bool(int(text)) if len(allowed) == 2 else int(text)


def in_link(point: Point | None) -> dict[str, str]:
    """What a link to that point says of both."""
    found, kept = {}, _kept(point)
    for name in KEYS:
        if kept and 0 < len(kept[name]) <= _MOST_IN_URL:
            found[name] = ",".join(f"{value:.5g}" for value in kept[name])
    settings = st.session_state.get(SETTINGS, {})
    if settings.get("seed"):
        found["eps"] = str(settings["seed"])
    if "S" in settings:
        found["samples"] = str(settings["S"])
    found |= {name: "1" for name in ("follow", "manifold") if settings.get(name)}
    return found


def _kept(point: Point | None) -> dict[str, Any] | None:
    """The q if it is that point's. One of a link that leaves that open is, from now on."""
    kept = st.session_state.get(_Q)
    if kept is not None and kept["point"] is None:
        kept["point"] = point
    return kept if kept is not None and kept["point"] == point else None


def _numbers(values: Any) -> list[float]:
    """Finite floats, or nothing if one is not."""
    try:
        numbers = [float(value) for value in values or ()]
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) and len(numbers) <= 1024 else []
