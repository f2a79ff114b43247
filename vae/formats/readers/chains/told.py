"""What a file says of its layers besides their weights: settings, and what stands between them.

A whole pickled module lists its layers as they were declared, so that what stands between two is
known inside a Sequential; TorchScript and Keras list them as they are called.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vae.formats.containers.tensors import LayerFacts, Survey
from vae.formats.readers.chains.geometry import OVERLAPPING

_NAMES = {
    **{"ReLU": "ReLU", "Tanh": "tanh", "Sigmoid": "sigmoid", "GELU": "GELU", "SiLU": "SiLU"},
    **{"Softplus": "softplus", "ELU": "ELU", "SELU": "SELU"},
}
_NOTHING = ("Dropout", "Dropout2d", "Flatten", "Unflatten", "Reshape", "Identity", "InputLayer")
_IN_ORDER = ("TorchScript", "Keras")
_TO_TORCH = 1e-3  # eps of a batch norm of Keras


@dataclass(frozen=True)
class After:
    """What stands behind a layer, before the next one.

    Attributes:
        act: the activation, as in `reading.ACTIVATIONS`; "none" where there is none.
        before: the same of one before the norm.
        pool: the side of a max pool, negative of a mean pool, 0 for none.
        up: the factor of what enlarges its outputs; 1 for none, 0 for one that is not known.
    """

    act: str
    before: str = "none"
    pool: int = 0
    up: int = 1

    @property
    def any_act(self) -> str:
        """The activation, wherever it stands."""
        return self.before if self.act == "none" else self.act


@dataclass(frozen=True)
class Told:
    """A survey's modules, asked layer by layer.

    Attributes:
        modules: of the survey, by path.
        in_order: whether they stand in the order in which they are called.
        channels_last: of the survey.
    """

    modules: Mapping[str, LayerFacts]
    in_order: bool
    channels_last: bool

    @classmethod
    def of(cls, survey: Survey) -> "Told":
        """What a survey says."""
        return cls(survey.modules, survey.container.startswith(_IN_ORDER), survey.channels_last)

    def number(self, path: str, name: str) -> int | None:
        """A setting that is one whole number, or the same for both axes."""
        value = self._value(path, name)
        if isinstance(value, list | tuple) and value and all(v == value[0] for v in value):
            value = value[0]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        return value if 0 <= value < 2**16 else None

    def is_same(self, path: str) -> bool:
        """Whether a convolution pads so that its outputs are as large as its inputs."""
        return self._value(path, "padding") == "same"

    def eps(self, path: str) -> float:
        """What a norm adds to the variance."""
        value = self._value(path, "eps")
        if isinstance(value, float) and 0 <= value < 1:
            return value
        return _TO_TORCH if self.channels_last else 1e-5

    def registered(self) -> str | None:
        """The one hidden activation among the layers, if there is only one."""
        found = {name for facts in self.modules.values() if (name := name_of(facts))}
        hidden = found - {"sigmoid", "tanh", "softplus"} or found - {"sigmoid"}
        return next(iter(hidden)) if len(hidden) == 1 else None

    def upsampling(self) -> str | None:
        """How images are enlarged, as in `reading.UPSAMPLING`; None if nothing says so."""
        for facts in self.modules.values():
            if facts.kind == "UpsamplingNearest2d":
                return "nearest"
            if facts.kind in ("Upsample", "UpsamplingBilinear2d"):
                bilinear = facts.kind != "Upsample" or facts.values.get("mode") == "bilinear"
                aligned = facts.kind != "Upsample" or facts.values.get("align_corners") is True
                if not bilinear:
                    return "nearest"
                return "bilinear, corners aligned" if aligned else "bilinear"
        return None

    def after(self, path: str, upto: str | None) -> After | None:
        """What stands behind a layer, before the one of another path or at the end; None: unknown.

        Args:
            path: the layer's.
            upto: the next layer's with weights to multiply by; None for the last one's.
        """
        if path not in self.modules or (upto is not None and upto not in self.modules):
            return None
        listed = list(self.modules.items())
        at = next(i for i, (name, _) in enumerate(listed) if name == path)
        parent = path.rpartition(".")[0]
        inside = path.rpartition(".")[2].isdigit()
        if not self.in_order and upto is not None and upto.rpartition(".")[0] != parent:
            upto = None  # it lies elsewhere, so that only the rest of this Sequential is known
        found: list[LayerFacts] = []
        for name, facts in listed[at + 1 :]:
            if name == upto and (self.in_order or inside):
                return _after(found)
            if not self.in_order and (not inside or name.rpartition(".")[0] != parent):
                break
            if facts.kind in ("Linear", "Conv2d", "ConvTranspose2d", "Embedding"):
                if upto is not None:
                    return None  # the order is not that of the calls
                break
            found.append(facts)
        seen = _after(found)
        if self.in_order:
            return seen if upto is None else None
        # A Sequential ends here; what is called behind it is not known, if nothing was seen.
        return seen if seen is not None and seen.any_act != "none" else None

    def _value(self, path: str, name: str) -> Any:
        facts = self.modules.get(path)
        return None if facts is None else facts.values.get(name)


def name_of(facts: LayerFacts) -> str | None:
    """An activation's name as in `reading.ACTIVATIONS`; None for what is none, or not known."""
    if facts.kind == "LeakyReLU":
        slope = facts.values.get("negative_slope", 0.01)
        return f"LeakyReLU {slope:g}" if isinstance(slope, int | float) else None
    return _NAMES.get(facts.kind)


def _after(found: Sequence[LayerFacts]) -> After | None:
    act, before, pool, up = "none", "none", 0, 1
    for facts in found:
        name = name_of(facts)
        if name is not None:
            act = name
        elif "Norm" in facts.kind:
            act, before = "none", act
        elif facts.kind in ("MaxPool2d", "AvgPool2d"):
            side, stride = (_one(facts.values.get(key)) for key in ("kernel_size", "stride"))
            if (facts.kind, side, stride) == ("MaxPool2d", 3, 2):
                pool = OVERLAPPING
            elif side is None or stride not in (None, side):
                return None
            else:
                pool = side if facts.kind == "MaxPool2d" else -side
        elif facts.kind.startswith("Upsampl"):
            factor = _one(facts.values.get("scale_factor"))
            up = factor or 0
        elif facts.kind not in _NOTHING:
            return None
    return After(act, before, pool, up)


def _one(value: Any) -> int | None:
    if isinstance(value, list | tuple):
        value = value[0] if value and all(v == value[0] for v in value) else None
    return int(value) if isinstance(value, int | float) and 1 <= value <= 64 else None
