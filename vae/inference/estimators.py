"""What Monte Carlo does, for one image: estimates of the bound's terms and of their gradients.

Everything here is about the loss L = -ELBO = recon + kl, equation (6), in nats, and about the mu
and logvar of one q(z|x), which need not be the encoder's.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vae.core import gaussian
from vae.core.elbo import decodes_at_once, log_likelihood
from vae.core.model import VAE
from vae.errors import UserError


class Running(NamedTuple):
    """An average as its draws arrive, in nats and in float64.

    Attributes:
        values: what each draw says, shape (L,).
        mean: the average of the first 1, 2, ..., L of them, shape (L,).
        stderr: its standard error, shape (L,); NaN for a single draw.
    """

    values: Tensor
    mean: Tensor
    stderr: Tensor


class Gradient(NamedTuple):
    """Numbers that belong to mu and to log sigma, one per latent dimension.

    Attributes:
        mu, log_sigma: each (L, D) where there is one per draw, else (D,).
    """

    mu: Tensor
    log_sigma: Tensor


class GradientEstimates(NamedTuple):
    """Three unbiased estimates of the same gradient, that of L = -ELBO, by each draw in float64.

    Attributes:
        pathwise: through z = mu + eps * sigma, equation (7).
        score: log p(x|z) times the score of q; REINFORCE (Williams, 1992).
        score_baseline: the same, less the other draws' average; NaN for a single draw.
    """

    pathwise: Gradient
    score: Gradient
    score_baseline: Gradient


class VarianceRatio(NamedTuple):
    """By how many times one estimator's variance, summed over dimensions, exceeds another's."""

    mu: float
    log_sigma: float


def running_recon(model: VAE, x: Tensor, mu: Tensor, logvar: Tensor, eps: Tensor) -> Running:
    """The estimate of -E_q log p(x|z) by the first 1, 2, ..., L draws: equation (7).

    Args:
        model: the VAE.
        x: one image, shape (C, H, W), in [0, 1].
        mu, logvar: of q(z|x), each (D,).
        eps: standard normal noise, shape (L, D).

    Raises:
        UserError: shapes that do not fit, no draws, or a likelihood that is not finite.
    """
    _check_image(model, x)
    _check_draws(mu, logvar, eps, model)
    with torch.no_grad():
        parts = [-log_likelihood(model, x, z) for z in _draws(model, x, mu, logvar, eps)]
    return _running(_finite(torch.cat(parts).double()))


def running_kl(mu: Tensor, logvar: Tensor, eps: Tensor) -> Running:
    """KL(q, prior) as the average of log q(z) - log p(z) over the first 1, 2, ..., L draws.

    Its closed form is the sum of `gaussian.kl_to_standard_normal`, equation (6).

    Args:
        mu, logvar: of q, each (D,).
        eps: standard normal noise, shape (L, D).

    Raises:
        UserError: shapes that do not fit, no draws, or a q that is not finite.
    """
    _check_draws(mu, logvar, eps)
    mu, logvar, eps = mu.detach().double(), logvar.detach().double(), eps.to(mu.device).double()
    z = gaussian.reparameterise(mu, logvar, eps)  # (L, D)
    values = gaussian.log_prob(z, mu, logvar) - gaussian.standard_normal_log_prob(z)
    return _running(_finite(values, "log q(z) - log p(z)"))


def gradient_estimates(
    model: VAE, x: Tensor, mu: Tensor, logvar: Tensor, eps: Tensor
) -> GradientEstimates:
    """What each draw says of dL/dmu and of dL/dlog sigma, L = -ELBO, by three estimators.

    They share the KL's part, which is closed form, and the noise. With f(z) = -log p(x|z), which
    pathwise differentiates and the score function only evaluates, their other parts are:

        pathwise:  f'(z) * dz/dmu and f'(z) * dz/dlog sigma, where z = mu + eps * sigma;
        score:     f(z) * the gradient of log q(z), which is eps / sigma and eps^2 - 1.

    The score's expectation is zero, so a baseline that does not depend on z leaves the mean alone.
    Mohamed, Rosca, Figurnov & Mnih (2020), sections 4 and 5; the average of the other draws as
    baseline: Kool, van Hoof & Welling (2019).

    Args:
        model: the VAE; its weights stay as they are.
        x: one image, shape (C, H, W), in [0, 1].
        mu, logvar: of q(z|x), each (D,).
        eps: standard normal noise, shape (L, D).

    Raises:
        UserError: shapes that do not fit, no draws, or a likelihood that is not finite.
    """
    _check_image(model, x)
    L = _check_draws(mu, logvar, eps, model)
    values, slopes = [], []
    for z in _draws(model, x, mu, logvar, eps):
        with torch.enable_grad():
            f = -log_likelihood(model, x, z.requires_grad_())
            slopes += torch.autograd.grad(f.sum(), z)
        values.append(f.detach())
    f = _finite(torch.cat(values).double())[:, None]  # (L, 1)
    slope = _finite(torch.cat(slopes).double(), "the gradient of log p(x|z)")  # (L, D)

    eps, mu = eps.to(x.device).double(), mu.detach().to(x.device).double()
    sigma = torch.exp(logvar.detach().to(x.device).double() / 2)
    kl = Gradient(mu, sigma.square() - 1)  # of equation (6)

    def score(weight: Tensor) -> Gradient:
        return Gradient(
            weight * eps / sigma + kl.mu, weight * (eps.square() - 1) + kl.log_sigma
        )  # (L, D) each

    # f less the average of the others is L / (L - 1) times f less the average of all.
    without_others = (f - f.mean()) * (L / (L - 1)) if L > 1 else torch.full_like(f, math.nan)
    return GradientEstimates(
        pathwise=Gradient(slope + kl.mu, slope * eps * sigma + kl.log_sigma),
        score=score(f),
        score_baseline=score(without_others),
    )


def variance(estimates: Gradient) -> Gradient:
    """The variance of a single draw's estimate, of each component: (L, D) -> (D,), nats^2.

    The average of n draws has 1 / n of it.

    Raises:
        UserError: fewer than two draws.
    """
    if (L := len(estimates.mu)) < 2:
        raise UserError(f"a variance needs at least 2 draws, not {L}")
    return Gradient(estimates.mu.var(0), estimates.log_sigma.var(0))


def variance_ratio(estimates: Gradient, reference: Gradient) -> VarianceRatio:
    """How many times the reference's draws the other estimator needs for an equal error.

    Args:
        estimates: for instance the score function's, each (L, D).
        reference: for instance the pathwise ones, each (L, D).

    Returns:
        Ratios of the variances summed over the D components of mu, and over those of log sigma:
        infinite if the reference does not vary but the other does, NaN if neither does.

    Raises:
        UserError: fewer than two draws.
    """
    pairs = zip(variance(estimates), variance(reference), strict=True)
    return VarianceRatio(*(_ratio(float(a.sum()), float(b.sum())) for a, b in pairs))


def _ratio(above: float, below: float) -> float:
    if below > 0:
        return above / below
    return math.inf if above > 0 else math.nan


def _running(values: Tensor) -> Running:
    n = torch.arange(1, len(values) + 1, dtype=values.dtype, device=values.device)
    # Measured from the average of all, so that the squares do not drown in a large common part.
    centre = values.mean()
    mean = (values - centre).cumsum(0) / n
    squares = (values - centre).square().cumsum(0) - n * mean.square()
    variance = squares.clamp_min(0) / (n - 1)  # 0 / 0 = NaN for the first
    return Running(values, centre + mean, (variance / n).sqrt())


def _draws(model: VAE, x: Tensor, mu: Tensor, logvar: Tensor, eps: Tensor) -> Iterator[Tensor]:
    """z = mu + eps * sigma, equation (7), (l, D) in pieces that may be decoded in one go."""
    mu, logvar, eps = mu.detach().to(x), logvar.detach().to(x), eps.to(x)
    for part in eps.split(decodes_at_once(model)):
        yield gaussian.reparameterise(mu, logvar, part)


def _check_image(model: VAE, x: Tensor) -> None:
    if tuple(x.shape) != model.config.image_shape:
        raise UserError(
            f"x {tuple(x.shape)} must be one image, (C, H, W) = {model.config.image_shape}"
        )


def _check_draws(mu: Tensor, logvar: Tensor, eps: Tensor, model: VAE | None = None) -> int:
    """How many draws there are, of as many dimensions as the model has."""
    D = model.config.latent_dim if model else max(mu.numel(), 1)
    if mu.shape != (D,) or logvar.shape != (D,):
        raise UserError(
            f"mu {tuple(mu.shape)} and logvar {tuple(logvar.shape)} must both be (D,) with D = {D}"
        )
    if eps.ndim != 2 or eps.shape[0] < 1 or eps.shape[1] != D:
        raise UserError(f"eps {tuple(eps.shape)} must be (L, D) with L >= 1 and D = {D}")
    return len(eps)


def _finite(values: Tensor, name: str = "log p(x|z)") -> Tensor:
    bad = ~values.reshape(len(values), -1).isfinite().all(1)
    if bad.any():
        raise UserError(
            f"{name} is not finite for {int(bad.sum())} of {len(values)} draws, first for "
            f"eps[{int(bad.nonzero()[0])}]: q may lie too far out, or its sigma be too large"
        )
    return values
