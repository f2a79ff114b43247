"""The selected point: its image, what the model makes of it, and what it costs, in nats."""

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from vae.config import IMAGE
from vae.core import gaussian
from vae.core.elbo import pixel_recon
from vae.data import catalogue
from vae.data.dataset import DatasetError, to_unit
from vae.figures import points as figures
from vae.lessons.glossary import GLOSSARY
from vae.ui import charts, images, measured, roles
from vae.ui.results import loaded
from vae.ui.results.content import content
from vae.ui.results.store import RESULTS
from vae.ui.text import explained, nats, plain
from vae.ui.view import View

_SIDE = 112  # pixels: three of them stand side by side on a small laptop


@torch.no_grad()
def card(view: View, index: int) -> None:
    """x, its reconstruction, the per-pixel term, the KL of each dimension and the point's terms."""
    embedding = view.embedding
    label = embedding.class_names[embedding.labels[index]]
    st.markdown(f"##### Point {index:,}, label {plain(label)}")
    if view.run.model_config.kind != IMAGE:
        if view.images is None:
            missing_image(view)
        else:
            x = to_unit(view.images.images[index])
            measured.show(view, index, _recon(view, x, index))
        stored_terms(view, index)
        _kl_bars(embedding.kl_per_dim[index])
        return
    mu = torch.from_numpy(embedding.mu[index])
    pictures = st.columns(3, gap="small")
    if view.images is not None:
        x = to_unit(view.images.images[index])  # (C, H, W)
        with pictures[0]:
            images.show(images.enlarged(x.numpy(), _SIDE), "the image x", "x", width=_SIDE)
    with pictures[1]:
        decoded = RESULTS.make(
            ("decoded", view.key, index, content(embedding.mu[index])),
            lambda: view.given(index).decode_mean(mu).numpy(),
        )
        images.show(images.enlarged(decoded, _SIDE), "the decoded mean", "E[x|z = μ]", width=_SIDE)
    if view.images is not None:
        with pictures[2]:
            per_pixel = _recon(view, x, index).sum(0)
            charts.chart(
                charts.kept("pixels", lambda: figures.pixel_map(per_pixel, width=_SIDE), per_pixel),
                key="pixel_map",
                alt="Heat map of the reconstruction term of each pixel, in nats",
                width="content",
            )
    else:
        missing_image(view)

    stored_terms(view, index)
    _kl_bars(embedding.kl_per_dim[index])


def _kl_bars(kl_per_dim: np.ndarray) -> None:
    if len(kl_per_dim) <= 32:
        charts.chart(
            charts.kept("KL of dimensions", lambda: figures.kl_bars(kl_per_dim), kl_per_dim),
            key="kl_bars",
            alt="KL of each latent dimension, in nats",
        )


def _recon(view: View, x: Tensor, index: int) -> np.ndarray:
    """What each number of x (C, H, W) adds to recon, in nats: (C, H, W)."""
    embedding = view.embedding
    S, D, seed = embedding.n_samples, embedding.latent_dim, embedding.seed

    def made() -> np.ndarray:
        eps = gaussian.noise_of_points([index], S, D, seed)
        return pixel_recon(view.given(index), x, eps[:, 0]).numpy()

    return RESULTS.make(("recon of numbers", view.key, index, S, seed), made)


def missing_image(view: View) -> None:
    """Says why the points' images are not shown, and offers to fetch them."""
    st.caption(f"The {view.words.kind} of this point is not at hand: {plain(view.images_problem)}.")
    _offer_download(view.embedding.dataset, view.embedding.split)


def stored_terms(view: View, index: int) -> None:
    """The terms that the tables and the command line state for the point, and its rank."""
    embedding = view.embedding
    numbers = st.columns(4, gap="small", vertical_alignment="bottom")
    recon, stderr = embedding.recon[index], embedding.recon_stderr[index]
    numbers[0].metric(
        "recon, nats", nats(recon), help=f"{_meaning('recon')} Here: {stderr:.2f} nats."
    )
    numbers[1].metric("KL, nats", nats(embedding.kl[index]), help=_meaning("KL"))
    numbers[2].metric("-ELBO, nats", nats(embedding.neg_elbo[index]), help=_meaning("-ELBO"))
    rank = embedding.rank(index)
    numbers[3].metric(f"rank of {len(embedding):,}", f"{rank:,}", help="by -ELBO; 1 costs most")


def _meaning(name: str) -> str:
    word = GLOSSARY[name]
    return plain(f"{word.sentence} {word.equation}.")


def _offer_download(name: str, split: str) -> None:
    if name not in catalogue.NAMES or catalogue.describe(name).is_here(split):
        return
    if not roles.may_change():
        return
    source = catalogue.describe(name)
    if st.button(
        f"Fetch {source.title}, {source.n_bytes / 1e6:.0f} MB", icon=":material/download:"
    ):
        try:
            loaded.dataset(name, split)
        except DatasetError as error:
            st.error(explained(error))
        else:
            st.rerun()
