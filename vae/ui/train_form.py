"""The form of the Train page: what to train, and how."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import streamlit as st

from vae import checkpoint, config, datasets
from vae.checkpoint import CheckpointError, Run
from vae.config import ConfigError, ModelConfig, TrainConfig
from vae.training import choose_device, fastest_precision
from vae.ui import cache, frame, own_data

_PRESSED = "train_pressed"
_COPIES = "train_copies"  # names of the runs that the form can start from, newest first
_START = "train_start"
_MODEL_DEFAULTS = {f.name: f.default for f in fields(ModelConfig) if f.name != "image_shape"}
_TRAIN_DEFAULTS = {f.name: f.default for f in fields(TrainConfig) if f.name != "dataset"}


@dataclass(frozen=True)
class NewRuns:
    """What the form asks for.

    Attributes:
        dataset: its name.
        settings: (folder, ModelConfig, TrainConfig) of each run.
        at_once: beside what is being trained, not after it.
    """

    dataset: str
    settings: list[tuple[Path, ModelConfig, TrainConfig]]
    at_once: bool


def start_from(run: Run) -> None:
    """Puts the run's settings into the form; for a callback, before the form is drawn."""
    copies = [name for name in st.session_state.get(_COPIES, []) if name != run.name]
    st.session_state[_COPIES] = [run.name, *copies][:5]
    st.session_state[_START] = run.name
    st.session_state["train_data"] = run.train_config.dataset


def show() -> NewRuns | None:
    """Draws the form; what it asks for if its button was pressed and all of it can be used."""
    st.markdown("### Train a model")
    # A training is a process of its own, which cannot see what was given to this one.
    names = [name for name in datasets.names() if not datasets.describe(name).is_given]
    if (added := own_data.take_added()) in names:
        st.session_state["train_data"] = added
    if st.session_state.get("train_data", names[0]) not in names:  # of a run whose data are gone
        st.session_state["train_data"] = names[0]
    data = st.selectbox(
        "Data",
        names,
        format_func=lambda name: datasets.describe(name).title,
        key="train_data",
        persist_state="session",
    )
    source = datasets.describe(data)
    st.caption(frame.plain(source.note) if source.is_own else source.note)
    own_data.open_button()
    start = _start(source.n_train)
    usual = _usual(start, source.n_train)
    # Fields forget what was typed when another start is chosen, and remember it when they are back.
    stem = f"{data}_{start}"

    def number(label: str, name: str, column: Any = st, **options: Any) -> Any:
        return column.number_input(
            label, value=usual[name], key=f"{name}_{stem}", persist_state="session", **options
        )

    def text(label: str, value: str, key: str, column: Any = st, **options: Any) -> str:
        return column.text_input(
            label, value, key=f"{key}_{stem}", persist_state="session", **options
        )

    def choice(label: str, name: str, options: tuple[str, ...], column: Any = st, **more) -> str:
        return column.selectbox(
            label,
            options,
            index=options.index(usual[name]),
            key=f"{name}_{stem}",
            persist_state="session",
            **more,
        )

    columns = st.columns(2, gap="small")
    sweep = "Several, separated by commas, train one run each."
    latent_dims = text("Dimensions k", f"{usual['latent_dim']}", "k", columns[0], help=sweep)
    betas = text("β, weight of KL", f"{usual['beta']:g}", "beta", columns[1], help=sweep)
    columns = st.columns(2, gap="small")
    epochs = number("Epochs", "epochs", columns[0], step=1)
    seed = number("Seed", "seed", columns[1], step=1)
    with st.expander("Network and likelihood"):
        family = choice("Network", "family", config.FAMILIES)
        layers = usual["hidden"]
        if family != usual["family"]:
            layers = config.preset("quick", source.n_train, family)[0]["hidden"]
        hidden = text(
            "Widths" if family == "mlp" else "Channels of the stride-2 stages",
            ",".join(map(str, layers)),
            f"hidden_{family}",
            help="From the image inwards; the decoder mirrors them. Empty with mlp: a linear VAE.",
        )
        activation = choice("Activation", "activation", config.ACTIVATIONS)
        likelihood = choice("Likelihood p(x|z)", "likelihood", config.LIKELIHOODS)
    with st.expander("Optimisation"):
        columns = st.columns(2, gap="small")
        batch_size = number("Batch", "batch_size", columns[0], step=16)
        learning_rate = number(
            "Learning rate", "learning_rate", columns[1], step=1e-4, format="%.5f"
        )
        schedule = choice("Schedule", "schedule", config.SCHEDULES, columns[0])
        kl_warmup = number(
            "KL warm-up",
            "kl_warmup",
            columns[1],
            step=0.05,
            help="The share of all steps over which the weight of the KL climbs from 0 to β.",
        )
        free_bits = number(
            "Free bits",
            "free_bits",
            columns[0],
            step=0.1,
            help="Nats of KL that each dimension has for nothing.",
        )
        binarise = choice(
            "Binarise",
            "binarise",
            config.BINARISE,
            columns[1],
            help="What is drawn anew as 0 or 1 at each read: the encoder's input, or all.",
        )
        max_grad_norm = number("Clip gradient at", "max_grad_norm", columns[0], step=1.0)
        weight_average = number(
            "Weight average",
            "weight_average",
            columns[1],
            step=0.001,
            format="%.4f",
            help="The decay, per step, of an average of the weights that is then kept; 0: none.",
        )
        patience = number(
            "Patience",
            "patience",
            columns[0],
            step=5,
            help="Epochs without a better held-out bound after which training ends, and the best "
            "weights are kept; 0: never.",
        )
        precision = choice("Precision", "precision", ("auto", *config.PRECISIONS), columns[1])
    name = text("Name", free_name(f"{data}-{latent_dims.strip()}d", 1), f"name_{latent_dims}")
    at_once = st.toggle(
        "Beside what is running",
        key="train_at_once",
        persist_state="session",
        help="Otherwise runs are trained one after another.",
    )
    try:
        dims = _numbers("latent_dim", latent_dims, int)
        weights = _numbers("beta", betas, float)
        problem = None
    except ConfigError as error:
        dims, weights, problem = [0], [0.0], error
    n = len(dims) * len(weights)
    label = "Train" if n == 1 else f"Train {n} runs"
    st.button(
        label,
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        # Noted, not asked: the page's own polling can cut a rerun short before it acts.
        on_click=st.session_state.update,
        args=({_PRESSED: True},),
    )
    if not st.session_state.pop(_PRESSED, False):
        return None
    try:
        if problem:
            raise problem
        if precision == "auto":
            precision = fastest_precision(choose_device(), family)
        settings = []
        for k in dims:
            for beta in weights:
                model_config = ModelConfig(
                    image_shape=source.image_shape,
                    latent_dim=k,
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
                    schedule=schedule,
                    beta=beta,
                    kl_warmup=kl_warmup,
                    free_bits=free_bits,
                    binarise=binarise,
                    max_grad_norm=max_grad_norm,
                    weight_average=weight_average,
                    patience=patience,
                    precision=precision,
                    seed=seed,
                )
                tail = f"-k{k}" * (len(dims) > 1) + f"-beta{beta:g}" * (len(weights) > 1)
                path = checkpoint.folder() / checkpoint.check_name(name + tail)
                checkpoint.check_free(path)
                settings.append((path, model_config, train_config))
    except (ConfigError, CheckpointError) as error:
        st.error(frame.plain(str(error)))
        return None
    return NewRuns(data, settings, at_once)


def free_name(wanted: str, number: int) -> str:
    """The name, with a number behind it if a run is called so already."""
    root, name = checkpoint.folder(), wanted.replace(" ", "").replace(",", "-")
    stem = name
    while (root / name).exists():
        number += 1
        name = f"{stem}-{number}"
    return name


def _start(n_train: int) -> str:
    """The preset, or the name of the run, that the settings start from."""
    presets = tuple(config.PRESETS)
    here = {run.name for run in cache.runs()[0]}
    copies = [name for name in st.session_state.get(_COPIES, []) if name in here]
    options = [*presets, *copies]
    if st.session_state.get(_START) not in options:
        st.session_state[_START] = presets[0]

    def show(option: str) -> str:
        if option in presets:
            preset = config.PRESETS[option]
            cost = f"{preset.n_steps:,} steps" if config.is_small(n_train) else preset.summary
            return f"{option.capitalize()}: {cost}"
        return f"As {option}"

    return st.selectbox(
        "Start from",
        options,
        format_func=show,
        key=_START,
        persist_state="session",
        help="  \n".join(f"**{name}**: {p.note}" for name, p in config.PRESETS.items()),
    )


def _usual(start: str, n_train: int) -> dict[str, Any]:
    """Every setting as that start has it."""
    if start in config.PRESETS:
        model, train = config.preset(start, n_train)
        return _MODEL_DEFAULTS | _TRAIN_DEFAULTS | model | train
    run = next(run for run in cache.runs()[0] if run.name == start)
    return run.model_config.to_dict() | run.train_config.to_dict()


def _numbers(name: str, text: str, kind: type) -> list[Any]:
    """The values of a field that makes a sweep.

    Raises:
        ConfigError: a part is no number of that kind, one stands twice, or there are too many.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        values = [kind(part) for part in parts]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise ConfigError(
            f"{name} (={text[:40]!r}) must be one or more {what}, separated by commas"
        ) from None
    if not 1 <= len(values) <= 12 or len(set(values)) < len(values):
        raise ConfigError(f"{name} (={text[:40]!r}) must be 1 to 12 different values")
    return values
