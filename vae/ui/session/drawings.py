"""Images that were drawn on the live panel and sent to Points."""

import numpy as np
import streamlit as st

KEY = "drawings"  # the newest last
_MOST = 20


def keep(image: np.ndarray) -> None:
    """Adds what was drawn, (C, H, W), for the Points page."""
    drawings = st.session_state.setdefault(KEY, [])
    drawings.append(image)
    del drawings[:-_MOST]


def of_shape(image_shape: tuple[int, int, int]) -> np.ndarray:
    """The drawings that fit a model, as of `Dataset`, shape (n, C, H, W)."""
    fitting = [d for d in st.session_state.get(KEY, []) if d.shape == image_shape]
    return np.stack(fitting) if fitting else np.empty((0, *image_shape), dtype=np.uint8)
