"""What training minimises: equation (6), another bound or -log p(x), and what is reported."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vae import wording
from vae.config import ModelConfig, TrainConfig
from vae.core import gaussian
from vae.core.elbo import decodes_at_once, point_terms
from vae.core.lattice import MOST_DIMENSIONS
from vae.core.model import VAE
from vae.data.dataset import to_unit
from vae.errors import UserError
from vae.training import distributed

# Pixels that are decoded at once, or pairs of an image and a lattice point: with what autograd
# keeps, some gigabytes.
MOST_NUMBERS = 2**28
_MOST_PAIRS = 2**27
# In the loss: a standard deviation of 150 where the prior has 1.
_MOST_LOGVAR = 10.0
# An encoder is drawn to a peak that is so many nats better, by so many nats for each width that it
# is away: enough to leave a peak, and without a slope like that of a narrow q.
_CLEARLY, _PULL, _PULL_WIDTH = 2.0, 30.0, 0.3
# Pixels of lattice points that are decoded at once; of more the layers run anew on the way back.
_LATTICE_AT_ONCE = 2**23
# So much of all shares of p(z|x) may lie at lattice points that have no slope. Those with one are a
# multiple of so many, since a product of a new size is slow at first.
_WITHOUT_SLOPE, _POINTS_MORE = 1e-3, 256


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
        lattice: Tensor | None = None,
        integrates: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The objective with weight beta on the KL, and the sums of recon and KL.

        With one draw for each image that is equation (6). With K it is the importance-weighted
        bound of Burda, Grosse & Salakhutdinov (2016), equation 8:
        -log (1/K) sum_k p(x|z_k) (p(z_k) / q(z_k|x))^beta; recon and KL are those of q, as always.

        Where it integrates it is -log (1/M) sum_m p(x|z_m) for the decoder, and for the encoder the
        cross-entropy -sum_m r_m log q(z_m|x), where r_m is the share of p(z|x) at z_m: so q covers
        the posterior (Bornschein & Bengio, 2015, the wake phase of q). Else a lattice shows the
        encoder a peak that explains the image better than q does, and it is drawn there: a bound
        alone stays with the peak that it has.

        Args:
            read: what the encoder reads of this process's images, (B, C, H, W); B may be 0.
            target: what the decoder is held against, of the same shape.
            eps: their noise, (B, K, D).
            beta: the weight.
            batch: images in the whole batch.
            labels: of a model with a condition, int64, (B,), each a class that it has.
            lattice: points of the prior, (M, D), if there are any.
            integrates: whether log p(x) is the objective, over the lattice.

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
        with low, torch.set_grad_enabled(torch.is_grad_enabled() and not integrates):
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
        if lattice is not None and integrates:
            loss = self._evidence_loss(target, lattice, mu, logvar, low)
        elif lattice is not None:
            own = log_px.detach().flatten(1).sum(1)  # of the one draw
            loss = loss + self._pull(target, lattice, mu, own, low)
        loss = loss * (distributed.size() / batch)
        return loss, torch.stack([recon.detach(), kl_of_dims.detach().sum()])

    def _evidence_loss(
        self, target: Tensor, lattice: Tensor, mu: Tensor, logvar: Tensor, low: torch.autocast
    ) -> Tensor:
        """-log p(x) over a lattice (M, D), and the cross-entropy of q; the sum over images.

        The slope of log p(x) is that of sum_m r_m log p(x|z_m) where the shares r stay as they are
        (Fisher's identity). So only points that have nearly all of them are decoded with a slope.
        """
        with torch.no_grad():
            # In place: at 32 MB and more every array is new memory, which costs as much as a sum.
            share = self._log_px_given(lattice, target, low)  # (B, M)
            most = share.amax(1, keepdim=True)
            # What weighs less than e^-60 would become a denormal number, with which a CPU is slow.
            share.sub_(most).clamp_(min=-60).exp_()
            total = share.sum(1, keepdim=True)
            share /= total  # of p(z|x)
            log_px = (most + total.log()).squeeze(1) - math.log(len(lattice))
            held, order = share.sum(0).sort(descending=True)
            n = int((held.cumsum(0) < (1 - _WITHOUT_SLOPE) * len(share)).sum()) + 1
            near = order[: -(-n // _POINTS_MORE) * _POINTS_MORE]
        expected = self._expected(share[:, near], lattice[near], target, low)
        neg_log_px = expected.detach() - expected - log_px.sum()
        mean, square = share @ lattice, share @ lattice.square()  # (B, D)
        away = (square - 2 * mu * mean + mu.square()) * torch.exp(-logvar)
        cross_entropy = (gaussian.LOG_2PI + logvar + away) / 2
        return cross_entropy.sum() + neg_log_px

    def _expected(
        self, share: Tensor, lattice: Tensor, target: Tensor, low: torch.autocast
    ) -> Tensor:
        """sum_m r_m log p(x|z_m) for shares r of the points, (B, m); the sum over images."""
        likelihood = self.model.likelihood
        with low:
            pixels = share.T @ likelihood.statistics(target)  # (m, N): what each point answers for
        held = share.sum(0)

        def of_points(z: Tensor, pixels: Tensor, held: Tensor) -> Tensor:
            with low:
                raw = self.model.decode(z)
            eta, A = likelihood.terms(raw.float(), torch.float32)
            return (pixels * eta).sum(dtype=A.dtype) - (held * A).sum()

        size = max(1, _LATTICE_AT_ONCE // pixels.shape[1])
        parts = list(zip(*(all_of.split(size) for all_of in (lattice, pixels, held)), strict=True))
        if len(parts) == 1:
            total = of_points(*parts[0])
        else:
            each = [checkpoint(of_points, *part, use_reentrant=False) for part in parts]
            total = torch.stack(each).sum()
        return (total + likelihood.base(target).sum()).float()

    def _pull(
        self, target: Tensor, lattice: Tensor, mu: Tensor, own: Tensor, low: torch.autocast
    ) -> Tensor:
        """What an encoder pays where a lattice point explains an image clearly better than q does.

        `own` is log p(x|z) of q's draw, (B,); the result is the sum over images.
        """
        best, at = self._log_px_given(lattice, target, low).max(1)
        away = ((lattice[at] - mu) / _PULL_WIDTH).square().sum(1)
        return (_PULL * (best > own + _CLEARLY) * (1 + away).sqrt()).sum()

    @torch.no_grad()
    def _log_px_given(self, lattice: Tensor, target: Tensor, low: torch.autocast) -> Tensor:
        """log p(x|z) of each image at each point, (B, M), without a slope."""
        likelihood = self.model.likelihood
        pixels = likelihood.statistics(target)  # (B, N)
        log_px = torch.empty(len(pixels), len(lattice), device=pixels.device)
        size = max(1, _LATTICE_AT_ONCE // pixels.shape[1])
        for z, part in zip(lattice.split(size), log_px.split(size, 1), strict=True):
            with low:
                raw = self.model.decode(z)
            eta, A = likelihood.terms(raw.float(), torch.float32)
            with low:
                products = pixels.to(eta.dtype) @ eta.T
            torch.sub(products, A, out=part)
        return log_px.add_(likelihood.base(target).float()[:, None])


def check_objective(model: ModelConfig, train: TrainConfig, n_train: int) -> None:
    """Whether such a model can be trained by that objective within memory.

    Raises:
        UserError: a lattice over too many dimensions, or more decodes at once than there is
            memory for; the message names the setting.
    """
    words = wording.of(model.kind)
    batch = min(train.batch_size, n_train)
    n_at_once = batch * train.n_draws
    if n_at_once * math.prod(model.image_shape) > MOST_NUMBERS:
        raise UserError(
            f"importance_samples (={train.importance_samples}) and batch_size "
            f"(={train.batch_size}) would decode {n_at_once:,} {words.points} at once, more "
            "than memory is meant for; lower one of them"
        )
    if not train.integrates:
        return
    if model.latent_dim > MOST_DIMENSIONS:
        raise UserError(
            f"latent_dim (={model.latent_dim}) must be 1 or 2 for the objective "
            f"{train.objective}, which integrates over the latent space; train with iwae instead"
        )
    if batch * train.lattice_points > _MOST_PAIRS:
        raise UserError(
            f"lattice_points (={train.lattice_points:,}) and batch_size (={train.batch_size:,}) "
            f"would hold {batch * train.lattice_points:,} pairs of {words.a_point} and a latent "
            "point at once, more than memory is meant for; lower one of them"
        )


def kl_weight(config: TrainConfig, step: int, n_steps: int) -> float:
    """beta at a step, counted from 0, of so many: it climbs over the warm-up."""
    if config.integrates:  # there is nothing that could collapse
        return config.beta
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
