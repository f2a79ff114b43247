"""Board: a point of a data set seen through a model, with all the numbers that lessons ask for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vae.analysis.embedding import Embedding
from vae.core import gaussian
from vae.core.elbo import log_likelihood
from vae.core.model import VAE
from vae.data.dataset import Dataset, to_unit
from vae.errors import UserError
from vae.inference import estimators, gap
from vae.inference.density import Lattice
from vae.inference.estimators import GradientEstimates
from vae.inference.evidence import offers_exact
from vae.inference.gap import GapSplit, Inference
from vae.inference.slopes import Slopes, slopes
from vae.lessons import loss_steps, trials
from vae.lessons.kl_steps import Step as DerivedStep
from vae.lessons.trials import Trial

N_DRAWS = 1000  # L of the gradients


@dataclass(frozen=True)
class Board:
    """What a lesson about a point is told with; each number is computed when it is first asked for.

    Attributes:
        model: without a condition, or under the point's.
        embedding: of the data set.
        index: of the point.
        x: its image, (C, H, W) in [0, 1]; None if it is not at hand.
        infer, split, gradients_of, slopes_of, trial_of: how the numbers that take long are had, for
            who keeps them.
    """

    model: VAE
    embedding: Embedding
    index: int
    x: Tensor | None
    infer: Callable[[], Inference] | None = None
    split: Callable[[], GapSplit] | None = None
    gradients_of: Callable[[], GradientEstimates] | None = None
    slopes_of: Callable[[], Slopes] | None = None
    trial_of: Callable[[float, float], Trial] = trials.trial

    @property
    def image(self) -> Tensor:
        """x. Raises UserError if it is not at hand."""
        if self.x is None:
            raise UserError("the image of this point is not at hand, and this step needs it")
        return self.x

    @property
    def n_pixels(self) -> int:
        """How many numbers an image is."""
        C, H, W = self.model.config.image_shape
        return C * H * W

    @property
    def mu(self) -> Tensor:
        """Of q(z|x), (D,), float64."""
        return torch.from_numpy(self.embedding.mu[self.index]).double()

    @property
    def logvar(self) -> Tensor:
        """Of q(z|x), (D,), float64."""
        return torch.from_numpy(self.embedding.logvar[self.index]).double()

    @property
    def sigma(self) -> Tensor:
        """Of q(z|x), (D,), float64."""
        return torch.exp(self.logvar / 2)

    @property
    def eps(self) -> Tensor:
        """The noise of the point's first draw, (D,)."""
        return self._noise(1)[0].double()

    @cached_property
    def lattice(self) -> Lattice | None:
        """The decoded latent plane; None for too many dimensions."""
        return Lattice(self.model) if offers_exact(self.model) else None

    @cached_property
    def inference(self) -> Inference:
        """Equation (8) at the encoder's q. Raises UserError."""
        if self.infer:
            return self.infer()
        return gap.infer(self.model, self.image, self.index, lattice=self.lattice)

    @cached_property
    def gap_split(self) -> GapSplit:
        """The gap in two. Raises UserError."""
        if self.split:
            return self.split()
        return gap.split_gap(self.model, self.image, self.index, self.inference, self.lattice)

    @cached_property
    def gradients(self) -> GradientEstimates:
        """With respect to mu and log sigma, by each of N_DRAWS draws. Raises UserError."""
        if self.gradients_of:
            return self.gradients_of()
        mu, logvar = self.inference.mu, self.inference.logvar
        return estimators.gradient_estimates(
            self.model, self.image, mu, logvar, self._noise(N_DRAWS)
        )

    @cached_property
    def slopes(self) -> Slopes:
        """With respect to one weight of each network, by each of N_DRAWS draws."""
        if self.slopes_of:
            return self.slopes_of()
        return slopes(self.model, self.image, self._noise(N_DRAWS))

    @cached_property
    def loss_steps(self) -> tuple[DerivedStep, ...]:
        """The derivation of the loss with the point's numbers. Raises UserError."""
        found = self.inference
        return loss_steps.steps(
            found,
            self.log_likelihood_at(found.mu),
            self.log_prior_at(found.mu),
            self.eps,
            self.gradients,
        )

    @torch.no_grad()
    def log_likelihood_at(self, z: Tensor) -> float:
        """log p(x|z) at one place (D,), in nats."""
        return float(log_likelihood(self.model, self.image[None], z.float()[None]))

    def log_prior_at(self, z: Tensor) -> float:
        """log p(z) at one place (D,), in nats."""
        return float(gaussian.standard_normal_log_prob(z.double()))

    def _noise(self, n: int) -> Tensor:
        """Seed 0, whose first draws are those behind the stored terms, (n, D)."""
        D = self.embedding.latent_dim
        return gaussian.noise_of_points([self.index], n, D, 0)[:, 0]


def derived(place: int) -> Callable[[Board], DerivedStep]:
    """For `Step.derived`: the step at a place of the loss's derivation, one of `loss_steps`'."""
    return lambda board: board.loss_steps[place]


def board(model: VAE, embedding: Embedding, index: int, images: Dataset | None) -> Board:
    """A point's, without a page.

    Args:
        model: without a condition, or under one.
        embedding: of the data set.
        index: of the point.
        images: the data set itself, if it is at hand.

    Raises:
        UserError: there is no such point.
    """
    if not 0 <= index < len(embedding):
        raise UserError(
            f"the point (={index}) must be from 0 to {len(embedding) - 1}, the points of "
            f"{embedding.dataset}"
        )
    x = None if images is None else to_unit(images.images[index])
    return Board(model, embedding, index, x)
