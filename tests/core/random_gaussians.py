"""Gaussians that tests draw."""

import torch


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_gaussians(n: int, k: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """n means and covariances whose scales span six orders of magnitude, in float64."""
    generator = rng(seed)
    mu = torch.randn(n, k, generator=generator, dtype=torch.float64)
    A = torch.randn(n, k, k, generator=generator, dtype=torch.float64)
    cov = A @ A.mT / k + 0.05 * torch.eye(k, dtype=torch.float64)
    exponent = torch.rand(n, 1, generator=generator, dtype=torch.float64) * 6 - 3
    return mu * 10 ** (exponent / 2), cov * 10 ** exponent[..., None]


def posteriors(B: int, D: int, seed: int, dtype=torch.float64):
    generator = rng(seed)
    mu = 2 * torch.randn(B, D, generator=generator, dtype=dtype)
    logvar = 3 * torch.randn(B, D, generator=generator, dtype=dtype)
    return mu, logvar
