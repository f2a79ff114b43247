"""A model of a person's own code: any object with encode and decode, named or at hand.

    open_module("my_models.vae:make", "my_data:digits")   for the app and the command line
    of_object(model), as_vae(model)                       for a notebook

What the object must offer, and what it may say of itself, stands in `vae.formats.adapt`; what the
data may be, in `vae.formats.given`.
"""

import inspect
import os
import threading
from pathlib import Path
from typing import Any

from torch import Tensor

from vae import datasets
from vae.checkpoint import CheckpointError
from vae.datasets import Dataset
from vae.formats import factory
from vae.formats.adapt import N_IMAGES, adapt
from vae.formats.given import images_of, open_data
from vae.formats.run import ForeignRun
from vae.formats.tensors import printable
from vae.model import VAE

FORMAT = "your own module"
_USAGE = "streamlit run app.py -- --model package.module:factory [--data package.module:factory]"

_opened: dict[tuple[str, str | None, str], ForeignRun] = {}
_opening = threading.RLock()  # a person's code is imported by one thread at a time


def open_module(model_spec: str, data_spec: str | None = None) -> ForeignRun:
    """The model that a factory makes, and the data that another one gives, as a run.

    Each factory is called once in a process; what is opened again is the same object.

    Args:
        model_spec: "package.module:factory", also of the current folder. Called without arguments;
            a class will do, and so will an object that has encode and decode already.
        data_spec: the same for images; their data set is then the run's, by the name that
            `vae.datasets` knows it by in this process.

    Raises:
        CheckpointError: the model cannot be had or used; the sentence says what its code did.
        DatasetError: the data cannot be.
    """
    key = model_spec, data_spec, os.getcwd()
    with _opening:
        if key not in _opened:
            dataset = "" if data_spec is None else open_data(data_spec)
            made, source = factory.make(model_spec, "--model", _is_model, CheckpointError)
            said = f"--model (={printable(model_spec, 100)!r})"
            images = datasets.load(dataset).images if dataset else None
            with factory.here_on_path():
                _opened[key] = _run(made, said, _name(model_spec), source, images, dataset)
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


def parse_arguments(argv: list[str]) -> tuple[str | None, str | None]:
    """What stands behind `streamlit run app.py --`: the specs of --model and of --data, or None.

    Raises:
        ValueError: an argument is not known, lacks its value, or is given twice.
    """
    found: dict[str, str | None] = {"--model": None, "--data": None}
    rest = list(argv)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option not in found:
            raise ValueError(f"unknown argument {printable(option, 100)!r}; use it as: {_USAGE}")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else ""
        if not value:
            raise ValueError(f"{option} lacks its value, package.module:factory; as in: {_USAGE}")
        if found[option] is not None:
            raise ValueError(f"{option} is given twice; give it once")
        found[option] = value
    return found["--model"], found["--data"]


def _is_model(value: Any) -> bool:
    return all(callable(getattr(value, name, None)) for name in ("encode", "decode"))


def _name(spec: str) -> str:
    """As it may stand in an address or a file's name."""
    return printable(spec.strip().replace(":", "."))


def _run(
    model: Any, said: str, name: str, source: Path, images: Tensor | None, dataset: str
) -> ForeignRun:
    shapes = known_shapes() if images is None else [tuple(images.shape[1:])]
    sample = None if images is None else images[:N_IMAGES]
    found = adapt(model, said, shapes, sample, FORMAT)
    return ForeignRun(
        name, source, found.model.config, found.card, lambda: found.model, dataset=dataset
    )


def known_shapes() -> list[tuple[int, int, int]]:
    """Of the data sets there are, MNIST's first."""
    shapes = [datasets.describe("mnist").image_shape]
    for name in datasets.names():
        try:
            shapes.append(datasets.describe(name).image_shape)
        except datasets.DatasetError:  # removed at this moment
            pass
    return shapes
