"""Mu and sigma by the server: for models that the browser cannot run. It answers on release."""

import numpy as np
import streamlit as st
import torch

from vae.analysis.axes import Layout, Projection, subscript
from vae.core import gaussian
from vae.live.panel import mu_range, sigma_of, sigma_range
from vae.ui import faults, images
from vae.ui.text import nats
from vae.ui.view import View

N_DRAWS = 8


def show(view: View, axes: Projection | Layout, index: int) -> None:
    """The sliders, set to the point's q when another one has been chosen, and what they decode."""
    _follow_point(view, index)
    _panel(view, axes, index)


def _key(view: View, name: str, dimension: int) -> str:
    # The run's name keeps two models' ranges apart.
    return f"{view.run.name}/{name}/{dimension}"


def _follow_point(view: View, index: int) -> None:
    embedding = view.embedding
    chosen = (view.run.name, embedding.dataset, embedding.split, index)
    if st.session_state.get("followed") == chosen:
        return
    sigma = sigma_of(embedding)
    for d in range(embedding.latent_dim):
        st.session_state[_key(view, "mu", d)] = float(embedding.mu[index, d])
        st.session_state[_key(view, "sigma", d)] = float(sigma[index, d])
    st.session_state["followed"] = chosen


@faults.fragment
def _panel(view: View, axes: Projection | Layout, index: int) -> None:
    D = view.embedding.latent_dim
    st.session_state.setdefault("eps_seed", 0)
    sigmas = sigma_of(view.embedding)
    picture, sliders = st.columns([1, 1.6], gap="medium")
    with sliders:
        shown = [d for d in axes.dimensions if d < D]
        for d in shown:
            _mu_and_sigma(view, d, sigmas[:, d])
        others = [d for d in range(D) if d not in shown][:30]
        if others:
            with st.expander(f"The other {len(others)} dimensions"):
                for d in others:
                    _mu_and_sigma(view, d, sigmas[:, d])
    mu = torch.tensor([[st.session_state[_key(view, "mu", d)] for d in range(D)]])
    sigma = torch.tensor([[st.session_state[_key(view, "sigma", d)] for d in range(D)]])
    logvar = 2 * sigma.log()
    generator = torch.Generator().manual_seed(st.session_state["eps_seed"])
    z = gaussian.reparameterise(mu, logvar, gaussian.draw((N_DRAWS, 1, D), generator))[:, 0]
    with torch.no_grad():
        model = view.given(index)
        mean, draws = (view.pictures(model.decode_mean(at).numpy()) for at in (mu[0], z))
    with picture:
        images.show(
            images.enlarged(mean, 150),
            "the decoded mean",
            "decoded at z = μ",
            width=150,
        )
    images.show(images.row(draws, side=48, per_row=N_DRAWS), "decoded samples of q")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        kl = gaussian.kl_to_standard_normal(mu, logvar).sum().item()
        st.caption(
            f"z = μ + σε, ε fixed (seed {st.session_state['eps_seed']}); "
            f"KL(q, p) = {nats(kl)} nats, equation (6)"
        )
        st.button("Resample", on_click=_resample, icon=":material/casino:", type="tertiary")


def _mu_and_sigma(view: View, d: int, sigma: np.ndarray) -> None:
    columns = st.columns(2, gap="small")
    for column, name, symbol, (low, high) in (
        (columns[0], "mu", "μ", mu_range(view.embedding.mu[:, d])),
        (columns[1], "sigma", "σ", sigma_range(sigma)),
    ):
        column.slider(
            f"{symbol}{subscript(d)}",
            low,
            high,
            step=0.005,
            format="%.2f",
            key=_key(view, name, d),
            persist_state="session",
        )


def _resample() -> None:
    st.session_state["eps_seed"] += 1
