import math

import numpy as np
import pytest
import scipy.integrate
import torch
from torch import distributions

from vae.config import LIKELIHOODS
from vae.core.likelihood import Bernoulli, ContinuousBernoulli, Gaussian, make_likelihood

BY_NAME = dict(
    zip(LIKELIHOODS, (Bernoulli, ContinuousBernoulli, Gaussian), strict=True)
)  # the order is config's: bernoulli, continuous-bernoulli, gaussian


def uniform(*shape: int, low: float = 0.0, high: float = 1.0, seed: int = 0) -> torch.Tensor:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return low + (high - low) * values


def log_partition(logit: float) -> float:
    """log of the integral of exp(logit x) over [0, 1], from its definition."""
    shift = max(logit, 0.0)
    integral, _ = scipy.integrate.quad(
        lambda x: math.exp(logit * x - shift), 0, 1, epsabs=0, epsrel=1e-12, limit=500
    )
    return shift + math.log(integral)


def test_every_configured_likelihood_can_be_made():
    for name, kind in BY_NAME.items():
        assert type(make_likelihood(name)) is kind


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_log_prob_is_unreduced_and_broadcasts_over_samples(name):
    likelihood = make_likelihood(name)
    x, out = uniform(5, 3, 4, 6), uniform(2, 5, 3, 4, 6, low=-3, high=3, seed=1)
    log_p = likelihood.log_prob(x, out)
    assert log_p.shape == (2, 5, 3, 4, 6)
    for s in range(2):
        torch.testing.assert_close(log_p[s], likelihood.log_prob(x, out[s]))
    assert likelihood.mean(out).shape == out.shape


# Bernoulli


def test_bernoulli_log_prob_of_binary_pixels_equals_torch_distributions():
    x, logits = uniform(2000).round(), uniform(2000, low=-30, high=30, seed=1)
    expected = distributions.Bernoulli(logits=logits).log_prob(x)
    # Above 20 PyTorch's softplus drops log(1 + exp(-logit)), less than 2.1e-9.
    torch.testing.assert_close(Bernoulli().log_prob(x, logits), expected, rtol=0, atol=2.1e-9)


def test_bernoulli_log_prob_of_grey_pixels_equals_torch_distributions():
    x, logits = uniform(2000), uniform(2000, low=-30, high=30, seed=1)
    expected = distributions.Bernoulli(logits=logits, validate_args=False).log_prob(x)
    torch.testing.assert_close(Bernoulli().log_prob(x, logits), expected, rtol=0, atol=2.1e-9)


def test_bernoulli_mean_equals_torch_distributions():
    logits = uniform(2000, low=-30, high=30)
    torch.testing.assert_close(
        Bernoulli().mean(logits), distributions.Bernoulli(logits=logits).mean
    )


def test_bernoulli_log_prob_of_extreme_logits_is_exact_in_float32():
    logits = torch.tensor([1e4, -1e4, 1e4, -1e4])
    x = torch.tensor([1.0, 0.0, 0.0, 1.0])
    assert Bernoulli().log_prob(x, logits).tolist() == [0, 0, -1e4, -1e4]


# Continuous Bernoulli


def test_continuous_bernoulli_log_prob_equals_torch_distributions():
    x, logits = uniform(4000), uniform(4000, low=-15, high=15, seed=1)
    expected = distributions.ContinuousBernoulli(logits=logits).log_prob(x)
    torch.testing.assert_close(
        ContinuousBernoulli().log_prob(x, logits), expected, rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize("reach", [1e-6, 3e-3, 0.05, 0.2])
def test_continuous_bernoulli_equals_torch_distributions_near_a_half(reach):
    # Both sides of |logit| = 0.1, where ours changes formula, and of 0.004, where torch's does.
    x, logits = uniform(2000), uniform(2000, low=-reach, high=reach, seed=1)
    theirs = distributions.ContinuousBernoulli(logits=logits)
    ours = ContinuousBernoulli()
    torch.testing.assert_close(ours.log_prob(x, logits), theirs.log_prob(x), rtol=0, atol=1e-9)
    # Torch's own mean is a difference of two numbers near 1 / reach.
    torch.testing.assert_close(ours.mean(logits), theirs.mean, rtol=0, atol=1e-9)


def test_continuous_bernoulli_mean_equals_torch_distributions():
    logits = uniform(4000, low=-15, high=15)
    expected = distributions.ContinuousBernoulli(logits=logits).mean
    torch.testing.assert_close(ContinuousBernoulli().mean(logits), expected, rtol=1e-6, atol=1e-8)


LOGITS = (-300.0, -40.0, -5.0, -0.1000001, -0.0999999, -1e-3, 0.0, 1e-3, 0.0999999, 0.1000001, 5.0)


@pytest.mark.parametrize("logit", [*LOGITS, 40.0, 300.0])
def test_continuous_bernoulli_equals_its_definition_as_an_integral(logit):
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    expected = logit * x.numpy() - log_partition(logit)
    logits = torch.full((11,), logit, dtype=torch.float64)
    found = ContinuousBernoulli().log_prob(x, logits)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-10)

    mean, _ = scipy.integrate.quad(
        lambda t: t * math.exp(logit * t - log_partition(logit)), 0, 1, epsrel=1e-11, limit=500
    )
    assert float(ContinuousBernoulli().mean(logits)[0]) == pytest.approx(mean, abs=1e-9)


def test_continuous_bernoulli_of_extreme_logits_follows_its_asymptote_in_float32():
    # exp(-|logit|) has vanished: log Z = max(logit, 0) - log |logit| and the mean is 1/|logit| off.
    logits = torch.tensor([-1e6, -1e4, -200.0, 200.0, 1e4, 1e6])
    near = (logits > 0).float()
    ours = ContinuousBernoulli()
    torch.testing.assert_close(ours.log_prob(near, logits), logits.abs().log(), rtol=1e-5, atol=0.1)
    torch.testing.assert_close(
        ours.log_prob(1 - near, logits), logits.abs().log() - logits.abs(), rtol=1e-6, atol=1e-3
    )
    torch.testing.assert_close(ours.mean(logits), (near - 1 / logits), rtol=1e-6, atol=1e-7)


def test_continuous_bernoulli_mean_is_the_derivative_of_its_log_partition():
    logits = torch.cat([torch.linspace(-50, 50, 1001), torch.tensor(LOGITS)]).double()
    logits.requires_grad_()
    # At x = 0 the log density is minus the log partition function.
    (slope,) = torch.autograd.grad(
        -ContinuousBernoulli().log_prob(torch.zeros_like(logits), logits).sum(), logits
    )
    mean = ContinuousBernoulli().mean(logits)
    torch.testing.assert_close(mean, slope, rtol=1e-7, atol=1e-8)
    assert (mean.diff()[:1000] > 0).all()


def test_in_float32_the_continuous_bernoulli_agrees_with_float64():
    x = uniform(4000)
    logits = torch.cat([uniform(2000, low=-0.3, high=0.3), uniform(2000, low=-40, high=40)])
    ours = ContinuousBernoulli()
    torch.testing.assert_close(
        ours.log_prob(x.float(), logits.float()).double(),
        ours.log_prob(x, logits),
        rtol=1e-5,
        atol=1e-5,
    )
    torch.testing.assert_close(
        ours.mean(logits.float()).double(), ours.mean(logits), rtol=1e-5, atol=1e-5
    )


# Gaussian


@pytest.mark.parametrize("logvar_x", [-8.0, -2.0, 0.0, 3.0])
def test_gaussian_log_prob_equals_torch_distributions(logvar_x):
    likelihood = Gaussian().double()
    likelihood.logvar_x.data.fill_(logvar_x)
    x, x_mean = uniform(2000), uniform(2000, low=-1, high=2, seed=1)
    expected = distributions.Normal(x_mean, math.exp(logvar_x / 2)).log_prob(x)
    torch.testing.assert_close(likelihood.log_prob(x, x_mean), expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(likelihood.mean(x_mean), x_mean)


def test_the_gaussian_variance_is_learnt():
    # Its maximum-likelihood value is the mean squared error.
    likelihood = Gaussian().double()
    error = 0.3 * torch.randn(5000, generator=torch.Generator().manual_seed(0)).double()
    likelihood.logvar_x.data = error.square().mean().log()
    likelihood.log_prob(error, torch.zeros_like(error)).sum().backward()
    assert float(likelihood.logvar_x.grad) == pytest.approx(0, abs=1e-7)
    likelihood.logvar_x.data += 0.1
    likelihood.logvar_x.grad = None
    likelihood.log_prob(error, torch.zeros_like(error)).sum().backward()
    assert float(likelihood.logvar_x.grad) < -100


# All three


@pytest.mark.parametrize("out", [-60.0, -3.0, -0.1, 0.0, 1e-4, 0.5, 7.0, 60.0])
@pytest.mark.parametrize("name", ["continuous-bernoulli", "gaussian"])
def test_densities_integrate_to_one(name, out):
    likelihood = make_likelihood(name).double()
    out = torch.tensor(out, dtype=torch.float64)

    def density(x):
        with torch.no_grad():
            log_p = likelihood.log_prob(torch.tensor(x, dtype=torch.float64), out)
        return math.exp(log_p)

    middle, reach = float(out), 10 * math.exp(-1)  # ten standard deviations
    ends = (0, 1) if name == "continuous-bernoulli" else (middle - reach, middle + reach)
    total, _ = scipy.integrate.quad(density, *ends, limit=200)
    assert total == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("out", [-60.0, -0.7, 0.0, 2.0, 60.0])
def test_bernoulli_probabilities_of_black_and_white_add_to_one(out):
    log_p = Bernoulli().log_prob(torch.tensor([0.0, 1.0]), torch.tensor(out))
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_gradients_are_finite_everywhere(name):
    edges = [0.0, 1e-30, 1e-8, 1e-3, 0.0999999, 0.1, 0.1000001, 1.0, 20.0, 90.0, 200.0, 1e4, 1e6]
    out = torch.tensor([*edges, *(-e for e in edges)], requires_grad=True)
    for x in (0.0, 0.3, 1.0):
        log_p = make_likelihood(name).log_prob(torch.tensor(x), out)
        assert torch.isfinite(log_p).all()
        (gradient,) = torch.autograd.grad(log_p.sum(), out)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["bernoulli", "continuous-bernoulli"])
def test_the_gradient_of_the_logit_is_the_pixel_minus_the_mean(name):
    # True of every exponential family in its natural parameter; at 0 both have the mean 1/2.
    likelihood = make_likelihood(name)
    logits = torch.tensor([-20.0, -0.5, -0.05, 0.0, 0.05, 0.5, 20.0], dtype=torch.float64)
    logits.requires_grad_()
    log_p = likelihood.log_prob(torch.tensor(0.3), logits)
    (gradient,) = torch.autograd.grad(log_p.sum(), logits)
    expected = torch.tensor(0.3) - likelihood.mean(logits)
    torch.testing.assert_close(gradient, expected.detach().double(), rtol=1e-6, atol=1e-7)
    assert likelihood.mean(logits)[3].item() == 0.5
