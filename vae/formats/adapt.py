"""Any object with encode(x) -> (mu, logvar) and decode(z), as a VAE of ours.

    encode(x)   images (B, C, H, W) in [0, 1], or flattened (B, C*H*W) -> mu, logvar, each (B, D)
    decode(z)   (B, D) -> (B, C, H, W), (B, H, W) or (B, C*H*W)

The object may say more of itself; what it does not say is found by trying it on one batch, and said
on the card:

    image_shape   (C, H, W)
    likelihood    "bernoulli" or "continuous-bernoulli": decode gives logits, or ends with a
                  sigmoid; "gaussian": decode gives the mean
    logvar_x      of a Gaussian, the log variance of every pixel, a number [0: variance 1]

Without `likelihood`, an output that stays in [0, 1] is taken as the means of Bernoulli variables,
any other as their logits. Where the last thing that decode does is a sigmoid, the numbers before it
are the logits, exactly; else they are computed back from the means.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vae.checkpoint import CheckpointError
from vae.config import LIKELIHOODS, MAX_LATENT_DIM, ConfigError, ForeignModel
from vae.datasets import to_unit
from vae.formats.card import UNIT_GAUSSIAN, Card
from vae.formats.factory import RAISED, raised
from vae.formats.layers import fixed_gaussian
from vae.formats.shapes import text
from vae.formats.tensors import printable
from vae.likelihood import make_likelihood
from vae.model import VAE

SETTING = "model.{} = {}"  # how a person says more of a module
N_IMAGES = 16  # at most, of the batch that is tried
_N_DRAWS = 32  # of z from the prior, and as many from one three times as wide
_SAME = {"rtol": 1e-3, "atol": 1e-4}  # float32 sums in another order differ by less


@dataclass(frozen=True)
class Adapted:
    """An object as a VAE, and how it was read."""

    model: VAE
    card: Card


def adapt(
    given: Any,
    said: str,
    shapes: Iterable[tuple[int, int, int]],
    images: Tensor | None,
    format_: str,
    setting: str = SETTING,
) -> Adapted:
    """Tries the object on one batch and wraps it.

    It is put into evaluation mode, with whatever modules it holds.

    Args:
        given: the object.
        said: what it is called in messages.
        shapes: (C, H, W) to try in this order, unless the object has an `image_shape`.
        images: real ones, uint8 (N, C, H, W), for the shape that they have.
        format_: for the card.
        setting: how more is said of such a model, with places for the name and the value.

    Raises:
        CheckpointError: it cannot be used so; one sentence says what it did and what is expected.
    """
    if isinstance(given, VAE):
        return Adapted(given.eval(), _card_of_ours(given, format_))
    _check_methods(given, said)
    for part in _modules_of(given):
        part.eval()
    subject = _Subject(given, said, format_, setting)
    shape = _own_shape(given, said)
    tried: list[tuple[int, str, str]] = []
    many = [shape] if shape else list(dict.fromkeys(shapes))
    with torch.random.fork_rng(devices=[]):  # trying it must not move anybody's random numbers
        for candidate in many:
            x = _batch(candidate, images)
            for flat in (False, True):
                reading = f"{text(tuple(x.flatten(1).shape if flat else x.shape))}"
                try:
                    return _fitted(subject, candidate, flat, x, shape is None and len(many) > 1)
                except _Mismatch as error:
                    tried.append((error.stage, reading, str(error)))
    # What came furthest was most likely meant.
    furthest = max(stage for stage, *_ in tried)
    best = [(reading, problem) for stage, reading, problem in tried if stage == furthest][:2]
    by_problem: dict[str, list[str]] = {}
    for reading, problem in best:
        by_problem.setdefault(problem, []).append(reading)
    listed = "; ".join(f"given {' or '.join(r)}, {problem}" for problem, r in by_problem.items())
    n_more = len(tried) - len(best)
    more = f"; nor would {n_more} other shapes do" if n_more > 1 else ""
    known = "" if shape else f"; say what it reads: {setting.format('image_shape', '(C, H, W)')}"
    raise CheckpointError(f"{said} could not be used: {listed}{more}{known}")


class _Mismatch(ValueError):
    """The object does not read images of this shape and layout; another one may do.

    Attributes:
        stage: how far it came: 0, encode; 1, encode once more; 2, decode.
    """

    def __init__(self, message: str, stage: int = 0) -> None:
        super().__init__(message)
        self.stage = stage


@dataclass(frozen=True)
class _Subject:
    """The object, and how messages and the card speak of it."""

    given: Any
    said: str
    format: str
    setting: str

    def set(self, name: str, value: str) -> str:
        """How a person says so."""
        return self.setting.format(name, value)


def _fitted(
    subject: _Subject, image_shape: tuple[int, int, int], flat: bool, x: Tensor, guessed: bool
) -> Adapted:
    given, said = subject.given, subject.said
    encoder = Encoder(given, flat)
    mu, logvar = _checked_moments(encoder, x, said)
    D = mu.shape[1]
    decoder = Decoder(given, image_shape, D)
    _check_images(decoder, mu, said)
    likelihood, told, notes = _likelihood(subject, decoder, _places(mu))
    if (logvar >= 0).all() and len(x) > 1:
        notes.append(
            f"every logvar was at least 0 on the {len(x)} images tried (up to "
            f"{float(logvar.max()):.3g}): if encode returns sigma or the variance, return its log"
        )
    if guessed:
        otherwise = subject.set("image_shape", "(C, H, W)")
        notes.insert(0, f"{text(image_shape)} was found by trying; {otherwise} says otherwise")
    if not decoder.has_gradient:
        notes.append("decode gives no gradients: what needs them cannot be computed")
    kind = type(given).__name__
    try:
        config = ForeignModel(image_shape, D, likelihood.name, kind)
    except ConfigError as error:
        raise CheckpointError(f"{said}: {error}") from error
    model = VAE.of_parts(config, encoder, decoder, likelihood.module).eval()
    n = model.n_parameters
    reads = "flattened images" if flat else "images"
    card = Card(
        format=subject.format,
        model=kind,
        network=f"{kind}, {n:,} parameters" if n else f"{kind}, whose parameters are not known",
        latent_dim=D,
        image_shape=image_shape,
        pixels=f"[0, 1], as {reads}",
        likelihood=told,
        trained_with="a loss that is not known",
        factors={"recon": None, "KL": None},
        implied_beta=None,
        notes=tuple(notes),
    )
    return Adapted(model, card)


# The parts.


class _Part(nn.Module):
    """Calls a person's object. What it holds of modules is counted, moved and copied with it."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = given
        if not isinstance(given, nn.Module):
            self.modules_of_given = nn.ModuleList(_modules_of(given))
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
    """x (B, C, H, W) -> mu (B, D), logvar (B, D), by a person's `encode`."""

    def __init__(self, given: Any, flat: bool) -> None:
        super().__init__(given)
        self.flat = flat

    def call(self, x: Tensor) -> Any:
        """What `encode` returns, as it is."""
        x = self._read(x)
        # A copy, as it may change its input in place.
        return self.given.encode((x.flatten(1) if self.flat else x).clone())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mu and logvar of q(z|x)."""
        mu, logvar = _asked("encode", lambda: [_as_tensor(value) for value in self.call(x)])
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

    def call(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) for z (B, D), as `decode` gives them.

        Raises:
            _Mismatch: they are of another shape.
        """
        return self._shaped(self.given.decode(self._read(z).clone()), z)

    def call_before_sigmoid(self, z: Tensor) -> tuple[Any, Tensor | None]:
        """What `decode` returned, and what the sigmoid was given that it ended with, if with one.

        The second is of shape (B, C, H, W).
        """
        last = _LastSigmoid()
        read = self._read(z).clone()
        with last:
            out = self.given.decode(read)
        is_sigmoid = isinstance(out, Tensor) and last.is_behind(out)
        return out, self._shaped(last.input, z) if is_sigmoid else None

    def forward(self, z: Tensor) -> Tensor:
        """The raw output for each z."""
        flat = z.reshape(-1, self.latent_dim)  # (prod(...), D)
        if torch.is_grad_enabled() and flat.requires_grad and not self.has_gradient:
            raw = _WithoutGradient.apply(flat, self._raw)
        else:
            raw = self._raw(flat)  # (prod(...), C, H, W)
        return raw.reshape(*z.shape[:-1], *self.image_shape)

    def _raw(self, z: Tensor) -> Tensor:
        return _asked("decode", lambda: self._output(z))

    def _output(self, z: Tensor) -> Tensor:
        if not self.gives_means:
            return self.call(z)
        out, logits = self.call_before_sigmoid(z)
        return logits_of(self._shaped(out, z)) if logits is None else logits

    def _shaped(self, out: Any, z: Tensor) -> Tensor:
        B, (C, H, W) = len(z), self.image_shape
        try:
            values = _as_tensor(out)
        except TypeError as error:
            raise _Mismatch(f"decode returned {error}; it must return one tensor") from None
        allowed = [(B, C, H, W), (B, C * H * W), *([(B, H, W), (B, H, W, 1)] if C == 1 else ())]
        if tuple(values.shape) not in allowed:
            raise _Mismatch(
                f"decode returned {_shape(values)} for z {_shape(z)}; expected "
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
        raise ValueError(
            "this needs the gradient of decode, which this model does not give (it leaves torch, "
            "or detaches its result); use a method without gradients"
        )


def logits_of(means: Tensor) -> Tensor:
    """log(p / (1 - p)) of means p of Bernoulli variables, clamped at the rounding of their type."""
    limits = torch.finfo(means.dtype)
    p = means.clamp(limits.tiny, 1 - limits.eps / 2)
    return torch.logit(p)


# What is looked at once.


def _check_methods(given: Any, said: str) -> None:
    lacking = [name for name in ("encode", "decode") if not callable(_of(given, name))]
    if not lacking:
        return
    parts = [name for name in dir(given) if "encode" in name.lower() or "decode" in name.lower()]
    public = parts or [name for name in vars(type(given)) if not name.startswith("_")]
    has = f"; it has {', '.join(public[:6])}" if public else ""
    raise CheckpointError(
        f"{said} is a {type(given).__name__} without {' and '.join(lacking)}{printable(has, 200)}; "
        "give it encode(x) -> (mu, logvar) and decode(z) -> images"
    )


def _own_shape(given: Any, said: str) -> tuple[int, int, int] | None:
    shape = _of(given, "image_shape")
    if shape is None or callable(shape):
        return None
    try:
        if isinstance(shape, str):
            raise TypeError
        shape = tuple(int(side) for side in shape)
        if len(shape) == 2:
            shape = (1, *shape)
        ForeignModel(shape, 1, "bernoulli", "any")
    except (TypeError, ValueError) as error:
        told = error if isinstance(error, ConfigError) else "it must be (C, H, W)"
        raise CheckpointError(f"{said} has an image_shape that cannot be used: {told}") from error
    return shape


def _batch(image_shape: tuple[int, int, int], images: Tensor | None) -> Tensor:
    """Real images of that shape, or a black one and noise; float (B, C, H, W), B >= 2."""
    if images is not None and tuple(images.shape[1:]) == tuple(image_shape) and len(images) > 1:
        return to_unit(images[:N_IMAGES])
    x = torch.rand(8, *image_shape, generator=torch.Generator().manual_seed(0))
    x[0] = 0
    return x


def _places(mu: Tensor) -> Tensor:
    """Where decode is tried: at mu, at the prior's mean, and at draws from it and beyond it."""
    eps = torch.randn(2 * _N_DRAWS, mu.shape[1], generator=torch.Generator().manual_seed(1))
    eps[_N_DRAWS:] *= 3
    return torch.cat([mu, torch.zeros_like(mu[:1]), eps.to(mu)])


def _tried(stage: int, what: str, call: Callable[[], Any]) -> Any:
    with torch.no_grad():
        try:
            return call()
        except CheckpointError:
            raise
        except _Mismatch as error:
            raise _Mismatch(str(error), stage) from error
        except RAISED as error:
            raise _Mismatch(f"{what} raised {raised(error)}", stage) from error


def _moments(result: Any, B: int, said: str) -> tuple[Tensor, Tensor]:
    """mu and logvar out of what `encode` returned for B images."""
    wrong = f"{said}: encode must return the pair (mu, logvar), each (B, D); it returned "
    if isinstance(result, torch.distributions.Distribution):
        raise CheckpointError(
            f"{wrong}a {type(result).__name__} distribution; return q.mean, 2 * q.stddev.log()"
        )
    if isinstance(result, Tensor | np.ndarray):
        raise CheckpointError(
            f"{wrong}one array of shape {text(tuple(result.shape))}; if mu and logvar stand side "
            "by side in it, return h.chunk(2, dim=1)"
        )
    if not isinstance(result, tuple | list) or len(result) != 2:
        what = (
            f"{len(result)} values" if isinstance(result, tuple | list) else type(result).__name__
        )
        raise CheckpointError(f"{wrong}{what}")
    try:
        mu, logvar = (_as_tensor(value) for value in result)
    except TypeError as error:
        raise CheckpointError(f"{wrong}{error} in it") from None
    if mu.shape != logvar.shape:
        raise CheckpointError(
            f"{said}: encode returned mu {_shape(mu)} and logvar {_shape(logvar)}; they must have "
            "one shape, (B, D): a variance per dimension"
        )
    if mu.ndim != 2 or len(mu) != B:
        raise _Mismatch(f"encode returned mu {_shape(mu)} for {B} images; expected {B} x D")
    if not 1 <= mu.shape[1] <= MAX_LATENT_DIM:
        raise CheckpointError(
            f"{said}: encode returned {mu.shape[1]:,} latent dimensions; from 1 to "
            f"{MAX_LATENT_DIM:,} can be shown"
        )
    for name, values in (("mu", mu), ("logvar", logvar)):
        if not torch.isfinite(values).all():
            n = int((~torch.isfinite(values)).sum())
            raise CheckpointError(
                f"{said}: encode returned a {name} with {n} of {values.numel()} values NaN or "
                "infinite, for pixels in [0, 1]; check its weights, and that it does not take the "
                "log of a variance of 0"
            )
    return mu.float(), logvar.float()


def _checked_moments(encoder: Encoder, x: Tensor, said: str) -> tuple[Tensor, Tensor]:
    """mu and logvar of a batch; the same when asked again, and for an image alone."""
    B = len(x)
    mu, logvar = _tried(0, "encode", lambda: _moments(encoder.call(x), B, said))
    again = _tried(1, "encode, called again,", lambda: _moments(encoder.call(x), B, said))
    alone = _tried(1, "encode, given one image,", lambda: _moments(encoder.call(x[:1]), 1, said))
    for name, before, after in zip(("mu", "logvar"), (mu, logvar), again, strict=True):
        if before.shape != after.shape or not torch.allclose(before, after, **_SAME):
            raise CheckpointError(
                f"{said}: encode returned another {name} for the same images when it was called "
                "again; it must return the parameters of q(z|x), not a sample, and drop nothing "
                "out at random"
            )
    if alone[0].shape[1] != mu.shape[1]:
        raise CheckpointError(
            f"{said}: encode returned {mu.shape[1]} latent dimensions for {B} images, but "
            f"{alone[0].shape[1]} for one; D must not change"
        )
    if not all(torch.allclose(a, b[:1], **_SAME) for a, b in zip(alone, (mu, logvar), strict=True)):
        raise _mixes(said, "encode")
    return mu, logvar


def _check_images(decoder: Decoder, mu: Tensor, said: str) -> None:
    """As `_checked_moments`, of the images at mu; and whether they can be differentiated."""
    raw = _tried(2, "decode", lambda: decoder.call(mu))
    again = _tried(2, "decode, called again,", lambda: decoder.call(mu))
    alone = _tried(2, "decode, given one z,", lambda: decoder.call(mu[:1]))
    if not torch.isfinite(raw).all():
        raise CheckpointError(
            f"{said}: decode returned NaN or infinite values at the mu of an image; check its "
            "weights"
        )
    if not torch.allclose(raw, again, **_SAME):
        raise CheckpointError(
            f"{said}: decode returned another image for the same z when it was called again; it "
            "must return the parameters of p(x|z), not a sample"
        )
    if not torch.allclose(alone, raw[:1], **_SAME):
        raise _mixes(said, "decode")
    try:
        with torch.enable_grad():
            decoder.has_gradient = decoder.call(mu.clone().requires_grad_()).requires_grad
    except RAISED:
        decoder.has_gradient = False


def _mixes(said: str, name: str) -> CheckpointError:
    return CheckpointError(
        f"{said}: what {name} returns for one input depends on the others of its batch; put its "
        "layers into evaluation mode (model.eval()), batch norm above all"
    )


@dataclass(frozen=True)
class _Chosen:
    name: str
    module: nn.Module


def _likelihood(subject: _Subject, decoder: Decoder, z: Tensor) -> tuple[_Chosen, str, list[str]]:
    """p(x|z), what to say of it, and notes; sets how the decoder's output is taken."""
    given, said, notes = subject.given, subject.said, []
    wanted = _of(given, "likelihood")
    if wanted is not None and not isinstance(wanted, str):
        notes.append(f"its likelihood is a {type(wanted).__name__}, no name, and was not read")
        wanted = None
    if wanted is not None and wanted not in LIKELIHOODS:
        raise CheckpointError(
            f"{said} has a likelihood (={printable(wanted)!r}) that is none of: "
            f"{', '.join(LIKELIHOODS)}"
        )
    as_gaussian = subject.set("likelihood", '"gaussian"')
    if wanted == "gaussian":
        logvar_x = _of(given, "logvar_x")
        if logvar_x is None or (callable(logvar_x) and not isinstance(logvar_x, Tensor)):
            otherwise = subject.set("logvar_x", "log s^2")
            notes.append(f"no variance of a pixel is said, so 1; {otherwise} says otherwise")
            return _Chosen("gaussian", fixed_gaussian(1.0)), UNIT_GAUSSIAN, notes
        variance = _variance(logvar_x, said)
        told = f"Gaussian of variance {variance:.4g}, as its logvar_x says"
        return _Chosen("gaussian", fixed_gaussian(variance)), told, notes

    values = _tried(2, "decode", lambda: decoder.call(z))
    finite = values[torch.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    spread = f"from {low:.3g} to {high:.3g} at {len(z)} places"
    _, before = _tried(2, "decode", lambda: decoder.call_before_sigmoid(z))
    is_sigmoid = before is not None
    stays = low >= 0 and high <= 1
    decoder.gives_means = is_sigmoid or (wanted is None and stays)
    name = wanted or "bernoulli"
    chosen = _Chosen(name, make_likelihood(name))
    kind = {"bernoulli": "Bernoulli", "continuous-bernoulli": "Continuous Bernoulli"}[name]
    if is_sigmoid:
        told = f"{kind}: decode ends with a sigmoid, whose input is the logits"
    elif wanted is not None:
        told = f"{kind} on logits, as its likelihood says"
        if stays:
            notes.append(
                f"decode's values, {spread}, were taken as logits, as its likelihood says; "
                "if they are means, return logits, or end decode with torch.sigmoid"
            )
    else:
        told = f"Bernoulli, {'means' if stays else 'logits'}: decode's values were {spread}"
        if not stays and low > -0.5 and high < 1.5:
            notes.append(
                f"decode's values, {spread}, lie so near [0, 1] that they may be means of pixels: "
                f"then say {as_gaussian}"
            )
    return chosen, told if wanted else f"{told}; {as_gaussian} says otherwise", notes


def _variance(logvar_x: Any, said: str) -> float:
    try:
        value = float(logvar_x)
        if abs(value) < 50:
            return math.exp(value)
    except RAISED:
        pass
    raise CheckpointError(
        f"{said} has a logvar_x (={printable(repr(logvar_x), 80)}) that is not one number, the log "
        "variance of every pixel"
    )


def _card_of_ours(model: VAE, format_: str) -> Card:
    config = model.config
    return Card(
        format=format_,
        model="VAE",
        network=f"{config.family} {'-'.join(map(str, config.hidden))}".strip(),
        latent_dim=config.latent_dim,
        image_shape=config.image_shape,
        pixels="[0, 1]",
        likelihood=f"{config.likelihood}, as its config says",
        trained_with="a loss that is not known",
        factors={"recon": None, "KL": None},
        implied_beta=None,
    )


# Small things.


def _of(given: Any, name: str) -> Any:
    """What the object says by that name; None if nothing, or if it fails to."""
    try:
        return getattr(given, name, None)
    except RAISED:
        return None


def _asked(name: str, call: Callable[[], Any]) -> Any:
    """What a person's code returns; raises ValueError for whatever it raises."""
    try:
        return call()
    except ValueError:
        raise
    except RAISED as error:
        raise ValueError(f"{name} raised {raised(error)}") from error


def _modules_of(given: Any) -> list[nn.Module]:
    """The modules that an object is or holds as attributes, or in lists and dicts of them."""
    if isinstance(given, nn.Module):
        return [given]
    found: list[nn.Module] = []
    for value in getattr(given, "__dict__", {}).values():
        inner = value.values() if isinstance(value, dict) else value
        several = list(inner) if isinstance(value, dict | list | tuple) else [value]
        found += [part for part in several if isinstance(part, nn.Module)]
    return found


def _parameters_of(given: Any) -> Iterator[Tensor]:
    for module in _modules_of(given):
        yield from module.parameters()


def _as_tensor(value: Any) -> Tensor:
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


def _shape(values: Tensor) -> str:
    return text(tuple(values.shape)) or "of one number"
