"""log p(x|z) of each pixel or number, unreduced and in nats, normalising constants included.

A likelihood turns the decoder's raw output into a distribution over pixels in [0, 1]. With grey
pixels the Bernoulli's value is the usual cross-entropy, which is a log-probability only for
binary pixels; the continuous Bernoulli is the density that it lacks.

All are exponential families: log p(x|z) = s(x) . eta(z) - A(z) + b(x), which `Terms` names, so that
many images can be held against many z by one matrix product. Of images s(x) is x itself.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae.config import IMAGE, MIXED, ForeignModel, ModelConfig
from vae.core.gaussian import LOG_2PI
from vae.features import BINARY, COUNT, POSITIVE, REAL


class Terms(NamedTuple):
    """The parts of log p(x|z) = s(x) . eta - A + b(x), summed over pixels, that depend on z.

    Attributes:
        eta: the natural parameter of each of the statistics s(x), shape (..., n_statistics); of
            images these are the pixels.
        A: the log-normaliser, shape (...), in nats; float64 unless asked for otherwise.
    """

    eta: Tensor
    A: Tensor


class _OfPixels(nn.Module):
    """A likelihood whose statistics are the pixels."""

    def statistics(self, x: Tensor) -> Tensor:
        """s(x) of images (..., C, H, W): (..., n_pixels)."""
        return x.flatten(-3)


class Bernoulli(_OfPixels):
    """p(x|z) = Bernoulli(sigmoid(logits)); grey pixels are allowed as targets."""

    def log_prob(self, x: Tensor, logits: Tensor) -> Tensor:
        """log p(x|z) of each pixel; x and logits broadcast, (..., C, H, W), nats."""
        # x*l - softplus(l) is x log p + (1 - x) log(1 - p) with no logarithm of a tiny number.
        return x * logits - F.softplus(logits)

    def terms(self, logits: Tensor, dtype: torch.dtype = torch.float64) -> Terms:
        """Of raw outputs (..., C, H, W)."""
        # softplus(l) = -log sigmoid(-l), which runs faster.
        return Terms(logits.flatten(-3), -_pixel_sum(F.logsigmoid(-logits), dtype))

    def base(self, x: Tensor) -> Tensor:
        """b(x) of images (..., C, H, W), shape (...), float64."""
        return torch.zeros(x.shape[:-3], dtype=torch.float64, device=x.device)

    def mean(self, logits: Tensor) -> Tensor:
        """E[x|z], shape as logits."""
        return torch.sigmoid(logits)


class ContinuousBernoulli(_OfPixels):
    """p(x|z) proportional to exp(logit * x) on [0, 1] (Loaiza-Ganem & Cunningham, 2019)."""

    def log_prob(self, x: Tensor, logits: Tensor) -> Tensor:
        """log density of each pixel; x and logits broadcast, (..., C, H, W), nats."""
        return x * logits - self._log_partition(logits)

    def terms(self, logits: Tensor, dtype: torch.dtype = torch.float64) -> Terms:
        """Of raw outputs (..., C, H, W)."""
        return Terms(logits.flatten(-3), _pixel_sum(self._log_partition(logits), dtype))

    def base(self, x: Tensor) -> Tensor:
        """b(x) of images (..., C, H, W), shape (...), float64."""
        return torch.zeros(x.shape[:-3], dtype=torch.float64, device=x.device)

    def mean(self, logits: Tensor) -> Tensor:
        """E[x|z], shape as logits: the derivative of the log partition function."""
        near_zero = logits.abs() < 0.1
        far = torch.where(near_zero, torch.ones_like(logits), logits)
        series = 0.5 + logits / 12 - logits**3 / 720
        return torch.where(near_zero, series, -1 / torch.expm1(-far) - 1 / far)

    @staticmethod
    def _log_partition(logits: Tensor) -> Tensor:
        # log of the integral of exp(l x) over [0, 1] = log((e^l - 1) / l). Near l = 0 that is 0/0,
        # so its Taylor series stands in; `far` keeps the unused branch free of NaN gradients.
        near_zero = logits.abs() < 0.1
        far = torch.where(near_zero, torch.ones_like(logits), logits)
        exact = F.relu(far) + torch.log(-torch.expm1(-far.abs()) / far.abs())
        series = logits / 2 + logits**2 / 24 - logits**4 / 2880
        return torch.where(near_zero, series, exact)


class Gaussian(_OfPixels):
    """p(x|z) = N(x_mean, s^2) with one learned variance s^2 for all pixels.

    Attributes:
        logvar_x: log s^2, a scalar parameter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logvar_x = nn.Parameter(torch.tensor(-2.0))

    def log_prob(self, x: Tensor, x_mean: Tensor) -> Tensor:
        """log density of each pixel; x and x_mean broadcast, (..., C, H, W), nats."""
        squared = (x - x_mean).square() * torch.exp(-self.logvar_x)
        return -(LOG_2PI + self.logvar_x + squared) / 2

    def terms(self, x_mean: Tensor, dtype: torch.dtype = torch.float64) -> Terms:
        """Of raw outputs (..., C, H, W); both float64 always: they are large, and nearly equal."""
        precision = torch.exp(-self.logvar_x.double())
        x_mean = x_mean.flatten(-3).double()
        return Terms(x_mean * precision, x_mean.square().sum(-1) * precision / 2)

    def base(self, x: Tensor) -> Tensor:
        """b(x) of images (..., C, H, W), shape (...), float64."""
        logvar_x = self.logvar_x.double()
        per_pixel = -(LOG_2PI + logvar_x + x.double().square() * torch.exp(-logvar_x)) / 2
        return _pixel_sum(per_pixel)

    def mean(self, x_mean: Tensor) -> Tensor:
        """E[x|z]: the decoder's output itself, which may leave [0, 1]."""
        return x_mean


class Measured(nn.Module):
    """p(x|z) of vectors and series: each number by a family of its own; missing ones add nothing.

    Where a number is NaN it is missing: its log-probability is 0, and it is in no sum.

    Args:
        families: of each feature: "gaussian", "bernoulli", "poisson" or "negative-binomial".
        image_shape: (1, 1, F) of a vector, (C, 1, L) of a series.
        shares_variance: one variance for all Gaussian features, not one for each.

    Attributes:
        families: of each feature.
        logvar_x: log s^2 of the Gaussian features, in the units that the model reads; a scalar, or
            a parameter that broadcasts against (C, H, W).
        log_r: log r of the negative binomial ones, likewise: variance m + m^2 / r for the mean m.

    The decoder's raw output of a number is its mean, its logit, or the log of its rate.
    """

    def __init__(
        self, families: tuple[str, ...], image_shape: tuple[int, int, int], shares_variance: bool
    ) -> None:
        super().__init__()
        self.families = families
        axis = -1 if image_shape[0] == 1 and len(families) == image_shape[2] else -3
        shape = [1, 1, 1]
        shape[axis] = len(families)
        self._shape = shape
        self._masks: dict[tuple[torch.device, tuple[str, ...]], Tensor] = {}
        if "gaussian" in families:
            own = () if shares_variance else shape
            self.logvar_x = nn.Parameter(torch.full(own, -1.0))
        if "negative-binomial" in families:
            self.log_r = nn.Parameter(torch.full(shape, 1.0))

    def log_prob(self, x: Tensor, raw: Tensor) -> Tensor:
        """log p(x|z) of each number, 0 where it is missing; x and raw broadcast, nats."""
        x, raw = torch.broadcast_tensors(x, raw)
        eta, A = self._natural(raw, raw.dtype)
        seen = ~x.isnan()
        x = x.nan_to_num()
        return torch.where(seen, x * eta - A + self._base(x), 0)

    def terms(self, raw: Tensor, dtype: torch.dtype = torch.float64) -> Terms:
        """Of raw outputs (..., C, H, W): eta and -A of each number, in float64 always; A is 0."""
        eta, A = self._natural(raw.double(), torch.float64)
        joined = torch.cat([eta.flatten(-3), -A.flatten(-3)], -1)
        return Terms(joined, torch.zeros(raw.shape[:-3], dtype=torch.float64, device=raw.device))

    def statistics(self, x: Tensor) -> Tensor:
        """x, 0 where it is missing, and whether it is there: (..., 2 C H W)."""
        x = x.flatten(-3)
        return torch.cat([x.nan_to_num(), (~x.isnan()).to(x.dtype)], -1)

    def base(self, x: Tensor) -> Tensor:
        """b(x) of points (..., C, H, W), shape (...), float64."""
        seen = ~x.isnan()
        return _pixel_sum(torch.where(seen, self._base(x.double().nan_to_num()), 0))

    def mean(self, raw: Tensor) -> Tensor:
        """E[x|z], shape as raw, as the model reads it: a count as a count."""
        out = torch.where(self._are(raw, "bernoulli"), torch.sigmoid(raw), raw)
        rate = torch.exp(raw.clamp_max(_MOST_LOG_RATE))
        return torch.where(self._are(raw, *_COUNTS), rate, out)

    def variance(self, raw: Tensor) -> Tensor:
        """Var[x|z], shape as raw."""
        mean = self.mean(raw)
        out = torch.where(self._are(raw, "bernoulli"), mean * (1 - mean), mean)
        if hasattr(self, "log_r"):
            over = mean + mean.square() * torch.exp(-self.log_r)
            out = torch.where(self._are(raw, "negative-binomial"), over, out)
        if hasattr(self, "logvar_x"):
            s2 = torch.exp(self.logvar_x).expand_as(out)
            out = torch.where(self._are(raw, "gaussian"), s2, out)
        return out

    def _are(self, like: Tensor, *names: str) -> Tensor:
        """Which features are of one of these families, to be broadcast against (C, H, W)."""
        key = like.device, names
        if key not in self._masks:
            mask = [family in names for family in self.families]
            self._masks[key] = torch.tensor(mask, device=like.device).view(self._shape)
        return self._masks[key]

    @property
    def _has_counts(self) -> bool:
        return not set(_COUNTS).isdisjoint(self.families)

    def _natural(self, raw: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """eta and A of each number, shape as raw."""
        eta, A = raw, -F.logsigmoid(-raw)  # of a Bernoulli
        # Each family sees harmless numbers where it is not meant: no NaN comes back from there.
        if hasattr(self, "logvar_x"):
            precision, here = torch.exp(-self.logvar_x.to(dtype)), self._are(raw, "gaussian")
            eta = torch.where(here, raw * precision, eta)
            A = torch.where(here, raw.square() * precision / 2, A)
        if self._has_counts:
            log_rate = torch.where(self._are(raw, *_COUNTS), raw, 0).clamp_max(_MOST_LOG_RATE)
            here = self._are(raw, "poisson")
            eta, A = torch.where(here, log_rate, eta), torch.where(here, torch.exp(log_rate), A)
        if hasattr(self, "log_r"):
            log_r, here = self.log_r.to(dtype), self._are(raw, "negative-binomial")
            eta = torch.where(here, -F.softplus(log_r - log_rate), eta)
            A = torch.where(here, torch.exp(log_r) * F.softplus(log_rate - log_r), A)
        return eta, A

    def _base(self, x: Tensor) -> Tensor:
        """b(x) of each number, x without NaN."""
        out = torch.zeros_like(x)
        if hasattr(self, "logvar_x"):
            logvar = self.logvar_x.to(x.dtype)
            normal = -(LOG_2PI + logvar + x.square() * torch.exp(-logvar)) / 2
            out = torch.where(self._are(x, "gaussian"), normal, out)
        if not self._has_counts:
            return out
        count = torch.where(self._are(x, *_COUNTS), x, torch.zeros_like(x))
        log_factorial = torch.lgamma(count + 1)
        out = torch.where(self._are(x, "poisson"), -log_factorial, out)
        if hasattr(self, "log_r"):
            r = torch.exp(self.log_r.to(x.dtype))
            ways = torch.lgamma(count + r) - torch.lgamma(r) - log_factorial
            out = torch.where(self._are(x, "negative-binomial"), ways, out)
        return out


_COUNTS = ("poisson", "negative-binomial")
_MOST_LOG_RATE = 30.0
_BY_KIND = {REAL: "gaussian", POSITIVE: "gaussian", BINARY: "bernoulli", COUNT: "negative-binomial"}


def _pixel_sum(values: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    return values.flatten(-3).sum(-1, dtype=dtype)


_BY_NAME = {
    "bernoulli": Bernoulli,
    "continuous-bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
}


Likelihood = Bernoulli | ContinuousBernoulli | Gaussian | Measured


def fixed_gaussian(variance: float) -> Gaussian:
    """N(x_mean, variance) for every pixel in [0, 1]; the variance is no parameter to be learnt."""
    likelihood = Gaussian()
    logvar = torch.tensor(math.log(variance))
    likelihood.logvar_x = nn.Parameter(logvar, requires_grad=False)
    return likelihood


def unit_gaussian(n: int) -> Measured:
    """N(x_mean, 1) for each of n numbers, in the units that the model reads."""
    likelihood = Measured(("gaussian",) * n, (1, 1, n), shares_variance=True)
    likelihood.logvar_x = nn.Parameter(torch.zeros(()), requires_grad=False)
    return likelihood


def make_likelihood(name: str) -> Likelihood:
    """The likelihood of pixels of that name (see `vae.config.LIKELIHOODS`), newly made."""
    return _BY_NAME[name]()


def likelihood_of(config: ModelConfig | ForeignModel) -> Likelihood:
    """The likelihood that a model's config names, newly made."""
    if config.kind == IMAGE:
        return make_likelihood(config.likelihood)
    name = config.likelihood
    if name == MIXED:
        families = tuple(_BY_KIND[feature.kind] for feature in config.features)
    else:
        families = (name.removesuffix("-per-feature"),) * len(config.features)
    return Measured(families, config.image_shape, shares_variance=name == "gaussian")
