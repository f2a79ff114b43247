"""ELBO Room: see what a variational autoencoder has learnt. Run with `streamlit run app.py`."""

import streamlit as st

from vae.ui import brand, frame

brand.show()
page = st.navigation(
    [
        st.Page("pages/explore.py", title="Explore", icon=":material/explore:", default=True),
        st.Page("pages/points.py", title="Points", icon=":material/table_rows:"),
        st.Page("pages/traverse.py", title="Traverse", icon=":material/view_module:"),
        st.Page("pages/train.py", title="Train", icon=":material/model_training:"),
        st.Page("pages/inference.py", title="Inference", icon=":material/ads_click:"),
        st.Page("pages/gaussians.py", title="Gaussians", icon=":material/join_inner:"),
        st.Page("pages/diagnose.py", title="Diagnose", icon=":material/stethoscope:"),
        st.Page("pages/compare.py", title="Compare", icon=":material/compare_arrows:"),
    ]
)
frame.open_frame()
frame.sidebar()
page.run()
frame.close_frame()
