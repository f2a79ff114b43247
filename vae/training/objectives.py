"""What training minimises: the loss of equation (6) or another bound, and what is reported."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vae.config import TrainConfig
from vae.core import gaussian
from vae.core.elbo import decodes_at_once, point_terms
from vae.core.model import VAE
from vae.data.dataset import to_unit
from vae.training import distributed

# In the loss: a standard deviation of 150 where the prior has 1.
_MOST_LOGVAR = 10.0


class MeanTerms(NamedTuple):
    """Means over the images of a split, in nats per image."""

    recon: float
    kl: float

    @property
    def neg_elbo(self) -> float:
        """recon + kl: what beta = 1 minimises, whatever the run's own beta."""
        return self.recon + self.kl


class Loss(nn.Module):
    """The loss of a share of a batch; a module, so that DistributedDataParallel can wrap it."""

    def __init__(self, model: VAE, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(
        self,
        read: Tensor,
        target: Tensor,
        eps: Tensor,
        beta: float,
        batch: int,
        labels: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The objective with weight beta on the KL, and the sums of recon and KL.

        With one draw for each image that is equation (6). With K it is the importance-weighted
        bound of Burda, Grosse & Salakhutdinov (2016), equation 8:
        -log (1/K) sum_k p(x|z_k) (p(z_k) / q(z_k|x))^beta; recon and KL are those of q, as always.

        Args:
            read: what the encoder reads of this process's images, (B, C, H, W); B may be 0.
            target: what the decoder is held against, of the same shape.
            eps: their noise, (B, K, D).
            beta: the weight.
            batch: images in the whole batch.
            labels: of a model with a condition, int64, (B,), each a class that it has.

        Returns:
            This process's part of the batch's mean loss times the number of processes (whose
            gradients DistributedDataParallel averages), and its (recon, KL), shape (2,), nats.
        """
        model = self.model
        if n := model.config.n_classes:
            # Not by F.one_hot, which asks the device whether the labels fit: they were checked.
            model = model.under((labels[:, None] == torch.arange(n, device=labels.device)).float())
        low = torch.autocast(
            read.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"
        )
        with low:
            mu, logvar = model.encode(read)
        # One image whose logvar leaps would overflow and end the training.
        mu, logvar = mu.float(), logvar.float().clamp(max=_MOST_LOGVAR)
        K = eps.shape[1]
        # One draw is one batch, as a network is used to.
        z = gaussian.reparameterise(mu, logvar, eps[:, 0] if K == 1 else eps.transpose(0, 1))
        with low:
            raw = model.decode(z)
        log_px = model.likelihood.log_prob(target, raw.float())  # of each pixel
        recon = -log_px.sum() / K
        kl_of_dims = gaussian.kl_to_standard_normal(mu, logvar).sum(0)  # (D,)
        charged = kl_of_dims
        if self.config.free_bits:
            charged = kl_of_dims.clamp_min(self.config.free_bits * len(read))
        loss = recon + beta * charged.sum()
        if K > 1:
            log_ratio = gaussian.standard_normal_log_prob(z) - gaussian.log_prob(z, mu, logvar)
            log_w = log_px.flatten(-3).sum(-1) + beta * log_ratio  # (K, B)
            loss = (math.log(K) - log_w.logsumexp(0)).sum()
        loss = loss * (distributed.size() / batch)
        return loss, torch.stack([recon.detach(), kl_of_dims.detach().sum()])


def kl_weight(config: TrainConfig, step: int, n_steps: int) -> float:
    """beta at a step, counted from 0, of so many: it climbs over the warm-up."""
    climb = config.kl_warmup * n_steps
    return config.beta * min(1.0, (step + 1) / climb) if climb >= 1 else config.beta


@torch.no_grad()
def mean_terms(model: VAE, images: Tensor, eps: Tensor, labels: Tensor | None = None) -> MeanTerms:
    """The means of `point_terms` over a set of images.

    Args:
        model: the VAE.
        images: uint8, shape (N, C, H, W), on the model's device.
        eps: noise, shape (S, N, D).
        labels: of a model with a condition, int64, shape (N,).
    """
    totals = torch.zeros(2, dtype=torch.float64)
    if not len(images):  # the share of a process more than there are images
        return MeanTerms(0.0, 0.0)
    chunk = decodes_at_once(model)
    for rows in torch.arange(len(images), device=images.device).split(chunk):
        given = model if labels is None else model.given(labels[rows])
        terms = point_terms(given, to_unit(images[rows]), eps[:, rows])
        totals += torch.stack([terms.recon.sum(), terms.kl.sum()]).cpu().double()
    return MeanTerms(*(totals / len(images)).tolist())
