"""How a variant is written: its tensors in a line of words, and its recipe."""

from wild.layouts import Layout
from wild.networks import Recipe

Tensors = list[tuple[str, tuple[int, ...]]]


def _linear(name: str, n_in: int, n_out: int, bias: bool = True) -> Tensors:
    return [(f"{name}.weight", (n_out, n_in))] + [(f"{name}.bias", (n_out,))] * bias


def _conv(name: str, n_in: int, n_out: int, kernel: int, bias: bool = True) -> Tensors:
    shape = (n_out, n_in, kernel, kernel)
    return [(f"{name}.weight", shape)] + [(f"{name}.bias", (n_out,))] * bias


def _up(name: str, n_in: int, n_out: int, kernel: int, bias: bool = True) -> Tensors:
    shape = (n_in, n_out, kernel, kernel)
    return [(f"{name}.weight", shape)] + [(f"{name}.bias", (n_out,))] * bias


def _norm(name: str, n: int) -> Tensors:
    return [(f"{name}.weight", (n,)), (f"{name}.bias", (n,))]


def _batch(name: str, n: int) -> Tensors:
    ran = [(f"{name}.{part}", (n,)) for part in ("running_mean", "running_var")]
    return [*_norm(name, n), *ran, (f"{name}.num_batches_tracked", ())]


def mlp(text: str) -> Tensors:
    """Linear layers by "name in out", separated by commas; "/" for none of its bias."""
    found: Tensors = []
    for part in text.split(","):
        name, n_in, n_out = part.split()
        found += _linear(name.rstrip("/"), int(n_in), int(n_out), not name.endswith("/"))
    return found


def stack(text: str) -> Tensors:
    """The same with "c5 name in out" a Conv2d of 5 x 5, "t4" a transposed one, "bn", "norm"."""
    found: Tensors = []
    for part in text.split(","):
        kind, name, *sizes = part.split()
        numbers, bias = [int(n) for n in sizes], not name.endswith("/")
        name = name.rstrip("/")
        if kind in ("bn", "norm"):
            found += (_batch if kind == "bn" else _norm)(name, numbers[0])
        elif kind == "l":
            found += _linear(name, *numbers, bias)
        else:
            found += (_conv if kind[0] == "c" else _up)(name, *numbers, int(kind[1:]), bias)
    return found


Variants = dict[str, tuple[Layout, Recipe]]


def add(
    found: Variants,
    key: str,
    tensors: Tensors,
    recipe: Recipe,
    container: str = "state dict",
    kind: str = "",
) -> None:
    """Adds one under its key; the kind follows from the recipe."""
    kind = kind or ("conditional" if recipe.n_classes else "plain")
    found[key] = Layout(key, container, kind, "image", "gaussian", tuple(tensors)), recipe
