"""The terms of the bound, one value per point, in nats: equation (6) and its sharper relatives."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae.core import gaussian
from vae.core.model import VAE
from vae.errors import UserError

# Decodes are cut into pieces of about this many output numbers, so that memory stays bounded
# whatever the number of samples.
_NUMBERS_AT_ONCE = 2**20
_LAYERS_AT_ONCE = 2**26  # of the numbers that all layers give on the way
_DECODES_AT_ONCE = 4096


class PointTerms(NamedTuple):
    """The two terms of the loss (equation 6) for B points, in nats per image.

    Attributes:
        recon: Monte Carlo estimate of -E_q log p(x|z), shape (B,).
        recon_stderr: its standard error, shape (B,); NaN for a single sample.
        kl_per_dim: KL(q(z|x), p(z)) of each dimension, closed form, shape (B, D).
    """

    recon: Tensor
    recon_stderr: Tensor
    kl_per_dim: Tensor

    @property
    def kl(self) -> Tensor:
        """KL(q(z|x), p(z)), shape (B,)."""
        return self.kl_per_dim.sum(-1)

    @property
    def neg_elbo(self) -> Tensor:
        """recon + kl, shape (B,): an upper bound of -log p(x), equation (8)."""
        return self.recon + self.kl


def point_terms(model: VAE, x: Tensor, eps: Tensor) -> PointTerms:
    """The bound's terms for each point: KL in closed form, reconstruction by S samples.

    Equations (6) and (7); Kingma & Welling (2014), equation 10.

    Args:
        model: the VAE.
        x: images, shape (B, C, H, W), in [0, 1].
        eps: standard normal noise, shape (S, B, D), see `gaussian.noise_of_points`.

    Raises:
        UserError: images or noise of another shape than the model's.
    """
    mu, logvar = model.encode(x)
    log_px_given_z = torch.cat(
        [
            log_likelihood(model, x, gaussian.reparameterise(mu, logvar, part))
            for part in _split(model, _checked(eps, mu), x)
        ]
    )  # (S, B)
    S = log_px_given_z.shape[0]
    spread = log_px_given_z.std(0) if S > 1 else torch.full_like(log_px_given_z[0], math.nan)
    return PointTerms(
        recon=-log_px_given_z.mean(0),
        recon_stderr=spread / math.sqrt(S),
        kl_per_dim=gaussian.kl_to_standard_normal(mu, logvar),
    )


def log_likelihood(model: VAE, x: Tensor, z: Tensor) -> Tensor:
    """log p(x|z) summed over pixels, in nats: x (B, C, H, W), z (..., B, D) -> (..., B)."""
    return model.likelihood.log_prob(x, model.decode(z)).sum((-3, -2, -1))


def pixel_recon(model: VAE, x: Tensor, eps: Tensor) -> Tensor:
    """What each pixel adds to `recon`, in nats.

    Args:
        model: the VAE.
        x: one image, shape (C, H, W).
        eps: noise, shape (S, D).

    Returns:
        Shape (C, H, W); its sum is that point's `recon`.
    """
    mu, logvar = model.encode(x[None])
    total = torch.zeros_like(x)
    for part in _split(model, eps[:, None], x[None]):
        z = gaussian.reparameterise(mu, logvar, part)  # (s, 1, D)
        total -= model.likelihood.log_prob(x, model.decode(z)).sum((0, 1))
    return total / len(eps)


class ImportanceWeighted(NamedTuple):
    """What K importance samples from q say of log p(x) for B points, in nats.

    Attributes:
        bound: log (1/K) sum_k p(x, z_k) / q(z_k|x), shape (B,); its expectation grows with K from
            the ELBO to log p(x).
        stderr: its standard error by the delta method, shape (B,); NaN for K = 1. It knows only
            what the samples met: where q misses a mode of p(z|x), so does it.
        ess: the effective sample size of the weights, (sum w)^2 / sum w^2, from 1 to K, shape (B,).
        elbo: the mean of the logarithms of the same weights, shape (B,).
    """

    bound: Tensor
    stderr: Tensor
    ess: Tensor
    elbo: Tensor


def importance_weighted_bound(model: VAE, x: Tensor, eps: Tensor) -> ImportanceWeighted:
    """log (1/K) sum_k p(x, z_k) / q(z_k|x), z_k ~ q: between the ELBO and log p(x).

    Burda, Grosse & Salakhutdinov (2016), equation 8. The sums run in the log domain and in pieces,
    so K may be large.

    Args:
        model: the VAE.
        x: images, shape (B, C, H, W).
        eps: noise, shape (K, B, D).

    Raises:
        UserError: images or noise of another shape than the model's.
    """
    mu, logvar = model.encode(x)
    log_sum = torch.full_like(mu[:, 0], -math.inf)  # log of the sum of the weights
    log_sum_of_squares, total = log_sum.clone(), torch.zeros_like(log_sum)
    for part in _split(model, _checked(eps, mu), x):
        log_w = log_weights(model, x, mu, logvar, part)  # (k, B)
        log_sum = torch.logaddexp(log_sum, log_w.logsumexp(0))
        log_sum_of_squares = torch.logaddexp(log_sum_of_squares, (2 * log_w).logsumexp(0))
        total += log_w.sum(0)
    K = eps.shape[0]
    ess = torch.exp(2 * log_sum - log_sum_of_squares)
    # Relative variance of the mean weight: (K / ess - 1) / (K - 1).
    variance = (K / ess - 1).clamp_min(0) / (K - 1) if K > 1 else torch.full_like(ess, math.nan)
    return ImportanceWeighted(log_sum - math.log(K), variance.sqrt(), ess, total / K)


def log_weights(model: VAE, x: Tensor, mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """log p(x, z) / q(z|x) at z = mu + eps * sigma: (K, B), for eps (K, B, D), in nats."""
    z = gaussian.reparameterise(mu, logvar, eps)
    return (
        _log_likelihood_by_products(model, x, z)
        + gaussian.standard_normal_log_prob(z)
        - gaussian.log_prob(z, mu, logvar)
    )


def bound_against_samples(log_w: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """The importance-weighted bound of one point for several K, from one pool of N log weights.

    The pool is cut into N // K groups; their mean estimates E[bound_K] without bias.

    Args:
        log_w: shape (N,), of independent samples.
        sizes: the K, each from 1 to N.

    Returns:
        The bounds and their standard errors, each (len(sizes),), in nats. With fewer than eight
        groups the error comes from the weights inside them (delta method).

    Raises:
        UserError: a K out of that range.
    """
    N = len(log_w)
    log_w = log_w.double()
    bounds, errors = [], []
    for K in sizes:
        if not 1 <= K <= N:
            raise UserError(f"K (={K}) must be from 1 to the {N} samples there are")
        groups = log_w[: N // K * K].reshape(-1, K)
        bound = groups.logsumexp(1) - math.log(K)
        n = len(bound)
        if n >= 8:
            error = bound.std() / math.sqrt(n)
        else:
            w = torch.exp(groups - groups.amax(1, keepdim=True))
            error = (w.std(1) / w.mean(1)).square().mean().div(K * n).sqrt()
        bounds.append(bound.mean())
        errors.append(error)
    return torch.stack(bounds), torch.stack(errors)


def _log_likelihood_by_products(model: VAE, x: Tensor, z: Tensor) -> Tensor:
    """`log_likelihood` for many z (K, B, D) per image, in half the time."""
    eta, A = model.likelihood.terms(model.decode(z))
    products = torch.einsum("kbn,bn->kb", eta, model.likelihood.statistics(x).to(eta.dtype))
    return (products - A + model.likelihood.base(x)).to(z.dtype)


def decodes_at_once(model: VAE) -> int:
    """How many images a model may encode or decode in one go within bounded memory."""
    by_pixels = _NUMBERS_AT_ONCE // math.prod(model.config.image_shape)
    return max(1, min(_DECODES_AT_ONCE, by_pixels, _LAYERS_AT_ONCE // model.footprint))


def _split(model: VAE, eps: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    return eps.split(max(1, decodes_at_once(model) // max(len(x), 1)))


def _checked(eps: Tensor, mu: Tensor) -> Tensor:
    if eps.ndim != 3 or eps.shape[0] < 1 or eps.shape[1:] != mu.shape:
        raise UserError(
            f"eps {tuple(eps.shape)} must be (S, B, D) with S >= 1 and (B, D) = {tuple(mu.shape)}"
        )
    return eps
