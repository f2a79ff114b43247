"""The groups A, B and C: points, classes, or what a lasso caught."""

import numpy as np
import streamlit as st

from vae.analysis.embedding import Embedding
from vae.ui.session import selection
from vae.ui.view import View

_GROUPS, _LASSOS = "traverse_groups", "traverse_lassos"
_POINT, _EXPLORE, _LASSO = "point", "explore", "lasso"  # what a group can be, besides a class
_CLASS = "class "


def pickers(view: View, point: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The pickers of A, B and C; returns their points and their names."""
    embedding = view.embedding
    chosen = st.session_state.setdefault(_GROUPS, {})
    options = [_POINT]
    explore = selection.group(len(embedding))
    if explore:
        options.append(_EXPLORE)
    # By label: a class without points can be no group.
    labels = np.unique(embedding.labels).tolist()
    options += [f"{_CLASS}{label}" for label in labels]
    members, names = {}, {}
    for (name, column), default in zip(
        zip("ABC", st.columns(3, gap="small"), strict=True),
        _defaults(embedding, point, labels),
        strict=True,
    ):
        kept = {
            _LASSO: _lasso(name, len(embedding)),
            _EXPLORE: explore,
            _POINT: [point],
        }
        its_options = [_LASSO, *options] if kept[_LASSO] else options
        token = chosen.get(name)
        if token not in its_options:
            token = default
        widget_key = f"group_{name}"
        st.session_state[widget_key] = token

        def take(name: str = name, widget_key: str = widget_key) -> None:
            st.session_state.setdefault(_GROUPS, {})[name] = st.session_state[widget_key]

        def words(token: str, kept: dict[str, list[int]] = kept) -> str:
            return _words(token, embedding, kept)

        with column:
            st.selectbox(
                f"Group {name}", its_options, format_func=words, key=widget_key, on_change=take
            )
        members[name] = _members(token, embedding, kept)
        names[name] = words(token)
    return members, names


def take_lasso(key: str, name: str) -> None:
    """What the lasso caught becomes that group."""
    indices = selection.chart_indices(key)
    if indices:
        lassos = st.session_state.setdefault(_LASSOS, {})
        lassos[name] = (st.session_state[selection.DATA], indices)
        st.session_state.setdefault(_GROUPS, {})[name] = _LASSO


def _lasso(name: str, n_points: int) -> list[int]:
    return selection.of_this_data(st.session_state.get(_LASSOS, {}).get(name), n_points)


def _defaults(embedding: Embedding, point: int, labels: list[int]) -> tuple[str, str, str]:
    """From the chosen point's class to the next one, added to the point."""
    own = int(embedding.labels[point])
    other = labels[(labels.index(own) + 1) % len(labels)]
    return f"{_CLASS}{other}", f"{_CLASS}{own}", _POINT


def _members(token: str, embedding: Embedding, kept: dict[str, list[int]]) -> np.ndarray:
    if token in kept:
        return np.array(kept[token])
    return np.flatnonzero(embedding.labels == int(token.removeprefix(_CLASS)))


def _words(token: str, embedding: Embedding, kept: dict[str, list[int]]) -> str:
    if token == _POINT:
        return f"point {kept[token][0]:,}"
    if token == _LASSO:
        return f"lasso, {len(kept[token]):,} points"
    if token == _EXPLORE:
        return f"Explore's lasso, {len(kept[token]):,}"
    return f"all of {embedding.class_names[int(token.removeprefix(_CLASS))]}"
