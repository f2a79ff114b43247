"""What is known of a file of tensors before its numbers are read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae.formats.refusal import AGAIN, COPY_AGAIN, EARLIER, SAVE_WEIGHTS, Refusal
from vae.formats.wording import printable, quoted
from vae.runs.checkpoint import CheckpointError
from vae.runs.headers import MAX_TENSORS

MAX_FILE_BYTES = 2**31
MAX_PARTS = 20_000  # of a zip archive

# What wrappers put before every name: Lightning modules, DataParallel, torch.compile.
_PREFIXES = (
    *("module.", "_orig_mod.", "model.", "vae.", "net.", "_forward_module.", "autoencoder."),
    *("network.", "self."),
)
# What they put anywhere in a name.
_WRAPPERS = ("module", "_orig_mod")

Numbers = Callable[[], Mapping[str, Tensor]]


@dataclass(frozen=True)
class LayerFacts:
    """What a file says of a layer besides its weights.

    Attributes:
        kind: its class, in torch's word: "Conv2d", "LeakyReLU", "Flatten", "Linear".
        values: its settings, in torch's words: stride, padding, negative_slope, num_groups. For
            "Conv2d" of Keras padding may be the text "same". A reshape says `shape`, the sizes
            without the batch, (C, H, W) even of images that are channels last.
    """

    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Survey:
    """What a file of tensors holds, before its numbers are read.

    Attributes:
        path: the file; of several the first.
        container: "safetensors", "torch.save", "torch.save before 1.6", "TorchScript",
            "Keras HDF5", "Keras archive" or "pickle".
        shapes: of every tensor of floating point by name, wrappers' prefixes taken off.
        told: the plain values beside the weights: numbers, texts, short lists, dicts of those.
        under: the keys that lead to the state dict.
        prefix: what was taken off every name.
        modules: what the file says of its layers besides their weights, by path, in order; empty
            for a state dict.
        channels_last: images are (H, W, C) inside, as in Keras. Weights are in torch's shapes
            nonetheless, (outputs, inputs, h, w); what is flattened is in the file's order.
        more_files: that belong to it besides `path`: shards, or a decoder beside an encoder.
        numbers: reads the tensors, by the names in `shapes`.
        again: looks at the file once more.
    """

    path: Path
    container: str
    shapes: Mapping[str, tuple[int, ...]]
    told: Mapping[str, Any] = field(default_factory=dict)
    under: tuple[str, ...] = ()
    prefix: str = ""
    modules: Mapping[str, LayerFacts] = field(default_factory=dict)
    channels_last: bool = False
    more_files: tuple[Path, ...] = ()
    numbers: Numbers = field(default=dict, repr=False, compare=False)
    again: "Callable[[], Survey] | None" = field(default=None, repr=False, compare=False)

    def load(self) -> dict[str, Tensor]:
        """The tensors by name as in `shapes`, float32, on the CPU.

        Raises:
            CheckpointError: the file has changed meanwhile, is damaged, or holds NaN or infinity.
        """
        now = self if self.again is None else self.again()
        if now.shapes != self.shapes:
            raise Refusal(
                self.path, "has changed while it was read", "it is another file now", AGAIN
            )
        try:
            found = now.numbers()
        except CheckpointError:
            raise
        except Exception as error:  # whatever a parser met
            raise damaged(self.path, error) from error
        tensors = {}
        for name, shape in self.shapes.items():
            tensor = found.get(name)
            if tensor is None or tuple(tensor.shape) != shape:
                raise Refusal(
                    self.path,
                    f"lists the tensor {quoted(name)}",
                    "its numbers cannot be read",
                    COPY_AGAIN,
                )
            tensor = tensor.float()
            if not torch.isfinite(tensor).all():
                raise Refusal(
                    self.path,
                    f"is of a training that diverged: the tensor {quoted(name)} holds NaN or "
                    "infinite weights",
                    "every weight must be a number",
                    EARLIER,
                )
            tensors[name] = tensor
        return tensors


def cleaner(names: Iterable[str]) -> tuple[str, Callable[[str], str]]:
    """The prefix that all names have, and what takes off a name what wrappers put there."""
    names, prefix = list(names), ""
    while names:
        head = next((p for p in _PREFIXES if all(n.startswith(prefix + p) for n in names)), None)
        if head is None:
            break
        prefix += head

    def bare(name: str) -> str:
        parts = name.removeprefix(prefix).split(".")
        return ".".join(part for part in parts if part not in _WRAPPERS)

    is_safe = len({bare(name) for name in names}) == len(names)
    return prefix, bare if is_safe else lambda name: name.removeprefix(prefix)


def too_many(path: Path, n: int) -> CheckpointError:
    """What is said of a file of too many parts."""
    return Refusal(
        path, f"holds {n:,} parts", f"at most {MAX_TENSORS:,} tensors are read", SAVE_WEIGHTS
    )


def damaged(path: Path, why: Exception | str) -> Refusal:
    """What is said where a parser gave up."""
    reason = printable(" ".join(str(why).split()) or type(why).__name__, 100)
    return Refusal(
        path, f"is truncated or damaged ({reason})", "a part of it cannot be read", COPY_AGAIN
    )
