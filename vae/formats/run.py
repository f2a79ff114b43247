"""A model of another library's or of a person's own, with the interface of `vae.checkpoint.Run`."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch

from vae import datasets
from vae.checkpoint import CheckpointError
from vae.config import ForeignModel, ModelConfig
from vae.embedding import Embedding
from vae.evidence import Evidence
from vae.formats import tensors
from vae.formats.card import Build, Card
from vae.formats.shapes import text
from vae.formats.tensors import Survey
from vae.model import VAE


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
    """

    name: str
    path: Path
    model_config: ForeignModel | ModelConfig
    card: Card
    load: Callable[[], VAE] = field(repr=False)
    dataset: str = ""
    more_files: tuple[Path, ...] = ()

    @classmethod
    def of_file(
        cls,
        name: str,
        survey: Survey,
        config: ForeignModel | ModelConfig,
        card: Card,
        build: Build,
    ) -> Self:
        """The run of one file of tensors.

        Args:
            name, config, card: as the attributes.
            survey: of the file.
            build: encoder, decoder and likelihood out of its tensors.
        """
        return cls(name, survey.path, config, card, partial(_load, survey, config, build))

    @property
    def train_config(self) -> ForeignTraining:
        """What is known of the training; its `dataset` is "" where no known one has such images."""
        beta = self.card.implied_beta
        return ForeignTraining(
            self.dataset or _dataset(self.model_config.image_shape), 1.0 if beta is None else beta
        )

    def usual_dataset(self) -> str:
        """The data set that it can be shown on.

        Raises:
            CheckpointError: it reads images that no known data set has; the message asks for one.
        """
        if name := self.train_config.dataset:
            return name
        raise CheckpointError(
            f"{self.path} reads images of {text(self.model_config.image_shape)}, and which data it "
            "was trained on is not known; name a data set with --dataset"
        )

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

    def load_embedding(self) -> Embedding | None:
        """None: it is computed."""

    def load_evidence(self, dataset: str, split: str) -> Evidence | None:
        """None: it is computed."""


def _load(survey: Survey, config: ForeignModel | ModelConfig, build: Build) -> VAE:
    state = survey.load()
    try:
        model = VAE.of_parts(config, *build(state)).eval()
        check(model, "cpu")
    except CheckpointError:
        raise
    except Exception as error:  # of shapes that a file can make up
        raise CheckpointError(
            f"{tensors.printable(str(survey.path), 300)}: {reason(error)}"
        ) from error
    return model


def check(model: VAE, device: str) -> None:
    """Raises ValueError, or what torch raises, if the parts do not fit the config or each other."""
    config = model.config
    with torch.no_grad():
        mu, logvar = model.encode(torch.zeros(1, *config.image_shape, device=device))
        out = model.decode(torch.zeros(1, config.latent_dim, device=device))
    wanted = (1, config.latent_dim)
    if tuple(mu.shape) != wanted or tuple(logvar.shape) != wanted:
        raise ValueError(f"its encoder gives {text(mu.shape[1:])} numbers, not {wanted[1]}")
    if tuple(out.shape[1:]) != config.image_shape:
        raise ValueError(
            f"its decoder gives images of {text(out.shape[1:])}, "
            f"but its encoder reads {text(config.image_shape)}"
        )


def reason(error: Exception) -> str:
    """The first line of what an exception says, fit for a sentence."""
    line = str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, KeyError):
        line = f"the tensor {line} is missing"
    return "".join(c if c.isprintable() else "?" for c in line[:200])


def _dataset(image_shape: tuple[int, int, int]) -> str:
    """The data set that such a model was most likely trained on; "" if there is none."""
    if image_shape in ((1, 28, 28), (1, 32, 32)):
        return "mnist"  # 32 x 32 is what MNIST is resized to
    return next(iter(datasets.names_of_shape(image_shape)), "")
