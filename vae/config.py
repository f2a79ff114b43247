"""ModelConfig and TrainConfig: what a model is, how it is trained; checked where they are made.

A setting is written once, as a field with a `Setting` in its metadata: the check of its value, its
place in the Train form, its option on the command line and the text of `python -m vae train --help`
are all made from that.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

from vae.errors import UserError
from vae.features import BINARY, COUNT, READINGS, Feature, from_dicts

DATA_KINDS = IMAGE, SERIES, VECTOR = "image", "series", "vector"
FAMILIES = ("mlp", "conv")
ACTIVATIONS = ("gelu", "relu", "silu", "tanh")
LIKELIHOODS = ("bernoulli", "continuous-bernoulli", "gaussian")  # of a pixel
MIXED = "mixed"
# Of a number of a vector or a series; mixed takes each feature's by its kind.
MEASURED_LIKELIHOODS = (
    *("gaussian", "gaussian-per-feature", "bernoulli", "poisson", "negative-binomial"),
    MIXED,
)
SCHEDULES = ("one-cycle", "cosine", "constant")
BINARISE = ("off", "input", "all")
PRECISIONS = ("float32", "bfloat16")
CONDITIONS = ("none", "label")
LAYERS, LATTICE = ENCODERS = ("layers", "lattice")
ELBO, IWAE, EVIDENCE, BEST = OBJECTIVES = ("elbo", "iwae", "evidence", "best")

# Behind a data set's name: its pixels as 0 or 1, drawn once with their grey level as probability.
BINARISED = "-binarised"

# Upper bounds keep a damaged or hostile config.json from asking for more than a machine has; they
# are far above anything the app can show.
MAX_SIDE = 1024
MAX_NUMBERS = 2**20  # of one image: 3 x 512 x 512 has fewer
MAX_FEATURES = 10_000  # of a vector, or points in time of a series
MAX_CHANNELS = 64  # of a series
MAX_CLASSES = 1000  # of a condition
MAX_LATENT_DIM = 1024
MAX_WIDTH = 16384
MAX_DEPTH = 16

GROUPS = ("Run", "Network and likelihood", "Optimisation")  # of settings, as a person meets them
_SETTING = "setting"


class ConfigError(UserError):
    """A setting has a value that cannot be used; the message names it, its value and the range."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of a setting besides its name and its default.

    Attributes:
        help: what it means, as one or more sentences.
        label: of its field in the form.
        group: one of GROUPS.
        kind: int, float or str; tuple for a list of whole numbers.
        minimum, maximum: the range of a number, or of each in a list, both ends included.
        above, below: the minimum, or the maximum, is itself not allowed.
        choices: the words that it can be; empty for any word.
        extra: words that a person may give, too, and that are settled before a config is made.
        unit: of a number.
        step: of the field in the form; a step below 0.01 shows as many digits and one more.
        sweeps: whether the form takes several values, for one run each.
    """

    help: str
    label: str = ""
    group: str = GROUPS[0]
    kind: type = str
    minimum: float = 0
    maximum: float = math.inf
    above: bool = False
    below: bool = False
    choices: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    unit: str = ""
    step: float | None = None
    sweeps: bool = False

    @property
    def range(self) -> str:
        """What its value must be, in words; empty for any word."""
        if self.kind is str:
            words = (*self.choices, *self.extra)
            return f"one of: {', '.join(words)}" if words else ""
        low, high = _digits(self.minimum), _digits(self.maximum)
        if not (self.above or self.below):
            return f"from {low} to {high}"
        start = f"above {low}" if self.above else f"at least {low}"
        return f"{start} and {'below' if self.below else 'at most'} {high}"

    @property
    def text(self) -> str:
        """What it means, its unit and its range, for a person; without a bound far from any use."""
        low = "Above" if self.above else "At least"
        is_open = self.kind is not str and self.maximum >= 1e6
        range_ = f"{low} {_digits(self.minimum)}" if is_open else self.range
        parts = [self.help, self.unit, range_]
        return " ".join(f"{part[0].upper()}{part[1:].rstrip('.')}." for part in parts if part)

    def check(self, name: str, value: Any) -> Any:
        """The value as the config keeps it.

        Raises:
            ConfigError: it is of the wrong type or out of range.
        """
        if self.kind is tuple:
            return _integers(name, value, int(self.minimum), int(self.maximum))
        if self.kind is int:
            return _integer(name, value, int(self.minimum), int(self.maximum))
        if self.kind is float:
            is_inside = self.minimum <= _number(name, value) <= self.maximum
            at_end = (self.above and value == self.minimum) or (
                self.below and value == self.maximum
            )
            if not is_inside or at_end:
                raise ConfigError(f"{name} (={brief(value)}) must be {self.range}")
        elif self.choices:
            check_choice(name, value, self.choices)
        elif not isinstance(value, str) or not value:
            raise ConfigError(f"{name} (={brief(value)}) must be a name")
        return value


def settings(config: type) -> dict[str, Setting]:
    """The settings of ModelConfig or TrainConfig that a person chooses, by name."""
    return {f.name: f.metadata[_SETTING] for f in dataclasses.fields(config) if f.metadata}


def _setting(default: Any, help_: str, **known: Any) -> Any:
    """A field of a config, with what is known of it."""
    return dataclasses.field(default=default, metadata={_SETTING: Setting(help=help_, **known)})


def _check_settings(config: Any) -> None:
    for name, setting in settings(type(config)).items():
        object.__setattr__(config, name, setting.check(name, getattr(config, name)))


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a VAE: everything needed to build it, nothing about its weights.

    Attributes:
        image_shape: (C, H, W) of one image; C is 1 or 3.
        n_classes: of the label that encoder and decoder are given; 0 for a model without a
            condition. A training job sets it, by `TrainConfig.condition`.
        kind: what one point is, of DATA_KINDS. A vector's shape is (1, 1, features), that of a
            series (channels, 1, length).
        features: of a vector's numbers or a series' channels, with the standardisation that the
            model reads them by; none of an image.
        encoder: of ENCODERS: of trained layers, or the one that `vae.core.lattice_encoder` makes
            of the decoder.

    The others say in their metadata what they are (`settings`).

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int = _setting(
        2,
        "Dimensions of z.",
        label="Dimensions k",
        kind=int,
        minimum=1,
        maximum=MAX_LATENT_DIM,
        sweeps=True,
    )
    family: str = _setting(
        "mlp",
        "Of fully connected or of convolutional layers.",
        label="Network",
        group=GROUPS[1],
        choices=FAMILIES,
    )
    hidden: tuple[int, ...] = _setting(
        (256, 256, 128),
        "The encoder's layers from the image inwards; the decoder mirrors them. Widths for "
        "mlp (none: a linear VAE), channels of the stride-2 stages for conv.",
        label="Layers",
        group=GROUPS[1],
        kind=tuple,
        minimum=1,
        maximum=MAX_WIDTH,
    )
    activation: str = _setting(
        "gelu",
        "Behind each hidden layer.",
        label="Activation",
        group=GROUPS[1],
        choices=ACTIVATIONS,
    )
    likelihood: str = _setting(
        "bernoulli",
        "Of a pixel, given z: bernoulli, continuous-bernoulli or gaussian. Of a number of a "
        "vector or a series: any but continuous-bernoulli; mixed is each feature's own, by its "
        "kind.",
        label="Likelihood p(x|z)",
        group=GROUPS[1],
        choices=tuple(dict.fromkeys([*LIKELIHOODS, *MEASURED_LIKELIHOODS])),
    )
    n_classes: int = 0
    kind: str = IMAGE
    features: tuple[Feature, ...] = ()
    encoder: str = LAYERS

    def __post_init__(self) -> None:
        _integer("n_classes", self.n_classes, 0, MAX_CLASSES)
        _check_settings(self)
        _check_kind(self)
        check_choice("encoder", self.encoder, ENCODERS)
        if self.encoder == LATTICE and (
            self.latent_dim > 2 or self.n_classes or self.kind != IMAGE
        ):
            raise ConfigError(
                "encoder (=lattice) is of images, of 1 or 2 latent dimensions and no condition"
            )
        if len(self.hidden) > MAX_DEPTH:
            n = len(self.hidden)
            raise ConfigError(f"hidden has {n} layers; it must have at most {MAX_DEPTH}")
        if self.family == "conv" and self.kind == VECTOR:
            raise ConfigError("family (=conv) is of images and series; take mlp for vectors")
        if self.family == "conv" and not self.hidden:
            raise ConfigError("hidden (=()) must name at least one stage for family 'conv'")

    @property
    def network(self) -> str:
        """Its layers in a few words."""
        if self.encoder == LATTICE:
            widths = "-".join(map(str, reversed(self.hidden))) or "linear"
            return f"lattice encoder, {self.family} decoder {widths}"
        return f"{self.family} {'-'.join(map(str, self.hidden)) or 'linear'}"

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values that JSON can hold."""
        return _plain(self)

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
        n_classes: of the label that encoder and decoder are given; 0 for a model without a
            condition.
        kind, features: as in `ModelConfig`; no features of vectors whose columns are not known.
        reads: how such a model reads the columns that it is shown, one of `features.READINGS`.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int
    likelihood: str
    family: str
    hidden: tuple[int, ...] = ()
    n_classes: int = 0
    kind: str = IMAGE
    features: tuple[Feature, ...] = ()
    reads: str = ""

    def __post_init__(self) -> None:
        _integer("n_classes", self.n_classes, 0, MAX_CLASSES)
        if self.reads:
            check_choice("reads", self.reads, READINGS)
        Setting(help="").check("family", self.family)  # any word
        ours = settings(ModelConfig)
        for name in ("latent_dim", "likelihood", "hidden"):
            object.__setattr__(self, name, ours[name].check(name, getattr(self, name)))
        _check_kind(self)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values that JSON can hold."""
        return _plain(self)


@dataclass(frozen=True)
class TrainConfig:
    """How a VAE is trained; the fields say in their metadata what they are (`settings`).

    The loss of an image is recon + weight * kl, in nats, or another `objective`. The weight climbs
    linearly from 0 to beta over the first `kl_warmup` of all steps (Sonderby et al., 2016): without
    that climb a deep model with few latent dimensions tends to give them up in its first epochs.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    dataset: str = _setting(
        dataclasses.MISSING,
        "What is learnt: a name that `vae.data.catalogue.names` has, or had.",
        label="Data",
    )
    epochs: int = _setting(
        dataclasses.MISSING,
        "Passes over the training images.",
        label="Epochs",
        kind=int,
        minimum=1,
        maximum=1_000_000,
        step=1,
    )
    batch_size: int = _setting(
        64,
        "Images per step, over all processes together.",
        label="Batch",
        group=GROUPS[2],
        kind=int,
        minimum=1,
        maximum=1_000_000,
        step=16,
    )
    learning_rate: float = _setting(
        2e-3,
        # Smith (2018)
        "Adam's; the highest one for one-cycle, the first one for cosine.",
        label="Learning rate",
        group=GROUPS[2],
        kind=float,
        above=True,
        maximum=1e6,
        step=1e-4,
    )
    schedule: str = _setting(
        "one-cycle",
        "Of the learning rate over the steps.",
        label="Schedule",
        group=GROUPS[2],
        choices=SCHEDULES,
    )
    beta: float = _setting(
        1.0,
        # Higgins et al. (2017)
        "Final weight of the KL; 1 is the evidence lower bound, 0 leaves nothing but "
        "reconstruction.",
        label="β, weight of KL",
        kind=float,
        maximum=1e6,
        sweeps=True,
    )
    kl_warmup: float = _setting(
        0.3,
        "The share of all steps over which the weight of the KL climbs to its final value.",
        label="KL warm-up",
        group=GROUPS[2],
        kind=float,
        maximum=1,
        step=0.05,
    )
    free_bits: float = _setting(
        0.0,
        # Kingma et al. (2016), equation 15
        "KL that each dimension has for nothing: below it, averaged over the batch, its KL is "
        "not pushed down.",
        label="Free bits",
        group=GROUPS[2],
        kind=float,
        maximum=1e6,
        unit="nats",
        step=0.1,
    )
    # "input" keeps the expected loss as it is, and its noise keeps a large encoder from fitting
    # each training image; "all" is dynamic binarisation, with the held-out images drawn once.
    binarise: str = _setting(
        "off",
        "What is drawn anew as 0 or 1 at each read, with the grey level as the probability of "
        "1: nothing, the encoder's input, or all.",
        label="Binarise",
        group=GROUPS[2],
        choices=BINARISE,
    )
    max_grad_norm: float = _setting(
        0.0,
        "A longer gradient is cut to that length; 0: none.",
        label="Clip gradient at",
        group=GROUPS[2],
        kind=float,
        maximum=1e9,
        step=1.0,
    )
    weight_average: float = _setting(
        0.0,
        "The decay, per step, of an average of the weights that is then evaluated and kept; "
        "0: none.",
        label="Weight average",
        group=GROUPS[2],
        kind=float,
        maximum=1,
        below=True,
        step=0.001,
    )
    patience: int = _setting(
        0,
        "Epochs without a better held-out bound after which training ends, and the best "
        "weights are kept; 0: never.",
        label="Patience",
        group=GROUPS[2],
        kind=int,
        maximum=1_000_000,
        step=5,
    )
    precision: str = _setting(
        "float32",
        "Of the matrix products; weights, terms and sums are always float32. auto: the faster "
        "here.",
        label="Precision",
        group=GROUPS[2],
        choices=PRECISIONS,
        extra=("auto",),
    )
    seed: int = _setting(
        0,
        "Of the initial weights, the order of the images and every draw.",
        label="Seed",
        kind=int,
        maximum=2**63 - 1,
        step=1,
    )
    condition: str = _setting(
        "none",
        # Sohn, Lee & Yan (2015)
        "What encoder and decoder are told besides: nothing, or the image's label, one-hot: "
        "q(z|x, y) and p(x|z, y).",
        label="Condition",
        group=GROUPS[1],
        choices=CONDITIONS,
    )
    objective: str = _setting(
        ELBO,
        # Burda, Grosse & Salakhutdinov (2016)
        "What is maximised: elbo, the bound of equation (6); iwae, the importance-weighted bound "
        "over K draws, which is tighter; evidence, for k = 1 or 2, log p(x) itself, by a lattice "
        "over the latent space, and then the elbo over the encoder alone; best, evidence and then "
        "the elbo over both. An epoch of the last two takes several times as long.",
        label="Objective",
        group=GROUPS[2],
        choices=OBJECTIVES,
    )
    importance_samples: int = _setting(
        5,
        "Draws K of the objective iwae; with one it is the elbo.",
        label="Importance samples K",
        group=GROUPS[2],
        kind=int,
        minimum=1,
        maximum=1024,
        step=1,
    )

    lattice_points: int = _setting(
        8192,
        "Points of the lattice of the objectives evidence and best, where they end; they begin "
        "with a quarter of them.",
        label="Lattice points",
        group=GROUPS[2],
        kind=int,
        minimum=16,
        maximum=2**22,
        step=1024,
    )
    elbo_share: float = _setting(
        0.25,
        "The share of the epochs, the last ones, that the objectives evidence and best give to "
        "the elbo.",
        label="Share of the elbo",
        group=GROUPS[2],
        kind=float,
        maximum=1,
        above=True,
        below=True,
        step=0.05,
    )

    def __post_init__(self) -> None:
        _check_settings(self)
        no_kl = self.n_draws > 1 or self.integrates
        if no_kl and self.free_bits:
            raise ConfigError(
                f"free_bits (={self.free_bits:g}) must be 0 with the objective {self.objective}: "
                "there is no KL in it to be let off"
            )
        if self.integrates and self.beta != 1:
            raise ConfigError(
                f"beta (={self.beta:g}) must be 1 with the objective {self.objective}: log p(x) "
                "has no KL in it to be weighed"
            )
        if self.integrates and self.condition != "none":
            raise ConfigError(
                f"condition (={self.condition}) must be none with the objective "
                f"{self.objective}: its lattice would be decoded for each class"
            )
        if self.integrates and self.epochs < 2:
            raise ConfigError(
                f"epochs (={self.epochs}) must be at least 2 with the objective {self.objective}: "
                "one for log p(x), one for the elbo"
            )

    @property
    def integrates(self) -> bool:
        """Whether log p(x) itself is maximised first."""
        return self.objective in (EVIDENCE, BEST)

    @property
    def evidence_epochs(self) -> int:
        """How many epochs, the first ones, maximise log p(x) itself."""
        if not self.integrates:
            return 0
        return min(max(1, round(self.epochs * (1 - self.elbo_share))), self.epochs - 1)

    @property
    def n_draws(self) -> int:
        """How many draws of z the loss takes for each image."""
        return self.importance_samples if self.objective == IWAE else 1

    @property
    def made_by(self) -> str:
        """Which objective made which part of the model, in words."""
        if self.objective == IWAE:
            return f"by the importance-weighted bound, K = {self.importance_samples}"
        if not self.integrates:
            return "by the ELBO" if self.beta == 1 else f"by the bound with β = {self.beta:g}"
        first, rest = self.evidence_epochs, self.epochs - self.evidence_epochs
        decoder = (
            f"decoder by log p(x) over a lattice of {self.lattice_points:,} points for {first} "
            f"epoch{'s' * (first > 1)}"
        )
        of = "the encoder alone" if self.objective == EVIDENCE else "both"
        return f"{decoder}, then {of} by the ELBO for {rest}"

    def n_decodes(self, n_train: int) -> int:
        """How many images are decoded in all, at most, for so many training images."""
        n_steps = self.evidence_epochs * math.ceil(n_train / self.batch_size)
        n_images = (self.epochs - self.evidence_epochs) * n_train
        return n_steps * self.lattice_points + n_images * self.n_draws

    @property
    def held_out_dataset(self) -> str:
        """The data set as `catalogue.load` knows it: with its pixels drawn, if they were."""
        name = self.dataset.removesuffix(BINARISED)
        return name + BINARISED if self.binarise == "all" else self.dataset

    to_dict = ModelConfig.to_dict
    from_dict = classmethod(ModelConfig.from_dict.__func__)


def parse_hidden(text: str) -> tuple[int, ...]:
    """Layers as a person types them, "256,128"; empty text is no layer.

    Raises:
        ConfigError: a part is not a whole number.
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(
            f"hidden (={brief(text)}) must be whole numbers separated by commas, as in 256,128"
        ) from None


def _from_dict(cls: type, values: Any) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{cls.__name__} must be a JSON object, not {brief(values)}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - set(fields), key=brief):
        raise ConfigError(f"{cls.__name__} has no setting {brief(unknown[0])}")
    for name, known in fields.items():
        if known.default is dataclasses.MISSING and name not in values:
            raise ConfigError(f"{cls.__name__} lacks the setting '{name}'")
    return cls(**values)


def brief(value: Any) -> str:
    """A value as it may stand in a message: a file can hold anything, a sentence cannot."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python prints neither 5,000 digits nor 1,000 brackets
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _integer(name: str, value: Any, minimum: int, maximum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} (={brief(value)}) must be a whole number")
    if value < minimum:
        raise ConfigError(f"{name} (={brief(value)}) must be at least {minimum}")
    if value > maximum:
        raise ConfigError(f"{name} (={brief(value)}) must be at most {maximum}")
    return value


def _integers(name: str, values: Any, minimum: int, maximum: int) -> tuple[int, ...]:
    if not isinstance(values, list | tuple):
        raise ConfigError(f"{name} (={brief(values)}) must be a list of whole numbers")
    return tuple(_integer(f"{name}[{i}]", v, minimum, maximum) for i, v in enumerate(values))


def _plain(config: Any) -> dict[str, Any]:
    """All settings; of a model of images without those that are of other data."""
    values = dataclasses.asdict(config)
    if values.get("kind") == IMAGE:
        for name in ("kind", "features", "reads"):
            values.pop(name, None)
    if values.get("encoder") == LAYERS:
        del values["encoder"]
    return values


def _check_kind(config: "ModelConfig | ForeignModel") -> None:
    """What one point is, its shape, its features, and whether the likelihood is of such numbers."""
    check_choice("kind", config.kind, DATA_KINDS)
    is_image = config.kind == IMAGE
    shape = (_image_shape if is_image else _measured_shape)(config.image_shape)
    object.__setattr__(config, "image_shape", shape)
    try:
        features = from_dicts(config.features)
    except ValueError as error:
        raise ConfigError(f"features cannot be used: {error}") from None
    object.__setattr__(config, "features", features)
    n = 0 if is_image else shape[2 if config.kind == VECTOR else 0]
    if config.kind == VECTOR and shape[0] != 1:
        raise ConfigError(f"image_shape (={shape}) of a vector must be (1, 1, features)")
    is_unknown = isinstance(config, ForeignModel) and bool(config.reads) and not features
    if len(features) != n and not is_unknown:
        raise ConfigError(f"features has {len(features)} entries; the data have {n}")
    check_choice("likelihood", config.likelihood, LIKELIHOODS if is_image else MEASURED_LIKELIHOODS)
    wanted = {"bernoulli": BINARY, "poisson": COUNT, "negative-binomial": COUNT}
    kind = None if is_image else wanted.get(config.likelihood)
    if other := next((f for f in features if kind and f.kind != kind), None):
        raise ConfigError(
            f"likelihood (={config.likelihood}) is of {kind} features, and {brief(other.name)} is "
            f"{other.kind}; choose {MIXED}, which takes each feature's own"
        )


def _measured_shape(value: Any) -> tuple[int, int, int]:
    shape = _integers("image_shape", value, minimum=1, maximum=MAX_FEATURES)
    if len(shape) != 3 or shape[0] > MAX_CHANNELS or shape[1] != 1:
        raise ConfigError(
            f"image_shape (={brief(shape)}) must be (1, 1, features) of a vector, or (channels, 1, "
            f"length) of a series with at most {MAX_CHANNELS} channels"
        )
    return shape


def _image_shape(value: Any) -> tuple[int, int, int]:
    shape = _integers("image_shape", value, minimum=1, maximum=MAX_SIDE)
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ConfigError(
            f"image_shape (={brief(shape)}) must be (channels, height, width) with 1 or 3 channels"
        )
    if (n := math.prod(shape)) > MAX_NUMBERS:
        raise ConfigError(
            f"image_shape (={shape}) makes images of {n:,} numbers; at most {MAX_NUMBERS:,}"
        )
    return shape


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} (={brief(value)}) must be a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} (={value}) must be finite")
    return value


def _digits(value: float) -> str:
    """A bound as one writes it: 1000000, not 1e+06."""
    return str(value) if isinstance(value, int) else f"{value:.12g}"


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises ConfigError if the value is none of those."""
    if value not in choices:
        raise ConfigError(f"{name} (={brief(value)}) must be one of: {', '.join(choices)}")
