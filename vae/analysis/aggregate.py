"""The aggregate posterior q(z) = 1/N sum_n q(z|x_n) beside the prior p(z) = N(0, I).

log q(z) is always that of the whole mixture: a minibatch in its place would bias it (Chen et al.,
2018, section 3 and appendix C). What is bounded is how many z it is asked about, and the memory.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae.core import gaussian
from vae.errors import UserError

_AS_RARE_AS = 0.05  # of the points' own draws are as far from all other points as a hole is
_HAS_MASS = 0.9  # holes are named inside the ball that holds this share of the prior
_PAIRS_AT_ONCE = 2**21  # of a z and a point; 16 MB
_CELLS = 600  # of a marginal's histogram
_MOST_CDFS = 4 * 10**7  # one per point, dimension and cell: less than a second


def log_aggregate(z: Tensor, mu: Tensor, logvar: Tensor, leave_out: Tensor | None = None) -> Tensor:
    """log q(z) of the mixture of all N posteriors, in nats.

    Args:
        z: places, shape (M, D).
        mu, logvar: of the posteriors, shape (N, D).
        leave_out: for each z the point whose posterior is not counted, shape (M,); N is then 2 or
            more.

    Returns:
        Shape (M,), float64.

    Raises:
        UserError: shapes that do not fit, or a posterior that is no Gaussian.
    """
    mu, logvar = _checked(mu, logvar)
    N, D = mu.shape
    if z.ndim != 2 or z.shape[1] != D:
        raise UserError(f"z {tuple(z.shape)} must be (M, {D}), as mu {tuple(mu.shape)}")
    if leave_out is not None and N < 2:
        raise UserError("with one point left out of 1 there is no mixture")
    # The square written out is a matrix product; from the middle of the points it loses few digits.
    centre = mu.mean(0)
    z, mu = z.double() - centre, mu - centre
    precision = torch.exp(-logvar)
    weighted = mu * precision
    constant = -(D * gaussian.LOG_2PI + logvar.sum(1) + (mu * weighted).sum(1)) / 2  # (N,)
    features = torch.cat([-precision / 2, weighted], 1).T.contiguous()  # (2D, N)
    found = torch.empty(len(z), dtype=torch.float64)
    n_at_once = max(1, _PAIRS_AT_ONCE // N)
    for first in range(0, len(z), n_at_once):
        part = z[first : first + n_at_once]
        log_q = torch.addmm(constant, torch.cat([part.square(), part], 1), features)  # (m, N)
        if leave_out is not None:
            own = leave_out[first : first + n_at_once, None]
            log_q.scatter_(1, own, -math.inf)
        found[first : first + n_at_once] = torch.logsumexp(log_q, 1)
    return found - math.log(N if leave_out is None else N - 1)


def draw(mu: Tensor, logvar: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n draws from q(z): each from the posterior of another point, until all have had their turn.

    Returns:
        z (n, D), float64, and the points (n,) that they came from.

    Raises:
        UserError: as `log_aggregate`.
    """
    mu, logvar = _checked(mu, logvar)
    N, D = mu.shape
    generator = torch.Generator().manual_seed(seed)
    rounds = [torch.randperm(N, generator=generator) for _ in range(-(-n // N))]
    rows = torch.cat(rounds)[:n]
    eps = gaussian.draw((n, D), generator).double()
    return gaussian.reparameterise(mu[rows], logvar[rows], eps), rows


class Information(NamedTuple):
    """The mean KL in two: I(x; z) + KL(q(z), p(z)) (Hoffman & Johnson, 2016, "ELBO surgery").

    Attributes:
        kl: KL(q(z|x), p(z)) of each point in closed form, equation (6), shape (N,), nats.
        about_x: log q(z|x) - log q(z) of each draw, shape (M,); its mean is I(x; z).
        from_prior: log q(z) - log p(z) of each draw, (M,); its mean is KL(q(z), p(z)).
    """

    kl: Tensor
    about_x: Tensor
    from_prior: Tensor

    @property
    def mutual(self) -> float:
        """I(x; z) in nats, x being one of the N points, each as likely."""
        return float(self.about_x.mean())

    @property
    def mutual_stderr(self) -> float:
        """Its standard error."""
        return _stderr(self.about_x)

    @property
    def marginal(self) -> float:
        """KL(q(z), p(z)) in nats."""
        return float(self.from_prior.mean())

    @property
    def marginal_stderr(self) -> float:
        """Its standard error."""
        return _stderr(self.from_prior)

    @property
    def ceiling(self) -> float:
        """log N: I(x; z) of N points cannot be more, however much z says of x."""
        return math.log(len(self.kl))

    @property
    def left_over(self) -> float:
        """Mean KL - I(x; z) - KL(q(z), p(z)): 0 up to the draws' error."""
        return float(self.kl.mean()) - self.mutual - self.marginal


def information(mu: Tensor, logvar: Tensor, n_draws: int = 1000, seed: int = 0) -> Information:
    """I(x; z) and KL(q(z), p(z)), each by the same draws from q(z).

    Args:
        mu, logvar: of the posteriors, shape (N, D).
        n_draws: M; each costs N evaluations of a density.
        seed: of the draws.

    Raises:
        UserError: as `log_aggregate`.
    """
    z, rows = draw(mu, logvar, n_draws, seed)
    mu, logvar = mu.double(), logvar.double()
    log_q = log_aggregate(z, mu, logvar)
    return Information(
        kl=gaussian.kl_to_standard_normal(mu, logvar).sum(1),
        about_x=gaussian.log_prob(z, mu[rows], logvar[rows]) - log_q,
        from_prior=log_q - gaussian.standard_normal_log_prob(z),
    )


class Marginals(NamedTuple):
    """q(z_d) of each dimension in cells, exact: no draws.

    Attributes:
        edges: between the G cells, shape (G - 1,); the first and the last cell have no end.
        mass: of each cell under q(z_d), shape (D, G); a dimension's sum to 1.
        prior_log_mass: its logarithm under N(0, 1), shape (G,), finite wherever q may lie.
        n_points: how many posteriors were averaged.
    """

    edges: Tensor
    mass: Tensor
    prior_log_mass: Tensor
    n_points: int

    @property
    def prior_mass(self) -> Tensor:
        """Of each cell under N(0, 1), shape (G,)."""
        return self.prior_log_mass.exp()

    @property
    def kl(self) -> Tensor:
        """KL(q(z_d), p(z_d)) in nats, (D,), of the cells: at most that of the densities."""
        return (torch.xlogy(self.mass, self.mass) - self.mass * self.prior_log_mass).sum(1)

    @property
    def distance(self) -> Tensor:
        """Kolmogorov's, (D,): the largest difference of the distribution functions, 0 to 1."""
        return (self.mass.cumsum(1) - self.prior_mass.cumsum(0)).abs().amax(1)

    def quantiles(self, shares: Tensor) -> Tensor:
        """Where q(z_d) has those shares, (n,) within (0, 1), below it: (D, n)."""
        cdf = self.mass.cumsum(1)[:, :-1].contiguous()  # at the edges
        after = torch.searchsorted(cdf, shares.expand(len(cdf), -1).contiguous())
        after = after.clamp(1, len(self.edges) - 1)
        low, high = cdf.gather(1, after - 1), cdf.gather(1, after)
        share = ((shares - low) / (high - low).clamp_min(1e-300)).clamp(0, 1)
        return self.edges[after - 1] + share * (self.edges[after] - self.edges[after - 1])


def marginals(mu: Tensor, logvar: Tensor, seed: int = 0) -> Marginals:
    """The aggregate posterior of each dimension alone, by the posteriors' distribution functions.

    Args:
        mu, logvar: of the posteriors, shape (N, D); where D is large, of a part of the points.
        seed: of that choice.

    Raises:
        UserError: as `log_aggregate`.
    """
    mu, logvar = _checked(mu, logvar)
    N, D = mu.shape
    most = max(1, _MOST_CDFS // (D * _CELLS))
    if most < N:
        rows = torch.randperm(N, generator=torch.Generator().manual_seed(seed))[:most]
        mu, logvar = mu[rows], logvar[rows]
    sigma = torch.exp(logvar / 2)
    reach = float((mu.abs() + 3 * sigma).flatten().kthvalue(max(1, int(0.999 * mu.numel()))).values)
    half = min(max(5.0, 1.05 * reach), 100.0)
    edges = torch.linspace(-half, half, _CELLS - 1, dtype=torch.float64)
    cdf = torch.zeros(D, len(edges), dtype=torch.float64)
    n_at_once = max(1, _PAIRS_AT_ONCE // (D * len(edges)))
    for m, s in zip(mu.split(n_at_once), sigma.split(n_at_once), strict=True):
        cdf += torch.special.ndtr((edges - m[..., None]) / s[..., None]).sum(0)
    ends = torch.zeros(D, 1, dtype=torch.float64)
    mass = torch.diff(torch.cat([ends, cdf / len(mu), ends + 1], 1)).clamp_min(0)
    return Marginals(edges, mass, _prior_log_mass(edges), len(mu))


class MMD(NamedTuple):
    """The squared maximum mean discrepancy of two samples, and what chance makes of it.

    Attributes:
        value: the unbiased estimate, which can be below 0.
        null: the same of the pooled sample, split anew at random, shape (P,).
        bandwidth: of the kernel exp(-|x - y|^2 / (2 bandwidth^2)).
    """

    value: float
    null: Tensor
    bandwidth: float

    @property
    def p_value(self) -> float:
        """Of the hypothesis that both samples are from one distribution; at least 1 / (P + 1)."""
        return (1 + int((self.null >= self.value).sum())) / (1 + len(self.null))


def mmd(x: Tensor, y: Tensor, n_permutations: int = 500, seed: int = 0) -> MMD:
    """MMD^2 with a Gaussian kernel as wide as the median distance (Gretton et al., 2012).

    Memory grows with the square of m + n.

    Args:
        x: shape (m, D), m at least 2.
        y: shape (n, D), n at least 2.
        n_permutations: P.
        seed: of the permutations.

    Raises:
        UserError: samples too small or of different dimensions.
    """
    m, n = len(x), len(y)
    if min(m, n) < 2 or x.ndim != 2 or x.shape[1:] != y.shape[1:]:
        raise UserError(
            f"x {tuple(x.shape)} and y {tuple(y.shape)} must be (m, D) and (n, D), m, n >= 2"
        )
    pooled = torch.cat([x, y]).double()
    distances = torch.cdist(pooled, pooled)
    above = torch.ones_like(distances, dtype=torch.bool).triu(1)
    bandwidth = max(float(distances[above].median()), 1e-12)
    kernel = torch.exp(-distances.square() / (2 * bandwidth**2)).fill_diagonal_(0)
    generator = torch.Generator().manual_seed(seed)
    shuffles = torch.rand(n_permutations, m + n, generator=generator).argsort(1)
    is_x = torch.zeros(1 + n_permutations, m + n, dtype=torch.float64)
    is_x[0, :m] = 1
    is_x[1:].scatter_(1, shuffles[:, :m], 1.0)
    xx = ((is_x @ kernel) * is_x).sum(1)  # (1 + P,)
    xy = is_x @ kernel.sum(1) - xx
    yy = kernel.sum() - xx - 2 * xy
    values = xx / (m * (m - 1)) + yy / (n * (n - 1)) - 2 * xy / (m * n)
    return MMD(float(values[0]), values[1:], bandwidth)


class Holes(NamedTuple):
    """Where the prior has mass and no data lies: draws from the prior, and how far data is.

    A density would not do: many dimensions, or few points with narrow posteriors, leave gaps
    everywhere. So a draw is in a hole if it is further from every mu than most draws from a point's
    own posterior are from all other points' mu.

    Attributes:
        z: draws from p(z), shape (M, D).
        distance: of each to the nearest mu, shape (M,).
        threshold: a draw further away than that is in a hole: one in 20 of the points' own are.
        log_ratio: log q(z) - log p(z) of each, shape (M,), nats.
    """

    z: Tensor
    distance: Tensor
    threshold: float
    log_ratio: Tensor

    @property
    def share(self) -> float:
        """Of the prior's mass that lies in holes, 0 to 1; 0.05 where q(z) is the prior."""
        return float((self.distance > self.threshold).double().mean())

    @property
    def share_stderr(self) -> float:
        """Its standard error."""
        return math.sqrt(self.share * (1 - self.share) / len(self.z))

    def deepest(self, n: int, apart: float | None = None) -> Tensor:
        """The draws, at most n, that are furthest from all data: one for each hole, (m,).

        Only inside the ball that holds nine tenths of the prior: outside there is little to miss.

        Args:
            n: how many at most.
            apart: how far two must be from each other; by default 0.6 sqrt(D).
        """
        D = self.z.shape[1]
        apart = 0.6 * math.sqrt(D) if apart is None else apart
        radius = self.z.norm(dim=1)
        inside = radius <= radius.quantile(_HAS_MASS)
        candidates = torch.nonzero(inside & (self.distance > self.threshold))[:, 0]
        order = candidates[self.distance[candidates].argsort(descending=True, stable=True)]
        chosen: list[int] = []
        for i in order.tolist():
            if all(float((self.z[i] - self.z[j]).norm()) > apart for j in chosen):
                chosen.append(i)
            if len(chosen) == n:
                break
        return torch.tensor(chosen, dtype=torch.int64)


def holes(mu: Tensor, logvar: Tensor, n_draws: int = 1000, seed: int = 0) -> Holes:
    """How much of the prior lies where no data does.

    Args:
        mu, logvar: of the posteriors, shape (N, D), N at least 2.
        n_draws: from the prior, and as many from q(z) for the threshold.
        seed: of both.

    Raises:
        UserError: as `log_aggregate`.
    """
    own_z, rows = draw(mu, logvar, n_draws, seed)
    if len(mu) < 2:
        raise UserError("with one point left out of 1 there is no other")
    threshold = float(_to_nearest(own_z, mu, rows).quantile(1 - _AS_RARE_AS))
    generator = torch.Generator().manual_seed(seed + 1)
    z = gaussian.draw((n_draws, mu.shape[1]), generator).double()
    log_ratio = log_aggregate(z, mu, logvar) - gaussian.standard_normal_log_prob(z)
    return Holes(z, _to_nearest(z, mu), threshold, log_ratio)


def _to_nearest(z: Tensor, mu: Tensor, leave_out: Tensor | None = None) -> Tensor:
    """The distance of each z (M, D) to the nearest mu (N, D), but for its own: (M,)."""
    found = []
    n_at_once = max(1, _PAIRS_AT_ONCE // len(mu))
    for first in range(0, len(z), n_at_once):
        distances = torch.cdist(z[first : first + n_at_once], mu.double())
        if leave_out is not None:
            distances.scatter_(1, leave_out[first : first + n_at_once, None], math.inf)
        found.append(distances.amin(1))
    return torch.cat(found)


def on_a_plane(mu: Tensor, logvar: Tensor, half: float, n: int) -> Tensor:
    """log q(z) - log p(z) in the middles of n x n cells of [-half, half]^2, in nats.

    Args:
        mu, logvar: of the posteriors in two of their dimensions, shape (N, 2).
        half: half the side of the square.
        n: cells along each.

    Returns:
        Shape (n, n), the first dimension first.

    Raises:
        UserError: as `log_aggregate`.
    """
    middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 * half - half
    z = torch.cartesian_prod(middles, middles)
    found = log_aggregate(z, mu, logvar) - gaussian.standard_normal_log_prob(z)
    return found.reshape(n, n)


def _prior_log_mass(edges: Tensor) -> Tensor:
    """log N(0, 1) of the cells between edges that are symmetric about one at 0, and beyond."""
    below = torch.special.log_ndtr(edges[: len(edges) // 2 + 1])
    # log(e^b - e^a): far out, both would be 0 as probabilities.
    between = below[1:] + torch.log(-torch.expm1(below[:-1] - below[1:]))
    half = torch.cat([below[:1], between])
    return torch.cat([half, half.flip(0)])


def _stderr(values: Tensor) -> float:
    return float(values.std()) / math.sqrt(len(values))


def _checked(mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    if mu.shape != logvar.shape or mu.ndim != 2 or not len(mu):
        raise UserError(
            f"mu {tuple(mu.shape)} and logvar {tuple(logvar.shape)} must both be (N, D), N >= 1"
        )
    mu, logvar = mu.double(), logvar.double()
    bad = ~(torch.isfinite(mu) & (logvar.abs() < 600)).all(1)  # exp must not overflow
    if bad.any():
        first = int(torch.nonzero(bad)[0, 0])
        raise UserError(f"q(z|x) of point {first:,} has no finite mean and variance")
    return mu, logvar
