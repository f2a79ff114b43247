"""One image's q(z|x) held against its p(z|x): equation (8), every part computed by itself."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from vae.core import gaussian
from vae.core.elbo import bound_against_samples, decodes_at_once, log_likelihood, log_weights
from vae.core.model import VAE
from vae.inference.best_gaussian import BestGaussian, best_gaussian, lowest
from vae.inference.density import Lattice
from vae.inference.estimators import Running, running_recon
from vae.inference.quadrature import ExactPosterior, exact_posterior

N_DRAWS = 4096  # behind the Monte Carlo ELBO
N_WEIGHTS = 10_000  # importance samples: two groups of the largest K that is shown
MOST_K = 5000
_NODES = 10  # per dimension, of the quadrature under which the best Gaussian is searched
_SEARCH_DRAWS = 128  # where the dimensions are too many for one
_PLACES = 256  # draws of the prior that an ascent to the highest peak may begin from there
_OWN_DRAWS, _OWN_WEIGHTS = 1, 2  # streams of noise that no other number on the page uses


@dataclass(frozen=True)
class Inference:
    """What equation (8) says of one image and one q, in nats.

    Attributes:
        mu, logvar: of q, each (D,).
        recon: the Monte Carlo estimate of -E_q log p(x|z), draw by draw.
        kl_per_dim: KL(q, p(z)) in closed form, shape (D,).
        log_w: log p(x, z) / q(z|x) of N_WEIGHTS samples from q, shape (N_WEIGHTS,).
        exact: the integrals over the latent space; None where it has too many dimensions.
    """

    mu: Tensor
    logvar: Tensor
    recon: Running
    kl_per_dim: Tensor
    log_w: Tensor
    exact: ExactPosterior | None

    @property
    def kl(self) -> float:
        """KL(q(z|x), p(z))."""
        return float(self.kl_per_dim.double().sum())

    @property
    def elbo(self) -> float:
        """By Monte Carlo and the closed-form KL, as training does."""
        return -float(self.recon.mean[-1]) - self.kl

    @property
    def elbo_stderr(self) -> float:
        """The standard error of `elbo`."""
        return float(self.recon.stderr[-1])

    @property
    def log_px(self) -> float:
        """log p(x): the integral, or the importance-weighted estimate."""
        return float(self.exact.log_px) if self.exact else float(self.weighted(N_WEIGHTS)[0])

    @property
    def log_px_error(self) -> float:
        """The quadrature's, or the estimate's standard error."""
        return float(self.exact.error) if self.exact else float(self.weighted(N_WEIGHTS)[1])

    @property
    def gap(self) -> float:
        """KL(q(z|x), p(z|x)): integrated under q; else log p(x) less the mean log weight."""
        if self.exact:
            return float(self.exact.gap)
        return self.log_px - float(self.log_w.double().mean())

    @property
    def residual(self) -> float:
        """log p(x) - ELBO - gap: zero, but for the errors of the three."""
        return self.log_px - self.elbo - self.gap

    @property
    def ess(self) -> float:
        """The effective sample size of the weights, from 1 to N_WEIGHTS."""
        w = torch.softmax(self.log_w.double(), 0)
        return float(1 / w.square().sum())

    def weighted(self, K: int) -> tuple[Tensor, Tensor]:
        """The importance-weighted bound of K samples and its standard error."""
        bound, error = bound_against_samples(self.log_w, [K])
        return bound[0], error[0]


class GapSplit(NamedTuple):
    """The gap in two, after Cremer, Li & Duvenaud (2018), in nats.

    Attributes:
        best: the best Gaussian of q's family that was found for the image.
        amortisation: what the encoder loses against it.
        approximation: KL(best, p(z|x)): what no Gaussian of the family can win back.
    """

    best: BestGaussian
    amortisation: float
    approximation: float


def infer(
    model: VAE,
    x: Tensor,
    index: int,
    seed: int = 0,
    lattice: Lattice | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Inference:
    """Everything that `Inference` holds for one image and the encoder's q.

    Args:
        model: the VAE.
        x: one image, shape (C, H, W).
        index: of the image in its data set; keys its noise.
        seed: of the noise.
        lattice: of the same model, to be shared between calls; None for too many dimensions.
        progress: called with the share that is done and what comes next.

    Raises:
        UserError: as `estimators.running_recon` and `posterior.exact_posterior`.
    """
    tell = progress or (lambda share, what: None)
    with torch.no_grad():
        mu, logvar = (values[0] for values in model.encode(x[None]))
    exact = None
    if lattice is not None:
        tell(0.1, "Integrating over the latent space")
        exact = exact_posterior(model, x[None], mu[None], logvar[None], lattice=lattice)
    tell(0.6, f"Drawing {N_DRAWS:,} samples")
    recon = running_recon(model, x, mu, logvar, _noise(index, N_DRAWS, mu, seed, _OWN_DRAWS))
    tell(0.7, f"Weighing {N_WEIGHTS:,} samples")
    log_w = _weights(model, x, mu, logvar, _noise(index, N_WEIGHTS, mu, seed, _OWN_WEIGHTS))
    kl_per_dim = gaussian.kl_to_standard_normal(mu.double(), logvar.double()).cpu()
    return Inference(mu, logvar, recon, kl_per_dim, log_w, exact)


def split_gap(
    model: VAE, x: Tensor, index: int, found: Inference, lattice: Lattice | None, seed: int = 0
) -> GapSplit:
    """Searches the best Gaussian for the image and tells the two parts of the gap apart.

    On a latent plane both parts are integrals; else all are Monte Carlo estimates.

    Args:
        model: the VAE.
        x: one image, shape (C, H, W).
        index: of the image in its data set; keys its noise.
        found: what `infer` found for it.
        lattice: as for `infer`.
        seed: of the noise.

    Raises:
        UserError: the bound is not finite at the encoder's q.
    """
    mu, logvar = found.mu, found.logvar
    best = best_of_image(model, x, mu, logvar, lattice, found.exact, seed)
    if found.exact is None:
        again = _weights(
            model, x, best.mu, best.logvar, _noise(index, N_WEIGHTS, mu, seed, _OWN_WEIGHTS)
        )
        of_best = replace(found, log_w=again)
        log_px = max(found.log_px, of_best.log_px)
        approximation = log_px - float(again.double().mean())
        return GapSplit(
            best, log_px - float(found.log_w.double().mean()) - approximation, approximation
        )
    gap = exact_posterior(model, x[None], best.mu[None], best.logvar[None], lattice=lattice).gap
    approximation = float(gap)
    if not approximation < found.gap:  # the nodes of the search are few, the integral is not
        best = BestGaussian(mu, logvar, -found.elbo, -found.elbo)
        approximation = found.gap
    return GapSplit(best, found.gap - approximation, approximation)


def best_of_image(
    model: VAE,
    x: Tensor,
    mu: Tensor,
    logvar: Tensor,
    lattice: Lattice | None,
    exact: ExactPosterior | None = None,
    seed: int = 0,
) -> BestGaussian:
    """The best Gaussian for the image, from the encoder's q and from the highest peak of p(z|x).

    On a latent plane the peak is where the integral finds it, with its own curvature, and the bound
    an integral over q; else the peak is the highest that is reached from the encoder's mu and from
    draws of the prior, and the bound an estimate.

    Args:
        model: the VAE.
        x: one image, shape (C, H, W).
        mu, logvar: the encoder's q, each (D,).
        lattice: of the same model; None for too many dimensions.
        exact: the integrals for x, if they are known.
        seed: of the draws, where there are any.

    Raises:
        UserError: the bound is not finite at the encoder's q, or p(z|x) nowhere.
    """
    D = len(mu)
    if lattice is None:
        peak, width = _highest_peak(model, x, mu, seed), logvar
        draws = gaussian.draw((_SEARCH_DRAWS, D), torch.Generator().manual_seed(seed))
        weights = None
    else:
        exact = exact or exact_posterior(model, x[None], mu[None], logvar[None], lattice=lattice)
        peak = exact.mode[0].to(mu)
        width = _laplace_logvar(model, x, peak)
        draws, weights = gaussian.gauss_hermite(_NODES, D)
    starts = torch.stack([mu, peak]), torch.stack([logvar, width])
    return best_gaussian(model, x, *starts, draws, weights)


def _highest_peak(model: VAE, x: Tensor, mu: Tensor, seed: int) -> Tensor:
    """Where p(z|x) is highest, (D,), as far as an ascent from the best of some places tells."""
    draws = gaussian.draw((_PLACES, len(mu)), torch.Generator().manual_seed(seed)).to(mu)
    places = torch.cat([mu[None], draws])
    with torch.no_grad():
        parts = [_energy(model, x, z) for z in places.split(decodes_at_once(model))]
    start = places[torch.cat(parts).nan_to_num(torch.inf).argmin()]
    return lowest(lambda z: _energy(model, x, z), start)[1]


def _energy(model: VAE, x: Tensor, z: Tensor) -> Tensor:
    """-log p(x, z) at places (..., D)."""
    return -log_likelihood(model, x, z) - gaussian.standard_normal_log_prob(z)


def _laplace_logvar(model: VAE, x: Tensor, mode: Tensor) -> Tensor:
    """The diagonal Gaussian's log-variances with p(z|x)'s own curvature at a peak, (D,)."""
    with torch.enable_grad():
        hessian = torch.autograd.functional.hessian(lambda z: _energy(model, x, z), mode)
    # Off the very peak, or on a ridge, it may be below the prior's own, which is 1.
    return -hessian.diagonal().nan_to_num(1).clamp_min(1).log()


@torch.no_grad()
def _weights(model: VAE, x: Tensor, mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    parts = eps[:, None].to(mu).split(decodes_at_once(model))
    return torch.cat([log_weights(model, x[None], mu, logvar, part)[:, 0] for part in parts]).cpu()


def _noise(index: int, n: int, mu: Tensor, seed: int, stream: int) -> Tensor:
    # Seeds far from those that anything else uses: the parts of equation (8) share no noise.
    return gaussian.noise_of_points([index], n, len(mu), seed + (stream << 40))[:, 0]
