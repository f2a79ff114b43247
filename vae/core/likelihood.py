"""log p(x|z) of each pixel, unreduced and in nats, normalising constants included.

A likelihood turns the decoder's raw output into a distribution over pixels in [0, 1]. With grey
pixels the Bernoulli's value is the usual cross-entropy, which is a log-probability only for
binary pixels; the continuous Bernoulli is the density that it lacks.

All three are exponential families in the pixels: log p(x|z) = x . eta(z) - A(z) + b(x), which
`Terms` names, so that many images can be held against many z by one matrix product.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae.core.gaussian import LOG_2PI


class Terms(NamedTuple):
    """The parts of log p(x|z) = x . eta - A + b(x), summed over pixels, that depend on z.

    Attributes:
        eta: the natural parameter of each pixel, shape (..., n_pixels).
        A: the log-normaliser, shape (...), in nats; float64 unless asked for otherwise.
    """

    eta: Tensor
    A: Tensor


class Bernoulli(nn.Module):
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


class ContinuousBernoulli(nn.Module):
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


class Gaussian(nn.Module):
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


def _pixel_sum(values: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    return values.flatten(-3).sum(-1, dtype=dtype)


_BY_NAME = {
    "bernoulli": Bernoulli,
    "continuous-bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
}


Likelihood = Bernoulli | ContinuousBernoulli | Gaussian


def fixed_gaussian(variance: float) -> Gaussian:
    """N(x_mean, variance) for every pixel in [0, 1]; the variance is no parameter to be learnt."""
    likelihood = Gaussian()
    logvar = torch.tensor(math.log(variance))
    likelihood.logvar_x = nn.Parameter(logvar, requires_grad=False)
    return likelihood


def make_likelihood(name: str) -> Likelihood:
    """The likelihood of that name (see `vae.config.LIKELIHOODS`), newly made."""
    return _BY_NAME[name]()
