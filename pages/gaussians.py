"""Gaussians: what is the KL between two Gaussians?"""

import streamlit as st

from vae.core import gaussian
from vae.figures import gaussians as figures
from vae.figures import points as points_figures
from vae.lessons import kl_steps
from vae.lessons.gaussian_pair import Pair
from vae.ui import charts, faults, frame, heading, sections
from vae.ui.gaussians import entries, plane, presets
from vae.ui.gaussians.plane import LINE, PLANE, SPACE, Shown
from vae.ui.session import selection
from vae.ui.text import plain

frame.require("pages/gaussians.py")

LINKS = {
    "map": "Show it on the plane",
    "terms": "Show it among the terms",
    "samples": "Show the draws",
    "special": "Show it beside the plane",
}


@faults.fragment
def main() -> None:
    plane.style()
    now = plane.shown()
    place = presets.controls(now)
    pair = now.pairs[place]
    {PLANE: on_the_plane, LINE: on_a_line, SPACE: in_space}[place](now, pair)
    walk_through(now, pair, place)
    selection.publish()


# --- in the plane ---------------------------------------------------------------------------------


def on_the_plane(now: Shown, pair: Pair) -> None:
    left, right = charts.columns()
    with left:
        plane.plane()
        st.caption(
            plain(now.note)
            or "P and Q at 1 and 2 σ: drag a mean, or an axis by its end. "
            "The map: the integrand of equation (1)."
        )
    with right:
        plane.numbers()
        for name, mu, cov in (("P", pair.mu1, pair.cov1), ("Q", pair.mu2, pair.cov2)):
            moments = {
                "μ₁": mu[0],
                "μ₂": mu[1],
                "s₁₁": cov[0, 0],
                "s₁₂": cov[0, 1],
                "s₂₂": cov[1, 1],
            }
            plane.fields(
                name,
                {label: float(value) for label, value in moments.items()},
                lambda typed, name=name: entries.in_the_plane(pair, name, *typed.values()),
                PLANE,
            )
        plane.problems()


# --- on a line ------------------------------------------------------------------------------------


def on_a_line(now: Shown, pair: Pair) -> None:
    left, right = charts.columns()
    with left:
        x = pair.places
        charts.chart(
            figures.line(
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
            alt="The densities of P and Q, and the integrands of both KLs",
        )
        st.caption(
            plain(now.note)
            or "Above P and Q, below what the integral of equation (1) sums up in either direction."
        )
        for column, (name, mu, cov) in zip(
            st.columns(2),
            (("P", pair.mu1, pair.cov1), ("Q", pair.mu2, pair.cov2)),
            strict=True,
        ):
            with column:
                plane.fields(
                    name,
                    {"μ": float(mu[0]), "σ": float(cov[0, 0].sqrt())},
                    lambda typed, name=name: entries.on_a_line(pair, name, *typed.values()),
                    LINE,
                )
        plane.problems()
    with right:
        plane.terms(pair)


# --- in k dimensions ------------------------------------------------------------------------------


def in_space(now: Shown, pair: Pair) -> None:
    left, right = charts.columns()
    with left:
        for name, mu, cov in (("P", pair.mu1, pair.cov1), ("Q", pair.mu2, pair.cov2)):
            entries.matrix_editor(now, pair, name, mu, cov)
        plane.problems()
        st.caption(
            plain(now.note)
            or "Each row a dimension: its mean, and its covariance with the others. A covariance "
            "typed on one side of the diagonal is put on the other, too."
        )
    with right:
        plane.terms(pair)
        if pair.is_diagonal and pair.k > 1:
            charts.chart(
                points_figures.kl_bars(pair.per_dimension.numpy()),
                key="gaussians_split",
                alt="KL(P, Q) of each dimension, in nats",
            )
            st.caption("Both are diagonal: KL(P, Q) is the sum of its dimensions'.")


# --- what all share -------------------------------------------------------------------------------


def walk_through(now: Shown, pair: Pair, place: str) -> None:
    """The derivation, one step at a time, with this pair's numbers."""
    steps = kl_steps.steps(pair, now.size, now.seed, now.loss)

    def link_of(shown: str) -> str:
        return f" [{LINKS[shown]}](#{shown})" if place == PLANE else ""

    def note(step: kl_steps.Step) -> None:
        if place == PLANE and step.shown == "samples":
            st.caption("The library's draws: others than those beside the plane.")

    sections.derivation("Why: step by step, with this pair's numbers", steps, link_of, note)


heading.answer(
    heading.ask("How far is one Gaussian from another?"),
    "It depends on the direction: KL(P, Q) is not KL(Q, P). Drag either, and both are told.",
)
main()
