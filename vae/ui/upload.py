"""A visitor's own checkpoints in the sidebar: open a file, keep it for all, or be rid of it."""

import math
import tempfile
from pathlib import Path

import streamlit as st

from vae.errors import UserError
from vae.formats import AnyRun
from vae.formats.containers.tensors import SUFFIXES
from vae.formats.refusal import Refusal
from vae.formats.uploads import Uploads, Visit
from vae.runs import checkpoint
from vae.ui import policy, roles
from vae.ui.session import selection
from vae.ui.text import explained, free_name, plain

_HELD = "_visit"  # this session's hold on the visitor's uploads
_ROUND = "_upload_round"  # counts uploads, so that the fields are empty after each
_PROBLEM = "_upload_problem"  # what went wrong, and in which of the two popovers
_OPENING, _KEEPING = "open_a_file", "your_upload"
_FILES, _FOLDER = "upload", "upload_folder"


def runs() -> list[AnyRun]:
    """What this visitor has uploaded, the newest first."""
    uploads = _uploads()
    return list(uploads.runs.values())[::-1] if uploads else []


def _uploads() -> Uploads | None:
    """This visitor's; those of the address's token where the page was loaded again."""
    token = st.session_state.get(selection.VISIT)
    if _HELD not in st.session_state and token and (visit := Visit.again(token)):
        st.session_state[_HELD] = visit
    held = st.session_state.get(_HELD)
    return held.uploads if held else None


def offer() -> None:
    """The field for a file, and what can be done with the upload that is chosen."""
    chosen = st.session_state.get(selection.RUN)
    is_upload = chosen in {run.name for run in runs()}
    with st.container(horizontal=True, gap="small"):
        with st.popover("Open a file", icon=":material/upload_file:", key=_OPENING):
            _problem(_OPENING)
            _fields()
        if is_upload:
            with st.popover("Yours", icon=":material/lock:", key=_KEEPING):
                _problem(_KEEPING)
                _keep_form(chosen)
    if is_upload:
        st.session_state[selection.VISIT] = st.session_state[_HELD].token
        st.caption(
            "Only you see this checkpoint, and whoever has this page's address, for as long as you "
            "stay."
        )
    else:
        st.session_state.pop(selection.VISIT, None)


def _problem(popover: str) -> None:
    """What went wrong there, where it is seen: a popover covers what is beneath it."""
    where, error = st.session_state.get(_PROBLEM, ("", None))
    if where != popover:
        return
    if not isinstance(error, Refusal):
        st.error(explained(error))
        return
    st.error(plain(f"Not opened: {error.path} {error.found}; {error.missing}."))
    st.markdown(f"Next: {plain(error.step.do)}" + (":" if error.command else "."))
    if error.command:
        st.code(error.command, language=None, wrap_lines=True)


def _fields() -> None:
    st.file_uploader(
        "A checkpoint: its weights, and the .json files beside them",
        accept_multiple_files=True,
        key=_field_key(_FILES),
        on_change=_take,
        args=(_FILES,),
        help="Of any program: what torch.save wrote, safetensors, Keras or ONNX. Files that belong "
        "together are chosen together, or sent as a .zip. No code in them is ever run.",
    )
    st.file_uploader(
        "Or a whole folder",
        accept_multiple_files="directory",
        key=_field_key(_FOLDER),
        on_change=_take,
        args=(_FOLDER,),
    )
    st.caption(
        f"At most {_most_megabytes()} MB together: a larger file is marked red and not sent. Ask "
        "whoever runs this server to put it beside the other checkpoints. Nobody else sees what "
        "you open" + (", unless you keep it on this server." if roles.may_change() else ".")
    )
    uploads = _uploads()
    for path in uploads.kept() if uploads else []:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"You kept **{plain(path.name)}**", width="stretch")
            st.button("Take it back", key=f"discard_{path.name}", on_click=_discard, args=(path,))


def _keep_form(name: str) -> None:
    field = f"keep_as_{name}"
    if roles.may_change():
        st.text_input("Name", _proposal(name), key=field)
        st.caption("Kept under that name, everyone who opens this server can choose it.")
    with st.container(horizontal=True, gap="small"):
        if roles.may_change():
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


def _field_key(field: str) -> str:
    return f"{field}_{st.session_state.get(_ROUND, 0)}"


def _most_megabytes() -> int:
    """What the server takes, in units of 2**20 bytes: Streamlit holds each file against its own."""
    return min(st.get_option("server.maxUploadSize"), policy.current().most_upload_mb)


def _take(field: str) -> None:
    files = st.session_state.get(_field_key(field))
    if not files:
        return
    st.session_state.pop(_PROBLEM, None)
    if _uploads() is None:
        st.session_state[_HELD] = Visit.begun(_most_megabytes() * 2**20, policy.hold)
    try:
        n_bytes = sum(file.size for file in files)
        policy.hold("most_upload_mb", math.ceil(n_bytes / 2**20))
        policy.check_room(Path(tempfile.gettempdir()), n_bytes)
        run = st.session_state[_HELD].uploads.add(files)
    except UserError as error:
        st.session_state[_PROBLEM] = _OPENING, error
        return
    finally:
        st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
    st.session_state[selection.RUN] = run.name


def _keep(name: str, field: str) -> None:
    st.session_state.pop(_PROBLEM, None)
    try:
        roles.check()
        policy.check_room(checkpoint.folder())
        path = st.session_state[_HELD].uploads.keep(name, st.session_state[field].strip())
    except UserError as error:
        st.session_state[_PROBLEM] = _KEEPING, error
        return
    st.session_state[selection.RUN] = path.name
    st.toast(f"Kept as {plain(path.name)}.", icon=":material/bookmark_added:")


def _remove(name: str) -> None:
    st.session_state.pop(_PROBLEM, None)
    st.session_state[_HELD].uploads.remove(name)
    st.session_state.pop(selection.RUN, None)


def _discard(path: Path) -> None:
    st.session_state[_HELD].uploads.discard(path)


def _proposal(name: str) -> str:
    """A free name for the folder of checkpoints, made of the upload's."""
    stem = name.partition(" ")[0]
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        stem = stem.removesuffix(suffix)
    taken = checkpoint.folder()
    return free_name(stem, "checkpoint", lambda name: not (taken / name).exists(), 50)
