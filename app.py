"""ELBO Room: see what a variational autoencoder has learnt. Run with `streamlit run app.py`.

Streamlit imports this file once, for the server, and runs it for each page of a visitor. What needs
the library imports it itself: loading PyTorch takes seconds, and the server answers before that.
"""

import streamlit as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def page() -> None:
    """A page for a visitor."""
    from vae.ui import brand, faults, frame, roles, turns

    roles.announce()
    brand.show()
    groups = {
        "See": [
            st.Page("pages/explore.py", title="Explore", icon=":material/explore:", default=True),
            st.Page("pages/traverse.py", title="Traverse", icon=":material/view_module:"),
        ],
        "Ask": [
            st.Page("pages/points.py", title="Points", icon=":material/table_rows:"),
            st.Page("pages/inference.py", title="Inference", icon=":material/ads_click:"),
            st.Page("pages/diagnose.py", title="Diagnose", icon=":material/stethoscope:"),
        ],
        "Make": [
            st.Page("pages/train.py", title="Train", icon=":material/model_training:"),
            st.Page("pages/compare.py", title="Compare", icon=":material/compare_arrows:"),
        ],
        "Learn": [
            st.Page("pages/learn.py", title="Learn", icon=":material/school:"),
            st.Page("pages/gaussians.py", title="Gaussians", icon=":material/join_inner:"),
        ],
    }
    chosen = st.navigation(groups)
    with turns.turn():
        frame.open_frame(groups)
        with faults.shown():
            frame.sidebar()
        with faults.shown():
            chosen.run()
        frame.close_frame()


def class_page(request: Request) -> Response:
    """What a teacher has given the class: see `vae.live.class_pages`."""
    from vae.ui import exported

    return exported.answer(request)


if __name__ == "__main__":
    page()
else:
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    route = Route(f"/{base}/class/{{code}}".replace("//", "/"), class_page)
    app = st.App(__file__, routes=[route])
