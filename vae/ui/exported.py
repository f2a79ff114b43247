"""The exported page of what is looked at: to take away, or at a short address for a class.

A class's page is one file (`vae.live.class_pages`), which the server sends as it lies on the disk:
two hundred phones cost no session and no memory, and need the server no more once they have it.
"""

import gzip
import html
import sys
from functools import lru_cache
from urllib.parse import urlsplit

import segno
import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from streamlit import net_util

from vae.analysis.axes import Layout, Projection
from vae.errors import UserError
from vae.live import class_pages, export
from vae.live.class_pages import ClassPage
from vae.runs import checkpoint, makers
from vae.ui import faults, live, policy, roles
from vae.ui.results import loaded
from vae.ui.session import checkpoints, manual_q, map_view, selection
from vae.ui.text import capitalised, explained, plain
from vae.ui.view import View

_GIVEN = "_class_page"  # the code of the page that this visitor gave last
_PROBLEM = "_class_page_problem"
_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",  # a code belongs to one page alone
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    # Apart from the app (`sandbox`): its script cannot read the app's cookies, nor ask for
    # anything. WebGL's library makes its programs as it goes.
    "Content-Security-Policy": (
        "sandbox allow-scripts allow-downloads; default-src 'none'; img-src data: blob:; "
        "style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"
    ),
}
_GONE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
    'content="width=device-width"><title>ELBO Room</title><style>:root { color-scheme: light dark }'
    " body { font: 18px/1.5 system-ui, sans-serif; max-width: 34em; margin: 20vh auto; padding: 0 "
    "24px }</style><p>There is no class page at this address. It was taken down, or a letter of "
    "the address is another one: ask whoever gave it to you.</p></html>"
)
_ALONE = (
    "Phones cannot reach this address: the app was opened at this computer's own. Open it by the "
    "computer's name in the network, and start it without `--server.address localhost`."
)


def offer(view: View, axes: Projection | Layout, index: int) -> None:
    """Both ways, in the sidebar."""
    size = export.rough_size(loaded.model(view.run), view.embedding, view.images)
    with st.sidebar:
        if too_large := export.is_too_large(size):
            st.caption(f"{capitalised(too_large)}.")
            return
        st.download_button(
            f"Take it away: one HTML file, {size / 1e6:.1f} MB",
            lambda: _page(view, axes, index),
            file_name=f"{view.run.name}.html",
            mime="text/html",
            on_click="ignore",
            icon=":material/download:",
            type="tertiary",
            help="The map, the live panel and the model; it opens with no network and no Python.",
        )
        if roles.may_change() and st.button(
            "Give it to the class",
            icon=":material/qr_code_2:",
            type="tertiary",
            help="This view at a short address: each phone then runs the model itself.",
        ):
            _dialog(faults.attempt(_give, view, axes, index))


def given() -> dict[str, str] | None:
    """For the stage: the address of the page that this visitor gave last, and its picture."""
    page = class_pages.find(st.session_state.get(_GIVEN, ""))
    if page is None:
        return None
    address = _address(page.code)[0]
    return {"address": address, "picture": _picture(address)}


def answer(request: Request) -> Response:
    """What the server answers where a class page is asked for."""
    page = class_pages.find(request.path_params["code"])
    try:
        if page is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers = {**_HEADERS, "Content-Encoding": "gzip"}
            return FileResponse(page.path, media_type="text/html", headers=headers)
        if page is not None:
            return HTMLResponse(gzip.decompress(page.path.read_bytes()), headers=_HEADERS)
    except (OSError, EOFError):  # taken down at this moment, or damaged
        pass
    return HTMLResponse(_GONE, status_code=404)


def _page(view: View, axes: Projection | Layout, index: int) -> str:
    """What is looked at, as it is looked at."""
    opening = export.Opening(
        axes,
        index,
        st.session_state[selection.COLOUR],
        manual_q.of_point(live.point_id(view, index), view.embedding.latent_dim),
        live.settings(view),
        map_view.shown(),
    )
    return export.page(
        loaded.model(view.run),
        view.embedding,
        view.run.name,
        view.images,
        view.run.train_config.held_out_dataset,
        view.condition,
        loaded.class_names(view.run, view.embedding.dataset),
        opening,
    )


def _give(view: View, axes: Projection | Layout, index: int) -> None:
    """Puts it at an address of this server.

    Raises:
        ReadOnlyError, LimitError: the owner does not let this visitor, or not so many.
        UserError: it cannot be made, or not be written, or the server cannot send it.
    """
    st.session_state.pop(_GIVEN, None)
    roles.check()
    if not isinstance(getattr(sys.modules.get("app"), "app", None), st.App):
        raise UserError(
            "this server sends no class pages, as it was not started by `streamlit run app.py`; "
            "take the page away as a file, and put that where the class finds it"
        )
    there = class_pages.all_pages()
    policy.hold("most_class_pages", len(there) + 1)
    policy.check_room(checkpoint.folder())
    text = _page(view, axes, index)
    policy.hold("most_class_mb", (sum(p.n_bytes for p in there) + len(text)) // 10**6)
    title = f"point {index:,} of {view.embedding.dataset}"
    page = class_pages.add(text, title, view.run.name, roles.me())
    makers.mark(page.path, roles.me())
    st.session_state[_GIVEN] = page.code


@st.dialog("Give it to the class", width="medium")
def _dialog(problem: str | None) -> None:
    with faults.shown():
        problem = problem or st.session_state.pop(_PROBLEM, None)
        if problem:
            st.error(f"{explained(capitalised(problem))}.")
        page = class_pages.find(st.session_state.get(_GIVEN, ""))
        if page is not None:
            _card(page)
        elif not problem:
            st.markdown("It is taken down: nobody finds it any more. A phone that has it keeps it.")
        others = [p for p in class_pages.all_pages() if p != page and roles.may_alter(p.path)]
        if others:
            st.markdown("**Given before**")
        for other in others:
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.markdown(f"`{other.code}` {_said(other)}", width="stretch")
                _take_down_button(other)


def _card(page: ClassPage) -> None:
    address, is_reached = _address(page.code)
    left, right = st.columns([1, 1.35], vertical_alignment="center", gap="medium")
    left.html(
        f'<img src="{_picture(address)}" alt="QR code of {html.escape(address)}" width="100%">'
    )
    with right:
        st.code(address, language=None, wrap_lines=True)
        if not is_reached:
            st.warning(_ALONE)
        st.caption(
            f"{_said(page)}. {page.n_bytes / 1e6:.1f} MB, sent once; then a phone needs this "
            "server no more. On the stage (P), C shows the code to the room."
        )
        with st.container(horizontal=True, gap="small"):
            st.link_button("Open it", address, icon=":material/open_in_new:")
            _take_down_button(page)


def _take_down_button(page: ClassPage) -> None:
    st.button("Take it down", key=f"take_down_{page.code}", on_click=_take_down, args=(page,))


def _take_down(page: ClassPage) -> None:
    def act() -> None:
        roles.check_alter(page.path)
        class_pages.take_down(page)
        makers.forget(page.path)

    st.session_state[_PROBLEM] = faults.attempt(act)


def _said(page: ClassPage) -> str:
    """What it shows, and whether its checkpoint is here still."""
    is_here = page.run in {run.name for run in checkpoints.found()[0]}
    gone = "" if is_here else " (which is no longer here; the page holds its model)"
    return f"{plain(page.run)}{gone}, {plain(page.title)}"


def _address(code: str) -> tuple[str, bool]:
    """Of the page, for other computers; and whether they reach it."""
    url = urlsplit(st.context.url or "http://localhost")
    host, is_reached = url.hostname or "localhost", True
    if roles.is_loopback(host):
        own = net_util.get_internal_ip()
        listens = not roles.is_loopback(st.get_option("server.address"))
        is_reached = listens and own is not None and not roles.is_loopback(own)
        host = own if is_reached and own else host
    host = f"[{host}]" if ":" in host else host
    port = f":{url.port}" if url.port else ""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    path = "/".join(filter(None, (base, "class", code)))
    return f"{url.scheme}://{host}{port}/{path}", is_reached


@lru_cache(maxsize=1000)
def _picture(address: str) -> str:
    """The address as a QR code, a URL of an image. Kept: each page hands it to the stage."""
    return segno.make(address, micro=False).svg_data_uri(border=2, light="#fff", omitsize=True)
