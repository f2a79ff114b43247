"""What a person's object is asked once, on one batch, and what is said where it will not do."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vae.config import MAX_LATENT_DIM, ConfigError, ForeignModel
from vae.data.dataset import to_unit
from vae.formats.shapes import text
from vae.formats.user_code.factory import RAISED, raised
from vae.formats.user_code.wrapped import Decoder, Encoder, Mismatch, as_tensor, shape_text
from vae.formats.wording import printable
from vae.runs.checkpoint import CheckpointError

N_IMAGES = 16  # at most, of the batch that is tried
_N_DRAWS = 32  # of z from the prior, and as many from one three times as wide
_SAME: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}  # float32 sums in another order differ by less


def check_methods(given: Any, said: str) -> None:
    """Raises CheckpointError: the object lacks encode or decode, and has no forward instead."""
    lacking = [name for name in ("encode", "decode") if not callable(attribute(given, name))]
    parts = [name for name in dir(given) if "encode" in name.lower() or "decode" in name.lower()]
    public = parts or [name for name in vars(type(given)) if not name.startswith("_")]
    has = f"; it has {', '.join(public[:6])}" if public else ""
    raise CheckpointError(
        f"{said} is a {type(given).__name__} without {' and '.join(lacking)}{printable(has, 200)}; "
        "give it encode(x) -> (mu, logvar) and decode(z) -> images, or forward(x) -> (recon, mu, "
        "logvar)"
    )


def own_shape(given: Any, said: str) -> tuple[int, int, int] | None:
    """The `image_shape` that an object has; raises CheckpointError where it is none."""
    shape = attribute(given, "image_shape")
    if shape is None or callable(shape):
        return None
    try:
        if isinstance(shape, str):
            raise TypeError
        sides = tuple(int(side) for side in shape)
        shape = cast("tuple[int, int, int]", (1, *sides) if len(sides) == 2 else sides)
        return ForeignModel(shape, 1, "bernoulli", "any").image_shape  # which checks it
    except (TypeError, ValueError) as error:
        told = error if isinstance(error, ConfigError) else "it must be (C, H, W)"
        raise CheckpointError(f"{said} has an image_shape that cannot be used: {told}") from error


def batch_of(image_shape: tuple[int, int, int], images: Tensor | None) -> Tensor:
    """Real images of that shape, or a black one and noise; float (B, C, H, W), B >= 2."""
    if images is not None and tuple(images.shape[1:]) == tuple(image_shape) and len(images) > 1:
        return to_unit(images[:N_IMAGES])
    x = torch.rand(8, *image_shape, generator=torch.Generator().manual_seed(0))
    x[0] = 0
    return x


def places(mu: Tensor) -> Tensor:
    """Where decode is tried: at mu, at the prior's mean, and at draws from it and beyond it."""
    eps = torch.randn(2 * _N_DRAWS, mu.shape[1], generator=torch.Generator().manual_seed(1))
    eps[_N_DRAWS:] *= 3
    return torch.cat([mu, torch.zeros_like(mu[:1]), eps.to(mu)])


def tried(stage: int, what: str, call: Callable[[], Any]) -> Any:
    """What a person's code returns; raises Mismatch of that stage for whatever it raises."""
    with torch.no_grad():
        try:
            return call()
        except CheckpointError:
            raise
        except Mismatch as error:
            raise Mismatch(str(error), stage) from error
        except RAISED as error:
            raise Mismatch(f"{what} raised {raised(error)}", stage) from error


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
        mu, logvar = (as_tensor(value) for value in result)
    except TypeError as error:
        raise CheckpointError(f"{wrong}{error} in it") from None
    if mu.shape != logvar.shape:
        raise CheckpointError(
            f"{said}: encode returned mu {shape_text(mu)} and logvar {shape_text(logvar)}; they "
            "must have one shape, (B, D): a variance per dimension"
        )
    if mu.ndim != 2 or len(mu) != B:
        raise Mismatch(f"encode returned mu {shape_text(mu)} for {B} images; expected {B} x D")
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


def checked_moments(encoder: Encoder, x: Tensor, said: str) -> tuple[Tensor, Tensor]:
    """mu and logvar of a batch; the same when asked again, and for an image alone."""
    B = len(x)
    mu, logvar = tried(0, "encode", lambda: _moments(encoder.call(x), B, said))
    again = tried(1, "encode, called again,", lambda: _moments(encoder.call(x), B, said))
    alone = tried(1, "encode, given one image,", lambda: _moments(encoder.call(x[:1]), 1, said))
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


def check_images(decoder: Decoder, mu: Tensor, said: str) -> None:
    """As `checked_moments`, of the images at mu; and whether they can be differentiated."""
    raw = tried(2, "decode", lambda: decoder.call(mu))
    again = tried(2, "decode, called again,", lambda: decoder.call(mu))
    alone = tried(2, "decode, given one z,", lambda: decoder.call(mu[:1]))
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


def attribute(given: Any, name: str) -> Any:
    """What the object says by that name; None if nothing, or if it fails to."""
    try:
        return getattr(given, name, None)
    except RAISED:
        return None
