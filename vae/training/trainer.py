"""fit() trains a VAE and yields each epoch's statistics; a Trainer can also be put aside."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from vae import wording
from vae.config import EVIDENCE, TrainConfig
from vae.core import gaussian
from vae.core.lattice import lattice
from vae.core.model import VAE
from vae.data.dataset import binarise, to_unit
from vae.errors import UserError
from vae.training import distributed
from vae.training.device import choose_device
from vae.training.objectives import Loss, MeanTerms, check_objective, kl_weight, mean_terms

_DEFAULTS = {f.name: f.default for f in fields(TrainConfig) if f.default is not MISSING}
# Adam's mean of the slopes is zero below this, looked at every so many steps. A unit whose slope is
# 0 would have it shrink by 0.9 a step until it is a denormal number and stays one, with which a CPU
# is many times slower. From here it takes 290 steps to get there, and moves no weight.
_LEAST_MOMENT, _MOMENT_STEPS = 1e-25, 256


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


class NonFiniteLoss(UserError):
    """The loss became infinite or NaN; the model is back at its last good state."""

    exit_code = 1

    def __init__(self, epoch: int, step: int, learning_rate: float) -> None:
        super().__init__(
            f"the loss stopped being finite in epoch {epoch}, step {step}; the weights are those "
            f"from the end of epoch {epoch - 1}. Try a smaller learning rate than {learning_rate:g}"
        )
        self.epoch, self.step = epoch, step


class Trainer:
    """A training that is carried out an epoch at a time, and can be put aside between two.

    On the CPU equal arguments give equal weights, bit for bit, whether or not the training was
    put aside on the way. In a group of processes (`training.distributed`) each reads its share of
    every batch, and what is computed is what one process computes, but for the rounding of
    its sums.

    Args:
        model: the VAE; moved to the device and trained in place.
        train_images, test_images: uint8, shape (N, C, H, W). `config.binarise` is about the
            training images; the held-out ones are taken as they are.
        config: how to train.
        device: as in `choose_device`.
        labels: of both, int64, each (N,); only a model with a condition reads them.

    Attributes:
        model: as given; between epochs it holds the weights that are worth keeping: the last
            ones, or with `config.patience` the best.
        current: holds the newest weights, averaged with `config.weight_average`; often `model`
            itself.
        epoch: how many epochs are done.

    Raises:
        UserError: no images, an unknown device, labels that the model's condition lacks, or as
            `check_objective`.
    """

    def __init__(
        self,
        model: VAE,
        train_images: Tensor,
        test_images: Tensor,
        config: TrainConfig,
        device: str | torch.device | None = None,
        labels: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        if not isinstance(device, torch.device):
            device = choose_device(device)
        if not len(train_images) or not len(test_images):
            point = wording.of(model.config.kind).point
            raise UserError(f"training needs at least one training and one held-out {point}")
        check_objective(model.config, config, len(train_images))
        self.config, self.device = config, device
        self.model = model.to(device)
        self.current = copy.deepcopy(model) if config.patience else model
        # What the optimiser moves; the average follows it.
        self._learner = copy.deepcopy(model) if config.weight_average else self.current
        self._train_images = train_images.to(device)
        train_labels, test_labels = _labels(model, train_images, test_images, labels)
        self._train_labels = train_labels.to(device)
        rows = distributed.share(torch.arange(len(test_images)))
        self._n_test, self._test_images = len(test_images), test_images[rows].to(device)
        self._test_labels = test_labels[rows].to(device)
        D = model.config.latent_dim
        self._test_eps = gaussian.noise_of_points(rows.tolist(), 1, D, config.seed).to(device)

        self._order = torch.Generator().manual_seed(config.seed)
        self._draws = torch.Generator(device).manual_seed(config.seed)
        self.epoch = 0
        self._best, self._epochs_since_best = math.inf, 0
        self._held: list[Tensor] = []  # weights that this part of the training leaves as they are
        self._begin_part()

    def _begin_part(self) -> None:
        """Begins with the next epochs' objective: another optimiser, and its own schedule."""
        config, learner = self.config, self._learner
        if self.current is not learner:
            learner.load_state_dict(self.current.state_dict())
        if config.objective == EVIDENCE and not self.is_integrating:
            held = [*learner.decoder.parameters(), *learner.likelihood.parameters()]
            self._held = [weight.requires_grad_(False) for weight in held if weight.requires_grad]
        self._loss = Loss(learner, config)
        if distributed.size() > 1:
            self._loss = nn.parallel.DistributedDataParallel(self._loss)
        weights = [weight for weight in learner.parameters() if weight.requires_grad]
        self._optimiser = torch.optim.Adam(
            weights, lr=config.learning_rate, fused=self.device.type != "mps"
        )
        n_epochs = config.evidence_epochs
        if not self.is_integrating:
            n_epochs = config.epochs - n_epochs
        self._schedule = _schedule(self._optimiser, config, n_epochs * self.steps_per_epoch)

    @property
    def is_integrating(self) -> bool:
        """Whether the next epoch maximises log p(x) itself, over a lattice."""
        return self.epoch < self.config.evidence_epochs

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
            UserError: images of another shape than the model's.
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
            beta = kl_weight(config, step, self.n_steps)
            # Every process makes the draws of the whole batch and takes its share of them: so a
            # batch is the same one however many there are.
            target = read = self._train_images.index_select(0, rows)
            if config.binarise != "off":
                read = binarise(target, self._draws)
            if config.binarise == "all":
                target = read
            eps = gaussian.draw((len(rows), config.n_draws, D), self._draws)
            points = self._lattice(step) if config.integrates else None
            labels = self._train_labels.index_select(0, rows)
            read, target, eps, labels = map(distributed.share, (read, target, eps, labels))
            with distributed.peers():
                images = to_unit(read), to_unit(target)
                loss, terms = self._loss(
                    *images, eps, beta, len(rows), labels, points, self.is_integrating
                )
                self._optimiser.zero_grad()
                loss.backward()
            if config.max_grad_norm:
                nn.utils.clip_grad_norm_(self._learner.parameters(), config.max_grad_norm)
            self._optimiser.step()
            if step % _MOMENT_STEPS == 0:
                self._shrink_moments()
            lr = float(self._schedule.get_last_lr()[0])
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
        was_integrating = self.is_integrating
        self.epoch += 1
        if config.patience and was_integrating:
            self.model.load_state_dict(self.current.state_dict())
        elif config.patience:
            self._epochs_since_best += 1
            if test.neg_elbo < self._best:
                self._best, self._epochs_since_best = test.neg_elbo, 0
                self.model.load_state_dict(self.current.state_dict())
        if was_integrating and not self.is_integrating:
            self._begin_part()
        if self.over:
            for weight in self._held:
                weight.requires_grad_(True)
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

    def _lattice(self, step: int) -> Tensor:
        """The lattice of a step, shifted anew.

        While it integrates the points become four times as many; to look for peaks, fewer do.
        """
        config, D = self.config, self.model.config.latent_dim
        done = step / (config.evidence_epochs * self.steps_per_epoch)
        share = 4 ** (done - 1) if self.is_integrating else 1 / 4
        # In 32 steps: products of a size that is new are slow at first.
        n_points = round(32 * share) * config.lattice_points // 32
        shift = torch.rand(D, generator=self._draws, device=self.device)
        return lattice(max(1, n_points), D, shift).to(self.device)

    def _test_terms(self) -> MeanTerms:
        terms = mean_terms(self.current, self._test_images, self._test_eps, self._test_labels)
        n = len(self._test_images)
        sums = torch.tensor([terms.recon * n, terms.kl * n] if n else [0.0, 0.0])
        # float64 where there is any: mps has none, and then there is one process.
        sums = sums.double().to(self.device) if distributed.size() > 1 else sums.double()
        return MeanTerms(*(distributed.add_up(sums) / self._n_test).tolist())

    def _shrink_moments(self) -> None:
        for moments in self._optimiser.state.values():
            mean = moments["exp_avg"]
            mean.masked_fill_(mean.abs() < _LEAST_MOMENT, 0)

    @torch.no_grad()
    def _average(self) -> None:
        # While fewer steps are behind it than the average is long, all of them count alike.
        done = self._schedule.last_epoch
        decay = min(self.config.weight_average, (done - 1) / (done + 9))
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
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
            UserError: the state is of another model or other settings, or not one at all.
        """
        saved = values.get("config")
        # Settings that an earlier version did not have were as they are by default.
        saved = _DEFAULTS | saved if isinstance(saved, dict) else {}
        if saved != asdict(self.config):
            changed = [k for k, value in asdict(self.config).items() if saved.get(k) != value]
            more = ", ..." if len(changed) > 8 else ""
            raise UserError(f"it was made with another {', '.join(changed[:8]) + more}")
        try:
            self.epoch = int(values["epoch"])
            self._begin_part()
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
            self._best = math.inf if values["best"] is None else float(values["best"])
            self._epochs_since_best = int(values["epochs_since_best"])
        except (KeyError, TypeError, RuntimeError, AttributeError) as error:
            raise UserError(
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
    labels: tuple[Tensor, Tensor] | None = None,
) -> Iterator[EpochStats]:
    """Trains the model in place, yielding after every epoch; it is usable whenever this pauses.

    Arguments and errors as in `Trainer` and `Trainer.train_epoch`.
    """
    trainer = Trainer(model, train_images, test_images, config, device, labels)
    while not trainer.over:
        yield trainer.train_epoch(on_step)


def _labels(
    model: VAE,
    train_images: Tensor,
    test_images: Tensor,
    labels: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """The labels of both splits; zeros where no condition asks for any.

    Raises:
        UserError: they are not there, or a condition has no such class.
    """
    n, points = model.config.n_classes, wording.of(model.config.kind).points
    if not n:
        train, test = (
            torch.zeros(len(images), dtype=torch.int64) for images in (train_images, test_images)
        )
        return train, test
    if labels is None:
        raise UserError(
            f"the model is conditional on a label of {n} classes, so training needs the labels of "
            "both splits"
        )
    for of_split, images in zip(labels, (train_images, test_images), strict=True):
        if len(of_split) != len(images) or of_split.min() < 0 or of_split.max() >= n:
            raise UserError(
                f"{len(of_split):,} labels from {int(of_split.min())} to {int(of_split.max())} "
                f"must be one for each of {len(images):,} {points}, from 0 to {n - 1}"
            )
    return labels


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
