"""encode and decode out of a module's `forward` that gives (recon, mu, logvar), in any order.

The module is run on a batch with its noise switched off, so that z is mu: whichever of its parts
is given mu is where the decoder begins. With noise of 1 in place of 0 the difference is sigma,
whatever the code makes it of. Decoding runs `forward` again, with z put where mu was.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vae.formats.meanings import SECOND as MEANINGS
from vae.formats.meanings import log_variance
from vae.formats.user_code.factory import RAISED, raised
from vae.formats.user_code.wrapped import Mismatch, shape_text

_SAME: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}
_SECOND = ("logvar", "log_var", "var", "sigma", "std", "scale", "stddev")
_FIRST = ("mu", "mean", "loc", "mean_z", "z_mean")


class _Noise(TorchFunctionMode):
    """Standard normal draws are all of one value, and nothing is dropped out."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name.endswith("dropout") or name.startswith("dropout"):
            return args[0]
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            return result
        if name in ("randn", "randn_like"):
            return torch.full_like(result, self.value)
        if name in ("normal", "normal_"):
            at = 1 if name == "normal_" else 0
            mean = args[at] if len(args) > at else kwargs.get("mean", 0.0)
            std = args[at + 1] if len(args) > at + 1 else kwargs.get("std", 1.0)
            made = torch.zeros_like(result) + mean + self.value * std
            return result.copy_(made) if name == "normal_" else made
        return result


@dataclass(frozen=True)
class _Call:
    outputs: list[tuple[str, Tensor]]
    inputs: list[tuple[str, Tensor, Tensor | None]]  # of each part, in order; and what it gave


@dataclass(frozen=True)
class _Entry:
    """Where z goes in: a part, the columns of its input, and how many there are beside."""

    name: str
    start: int
    whole: bool  # z alone, and what the part gives is the image


class Traced:
    """A module as an object with encode and decode, found in its forward.

    Attributes:
        meaning: of the second head, by what the code makes of it; None where that does not show.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.meaning: str | None = None
        self.likelihood = getattr(module, "likelihood", None)
        self.logvar_x = getattr(module, "logvar_x", None)
        self.image_shape = getattr(module, "image_shape", None)
        self._roles: tuple[int, int, int] | None = None
        self._entry: _Entry | None = None
        self._blank = torch.empty(0)

    def encode(self, x: Tensor, *label: Tensor) -> tuple[Tensor, Tensor]:
        """Mu and what the second head gives, each (B, D)."""
        if self._roles is None or self._blank.shape[1:] != x.shape[1:]:
            self._find(x, *label)
        assert self._roles is not None
        with _Noise(0.0):
            outputs = _flat(self.module(x, *label))
        mu, second, _ = (outputs[place][1] for place in self._roles)
        return mu.flatten(1), second.flatten(1)

    def decode(self, z: Tensor, *label: Tensor) -> Tensor:
        """What forward gives as recon for z (B, D)."""
        if self._entry is None or self._roles is None:
            raise Mismatch("forward was not followed yet", 2)
        entry = self._entry
        part = self.module.get_submodule(entry.name)
        if entry.whole and not label:
            return part(z)
        pending = [True]

        def put(_: nn.Module, args: tuple[Any, ...]) -> Any:
            if not pending:
                return None
            pending.clear()
            whole = args[0]
            end = entry.start + z.shape[1]
            given = torch.cat([whole[:, : entry.start], z, whole[:, end:]], 1)
            return (given, *args[1:])

        handle = part.register_forward_pre_hook(put)
        try:
            blank = self._blank.to(z).expand(len(z), *self._blank.shape[1:])
            with _Noise(0.0):
                return _flat(self.module(blank, *label))[self._roles[2]][1]
        finally:
            handle.remove()

    def _find(self, x: Tensor, *label: Tensor) -> None:
        quiet = self._call(x, 0.0, *label)
        with _as_in_training(self.module):
            still, loud = (self._call(x, value, *label) for value in (0.0, 1.0))
        recon = [
            n
            for n, (_, value) in enumerate(quiet.outputs)
            if value.shape[:1] == x.shape[:1]
            and value.numel() == x.numel()
            and not _same(value.reshape(x.shape), x)
        ]
        codes = [
            n
            for n, (_, value) in enumerate(quiet.outputs)
            if n not in recon
            and value.ndim > 1
            and len(value) == len(x)
            and value.numel() == len(x) * value.shape[1]
            and _same(still.outputs[n][1], loud.outputs[n][1])  # z is another one
        ]
        sizes = [quiet.outputs[n][1].flatten(1).shape[1] for n in codes]
        if not recon or len(codes) < 2 or sizes[0] != sizes[1]:
            shown = ", ".join(f"{name} {shape_text(v)}".strip() for name, v in quiet.outputs)
            raise Mismatch(
                f"forward returned {shown or 'no tensors'} for {len(x)} images; expected recon, mu "
                "and logvar",
                1,
            )
        pairs = [(a, b) for a in codes for b in codes if a != b]
        first, second = self._named(quiet, pairs) or self._by_use(quiet, pairs)
        self._roles = first, second, recon[0]
        self._blank = torch.zeros_like(x[:1])
        mu = quiet.outputs[first][1].flatten(1)
        self._entry = self._where(quiet, mu, quiet.outputs[recon[0]][1])
        self.meaning = self._meaning(still, loud, quiet.outputs[second][1].flatten(1), mu)

    def _named(self, call: _Call, pairs: list[tuple[int, int]]) -> tuple[int, int] | None:
        for a, b in pairs:
            names = [call.outputs[n][0].lower() for n in (a, b)]
            if names[0] in _FIRST and (names[1] in _SECOND or any(w in names[1] for w in _SECOND)):
                return a, b
        return None

    def _by_use(self, call: _Call, pairs: list[tuple[int, int]]) -> tuple[int, int]:
        """The pair whose first one is what the decoder is given."""
        for a, b in pairs:
            if _position(call, call.outputs[a][1].flatten(1)) is not None:
                return a, b
        return pairs[0]

    def _where(self, call: _Call, mu: Tensor, recon: Tensor) -> _Entry:
        found = _position(call, mu)
        if found is None:
            raise Mismatch("no part of it is given z by forward: give it encode and decode", 2)
        n, start = found
        name, given, out = call.inputs[n]
        whole = (
            given.shape == mu.shape
            and out is not None
            and out.numel() == recon.numel()
            and _same(out.reshape(recon.shape), recon)
        )
        return _Entry(name, start, whole)

    def _meaning(self, still: _Call, loud: _Call, h: Tensor, mu: Tensor) -> str | None:
        found = _position(still, mu)
        if found is None or found[0] >= len(loud.inputs):
            return None
        n, start = found
        end = start + mu.shape[1]
        before, after = (call.inputs[n][1][:, start:end] for call in (still, loud))
        sigma = (after - before).abs()
        if float(sigma.max()) < 1e-7:
            return None
        for meaning in MEANINGS:
            if _same(torch.exp(log_variance(h, meaning) / 2), sigma):
                return meaning
        return None

    def _call(self, x: Tensor, noise: float, *label: Tensor) -> _Call:
        """Forward once, and what each part of the module was given and gave."""
        inputs: list[tuple[str, Tensor, Tensor | None]] = []
        places: dict[int, int] = {}
        handles = []

        def before(name: str) -> Callable[..., None]:
            def note(part: nn.Module, args: tuple[Any, ...]) -> None:
                if args and isinstance(args[0], Tensor) and args[0].ndim == 2:
                    places[id(part)] = len(inputs)
                    inputs.append((name, args[0].detach().clone(), None))

            return note

        def after(part: nn.Module, _: Any, out: Any) -> None:
            place = places.pop(id(part), None)
            if place is not None and isinstance(out, Tensor):
                name, given, _ = inputs[place]
                inputs[place] = name, given, out.detach().clone()

        for name, part in self.module.named_modules():
            if name:
                handles.append(part.register_forward_pre_hook(before(name)))
                handles.append(part.register_forward_hook(after))
        try:
            with _Noise(noise), torch.no_grad():
                return _Call(_flat(self.module(x.clone(), *label)), inputs)
        except Mismatch:
            raise
        except RAISED as error:
            raise Mismatch(f"forward raised {raised(error)}") from error
        finally:
            for handle in handles:
                handle.remove()


def _position(call: _Call, mu: Tensor) -> tuple[int, int] | None:
    """Which part is given mu first, and at which column; at the start or the end of its input."""
    D = mu.shape[1]
    for n, (_, given, _) in enumerate(call.inputs):
        if len(given) != len(mu) or given.shape[1] < D:
            continue
        for start in {0, given.shape[1] - D}:
            if _same(given[:, start : start + D], mu):
                return n, start
    return None


@contextmanager
def _as_in_training(module: nn.Module) -> Iterator[None]:
    """The module alone, not its layers: many sample only while they are trained."""
    before = module.training
    module.training = True
    try:
        yield
    finally:
        module.training = before


def _flat(result: Any, name: str = "") -> list[tuple[str, Tensor]]:
    """The tensors in what a forward returned, with the names that they have in it."""
    if isinstance(result, Tensor):
        return [(name, result)]
    if isinstance(result, torch.distributions.Normal):
        return [("mean", result.mean), ("sigma", result.stddev)]
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    names = getattr(result, "_fields", None)
    if isinstance(result, tuple) and names:
        result = dict(zip(names, result, strict=True))
    found: list[tuple[str, Tensor]] = []
    if isinstance(result, Mapping):
        for key, value in result.items():
            found += _flat(value, str(key))
    elif isinstance(result, tuple | list):
        for value in result:
            found += _flat(value)
    return found


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), **_SAME)
