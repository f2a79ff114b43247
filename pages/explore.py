"""Explore: where does the data live, and what is here?"""

import numpy as np
import streamlit as st
import torch

from vae import figures, gaussian
from vae.ui import frame, images, point, projection, state
from vae.ui.frame import View

frame.require("pages/explore.py")

N_DRAWS = 8
SIGMA_RANGE = (1e-6, 1e6)  # what a slider can hold, whatever a diverged encoder says


def main() -> None:
    view = frame.view()
    left, right = st.columns([1.38, 1], gap="medium")
    with left:
        index, axes = controls(view)
        latent_map(view, axes, index)
    with right:
        follow_point(view, index)
        live_panel(view, axes)
        point.card(view, index)


def controls(view: View) -> tuple[int, projection.Projection]:
    """Colour, axes and point; returns the chosen point and the map's axes."""
    embedding = view.embedding
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        colours = ["label", *figures.TERMS, *embedding.factors]
        state.keep_within(state.COLOUR, colours)
        st.segmented_control("Colour", colours, required=True, **state.widget(state.COLOUR))
        axes = projection.choose(embedding)
        index = frame.point_picker(embedding)
    return index, axes


def latent_map(view: View, axes: projection.Projection, index: int) -> None:
    embedding = view.embedding
    figure = figures.latent_map(
        embedding,
        axes.of(embedding.mu),
        st.session_state[state.COLOUR],
        axes.titles,
        prior_centre=axes.of(np.zeros((1, embedding.latent_dim)))[0],
        ellipses=axes.ellipses(embedding.mu[index], sigma_of(view)[index]),
        selected=index,
        height=690,
    )
    st.plotly_chart(
        figure,
        key="map",
        on_select=lambda: state.point_from_chart("map"),
        selection_mode=("points", "lasso"),
        config={"scrollZoom": True, "displaylogo": False},
        alt="The latent map: each point is where the encoder puts one image",
    )
    st.caption(
        f"{len(embedding):,} images at their μ, the mean of q(z|x); the chosen point's q(z|x) "
        "at 1 and 2 σ; dotted: the prior p(z) at 1, 2 and 3 σ. Click a point, or lasso a group."
    )
    group(view)


def group(view: View) -> None:
    """What a lasso caught."""
    embedding = view.embedding
    indices = state.group(len(embedding))
    if not indices:
        return
    means = [float(values[indices].mean()) for values in (embedding.recon, embedding.kl)]
    st.markdown(
        f"**{len(indices):,} points**, mean recon {means[0]:.2f} + KL {means[1]:.2f} = "
        f"-ELBO {sum(means):.2f} nats per image"
    )
    if view.images is not None:
        shown = view.images.images[indices[:40]].numpy() / 255
        images.show(images.row(shown, side=32, per_row=20))
    st.button("Forget these points", on_click=lambda: st.session_state.pop(state.GROUP, None))


def sigma_of(view: View) -> np.ndarray:
    """Sigma of every point, (N, D), within what a slider and an ellipse can show."""
    return view.embedding.sigma.clip(*SIGMA_RANGE)


def slider_key(view: View, name: str, dimension: int) -> str:
    # The run's name keeps two models' ranges apart.
    return f"{view.run.name}/{name}/{dimension}"


def follow_point(view: View, index: int) -> None:
    """Sets the sliders to the point's mu and sigma when another one has been chosen."""
    embedding = view.embedding
    chosen = (view.run.name, embedding.dataset, embedding.split, index)
    if st.session_state.get("followed") == chosen:
        return
    sigma = sigma_of(view)
    for d in range(embedding.latent_dim):
        st.session_state[slider_key(view, "mu", d)] = float(embedding.mu[index, d])
        st.session_state[slider_key(view, "sigma", d)] = float(sigma[index, d])
    st.session_state["followed"] = chosen


@st.fragment
def live_panel(view: View, axes: projection.Projection) -> None:
    """Sliders for mu and sigma, and what they decode to; the map beside it is left alone."""
    D = view.embedding.latent_dim
    st.session_state.setdefault("eps_seed", 0)
    sigmas = sigma_of(view)
    picture, sliders = st.columns([1, 1.6], gap="medium")
    with sliders:
        shown = [d for d in axes.dimensions if d < D]
        for d in shown:
            mu_and_sigma(view, d, sigmas[:, d])
        others = [d for d in range(D) if d not in shown][:30]
        if others:
            with st.expander(f"The other {len(others)} dimensions"):
                for d in others:
                    mu_and_sigma(view, d, sigmas[:, d])
    mu = torch.tensor([[st.session_state[slider_key(view, "mu", d)] for d in range(D)]])
    sigma = torch.tensor([[st.session_state[slider_key(view, "sigma", d)] for d in range(D)]])
    logvar = 2 * sigma.log()
    generator = torch.Generator().manual_seed(st.session_state["eps_seed"])
    z = gaussian.reparameterise(mu, logvar, gaussian.draw((N_DRAWS, 1, D), generator))[:, 0]
    with torch.no_grad():
        mean, draws = view.model.decode_mean(mu)[0].numpy(), view.model.decode_mean(z).numpy()
    with picture:
        images.show(images.enlarged(mean, 150), "decoded at z = μ", width=150)
    images.show(images.row(draws, side=48, per_row=N_DRAWS))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        kl = gaussian.kl_to_standard_normal(mu, logvar).sum().item()
        st.caption(
            f"z = μ + σε, ε fixed (seed {st.session_state['eps_seed']}); "
            f"KL(q, p) = {frame.nats(kl)} nats, equation (6)"
        )
        st.button("Resample", on_click=resample, icon=":material/casino:", type="tertiary")


def mu_and_sigma(view: View, d: int, sigma: np.ndarray) -> None:
    embedding = view.embedding
    reach = max(3.0, float(np.ceil(np.abs(embedding.mu[:, d]).max() + 0.5)))
    narrowest = min(0.005, float(sigma.min()))
    widest = max(1.5, float(np.ceil(sigma.max() * 2) / 2))
    columns = st.columns(2, gap="small")
    for column, name, symbol, low, high in (
        (columns[0], "mu", "μ", -reach, reach),
        (columns[1], "sigma", "σ", narrowest, widest),
    ):
        column.slider(
            f"{symbol}{projection.subscript(d)}",
            low,
            high,
            step=0.005,
            format="%.2f",
            key=slider_key(view, name, d),
            persist_state="session",
        )


def resample() -> None:
    st.session_state["eps_seed"] += 1


main()
