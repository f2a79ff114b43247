"""log p(x|y): each point under its own label is what a model of that class alone says."""

import numpy as np
import pytest
import torch

from vae.config import ModelConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.inference import evidence
from vae.inference.condition import by_class, labels_for


@pytest.fixture(scope="module")
def model():
    config = ModelConfig((1, 8, 8), latent_dim=1, hidden=(8,), n_classes=10)
    model = VAE(config, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # so that labels and z matter
    return model


@pytest.fixture(scope="module")
def points():
    return catalogue.load("digits").first(40)


@pytest.mark.parametrize("method", ["exact", "importance_weighted"])
def test_own_labels_are_each_class_alone(model, points, method):
    def of(condition):
        more = () if method == "exact" else (50,)
        if condition is None:
            return getattr(evidence, method)(model, points, *more)
        return getattr(evidence, method)(model, points, *more, condition=condition)

    own = of(None)
    for c in range(10):
        rows = points.labels.numpy() == c
        np.testing.assert_allclose(own.log_px[rows], of(c).log_px[rows], atol=2e-3)
        np.testing.assert_allclose(own.elbo[rows], of(c).elbo[rows], atol=2e-3)
    assert abs(own.log_px - of(0).log_px)[points.labels.numpy() != 0].mean() > 0.5


def test_annealing_agrees_with_the_integral(model, points):
    few = points.first(12)
    exact = evidence.exact(model, few)
    annealed = evidence.annealed(model, few, 60, n_chains=16)
    assert (abs(annealed.log_px - exact.log_px) < 5 * annealed.error + 0.05).all()


def test_rows_by_class_are_all_rows_once(model, points):
    rows = torch.arange(3, 30)
    parts = by_class(model, labels_for(model, points), rows)
    assert torch.cat([part for _, part in parts]).sort().values.tolist() == rows.tolist()
    assert all(points.labels[part].unique().numel() == 1 for _, part in parts)
