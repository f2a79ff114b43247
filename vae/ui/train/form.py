"""The form of the Train page: what to train, and how."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from vae import config, wording
from vae.config import IMAGE, VECTOR, ConfigError, ModelConfig, Setting, TrainConfig
from vae.data import catalogue
from vae.data.dataset import Source
from vae.errors import UserError
from vae.runs import checkpoint, names
from vae.runs.checkpoint import Run
from vae.training import presets
from vae.training.device import choose_device, fastest_precision
from vae.ui.results import loaded
from vae.ui.session import selection
from vae.ui.text import explained, plain
from vae.ui.train import own_data

_PRESSED = "train_pressed"
_COPIES = "train_copies"  # names of the runs that the form can start from, newest first
_START = "train_start"
_DATA = "train_data"
_NAME = "train_name"  # the reservation of the name that is proposed
_BEGUN = "train_begun"  # how often something was trained
_SETTINGS = {
    name: setting
    for kind in (ModelConfig, TrainConfig)
    for name, setting in config.settings(kind).items()
    if name != "dataset"
}
_DEFAULTS: dict[str, Any] = {
    f.name: f.default for kind in (ModelConfig, TrainConfig) for f in fields(kind)
}
_LAYERS = {"mlp": "Widths", "conv": "Channels of the stride-2 stages"}


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
    st.session_state[_DATA] = run.train_config.dataset


def show() -> tuple[NewRuns | None, DeltaGenerator]:
    """Draws the form.

    Returns:
        What it asks for if its button was pressed, and the place for what went wrong with that:
        what cannot be used is said there as soon as it is entered.
    """
    st.markdown("### Train a model")
    data, source = _data()
    start = _start(source.n_train)
    said = st.empty()  # in the form's middle, so that it is in sight
    values, stem = _Fields(data, start, source).draw(), f"{data}_{start}"
    problem = None
    try:
        sweep = _sweep(values["latent_dim"], values["beta"])
    except ConfigError as error:
        sweep, problem = {"": {}}, error
    wanted = f"{data}-{values['latent_dim']}d"
    reserved = names.reserve(wanted, tails=tuple(sweep), held=st.session_state.get(_NAME))
    st.session_state[_NAME] = reserved
    key = f"name_{reserved.name}_{stem}_{st.session_state.get(_BEGUN, 0)}"
    name = st.text_input("Name", reserved.name, key=key, persist_state="session")
    at_once = st.toggle(
        "Beside what is running",
        key="train_at_once",
        persist_state="session",
        help="Otherwise runs are trained one after another.",
    )
    runs = []
    try:
        if problem is None:
            names_data = ("image_shape", "kind", "features")
            of_data = {name: getattr(source, name) for name in names_data} | {"dataset": data}
            runs = _runs(values | of_data, sweep, name)
    except UserError as error:
        problem = error
    if problem is not None:
        said.error(explained(problem))
    st.button(
        "Train" if len(sweep) == 1 else f"Train {len(sweep)} runs",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        disabled=problem is not None,
        # Noted, not asked: the page's own polling can cut a rerun short before it acts.
        on_click=st.session_state.update,
        args=({_PRESSED: True},),
    )
    is_pressed = st.session_state.pop(_PRESSED, False)
    return (NewRuns(data, runs, at_once) if is_pressed and problem is None else None), said


def begun() -> None:
    """What the form asked for was begun: its name is no longer free, another one is proposed."""
    st.session_state[_BEGUN] = st.session_state.get(_BEGUN, 0) + 1


def _data() -> tuple[str, Source]:
    """The choice of the data set."""
    # A training is a process of its own, which cannot see what was given to this one.
    options = [name for name in catalogue.names() if not catalogue.describe(name).is_given]
    if (added := own_data.take_added()) in options:
        st.session_state[_DATA] = added
    if st.session_state.get(_DATA) not in options:  # at first, or of a run whose data are gone
        selected = selection.data_name()
        can_train = selected in options and catalogue.describe(selected).is_here("train")
        st.session_state[_DATA] = selected if can_train else options[0]
    data = st.selectbox(
        "Data",
        options,
        format_func=lambda name: catalogue.describe(name).title,
        key=_DATA,
        persist_state="session",
    )
    source = catalogue.describe(data)
    st.caption(plain(source.note) if source.is_own else source.note)
    own_data.open_button()
    return data, source


def _start(n_train: int) -> str:
    """The preset, or the name of the run, that the settings start from."""
    here = {run.name for run in loaded.runs()[0]}
    copies = [name for name in st.session_state.get(_COPIES, []) if name in here]
    options = [*presets.PRESETS, *copies]
    if st.session_state.get(_START) not in options:
        st.session_state[_START] = options[0]

    def show(option: str) -> str:
        preset = presets.PRESETS.get(option)
        if preset is None:
            return f"As {option}"
        cost = f"{preset.n_steps:,} steps" if presets.is_small(n_train) else preset.summary
        return f"{option.capitalize()}: {cost}"

    start = st.selectbox(
        "Start from",
        options,
        format_func=show,
        key=_START,
        persist_state="session",
        help="  \n".join(f"**{name}**: {p.note}" for name, p in presets.PRESETS.items()),
    )
    return start or options[0]


class _Fields:
    """A field for each setting, as its metadata say.

    They forget what was typed when another start is chosen, and remember it when that is back.
    """

    def __init__(self, data: str, start: str, source: Source) -> None:
        self._stem, self._source = f"{data}_{start}", source
        self._words = wording.of(source.kind)
        if start in presets.PRESETS:
            model, train = presets.preset(start, source.n_train, kind=source.kind)
            self._usual = _DEFAULTS | model | train
        else:
            run = next(run for run in loaded.runs()[0] if run.name == start)
            self._usual = run.model_config.to_dict() | run.train_config.to_dict()

    def draw(self) -> dict[str, Any]:
        """Draws them, the most wanted first; returns what is in them: of a list the text."""
        main, network, optimisation = (
            [name for name, setting in _SETTINGS.items() if setting.group == group]
            for group in config.GROUPS
        )
        values = self._columns(sorted(main, key=lambda name: not _SETTINGS[name].sweeps))
        with st.expander(config.GROUPS[1]):
            for name in network:
                values[name] = self._field(name, st, values)
        with st.expander(config.GROUPS[2]):
            return values | self._columns(optimisation)

    def _columns(self, settings: Sequence[str]) -> dict[str, Any]:
        """Two side by side: their labels stand in one line."""
        values: dict[str, Any] = {}
        for i, name in enumerate(settings):
            if i % 2 == 0:
                columns = st.columns(2, gap="small")
            values[name] = self._field(name, columns[i % 2], values)
        return values

    def _field(self, name: str, column: Any, others: dict[str, Any]) -> Any:
        setting, usual = _SETTINGS[name], self._usual[name]
        options: dict[str, Any] = {
            "key": f"{name}_{self._stem}",
            "persist_state": "session",
            # That of the likelihood says itself what is of which kind.
            "help": setting.text if name == "likelihood" else self._words.said(setting.text),
        }
        if setting.sweeps:
            options["help"] += " Several, separated by commas, train one run each."
            return column.text_input(setting.label, f"{usual:g}", **options)
        if setting.kind is tuple:
            return self._layers(column, others["family"], options)
        if setting.kind is str:
            words = (*setting.extra, *self._choices(name, setting))
            at = words.index(usual) if usual in words else 0  # a run may be of other data
            return column.selectbox(setting.label, words, index=at, **options)
        return column.number_input(
            # A run's own may be 3 where 3.0 is meant, which the widget refuses.
            setting.label,
            value=setting.kind(usual),
            step=setting.step,
            format=_format(setting),
            **options,
        )

    def _choices(self, name: str, setting: Setting) -> tuple[str, ...]:
        """What a setting can be with these data."""
        if name == "likelihood":
            is_image = self._source.kind == IMAGE
            return config.LIKELIHOODS if is_image else config.MEASURED_LIKELIHOODS
        if self._source.kind != IMAGE and name == "binarise":
            return ("off",)
        if self._source.kind == VECTOR and name == "family":
            return ("mlp",)
        return setting.choices

    def _layers(self, column: Any, family: str, options: dict[str, Any]) -> str:
        layers = self._usual["hidden"]
        if family != self._usual["family"]:
            usual = presets.preset("quick", self._source.n_train, family, kind=self._source.kind)
            layers = usual[0]["hidden"]
        options["key"] = f"hidden_{family}_{self._stem}"
        return column.text_input(_LAYERS[family], ",".join(map(str, layers)), **options)


def _format(setting: Setting) -> str | None:
    """Digits enough for a small step, and one more."""
    if setting.step is None or setting.step >= 0.01:
        return None
    return f"%.{1 - round(math.log10(setting.step))}f"


def _sweep(latent_dims: str, betas: str) -> dict[str, dict[str, Any]]:
    """What is different in each run of the sweep, by what is appended to its name.

    Raises:
        ConfigError: as `_numbers`.
    """
    dims, weights = _numbers("latent_dim", latent_dims, int), _numbers("beta", betas, float)
    return {
        f"-k{k}" * (len(dims) > 1) + f"-beta{beta:g}" * (len(weights) > 1): {
            "latent_dim": k,
            "beta": beta,
        }
        for k in dims
        for beta in weights
    }


def _runs(
    values: dict[str, Any], sweep: dict[str, dict[str, Any]], name: str
) -> list[tuple[Path, ModelConfig, TrainConfig]]:
    """The folder and the configs of each run.

    Raises:
        UserError: a setting or a name cannot be used.
    """
    values = values | {"hidden": config.parse_hidden(values["hidden"])}
    if values["precision"] == "auto":
        values["precision"] = _fastest(values["family"])
    names_of = {kind: {f.name for f in fields(kind)} for kind in (ModelConfig, TrainConfig)}
    runs = []
    for tail, changed in sweep.items():
        model_config, train_config = (
            kind(**{name: v for name, v in (values | changed).items() if name in names_of[kind]})
            for kind in (ModelConfig, TrainConfig)
        )
        path = checkpoint.folder() / checkpoint.check_name(name + tail)
        checkpoint.check_free(path)
        runs.append((path, model_config, train_config))
    return runs


@st.cache_resource(show_spinner=False)
def _fastest(family: str) -> str:
    """The precision for a network, found by a trial, once."""
    return fastest_precision(choose_device(), family)


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
