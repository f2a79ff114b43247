"""The exact posterior of a latent line or plane, by quadrature.

With one or two latent dimensions p(z|x) = p(x|z) p(z) / p(x) can simply be integrated. Cells of
equal size cover the prior's support, and are cut in two along each dimension where the integrand
lives, each point's own, until halving them once more changes nothing. Inside, the sum over equal
cells is the trapezoidal rule, which for a smooth integrand that decays at both ends converges
faster than any power of the spacing (Trefethen & Weideman, 2014). The integrals of p(x, z) and
those under q each end where they stand still: a narrow q does not have a broad p(z|x) cut.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vae.core import gaussian
from vae.core.elbo import decodes_at_once
from vae.core.model import VAE
from vae.errors import UserError
from vae.inference.density import FAR_BELOW, SPACING, Lattice, decode, flat

_FARTHEST = 24.0
_MOST_LEVELS = 16  # cells of 2e-6
_Q_TAIL = 16.0  # the same for q: terms that it weighs can be thousands of nats
_SLACK = 2.0  # times what a quadratic would add to a cell's middle: the decoder makes none
_UNRESOLVED = 5.0  # nats between the sum of the cells' bounds and that of their values
_POINTS_AT_ONCE = 256
_OF_FAR_Q = SPACING / 4  # cells of a point whose error is infinite whatever is done
_PAIRS_AT_ONCE = 2**21  # of a point and a cell
BUDGET = 2**20  # the same for one point, of either integral: about three seconds
_HIDDEN = 0.1  # nats: cells of two sizes side by side err by less
_PLACES = 16  # of a point's posterior, where float32 is held against float64


class ExactPosterior(NamedTuple):
    """p(z|x) and what follows from it for B points, float64, in nats.

    Attributes:
        log_px: log p(x), shape (B,).
        error: by how much it changed when the spacing was last halved, and what the decoder's
            float32 moves it by, shape (B,). Of an integral that was ended early, by how much
            log_px or recon last changed, whichever is more; inf where that is not known, or where
            the posterior or q reaches beyond what was looked at.
        mean: of p(z|x), shape (B, D).
        cov: its covariance, shape (B, D, D).
        recon: -E_q log p(x|z), shape (B,), without sampling.
        gap: KL(q(z|x), p(z|x)), shape (B,), equation (8); integrated by itself, not as the
            difference of the others.
        mode: the middle of the cell where it is highest, shape (B, D).
        n_nodes: how many cells the point's integrals used, shape (B,), int64.
        ended: whether one of them was ended before it stood still, shape (B,), bool.
    """

    log_px: Tensor
    error: Tensor
    mean: Tensor
    cov: Tensor
    recon: Tensor
    gap: Tensor
    mode: Tensor
    n_nodes: Tensor
    ended: Tensor


@torch.no_grad()
def exact_posterior(
    model: VAE,
    x: Tensor,
    mu: Tensor,
    logvar: Tensor,
    tolerance: float = 1e-3,
    lattice: Lattice | None = None,
    progress: Callable[[int, int], None] | None = None,
    budget: int = BUDGET,
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
        budget: how many pairs of a point and a cell may be evaluated for one point's integral of
            p(x, z), and how many for those under q, beyond the first cells, which all points
            share. Where more are needed it ends, and `error` says what is lost.

    Raises:
        UserError: a model of more dimensions, a tolerance that is not positive, a negative budget,
            or an image whose log p(x|z) is finite at none of the cells.

    A point's results are the same to the last bit under every budget that no point taken together
    with it exceeds, and else up to the decoder's rounding.
    """
    if not tolerance > 0:
        raise UserError(f"tolerance (={tolerance:g}) must be above 0 nats")
    if budget < 0:
        raise UserError(f"budget (={budget}) must be at least 0 pairs of a point and a cell")
    lattice = lattice or Lattice(model)
    mu, logvar = (values.detach().double().cpu() for values in (mu, logvar))
    parts = []
    for start in range(0, len(x), _POINTS_AT_ONCE):
        rows = slice(start, start + _POINTS_AT_ONCE)
        parts.append(_integrate(lattice, x[rows], mu[rows], logvar[rows], tolerance, budget))
        if progress:
            progress(min(start + _POINTS_AT_ONCE, len(x)), len(x))
    return ExactPosterior(*map(torch.cat, zip(*parts, strict=True)))


def _integrate(
    lattice: Lattice, x: Tensor, mu: Tensor, logvar: Tensor, tolerance: float, budget: int
) -> ExactPosterior:
    """`exact_posterior` of a few points: on a wider lattice those that need one."""
    result, outside = _Refinement(lattice, x, mu, logvar, tolerance, budget).run()
    if not outside.any():
        return result
    if 2 * lattice.reach > _FARTHEST:  # what was found lacks something
        result.error[outside], result.ended[outside] = math.inf, True
        return result
    rest = x[outside], mu[outside], logvar[outside]
    again = _integrate(lattice.wider(), *rest, tolerance, budget)
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
        self,
        lattice: Lattice,
        x: Tensor,
        mu: Tensor,
        logvar: Tensor,
        tolerance: float,
        budget: int,
    ) -> None:
        self.lattice, self.model, self.x = lattice, lattice.model, x
        self.pixels, self.base = flat(self.model, x)
        self.mu, self.logvar, self.sigma = mu, logvar, torch.exp(logvar / 2)
        self.tolerance, self.budget = tolerance, budget
        self.is_last = 2 * lattice.reach > _FARTHEST  # points that reach farther end here
        # What q weighs out there is not known: the integrals of q are not to be had.
        self.q_is_far = (mu.abs() + 6 * self.sigma > lattice.reach).any(1)
        self.B, self.D = B, D = mu.shape
        self.n_of_p = 1 + D + D * D
        self.totals = torch.zeros(B, self.n_of_p + 4, dtype=torch.float64)
        self.error, self.rounding = torch.zeros(2, B, dtype=torch.float64)
        self.found = torch.full((B,), math.nan, dtype=torch.float64)  # log p(x), where it ended
        self.ended = torch.zeros(B, dtype=torch.bool)

    def run(self) -> tuple[ExactPosterior, Tensor]:
        """The integrals, and which points need a wider lattice."""
        B, D, n = self.B, self.D, self.n_of_p
        spacing = SPACING
        pairs, bound, outside, self.top = self._coarse()
        done = torch.zeros_like(self.totals)  # of cells that are not cut again
        # Every second cell is a lattice too, of twice the spacing: where that says the same, as it
        # does for broad posteriors, no cell is cut at all.
        every_second = pairs.of((pairs.cell % 2 == 0).all(1))
        twice = torch.zeros_like(done)
        twice.index_add_(0, every_second.point, 2**D * self._sums(every_second, spacing))
        before = self._integrals(twice)
        left = (~outside | self.is_last).repeat(2, 1)  # of p(x, z), and under q
        spent = torch.zeros(2, B, dtype=torch.int64)
        for level in range(_MOST_LEVELS + 1):
            if level:
                pairs = self._evaluated(pairs, spacing)
                top = self.top.scatter_reduce(0, pairs.point, pairs.log_joint, "amax")
                highest = (pairs.log_joint == top[pairs.point]) & (top > self.top)[pairs.point]
                self.mode[pairs.point[highest]] = self._middles(pairs.cell[highest], spacing)
                for sums in (done, self.totals):
                    sums[:, :n] *= torch.exp(self.top - top)[:, None]
                self.top = top
                bound, pairs = self._bound(pairs, spacing)
            sums = self._sums(pairs, spacing)
            whole = done + torch.zeros_like(done).index_add_(0, pairs.point, sums)
            now = self._integrals(whole)
            changed = (now - before).abs()
            before = now
            is_seen, ready = self._ready(pairs, bound, spacing, whole, changed, left)
            ends = ready | (level == _MOST_LEVELS)
            ends[0] |= self.q_is_far & (spacing <= _OF_FAR_Q)
            ends[1] |= self.q_is_far & (ends[0] | ~left[0])
            near = torch.stack(
                [bound > self.top[pairs.point] - FAR_BELOW, self._near_q(pairs, spacing)]
            )
            cuts = torch.stack([torch.bincount(pairs.point[where], minlength=B) for where in near])
            cuts *= 2**D
            ends |= (spent + cuts > self.budget) | (cuts > _PAIRS_AT_ONCE // 2)
            ends &= left
            self._end(ends, ready, is_seen, pairs, spacing, whole, changed)
            left &= ~ends
            if not left.any():
                break
            spent += cuts * left
            cut = (near & left[:, pairs.point]).any(0)
            if int(cut.sum()) * 2**D > _PAIRS_AT_ONCE and B > 1:
                return self._by_halves()
            stays = left.any(0)[pairs.point] & ~cut
            done.index_add_(0, pairs.point[stays], sums[stays])
            pairs = _children(pairs.of(cut))
            spacing /= 2
        return self._result(), outside

    def _ready(
        self,
        pairs: _Pairs,
        bound: Tensor,
        spacing: float,
        whole: Tensor,
        changed: Tensor,
        left: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Whether the cells show every peak, (B,), and which integrals stand still, (2, B)."""
        # A narrow peak between the middles is not seen, but the bounds of its cells tell.
        above = torch.exp((bound - self.top[pairs.point]).clamp_max(100)) * spacing**self.D
        above = torch.zeros(self.B, dtype=torch.float64).index_add_(0, pairs.point, above)
        is_seen = above.log() - whole[:, 0].log() < _UNRESOLVED
        # Two spacings may agree by chance where both are wider than p(z|x) is.
        weight = torch.exp(pairs.log_joint - self.top[pairs.point]) * spacing**self.D
        bent = torch.zeros(self.B, self.D, dtype=torch.float64)
        bent.index_add_(0, pairs.point, weight[:, None] * pairs.curvature)
        is_fine = (bent * spacing**2 <= whole[:, :1]).all(1)
        is_fine_of_q = spacing <= self.sigma.amin(1).clamp_max(1)
        may_end = torch.stack([is_seen & is_fine, is_fine_of_q])
        stands = may_end & (changed < self.tolerance)
        # What float32 moves them by, no smaller cells mend.
        for i, rest in enumerate(left & may_end & ~stands):
            if rest.any():
                rounding = self._rounding(pairs, torch.nonzero(rest)[:, 0], spacing, i == 1)
                stands[i, rest] = changed[i, rest] < rounding
        return is_seen, stands

    def _end(
        self,
        ends: Tensor,
        ready: Tensor,
        is_seen: Tensor,
        pairs: _Pairs,
        spacing: float,
        whole: Tensor,
        changed: Tensor,
    ) -> None:
        """Keeps the integrals (2, B) that end here, with their errors."""
        (of_p, of_q), n = ends, self.n_of_p
        log_px = self._integrals(whole)[0]
        self.totals[of_p, :n], self.found[of_p] = whole[of_p, :n], log_px[of_p]
        self.totals[of_q, n:] = whole[of_q, n:]
        either = ends.any(0)
        self.totals[either, -1] = whole[either, -1]
        lost = changed.nan_to_num(nan=math.inf)
        lost[0, ~ready[0] & ~is_seen] = math.inf
        lost[1, ready[1]] = 0
        self.error = torch.maximum(self.error, torch.where(ends, lost, 0).amax(0))
        self.ended |= (ends & ~ready).any(0)
        if of_p.any():
            self.rounding[of_p] = self._rounding(pairs, torch.nonzero(of_p)[:, 0], spacing, False)
        # The cells of a narrow q may show a peak of p(z|x) that the others do not.
        moved = (log_px - self.found).abs()  # NaN where the integral of p(x, z) goes on
        hidden = of_q & (moved > _HIDDEN)
        self.totals[hidden, :n] = whole[hidden, :n]
        self.error[hidden] = torch.maximum(self.error, moved)[hidden]
        self.ended |= hidden

    def _rounding(self, pairs: _Pairs, points: Tensor, spacing: float, under_q: bool) -> Tensor:
        """By how much the decoder's float32 moves log p(x), or recon, of the points, in nats.

        The mean over places drawn from p(z|x), or from q, of what it moves log p(x|z) by, and one
        standard deviation, which stands for four standard errors of that mean.
        """
        share = (torch.arange(_PLACES, dtype=torch.float64) + 0.5) / _PLACES
        if under_q:
            z, p = self._middles(pairs.cell, spacing), pairs.point
            log_weight = gaussian.log_prob(z, self.mu[p], self.logvar[p])
        else:
            log_weight = pairs.log_joint - self.top[pairs.point]
        upto = torch.exp(log_weight).cumsum(0)
        first, last = (torch.searchsorted(pairs.point, points + i) for i in (0, 1))
        below = torch.where(first > 0, upto[first - 1], 0)
        at = torch.searchsorted(upto, below[:, None] + share * (upto[last - 1] - below)[:, None])
        at = at.clamp(first[:, None], last[:, None] - 1).flatten()
        point, z = pairs.point[at], self._middles(pairs.cell[at], spacing)
        given_z = pairs.log_joint[at] - gaussian.standard_normal_log_prob(z) - self.base[point]
        moved = self.lattice.rounding(self.pixels, point, z, given_z).reshape(-1, _PLACES)
        return (moved.mean(1).abs() + moved.std(1)).nan_to_num(nan=math.inf)

    def _by_halves(self) -> tuple[ExactPosterior, Tensor]:
        """Points with so many cells are integrated in smaller groups."""
        parts = []
        for rows in torch.arange(self.B).chunk(2):
            x, mu, logvar = self.x[rows], self.mu[rows], self.logvar[rows]
            part = _Refinement(self.lattice, x, mu, logvar, self.tolerance, self.budget)
            parts.append(part.run())
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
            raise UserError(
                f"log p(x|z) is finite at none of the {len(z):,} latent points that were decoded; "
                f"the model cannot explain the {self.model.config.kind} at all"
            )
        field = log_joint.reshape(B, *[side] * D)
        slope, curvature = torch.zeros_like(field), []
        for dim in range(1, D + 1):
            # One cell more at either end, as a copy: the difference across the edge is 0.
            ahead = torch.cat([field.narrow(dim, 1, side - 1), field.narrow(dim, side - 1, 1)], dim)
            behind = torch.cat([field.narrow(dim, 0, 1), field.narrow(dim, 0, side - 1)], dim)
            slope += (ahead - behind).abs().nan_to_num(0, posinf=0) / 2
            curvature.append((ahead + behind - 2 * field).abs().nan_to_num(0, posinf=0))
        bent = torch.stack(curvature).sum(0).reshape(B, -1)
        bound = log_joint + _SLACK * (slope.reshape(B, -1) / 2 + bent / 4)
        near = bound > top[:, None] - FAR_BELOW
        for rows in torch.arange(B).split(16):
            log_q = _log_q_bound(z, self.mu[rows, None], self.sigma[rows, None], SPACING)
            near[rows] |= (log_q > -_Q_TAIL) & ~self.q_is_far[rows, None]
        at_edge = (z.abs() > self.lattice.reach - SPACING).any(1)
        # Bounds are held against bounds: those of a narrow peak are all too high.
        highest = bound.amax(1, keepdim=True)
        outside = ((bound > highest - FAR_BELOW) & at_edge).any(1) | self.q_is_far
        if not self.is_last:
            near &= ~outside[:, None]
        point, number = torch.nonzero(near, as_tuple=True)
        place = [number // side ** (D - 1 - d) % side for d in range(D)]
        pairs = _Pairs(
            point,
            torch.stack(place, 1),
            log_joint[point, number],
            torch.stack([c.reshape(B, -1)[point, number] for c in curvature], 1) / SPACING**2,
        )
        return pairs, bound[point, number], outside, top

    def _evaluated(self, pairs: _Pairs, spacing: float) -> _Pairs:
        """The pairs with log p(x, z), sorted by point and place; each cell is decoded once."""
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
        at_once = decodes_at_once(self.model)
        for start in range(0, len(cells), at_once):
            last = min(start + at_once, len(cells))
            eta, A = decode(self.model, z[start:last])
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
        log_q = _log_q_bound(z, self.mu[p], self.sigma[p], spacing)
        return (log_q > -_Q_TAIL) & ~self.q_is_far[p]

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
        n = self.n_of_p
        return torch.stack([self.top + sums[:, 0].log(), -sums[:, n + 1] / sums[:, n]])

    def _result(self) -> ExactPosterior:
        B, D, n, sums = self.B, self.D, self.n_of_p, self.totals
        log_px, recon = self._integrals(sums)
        mean = sums[:, 1 : 1 + D] / sums[:, :1]
        second = (sums[:, 1 + D : n] / sums[:, :1]).reshape(B, D, D)
        return ExactPosterior(
            log_px=log_px,
            error=self.error + self.rounding,
            mean=mean,
            cov=second - mean[:, :, None] * mean[:, None, :],
            recon=recon,
            gap=sums[:, n + 2] / sums[:, n] + log_px,
            mode=self.mode,
            n_nodes=sums[:, n + 3].long(),
            ended=self.ended,
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
