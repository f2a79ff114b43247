"""The layers of a file, found from the names and shapes of its tensors; and what names say.

A state dict names each tensor by the path of its layer and its part in it: "encoder.0.weight".
Paths come in the order of declaration, and numbers in them are places in a Sequential or a list.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from vae.formats.containers.tensors import Survey

LINEAR, CONV, NORM, BATCH_NORM, EMBEDDING, PRELU = (
    *("Linear", "Conv2d", "norm", "BatchNorm", "Embedding", "PReLU"),
)
MAIN = (LINEAR, CONV)
NORM_KINDS = (NORM, BATCH_NORM, PRELU)

_PARTS = ("weight", "bias", "running_mean", "running_var")
_ENCODER = re.compile(r"enc|inf$|inference|recog|qnet|qz|infer")
_DECODER = re.compile(r"dec|gen$|gener|recon|pnet|px|deconv|convt$|tconv|transpose|upconv")
_TRANSPOSED = re.compile(r"transpose|deconv|convt|tconv|conv_t|upconv")
_LABEL = re.compile(r"^(labels?|class|classes|cond|condition|conditional|y|cls|emb|embed.*)$")
_MEAN = re.compile(r"^(mu|mus|mean|means|loc|avg|average)$")
_LOG_VARIANCE = re.compile(r"log_?_?(var|v$|s2|sigma_?2|sigma_?sq|sig2)|lvar|lv_?\d*$|lnvar")
_LOG_SIGMA = re.compile(r"log_?_?(s$|sig|std|sd|scale|dev)|ln_?(sig|std)|lstd|lsig")
_SIGMA = re.compile(r"sigma|std|stddev|standarddeviation|deviation|scale$|sig$|sd$")
_SCALE = re.compile(r"norm|scale|gain|gamma|(^|[^a-z])(ln|bn|gn|in)_?\d*($|\.)")
_VARIANCE = re.compile(r"var$|variance|vars$|covar")


@dataclass(frozen=True)
class Layer:
    """One layer with weights.

    Attributes:
        path: its name without the part: "encoder.0".
        kind: one of this module's; a convolution may turn out to be a transposed one.
        shape: of its weight; (width,) of a norm, or more where it normalises over images.
        bias: how long its bias is; 0 without one.
        place: in the order of declaration.
        transposed: whether the file says that it is a transposed convolution; None if it does not.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    bias: int
    place: int
    transposed: bool | None = None

    def ways(self, decoder: bool) -> list[tuple[int, int, bool]]:
        """(inputs, outputs, transposed) that its shape allows; transposed in decoders."""
        if self.kind == LINEAR:
            return [(self.shape[1], self.shape[0], False)]
        found = [(self.shape[1], self.shape[0], False)]
        if decoder:
            found.append((self.shape[0], self.shape[1], True))
        if decoder and self.transposed is not None:
            found = [way for way in found if way[2] == self.transposed]
        found = [way for way in found if self.bias in (0, way[1])]
        named = [way for way in found if way[2]]
        return named if named and _TRANSPOSED.search(self.path.lower()) else found

    @property
    def kernel(self) -> int:
        """The side of a convolution's kernel."""
        return self.shape[2] if self.kind == CONV else 1


def layers_of(survey: Survey) -> tuple[list[Layer], list[str]]:
    """The layers in order of declaration, and the names of the tensors that belong to none."""
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    odd: list[str] = []
    for name, shape in survey.shapes.items():
        path, _, part = name.rpartition(".")
        if part in _PARTS and path:
            parts.setdefault(path, {})[part] = shape
        elif part != "num_batches_tracked":
            odd.append(name)
    layers = []
    for path, found in parts.items():
        kind = _kind(path, found)
        if kind is None:
            odd += [f"{path}.{part}" for part in found]
            continue
        shape = found.get("weight") or found["running_mean"]
        bias = found["bias"][0] if "bias" in found else 0
        facts = survey.modules.get(path)
        transposed = None
        if facts is not None and facts.kind in ("Conv2d", "ConvTranspose2d"):
            transposed = facts.kind == "ConvTranspose2d"
        layers.append(Layer(path, kind, shape, bias, len(layers), transposed))
    return layers, odd


def _kind(path: str, found: Mapping[str, tuple[int, ...]]) -> str | None:
    weight, bias = found.get("weight"), found.get("bias")
    if "running_mean" in found and "running_var" in found:
        width = found["running_mean"]
        fits = all(shape == width for shape in found.values())
        return BATCH_NORM if len(width) == 1 and fits else None
    if weight is None or not all(weight):
        return None
    if len(weight) == 4 and weight[2] == weight[3]:
        return CONV if bias is None or bias in ((weight[0],), (weight[1],)) else None
    if len(weight) == 2 and bias is None and _says_embedding(path):
        return EMBEDDING
    if len(weight) == 2 and (bias is None or bias == weight[:1]):
        return LINEAR
    if bias is not None and bias == weight and len(weight) in (1, 3):
        return NORM
    # A norm without a bias, or a scale, looks like learnt slopes, and is called otherwise.
    if len(weight) == 1 and set(found) == {"weight"} and not _SCALE.search(path.lower()):
        return PRELU
    return None


def words(path: str) -> list[str]:
    """The words of a path, in small letters: "encoder.fcMu_2" is encoder, fc, mu."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", path)
    return [word.lower() for word in re.findall(r"[A-Za-z]+", spaced)]


def numbers(path: str) -> tuple[int, ...]:
    """The whole numbers in a path's last named part: (2,) of "decoder.fc2"."""
    return tuple(int(n) for n in re.findall(r"\d{1,6}", path.rpartition(".")[2]))


@lru_cache(maxsize=4096)  # a search asks the same paths again and again
def side(path: str) -> str:
    """Which network a path names: "encoder", "decoder" or ""."""
    for word in words(path):
        if _ENCODER.match(word):
            return "encoder"
        if _DECODER.match(word):
            return "decoder"
    return ""


def says_mean(path: str) -> bool:
    """Whether a path names the mean of q."""
    found = words(_own(path))
    return any(_MEAN.match(word) for word in found) or (
        bool(found) and found[-1].endswith(("mu", "mean"))
    )


def second_head(path: str) -> str:
    """What a path calls the other half of q: "log variance", "log sigma", "sigma", ""."""
    own = _own(path)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", own).lower()
    joined = re.sub(r"[^a-z0-9]", "", text)
    if _LOG_VARIANCE.search(text) or _LOG_VARIANCE.search(joined):
        return "log variance"
    if _LOG_SIGMA.search(text) or _LOG_SIGMA.search(joined):
        return "log sigma"
    if any(_SIGMA.search(word) for word in (*words(own), joined)):
        return "sigma"
    return "log variance" if any(_VARIANCE.search(word) for word in words(own)) else ""


def says_label(path: str) -> bool:
    """Whether a path names what reads the label."""
    return any(_LABEL.match(word) for word in words(path))


def _says_embedding(path: str) -> bool:
    return any(word.startswith("emb") for word in words(path))


def _own(path: str) -> str:
    """A path without what comes before its last two named parts, and without trailing numbers."""
    named = [part for part in path.split(".") if not part.isdigit()]
    named = [part for part in named if not re.fullmatch(r"(en|de)code(r|d)?|vae|model", part)]
    return ".".join(named[-2:])


def group(path: str) -> str:
    """The Sequential or list that a path lies in, its outermost; "" if it lies in none."""
    parts = path.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return "" if at is None else ".".join(parts[:at])
