"""What a reader inferred of another library's checkpoint: said to people, and to programs."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from vae.config import ForeignModel, ModelConfig
from vae.core.likelihood import Likelihood
from vae.features import READINGS
from vae.formats.wording import nats

BERNOULLI = "Bernoulli on logits: the final sigmoid is part of it"
UNIT_GAUSSIAN = "Gaussian of variance 1: half the squared error, and a constant"


# How a fact is known.
FILE, SIZES, NAMES, DATA = "from the file", "by the sizes", "by the names", "by the data"
ASSUMED, CHOSEN = "assumed", "chosen"
SIZE = "image size"  # the one fact on which the data hang
ALIKE = 0.5  # nats per image between values that the data cannot tell apart


@dataclass(frozen=True)
class Fact:
    """One thing that was inferred of a checkpoint, and that could be otherwise.

    Attributes:
        name: what is asked, in the field's words: "hidden activation", "second head", "input".
        value: what was taken, one of `values`: "ReLU", "log variance", "[0, 1]".
        known: how: FILE, SIZES, NAMES, DATA, ASSUMED or CHOSEN.
        values: all that it may be, to choose from; only `value` where nothing else can be.
        margin: by how much -ELBO, in nats per image, the best of the other `values` is worse on the
            data that were looked at, below 0 where it is better; None where nothing was compared.
    """

    name: str
    value: str
    known: str
    values: tuple[str, ...] = ()
    margin: float | None = None

    @property
    def how(self) -> str:
        """How it is known, in words: "by the data, better by 12.30 nats per image"."""
        if self.margin is None:
            return self.known
        by = f"{nats(abs(self.margin))} nats per image"
        if abs(self.margin) < ALIKE and self.known != DATA:
            return f"{self.known}; the data cannot tell, {by} apart from another"
        if self.margin < 0:
            return f"{self.known}; another is better by {by}"
        return f"{self.known}, better by {by}"


@dataclass(frozen=True)
class Card:
    """How a checkpoint was read.

    Attributes:
        format: the library whose layout it has.
        model: the kind of model, in that library's word.
        network: its layers, briefly.
        latent_dim: k.
        image_shape: (C, H, W) of what it reads.
        likelihood: the p(x|z) that is used here, and why.
        trained_with: its training loss, in that library's units.
        factors: what that loss comes to per image in nats: term -> factor, reconstruction 1. None
            where it is not known, or not a number.
        implied_beta: the factor on the KL; None where it is not known or there is no single one.
        notes: what the file does not say and was assumed, and what else to know.
        pixels: the range in which it reads them; ours, [0, 1], are brought there inside it.
        no_encoder: of a decoder alone, what stands in place of q; empty where there is an encoder.
        missing: the names of weights that are not read here though the model seems to use them.
    """

    format: str
    model: str
    network: str
    latent_dim: int
    image_shape: tuple[int, int, int]
    likelihood: str
    trained_with: str
    factors: dict[str, float | None]
    implied_beta: float | None = None
    notes: tuple[str, ...] = ()
    pixels: str = "[0, 1]"
    no_encoder: str = ""
    missing: tuple[str, ...] = ()

    @property
    def beta(self) -> str:
        """The implied beta in words."""
        return "not known" if self.implied_beta is None else f"{self.implied_beta:g}"

    def sentence(self) -> str:
        """The units and the loss in one line."""
        return f"KL in nats per image; trained with {self.trained_with}; implied beta {self.beta}"

    def facts(self) -> dict[str, str]:
        """What to show, as label -> text."""
        facts = {
            "format": f"{self.format}, {self.model}",
            "network": self.network,
            "latent": f"k = {self.latent_dim}",
            ("gives" if self.no_encoder else "reads"): (
                f"{self.image_shape[2]} numbers, {self.pixels}"
                if self.pixels in READINGS
                else f"{'x'.join(map(str, self.image_shape))}, pixels in {self.pixels}"
            ),
            "p(x|z)": self.likelihood,
            "trained with": self.trained_with,
            "implied β": self.beta,
        }
        if self.no_encoder:
            facts["q(z|x)"] = self.no_encoder
        return facts | {f"note {n}": note for n, note in enumerate(self.notes, start=1)}

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold, the sentence included."""
        values = asdict(self)
        values |= {
            "image_shape": list(self.image_shape),
            "notes": list(self.notes),
            "missing": list(self.missing),
        }
        return values | {"sentence": self.sentence()}


Choices = Mapping[str, str]  # the value of a fact, by its name
Parts = tuple[nn.Module, nn.Module, Likelihood]
Build = Callable[[dict[str, Tensor]], Parts]


@dataclass(frozen=True)
class Recognised:
    """A checkpoint that a reader knows.

    Attributes:
        config: the model's shape.
        card: how it was read.
        build: encoder, decoder and likelihood out of the tensors; on the meta device, too.
        facts: what was inferred and could be otherwise; empty where the layout leaves no choice.
        choose: the same checkpoint read with other values of some facts, by their names; what it
            is not given stays as it was taken. None without facts.
    """

    config: ForeignModel | ModelConfig
    card: Card
    build: Build
    facts: tuple[Fact, ...] = ()
    choose: "Callable[[Choices], Recognised] | None" = None
