"""The app's name and mark, q's ellipse inside the prior's ring: drawn here, nothing is fetched."""

import numpy as np
import streamlit as st
from PIL import Image

_LOGO = """
<svg xmlns="http://www.w3.org/2000/svg" width="168" height="32" viewBox="0 0 168 32">
  <circle cx="16" cy="16" r="13.5" fill="none" stroke="#8a9199" stroke-width="2"
    stroke-dasharray="2.5 2.5"/>
  <ellipse cx="18" cy="14" rx="7.5" ry="4.5" fill="#00a383" transform="rotate(-28 18 14)"/>
  <text x="40" y="22.5" font-family="Helvetica, Arial, sans-serif"
    font-size="19" font-weight="700" fill="#00a383">ELBO Room</text>
</svg>
"""


def show() -> None:
    """Sets the browser tab's title and icon, the page's width and the logo."""
    st.set_page_config(page_title="ELBO Room", page_icon=_icon(), layout="wide")
    st.logo(_LOGO, size="large")


def _icon() -> Image.Image:
    """The mark as a 64 x 64 image: Material icons would come from another server."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    radius = np.hypot(x, y)
    u, v = 0.88 * (x - 0.12) - 0.47 * (y + 0.12), 0.47 * (x - 0.12) + 0.88 * (y + 0.12)
    icon = np.zeros((64, 64, 4), dtype=np.uint8)
    icon[np.abs(radius - 0.86) < 0.07] = (138, 145, 153, 255)
    icon[(u / 0.5) ** 2 + (v / 0.3) ** 2 < 1] = (0, 163, 131, 255)
    return Image.fromarray(icon)
