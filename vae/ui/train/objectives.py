"""The same network by several objectives, side by side: what the bound costs."""

import dataclasses
from typing import Any

import streamlit as st

from vae import wording
from vae.analysis.axes import Projection
from vae.analysis.objectives import Outcome
from vae.config import ELBO, EVIDENCE, IWAE, LATTICE, TrainConfig
from vae.core.lattice import MOST_DIMENSIONS
from vae.errors import UserError
from vae.figures import explore as figures
from vae.figures import training
from vae.runs.checkpoint import Run
from vae.ui import charts, projection, tables
from vae.ui.objectives import SHOWN, what_the_bound_cost
from vae.ui.results import evidence, loaded
from vae.ui.text import explained, nats, plain
from vae.ui.view import View, seen_through

_HEIGHT = 300


def lacking(run: Run, there: dict[str, Run]) -> list[tuple[str, TrainConfig]]:
    """The names and settings of the runs that the family lacks, but for best.

    None for a refitted run: what is trained has an encoder of layers, which is another network.
    """
    made = []
    if run.model_config.encoder == LATTICE:
        return made
    for objective in (ELBO, IWAE, EVIDENCE):
        if objective in there:
            continue
        if objective == EVIDENCE and run.model_config.latent_dim > MOST_DIMENSIONS:
            continue
        changed: dict[str, Any] = {"objective": objective}
        if objective == EVIDENCE:
            # A step costs as much as sixteen of the bound: fewer make up for it in part.
            changed["lattice_points"] = max(256, 16 * run.train_config.batch_size)
            changed["epochs"] = max(4, run.train_config.epochs // 4)
        try:
            settings = dataclasses.replace(run.train_config, **changed)
        except UserError:  # as with beta, or under a condition
            continue
        made.append((f"{run.name}-{objective}", settings))
    return made


def show(run: Run, there: dict[str, Run]) -> None:
    """The terms of each, the maps, the plane of rate and distortion, and a paragraph."""
    views: dict[str, View] = {}
    for objective, of_it in there.items():
        try:
            views[objective] = seen_through(of_it, run.train_config.held_out_dataset, "test")
        except UserError as error:
            st.error(f"{plain(of_it.name)} cannot be shown: {explained(error)}")
    words = wording.of(run.model_config.kind)
    _table(views, [evidence.outcome(view) for view in views.values()])
    if text := what_the_bound_cost(list(views.values())):
        st.markdown(text)
    for view in views.values():
        if evidence.found(view) is None:
            st.caption(f"{plain(view.run.name)}:")
            evidence.offer(view, f"objectives_{view.run.name}")
    columns = st.columns(max(2, len(views)), gap="small")
    for column, (objective, view) in zip(columns, views.items(), strict=False):
        with column:
            _map(objective, view)
    histories = {view.run.name: loaded.metrics(view.run) for view in views.values()}
    charts.chart(
        training.rate_distortion(histories, height=380, words=words),
        key="objectives_plane",
        alt="Recon against KL, epoch by epoch, of each objective",
    )
    st.caption(
        "Held-out recon against KL, epoch by epoch, ending at the large dot. An encoder that is "
        "trained beside log p(x) covers the posterior and is far from the bound, until its own "
        "epochs begin."
    )


def _table(views: dict[str, View], outcomes: list[Outcome]) -> None:
    rows = [
        {
            "objective": found.objective,
            "run": view.run.name,
            "-log p(x)": found.neg_log_px,
            "gap": found.gap,
            "-ELBO": found.neg_elbo,
            "recon": found.recon,
            "KL": found.kl,
            "fills": 100 * found.area,
        }
        for view, found in zip(views.values(), outcomes, strict=True)
    ]
    st.dataframe(
        rows,
        key="objectives",
        hide_index=True,
        column_config={
            **tables.in_nats(["-log p(x)", "gap", "-ELBO", "recon", "KL"]),
            "fills": st.column_config.NumberColumn(
                "q(z) fills",
                format="%.0f %%",
                help="The share of the prior's mass: exp(-KL(q(z), p(z)))",
            ),
        },
    )


def _map(objective: str, view: View) -> None:
    axes: Projection = projection.plane(view.embedding)
    st.markdown(f"**{SHOWN[objective]}**: -ELBO {nats(view.embedding.means()['neg_elbo'])}")
    figure = charts.kept(
        f"objective {objective}",
        lambda: figures.latent_map(
            view.embedding,
            axes.of(view.embedding.mu),
            "label",
            axes.titles,
            axes.prior_centre,
            height=_HEIGHT,
        ).update_layout(showlegend=False),
        *(view.embedding.mu, axes.titles),
    )
    charts.chart(figure, key=f"objective_{objective}", alt=f"The latent map by {SHOWN[objective]}")
