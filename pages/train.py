"""Train: train one and watch the space form."""

import time
from pathlib import Path

import numpy as np
import streamlit as st

from vae import checkpoint, config, datasets, figures, job
from vae.checkpoint import CheckpointError, Run
from vae.config import ConfigError, ModelConfig, TrainConfig
from vae.datasets import DatasetError
from vae.ui import cache, frame

frame.require("pages/train.py")

LAUNCH = "launch"
ACTIVE = "running"


def main() -> None:
    left, right = st.columns([1, 2.9], gap="large")
    with left:
        settings()
    with right:
        launch = st.session_state.get(LAUNCH)
        if launch is not None and launch.run_path.exists():
            st.session_state["watched"] = launch.run_path.name
            del st.session_state[LAUNCH]
            launch = None
        if launch is not None:
            st.fragment(wait_for, run_every=0.5)(launch)
        else:
            watch_one()


def settings() -> None:
    """The form; its button starts a training."""
    st.markdown("### Train a model")
    data = st.selectbox(
        "Data",
        datasets.NAMES,
        format_func=lambda name: datasets.describe(name).title,
        key="train_data",
        persist_state="session",
    )
    source = datasets.describe(data)
    st.caption(source.note)
    columns = st.columns(2, gap="small")
    latent_dim = columns[0].number_input(
        "Latent dimensions k", value=2, step=1, key="train_k", persist_state="session"
    )
    family = columns[1].selectbox(
        "Network", config.FAMILIES, key="train_family", persist_state="session"
    )
    likelihood = st.selectbox(
        "Likelihood p(x|z)", config.LIKELIHOODS, key="train_likelihood", persist_state="session"
    )
    columns = st.columns(2, gap="small")
    beta = columns[0].number_input(
        "β, weight of KL", value=1.0, step=0.5, key="train_beta", persist_state="session"
    )
    epochs = columns[1].number_input(
        "Epochs",
        value=config.usual_epochs(source.n_train),
        step=1,
        key=f"train_epochs_{data}",
        persist_state="session",
    )
    columns = st.columns(2, gap="small")
    seed = columns[0].number_input(
        "Seed", value=0, step=1, key="train_seed", persist_state="session"
    )
    batch_size = columns[1].number_input(
        "Batch", value=TrainConfig.batch_size, step=16, key="train_batch", persist_state="session"
    )
    with st.expander("Layers and learning rate"):
        hidden = st.text_input(
            "Widths" if family == "mlp" else "Channels of the stride-2 stages",
            ",".join(map(str, config.usual_hidden(family))),
            key=f"train_hidden_{family}",
            help="From the image inwards; the decoder mirrors them. Empty with mlp: a linear VAE.",
            persist_state="session",
        )
        activation = st.selectbox(
            "Activation", config.ACTIVATIONS, key="train_activation", persist_state="session"
        )
        learning_rate = st.number_input(
            "Learning rate",
            value=TrainConfig.learning_rate,
            step=1e-4,
            format="%.5f",
            key="train_lr",
            persist_state="session",
        )
        kl_warmup = st.slider(
            "KL warm-up, share of the steps",
            0.0,
            1.0,
            TrainConfig.kl_warmup,
            key="train_warmup",
            persist_state="session",
        )
    name = st.text_input(
        "Name",
        free_name(f"{data}-{latent_dim}d"),
        max_chars=64,
        key=f"train_name_{data}_{latent_dim}",
    )
    if not st.button("Train", type="primary", icon=":material/play_arrow:", width="stretch"):
        return
    try:
        model_config = ModelConfig(
            image_shape=source.image_shape,
            latent_dim=latent_dim,
            family=family,
            hidden=config.parse_hidden(hidden),
            activation=activation,
            likelihood=likelihood,
        )
        train_config = TrainConfig(
            dataset=data,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            beta=beta,
            kl_warmup=kl_warmup,
            seed=seed,
        )
        path = checkpoint.folder() / checkpoint.check_name(name)
        for split in ("train", "test"):  # fetched here, where a missing network can be told
            cache.dataset(data, split)
        st.session_state[LAUNCH] = job.start(path, model_config, train_config)
    except (ConfigError, CheckpointError, DatasetError) as error:
        st.error(frame.plain(str(error)))
        return
    st.rerun()


def free_name(wanted: str) -> str:
    """The name, with a number behind it if a run is called so already."""
    root, name, number = checkpoint.folder(), wanted, 1
    while (root / name).exists():
        number += 1
        name = f"{wanted}-{number}"
    return name


def wait_for(launch: job.Launch) -> None:
    """Until the new process has made its run folder, or said why it cannot."""
    if launch.run_path.exists():
        st.rerun()
    problem = launch.error()
    if problem is None:
        st.progress(0.0, f"Starting {launch.run_path.name}: loading PyTorch and the data")
        return
    st.session_state["launch_problem"] = problem
    del st.session_state[LAUNCH]
    st.rerun()


def watch_one() -> None:
    """The run that is watched: a running one, the last one watched, or the newest."""
    if problem := st.session_state.pop("launch_problem", None):
        st.error(frame.plain(problem))
    runs, _ = cache.runs()
    if not runs:
        st.info("Nothing has been trained yet. Choose the data on the left and press Train.")
        return
    states = {run.name: job.status(run.path) for run in runs}
    by_recency = sorted(
        runs, key=lambda run: (states[run.name].state == ACTIVE, started(run.path)), reverse=True
    )
    names = [run.name for run in by_recency]
    if st.session_state.get("watched") not in names:
        st.session_state["watched"] = names[0]
    name = st.selectbox(
        "Run",
        names,
        key="watched",
        persist_state="session",
        width=320,
    )
    run = next(run for run in runs if run.name == name)
    is_active = states[name].state == ACTIVE
    st.fragment(watch, run_every=1.0 if is_active else None)(run, is_active)


def watch(run: Run, was_active: bool) -> None:
    """How far the run is, its curves, and its map; polled while it trains."""
    status = job.status(run.path)
    if was_active and status.state != ACTIVE:
        st.rerun()  # the whole page: the picker and the other runs' states have changed
    try:
        rows = cache.metrics(run)
        embedding = cache.stored_embedding(run, of_earlier_weights=status.state == ACTIVE)
    except CheckpointError as error:
        st.error(frame.plain(str(error)))
        return
    progress(run, status, rows)
    space, curves = st.columns([1.25, 1], gap="medium")
    with space:
        if embedding is not None and embedding.latent_dim > 1:
            st.plotly_chart(
                figures.latent_map(
                    embedding,
                    embedding.mu[:, :2],
                    "label",
                    ("z₁", "z₂"),
                    prior_centre=np.zeros(2),
                    height=540,
                ),
                key="training_map",
                config={"displayModeBar": False},
                alt="The latent map of the latest epoch",
            )
            st.caption("The held-out images at their μ; dotted: the prior p(z) at 1, 2 and 3 σ.")
    with curves:
        for name in ("-ELBO", "recon", "KL"):
            st.plotly_chart(
                figures.training_curves(rows, name, run.train_config.epochs),
                key=f"curve_{name}",
                config={"displayModeBar": False},
                alt=f"{name} over the epochs, in nats per image",
            )


def progress(run: Run, status: job.Status, rows: list[dict]) -> None:
    """One line on how it stands, and what can be done."""
    done = status.step / status.n_steps if status.n_steps else 0.0
    epoch = rows[-1]["epoch"] if rows else 0
    text = f"epoch {epoch} of {run.train_config.epochs}"
    if status.state == ACTIVE:
        left = status.seconds_left
        text += f", {duration(left)} left" if left is not None else ", starting"
        columns = st.columns([6, 1], vertical_alignment="center", gap="small")
        columns[0].progress(done, text)
        if columns[1].button("Stop", icon=":material/stop:", key="stop"):
            job.request_stop(run.path)
            st.toast("Stopping; the last whole epoch is kept.")
    elif status.state == "failed":
        st.error(frame.plain(status.message))
    else:
        if status.state == "interrupted":
            st.warning(
                f"The process that trained this run ended at {text}; that epoch's weights are kept."
            )
        st.page_link(
            "pages/explore.py",
            label=f"{status.state.capitalize()} at {text}: explore {frame.plain(run.name)}",
            icon=":material/explore:",
            query_params={"run": run.name},
        )
    held_out = [row for row in rows if row["split"] == "test"]
    if held_out:
        last = held_out[-1]
        columns = st.columns(5, gap="small")
        columns[0].metric("held-out recon, nats", frame.nats(last["recon"]))
        columns[1].metric("held-out KL, nats", frame.nats(last["kl"]))
        columns[2].metric("held-out -ELBO, nats", frame.nats(last["neg_elbo"]))
        columns[3].metric("images per second", f"{last['images_per_s']:,.0f}")
        columns[4].metric("epoch", f"{epoch} of {run.train_config.epochs}")


def duration(seconds: float) -> str:
    """A waiting time as one says it."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    return time.strftime("%H:%M:%S" if seconds >= 3600 else "%M:%S", time.gmtime(seconds))


def started(path: Path) -> float:
    """When the run's folder got its settings, which is when it began."""
    try:
        return (path / checkpoint.CONFIG).stat().st_mtime
    except OSError:
        return 0.0


main()
