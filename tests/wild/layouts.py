"""A line of a list of layouts: names, shapes and what is known of a public file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DTYPES = ("float32", "float64", "float16", "bfloat16", "int64")


@dataclass(frozen=True)
class Layout:
    """One file's layout.

    Attributes:
        key: a name for it and its files.
        container, kind, modality, q: as the list words them.
        tensors: (name, shape) in the file's order, as the file has them.
        others: entries that are no float tensors: names of arrays, inputs and operations.
    """

    key: str
    container: str
    kind: str
    modality: str
    q: str
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    others: tuple[str, ...] = ()

    @property
    def is_keras(self) -> bool:
        return self.container.startswith("Keras")

    @property
    def prefix(self) -> str:
        """The key of a dict under which the weights stand, where the names have it."""
        first = self.tensors[0][0]
        return first.split("/")[0] if "/" in first and not self.is_keras else ""

    def torch_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes as a torch module has them: no statistics, outputs first."""
        found = {}
        for name, shape in self.tensors:
            name = name.removeprefix(f"{self.prefix}/") if self.prefix else name
            if self.is_keras:
                name, shape = _of_keras(name, shape)
            if name == "test_loss":
                continue
            found[name] = shape
        if self.is_keras:  # the bias is listed before the kernel
            found = dict(sorted(found.items(), key=lambda item: item[0].endswith(".bias")))
        return found


def _of_keras(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    *path, part = name.split("/")
    if part in ("kernel", "0"):
        shape = shape[::-1] if len(shape) == 2 else (shape[3], shape[2], *shape[:2])
        return f"{'.'.join(path)}.weight", shape
    return (
        f"{'.'.join(path)}.{ {'1': 'bias', 'gamma': 'weight', 'beta': 'bias'}.get(part, part) }",
        shape,
    )


def read(path: Path) -> list[Layout]:
    """The layouts of a file with one JSON object a line."""
    return [of_line(json.loads(line)) for line in path.read_text().splitlines() if line.strip()]


def of_line(line: dict[str, Any]) -> Layout:
    """The layout of one such object."""
    tensors, others = [], []
    for entry in line["tensors"]:
        name, *rest = entry.rsplit(" ", 2) if entry.endswith(_DTYPES) else (entry,)
        if len(rest) == 2 and ".onnx " not in entry:
            sizes = rest[0]
            tensors.append((name, () if sizes == "scalar" else tuple(map(int, sizes.split("x")))))
        else:
            others.append(entry.strip())
    return Layout(
        str(line["id"]),
        line["container"],
        line["kind"],
        line["modality"],
        line["q"],
        tuple(tensors),
        tuple(others),
    )
