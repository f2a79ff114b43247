"""What a reader inferred of another library's checkpoint: said to people, and to programs."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from vae.config import ForeignModel, ModelConfig

BERNOULLI = "Bernoulli on logits: the final sigmoid is part of it"
UNIT_GAUSSIAN = "Gaussian of variance 1: half the squared error, and a constant"


@dataclass(frozen=True)
class Card:
    """How a checkpoint was read.

    Attributes:
        format: the library whose layout it has.
        model: the kind of model, in that library's word.
        network: its layers, briefly.
        latent_dim: k.
        image_shape: (C, H, W) of what it reads.
        pixels: the range in which it reads them; ours, [0, 1], are brought there inside it.
        likelihood: the p(x|z) that is used here, and why.
        trained_with: its training loss, in that library's units.
        factors: what that loss comes to per image in nats: term -> factor, reconstruction 1. None
            where it is not known, or not a number.
        implied_beta: the factor on the KL; None where it is not known or there is no single one.
        notes: what the file does not say and was assumed, and what else to know.
    """

    format: str
    model: str
    network: str
    latent_dim: int
    image_shape: tuple[int, int, int]
    pixels: str
    likelihood: str
    trained_with: str
    factors: dict[str, float | None]
    implied_beta: float | None
    notes: tuple[str, ...] = ()

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
            "reads": f"{'x'.join(map(str, self.image_shape))}, pixels in {self.pixels}",
            "p(x|z)": self.likelihood,
            "trained with": self.trained_with,
            "implied β": self.beta,
        }
        return facts | {f"note {n}": note for n, note in enumerate(self.notes, start=1)}

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold, the sentence included."""
        values = asdict(self)
        values |= {"image_shape": list(self.image_shape), "notes": list(self.notes)}
        return values | {"sentence": self.sentence()}


Parts = tuple[nn.Module, nn.Module, nn.Module]
Build = Callable[[dict[str, Tensor]], Parts]


@dataclass(frozen=True)
class Recognised:
    """A checkpoint that a reader knows.

    Attributes:
        config: the model's shape.
        card: how it was read.
        build: encoder, decoder and likelihood out of the tensors; on the meta device, too.
    """

    config: ForeignModel | ModelConfig
    card: Card
    build: Build
