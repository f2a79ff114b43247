"""Models whose posterior is known: probabilistic PCA in closed form; and the digits that ship."""

import math
from pathlib import Path

import torch
from torch import Tensor

from vae.config import ModelConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import to_unit
from vae.runs import checkpoint

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints" / "digits-2d"


def linear_model(latent_dim: int = 3) -> VAE:
    """p(x|z) = N(Wz + b, s^2 I): the posterior is a Gaussian, whose covariance is not diagonal."""
    config = ModelConfig((1, 3, 4), latent_dim, hidden=(), likelihood="gaussian")
    model = VAE(config, torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.decoder.body[0].weight.mul_(0.6)
        model.likelihood.logvar_x.fill_(-2.5)
    return model.requires_grad_(False)


def image(model: VAE) -> Tensor:
    return torch.rand(model.config.image_shape, generator=torch.Generator().manual_seed(4))


def known_posterior(model: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and precision of p(z|x); Bishop (2006), equations (2.116) and (2.117)."""
    W, b = model.decoder.body[0].weight.double(), model.decoder.body[0].bias.double()
    s2 = model.likelihood.logvar_x.double().exp()
    precision = W.T @ W / s2 + torch.eye(W.shape[1], dtype=torch.float64)
    return torch.linalg.solve(precision, W.T @ (x.flatten().double() - b) / s2), precision


def ppca(latent_dim: int = 2, upright: bool = True) -> VAE:
    """A linear model whose encoder gives the true posterior, as far as its family can.

    With orthogonal columns of W the posterior's axes are upright, so the encoder's is exact.
    """
    model = linear_model(latent_dim)
    decoder, encoder = model.decoder.body[0], model.encoder
    if upright:
        decoder.weight.copy_(torch.linalg.qr(decoder.weight).Q)
    _, precision = known_posterior(model, image(model))
    s2 = model.likelihood.logvar_x.double().exp()
    to_mean = torch.linalg.solve(precision, decoder.weight.double().T / s2)
    encoder.mu.weight.copy_(to_mean)
    encoder.mu.bias.copy_(-to_mean @ decoder.bias.double())
    encoder.logvar.weight.zero_()
    encoder.logvar.bias.copy_(-precision.diagonal().log())
    return model


def images(model: VAE, n: int = 7) -> Tensor:
    return torch.rand((n, *model.config.image_shape), generator=torch.Generator().manual_seed(8))


def known_log_px(model: VAE, x: Tensor) -> Tensor:
    W, b = model.decoder.body[0].weight.double(), model.decoder.body[0].bias.double()
    noise = model.likelihood.logvar_x.double().exp() * torch.eye(len(b), dtype=torch.float64)
    return torch.distributions.MultivariateNormal(b, W @ W.T + noise).log_prob(
        x.flatten(1).double()
    )


def shipped() -> VAE:
    return checkpoint.open_run(SHIPPED).load_model()


def digits(n: int) -> tuple[VAE, Tensor]:
    return shipped(), to_unit(catalogue.load("digits").images[:n])


def two_peaks(width: float) -> tuple[VAE, Tensor]:
    """p(x|z) depends on |z1| alone and is narrow: two equal peaks between the lattice's middles."""
    config = ModelConfig((1, 1, 1), 2, hidden=(4,), activation="relu", likelihood="gaussian")
    model = VAE(config).requires_grad_(False)
    first, last = model.decoder.body[0], model.decoder.body[2]
    first.weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 0], [0, 0]]))
    first.bias.zero_()
    last.weight.copy_(torch.tensor([[1.0, 1, 0, 0]]))
    last.bias.zero_()
    model.likelihood.logvar_x.fill_(2 * math.log(width))
    return model, torch.full((1, 1, 1, 1), 1.003)
