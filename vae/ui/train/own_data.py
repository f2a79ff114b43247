"""Data of one's own on the Train page: upload, look, then use."""

import math
import threading
from pathlib import PurePath
from typing import Any

import streamlit as st

from vae.data import catalogue, own
from vae.data.own import BadFiles, Survey, limits
from vae.errors import UserError
from vae.runs import makers
from vae.ui import images, policy, roles
from vae.ui.text import explained, free_name, plain

_OPEN = "own_open"
_ADDED = "own_added"  # a set that the form shall choose next
_SEEN = "own_seen"  # (what was asked, answer) of the last survey and the last preview
_FOUND_BAD = "own_found_bad"  # (upload, BadFiles) that showed when its pictures were decoded
_USUAL_LABEL, _NO_LABEL = "found by its name", "none"
_CLASSES = 8  # whose images are shown
_SIDE, _GAP, _WIDTH = 44, 4, 640  # of an image, between two, and of a row of them, in pixels
_adding = threading.Lock()  # one at a time: the limits on memory hold for each


def is_open() -> bool:
    """Whether the view is shown in place of the runs."""
    return st.session_state.get(_OPEN, False)


def open_button() -> None:
    """Opens the view, or closes it."""
    st.button(
        "Back to the runs" if is_open() else "Use your own data",
        icon=":material/arrow_back:" if is_open() else ":material/add_photo_alternate:",
        key="own_button",
        type="tertiary",
        on_click=st.session_state.update,
        args=({_OPEN: not is_open()},),
    )


def close() -> None:
    """Shows the runs again."""
    st.session_state[_OPEN] = False


def take_added() -> str | None:
    """The set that was added a moment ago, once."""
    return st.session_state.pop(_ADDED, None)


def show() -> None:
    """The view: the upload, its preview, and the sets that were added before."""
    st.markdown("### Your own data")
    left, right = st.columns([1.6, 1], gap="medium")
    file = left.file_uploader(
        "A .zip of pictures, an array (.npz, .npy), or a table (.csv, .parquet)",
        [suffix[1:] for suffix in (*own.ARCHIVES, *own.TABLES)],
        key="own_file",
        help="Pictures: one subfolder per class, or no subfolders. Arrays of images: (N, H, W), "
        "(N, H, W, C) or (N, C, H, W); of vectors: (N, features); of series: (N, channels, "
        "length); in an .npz labels of the same length may stand beside them. Tables: one row per "
        "point.",
    )
    labels = right.file_uploader(
        "Labels of images, if they are not in it: a .csv",
        ["csv"],
        key="own_labels",
        help="Rows of file,label for pictures; for arrays one label per image, in order.",
    )
    if file is None:
        st.caption(
            f"At most {limits.MAX_FILES:,} pictures of {limits.MAX_PIXELS / 1e6:.0f} "
            f"million pixels each, or {limits.MAX_IMAGES:,} images in an array. Nothing is "
            "trained or kept before you have seen them and said so. A folder on the server itself "
            "is added with `python -m vae data add FOLDER --name NAME`."
        )
    else:
        try:
            policy.hold("most_upload_mb", math.ceil(file.size / 2**20))
            is_table = labels is None and _once("kind", (file.file_id,), lambda: own.is_table(file))
            (_draft_table(file) if is_table else _draft(file, labels))
        except UserError as error:
            st.error(explained(error))
    _kept()


def _draft(file: Any, labels: Any) -> None:
    """What the upload would become, and the button that makes it so."""
    asked = (file.file_id, labels and labels.file_id)
    with st.spinner("Looking through the file", show_time=True):
        told: Survey = _once("survey", asked, lambda: own.survey(file, labels))
    C, H, W = told.image_shape
    columns = st.columns([1.6, 1, 1], gap="small")
    name = columns[0].text_input("Name", _free_name(file.name), key=f"own_name_{file.file_id}")
    size = columns[1].text_input(
        "Height x width", f"{H}x{W}", key=f"own_size_{file.file_id}", help="As in 28x28, in pixels."
    )
    colour = columns[2].selectbox(
        "Channels", ("grey", "colour"), index=C // 2, key=f"own_colour_{file.file_id}"
    )
    shape = (1 if colour == "grey" else 3, *own.parse_size(size))
    _counts(told)
    longest = max(shape[1:])
    per_class = max(1, _WIDTH // (longest * max(1, round(_SIDE / longest)) + _GAP))
    shown = _once(
        "preview",
        (*asked, shape),
        lambda: own.preview(file, shape, labels, per_class, _CLASSES),
    )
    with st.container(gap="small"):
        for class_name, pictures in shown.items():
            row = st.columns([1, 4.2], gap="small", vertical_alignment="center")
            row[0].markdown(f"{plain(class_name)}  \n:small[{told.classes[class_name]:,} images]")
            with row[1]:
                images.show(
                    images.row(pictures / 255, _SIDE, per_class, _GAP), "some of its images"
                )
    more = len(told.classes) - len(shown)
    st.caption(plain(told.treatment(shape)) + (f" {more} more classes." if more > 0 else ""))

    bad, n_bad = told.bad, told.n_bad
    decoded: tuple[str, BadFiles] | None = st.session_state.get(_FOUND_BAD)
    if decoded and decoded[0] == file.file_id:
        bad, n_bad = decoded[1].bad, decoded[1].n_bad
        st.warning(f"{n_bad - told.n_bad:,} more could not be decoded. Nothing was kept yet.")
    if n_bad:
        _bad_files(bad, n_bad)
    n = told.n_images + told.n_bad - n_bad
    rest = f", without the {n_bad:,} bad" if n_bad else ""
    if _agrees(f"Use these {n:,} images{rest}"):
        _add(file, labels, name.strip(), shape, n_bad)


def _draft_table(file: Any) -> None:
    """What becomes of each column, and the button that keeps it so."""
    names = _once("columns", (file.file_id,), lambda: own.column_names(file))
    top = st.columns([1.2, 1, 1.4], gap="small")
    name = top[0].text_input("Name", _free_name(file.name), key=f"own_name_{file.file_id}")
    label, left_out = None, []
    if names:
        options = [_USUAL_LABEL, _NO_LABEL, *names]
        chosen = str(
            top[1].selectbox("Label", options, key=f"own_label_{file.file_id}", format_func=plain)
        )
        label = {_USUAL_LABEL: None, _NO_LABEL: ""}.get(chosen, chosen)
        left_out = top[2].multiselect(
            "Leave out", names, key=f"own_leave_{file.file_id}", placeholder="no column"
        )
    asked = (file.file_id, label, tuple(left_out))
    with st.spinner("Looking through the file", show_time=True):
        found: own.Plan = _once("plan", asked, lambda: own.plan(file, label, left_out))
    columns = st.columns(4, gap="small")
    columns[0].metric("rows" if found.columns else "series", f"{found.n_rows:,}")
    columns[1].metric("features" if found.columns else "channels", f"{len(found.features):,}")
    columns[2].metric("classes", f"{len(set(found.labels)):,}")
    columns[3].metric("missing values", f"{found.n_missing:,}")
    if found.columns:
        st.dataframe(
            {
                "column": [c.name for c in found.columns],
                "becomes": [c.becomes for c in found.columns],
                "because": [c.why for c in found.columns],
                "missing": [c.n_missing for c in found.columns],
                "lowest": [c.low for c in found.columns],
                "mean": [c.mean for c in found.columns],
                "highest": [c.high for c in found.columns],
            },
            key="own_columns",
            hide_index=True,
            height=min(420, 38 + 35 * len(found.columns)),
        )
        st.caption(
            "real: standardised; positive: its logarithm is; binary: 0 or 1; count: 0, 1, 2, ...; "
            "one-hot: one 0 or 1 for each category. What is missing costs nothing, and is 0 for "
            "the encoder."
        )
    st.caption(plain(found.said))
    if _agrees(f"Use these {found.n_rows:,} {'rows' if found.columns else 'series'}"):
        n_bytes = 4 * found.n_rows * math.prod(_shape_of(found))
        with _adding:
            _check_room(n_bytes)
            own.add_table(found, name.strip())
            makers.mark(own.own_path(name.strip()), roles.me())
        _is_added(name.strip())


def _agrees(text: str) -> bool:
    """The button that keeps what is shown, with what that means; whether it was pressed."""
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(text, type="primary", icon=":material/check:", key="own_use")
        st.caption("Everyone who opens this server sees them from then on, until you remove them.")
    return pressed


def _shape_of(found: own.Plan) -> tuple[int, ...]:
    return (len(found.features),) if found.series is None else found.series.shape[1:]


def _check_room(n_bytes: int) -> None:
    """Raises UserError: a visitor who may not add data, or no room for so many bytes more."""
    roles.check()
    n_sets, n_kept = own.kept()
    policy.hold("most_data_sets", n_sets + 1)
    policy.hold("most_data_mb", math.ceil((n_kept + n_bytes) / 10**6))
    policy.check_room(catalogue.folder(), n_bytes)


def _is_added(name: str) -> None:
    st.session_state[_ADDED] = name
    close()
    st.rerun()


def _add(file: Any, labels: Any, name: str, shape: tuple[int, int, int], n_bad_agreed: int) -> None:
    bar = st.progress(0.0, "Waiting for another upload" if _adding.locked() else "Reading")

    def progress(done: int, total: int) -> None:
        if done % 64 == 0 or done == total:
            bar.progress(done / total, f"Reading {done:,} of {total:,} images")

    try:
        with _adding:
            _check_room(math.prod(shape) * st.session_state[_SEEN]["survey"][1].n_images)
            own.add(file, name, shape, labels, n_bad_agreed, progress)
            makers.mark(own.own_path(name), roles.me())
    except BadFiles as error:
        st.session_state[_FOUND_BAD] = (file.file_id, error)
        st.rerun()  # the list and the button then count them
    finally:
        bar.empty()
    _is_added(name)


def _counts(told: Survey) -> None:
    sizes = [f"{H} x {W}" for H, W in told.sizes]
    columns = st.columns([1, 1, 2, 1], gap="small")
    columns[0].metric("images", f"{told.n_images:,}")
    columns[1].metric("classes", f"{len(told.classes):,}")
    columns[2].metric(
        "height x width" if told.n_sizes == 1 else f"{told.n_sizes:,} sizes, the most frequent",
        sizes[0],
        help=", ".join(sizes),
    )
    columns[3].metric("bad files", f"{told.n_bad:,}")


def _bad_files(bad: tuple[tuple[str, str], ...], n_bad: int) -> None:
    names, reasons = zip(*bad, strict=True)
    with st.expander(f"{n_bad:,} bad {'file' if n_bad == 1 else 'files'}", expanded=n_bad <= 5):
        st.dataframe({"file": names, "cannot be used": reasons}, hide_index=True)
        if n_bad > len(bad):
            st.caption(f"The first {len(bad)} are listed.")


def _kept() -> None:
    """The sets that were added before, each with a way to be rid of it."""
    names = own.names()
    if not names:
        return
    st.markdown("##### Added before")
    for name in names:
        columns = st.columns([1, 4, 1.1], gap="small", vertical_alignment="center")
        columns[0].markdown(f"**{plain(name)}**")
        columns[1].caption(plain(catalogue.describe(name).note))
        if not roles.may_alter(own.own_path(name)):
            continue
        with columns[2].popover("Remove", icon=":material/delete:"):
            st.caption("Runs that were trained on it stay, without its images.")
            st.button(
                f"Remove {plain(name)}", key=f"own_remove_{name}", on_click=_remove, args=(name,)
            )


def _remove(name: str) -> None:
    try:
        roles.check_alter(own.own_path(name))
        own.remove(name)
        makers.forget(own.own_path(name))
    except UserError as error:
        st.toast(explained(error))


def _once(what: str, asked: tuple[Any, ...], answer: Any) -> Any:
    """The answer to what was asked, kept until something else is."""
    seen = st.session_state.setdefault(_SEEN, {})
    if seen.get(what, (None,))[0] != asked:
        seen[what] = (asked, answer())
    return seen[what][1]


def _free_name(file_name: str) -> str:
    """A name for the set out of its file's, free at this moment."""
    taken = {name.lower() for name in catalogue.names()}

    def is_free(name: str) -> bool:
        return name.lower() not in taken and catalogue.may_be_called(name)

    return free_name(PurePath(file_name).stem, "images", is_free, 36)
