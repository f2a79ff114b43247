"""The pair of a lesson in the address bar: the means and covariances of P and of Q."""

import streamlit as st

from vae.core import gaussian
from vae.errors import UserError
from vae.lessons import gaussian_pair
from vae.lessons.gaussian_pair import Pair
from vae.ui.gaussians import plane
from vae.ui.learn import address
from vae.ui.text import plain

_IN_URL = "pair"  # of P, then of Q: μ₁, μ₂, s₁₁, s₁₂, s₂₂
_MOST = 400  # characters of a link


def current() -> Pair:
    """The pair on the plane; a link that says another one is followed, or said to be none."""
    now = plane.shown()
    if plane.PLANE not in now.pairs:
        now.put(plane.PLANE, gaussian_pair.tilted(2))
    text = st.query_params.get(_IN_URL, "")[:_MOST]
    if text and address.follow(_IN_URL, text):
        try:
            now.put(plane.PLANE, _read(text))
            now.changed_by_hand()
        except (UserError, ValueError) as error:
            st.warning(plain(f"The link's pair is none: {error}. Showing the last one."))
    return now.pairs[plane.PLANE]


def publish(pair: Pair | None) -> None:
    """Writes it into the address bar; None takes it out."""
    if pair is None:
        st.query_params.pop(_IN_URL, None)
        return
    text = _written(pair)
    address.note(_IN_URL, text)
    if st.query_params.get(_IN_URL) != text:
        st.query_params[_IN_URL] = text


def _written(pair: Pair) -> str:
    numbers: list[float] = []
    for mu, cov in (pair[:2], pair[2:]):
        numbers += [*mu.tolist(), float(cov[0, 0]), float(cov[0, 1]), float(cov[1, 1])]
    return ",".join(f"{number:.6g}" for number in numbers)


def _read(text: str) -> Pair:
    numbers = [float(number) for number in text.split(",")]
    if len(numbers) != 10:
        raise UserError(
            f"it has {len(numbers)} numbers and needs 10: two means and three entries of a "
            "covariance, for P and for Q"
        )
    (x1, y1, *entries1), (x2, y2, *entries2) = numbers[:5], numbers[5:]
    cov1, cov2 = (
        gaussian.covariance_2d(s11, s12, s22, name)
        for name, (s11, s12, s22) in (("P", entries1), ("Q", entries2))
    )
    return gaussian_pair.pair([x1, y1], cov1, [x2, y2], cov2)
