"""fit() trains a VAE and yields each epoch's statistics; a Trainer can also be put aside."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vae import distributed, gaussian
from vae.config import TrainConfig
from vae.datasets import binarise, to_unit
from vae.elbo import decodes_at_once, point_terms
from vae.model import VAE

# A dimension whose KL is smaller tells the decoder next to nothing (nats; Burda et al., 2016, use
# a threshold of 0.01 on the variance of mu).
COLLAPSED_NATS = 0.05
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


def remark(config: TrainConfig, held_out: MeanTerms) -> str | None:
    """What a reader should know of a run that ended in an extreme; None for an ordinary one."""
    if config.beta == 0:
        return (
            "β = 0: nothing held q(z|x) near the prior, so this is an autoencoder with noise, and "
            "draws from the prior need not decode to anything like the data."
        )
    if held_out.kl < COLLAPSED_NATS:
        advice = "a smaller β" if config.beta > 1 else "a longer KL warm-up or free bits"
        return (
            f"Posterior collapse: the KL is {held_out.kl:.3f} nats, so z tells the decoder nothing "
            f"and every image is decoded alike. Try {advice}."
        )
    return None


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


class Trainer:
    """A training that is carried out an epoch at a time, and can be put aside between two.

    On the CPU equal arguments give equal weights, bit for bit, whether or not the training was
    put aside on the way. In a group of processes (`vae.distributed`) each reads its share of every
    batch, and what is computed is what one process computes, but for the rounding of its sums.

    Args:
        model: the VAE; moved to the device and trained in place.
        train_images, test_images: uint8, shape (N, C, H, W). `config.binarise` is about the
            training images; the held-out ones are taken as they are.
        config: how to train.
        device: as in `choose_device`.

    Attributes:
        model: as given; between epochs it holds the weights that are worth keeping: the last
            ones, or with `config.patience` the best.
        current: holds the newest weights, averaged with `config.weight_average`; often `model`
            itself.
        epoch: how many epochs are done.

    Raises:
        ValueError: no images, or an unknown device.
    """

    def __init__(
        self,
        model: VAE,
        train_images: Tensor,
        test_images: Tensor,
        config: TrainConfig,
        device: str | torch.device | None = None,
    ) -> None:
        if not isinstance(device, torch.device):
            device = choose_device(device)
        if not len(train_images) or not len(test_images):
            raise ValueError("training needs at least one training and one held-out image")
        self.config, self.device = config, device
        self.model = model.to(device)
        self.current = copy.deepcopy(model) if config.patience else model
        # What the optimiser moves; the average follows it.
        self._learner = copy.deepcopy(model) if config.weight_average else self.current
        self._train_images = train_images.to(device)
        rows = distributed.share(torch.arange(len(test_images)))
        self._n_test, self._test_images = len(test_images), test_images[rows].to(device)
        D = model.config.latent_dim
        self._test_eps = gaussian.noise_of_points(rows.tolist(), 1, D, config.seed).to(device)

        self._order = torch.Generator().manual_seed(config.seed)
        self._draws = torch.Generator(device).manual_seed(config.seed)
        self._loss = _Loss(self._learner, config)
        if distributed.size() > 1:
            self._loss = nn.parallel.DistributedDataParallel(self._loss)
        self._optimiser = torch.optim.Adam(
            self._learner.parameters(), lr=config.learning_rate, fused=device.type != "mps"
        )
        self._schedule = _schedule(self._optimiser, config, self.n_steps)
        self.epoch = 0
        self._best, self._epochs_since_best = math.inf, 0

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps that one pass over the training images takes."""
        return math.ceil(len(self._train_images) / self.config.batch_size)

    @property
    def n_steps(self) -> int:
        """Optimiser steps in all, unless patience ends them earlier."""
        return self.config.epochs * self.steps_per_epoch

    @property
    def over(self) -> bool:
        """Whether no epoch is left to do."""
        out_of_patience = 0 < self.config.patience <= self._epochs_since_best
        return self.epoch >= self.config.epochs or out_of_patience

    def train_epoch(self, on_step: Callable[[int, int], None] | None = None) -> EpochStats:
        """One pass over the training images, then the held-out terms.

        Args:
            on_step: called with (steps done, steps in all) after every step; what it raises ends
                the training.

        Raises:
            NonFiniteLoss: after putting the last good weights back.
            ValueError: images of another shape than the model's.
            distributed.PeerLost: another process of the group is gone.
        """
        config, device = self.config, self.device
        started = time.perf_counter()
        N, D = len(self._train_images), self.model.config.latent_dim
        good_state = {name: tensor.clone() for name, tensor in self.current.state_dict().items()}
        order = torch.randperm(N, generator=self._order).to(device)
        step_terms = torch.zeros(self.steps_per_epoch, 2, device=device)  # sums of recon and KL
        for i, rows in enumerate(order.split(config.batch_size)):
            step = self.epoch * self.steps_per_epoch + i
            beta = _kl_weight(config, step, self.n_steps)
            # Every process makes the draws of the whole batch and takes its share of them: so a
            # batch is the same one however many there are.
            target = read = self._train_images.index_select(0, rows)
            if config.binarise != "off":
                read = binarise(target, self._draws)
            if config.binarise == "all":
                target = read
            eps = gaussian.draw((len(rows), D), self._draws)
            read, target, eps = map(distributed.share, (read, target, eps))
            with distributed.peers():
                loss, terms = self._loss(to_unit(read), to_unit(target), eps, beta, len(rows))
                self._optimiser.zero_grad()
                loss.backward()
            if config.max_grad_norm:
                nn.utils.clip_grad_norm_(self._learner.parameters(), config.max_grad_norm)
            self._optimiser.step()
            lr = self._schedule.get_last_lr()[0]
            self._schedule.step()
            if config.weight_average:
                self._average()
            step_terms[i] = terms  # kept on the device: reading it would make every step wait
            if on_step:
                on_step(step + 1, self.n_steps)
        distributed.add_up(step_terms)
        finite = step_terms.isfinite().all(1).tolist()
        train_seconds = time.perf_counter() - started

        test = self._test_terms()
        if not all(finite) or not math.isfinite(test.neg_elbo):
            self.current.load_state_dict(good_state)
            step = finite.index(False) + 1 if not all(finite) else self.steps_per_epoch
            raise NonFiniteLoss(self.epoch + 1, step, config.learning_rate)
        self.epoch += 1
        if config.patience:
            self._epochs_since_best += 1
            if test.neg_elbo < self._best:
                self._best, self._epochs_since_best = test.neg_elbo, 0
                self.model.load_state_dict(self.current.state_dict())
        recon, kl = (step_terms.cpu().double().sum(0) / N).tolist()
        return EpochStats(
            epoch=self.epoch,
            train=MeanTerms(recon, kl),
            test=test,
            beta=beta,
            lr=lr,
            images_per_s=N / train_seconds,
            seconds=time.perf_counter() - started,
        )

    def _test_terms(self) -> MeanTerms:
        terms = mean_terms(self.current, self._test_images, self._test_eps)
        n = len(self._test_images)
        sums = torch.tensor([terms.recon * n, terms.kl * n] if n else [0.0, 0.0])
        # float64 where there is any: mps has none, and then there is one process.
        sums = sums.double().to(self.device) if distributed.size() > 1 else sums.double()
        return MeanTerms(*(distributed.add_up(sums) / self._n_test).tolist())

    @torch.no_grad()
    def _average(self) -> None:
        # While fewer steps are behind it than the average is long, all of them count alike.
        done = self._schedule.last_epoch
        decay = min(self.config.weight_average, (done - 1) / (done + 9))
        torch._foreach_lerp_(
            list(self.current.parameters()), list(self._learner.parameters()), 1 - decay
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that `restore` needs: tensors by name, and what JSON can hold."""
        tensors = {"order": self._order.get_state(), "draws": self._draws.get_state()}
        for part, module in self._modules().items():
            tensors |= {f"{part}.{name}": t for name, t in module.state_dict().items()}
        for index, moments in self._optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": t for name, t in moments.items()}
        values = {
            "config": asdict(self.config),
            "epoch": self.epoch,
            "best": self._best if math.isfinite(self._best) else None,
            "epochs_since_best": self._epochs_since_best,
            "schedule": self._schedule.state_dict(),
        }
        return tensors, values

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Goes back to the epoch at which `state` was called, in this or in another process.

        Raises:
            ValueError: the state is of another model or other settings, or not one at all.
        """
        if values.get("config") != asdict(self.config):
            changed = [
                name
                for name, value in asdict(self.config).items()
                if not isinstance(values.get("config"), dict) or values["config"].get(name) != value
            ]
            raise ValueError(f"it was made with another {', '.join(changed) or 'configuration'}")
        try:
            for part, module in self._modules().items():
                module.load_state_dict(_part(tensors, part))
            optimiser = self._optimiser.state_dict()
            for index in range(len(optimiser["param_groups"][0]["params"])):
                if moments := _part(tensors, f"adam.{index}"):
                    optimiser["state"][index] = moments
            self._optimiser.load_state_dict(optimiser)
            self._schedule.load_state_dict(values["schedule"])
            for group, lr in zip(
                self._optimiser.param_groups, self._schedule.get_last_lr(), strict=True
            ):
                group["lr"] = lr
            self._order.set_state(tensors["order"])
            self._draws.set_state(tensors["draws"])
            self.epoch = int(values["epoch"])
            self._best = math.inf if values["best"] is None else float(values["best"])
            self._epochs_since_best = int(values["epochs_since_best"])
        except (KeyError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(
                f"it lacks or misstates {' '.join(str(error).split())[:120]}"
            ) from error

    def _modules(self) -> dict[str, VAE]:
        """The modules with weights of their own."""
        modules = {"learner": self._learner}
        if self.current is not self._learner:
            modules["current"] = self.current
        if self.model is not self.current:
            modules["best"] = self.model
        return modules


def fit(
    model: VAE,
    train_images: Tensor,
    test_images: Tensor,
    config: TrainConfig,
    device: str | torch.device | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[EpochStats]:
    """Trains the model in place, yielding after every epoch; it is usable whenever this pauses.

    Arguments and errors as in `Trainer` and `Trainer.train_epoch`.
    """
    trainer = Trainer(model, train_images, test_images, config, device)
    while not trainer.over:
        yield trainer.train_epoch(on_step)


def fastest_precision(device: torch.device, family: str = "mlp") -> str:
    """The faster of config.PRECISIONS for such a network on that device, by a short trial.

    Args:
        device: where it would be trained.
        family: of the network; on a CPU convolutions gain nothing from bfloat16.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type == "mps" or family == "conv":
        return "float32"
    seconds = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = torch.ones(256, 784, dtype=dtype), torch.ones(784, 512, dtype=dtype)
        trials = []
        for _ in range(8):
            started = time.perf_counter()
            a @ b
            trials.append(time.perf_counter() - started)
        seconds[name] = min(trials)
    # The conversions around the products cost something too.
    return "bfloat16" if seconds["bfloat16"] * 1.6 < seconds["float32"] else "float32"


class _Loss(nn.Module):
    """The loss of a share of a batch; a module, so that DistributedDataParallel can wrap it."""

    def __init__(self, model: VAE, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(
        self, read: Tensor, target: Tensor, eps: Tensor, beta: float, batch: int
    ) -> tuple[Tensor, Tensor]:
        """Equation (6) with weight beta on the KL, and the sums of recon and KL.

        Args:
            read: what the encoder reads of this process's images, (B, C, H, W); B may be 0.
            target: what the decoder is held against, of the same shape.
            eps: their noise, (B, D).
            beta: the weight.
            batch: images in the whole batch.

        Returns:
            This process's part of the batch's mean loss times the number of processes (whose
            gradients DistributedDataParallel averages), and its (recon, KL), shape (2,), nats.
        """
        low = torch.autocast(
            read.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"
        )
        with low:
            mu, logvar = self.model.encode(read)
        # One image whose logvar leaps would overflow and end the training.
        mu, logvar = mu.float(), logvar.float().clamp(max=_MOST_LOGVAR)
        z = gaussian.reparameterise(mu, logvar, eps)
        with low:
            raw = self.model.decode(z)
        recon = -self.model.likelihood.log_prob(target, raw.float()).sum()
        kl_of_dims = gaussian.kl_to_standard_normal(mu, logvar).sum(0)  # (D,)
        charged = kl_of_dims
        if self.config.free_bits:
            charged = kl_of_dims.clamp_min(self.config.free_bits * len(read))
        loss = (recon + beta * charged.sum()) * (distributed.size() / batch)
        return loss, torch.stack([recon.detach(), kl_of_dims.detach().sum()])


@torch.no_grad()
def mean_terms(model: VAE, images: Tensor, eps: Tensor) -> MeanTerms:
    """The means of `point_terms` over a set of images.

    Args:
        model: the VAE.
        images: uint8, shape (N, C, H, W), on the model's device.
        eps: noise, shape (S, N, D).
    """
    totals = torch.zeros(2, dtype=torch.float64)
    if not len(images):  # the share of a process more than there are images
        return MeanTerms(0.0, 0.0)
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
    if config.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {n.removeprefix(f"{part}."): t for n, t in tensors.items() if n.startswith(f"{part}.")}
