"""ModelConfig and TrainConfig: what a model is, how it is trained; checked where they are made."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

FAMILIES = ("mlp", "conv")
ACTIVATIONS = ("gelu", "relu", "silu", "tanh")
LIKELIHOODS = ("bernoulli", "continuous-bernoulli", "gaussian")
SCHEDULES = ("one-cycle", "cosine", "constant")
BINARISE = ("off", "input", "all")
PRECISIONS = ("float32", "bfloat16")

# Behind a data set's name: its pixels as 0 or 1, drawn once with their grey level as probability.
BINARISED = "-binarised"

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
        object.__setattr__(self, "image_shape", _image_shape(self.image_shape))
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
class ForeignModel:
    """The shape of a VAE that another library made: what is known of it without its weights.

    Attributes:
        image_shape: (C, H, W) of one image; C is 1 or 3.
        latent_dim: k, the dimension of z.
        likelihood: p(x|z), one of LIKELIHOODS.
        family: whose network it is, in words: "pythae MLP".
        hidden: widths or channels of the encoder's layers from the image inwards.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int
    likelihood: str
    family: str
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_shape", _image_shape(self.image_shape))
        _integer("latent_dim", self.latent_dim, minimum=1, maximum=MAX_LATENT_DIM)
        _choice("likelihood", self.likelihood, LIKELIHOODS)
        if not isinstance(self.family, str) or not self.family:
            raise ConfigError(f"family (={_brief(self.family)}) must be a name")
        hidden = _integers("hidden", self.hidden, minimum=1, maximum=MAX_WIDTH)
        object.__setattr__(self, "hidden", hidden)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values that JSON can hold."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class TrainConfig:
    """How a VAE is trained.

    The loss of an image is recon + weight * kl, in nats, where the weight climbs linearly from 0
    to beta over the first `kl_warmup` of all steps (Sonderby et al., 2016): without that climb a
    deep model with few latent dimensions tends to give them up in its first epochs.

    Attributes:
        dataset: a name that `vae.datasets.names` has, or had.
        epochs: passes over the training images.
        batch_size: images per step, over all processes together.
        learning_rate: Adam's; the highest one for the "one-cycle" schedule (Smith, 2018), the
            first one for "cosine".
        schedule: one of SCHEDULES.
        beta: final weight of the KL term (Higgins et al., 2017); 1 is the evidence lower bound,
            0 leaves nothing but reconstruction.
        kl_warmup: share of all steps over which the weight climbs to beta, 0 to 1.
        free_bits: nats of KL that each latent dimension has for nothing: below them, averaged
            over the batch, its KL is not pushed down (Kingma et al., 2016, equation 15).
        binarise: what has its pixels drawn anew as 0 or 1 each time an image is read, with their
            grey level as the probability of 1: "off", nothing; "input", what the encoder reads,
            while the decoder is held against the grey image (the expected loss is the same, and
            the noise keeps a large encoder from fitting each training image); "all", both:
            dynamic binarisation, with the held-out images drawn once.
        max_grad_norm: a longer gradient is cut to that length; 0 leaves all as they are.
        weight_average: decay per step of a running average of the weights, which is then what is
            evaluated and kept; 0 keeps the last weights.
        patience: epochs without a better held-out bound after which training ends, and the best
            weights are kept; 0 trains to the end and keeps the last.
        precision: of the matrix products, one of PRECISIONS; weights, terms and sums are always
            float32.
        seed: of the initial weights, the order of the images and every draw.

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
    free_bits: float = 0.0
    binarise: str = "off"
    max_grad_norm: float = 0.0
    weight_average: float = 0.0
    patience: int = 0
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.dataset, str) or not self.dataset:
            raise ConfigError(f"dataset (={_brief(self.dataset)}) must be the name of a data set")
        _integer("epochs", self.epochs, minimum=1, maximum=1_000_000)
        _integer("batch_size", self.batch_size, minimum=1, maximum=1_000_000)
        if not 0 < _number("learning_rate", self.learning_rate) <= 1e6:
            raise ConfigError(
                f"learning_rate (={_brief(self.learning_rate)}) must be above 0 and at most 1000000"
            )
        _choice("schedule", self.schedule, SCHEDULES)
        _within("beta", self.beta, 0, 1e6)
        _within("kl_warmup", self.kl_warmup, 0, 1)
        _within("free_bits", self.free_bits, 0, 1e6)
        _choice("binarise", self.binarise, BINARISE)
        _within("max_grad_norm", self.max_grad_norm, 0, 1e9)
        if _within("weight_average", self.weight_average, 0, 1) == 1:
            raise ConfigError("weight_average (=1) must be below 1")
        _integer("patience", self.patience, minimum=0, maximum=1_000_000)
        _choice("precision", self.precision, PRECISIONS)
        _integer("seed", self.seed, minimum=0, maximum=2**63 - 1)

    @property
    def held_out_dataset(self) -> str:
        """The data set as `vae.datasets.load` knows it: with its pixels drawn, if they were."""
        name = self.dataset.removesuffix(BINARISED)
        return name + BINARISED if self.binarise == "all" else self.dataset

    to_dict = ModelConfig.to_dict
    from_dict = classmethod(ModelConfig.from_dict.__func__)


@dataclass(frozen=True)
class Preset:
    """Settings for a purpose, of which every one can still be changed.

    Attributes:
        summary: what it costs.
        note: what it is, what it costs and what it reaches.
        hidden, conv: layers for the families "mlp" and "conv".
        n_images: training images read in all, each epoch anew, of a large data set.
        n_steps: steps in all for a small one.
        train: other settings of TrainConfig.
    """

    summary: str
    note: str
    hidden: tuple[int, ...]
    conv: tuple[int, ...]
    n_images: int
    n_steps: int
    train: dict[str, Any]


PRESETS = {
    "quick": Preset(
        "40 s",
        "MLP 512-256-128 and 18 passes over MNIST: 40 s on two cores, a held-out -ELBO of 137.4 "
        "nats. Small data sets: 4,500 steps.",
        hidden=(512, 256, 128),
        conv=(32, 64),
        n_images=1_080_000,
        n_steps=4500,
        train={"batch_size": 256, "learning_rate": 2e-3, "max_grad_norm": 1000.0},
    ),
    "standard": Preset(
        "3 min",
        "MLP 1024-512-256 and 60 passes over MNIST: 3 minutes on two cores, 132.8 nats. Small data "
        "sets: 9,000 steps.",
        hidden=(1024, 512, 256),
        conv=(32, 64),
        n_images=3_600_000,
        n_steps=9000,
        train={"batch_size": 512, "learning_rate": 2e-3, "max_grad_norm": 1000.0},
    ),
    "best": Preset(
        "18 min",
        "The same network and 320 passes over MNIST, the encoder reading pixels drawn as 0 or 1: "
        "18 minutes on two cores, 129.2 nats. Small data sets: 18,000 steps.",
        hidden=(1024, 512, 256),
        conv=(32, 64, 128),
        n_images=19_200_000,
        n_steps=18000,
        train={
            "batch_size": 512,
            "learning_rate": 2e-3,
            "binarise": "input",
            "max_grad_norm": 1000.0,
        },
    ),
}
# Below so many training images a data set is small: it is read many times over, in small batches.
_SMALL = 20_000
_SMALL_BATCH = 64


def preset(
    name: str, n_train: int, family: str = "mlp", batch_size: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a preset for a data set of that size: for ModelConfig, and for TrainConfig.

    Args:
        name: a key of PRESETS.
        n_train: training images.
        family: of the network.
        batch_size: another one than the preset's; as many images are read.

    Raises:
        ConfigError: no such preset.
    """
    _choice("preset", name, tuple(PRESETS))
    found, small = PRESETS[name], is_small(n_train)
    batch = _SMALL_BATCH if small else found.train["batch_size"]
    n_images = found.n_steps * batch if small else found.n_images
    hidden = found.conv if family == "conv" else (256, 256, 128) if small else found.hidden
    train = found.train | {
        "batch_size": batch if batch_size is None else batch_size,
        "epochs": max(1, min(1000, round(n_images / n_train))),
        # Small layers spend longer on the conversions than they save.
        "precision": "float32" if small else "auto",
    }
    return {"family": family, "hidden": hidden}, train


def is_small(n_train: int) -> bool:
    """Whether presets count steps for a data set of so many training images, and not passes."""
    return n_train < _SMALL


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


def _image_shape(value: Any) -> tuple[int, int, int]:
    shape = _integers("image_shape", value, minimum=1, maximum=MAX_SIDE)
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ConfigError(
            f"image_shape (={_brief(shape)}) must be (channels, height, width) with 1 or 3 channels"
        )
    return shape


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} (={_brief(value)}) must be a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} (={value}) must be finite")
    return value


def _within(name: str, value: Any, minimum: float, maximum: float) -> float:
    if not minimum <= _number(name, value) <= maximum:
        raise ConfigError(f"{name} (={_brief(value)}) must be from {minimum:g} to {maximum:g}")
    return value


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} (={_brief(value)}) must be one of: {', '.join(choices)}")
