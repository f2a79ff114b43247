"""A model of a person's own code: any object with encode and decode, named or at hand.

    open_module("my_models.vae:make", "my_data:digits")   for the app and the command line
    open_module("my_vae.py:VAE", weights="vae.pth", arguments=[("latent_dim", "20")])
    of_object(model), as_vae(model)                       for a notebook

What the object must offer, and what it may say of itself, stands in `adapter`; what
the data may be, in `user_data`.
"""

import inspect
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset
from vae.errors import UserError
from vae.formats.card import Choices
from vae.formats.run import ForeignRun
from vae.formats.user_code import factory
from vae.formats.user_code.adapter import adapt
from vae.formats.user_code.checks import N_IMAGES
from vae.formats.user_code.interface import has_forward
from vae.formats.user_code.user_data import images_of, open_data
from vae.formats.user_code.weights import put_into
from vae.formats.wording import printable
from vae.runs.checkpoint import CheckpointError

FORMAT = "your own module"
_USAGE = (
    "streamlit run app.py -- --model my_vae.py:VAE [--weights vae.pth] [--arg latent_dim=20] "
    "[--data package.module:factory]"
)
_VALUES = {"--weights": "a file", "--arg": "NAME=VALUE"}

_opened: dict[Any, ForeignRun] = {}
_opening = threading.RLock()  # a person's code is imported by one thread at a time


def open_module(
    model_spec: str,
    data_spec: str | None = None,
    weights: str | Path | None = None,
    arguments: Iterable[tuple[str, str]] = (),
) -> ForeignRun:
    """The model that a factory makes, and the data that another one gives, as a run.

    Each factory is called once in a process; what is opened again is the same object.

    Args:
        model_spec: "package.module:factory", also of the current folder, or "my_vae.py:VAE". A
            class or a function is called; so is no object that is a model already.
        data_spec: the same for images; their data set is then the run's, by the name that
            `vae.data.catalogue` knows it by in this process.
        weights: a file to put into the model; nothing that it brings is run.
        arguments: (name, value) that the class or function is called with; a value is a literal of
            Python, or else a text.

    Raises:
        CheckpointError: the model cannot be had or used, or the weights do not fit it; the
            sentence says what its code did, or each tensor that is missing or left over.
        DatasetError: the data cannot be.
    """
    arguments = tuple(arguments)
    key = model_spec, data_spec, os.getcwd(), str(weights or ""), arguments
    with _opening:
        if key not in _opened:
            dataset = "" if data_spec is None else open_data(data_spec)
            made, source = factory.make(
                model_spec, "--model", _is_model, CheckpointError, dict(arguments)
            )
            said = f"--model (={printable(model_spec, 100)!r})"
            left = "" if weights is None else put_into(made, Path(weights), said)
            images = catalogue.load(dataset).images if dataset else None
            with factory.here_on_path():
                run = _run(made, said, _name(model_spec), source, images, dataset, left)
            _opened[key] = replace(run, more_files=() if weights is None else (Path(weights),))
        return _opened[key]


def of_object(
    model: Any, images: Dataset | Tensor | Any | None = None, name: str | None = None
) -> ForeignRun:
    """Any object with encode(x) -> (mu, logvar) and decode(z), as a run.

    It is put into evaluation mode, and is not copied: what trains it on moves the run's model, too.

    Args:
        model: the object; a VAE of ours is taken as it is.
        images: what it reads, for its image shape and to try it on: a data set, or images (N, C, H,
            W), (N, H, W) or (N, H, W, C), bytes or floats in [0, 1]. Without them, and without
            `model.image_shape`, the shapes of the known data sets are tried.
        name: of the run [the object's class].

    Raises:
        CheckpointError: it cannot be used; the sentence says what it did and what is expected.
        DatasetError: the images cannot be.
    """
    kind = type(model).__name__
    try:
        source = Path(inspect.getsourcefile(type(model)) or kind)
    except (TypeError, OSError):  # written in a notebook, or in C
        source = Path(kind)
    tried = None if images is None else images_of(images)
    return _run(model, f"the {kind}", name or kind, source, tried, "")


def as_vae(model: Any, images: Dataset | Tensor | Any | None = None) -> VAE:
    """Any object with encode(x) -> (mu, logvar) and decode(z), as every function here takes it.

    As `of_object`, whose card says how the object was read.
    """
    return of_object(model, images).load_model()


@dataclass(frozen=True)
class Arguments:
    """What names a person's own model and data.

    Attributes:
        model: "my_vae.py:VAE" or "package.module:factory"; None if none is named.
        data: "package.module:factory" of images.
        weights: a file to put into the model.
        arguments: (name, value) that the model is made with.
    """

    model: str | None = None
    data: str | None = None
    weights: str | None = None
    arguments: tuple[tuple[str, str], ...] = ()


def parse_arguments(argv: list[str]) -> Arguments:
    """What stands behind `streamlit run app.py --`.

    Raises:
        UserError: an argument is not known, lacks its value, or is given twice.
    """
    found: dict[str, str | None] = {"--model": None, "--data": None, "--weights": None}
    arguments: list[tuple[str, str]] = []
    rest = list(argv)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option not in (*found, "--arg"):
            raise UserError(f"unknown argument {printable(option, 100)!r}; use it as: {_USAGE}")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else ""
        if not value:
            wanted = _VALUES.get(option, "package.module:factory")
            raise UserError(f"{option} lacks its value, {wanted}; as in: {_USAGE}")
        if option == "--arg":
            arguments.append(named_argument(value))
            continue
        if found[option] is not None:
            raise UserError(f"{option} is given twice; give it once")
        found[option] = value
    if found["--model"] is None and (found["--weights"] or arguments):
        raise UserError(f"--weights and --arg go with --model; as in: {_USAGE}")
    return Arguments(found["--model"], found["--data"], found["--weights"], tuple(arguments))


def named_argument(text: str) -> tuple[str, str]:
    """NAME=VALUE in its two parts. Raises UserError for anything else."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UserError(f"--arg (={printable(text)!r}) must be NAME=VALUE, as --arg latent_dim=20")
    return name, value


def _is_model(value: Any) -> bool:
    both = all(callable(getattr(value, name, None)) for name in ("encode", "decode"))
    return both or has_forward(value)


def _name(spec: str) -> str:
    """As it may stand in an address or a file's name."""
    file, colon, path = spec.strip().rpartition(":")
    if file.endswith(".py"):
        file = Path(file).stem
    return printable(f"{file}{colon}{path}".replace(":", "."))


def _run(
    model: Any,
    said: str,
    name: str,
    source: Path,
    images: Tensor | None,
    dataset: str,
    note: str = "",
    choices: Choices | None = None,
) -> ForeignRun:
    shapes = known_shapes() if images is None else [(C, H, W) for _, C, H, W in [images.shape]]
    sample = None if images is None else images[:N_IMAGES]
    found = adapt(model, said, shapes, sample, FORMAT, choices=choices)
    card = replace(found.card, notes=(*found.card.notes, note)) if note else found.card

    def read_with(choices: Choices) -> ForeignRun:
        return _run(model, said, name, source, images, dataset, note, choices)

    return ForeignRun(
        name,
        source,
        found.model.config,
        card,
        lambda: found.model,
        dataset=dataset,
        facts=found.facts,
        read_with=read_with if found.facts else None,
        choices=tuple(sorted((choices or {}).items())),
    )


def known_shapes() -> list[tuple[int, int, int]]:
    """Of the data sets there are, MNIST's first."""
    shapes = [catalogue.describe("mnist").image_shape]
    for name in catalogue.names():
        try:
            shapes.append(catalogue.describe(name).image_shape)
        except catalogue.DatasetError:  # removed at this moment
            pass
    return shapes
