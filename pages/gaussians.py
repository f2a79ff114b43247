"""Gaussians: what is the KL between two Gaussians?"""

import numpy as np
import pandas as pd
import streamlit as st
import torch

from vae import derivation, figures, gaussian, gaussian_figures, pairs
from vae.derivation import Loss
from vae.embedding import Embedding
from vae.pairs import Pair
from vae.ui import frame, gaussians, state
from vae.ui.gaussians import LINE, PLANE, PRESET, SPACE, Shown
from vae.ui.projection import subscript

frame.require("pages/gaussians.py")

TILTED, POSTERIOR, CLASSES = "Two Gaussians", "A posterior and the prior", "Two classes"
NEAR_SINGULAR, IDENTICAL = "Near-singular", "Identical"
MOST_DIMENSIONS, USUAL_K = 16, 4
FIRST_CLASS, SECOND_CLASS, K = "gaussians_first_class", "gaussians_second_class", "gaussians_k"
LINKS = {
    "map": "Show it on the plane",
    "terms": "Show it among the terms",
    "samples": "Show the draws",
    "special": "Show it beside the plane",
}


@st.fragment
def main() -> None:
    gaussians.style()
    now = gaussians.shown()
    place = controls(now)
    pair = now.pairs[place]
    {PLANE: on_the_plane, LINE: on_a_line, SPACE: in_space}[place](now, pair)
    walk_through(now, pair, place)
    state.publish()


def controls(now: Shown) -> str:
    """Where the pair lives, and the presets; puts the chosen one on the page."""
    st.session_state.setdefault(PRESET, None if now.pairs else TILTED)
    with st.container(
        key="gaussians_controls", horizontal=True, vertical_alignment="bottom", gap="small"
    ):
        place = st.segmented_control(
            "In",
            [PLANE, LINE, SPACE],
            key="gaussians_in",
            default=PLANE,
            required=True,
            persist_state="session",
        )
        preset = st.pills(
            "Start from",
            [TILTED, POSTERIOR, CLASSES, NEAR_SINGULAR, IDENTICAL],
            key=PRESET,
            required=True,
            persist_state="session",
        )
        if preset in (POSTERIOR, CLASSES):
            from_the_model(now, preset, place)
        else:
            k = {PLANE: 2, LINE: 1}.get(place) or dimensions_picker(now)
            if preset is not None and now.applied != (preset, place, k):
                makers = {TILTED: pairs.tilted, NEAR_SINGULAR: pairs.near_singular}
                put(now, place, makers.get(preset, pairs.identical)(k), (preset, place, k))
    if place not in now.pairs:
        now.put(place, pairs.tilted({PLANE: 2, LINE: 1}.get(place, USUAL_K)))
    return place


def dimensions_picker(now: Shown) -> int:
    """k of the pair in k dimensions; another k keeps the dimensions that both have."""

    def take() -> None:
        if SPACE in now.pairs:
            now.put(SPACE, now.pairs[SPACE].with_dimensions(st.session_state[K]))

    k = now.pairs[SPACE].k if SPACE in now.pairs else USUAL_K
    return st.number_input(
        "k", 1, MOST_DIMENSIONS, on_change=take, width=120, **state.showing(K, k, "value")
    )


def put(now: Shown, place: str, pair: Pair, applied: tuple, note: str = "") -> None:
    """Shows a preset's pair."""
    now.put(place, pair)
    now.applied, now.note, now.axes, now.loss = applied, note, (), None
    now.special = False


def from_the_model(now: Shown, preset: str, place: str) -> None:
    """The presets that look through a checkpoint; what they need stands beside them."""
    try:
        embedding = frame.load_view().embedding
        n = {PLANE: 2, LINE: 1, SPACE: MOST_DIMENSIONS}[place]
        dimensions = pairs.telling_dimensions(embedding, n)
        seen = (preset, place, st.session_state[state.RUN], st.session_state[state.DATA])
        if preset == POSTERIOR:
            index = frame.point_picker(embedding)
            if now.applied == (applied := (*seen, index)):
                return
            pair = pairs.posterior_and_prior(embedding, index, dimensions)
            note = f"P is q(z|x) of point {index:,}, Q the prior p(z)"
        else:
            first, second = class_pickers(embedding)
            if now.applied == (applied := (*seen, first, second)):
                return
            pair = pairs.two_classes(embedding, first, second, dimensions)
            names = [embedding.class_names[label] for label in (first, second)]
            note = (
                f"P is class {names[0]}, Q class {names[1]}: Gaussians with the moments of their "
                "aggregate posteriors"
            )
    except ValueError as error:
        st.caption(f"{sentence(error)} The other presets need no checkpoint.")
        return
    if place == PLANE and pair.k < 2:
        pair = pair.with_dimensions(2)
        note += "; the model has no second dimension"
    names = [f"z{subscript(d)}" for d in dimensions]
    if len(names) < embedding.latent_dim:
        note += f". Marginals: {', '.join(names)}, of {embedding.latent_dim} those with most KL"
    put(now, place, pair, applied, f"{note}.")
    now.axes = (*names, "")[:2]
    if preset == POSTERIOR:
        now.loss = Loss(index, float(embedding.recon[index]), float(embedding.kl[index]))
        now.special = True


def class_pickers(embedding: Embedding) -> tuple[int, int]:
    """The labels of P and of Q."""
    labels = np.unique(embedding.labels).tolist()
    chosen = []
    for key, name, usual in ((FIRST_CLASS, "P", 0), (SECOND_CLASS, "Q", 1)):
        if st.session_state.get(key) not in labels:
            st.session_state[key] = labels[min(usual, len(labels) - 1)]
        chosen.append(
            st.selectbox(
                f"{name} is",
                labels,
                format_func=lambda label: embedding.class_names[label],
                key=key,
                persist_state="session",
                width=112,
            )
        )
    return chosen[0], chosen[1]


# --- in the plane ---------------------------------------------------------------------------------


def on_the_plane(now: Shown, pair: Pair) -> None:
    left, right = st.columns([1.38, 1], gap="medium")
    with left:
        gaussians.plane()
        st.caption(
            frame.plain(now.note)
            or "P and Q at 1 and 2 σ: drag a mean, or an axis by its end. "
            "The map: the integrand of equation (1)."
        )
    with right:
        gaussians.numbers()
        for name, mu, cov in (("P", pair.mu1, pair.cov1), ("Q", pair.mu2, pair.cov2)):
            entries = {
                "μ₁": mu[0],
                "μ₂": mu[1],
                "s₁₁": cov[0, 0],
                "s₁₂": cov[0, 1],
                "s₂₂": cov[1, 1],
            }
            gaussians.fields(
                name,
                {label: float(value) for label, value in entries.items()},
                lambda typed, name=name: typed_in_the_plane(pair, name, *typed.values()),
                PLANE,
            )
        gaussians.problems()


def typed_in_the_plane(
    pair: Pair, name: str, x: float, y: float, s11: float, s12: float, s22: float
) -> Pair:
    """The pair with one of the two replaced. Raises ValueError with a sentence."""
    cov = gaussian.covariance_2d(s11, s12, s22, name)
    return replaced(pair, name, torch.tensor([x, y], dtype=torch.float64), cov)


def replaced(pair: Pair, name: str, mu: torch.Tensor, cov: torch.Tensor) -> Pair:
    return pair._replace(mu1=mu, cov1=cov) if name == "P" else pair._replace(mu2=mu, cov2=cov)


# --- on a line ------------------------------------------------------------------------------------


def on_a_line(now: Shown, pair: Pair) -> None:
    left, right = st.columns([1.38, 1], gap="medium")
    with left:
        x = pair.places
        st.plotly_chart(
            gaussian_figures.line(
                x[:, 0].numpy(),
                (
                    gaussian.full_log_prob(x, *pair[:2]).exp().numpy(),
                    gaussian.full_log_prob(x, *pair[2:]).exp().numpy(),
                ),
                (
                    gaussian.kl_integrand(x, *pair).numpy(),
                    gaussian.kl_integrand(x, *pair.swapped).numpy(),
                ),
            ),
            key="gaussians_line",
            config={"displayModeBar": False},
            alt="The densities of P and Q, and the integrands of both KLs",
        )
        st.caption(
            frame.plain(now.note)
            or "Above P and Q, below what the integral of equation (1) sums up in either direction."
        )
        for column, (name, mu, cov) in zip(
            st.columns(2),
            (("P", pair.mu1, pair.cov1), ("Q", pair.mu2, pair.cov2)),
            strict=True,
        ):
            with column:
                gaussians.fields(
                    name,
                    {"μ": float(mu[0]), "σ": float(cov[0, 0].sqrt())},
                    lambda typed, name=name: typed_on_a_line(pair, name, *typed.values()),
                    LINE,
                )
        gaussians.problems()
    with right:
        gaussians.terms(pair)


def typed_on_a_line(pair: Pair, name: str, mu: float, sigma: float) -> Pair:
    """The pair with one of the two replaced. Raises ValueError with a sentence."""
    if sigma <= 0:
        raise ValueError(f"σ of {name} (={sigma:g}) must be above 0")
    cov = torch.tensor([[sigma]], dtype=torch.float64).square()
    return replaced(pair, name, torch.tensor([mu], dtype=torch.float64), cov)


# --- in k dimensions ------------------------------------------------------------------------------


def in_space(now: Shown, pair: Pair) -> None:
    left, right = st.columns([1.38, 1], gap="medium")
    with left:
        for name, mu, cov in (("P", pair.mu1, pair.cov1), ("Q", pair.mu2, pair.cov2)):
            matrix_editor(now, pair, name, mu, cov)
        gaussians.problems()
        st.caption(
            frame.plain(now.note)
            or "Each row a dimension: its mean, and its covariance with the others. A covariance "
            "typed on one side of the diagonal is put on the other, too."
        )
    with right:
        gaussians.terms(pair)
        if pair.is_diagonal and pair.k > 1:
            st.plotly_chart(
                figures.kl_bars(pair.per_dimension.numpy()),
                key="gaussians_split",
                config={"displayModeBar": False},
                alt="KL(P, Q) of each dimension, in nats",
            )
            st.caption("Both are diagonal: KL(P, Q) is the sum of its dimensions'.")


def matrix_editor(now: Shown, pair: Pair, name: str, mu: torch.Tensor, cov: torch.Tensor) -> None:
    """A table of numbers that can be typed into; what makes no Gaussian is named, and stays."""
    names = [f"{i + 1}" for i in range(len(mu))]
    table = pd.DataFrame(cov.numpy(), columns=[f"s{subscript(i)}" for i in range(len(mu))])
    table.insert(0, "μ", mu.numpy())
    table.insert(0, name, names)
    key = f"gaussians_matrix_{name}_{now.n_set}"  # another pair is another table

    def take() -> None:
        new_mu, new_cov = mu.clone(), cov.clone()
        for row, changes in st.session_state[key]["edited_rows"].items():
            for column, value in changes.items():
                place = list(table.columns).index(column) - 2
                if value is None:
                    continue
                if place < 0:
                    new_mu[int(row)] = value
                else:
                    new_cov[int(row), place] = new_cov[place, int(row)] = value
        try:
            gaussian.cholesky(new_cov, f"the covariance of {name}")
        except ValueError as error:
            least = float(torch.linalg.eigvalsh(new_cov)[0])
            now.problems[name] = f"{error}; its least eigenvalue (={least:.3g}) must be above 0"
            return
        now.put(SPACE, replaced(pair, name, new_mu, new_cov))
        now.changed_by_hand()

    st.data_editor(
        table,
        key=key,
        hide_index=True,
        on_change=take,
        disabled=[name],
        column_config={
            name: st.column_config.TextColumn(width=40),
            **{
                column: st.column_config.NumberColumn(format="%.4g", width="small")
                for column in table.columns[1:]
            },
        },
    )


# --- what all share -------------------------------------------------------------------------------


def sentence(error: ValueError) -> str:
    text = str(error)
    return frame.plain(f"{text[0].upper()}{text[1:]}.")


def walk_through(now: Shown, pair: Pair, place: str) -> None:
    """The derivation, one step at a time, with this pair's numbers."""
    steps = derivation.steps(pair, now.size, now.seed, now.loss)
    st.markdown("##### Why: step by step, with this pair's numbers")
    tabs = st.tabs([f"{i}. {step.title}" for i, step in enumerate(steps, 1)], key="walk_through")
    for tab, step in zip(tabs, steps, strict=True):
        with tab:
            link = f" [{LINKS[step.shown]}](#{step.shown})" if place == PLANE else ""
            st.markdown(step.text + link)
            st.latex(step.formula)
            for line in step.numbers:
                st.latex(line)
            if place == PLANE and step.shown == "samples":
                st.caption("The library's draws: others than those beside the plane.")


main()
