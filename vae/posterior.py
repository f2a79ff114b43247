"""What q(z|x) is held against: the exact posterior of a latent line or plane, the best Gaussian.

With one or two latent dimensions p(z|x) = p(x|z) p(z) / p(x) can simply be integrated. Cells of
equal size cover the prior's support, and are cut in two along each dimension where the integrand
lives, each point's own, until halving them once more changes nothing. Inside, the sum over equal
cells is the trapezoidal rule, which for a smooth integrand that decays at both ends converges
faster than any power of the spacing (Trefethen & Weideman, 2014).
"""

import copy
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from vae import gaussian
from vae.elbo import decodes_at_once, log_likelihood
from vae.likelihood import Terms
from vae.model import VAE

MOST_DIMENSIONS = 2  # a lattice over more would need too many cells

_SPACING = 1 / 8  # of the first cells
_REACH = 6.0  # where the first cells end along each dimension; p(z) has fallen by 18 nats
_FARTHEST = 24.0
_MOST_LEVELS = 16  # cells of 2e-6
_FAR_BELOW = 12.0  # nats: what lies so far below the highest density is left out
_Q_TAIL = 16.0  # the same for q: terms that it weighs can be thousands of nats
_SLACK = 2.0  # times what a quadratic would add to a cell's middle: the decoder makes none
_UNRESOLVED = 5.0  # nats between the sum of the cells' bounds and that of their values
_POINTS_AT_ONCE = 256
_PAIRS_AT_ONCE = 2**21  # of a point and a cell
_LATTICE_BYTES = 2**27  # more decoded cells than fit in here are decoded each time


class ExactPosterior(NamedTuple):
    """p(z|x) and what follows from it for B points, float64, in nats.

    Attributes:
        log_px: log p(x), shape (B,).
        error: by how much it changed when the spacing was last halved, shape (B,); inf where the
            posterior reaches beyond what was looked at.
        mean: of p(z|x), shape (B, D).
        cov: its covariance, shape (B, D, D).
        recon: -E_q log p(x|z), shape (B,), without sampling.
        gap: KL(q(z|x), p(z|x)), shape (B,), equation (8); integrated by itself, not as the
            difference of the others.
        mode: the middle of the cell where it is highest, shape (B, D).
        n_nodes: how many cells the point's integrals used, shape (B,), int64.
    """

    log_px: Tensor
    error: Tensor
    mean: Tensor
    cov: Tensor
    recon: Tensor
    gap: Tensor
    mode: Tensor
    n_nodes: Tensor


class Lattice:
    """A model decoded once in the middle of every coarse cell, for all points together.

    Args:
        model: the VAE, of one or two latent dimensions.
        reach: the cells cover [-reach, reach] along each dimension.

    Attributes:
        z: the middles, shape (M, D), float64; row by row.

    Raises:
        ValueError: a model of more dimensions.
    """

    def __init__(self, model: VAE, reach: float = _REACH) -> None:
        D = model.config.latent_dim
        if D > MOST_DIMENSIONS:
            raise ValueError(
                f"latent_dim (={D}) must be at most {MOST_DIMENSIONS} for an integral over the "
                "latent space; estimate log p(x) with importance samples instead"
            )
        self.model, self.reach = model, reach
        self.side = round(2 * reach / _SPACING)
        middles = (torch.arange(self.side, dtype=torch.float64) + 0.5) * _SPACING - reach
        self.z = torch.cartesian_prod(*[middles] * D).reshape(-1, D)
        self._pieces: list[Terms] | None = None
        self._wider: Lattice | None = None

    def wider(self) -> "Lattice":
        """The same with twice the reach."""
        if self._wider is None:
            self._wider = Lattice(self.model, 2 * self.reach)
        return self._wider

    def log_px_given_z(self, x: Tensor) -> Tensor:
        """Of images (B, C, H, W) at all M middles, shape (B, M), float64, in nats."""
        pixels, base = _flat(self.model, x)
        parts = [pixels @ eta.T - A for eta, A in self._decoded()]
        return torch.cat(parts, 1) + base[:, None]

    def _decoded(self) -> Iterable[Terms]:
        if self._pieces is not None:
            return self._pieces
        n_pixels = math.prod(self.model.config.image_shape)
        pieces = (_decode(self.model, z) for z in self.z.split(decodes_at_once(n_pixels)))
        if 8 * n_pixels * len(self.z) > _LATTICE_BYTES:
            return pieces
        self._pieces = list(pieces)
        return self._pieces


@torch.no_grad()
def exact_posterior(
    model: VAE,
    x: Tensor,
    mu: Tensor,
    logvar: Tensor,
    tolerance: float = 1e-3,
    lattice: Lattice | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExactPosterior:
    """log p(x), the moments of p(z|x) and how far q(z|x) is from it, by quadrature.

    Bayes' rule and equation (8). Memory is bounded; the cost is linear in the points and in the
    cells, and less for points that lie near each other in the order given: cells are decoded once
    for the points that share them. Where the decoder's output is not finite the density counts as
    zero.

    Args:
        model: the VAE, of one or two latent dimensions.
        x: images, shape (B, C, H, W).
        mu, logvar: of q(z|x), each (B, D).
        tolerance: in nats: halving the spacing must change log p(x) and `recon` by less.
        lattice: of the same model, to be shared between calls.
        progress: called with (points done, points in all).

    Raises:
        ValueError: a model of more dimensions, a tolerance that is not positive, or an image whose
            log p(x|z) is finite at none of the cells.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance (={tolerance:g}) must be above 0 nats")
    lattice = lattice or Lattice(model)
    mu, logvar = (values.detach().double().cpu() for values in (mu, logvar))
    parts = []
    for start in range(0, len(x), _POINTS_AT_ONCE):
        rows = slice(start, start + _POINTS_AT_ONCE)
        parts.append(_integrate(lattice, x[rows], mu[rows], logvar[rows], tolerance))
        if progress:
            progress(min(start + _POINTS_AT_ONCE, len(x)), len(x))
    return ExactPosterior(*map(torch.cat, zip(*parts, strict=True)))


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
    pixels, base = _flat(model, x[None])
    decoded = (_decode(model, piece) for piece in z.split(decodes_at_once(x.numel())))
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
    blocks = torch.nonzero((highest > there.max() - _FAR_BELOW)[0, 0])  # (b, D)
    inside = torch.cartesian_prod(*[torch.arange(4)] * D).reshape(-1, D)
    cells = (4 * blocks[:, None] + inside).reshape(-1, D)
    values = posterior_density(model, x, log_px, (cells + 0.5) / n * (high - low) + low)
    grid = torch.full([n] * D, -math.inf, dtype=torch.float64)
    grid[tuple(cells.T)] = values
    return grid


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
        ValueError: the bound is not finite where the search first begins.
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
        raise ValueError(
            "the bound is not finite at the encoder's q; no better one can be searched"
        )
    value, found = before, starts[0]
    for start in starts:
        reached, q = _lowest(neg_elbo, start, max_steps)
        if reached < value:
            value, found = reached, q
    return BestGaussian(found[0], found[1], value, before)


def _lowest(
    objective: Callable[[Tensor], Tensor], start: Tensor, max_steps: int
) -> tuple[float, Tensor]:
    """The lowest value that L-BFGS meets, and where."""
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

    with torch.enable_grad():
        optimiser.step(closure)
    return best


def _integrate(
    lattice: Lattice, x: Tensor, mu: Tensor, logvar: Tensor, tolerance: float
) -> ExactPosterior:
    """`exact_posterior` of a few points: on a wider lattice those that need one."""
    result, outside = _Refinement(lattice, x, mu, logvar, tolerance).run()
    if not outside.any():
        return result
    if 2 * lattice.reach > _FARTHEST:  # what was found lacks something
        result.error[outside] = math.inf
        return result
    again = _integrate(lattice.wider(), x[outside], mu[outside], logvar[outside], tolerance)
    for values, better in zip(result, again, strict=True):
        values[outside] = better
    return result


class _Pairs(NamedTuple):
    """Pairs of a point and a cell, all of one spacing."""

    point: Tensor  # (n,)
    cell: Tensor  # (n, D), the cell's place, counted from the lattice's lower end
    log_joint: Tensor  # (n,) log p(x, z) in the cell's middle
    curvature: Tensor  # (n, D) |second difference| of log_joint / spacing^2, or the parent's

    def of(self, chosen: Tensor) -> "_Pairs":
        return _Pairs(*(values[chosen] for values in self))


class _Refinement:
    """Cuts the cells of a few points until their integrals stand still."""

    def __init__(
        self, lattice: Lattice, x: Tensor, mu: Tensor, logvar: Tensor, tolerance: float
    ) -> None:
        self.lattice, self.model, self.x = lattice, lattice.model, x
        self.pixels, self.base = _flat(self.model, x)
        self.mu, self.logvar, self.sigma = mu, logvar, torch.exp(logvar / 2)
        self.tolerance = tolerance
        self.is_last = 2 * lattice.reach > _FARTHEST  # points that reach farther end here
        self.B, self.D = mu.shape

    def run(self) -> tuple[ExactPosterior, Tensor]:
        """The integrals, and which points need a wider lattice."""
        B, D = self.B, self.D
        spacing = _SPACING
        pairs, bound, outside, self.top = self._coarse()
        done = torch.zeros(B, 5 + D + D * D, dtype=torch.float64)  # of cells that are not cut again
        totals, error = done.clone(), torch.full((B,), math.nan, dtype=torch.float64)
        # Every second cell is a lattice too, of twice the spacing: where that says the same, as it
        # does for broad posteriors, no cell is cut at all.
        every_second = pairs.of((pairs.cell % 2 == 0).all(1))
        twice = torch.zeros_like(done)
        twice.index_add_(0, every_second.point, 2**D * self._sums(every_second, spacing))
        before = self._integrals(twice)
        left = ~outside | self.is_last
        for level in range(_MOST_LEVELS + 1):
            if level:
                pairs = self._evaluated(pairs, spacing)
                top = self.top.scatter_reduce(0, pairs.point, pairs.log_joint, "amax")
                highest = (pairs.log_joint == top[pairs.point]) & (top > self.top)[pairs.point]
                self.mode[pairs.point[highest]] = self._middles(pairs.cell[highest], spacing)
                done[:, : 1 + D + D * D] *= torch.exp(self.top - top)[:, None]
                self.top = top
                bound, pairs = self._bound(pairs, spacing)
            sums = self._sums(pairs, spacing)
            whole = done + torch.zeros_like(done).index_add_(0, pairs.point, sums)
            now = self._integrals(whole)
            changed = (now - before).abs()
            before = now
            # A narrow peak between the middles is not seen, but the bounds of its cells tell.
            above = torch.exp((bound - self.top[pairs.point]).clamp_max(100)) * spacing**D
            above = torch.zeros(B, dtype=torch.float64).index_add_(0, pairs.point, above)
            settled = (
                (changed < self.tolerance).all(0)
                & (spacing <= self.sigma.amin(1).clamp_max(1))
                & (above.log() - whole[:, 0].log() < _UNRESOLVED)
            )
            ends = left & (settled if level < _MOST_LEVELS else torch.ones_like(settled))
            totals[ends], error[ends] = whole[ends], changed[0, ends]
            left &= ~ends
            if not left.any():
                break
            near = (bound > self.top[pairs.point] - _FAR_BELOW) | self._near_q(pairs, spacing)
            goes_on = left[pairs.point]
            stays = goes_on & ~near
            done.index_add_(0, pairs.point[stays], sums[stays])
            cut = pairs.of(goes_on & near)
            if len(cut.point) * 2**D > _PAIRS_AT_ONCE:
                if B > 1:
                    return self._by_halves()
                totals[left], error[left] = whole[left], changed[0, left]
                break
            pairs = _children(cut)
            spacing /= 2
        return self._result(totals, error), outside

    def _by_halves(self) -> tuple[ExactPosterior, Tensor]:
        """Points with so many cells are integrated in smaller groups."""
        parts = []
        for rows in torch.arange(self.B).chunk(2):
            x, mu, logvar = self.x[rows], self.mu[rows], self.logvar[rows]
            parts.append(_Refinement(self.lattice, x, mu, logvar, self.tolerance).run())
        results, outsides = zip(*parts, strict=True)
        return ExactPosterior(*map(torch.cat, zip(*results, strict=True))), torch.cat(outsides)

    def _coarse(self) -> tuple[_Pairs, Tensor, Tensor, Tensor]:
        """Of the first cells those that matter, with their bounds; the points that reach beyond
        them; and the highest log p(x, z) of each point.
        """
        B, D, side, z = self.B, self.D, self.lattice.side, self.lattice.z
        log_joint = self.lattice.log_px_given_z(self.x) + gaussian.standard_normal_log_prob(z)
        log_joint = log_joint.nan_to_num(nan=-math.inf)  # (B, M)
        top, where = log_joint.max(1)
        self.mode = z[where]
        if not torch.isfinite(top).all():
            raise ValueError(
                f"log p(x|z) is finite at none of the {len(z):,} latent points that were decoded; "
                "the model cannot explain the image at all"
            )
        field = log_joint.reshape(B, *[side] * D)
        slope, curvature = torch.zeros_like(field), []
        for dim in range(1, D + 1):
            # One cell more at either end, as a copy: the difference across the edge is 0.
            ahead = torch.cat([field.narrow(dim, 1, side - 1), field.narrow(dim, side - 1, 1)], dim)
            behind = torch.cat([field.narrow(dim, 0, 1), field.narrow(dim, 0, side - 1)], dim)
            slope += (ahead - behind).abs().nan_to_num(0, posinf=0) / 2
            curvature.append((ahead + behind - 2 * field).abs().nan_to_num(0, posinf=0))
        bent = sum(curvature).reshape(B, -1)
        bound = log_joint + _SLACK * (slope.reshape(B, -1) / 2 + bent / 4)
        near = bound > top[:, None] - _FAR_BELOW
        for rows in torch.arange(B).split(16):
            near[rows] |= _log_q_bound(z, self.mu[rows, None], self.sigma[rows, None], _SPACING) > (
                -_Q_TAIL
            )
        at_edge = (z.abs() > self.lattice.reach - _SPACING).any(1)
        beyond = (self.mu.abs() + 6 * self.sigma > self.lattice.reach).any(1)
        # Bounds are held against bounds: those of a narrow peak are all too high.
        highest = bound.amax(1, keepdim=True)
        outside = ((bound > highest - _FAR_BELOW) & at_edge).any(1) | beyond
        if not self.is_last:
            near &= ~outside[:, None]
        point, number = torch.nonzero(near, as_tuple=True)
        place = [number // side ** (D - 1 - d) % side for d in range(D)]
        pairs = _Pairs(
            point,
            torch.stack(place, 1),
            log_joint[point, number],
            torch.stack([c.reshape(B, -1)[point, number] for c in curvature], 1) / _SPACING**2,
        )
        return pairs, bound[point, number], outside, top

    def _evaluated(self, pairs: _Pairs, spacing: float) -> _Pairs:
        """The pairs with log p(x, z), sorted by point and place; each cell is decoded once."""
        n_pixels = self.pixels.shape[1]
        width = round(2 * self.lattice.reach / spacing)
        order = torch.argsort(_key(pairs.point, pairs.cell, width))
        pairs = pairs.of(order)
        # Cells by blocks, so that those decoded together are near and share their points.
        block = _key(torch.zeros_like(pairs.point), pairs.cell >> 3, width)
        inside = _key(torch.zeros_like(pairs.point), pairs.cell & 7, 8)
        cells, of_pair = torch.unique(block * 64 + inside, return_inverse=True)
        by_cell = torch.argsort(of_pair, stable=True)
        first = torch.searchsorted(of_pair[by_cell], torch.arange(len(cells)))
        z = self._middles(pairs.cell[by_cell[first]], spacing)
        log_px_given_z = torch.empty(len(pairs.point), dtype=torch.float64)
        at_once = decodes_at_once(n_pixels)
        for start in range(0, len(cells), at_once):
            last = min(start + at_once, len(cells))
            eta, A = _decode(self.model, z[start:last])
            stop = int(first[last]) if last < len(cells) else len(by_cell)
            chosen = by_cell[int(first[start]) : stop]
            points, row = torch.unique(pairs.point[chosen], return_inverse=True)
            values = self.pixels[points] @ eta.T - A  # (points, cells)
            log_px_given_z[chosen] = values[row, of_pair[chosen] - start]
        log_joint = (
            log_px_given_z
            + self.base[pairs.point]
            + gaussian.standard_normal_log_prob(self._middles(pairs.cell, spacing))
        )
        return pairs._replace(log_joint=log_joint.nan_to_num(nan=-math.inf))

    def _middles(self, cell: Tensor, spacing: float) -> Tensor:
        return (cell.double() + 0.5) * spacing - self.lattice.reach

    def _bound(self, pairs: _Pairs, spacing: float) -> tuple[Tensor, _Pairs]:
        """About the highest log p(x, z) in each cell, by differences to the cells beside it.

        For a quadratic it is never too low, however narrow its peak. The pairs come back with
        their curvature.
        """
        width = round(2 * self.lattice.reach / spacing)
        keys = _key(pairs.point, pairs.cell, width)
        bound = pairs.log_joint.clone()
        curvature = pairs.curvature.clone()
        for d in range(self.D):
            step = width ** (self.D - 1 - d)
            sides = []
            for sign in (-1, 1):
                at = torch.searchsorted(keys, keys + sign * step).clamp_max(len(keys) - 1)
                there = keys[at] == keys + sign * step
                sides.append(torch.where(there, pairs.log_joint[at], math.nan))
            differences = torch.stack([pairs.log_joint - sides[0], sides[1] - pairs.log_joint])
            slope = differences.nanmean(0).abs().nan_to_num(0, posinf=0)
            bent = (differences[1] - differences[0]).abs() / spacing**2
            curvature[:, d] = torch.where(bent.isfinite(), bent, curvature[:, d])
            bound += _SLACK * (slope / 2 + curvature[:, d] * spacing**2 / 4)
        return bound, pairs._replace(curvature=curvature)

    def _near_q(self, pairs: _Pairs, spacing: float) -> Tensor:
        z = self._middles(pairs.cell, spacing)
        p = pairs.point
        return _log_q_bound(z, self.mu[p], self.sigma[p], spacing) > -_Q_TAIL

    def _sums(self, pairs: _Pairs, spacing: float) -> Tensor:
        """What each pair adds to the integrals of p(x, z) (1, z, zz') and q (1, log p, log q/p)."""
        z = self._middles(pairs.cell, spacing)
        weight = torch.exp(pairs.log_joint - self.top[pairs.point]) * spacing**self.D
        log_q = gaussian.log_prob(z, self.mu[pairs.point], self.logvar[pairs.point])
        q = torch.exp(log_q) * spacing**self.D
        log_px_given_z = pairs.log_joint - gaussian.standard_normal_log_prob(z)
        # Where q has no weight at all, -inf must not become NaN.
        under_q = [torch.where(q > 0, q * v, 0) for v in (log_px_given_z, log_q - pairs.log_joint)]
        outer = (z[:, :, None] * z[:, None, :]).flatten(1)
        of_p = torch.cat([torch.ones_like(z[:, :1]), z, outer], 1) * weight[:, None]
        return torch.cat([of_p, torch.stack([q, *under_q, torch.ones_like(q)], 1)], 1)

    def _integrals(self, sums: Tensor) -> Tensor:
        """log p(x) and recon, (2, B)."""
        n = 1 + self.D + self.D**2
        return torch.stack([self.top + sums[:, 0].log(), -sums[:, n + 1] / sums[:, n]])

    def _result(self, sums: Tensor, error: Tensor) -> ExactPosterior:
        B, D = self.B, self.D
        n = 1 + D + D * D
        log_px, recon = self._integrals(sums)
        mean = sums[:, 1 : 1 + D] / sums[:, :1]
        second = (sums[:, 1 + D : n] / sums[:, :1]).reshape(B, D, D)
        return ExactPosterior(
            log_px=log_px,
            error=error,
            mean=mean,
            cov=second - mean[:, :, None] * mean[:, None, :],
            recon=recon,
            gap=sums[:, n + 2] / sums[:, n] + log_px,
            mode=self.mode,
            n_nodes=sums[:, n + 3].long(),
        )


def _children(pairs: _Pairs) -> _Pairs:
    """Each cell cut in two along each dimension; what they hold is still to be evaluated."""
    D = pairs.cell.shape[1]
    corners = torch.cartesian_prod(*[torch.arange(2)] * D).reshape(-1, D)
    n = len(corners)
    return _Pairs(
        pairs.point.repeat_interleave(n),
        (2 * pairs.cell[:, None] + corners).reshape(-1, D),
        pairs.log_joint.repeat_interleave(n),
        pairs.curvature.repeat_interleave(n, 0),
    )


def _key(point: Tensor, cell: Tensor, width: int) -> Tensor:
    """One number per pair, in the order of points and then of places."""
    key = point
    for d in range(cell.shape[1]):
        key = key * width + cell[:, d]
    return key


def _log_q_bound(z: Tensor, mu: Tensor, sigma: Tensor, spacing: float) -> Tensor:
    """The highest log(q / its peak) in cells with middles z (..., D)."""
    nearest = ((z - mu).abs() - spacing / 2).clamp_min(0)
    return -(nearest / sigma).square().sum(-1) / 2


def _decode(model: VAE, z: Tensor) -> Terms:
    """The likelihood's parts at latent points (n, D), on the CPU: not every device has float64."""
    logits = model.decode(z.to(model.device, torch.float32)).cpu()
    eta, A = _on_cpu(model).terms(logits)
    return Terms(eta.double(), A)


def _flat(model: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, n_pixels) and b(x) (B,), float64, on the CPU."""
    x = x.cpu()
    return x.flatten(1).double(), _on_cpu(model).base(x)


def _on_cpu(model: VAE) -> torch.nn.Module:
    return model.likelihood if model.device.type == "cpu" else copy.deepcopy(model.likelihood).cpu()
