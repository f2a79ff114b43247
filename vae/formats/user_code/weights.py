"""The weights of a file, put into a person's own module: by name, and tensor by tensor."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae.formats.containers import tensors
from vae.formats.shapes import text
from vae.formats.user_code.wrapped import modules_of
from vae.formats.wording import printable, tensors_listed
from vae.runs.checkpoint import CheckpointError

_MOST = 6  # tensors that a sentence names


def put_into(made: Any, path: Path, said: str) -> str:
    """Loads a file's tensors into the module that an object is.

    Wrappers' prefixes do not matter, on either side. No code that the file brings is run.

    Args:
        made: the object.
        path: a file of weights, of any container that is opened without its code.
        said: what the object is called in messages.

    Returns:
        A sentence on what the file holds besides; "" if nothing.

    Raises:
        CheckpointError: the file cannot be opened, or does not have what the module needs; each
            tensor is named: missing, left over, or of another shape.
    """
    modules = modules_of(made)
    if len(modules) != 1:
        raise CheckpointError(
            f"{said} is a {type(made).__name__} and no torch module, so that --weights "
            f"(={printable(str(path), 100)!r}) cannot be put into it; load them in your own code"
        )
    module: nn.Module = modules[0]
    survey = tensors.survey(path)
    loaded = survey.load()
    own = {
        name: value
        for name, value in module.state_dict().items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    found = _renamed(loaded, own)
    missing = [name for name in own if name not in found]
    left = [name for name in found if name not in own]
    other = [n for n in own if n in found and tuple(own[n].shape) != tuple(found[n].shape)]
    if missing or other:
        parts = []
        if other:
            listed = [
                f"{n} is {_size(found[n])} in the file and {_size(own[n])} in the module"
                for n in other
            ]
            parts.append(f"of another shape: {_some(listed)}")
        if missing:
            parts.append(f"missing: {_listed(own, missing)}")
        if left:
            parts.append(f"left over: {_listed(found, left)}")
        advice = (
            "make it of the size that was trained, by --arg NAME=VALUE"
            if other
            else "name the class that they were saved from"
        )
        raise CheckpointError(
            f"{printable(str(path), 200)} does not fit {said}: {'; '.join(parts)}; {advice}"
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(found[name].to(value))
    if not left:
        return ""
    return f"{path.name} holds {len(left)} tensors more than the module: {_listed(found, left)}"


def _renamed(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors under the module's names, by whichever prefix brings most together."""
    prefixes = {""}
    for name in own:
        prefixes |= {name[: -len(n)] for n in found if name.endswith("." + n)}
    cut = {""}
    for name in found:
        cut |= {name[: -len(n)] for n in own if name.endswith("." + n)}

    def under(prefix: str, without: str) -> dict[str, Tensor]:
        return {prefix + (name.removeprefix(without)): value for name, value in found.items()}

    tried = [under(prefix, "") for prefix in sorted(prefixes)]
    tried += [under("", without) for without in sorted(cut)]
    return max(tried, key=lambda named: len(named.keys() & own.keys()))


def _size(value: Tensor) -> str:
    return text(tuple(value.shape)) or "scalar"


def _listed(tensors: Mapping[str, Tensor], names: Iterable[str]) -> str:
    return tensors_listed({name: tuple(tensors[name].shape) for name in names}, _MOST)


def _some(listed: Iterable[str]) -> str:
    every = [printable(each, 120) for each in listed]
    more = len(every) - _MOST
    return ", ".join(every[:_MOST]) + (f" and {more} more" if more > 0 else "")
