"""ELBO Room: see what a variational autoencoder has learnt. Run with `streamlit run app.py`."""

import streamlit as st

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
page = st.navigation(groups)
with turns.turn():
    frame.open_frame(groups)
    with faults.shown():
        frame.sidebar()
    with faults.shown():
        page.run()
    frame.close_frame()
