"""fit(): trains a VAE and yields the statistics of each epoch as it ends."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae import gaussian
from vae.config import TrainConfig
from vae.datasets import to_unit
from vae.elbo import decodes_at_once, point_terms
from vae.model import VAE


class MeanTerms(NamedTuple):
    """Means over the images of a split, in nats per image."""

    recon: float
    kl: float

    @property
    def neg_elbo(self) -> float:
        """recon + kl: what beta = 1 minimises, whatever the run's own beta."""
        return self.recon + self.kl


@dataclass(frozen=True)
class EpochStats:
    """What one epoch did.

    Attributes:
        epoch: from 1.
        train: the terms as training met them, one sample per image, weights still moving.
        test: the terms of the held-out images at the epoch's end, one sample per image.
        beta: the weight of the KL term at the epoch's last step.
        lr: the learning rate at the epoch's last step.
        images_per_s: training images per second, the held-out pass not counted.
        seconds: the whole epoch, held-out pass included.
    """

    epoch: int
    train: MeanTerms
    test: MeanTerms
    beta: float
    lr: float
    images_per_s: float
    seconds: float

    def rows(self) -> list[dict[str, Any]]:
        """One row per split, as metrics.jsonl keeps them."""
        return [
            {
                "epoch": self.epoch,
                "split": split,
                "recon": terms.recon,
                "kl": terms.kl,
                "neg_elbo": terms.neg_elbo,
                "beta": self.beta,
                "lr": self.lr,
                "images_per_s": self.images_per_s,
                "seconds": self.seconds,
            }
            for split, terms in (("train", self.train), ("test", self.test))
        ]


class NonFiniteLoss(ArithmeticError):
    """The loss became infinite or NaN; the model is back at its last good state."""

    def __init__(self, epoch: int, step: int, learning_rate: float) -> None:
        super().__init__(
            f"the loss stopped being finite in epoch {epoch}, step {step}; the weights are those "
            f"from the end of epoch {epoch - 1}. Try a smaller learning rate than {learning_rate:g}"
        )
        self.epoch, self.step = epoch, step


def choose_device(name: str | None = None) -> torch.device:
    """The named device, or the fastest there is: cuda, then mps, then cpu.

    Raises:
        ValueError: the name is unknown, or this machine has no such device.
    """
    n_devices = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    here = [kind for kind, n in n_devices.items() if n]
    if name is None:
        return torch.device(here[0])
    try:
        device = torch.device(name)
    except RuntimeError:  # not even the name of a device, as "gpu" or "cuda:x"
        device = None
    if device is None or (device.index or 0) >= n_devices.get(device.type, 0):
        raise ValueError(
            f"device (={name!r}) is not available here; choose one of: {', '.join(here)}"
        )
    return device


def fit(
    model: VAE,
    train_images: Tensor,
    test_images: Tensor,
    config: TrainConfig,
    device: str | torch.device | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[EpochStats]:
    """Trains the model in place with Adam, yielding after every epoch.

    The model is usable whenever the generator pauses. On the CPU equal arguments give equal
    weights, bit for bit.

    Args:
        model: the VAE; moved to the device.
        train_images, test_images: uint8, shape (N, C, H, W).
        config: how to train.
        device: as in `choose_device`.
        on_step: called with (steps done, steps in all) after every step; what it raises ends the
            training.

    Raises:
        NonFiniteLoss: after putting the last good weights back.
        ValueError: images of another shape than the model's, or none; an unknown device.
    """
    if not isinstance(device, torch.device):
        device = choose_device(device)
    if not len(train_images) or not len(test_images):
        raise ValueError("training needs at least one training and one held-out image")
    model.to(device)
    train_images, test_images = train_images.to(device), test_images.to(device)
    N, D = len(train_images), model.config.latent_dim
    steps_per_epoch = math.ceil(N / config.batch_size)
    n_steps = config.epochs * steps_per_epoch

    order_generator = torch.Generator().manual_seed(config.seed)
    eps_generator = torch.Generator(device).manual_seed(config.seed)
    test_eps = gaussian.noise_of_points(range(len(test_images)), 1, D, config.seed).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    schedule = _schedule(optimiser, config, n_steps)

    for epoch in range(1, config.epochs + 1):
        started = time.perf_counter()
        good_state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        order = torch.randperm(N, generator=order_generator).to(device)
        step_terms = torch.zeros(steps_per_epoch, 2, device=device)  # sums of recon and KL
        for i, rows in enumerate(order.split(config.batch_size)):
            step = (epoch - 1) * steps_per_epoch + i
            beta = _kl_weight(config, step, n_steps)
            x = to_unit(train_images[rows])
            terms = point_terms(model, x, gaussian.draw((1, len(rows), D), eps_generator))
            loss = (terms.recon + beta * terms.kl).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            lr = schedule.get_last_lr()[0]
            schedule.step()
            # Kept on the device: reading them here would make every step wait for the last one.
            step_terms[i, 0] = terms.recon.detach().sum()
            step_terms[i, 1] = terms.kl.detach().sum()
            if on_step:
                on_step(step + 1, n_steps)
        finite = step_terms.isfinite().all(1).tolist()
        train_seconds = time.perf_counter() - started

        test = mean_terms(model, test_images, test_eps)
        if not all(finite) or not math.isfinite(test.neg_elbo):
            model.load_state_dict(good_state)
            step = finite.index(False) + 1 if not all(finite) else steps_per_epoch
            raise NonFiniteLoss(epoch, step, config.learning_rate)
        recon, kl = (step_terms.cpu().double().sum(0) / N).tolist()
        yield EpochStats(
            epoch=epoch,
            train=MeanTerms(recon, kl),
            test=test,
            beta=beta,
            lr=lr,
            images_per_s=N / train_seconds,
            seconds=time.perf_counter() - started,
        )


@torch.no_grad()
def mean_terms(model: VAE, images: Tensor, eps: Tensor) -> MeanTerms:
    """The means of `point_terms` over a set of images.

    Args:
        model: the VAE.
        images: uint8, shape (N, C, H, W), on the model's device.
        eps: noise, shape (S, N, D).
    """
    totals = torch.zeros(2, dtype=torch.float64)
    chunk = decodes_at_once(images[0].numel())
    for rows, noise in zip(images.split(chunk), eps.split(chunk, dim=1), strict=True):
        terms = point_terms(model, to_unit(rows), noise)
        totals += torch.stack([terms.recon.sum(), terms.kl.sum()]).cpu().double()
    return MeanTerms(*(totals / len(images)).tolist())


def _kl_weight(config: TrainConfig, step: int, n_steps: int) -> float:
    climb = config.kl_warmup * n_steps
    return config.beta * min(1.0, (step + 1) / climb) if climb >= 1 else config.beta


def _schedule(
    optimiser: torch.optim.Optimizer, config: TrainConfig, n_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if config.schedule == "one-cycle":
        # One step beyond the last: the schedule is advanced after every step, the last included.
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.learning_rate, total_steps=n_steps + 1, cycle_momentum=False
        )
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
