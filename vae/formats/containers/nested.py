"""Where the weights are in what a pickle describes: a state dict at some depth, or a module."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vae.formats.containers.modules import Tensors, is_module, kind_of, plain, read_module, settings
from vae.formats.containers.stand_ins import PickledArray, PickledTensor, StandIn
from vae.formats.containers.surveyed import LayerFacts

_DEPTH = 3
_MAX_LOOKED_AT = 20_000
_MAX_LISTED = 64

# The keys under which programs put the weights beside other things, the likeliest first.
_UNDER = ("model_state_dict", "state_dict", "model", "vae", "net", "weights")
# What is beside the weights, never the weights.
_NOT_WEIGHTS = re.compile(
    r"optim|sched|scaler|^opts?$|^opts?_|_opts?$|rng|^adam|^sgd|grad|momentum|callback|^loops$",
    re.I,
)
_ADAM = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "step", "sum"}
# Networks that are trained beside a VAE, and second copies of it.
_BESIDE = re.compile(r"disc|critic|ema|teacher|target|classif|percep|lpips|best|fid", re.I)
_ENCODER = re.compile(r"enc|^e$|^nete$|^net_e$|infer|recogn|^q$|^q_", re.I)
_DECODER = re.compile(r"dec|^d$|^g$|^netg$|^net_g$|^netd$|gener|^p$|^p_", re.I)
_ENDING = re.compile(r"[_.-]?(model_)?(state_dict|state_dic|statedict|state|weights|params|sd)$")


@dataclass
class Found:
    """Where the weights were found.

    Attributes:
        tensors: by name.
        under: the keys that lead to them.
        told: the plain values beside them.
        modules: what the file says of the layers.
        kind: of the whole module; "" for a state dict.
    """

    tensors: Tensors
    under: tuple[str, ...] = ()
    told: dict[str, Any] = field(default_factory=dict)
    modules: dict[str, LayerFacts] = field(default_factory=dict)
    kind: str = ""

    @property
    def n_parameters(self) -> int:
        """How many are called as parameters are."""
        return sum(bool(re.search(r"(weight|bias|kernel)\w*$", name)) for name in self.tensors)


def find(root: Any) -> Found | None:
    """The weights in the result of a pickle; None if there are none.

    Raises:
        UserError: it is a module of more parts than a network has.
    """
    if isinstance(root, PickledTensor | PickledArray):
        root = {"tensor": root}
    seen: set[int] = set()
    found = _best(list(_candidates(root, (), seen)))
    if found is None:
        return None
    told = plain(settings(root) if is_module(root) else _as_dict(root) or {})
    told = told if isinstance(told, dict) else {}
    told = {k: v for k, v in told.items() if k not in (*found.under, *found.tensors)}
    found.told = told | found.told
    return found


def holds_optimiser(root: Any) -> bool:
    """Whether it is the state of an optimiser, or such a state is in it."""
    inside = _as_dict(root) or {}
    return _is_optimiser(inside) or any(
        _is_optimiser(value) or (isinstance(key, str) and "optim" in key.lower())
        for key, value in inside.items()
    )


def _best(found: list[Found]) -> Found | None:
    def rank(one: Found) -> tuple[int, ...]:
        last = one.under[-1] if one.under else ""
        known = len(_UNDER) - _UNDER.index(last) if last in _UNDER else 0
        beside = any(_BESIDE.search(key) for key in one.under)
        return (
            one.n_parameters > 0,
            not beside,
            known if one.n_parameters else 0,
            one.n_parameters,
            len(one.tensors),
        )

    return max(found, key=rank, default=None)


def _candidates(value: Any, under: tuple[str, ...], seen: set[int]) -> Iterator[Found]:
    """Every state dict and module in a value, but in optimisers; each once."""
    if id(value) in seen or len(seen) > _MAX_LOOKED_AT:
        return
    seen.add(id(value))
    if is_module(value):
        tensors, modules = read_module(value)
        if any(tensor.is_float for tensor in tensors.values()):
            yield Found(tensors, under, settings(value) if under else {}, modules, kind_of(value))
        return
    inside = _as_dict(value)
    if inside is None or _is_optimiser(inside):
        return
    here = {
        key: item
        for key, item in inside.items()
        if isinstance(key, str) and isinstance(item, PickledTensor | PickledArray)
    }
    # The arrays of an object that is no module are not a network's.
    if not isinstance(value, StandIn) and any(tensor.is_float for tensor in here.values()):
        yield Found(here, under)
    if len(under) >= _DEPTH:
        return
    below: dict[str, list[Found]] = {}
    for key, item in inside.items():
        if isinstance(key, str) and not _NOT_WEIGHTS.search(key):
            below[key] = list(_candidates(item, (*under, key), seen))
    yield from _joined(under, below)
    for found in below.values():
        yield from found


def _joined(under: tuple[str, ...], below: dict[str, list[Found]]) -> Iterator[Found]:
    """An encoder and a decoder beside each other, or layers one by one, as one model."""
    best = {key: one for key, found in below.items() if (one := _best(found))}
    direct = {key: one for key, one in best.items() if one.under == (*under, key)}
    bare = {key: _ENDING.sub("", key) or key for key in best}
    names = {key: name for key, name in bare.items() if not _BESIDE.search(name)}
    is_pair = any(_ENCODER.search(name) for name in names.values()) and any(
        _DECODER.search(name) and not _ENCODER.search(name) for name in names.values()
    )
    is_layers = len(direct) > 1 and all(
        "." not in name for one in direct.values() for name in one.tensors
    )
    if not is_pair and not (is_layers and set(direct) == set(best)):
        return
    if len(set(names.values())) < len(names) or any(key in _UNDER for key in best):
        return
    whole = Found({}, under)
    for key, name in names.items():
        one = best[key]
        whole.tensors |= {f"{name}.{tensor}": value for tensor, value in one.tensors.items()}
        whole.modules |= {f"{name}.{path}": facts for path, facts in one.modules.items()}
    yield whole


def _as_dict(value: Any) -> dict[Any, Any] | None:
    if isinstance(value, StandIn):
        value = value.items or value.state or value.sequence
    if isinstance(value, list | tuple) and len(value) <= _MAX_LISTED:
        return {str(i): item for i, item in enumerate(value)}
    return value if isinstance(value, dict) else None


def _is_optimiser(value: Any) -> bool:
    if isinstance(value, StandIn) and value.name.startswith("torch.optim."):
        return True
    if not isinstance(value, dict):
        return False
    if "param_groups" in value:
        return True
    return bool(value) and value.keys() <= _ADAM
