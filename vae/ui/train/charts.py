"""How trainings went: the film, the curves, the table of the runs."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from sklearn.decomposition import PCA

from vae import wording
from vae.data import catalogue
from vae.figures import sheets, theme
from vae.figures import training as figures
from vae.figures.prepared import Prepared
from vae.runs.checkpoint import Run
from vae.runs.status import Status
from vae.training.film import REACH, SIDE, Frame
from vae.ui import charts
from vae.ui.results import loaded
from vae.ui.results.store import RESULTS
from vae.ui.text import plain
from vae.wording import Words

_MOST_OVERLAID = 10  # as many as there are colours


def film(run: Run) -> None:
    """The kept epochs of the run with a slider. Raises CheckpointError, DatasetError."""
    frames = loaded.frames(run)
    if not frames:
        st.caption("No epoch of this run was kept.")
        return
    words = wording.of(run.model_config.kind)
    labels, class_names = _labels(run, len(frames[0].mu))
    D = run.model_config.latent_dim
    # Built once for a film, not at each look at a training that goes on.
    figure: Prepared = RESULTS.make(
        ("film figure", run.path, tuple(class_names)),
        lambda: Prepared.of(_film_figure(frames, labels, class_names)),
        loaded.stamp_of_film(run),
    )
    charts.chart(
        figure,
        key="film",
        zooms=True,
        alt="The latent map and the decoded lattice at the chosen epoch",
    )
    text, page, gif = st.columns([5, 1, 0.85], vertical_alignment="center", gap="small")
    right = (
        "right: what an even lattice of z decodes to"
        if D == 2
        else "right: what the same draws from the prior decode to"
    )
    if run.model_config.n_classes:  # see `training.film.shoot`
        name = plain(loaded.class_names(run, run.train_config.dataset)[0])
        right += f" given class {name}, and left each under its own label"
    text.caption(
        f"Left: the first {len(labels):,} held-out {words.points} at their μ, under the prior's "
        f"rings at 1, 2 and 3 σ; {right}. The axes are the same in all epochs."
    )
    page.download_button(
        "Film",
        lambda: figure.whole.to_html(include_plotlyjs=True, auto_play=False).encode(),
        f"{run.name}-film.html",
        "text/html",
        icon=":material/download:",
        help="One HTML file that plays without a network",
        on_click="ignore",
        width="stretch",
    )
    gif.download_button(
        "GIF",
        lambda: _film_gif(frames, labels),
        f"{run.name}-film.gif",
        "image/gif",
        icon=":material/gif_box:",
        help="An animation for slides",
        on_click="ignore",
        width="stretch",
    )


def _film_gif(frames: list[Frame], labels: np.ndarray) -> bytes:
    positions, _ = _plane(frames)
    colours = [theme.class_colour(label) for label in labels]
    return sheets.film_gif(frames, positions, colours, figures.film_reach(positions))


def _film_figure(frames: list[Frame], labels: np.ndarray, class_names: Sequence[str]) -> go.Figure:
    positions, titles = _plane(frames)
    lattice = None
    if frames[0].mu.shape[1] == 2:
        lattice = np.linspace(-REACH, REACH, SIDE)
    return figures.film(frames, positions, labels, class_names, titles, lattice)


def _labels(run: Run, n: int) -> tuple[np.ndarray, Sequence[str]]:
    """Of the first n held-out points: from the run itself where it has them, else from the data."""
    stored = loaded.stored_embedding(run)
    if stored is not None:
        return stored.labels[:n], stored.class_names
    name = run.train_config.held_out_dataset
    if not catalogue.describe(name).is_here("test"):
        return np.zeros(n, dtype=np.int64), (
            f"held-out {wording.of(run.model_config.kind).points}",
        )
    data = loaded.dataset(name, "test")
    return data.labels.numpy()[:n], data.class_names


def _plane(frames: Sequence[Frame]) -> tuple[list[np.ndarray], tuple[str, str]]:
    """Where the points of each frame stand, and the axes' titles; one plane for all of them."""
    D = frames[-1].mu.shape[1]
    if D == 1:
        return [np.pad(frame.mu, ((0, 0), (0, 1))) for frame in frames], ("z₁", "")
    if D == 2:
        return [frame.mu for frame in frames], ("z₁", "z₂")
    fitted = PCA(2, svd_solver="covariance_eigh").fit(frames[-1].mu)
    axes = np.asarray(
        fitted.components_
    )  # through the origin: the prior's rings stay where they are
    names = ("PC 1 of the last μ", "PC 2 of the last μ")
    return [frame.mu @ axes.T for frame in frames], names


def curves(histories: dict[str, list[dict]], words: Words) -> None:
    """The rate-distortion plane, and each term over the epochs, of one run or several."""
    plane, terms = st.columns([1.15, 1], gap="medium")
    with plane:
        charts.chart(
            figures.rate_distortion(histories, height=520, words=words),
            key="rate_distortion",
            alt="Recon against KL, epoch by epoch",
        )
        st.caption(
            "Held-out recon against KL, epoch by epoch, ending at the large dot; along a dotted "
            "line their sum, -ELBO (equation 6), is the same."
        )
    with terms:
        log = st.segmented_control(
            "Axes",
            ("linear", "log"),
            default="linear",
            required=True,
            key="curve_axes",
            label_visibility="collapsed",
            persist_state="session",
        )
        for name in ("-ELBO", "recon", "KL"):
            charts.chart(
                figures.training_curves(histories, name, log == "log", height=172),
                key=f"curve_{name}",
                alt=f"{name} over the epochs, in nats per {words.point}",
            )


def table(
    runs: Sequence[Run], histories: dict[str, list[dict]], states: dict[str, Status]
) -> list[str]:
    """The runs with what they reached; returns those chosen, or else the finished ones."""
    words = wording.of(*(run.model_config.kind for run in runs))
    per_second = f"{words.points}/s"
    rows = []
    for run in runs:
        held_out = [row for row in histories[run.name] if row["split"] == "test"]
        last = held_out[-1] if held_out else {}
        terms = loaded.held_out_terms(run)
        rows.append(
            {
                "run": run.name,
                "state": states[run.name].state,
                "data": run.train_config.held_out_dataset,
                "k": run.model_config.latent_dim,
                "β": run.train_config.beta,
                "network": "-".join(map(str, run.model_config.hidden)) or "linear",
                "epoch": f"{last.get('epoch', 0)} of {run.train_config.epochs}",
                "-ELBO": terms.neg_elbo if terms else None,
                "recon": terms.recon if terms else None,
                "KL": terms.kl if terms else None,
                per_second: last.get("images_per_s"),
                "seconds": sum(row["seconds"] for row in held_out),
            }
        )
    nats = st.column_config.NumberColumn(format="%.2f", help=f"held out, nats per {words.point}")
    whole = st.column_config.NumberColumn(format="localized", step=1)
    event = st.dataframe(
        rows,
        key="runs_table",
        hide_index=True,
        height=min(38 + 35 * len(rows), 250),
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            **{"-ELBO": nats, "recon": nats, "KL": nats},
            **{per_second: whole, "seconds": whole},
        },
    )
    chosen = [rows[i]["run"] for i in event.selection.rows if i < len(rows)]
    if not chosen:
        newest = rows[0]["data"] if rows else None
        chosen = [
            row["run"]
            for row in rows
            if row["state"] == "finished" and histories[row["run"]] and row["data"] == newest
        ]
        st.caption("Choose runs in the table to lay them over each other.")
    elif len(chosen) > _MOST_OVERLAID:
        st.caption(f"The first {_MOST_OVERLAID} of the {len(chosen)} chosen are drawn.")
    return [name for name in chosen if histories[name]][:_MOST_OVERLAID]
