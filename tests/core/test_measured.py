"""The likelihoods of vectors and series, against torch.distributions."""

import pytest
import torch
from torch import distributions

from vae.config import (
    MEASURED_LIKELIHOODS,
    MIXED,
    SERIES,
    VECTOR,
    ConfigError,
    ModelConfig,
)
from vae.core.elbo import log_likelihood, log_weights, point_terms
from vae.core.lattice import lattice_log_px
from vae.core.likelihood import likelihood_of
from vae.core.model import VAE
from vae.features import BINARY, COUNT, POSITIVE, REAL, Feature
from vae.inference.quadrature import exact_posterior

KINDS = (REAL, POSITIVE, BINARY, COUNT, REAL)
WANTED = {"bernoulli": BINARY, "poisson": COUNT, "negative-binomial": COUNT}


def config_of(name: str, kind: str = VECTOR) -> ModelConfig:
    kinds = [WANTED.get(name, REAL)] * 5 if name != MIXED else KINDS
    if kind == SERIES:
        features = tuple(Feature(f"c{i}", kinds[0]) for i in range(2))
        return ModelConfig((2, 1, 6), kind=SERIES, likelihood=name, features=features, hidden=(8,))
    features = tuple(Feature(f"f{i}", k, mean=0.5, scale=2.0) for i, k in enumerate(kinds))
    return ModelConfig((1, 1, 5), kind=VECTOR, likelihood=name, features=features, hidden=(8,))


def drawn(config: ModelConfig, n: int) -> torch.Tensor:
    """Numbers that each feature could have."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, *config.image_shape, generator=generator, dtype=torch.float64)
    as_vector = config.kind == VECTOR
    for f, feature in enumerate(config.features):
        part = x[..., f] if as_vector else x[:, f]
        if feature.kind == BINARY:
            part.copy_((part > 0).double())
        if feature.kind == COUNT:
            part.copy_((part.abs() * 20).floor())
    return x


def expected(likelihood, x: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
    """log p(x|z) of vectors by torch.distributions, a feature at a time."""
    out = torch.empty_like(x)
    for f, family in enumerate(likelihood.families):
        value, given = x[..., f], raw[..., f]
        if family == "gaussian":
            logvar = likelihood.logvar_x.expand(1, 1, len(likelihood.families))[0, 0, f]
            made = distributions.Normal(given, torch.exp(logvar / 2))
        elif family == "bernoulli":
            made = distributions.Bernoulli(logits=given)
        elif family == "poisson":
            made = distributions.Poisson(torch.exp(given))
        else:
            log_r = likelihood.log_r[0, 0, f]
            made = distributions.NegativeBinomial(torch.exp(log_r), logits=given - log_r)
        out[..., f] = made.log_prob(value)
    return out


def with_own_variances(likelihood):
    """Each feature's parameters other than its neighbours'."""
    likelihood = likelihood.double()
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.copy_(torch.linspace(-1.5, 2, parameter.numel()).view(parameter.shape))
    return likelihood


@pytest.mark.parametrize("name", MEASURED_LIKELIHOODS)
def test_log_prob_mean_and_variance_are_those_of_torch(name):
    config = config_of(name)
    likelihood, x = with_own_variances(likelihood_of(config)), drawn(config, 50)
    raw = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 2
    torch.testing.assert_close(likelihood.log_prob(x, raw), expected(likelihood, x, raw))
    for f, family in enumerate(likelihood.families):
        mean, variance = likelihood.mean(raw)[..., f], likelihood.variance(raw)[..., f]
        if family == "negative-binomial":
            log_r = likelihood.log_r[0, 0, f]
            made = distributions.NegativeBinomial(torch.exp(log_r), logits=raw[..., f] - log_r)
            torch.testing.assert_close(mean, made.mean)
            torch.testing.assert_close(variance, made.variance)
        if family == "poisson":
            torch.testing.assert_close(variance, distributions.Poisson(mean).variance)
        if family == "bernoulli":
            torch.testing.assert_close(variance, distributions.Bernoulli(mean).variance)


@pytest.mark.parametrize("kind", [VECTOR, SERIES])
@pytest.mark.parametrize("name", MEASURED_LIKELIHOODS)
def test_the_parts_of_an_exponential_family_say_the_same(name, kind):
    config = config_of(name, kind)
    likelihood, x = with_own_variances(likelihood_of(config)), drawn(config, 6)
    x.view(6, -1)[1, ::2] = torch.nan
    raw = torch.randn(4, *config.image_shape, dtype=torch.float64)
    eta, A = likelihood.terms(raw)
    by_products = likelihood.statistics(x) @ eta.T - A + likelihood.base(x)[:, None]
    one_by_one = likelihood.log_prob(x[:, None], raw).sum((-3, -2, -1))
    torch.testing.assert_close(by_products, one_by_one)


@pytest.mark.parametrize("name", MEASURED_LIKELIHOODS)
def test_what_is_missing_costs_what_a_model_without_those_features_costs(name):
    config = config_of(name)
    likelihood, x = with_own_variances(likelihood_of(config)), drawn(config, 20)
    raw = torch.randn(x.shape, dtype=torch.float64)
    whole = likelihood.log_prob(x, raw)
    gone = torch.rand(x.shape) < 0.4
    found = likelihood.log_prob(torch.where(gone, torch.nan, x), raw)
    assert (found[gone] == 0).all()
    torch.testing.assert_close(found[~gone], whole[~gone])


@pytest.mark.parametrize("name", MEASURED_LIKELIHOODS)
def test_gradients_are_finite_far_out_and_where_numbers_are_missing(name):
    config = config_of(name)
    likelihood, x = likelihood_of(config), drawn(config, 20).float()
    x[::2, ..., 1] = torch.nan
    raw = (torch.randn(x.shape) * 60).requires_grad_()
    likelihood.log_prob(x, raw).sum().backward()
    assert raw.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in likelihood.parameters())
    assert (raw.grad[::2, ..., 1] == 0).all()


@pytest.mark.parametrize("kind", [VECTOR, SERIES])
@pytest.mark.parametrize("name", MEASURED_LIKELIHOODS)
@torch.no_grad()
def test_terms_bounds_and_the_integral_agree(name, kind):
    config = config_of(name, kind)
    model = VAE(config)
    with torch.no_grad():  # points of the model's own, so that they lie where the prior is
        x = model.likelihood.mean(model.decode(torch.randn(8, 2)))
        x = x.round() if set(model.likelihood.families) != {"gaussian"} else x
    x.view(8, -1)[2, 1] = torch.nan
    eps = torch.randn(64, 8, 2)
    terms = point_terms(model, x, eps)
    assert terms.recon.isfinite().all()
    mu, logvar = model.encode(x)
    log_w = log_weights(model, x, mu, logvar, eps)
    z = mu + eps * torch.exp(logvar / 2)
    normal = distributions.Normal(mu, torch.exp(logvar / 2))
    prior = distributions.Normal(torch.zeros(2), torch.ones(2))
    direct = log_likelihood(model, x, z) + (prior.log_prob(z) - normal.log_prob(z)).sum(-1)
    torch.testing.assert_close(log_w, direct, rtol=1e-4, atol=1e-3)
    exact = exact_posterior(model, x, mu, logvar)
    torch.testing.assert_close(lattice_log_px(model, x, 16384), exact.log_px, rtol=0, atol=0.02)


def test_an_encoder_reads_counts_by_their_logarithm_and_nothing_of_what_is_missing():
    features = tuple(Feature(f"f{i}", COUNT, mean=1.0, scale=2.0) for i in range(3))
    config = ModelConfig((1, 1, 3), kind=VECTOR, likelihood="poisson", features=features)
    read = VAE(config).encoder.reading(torch.tensor([[[[0.0, 9.0, torch.nan]]]]))
    torch.testing.assert_close(read, torch.tensor([[[[-0.5, (2.302585 - 1) / 2, 0.0]]]]))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image_shape": (1, 1, 4)}, "features has 5 entries; the data have 4"),
        ({"image_shape": (1, 2, 5)}, "must be \\(1, 1, features\\)"),
        ({"image_shape": (2, 1, 5)}, "of a vector must be"),
        ({"image_shape": (1, 1, 100_000)}, "at most 10000"),
        ({"kind": "sound"}, "kind \\(='sound'\\)"),
        ({"kind": "image"}, "features has 5 entries; the data have 0"),
        ({"likelihood": "continuous-bernoulli"}, "likelihood"),
        ({"likelihood": "poisson"}, "is of count features, and 'f0' is real; choose mixed"),
        ({"family": "conv"}, "take mlp for vectors"),
        ({"features": [{"name": 3}] * 5}, "features cannot be used: feature 0"),
    ],
)
def test_a_config_that_does_not_fit_is_told(changes, told):
    values = config_of(MIXED).to_dict() | changes
    with pytest.raises(ConfigError, match=told):
        ModelConfig.from_dict(values)


def test_a_config_comes_back_from_json():
    import json

    for kind, name in ((VECTOR, MIXED), (SERIES, "gaussian")):
        config = config_of(name, kind)
        assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("length", [1, 2, 7, 50, 128])
def test_convolutions_along_a_series_of_any_length(length):
    features = (Feature("a"), Feature("b"))
    config = ModelConfig(
        (2, 1, length),
        kind=SERIES,
        family="conv",
        hidden=(4, 6),
        likelihood="gaussian",
        features=features,
    )
    model, x = VAE(config), torch.randn(3, 2, 1, length)
    assert model.decode(model.encode(x)[0]).shape == x.shape
    kernels = [p for p in model.parameters() if p.ndim == 4]
    assert {k.shape[-2:] for k in kernels} == {(1, 3)}
