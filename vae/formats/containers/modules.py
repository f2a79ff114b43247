"""A whole pickled module, as its stand-ins tell it: tensors by name, and what its layers are."""

from collections.abc import Mapping
from typing import Any

from vae.errors import UserError
from vae.formats.containers.stand_ins import Global, PickledArray, PickledTensor, StandIn
from vae.formats.containers.surveyed import MAX_TENSORS, LayerFacts

_MAX_DEPTH = 24
_MAX_MODULES = 10_000
_MAX_TEXT = 1000
_MAX_LISTED = 64
_CONTAINERS = ("Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict")
SCRIPT = "__torch__"

# Functions that a module can hold as an attribute, and the layers that do the same.
FUNCTIONS = {
    "relu": "ReLU",
    "relu_": "ReLU",
    "leaky_relu": "LeakyReLU",
    "leaky_relu_": "LeakyReLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "swish": "SiLU",
    "mish": "Mish",
    "softplus": "Softplus",
    "hardtanh": "Hardtanh",
    "relu6": "ReLU6",
    "softsign": "Softsign",
    "identity": "Identity",
}

Tensors = dict[str, PickledTensor | PickledArray]


def is_module(value: Any) -> bool:
    """Whether it is a whole module: of torch.nn, or of a TorchScript program."""
    if not isinstance(value, StandIn):
        return False
    if value.name.startswith(f"{SCRIPT}."):
        return True
    return isinstance(value.state.get("_modules"), dict) and isinstance(
        value.state.get("_parameters"), dict
    )


def kind_of(module: StandIn) -> str:
    """The last part of a class's name."""
    return module.name.rpartition(".")[2]


def children(module: StandIn) -> dict[str, StandIn]:
    """The modules in a module, by the names of its attributes."""
    inside = module.state if module.name.startswith(f"{SCRIPT}.") else module.state["_modules"]
    return {k: v for k, v in inside.items() if isinstance(k, str) and is_module(v)}


def tensors_in(module: StandIn) -> Tensors:
    """The parameters and buffers of one module, without those of its children."""
    if module.name.startswith(f"{SCRIPT}."):
        places = [module.state]
    else:
        places = [module.state["_parameters"], module.state.get("_buffers")]
    return {
        key: value
        for place in places
        if isinstance(place, dict)
        for key, value in place.items()
        if isinstance(key, str) and isinstance(value, PickledTensor | PickledArray)
    }


def read_module(root: StandIn) -> tuple[Tensors, dict[str, LayerFacts]]:
    """The tensors of a module by the names of its state dict, and its layers in order.

    Raises:
        UserError: it holds itself, or more parts than a network has.
    """
    tensors: Tensors = {}
    facts: dict[str, LayerFacts] = {}
    count = 0
    # By hand, as a file can nest them deeper than a function may call itself.
    waiting: list[tuple[str, StandIn | LayerFacts, int]] = [("", root, 0)]
    while waiting:
        path, module, depth = waiting.pop()
        if isinstance(module, LayerFacts):
            facts[path] = module
            continue
        count += 1
        if count > _MAX_MODULES or depth > _MAX_DEPTH or len(tensors) > MAX_TENSORS:
            raise UserError("it is a module of more parts than a network has")
        head = f"{path}." if path else ""
        tensors |= {head + name: tensor for name, tensor in tensors_in(module).items()}
        inner = children(module)
        if not inner and kind_of(module) not in _CONTAINERS and path:
            facts[path] = LayerFacts(kind_of(module), settings(module))
        held = {k: v for k, v in module.state.items() if isinstance(k, str)}
        functions = {name: LayerFacts(kind) for name, v in held.items() if (kind := _function(v))}
        waiting += [
            (head + name, part, depth + 1) for name, part in reversed((inner | functions).items())
        ]
    return tensors, facts


def _function(value: Any) -> str | None:
    """The layer that does what a function does that a module holds: self.act = torch.relu."""
    if isinstance(value, StandIn) and value.name.endswith(".getattr"):
        of, name = value.arguments if len(value.arguments) == 2 else (None, None)
        is_torch = isinstance(of, Global) and of.name.startswith("torch.")
        return FUNCTIONS.get(name) if is_torch and isinstance(name, str) else None
    return FUNCTIONS.get(value.name.rpartition(".")[2]) if isinstance(value, Global) else None


def settings(module: StandIn) -> dict[str, Any]:
    """The plain attributes of a module: stride, padding, negative_slope and so on."""
    found = plain(
        {
            key: value
            for key, value in module.state.items()
            if isinstance(key, str)
            and not key.startswith("_")
            and key != "training"
            and not isinstance(value, PickledTensor | PickledArray)
            and not is_module(value)
        }
    )
    return found if isinstance(found, dict) else {}


class _Nothing:
    """What is not plain."""


_NOTHING = _Nothing()


def plain(value: Any, depth: int = 3) -> Any:
    """The plain part of a value: numbers, texts, short lists and dicts of those; else None."""
    found = _plain(value, depth, [20_000])
    return None if found is _NOTHING else found


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    """The same; `left` counts how many values more are copied, as one can be named often."""
    left[0] -= 1
    if left[0] < 0:
        return _NOTHING
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else _NOTHING
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else _NOTHING
    if isinstance(value, PickledArray) and value.data is not None:
        flat = value.numbers()
        return flat.tolist() if flat.size <= _MAX_LISTED else _NOTHING
    if isinstance(value, StandIn):
        value = value.items or value.state or value.sequence
    if depth and isinstance(value, list | tuple) and 0 < len(value) <= _MAX_LISTED:
        inner = [_plain(item, depth - 1, left) for item in value]
        return _NOTHING if any(item is _NOTHING for item in inner) else type(value)(inner)
    if depth and isinstance(value, Mapping):
        made = {}
        for key, item in value.items():
            if isinstance(key, str) and left[0] > 0:
                made[key] = _plain(item, depth - 1, left)
        made = {key: item for key, item in made.items() if item is not _NOTHING}
        return made or _NOTHING
    return _NOTHING
