"""A person's encode and decode as the parts of a VAE."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vae.errors import UserError
from vae.formats.shapes import text
from vae.formats.user_code.factory import RAISED, raised


class Mismatch(ValueError):
    """The object does not read images of this shape and layout; another one may do.

    Attributes:
        stage: how far it came: 0, encode; 1, encode once more; 2, decode.
    """

    def __init__(self, message: str, stage: int = 0) -> None:
        super().__init__(message)
        self.stage = stage


class _Part(nn.Module):
    """Calls a person's object. What it holds of modules is counted, moved and copied with it."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = given
        if not isinstance(given, nn.Module):
            self.modules_of_given = nn.ModuleList(modules_of(given))
        # No number, but a device, which a model without parameters would not have.
        home = next(_parameters_of(given), torch.empty(0))
        self.home = nn.Parameter(home.new_empty(0), requires_grad=False)

    def _read(self, values: Tensor) -> Tensor:
        """As the object reads it: on its device and in its precision."""
        own = next(_parameters_of(self.given), None)
        if own is None:
            return values.cpu() if values.device.type != "cpu" else values
        if own.is_floating_point() and (values.device, values.dtype) != (own.device, own.dtype):
            return values.to(own.device, own.dtype)
        return values


class Encoder(_Part):
    """x (B, C, H, W) -> mu (B, D), logvar (B, D), by a person's `encode`.

    With a label c, one-hot (B, n_classes), where the object has one.
    """

    def __init__(self, given: Any, flat: bool) -> None:
        super().__init__(given)
        self.flat = flat

    def call(self, x: Tensor, c: Tensor | None = None) -> Any:
        """What `encode` returns, as it is."""
        x = self._read(x)
        label = () if c is None else (c,)
        # A copy, as it may change its input in place.
        return self.given.encode((x.flatten(1) if self.flat else x).clone(), *label)

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mu and logvar of q(z|x)."""
        mu, logvar = _asked("encode", lambda: [as_tensor(value) for value in self.call(x, c)])
        return _like(mu, x), _like(logvar, x)


class Decoder(_Part):
    """z (..., D) -> the likelihood's raw output, (..., C, H, W), by a person's `decode`.

    Attributes:
        gives_means: of Bernoulli variables, and not logits.
        has_gradient: whether what `decode` returns can be differentiated with respect to z.
    """

    def __init__(self, given: Any, image_shape: tuple[int, int, int], latent_dim: int) -> None:
        super().__init__(given)
        self.image_shape, self.latent_dim = image_shape, latent_dim
        self.gives_means = False
        self.has_gradient = True

    def call(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) for z (B, D), as `decode` gives them.

        Raises:
            Mismatch: they are of another shape.
        """
        label = () if c is None else (c,)
        return self._shaped(self.given.decode(self._read(z).clone(), *label), z)

    def call_before_sigmoid(self, z: Tensor, c: Tensor | None = None) -> tuple[Any, Tensor | None]:
        """What `decode` returned, and what the sigmoid was given that it ended with, if with one.

        The second is of shape (B, C, H, W).
        """
        last = _LastSigmoid()
        read = self._read(z).clone()
        label = () if c is None else (c,)
        with last:
            out = self.given.decode(read, *label)
        is_sigmoid = isinstance(out, Tensor) and last.is_behind(out)
        return out, self._shaped(last.input, z) if is_sigmoid else None

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """The raw output for each z."""
        flat = z.reshape(-1, self.latent_dim)  # (prod(...), D)
        label = None if c is None else c.reshape(-1, c.shape[-1])
        if torch.is_grad_enabled() and flat.requires_grad and not self.has_gradient:
            raw = _WithoutGradient.apply(flat, lambda z: self._raw(z, label))
        else:
            raw = self._raw(flat, label)  # (prod(...), C, H, W)
        return raw.reshape(*z.shape[:-1], *self.image_shape)

    def _raw(self, z: Tensor, c: Tensor | None) -> Tensor:
        return _asked("decode", lambda: self._output(z, c))

    def _output(self, z: Tensor, c: Tensor | None) -> Tensor:
        if not self.gives_means:
            return self.call(z, c)
        out, logits = self.call_before_sigmoid(z, c)
        return logits_of(self._shaped(out, z)) if logits is None else logits

    def _shaped(self, out: Any, z: Tensor) -> Tensor:
        B, (C, H, W) = len(z), self.image_shape
        try:
            values = as_tensor(out)
        except TypeError as error:
            raise Mismatch(f"decode returned {error}; it must return one tensor") from None
        allowed = [(B, C, H, W), (B, C * H * W), *([(B, H, W), (B, H, W, 1)] if C == 1 else ())]
        if tuple(values.shape) not in allowed:
            raise Mismatch(
                f"decode returned {shape_text(values)} for z {shape_text(z)}; expected "
                f"{text((B, C, H, W))} or {text((B, C * H * W))}"
            )
        return _like(values.reshape(B, C, H, W), z)


class _LastSigmoid(TorchFunctionMode):
    """Remembers the last sigmoid that was computed: what went in and what came out."""

    _NAMES = ("sigmoid", "expit", "special_expit")

    def __init__(self) -> None:
        super().__init__()
        self.input: Tensor | None = None
        self.output: Tensor | None = None
        self.versions = 0, 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if getattr(func, "__name__", "") in self._NAMES and isinstance(result, Tensor):
            value = args[0] if args else kwargs["input"]
            # Inference mode keeps no count of changes, so nothing can be said of them.
            if not (value.is_inference() or result.is_inference()):
                self.input, self.output = value, result
                self.versions = value._version, result._version
        return result

    def is_behind(self, out: Tensor) -> bool:
        """Whether these are that sigmoid's numbers in their order, unchanged since."""
        if self.input is None or self.output is None:
            return False
        if out.is_inference():
            return False
        unchanged = self.versions == (self.input._version, self.output._version)
        return (
            unchanged
            and out.data_ptr() == self.output.data_ptr()
            and out.numel() == self.output.numel()
            and out.dtype == self.output.dtype
            and out.is_contiguous()
            and self.output.is_contiguous()
        )


class _WithoutGradient(torch.autograd.Function):
    """Computes, and says so where a gradient is asked for."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
        return call(z)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise UserError(
            "this needs the gradient of decode, which this model does not give (it leaves torch, "
            "or detaches its result); use a method without gradients"
        )


def logits_of(means: Tensor) -> Tensor:
    """log(p / (1 - p)) of means p of Bernoulli variables, clamped at the rounding of their type."""
    limits = torch.finfo(means.dtype)
    p = means.clamp(limits.tiny, 1 - limits.eps / 2)
    return torch.logit(p)


def _asked(name: str, call: Callable[[], Any]) -> Any:
    """What a person's code returns; raises UserError for whatever it raises."""
    try:
        return call()
    except ValueError:
        raise
    except RAISED as error:
        raise UserError(f"{name} raised {raised(error)}") from error


def modules_of(given: Any) -> list[nn.Module]:
    """The modules that an object is or holds as attributes, or in lists and dicts of them."""
    if isinstance(given, nn.Module):
        return [given]
    found: dict[int, nn.Module] = {}
    for value in getattr(given, "__dict__", {}).values():
        inner = value.values() if isinstance(value, dict) else value
        several = list(inner) if isinstance(value, dict | list | tuple) else [value]
        found |= {id(part): part for part in several if isinstance(part, nn.Module)}
    return list(found.values())


def _parameters_of(given: Any) -> Iterator[Tensor]:
    for module in modules_of(given):
        yield from module.parameters()


def as_tensor(value: Any) -> Tensor:
    """A tensor, or an array of numpy as one. Raises TypeError for another, with what it is."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
    raise TypeError(f"a {type(value).__name__}")


def _like(values: Tensor, asked: Tensor) -> Tensor:
    """In float32, on the device of what was asked."""
    if (values.dtype, values.device) == (torch.float32, asked.device):
        return values
    return values.to(asked.device, torch.float32)


def shape_text(values: Tensor) -> str:
    """Its shape as people write it."""
    return text(tuple(values.shape)) or "of one number"
