"""The diagonal Gaussian with the best bound for an image: what the encoder's q is held against."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vae.core import gaussian
from vae.core.elbo import log_likelihood
from vae.core.model import VAE
from vae.errors import UserError


class BestGaussian(NamedTuple):
    """The diagonal Gaussian with the best bound found for one image.

    Attributes:
        mu, logvar: of that Gaussian, each (D,).
        neg_elbo: its -ELBO over the given noise, in nats.
        neg_elbo_before: that of the Gaussian the search began with.
    """

    mu: Tensor
    logvar: Tensor
    neg_elbo: float
    neg_elbo_before: float


def best_gaussian(
    model: VAE,
    x: Tensor,
    mu: Tensor,
    logvar: Tensor,
    eps: Tensor,
    weights: Tensor | None = None,
    max_steps: int = 60,
) -> BestGaussian:
    """Searches the mu and logvar that minimise -ELBO for one image, by L-BFGS.

    What is left between the encoder's -ELBO and this one is the amortisation gap, what it then is
    from -log p(x) the approximation gap (Cremer, Li & Duvenaud, 2018). The noise stays fixed during
    the search, so the objective is a smooth function; a posterior with several modes gives it
    several minima, so a search may begin from more than one place.

    Args:
        model: the VAE; its weights stay as they are.
        x: one image, shape (C, H, W).
        mu, logvar: where to begin, each (D,): the encoder's answer; or (n, D), to begin from each.
        eps: standard normal noise, shape (S, D); each draw is used with its mirror image too.
        weights: of `eps`, shape (S,), where it is no noise but the nodes of a quadrature, as
            `gaussian.gauss_hermite` gives: they are used as they are.
        max_steps: of L-BFGS.

    Returns:
        The best one found, never worse than the first.

    Raises:
        UserError: the bound is not finite where the search first begins.
    """
    if weights is None:
        eps = torch.cat([eps, -eps])  # antithetic: (2S, D)
        weights = torch.full((len(eps),), 1 / len(eps))
    eps, weights = eps.to(x.device, torch.float32)[:, None], weights.to(x.device, torch.float32)

    def neg_elbo(q: Tensor) -> Tensor:
        m, v = q[:1], q[1:]  # (1, D) each
        z = gaussian.reparameterise(m, v, eps)
        recon = -(weights[:, None] * log_likelihood(model, x[None], z)).sum()
        return recon + gaussian.kl_to_standard_normal(m, v).sum()

    starts = torch.stack([mu, logvar], -2).to(x.device, torch.float32).reshape(-1, 2, mu.shape[-1])
    with torch.no_grad():
        before = float(neg_elbo(starts[0]))
    if not before < float("inf"):
        raise UserError("the bound is not finite at the encoder's q; no better one can be searched")
    value, found = before, starts[0]
    for start in starts:
        reached, q = lowest(neg_elbo, start, max_steps)
        if reached < value:
            value, found = reached, q
    return BestGaussian(found[0], found[1], value, before)


def lowest(
    objective: Callable[[Tensor], Tensor], start: Tensor, max_steps: int = 60
) -> tuple[float, Tensor]:
    """The lowest value that L-BFGS meets from a start of any shape, and where."""
    q = start.clone().requires_grad_()
    best = (float("inf"), start)
    optimiser = torch.optim.LBFGS([q], max_iter=max_steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        nonlocal best
        loss = objective(q)
        if loss.item() < best[0]:
            best = (loss.item(), q.detach().clone())
        (q.grad,) = torch.autograd.grad(loss, q)
        return loss

    try:
        with torch.enable_grad():
            optimiser.step(closure)
    except (IndexError, RuntimeError) as error:
        # PyTorch's line search finds no bracket where nothing is finite, or takes a step that no
        # float holds: then the best so far stands.
        if isinstance(error, RuntimeError) and "overflow" not in str(error):
            raise
    return best
