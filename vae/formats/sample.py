"""The images that readings of a file are held against, and what a model makes of them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from vae.config import IMAGE, ForeignModel, ModelConfig
from vae.core import gaussian
from vae.core.model import VAE
from vae.data.dataset import Dataset, to_unit
from vae.formats.posterior import LEAST_MEAN, lacks_encoder, places

_N_SAMPLES = 4
_OUTSIDE = 0.1  # of [0, 1]
_OF_NORMS = 20.0  # nats that a batch norm's inputs cost, for a deviation from what it has seen


@dataclass(frozen=True)
class Sample:
    """Images, labels, noise, and what they cost without a model."""

    x: Tensor  # (B, C, H, W) in [0, 1]
    labels: Tensor  # (B,)
    eps: Tensor  # (S, B, D)
    vectors: Dataset | None = None  # the same where these are no images, for each reading's units

    @classmethod
    def of(cls, images: Dataset, config: ForeignModel | ModelConfig, n: int) -> "Sample":
        """So many images, evenly from all, of the size that a model reads; labels that it has."""
        rows = torch.linspace(0, len(images) - 1, min(n, len(images))).long()
        some = replace(images, images=images.images[rows], labels=images.labels[rows])
        some = some.read_by(config)
        eps = gaussian.noise_of_points(rows.tolist(), _N_SAMPLES, config.latent_dim, 0)
        labels = some.labels.clamp(max=config.n_classes - 1) if config.n_classes else some.labels
        return cls(to_unit(some.images), labels, eps, None if some.kind == IMAGE else some)

    def fewer(self, n: int) -> "Sample":
        """A part of it, for a search."""
        step = max(1, len(self.x) // n)
        vectors = self.vectors
        if vectors is not None:
            vectors = replace(vectors, images=vectors.images[::step], labels=vectors.labels[::step])
        return Sample(self.x[::step], self.labels[::step], self.eps[:1, ::step], vectors)

    def read_by(self, model: VAE) -> Tensor:
        """x in the units that a reading has them in."""
        if self.vectors is None:
            return self.x
        return self.vectors.read_by(model.config).images

    @cached_property
    def floor(self) -> float:
        """The entropy of the grey pixels, nats per image: no model costs less. 0 of vectors."""
        if self.vectors is not None:
            return 0.0
        return float(_cross_entropy(self.x, self.x).mean())

    @cached_property
    def constant(self) -> float:
        """What the mean image costs, for all, above the floor."""
        if self.vectors is not None:
            return _gaussian_cost(int(self.varies.sum()), 1.0)
        mean = self.x.mean(0, keepdim=True).clamp(LEAST_MEAN, 1 - LEAST_MEAN)
        return float(_cross_entropy(self.x, mean).mean()) - self.floor

    @cached_property
    def varies(self) -> Tensor:
        """Which columns of vectors (F,) are not the same in all: others have no variance."""
        x = self.x.flatten(1)
        return x.amax(0) > x.amin(0)

    @torch.no_grad()
    def score(self, model: VAE, at_mu: bool = False) -> float:
        """-ELBO above the floor, nats per image.

        At mu only the recon of the picture, and what speaks against it in the batch norms: to find
        a reading by, not to be shown.
        """
        if self.vectors is not None:
            return self._score_of_vectors(model, at_mu)
        if lacks_encoder(model):
            return self._score_of_decoder(model, at_mu)
        with _watched(model) as apart:
            model = model.given(self.labels)
            mu, logvar = model.encode(self.x)
            kl = 0 if at_mu else gaussian.kl_to_standard_normal(mu, logvar).sum(-1).mean()
            z = mu if at_mu else gaussian.reparameterise(mu, logvar, self.eps)
            mean = model.likelihood.mean(model.decode(z)).clamp(LEAST_MEAN, 1 - LEAST_MEAN)
        total = float(_cross_entropy(self.x, mean).mean() + kl) - self.floor
        if at_mu:
            total += _OF_NORMS * max(apart, default=0.0)
        return total if math.isfinite(total) else math.inf

    def _score_of_vectors(self, model: VAE, at_mu: bool) -> float:
        """-ELBO with one variance for all standardised numbers, the best: on one scale for all.

        A file says nothing of its p(x|z), and units of different readings would differ. Columns
        that are the same in all of these rows have no such units, and are left out.
        """
        with _watched(model) as apart:
            x, given = self.read_by(model), model.given(self.labels)
            mu, logvar = given.encode(x)
            kl = 0.0 if at_mu else float(gaussian.kl_to_standard_normal(mu, logvar).sum(-1).mean())
            z = mu if at_mu else gaussian.reparameterise(mu, logvar, self.eps)
            away = (x - model.likelihood.mean(given.decode(z))).square().mean(0)
        spread = x.flatten(1).var(0, correction=0).clamp_min(torch.finfo(x.dtype).tiny)
        share = (away.reshape(-1, x.shape[-1]).mean(0) / spread)[self.varies].mean()
        total = _gaussian_cost(int(self.varies.sum()), float(share)) + kl
        if at_mu:
            total += _OF_NORMS * max(apart, default=0.0)
        return total if math.isfinite(total) else math.inf

    def _score_of_decoder(self, model: VAE, quick: bool) -> float:
        """What the images cost at the best z that are found, with -log p(z) up to a constant."""
        z = places(model, self.x, self.labels, quick)
        mean = model.given(self.labels).decode_mean(z).clamp(LEAST_MEAN, 1 - LEAST_MEAN)
        prior = 0 if quick else z.square().sum(1) / 2
        total = float((_cross_entropy(self.x, mean) + prior).mean()) - self.floor
        return total if math.isfinite(total) else math.inf

    @torch.no_grad()
    def seen(self, model: VAE) -> tuple[float, Tensor]:
        """The mean KL in nats per image, 0 without an encoder, and the decoded means at mu."""
        x = self.read_by(model)
        z, given, kl = places(model, x, self.labels), model.given(self.labels), 0.0
        if not lacks_encoder(model):
            kl = float(gaussian.kl_to_standard_normal(*given.encode(x)).sum(-1).mean())
        return kl, given.decode_mean(z)

    @torch.no_grad()
    def range_of(self, model: VAE) -> tuple[float, float, float]:
        """The least and the most of the decoded means at mu, and the share far outside [0, 1]."""
        if self.vectors is not None:
            return 0.0, 1.0, 0.0  # no range is wrong
        z = places(model, self.x, self.labels)
        mean = model.likelihood.mean(model.given(self.labels).decode(z))
        outside = ((mean < -_OUTSIDE) | (mean > 1 + _OUTSIDE)).float().mean()
        return float(mean.min()), float(mean.max()), float(outside)

    @torch.no_grad()
    def norms_apart(self, model: VAE) -> float:
        """How far the batch norms' inputs are from those that they have seen; see `_watched`."""
        with _watched(model) as apart:
            x, model = self.read_by(model), model.given(self.labels)
            mu, logvar = model.encode(x)
            model.decode(gaussian.reparameterise(mu, logvar, self.eps[:1]))
        return max(apart, default=0.0)


@contextmanager
def _watched(model: VAE) -> Iterator[list[float]]:
    """Of each batch norm that is used meanwhile: how far its inputs are from those it has seen.

    In standard deviations, the mean over channels. The running means in a file tell a wrong reading
    of what stands before them, whatever is said behind.
    """
    found: list[float] = []

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        x = inputs[0].transpose(0, 1).flatten(1)
        apart = (x.mean(1) - norm.running_mean).abs() / (norm.running_var + norm.eps).sqrt()
        found.append(float(apart.mean()))

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _gaussian_cost(n: int, share: float) -> float:
    """-log of n numbers of variance 1 of which that share is left, with the best variance."""
    return n / 2 * (gaussian.LOG_2PI + math.log(max(share, 1e-4)) + 1)


def _cross_entropy(x: Tensor, mean: Tensor) -> Tensor:
    """-x log m - (1 - x) log(1 - m), summed over pixels; (..., C, H, W) -> (...), nats."""
    return -(torch.xlogy(x, mean) + torch.xlogy(1 - x, 1 - mean)).sum((-3, -2, -1))
