"""log p(x) by annealed importance sampling: for any number of latent dimensions, and without q.

Neal (2001); for decoders: Wu, Burda, Salakhutdinov & Grosse (2017), "On the quantitative analysis
of decoder-based generative models".
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vae.core import gaussian
from vae.core.elbo import decodes_at_once, log_likelihood
from vae.core.model import VAE
from vae.errors import UserError

# The schedule's inverse temperatures grow by a constant factor once they have left zero: where
# beta log p(x|z) rules the density its spread is in proportion to 1 / beta, so each step then adds
# alike to the weights' variance. Up to about 1 / _SPREAD the growth is linear.
_SPREAD = 300.0
_FIRST_STEP = 0.5  # of the leapfrog, where the density is still the prior's
_ACCEPTANCE = 0.65  # the optimum for HMC in many dimensions (Neal, 2011)
_GAIN = 0.1  # by how much log step follows a temperature's acceptance
_JITTER = 0.5  # each chain's step is off by up to that share: no trajectory is periodic for all


class Annealed(NamedTuple):
    """What the chains say of B points, in nats and in float64.

    Attributes:
        log_px: log of the average weight, shape (B,): p(x) has no bias, so its log is low by about
            half of stderr^2; -inf where every weight is zero.
        stderr: of log_px by the delta method over the chains, shape (B,). It knows nothing of a
            mode that no chain met: where `ess` is 1 or 2, take it for a lower bound.
        ess: effective sample size of the weights, from 1 (one chain rules) to n_chains; (B,).
        acceptance: mean acceptance probability of the transitions, shape (B,); near 0.65 where the
            chains moved well, NaN for a single temperature, which has none.
    """

    log_px: Tensor
    stderr: Tensor
    ess: Tensor
    acceptance: Tensor


class _State(NamedTuple):
    """Where the chains are: z (C, B, D), log p(x|z) (C, B) and its gradient (C, B, D)."""

    z: Tensor
    log_px_given_z: Tensor
    gradient: Tensor


def annealed_log_px(
    model: VAE,
    x: Tensor,
    generator: torch.Generator,
    n_chains: int = 32,
    n_temperatures: int = 500,
    n_leapfrog: int = 5,
    progress: Callable[[int, int], None] | None = None,
) -> Annealed:
    """Estimates log p(x) by chains that walk from the prior to the posterior.

    Between the two lie the densities p(z) p(x|z)^beta, beta from 0 to 1. Each temperature costs
    n_leapfrog decodes with their gradients for each chain of each point. With one temperature it
    is importance sampling from the prior. The error shrinks with more chains, and with more
    temperatures, which leave chains time to change between modes.

    Args:
        model: the VAE; its weights stay as they are.
        x: images, shape (B, C, H, W), in [0, 1].
        generator: of all the noise.
        n_chains: independent walks per point, at least 2 for an error.
        n_temperatures: steps of beta from 0 to 1.
        n_leapfrog: leapfrog steps of a Hamiltonian Monte Carlo transition.
        progress: called with (done, n_temperatures) after each.

    Raises:
        UserError: a number too small, or images of another shape than the model's.
    """
    for name, value, least in (
        ("n_chains", n_chains, 2),
        ("n_temperatures", n_temperatures, 1),
        ("n_leapfrog", n_leapfrog, 1),
    ):
        if value < least:
            raise UserError(f"{name} (={value}) must be at least {least}")
    if x.ndim != 4 or len(x) < 1 or tuple(x.shape[1:]) != model.config.image_shape:
        raise UserError(
            f"x {tuple(x.shape)} must be images (B, C, H, W) with B >= 1 and "
            f"(C, H, W) = {model.config.image_shape}"
        )
    B, D = len(x), model.config.latent_dim
    betas = _inverse_temperatures(n_temperatures)
    state = _evaluate(model, x, gaussian.draw((n_chains, B, D), generator).to(x))
    log_w = torch.zeros(n_chains, B, dtype=torch.float64, device=x.device)
    log_step = torch.full((B,), math.log(_FIRST_STEP), dtype=x.dtype, device=x.device)
    acceptance = torch.zeros(B, dtype=torch.float64, device=x.device)
    for t in range(1, n_temperatures + 1):
        log_w += (betas[t] - betas[t - 1]) * state.log_px_given_z.double()
        if t < n_temperatures:  # where the chains stand at beta = 1 changes no weight
            state, accepted = _transition(
                model, x, state, betas[t], log_step.exp(), n_leapfrog, generator
            )
            # A step that follows the chains lets the next transition depend on where they were,
            # which in theory costs a little of the estimate's unbiasedness. To adapt within the run
            # is accepted practice, and all chains of a point share one step, so that a single chain
            # has little say in its own; on models of known p(x) no bias can be told from the noise.
            log_step += _GAIN * (accepted - _ACCEPTANCE)
            acceptance += accepted
        if progress:
            progress(t, n_temperatures)
    n_transitions = n_temperatures - 1
    return Annealed(
        *_log_mean(log_w),
        acceptance / n_transitions if n_transitions else torch.full_like(acceptance, math.nan),
    )


def _inverse_temperatures(n: int) -> list[float]:
    """beta_0 = 0, ..., beta_n = 1."""
    growth = math.log1p(_SPREAD)
    return [math.expm1(growth * t / n) / _SPREAD for t in range(n)] + [1.0]


def _transition(
    model: VAE,
    x: Tensor,
    state: _State,
    beta: float,
    step: Tensor,
    n_leapfrog: int,
    generator: torch.Generator,
) -> tuple[_State, Tensor]:
    """One step of Hamiltonian Monte Carlo that leaves p(z) p(x|z)^beta as it is (Neal, 2011).

    Returns the chains' new state and the acceptance probabilities' mean over chains, (B,).
    """
    velocity = gaussian.draw(state.z.shape, generator).to(x)  # (C, B, D)
    jitter, level = torch.rand(
        2, *state.z.shape[:2], generator=generator, device=generator.device
    ).to(x)
    step = (step * (1 + _JITTER * (2 * jitter - 1)))[..., None]  # (C, B, 1)

    def force(at: _State) -> Tensor:
        return beta * at.gradient - at.z

    def log_density(at: _State, velocity: Tensor) -> Tensor:
        return beta * at.log_px_given_z - (at.z.square() + velocity.square()).sum(-1) / 2

    before, proposal = log_density(state, velocity), state
    for _ in range(n_leapfrog):
        velocity = velocity + step / 2 * force(proposal)
        proposal = _evaluate(model, x, proposal.z + step * velocity)
        velocity = velocity + step / 2 * force(proposal)
    change = log_density(proposal, velocity) - before
    # A chain leaves a point of no likelihood for any other; NaN is -inf - -inf, or went astray.
    probability = change.clamp_max(0).exp().nan_to_num(nan=0.0)
    accepted = level < probability  # (C, B)
    return (
        _State(
            torch.where(accepted[..., None], proposal.z, state.z),
            torch.where(accepted, proposal.log_px_given_z, state.log_px_given_z),
            torch.where(accepted[..., None], proposal.gradient, state.gradient),
        ),
        probability.mean(0),
    )


def _evaluate(model: VAE, x: Tensor, z: Tensor) -> _State:
    """The state at z. What is not finite has no likelihood and no slope."""
    at_once = decodes_at_once(model)
    columns = []
    for images, of_images in zip(x.split(at_once), z.split(at_once, dim=1), strict=True):
        parts = []
        for part in of_images.split(max(1, at_once // len(images))):
            with torch.enable_grad():
                part = part.detach().requires_grad_()
                value = log_likelihood(model, images, part)  # (c, b)
                (gradient,) = torch.autograd.grad(value.sum(), part)
            parts.append((value.detach(), gradient))
        columns.append([torch.cat(of_parts) for of_parts in zip(*parts, strict=True)])
    value, gradient = (torch.cat(part, dim=1) for part in zip(*columns, strict=True))
    return _State(
        z,
        torch.where(value.isfinite(), value, -math.inf),
        torch.where(gradient.isfinite(), gradient, 0.0),
    )


def _log_mean(log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log of the chains' average weight, its standard error, and the effective sample size."""
    C = len(log_w)
    log_sum = log_w.logsumexp(0)
    ess = (2 * log_sum - (2 * log_w).logsumexp(0)).exp()  # (sum w)^2 / sum w^2
    # Relative variance of the mean weight: (C * sum w^2 / (sum w)^2 - 1) / (C - 1).
    stderr = ((C / ess - 1).clamp_min(0) / (C - 1)).sqrt()
    return log_sum - math.log(C), stderr, ess.nan_to_num(nan=0.0)
