"""log p(x) of a latent line or plane as a mean over lattice points of the prior's mass.

A lattice of equal weights on the unit square goes through the normal quantile and is then one of
the prior. Shifted at random it gives p(x) without bias (Cranley & Patterson, 1976), so log p(x) is
too low, by less the more points lie where the posterior is (Jensen's inequality).
"""

import math

import torch
from torch import Tensor

from vae.core.elbo import decodes_at_once
from vae.core.model import VAE
from vae.errors import UserError

MOST_DIMENSIONS = 2  # a lattice over more would need too many points
# Roberts's R2 sequence: the powers of 1 / g, where g is the plastic number, g^3 = g + 1.
_PLASTIC = 1.32471795724474602596
_EDGE = 1e-9  # no coordinate lies nearer to 0 or 1, where the quantile is infinite


def lattice(n_points: int, latent_dim: int, shift: Tensor) -> Tensor:
    """Points of equal weight under the standard normal.

    Along a line they are equally spaced before the quantile; on a plane they are the first points
    of the additive recurrence with 1/g and 1/g^2 (Roberts, 2018), which is a lattice of rank 1 but
    for its last points.

    Args:
        n_points: M, at least 1.
        latent_dim: D, 1 or 2.
        shift: shape (D,), each in [0, 1): drawn anew it makes another lattice.

    Returns:
        Shape (M, D), float32, on the CPU.

    Raises:
        UserError: another D, or no points.
    """
    if not 1 <= latent_dim <= MOST_DIMENSIONS:
        raise UserError(
            f"latent_dim (={latent_dim}) must be 1 or 2 for a lattice over the latent space"
        )
    if n_points < 1:
        raise UserError(f"a lattice of {n_points} points has none; take at least 1")
    steps = torch.arange(n_points, dtype=torch.float64)[:, None]
    if latent_dim == 1:
        share = (steps + shift.double().cpu()) / n_points
    else:
        slopes = torch.tensor([1 / _PLASTIC, 1 / _PLASTIC**2], dtype=torch.float64)
        share = (steps * slopes + shift.double().cpu()) % 1
    return torch.special.ndtri(share.clamp(_EDGE, 1 - _EDGE)).float()


@torch.no_grad()
def lattice_log_px(
    model: VAE, x: Tensor, n_points: int, generator: torch.Generator | None = None
) -> Tensor:
    """log (1/M) sum_m p(x|z_m) over a lattice: at most log p(x), in expectation.

    Args:
        model: the VAE, of one or two latent dimensions.
        x: images, shape (B, C, H, W), on the model's device.
        n_points: M.
        generator: draws the lattice's shift; without one it is the lattice of shift 1/2.

    Returns:
        Shape (B,), float64, in nats.

    Raises:
        UserError: a model of more dimensions, or no points.
    """
    D = model.config.latent_dim
    shift = torch.full((D,), 0.5) if generator is None else torch.rand(D, generator=generator)
    total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
    base = model.likelihood.base(x)
    pixels = model.likelihood.statistics(x)
    for z in lattice(n_points, D, shift).split(decodes_at_once(model)):
        eta, A = model.likelihood.terms(model.decode(z.to(x.device)))
        log_px_given_z = (pixels.to(eta.dtype) @ eta.T) - A  # (B, m), float64
        total = torch.logaddexp(total, log_px_given_z.logsumexp(1))
    return total + base - math.log(n_points)
