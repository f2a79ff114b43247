"""A model of another library's or of a person's own, with the interface of `checkpoint.Run`."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from vae.analysis.embedding import Embedding
from vae.config import IMAGE, ForeignModel, ModelConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset
from vae.errors import UserError
from vae.formats.card import Build, Card, Choices, Fact, Recognised
from vae.formats.containers import tensors
from vae.formats.containers.tensors import Survey
from vae.formats.posterior import lacks_encoder
from vae.formats.refusal import OWN_CLASS, Refusal, Step
from vae.formats.shapes import text
from vae.inference.evidence import Evidence
from vae.names import printable
from vae.runs.checkpoint import CheckpointError

_kept = threading.local()  # .states: weights by path, while `weights_kept` lasts


@dataclass(frozen=True)
class ForeignTraining:
    """What is known of how it was trained: as much of `TrainConfig` as others ask for.

    Attributes:
        dataset: of images that it can read; "" if there is none.
        beta: the implied factor on the KL; 1 where none is known (`Card.implied_beta` says so).
        epochs: 0, as nothing is known of them.
    """

    dataset: str
    beta: float = 1.0
    epochs: int = 0

    @property
    def held_out_dataset(self) -> str:
        """The same: pixels are read as they are."""
        return self.dataset

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values that JSON can hold."""
        return {"dataset": self.dataset, "beta": self.beta}


@dataclass(frozen=True)
class ForeignRun:
    """An opened model: it is known what it is, and it is loaded on demand.

    Attributes:
        name: of the file or the folder that was opened, or of what makes the model.
        path: the file with the weights, or the source of the code that makes the model. Nothing is
            ever written beside it.
        model_config: the model's shape.
        card: how it was read.
        load: the model, on the CPU; raises CheckpointError.
        dataset: of images that belong to it; "" for those of its shape.
        more_files: that it consists of besides `path`.
        facts: what was inferred of it and could be otherwise.
        read_with: the same file, read with other values of some facts; None without facts.
        choices: the values that were chosen so.
    """

    name: str
    path: Path
    model_config: ForeignModel | ModelConfig
    card: Card
    load: Callable[[], VAE] = field(repr=False)
    dataset: str = ""
    more_files: tuple[Path, ...] = ()
    facts: tuple[Fact, ...] = ()
    read_with: Callable[[Choices], "ForeignRun"] | None = field(default=None, repr=False)
    choices: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_file(cls, name: str, survey: Survey, read: Recognised) -> Self:
        """The run of one file of tensors.

        Args:
            name: as the attribute.
            survey: of the file.
            read: what a reader made of it.
        """

        def read_with(choices: Choices) -> Self:
            assert read.choose is not None
            found = cls.of_file(name, survey, read.choose(choices))
            return replace(found, read_with=read_with, choices=tuple(sorted(choices.items())))

        return cls(
            name,
            survey.path,
            read.config,
            read.card,
            partial(_load, survey, read.config, read.build),
            more_files=survey.more_files,
            facts=read.facts,
            read_with=None if read.choose is None else read_with,
        )

    @property
    def offered(self) -> dict[str, tuple[str, ...]]:
        """What may be chosen: the values of each fact that has several."""
        return {fact.name: fact.values for fact in self.facts if len(fact.values) > 1}

    @property
    def train_config(self) -> ForeignTraining:
        """What is known of the training; its `dataset` is "" where no known one has such images."""
        beta = self.card.implied_beta
        return ForeignTraining(
            self.dataset or _dataset(self.model_config), 1.0 if beta is None else beta
        )

    def usual_dataset(self) -> str:
        """The data set that it can be shown on.

        Raises:
            CheckpointError: it reads images that no known data set has; the message asks for one.
        """
        if name := self.train_config.dataset:
            return name
        shape = self.model_config.image_shape
        if self.model_config.kind != IMAGE:
            raise Refusal(
                self.path,
                f"reads vectors of {shape[2]} numbers, and which data it was trained on is not "
                "known",
                "no known data set has so many columns",
                Step(
                    "add your own table (python -m vae data add)",
                    "python -m vae evaluate {path} --dataset NAME",
                    "add your own table on the Train page",
                ),
            )
        name = catalogue.nearest(shape)
        raise Refusal(
            self.path,
            f"reads images of {text(shape)}, and which data it was trained on is not known",
            "no known data set has that shape",
            Step(
                f"add your own (python -m vae data add), or have {name}, the nearest, resized",
                f"python -m vae evaluate {{path}} --dataset {name}",
                "choose data to be resized, or add your own on the Train page",
            ),
        )

    def bound(self, data: Dataset) -> Self:
        """The run with the columns of the data that it is shown, where it knows none of its own.

        Raises:
            DatasetError: they are not as many as it reads.
        """
        config = self.model_config
        if config.kind == IMAGE or config.features:
            return self
        config = replace(config, features=data.read_by(config).features)
        load = self.load

        def load_bound() -> VAE:
            model = load()
            model.config = config
            return model

        return replace(self, model_config=config, load=load_bound)

    def fingerprint(self) -> str:
        """SHA-256 of its file, or of all of them. Raises CheckpointError if one cannot be read."""
        digests = [tensors.sha256(path) for path in (self.path, *self.more_files)]
        joined = "".join(digests)
        return hashlib.sha256(joined.encode()).hexdigest() if self.more_files else joined

    def load_model(self) -> VAE:
        """The model with its weights, on the CPU.

        Raises:
            CheckpointError: the weights are damaged, not finite, or not those of the card.
        """
        return self.load()

    def load_metrics(self) -> list[dict[str, Any]]:
        """None: other libraries write theirs elsewhere."""
        return []

    def load_embedding(self, data_fingerprint: str | None = None) -> Embedding | None:
        """None: it is computed."""

    def load_evidence(
        self, dataset: str, split: str, data_fingerprint: str | None = None
    ) -> Evidence | None:
        """None: it is computed."""


@contextmanager
def weights_kept() -> Iterator[None]:
    """While this lasts, this thread reads the weights of a file once, however it is read."""
    _kept.states = {}
    try:
        yield
    finally:
        del _kept.states


def _weights(survey: Survey) -> dict[str, Tensor]:
    states = getattr(_kept, "states", None)
    if states is None:
        return survey.load()
    if survey.path not in states:
        states[survey.path] = survey.load()
    return states[survey.path]


def _load(survey: Survey, config: ForeignModel | ModelConfig, build: Build) -> VAE:
    state = _weights(survey)
    try:
        model = VAE.of_parts(config, *build(state)).eval()
        check(model, "cpu")
    except CheckpointError:
        raise
    except Exception as error:  # of shapes that a file can make up
        raise Refusal(
            survey.path, "has layers that do not fit each other", reason(error), OWN_CLASS
        ) from error
    return model


def check(model: VAE, device: str) -> None:
    """Raises UserError, or what torch raises, if the parts do not fit the config or each other."""
    model.check_footprint()
    config, trial = model.config, model.trial
    wanted, given = (1, config.latent_dim), model.given(0)
    encoded, decoded = trial.encoded, trial.decoded
    with torch.no_grad():  # networks that another program runs have no weights here, and no trial
        if decoded is None:
            decoded = given.decode(torch.zeros(wanted, device=device)).shape
        if not encoded and not lacks_encoder(model):
            x = torch.zeros(1, *config.image_shape, device=device)
            encoded = tuple(part.shape for part in given.encode(x))
    for shape in encoded:
        if tuple(shape) != wanted:
            raise UserError(f"its encoder gives {text(shape[1:])} numbers, not {wanted[1]}")
    if tuple(decoded[1:]) != config.image_shape:
        raise UserError(
            f"its decoder gives images of {text(decoded[1:])}, "
            f"but its encoder reads {text(config.image_shape)}"
        )


def reason(error: Exception) -> str:
    """The first line of what an exception says, fit for a sentence."""
    line = str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, KeyError):
        line = f"the tensor {line} is missing"
    return printable(line[:200])


def _dataset(model: ForeignModel | ModelConfig) -> str:
    """The data set that such a model was most likely trained on; "" if there is none."""
    image_shape = model.image_shape
    if model.kind != IMAGE:
        return next(iter(catalogue.names_for(model)), "")
    if image_shape in ((1, 28, 28), (1, 32, 32)):
        return "mnist"  # 32 x 32 is what MNIST is resized to
    return next(iter(catalogue.names_of_shape(image_shape)), "")
