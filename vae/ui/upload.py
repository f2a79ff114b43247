"""A visitor's own checkpoints in the sidebar: open a file, keep it for all, or be rid of it."""

from pathlib import Path

import streamlit as st

from vae import checkpoint
from vae.checkpoint import CheckpointError
from vae.formats import AnyRun
from vae.ui import state
from vae.ui.text import free_name, plain
from vae.uploads import MAX_BYTES, Uploads

_UPLOADS = "_uploads"  # this visitor's; their files go with the session
_ROUND = "_upload_round"  # counts uploads, so that the field is empty after each
_PROBLEM = "_upload_problem"


def runs() -> list[AnyRun]:
    """What this visitor has uploaded, the newest first."""
    uploads = st.session_state.get(_UPLOADS)
    return list(uploads.runs.values())[::-1] if uploads else []


def offer() -> None:
    """The field for a file, and what can be done with the upload that is chosen."""
    chosen = st.session_state.get(state.RUN)
    is_upload = chosen in {run.name for run in runs()}
    with st.container(horizontal=True, gap="small"):
        with st.popover("Open a file", icon=":material/upload_file:", key="open_a_file"):
            _field()
        if is_upload:
            with st.popover("Yours", icon=":material/lock:", key="your_upload"):
                _keep_form(chosen)
    if is_upload:
        st.caption("Only you see this checkpoint, for as long as you stay.")
    if problem := st.session_state.get(_PROBLEM):
        st.error(plain(problem))


def _field() -> None:
    st.file_uploader(
        "A checkpoint: its weights, and the .json files beside them",
        accept_multiple_files=True,
        key=_field_key(),
        on_change=_take,
        help="Of ELBO Room, pytorch/examples, pythae, disentangling-vae or PyTorch-VAE. Files of "
        "one folder are chosen together. No code in them is ever run.",
    )
    st.caption(
        f"At most {MAX_BYTES / 1e6:.0f} MB together. Nobody else sees it, unless you keep it on "
        "this server."
    )
    kept = st.session_state[_UPLOADS].kept() if _UPLOADS in st.session_state else []
    for path in kept:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"You kept **{plain(path.name)}**", width="stretch")
            st.button("Take it back", key=f"discard_{path.name}", on_click=_discard, args=(path,))


def _keep_form(name: str) -> None:
    field = f"keep_as_{name}"
    st.text_input("Name", _proposal(name), key=field)
    st.caption("Kept under that name, everyone who opens this server can choose it.")
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Keep on this server",
            key="keep_upload",
            icon=":material/bookmark_add:",
            on_click=_keep,
            args=(name, field),
        )
        st.button(
            "Remove",
            key="remove_upload",
            icon=":material/close:",
            on_click=_remove,
            args=(name,),
        )


def _field_key() -> str:
    return f"upload_{st.session_state.get(_ROUND, 0)}"


def _take() -> None:
    files = st.session_state.get(_field_key())
    if not files:
        return
    st.session_state.pop(_PROBLEM, None)
    if _UPLOADS not in st.session_state:
        st.session_state[_UPLOADS] = Uploads()
    try:
        run = st.session_state[_UPLOADS].add(files)
    except CheckpointError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    finally:
        st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
    st.session_state[state.RUN] = run.name


def _keep(name: str, field: str) -> None:
    st.session_state.pop(_PROBLEM, None)
    try:
        path = st.session_state[_UPLOADS].keep(name, st.session_state[field].strip())
    except CheckpointError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    st.session_state[state.RUN] = path.name
    st.toast(f"Kept as {plain(path.name)}.", icon=":material/bookmark_added:")


def _remove(name: str) -> None:
    st.session_state.pop(_PROBLEM, None)
    st.session_state[_UPLOADS].remove(name)
    st.session_state.pop(state.RUN, None)


def _discard(path: Path) -> None:
    st.session_state[_UPLOADS].discard(path)


def _proposal(name: str) -> str:
    """A free name for the folder of checkpoints, made of the upload's."""
    stem = name.partition(" ")[0]
    for suffix in (".safetensors", ".pth", ".ckpt", ".bin", ".pt"):
        stem = stem.removesuffix(suffix)
    taken = checkpoint.folder()
    return free_name(stem, "checkpoint", lambda name: not (taken / name).exists(), 50)
