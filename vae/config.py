"""ModelConfig and TrainConfig: what a model is, how it is trained; checked where they are made."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

FAMILIES = ("mlp", "conv")
ACTIVATIONS = ("gelu", "relu", "silu", "tanh")
LIKELIHOODS = ("bernoulli", "continuous-bernoulli", "gaussian")
SCHEDULES = ("one-cycle", "constant")

# Upper bounds keep a damaged or hostile config.json from asking for more than a machine has; they
# are far above anything the app can show.
MAX_SIDE = 1024
MAX_LATENT_DIM = 1024
MAX_WIDTH = 16384
MAX_DEPTH = 16


class ConfigError(ValueError):
    """A setting has a value that cannot be used; the message names it, its value and the range."""


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a VAE: everything needed to build it, nothing about its weights.

    Attributes:
        image_shape: (C, H, W) of one image; C is 1 or 3.
        latent_dim: k, the dimension of z.
        family: "mlp" or "conv".
        hidden: encoder sizes from the image inwards, mirrored by the decoder. Widths of the
            hidden layers for "mlp" (empty: a linear VAE); channels of the stride-2 stages for
            "conv".
        activation: one of ACTIVATIONS.
        likelihood: p(x|z), one of LIKELIHOODS.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int = 2
    family: str = "mlp"
    hidden: tuple[int, ...] = (256, 256, 128)
    activation: str = "gelu"
    likelihood: str = "bernoulli"

    def __post_init__(self) -> None:
        shape = _integers("image_shape", self.image_shape, minimum=1, maximum=MAX_SIDE)
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise ConfigError(
                f"image_shape (={_brief(shape)}) must be (channels, height, width) "
                "with 1 or 3 channels"
            )
        object.__setattr__(self, "image_shape", shape)
        _integer("latent_dim", self.latent_dim, minimum=1, maximum=MAX_LATENT_DIM)
        _choice("family", self.family, FAMILIES)
        hidden = _integers("hidden", self.hidden, minimum=1, maximum=MAX_WIDTH)
        if len(hidden) > MAX_DEPTH:
            raise ConfigError(f"hidden has {len(hidden)} layers; it must have at most {MAX_DEPTH}")
        if self.family == "conv" and not hidden:
            raise ConfigError("hidden (=()) must name at least one stage for family 'conv'")
        object.__setattr__(self, "hidden", hidden)
        _choice("activation", self.activation, ACTIVATIONS)
        _choice("likelihood", self.likelihood, LIKELIHOODS)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Builds the config from what `to_dict` gave.

        Raises:
            ConfigError: a setting is missing, unknown or has an unusable value.
        """
        return _from_dict(cls, values)


@dataclass(frozen=True)
class TrainConfig:
    """How a VAE is trained.

    The loss of an image is recon + weight * kl, in nats, where the weight climbs linearly from 0
    to beta over the first `kl_warmup` of all steps (Sonderby et al., 2016): without that climb a
    deep model with few latent dimensions tends to give them up in its first epochs.

    Attributes:
        dataset: a name in `vae.datasets.NAMES`.
        epochs: passes over the training images.
        batch_size: images per step.
        learning_rate: Adam's; the highest one for the "one-cycle" schedule (Smith, 2018).
        schedule: one of SCHEDULES.
        beta: final weight of the KL term (Higgins et al., 2017); 1 is the evidence lower bound.
        kl_warmup: share of all steps over which the weight climbs to beta, 0 to 1.
        seed: of the initial weights, the order of the images and every epsilon.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    dataset: str
    epochs: int
    batch_size: int = 64
    learning_rate: float = 2e-3
    schedule: str = "one-cycle"
    beta: float = 1.0
    kl_warmup: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.dataset, str) or not self.dataset:
            raise ConfigError(f"dataset (={_brief(self.dataset)}) must be the name of a data set")
        _integer("epochs", self.epochs, minimum=1, maximum=1_000_000)
        _integer("batch_size", self.batch_size, minimum=1, maximum=1_000_000)
        _positive("learning_rate", self.learning_rate)
        _choice("schedule", self.schedule, SCHEDULES)
        _positive("beta", self.beta)
        if not 0 <= _number("kl_warmup", self.kl_warmup) <= 1:
            raise ConfigError(f"kl_warmup (={_brief(self.kl_warmup)}) must be from 0 to 1")
        _integer("seed", self.seed, minimum=0, maximum=2**63 - 1)

    to_dict = ModelConfig.to_dict
    from_dict = classmethod(ModelConfig.from_dict.__func__)


def usual_hidden(family: str) -> tuple[int, ...]:
    """The layers that a model of that family gets when nobody chose any."""
    return (32, 64) if family == "conv" else ModelConfig.hidden


def parse_hidden(text: str) -> tuple[int, ...]:
    """Layers as a person types them, "256,128"; empty text is no layer.

    Raises:
        ConfigError: a part is not a whole number.
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(
            f"hidden (={_brief(text)}) must be whole numbers separated by commas, as in 256,128"
        ) from None


def usual_epochs(n_images: int, batch_size: int = 64) -> int:
    """Epochs that make about 4,500 steps: enough for the sets here, under a minute on two cores."""
    return max(3, min(200, round(4500 * batch_size / n_images)))


def _from_dict(cls: type, values: Any) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{cls.__name__} must be a JSON object, not {_brief(values)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - set(fields), key=_brief):
        raise ConfigError(f"{cls.__name__} has no setting {_brief(unknown[0])}")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in values:
            raise ConfigError(f"{cls.__name__} lacks the setting '{name}'")
    return cls(**values)


def _brief(value: Any) -> str:
    """A value as it may stand in a message: a file can hold anything, a sentence cannot."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python prints neither 5,000 digits nor 1,000 brackets
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _integer(name: str, value: Any, minimum: int, maximum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} (={_brief(value)}) must be a whole number")
    if value < minimum:
        raise ConfigError(f"{name} (={_brief(value)}) must be at least {minimum}")
    if value > maximum:
        raise ConfigError(f"{name} (={_brief(value)}) must be at most {maximum}")
    return value


def _integers(name: str, values: Any, minimum: int, maximum: int) -> tuple[int, ...]:
    if not isinstance(values, list | tuple):
        raise ConfigError(f"{name} (={_brief(values)}) must be a list of whole numbers")
    return tuple(_integer(f"{name}[{i}]", v, minimum, maximum) for i, v in enumerate(values))


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} (={_brief(value)}) must be a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} (={value}) must be finite")
    return value


def _positive(name: str, value: Any) -> None:
    if not 0 < _number(name, value) <= 1e6:
        raise ConfigError(f"{name} (={_brief(value)}) must be above 0 and at most 1000000")


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} (={_brief(value)}) must be one of: {', '.join(choices)}")
