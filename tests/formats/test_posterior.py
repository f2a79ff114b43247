"""The moments of p(z|x) for a file without an encoder, against probabilistic PCA's closed form."""

import pytest
import torch
from torch import nn

from vae.config import ForeignModel
from vae.core.likelihood import fixed_gaussian
from vae.formats.posterior import PosteriorEncoder


class _Linear(nn.Module):
    def __init__(self, W: torch.Tensor) -> None:
        super().__init__()
        self.W = nn.Parameter(W)

    def forward(self, z):
        return (z @ self.W.T).unflatten(-1, (1, 4, 4))


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("variance", [1.0, 0.02])
def test_probabilistic_pca(k, variance):
    # Tipping & Bishop (1999): p(z|x) = N(M^-1 W'x, s^2 M^-1), M = W'W + s^2 I; columns of W that
    # are orthogonal leave no covariance for the diagonal to lose.
    generator = torch.Generator().manual_seed(0)
    W, _ = torch.linalg.qr(torch.randn(16, k, generator=generator))
    config = ForeignModel((1, 4, 4), k, "gaussian", "any")
    encoder = PosteriorEncoder(config, _Linear(W), fixed_gaussian(variance))
    x = torch.rand(7, 1, 4, 4, generator=generator)
    mu, logvar = encoder(x)
    M = W.T @ W + variance * torch.eye(k)
    torch.testing.assert_close(mu, x.flatten(1) @ W @ torch.linalg.inv(M).T, atol=2e-3, rtol=0)
    expected = (variance * torch.linalg.inv(M)).diagonal().log().expand(7, k)
    torch.testing.assert_close(logvar, expected, atol=0.03, rtol=0)


def test_beyond_two_dimensions_it_is_the_prior():
    config = ForeignModel((1, 4, 4), 3, "gaussian", "any")
    encoder = PosteriorEncoder(config, _Linear(torch.zeros(16, 3)), fixed_gaussian(1.0))
    mu, logvar = encoder(torch.rand(5, 1, 4, 4))
    assert mu.abs().max() == logvar.abs().max() == 0
    assert mu.shape == logvar.shape == (5, 3)
