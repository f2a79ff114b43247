"""What q(z|x) could have been: the best Gaussian of the family for a point."""

from typing import NamedTuple

import torch
from torch import Tensor

from vae import gaussian
from vae.elbo import log_likelihood
from vae.model import VAE


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
    model: VAE, x: Tensor, mu: Tensor, logvar: Tensor, eps: Tensor, max_steps: int = 60
) -> BestGaussian:
    """Searches the mu and logvar that minimise -ELBO for one image, by L-BFGS.

    What is left between the encoder's -ELBO and this one is the amortisation gap (Cremer, Li &
    Duvenaud, 2018). The noise stays fixed during the search, so the objective is a smooth function.

    Args:
        model: the VAE; its weights stay as they are.
        x: one image, shape (C, H, W).
        mu, logvar: where to begin, each (D,): the encoder's answer.
        eps: standard normal noise, shape (S, D); each draw is used with its mirror image too.
        max_steps: of L-BFGS.

    Returns:
        The best one found, never worse than the first.

    Raises:
        ValueError: the bound is not finite where the search begins.
    """
    eps = torch.cat([eps, -eps]).to(x.device)[:, None]  # antithetic: (2S, 1, D)
    start = torch.stack([mu, logvar]).to(x.device, torch.float32)
    q = start.clone().requires_grad_()
    best = (float("inf"), start)

    def neg_elbo(q: Tensor) -> Tensor:
        m, v = q[:1], q[1:]  # (1, D) each
        z = gaussian.reparameterise(m, v, eps)
        recon = -log_likelihood(model, x[None], z).mean()
        return recon + gaussian.kl_to_standard_normal(m, v).sum()

    with torch.no_grad():
        before = float(neg_elbo(start))
    if not before < float("inf"):
        raise ValueError(
            "the bound is not finite at the encoder's q; no better one can be searched"
        )
    optimiser = torch.optim.LBFGS([q], max_iter=max_steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        nonlocal best
        loss = neg_elbo(q)
        if loss.item() < best[0]:
            best = (loss.item(), q.detach().clone())
        (q.grad,) = torch.autograd.grad(loss, q)
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    value, found = best if best[0] < before else (before, start)
    return BestGaussian(found[0], found[1], value, before)
