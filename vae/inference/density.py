"""p(z|x) of a latent line or plane: in coarse cells that all points share, and at any point."""

import copy
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vae.core import gaussian
from vae.core.elbo import decodes_at_once
from vae.core.lattice import MOST_DIMENSIONS
from vae.core.likelihood import Likelihood, Terms
from vae.core.model import VAE
from vae.errors import UserError

SPACING = 1 / 8  # of the first cells
_REACH = 6.0  # where the first cells end along each dimension; p(z) has fallen by 18 nats
FAR_BELOW = 12.0  # nats: what lies so far below the highest density is left out
_ROUNDED = 4 * torch.finfo(torch.float32).eps  # of eta: each of a few layers rounds
_LATTICE_BYTES = 2**27  # more decoded cells than fit in here are decoded each time


class Lattice:
    """A model decoded once in the middle of every coarse cell, for all points together.

    Args:
        model: the VAE, of one or two latent dimensions.
        reach: the cells cover [-reach, reach] along each dimension.

    Attributes:
        z: the middles, shape (M, D), float64; row by row.

    Raises:
        UserError: a model of more dimensions.
    """

    def __init__(self, model: VAE, reach: float = _REACH) -> None:
        D = model.config.latent_dim
        if D > MOST_DIMENSIONS:
            raise UserError(
                f"latent_dim (={D}) must be at most {MOST_DIMENSIONS} for an integral over the "
                "latent space; estimate log p(x) with importance samples instead"
            )
        self.model, self.reach = model, reach
        self.side = round(2 * reach / SPACING)
        middles = (torch.arange(self.side, dtype=torch.float64) + 0.5) * SPACING - reach
        self.z = torch.cartesian_prod(*[middles] * D).reshape(-1, D)
        self._pieces: list[Terms] | None = None
        self._in_float64: nn.Module | None = None
        self._wider: Lattice | None = None

    def wider(self) -> "Lattice":
        """The same with twice the reach."""
        if self._wider is None:
            self._wider = Lattice(self.model, 2 * self.reach)
        return self._wider

    def log_px_given_z(self, x: Tensor) -> Tensor:
        """Of images (B, C, H, W) at all M middles, shape (B, M), float64, in nats."""
        pixels, base = flat(self.model, x)
        parts = [pixels @ eta.T - A for eta, A in self._decoded()]
        return torch.cat(parts, 1) + base[:, None]

    def rounding(self, pixels: Tensor, point: Tensor, z: Tensor, given_z: Tensor) -> Tensor:
        """By how much the decoder's float32 moves log p(x|z), in nats.

        Held against the same network in float64. Of one that is not ours to copy, as a session of
        onnxruntime, it is the root of the summed squares of what some roundings of each pixel's
        eta do: a size, without a sign.

        Args:
            pixels: of the images, as from `flat`, shape (B, n_pixels).
            point: whose log p(x|z) it is, shape (n,).
            z: where, shape (n, D), float64.
            given_z: log p(x|z) - b(x), as it was computed, shape (n,).

        Returns:
            Shape (n,), float64.
        """
        moved = torch.empty_like(given_z)
        places, of_pair = torch.unique(z, dim=0, return_inverse=True)
        for chosen in of_pair.argsort().split(decodes_at_once(self.model)):
            here, row = torch.unique(of_pair[chosen], return_inverse=True)
            x, part = pixels[point[chosen]], places[here]
            terms = self._terms_in_float64(part)
            if terms is not None:
                moved[chosen] = given_z[chosen] - (x * terms.eta[row]).sum(1) + terms.A[row]
                continue
            logits = self.model.decode(part.to(self.model.device, torch.float32)).cpu()
            likelihood = _on_cpu(self.model)
            eta = likelihood.terms(logits).eta[row]
            mean = likelihood.statistics(likelihood.mean(logits))[row]
            moved[chosen] = _ROUNDED * ((x - mean) * eta.double()).square().sum(1).sqrt()
        return moved

    def _terms_in_float64(self, z: Tensor) -> Terms | None:
        """At z (n, D), by a copy of the network; None where there can be none."""
        decoder, likelihood = self.model.decoder, self.model.likelihood
        if not any(weights.numel() for weights in decoder.parameters()):
            return None
        try:
            if self._in_float64 is None:
                self._in_float64 = copy.deepcopy(decoder).to("cpu", torch.float64)
            logits = self._in_float64(z)
        except Exception:  # others' networks do what they like
            return None
        is_wide = logits.dtype == torch.float64
        return copy.deepcopy(likelihood).to("cpu", torch.float64).terms(logits) if is_wide else None

    def _decoded(self) -> Iterable[Terms]:
        if self._pieces is not None:
            return self._pieces
        n_pixels = math.prod(self.model.config.image_shape)
        pieces = (decode(self.model, z) for z in self.z.split(decodes_at_once(self.model)))
        if 8 * n_pixels * len(self.z) > _LATTICE_BYTES:
            return pieces
        self._pieces = list(pieces)
        return self._pieces


@torch.no_grad()
def posterior_density(model: VAE, x: Tensor, log_px: float, z: Tensor) -> Tensor:
    """p(z|x) of one image at any z: Bayes' rule.

    Args:
        model: the VAE.
        x: one image, shape (C, H, W).
        log_px: its log p(x), from `exact_posterior`.
        z: shape (n, D).

    Returns:
        log p(z|x), shape (n,), float64.
    """
    pixels, base = flat(model, x[None])
    decoded = (decode(model, piece) for piece in z.split(decodes_at_once(model)))
    log_px_given_z = torch.cat([(pixels @ eta.T - A)[0] for eta, A in decoded]) + base
    return log_px_given_z + gaussian.standard_normal_log_prob(z.double().cpu()) - log_px


@torch.no_grad()
def density_on_grid(
    model: VAE, x: Tensor, log_px: float, low: Tensor, high: Tensor, n: int = 160
) -> Tensor:
    """p(z|x) of one image on a grid of equal cells, for a picture of it.

    A coarse grid tells where it lives; only there every cell is decoded.

    Args:
        model: the VAE, of D = 1 or 2 latent dimensions.
        x: one image, shape (C, H, W).
        log_px: its log p(x), from `exact_posterior`.
        low, high: the corners of what is looked at, each (D,).
        n: cells along each dimension, a multiple of 4.

    Returns:
        log p(z|x) in the cells' middles, shape (n,) * D, along z1 first; -inf where it is too low
        to be seen.
    """
    D = len(low)
    coarse = n // 4
    middles = [
        (torch.arange(coarse) + 0.5) / coarse * (high[d] - low[d]) + low[d] for d in range(D)
    ]
    z = torch.cartesian_prod(*middles).reshape(-1, D)
    there = posterior_density(model, x, log_px, z).reshape(1, 1, *[coarse] * D)
    # A block matters if it, or one beside it, is not far below the highest.
    pool = torch.nn.functional.max_pool2d if D == 2 else torch.nn.functional.max_pool1d
    highest = pool(pool(there, 3, 1, 1), 3, 1, 1)
    blocks = torch.nonzero((highest > there.max() - FAR_BELOW)[0, 0])  # (b, D)
    inside = torch.cartesian_prod(*[torch.arange(4)] * D).reshape(-1, D)
    cells = (4 * blocks[:, None] + inside).reshape(-1, D)
    values = posterior_density(model, x, log_px, (cells + 0.5) / n * (high - low) + low)
    grid = torch.full([n] * D, -math.inf, dtype=torch.float64)
    grid[tuple(cells.T)] = values
    return grid


def decode(model: VAE, z: Tensor) -> Terms:
    """The likelihood's parts at latent points (n, D), on the CPU: not every device has float64."""
    logits = model.decode(z.to(model.device, torch.float32)).cpu()
    eta, A = _on_cpu(model).terms(logits)
    return Terms(eta.double(), A)


def flat(model: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """The statistics (B, n) and b(x) (B,), float64, on the CPU."""
    x, likelihood = x.cpu(), _on_cpu(model)
    return likelihood.statistics(x).double(), likelihood.base(x)


def _on_cpu(model: VAE) -> Likelihood:
    return model.likelihood if model.device.type == "cpu" else copy.deepcopy(model.likelihood).cpu()
