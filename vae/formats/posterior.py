"""In place of the encoder that a file lacks: the moments of its decoder's exact p(z|x)."""

import torch
from torch import Tensor, nn

from vae.config import ForeignModel, ModelConfig
from vae.core.elbo import decodes_at_once
from vae.core.gaussian import standard_normal_log_prob
from vae.core.lattice import MOST_DIMENSIONS
from vae.core.likelihood import Likelihood
from vae.core.model import VAE
from vae.inference.density import SPACING, Lattice

_REACH = 3.5  # standard deviations on either side of the mean
_SIDE = 8  # places along a dimension: one standard deviation apart, where sums are integrals
_LEAST_VARIANCE = 1e-8
PRIOR_ASSUMED = (
    "that z is drawn from N(0, I) is assumed: a GAN's generator has the same layers, and of one "
    "p(z|x) says nothing"
)
LEAST_MEAN = 1e-3  # of a decoded pixel, so that one black one does not decide
# Of the search for the z that explains an image.
_N_STARTS, _RATE = 225, 0.2
_STEPS, _QUICK_STEPS = 20, 8


class PosteriorEncoder(nn.Module):
    """x (B, C, H, W) -> mean and log variance of each dimension of p(z|x), (B, D) each.

    Bayes' rule, first on the cells of a lattice over the prior's support and then on a finer one
    about the moments found there, which is coarse where p(z|x) has narrow peaks far apart. A
    Gaussian of these moments is, of all that are diagonal, the nearest to p(z|x) in
    KL(p(z|x), q). Where D is too large to integrate over it is the prior: nothing is said of x.

    Args:
        config: the model's shape.
        decoder: z (..., D) -> the likelihood's raw output, (..., C, H, W).
        likelihood: p(x|z).
    """

    def __init__(
        self, config: ForeignModel | ModelConfig, decoder: nn.Module, likelihood: Likelihood
    ) -> None:
        super().__init__()
        self.latent_dim = config.latent_dim
        # In a tuple, so that the decoder's weights are not counted twice.
        self._model = (VAE.of_parts(config, nn.Identity(), decoder, likelihood),)
        self._lattice: Lattice | None = None
        self._condition: Tensor | None = None  # under which the lattice was decoded

    @torch.no_grad()
    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of p(z|x), or with the one-hot label c (B, n_classes) of p(z|x, y).

        A label's images are taken together: each asks for a lattice of its own.
        """
        if self.latent_dim > MOST_DIMENSIONS or x.device.type == "meta":
            return x.new_zeros(len(x), self.latent_dim), x.new_zeros(len(x), self.latent_dim)
        if c is None:
            return self._moments(x, None)
        mu, logvar = x.new_empty(2, len(x), self.latent_dim)
        for one in c.unique(dim=0):
            here = (c == one).all(1)
            mu[here], logvar[here] = self._moments(x[here], one)
        return mu, logvar

    def _moments(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        model = self._model[0] if condition is None else self._model[0].under(condition)
        is_other = condition is not None and not (
            self._condition is not None and torch.equal(condition, self._condition)
        )
        if self._lattice is None or is_other:
            self._lattice, self._condition = Lattice(model), condition
        z = self._lattice.z
        log_joint = self._lattice.log_px_given_z(x) + standard_normal_log_prob(z)  # (B, M)
        mean, variance = _moments(log_joint, z.expand(len(x), *z.shape))
        variance = variance + SPACING**2 / 12  # of a cell
        axis = torch.linspace(-_REACH, _REACH, _SIDE, dtype=torch.float64)
        steps = torch.cartesian_prod(*[axis] * self.latent_dim).reshape(-1, self.latent_dim)
        at_once = max(1, decodes_at_once(model) // len(steps))
        finer = [
            _finer(model, *part, steps)
            for part in zip(
                x.split(at_once), mean.split(at_once), variance.split(at_once), strict=True
            )
        ]
        mean, variance = (torch.cat(values) for values in zip(*finer, strict=True))
        return mean.to(x.dtype), variance.clamp_min(_LEAST_VARIANCE).log().to(x.dtype)


def _finer(
    model: VAE, x: Tensor, mean: Tensor, variance: Tensor, steps: Tensor
) -> tuple[Tensor, Tensor]:
    z = mean[:, None] + variance.sqrt()[:, None] * steps  # (B, M, D)
    eta, A = model.likelihood.terms(model.decode(z.to(x.dtype)))  # (B, M, n_pixels), (B, M)
    log_px_given_z = torch.einsum("bmn,bn->bm", eta, x.flatten(1).to(eta.dtype)) - A
    return _moments(log_px_given_z + standard_normal_log_prob(z), z)


def lacks_encoder(model: VAE) -> bool:
    """Whether the file that a model is of holds a decoder alone."""
    return any(isinstance(part, PosteriorEncoder) for part in model.encoder.modules())


def places(model: VAE, x: Tensor, labels: Tensor, quick: bool = False) -> Tensor:
    """Where each image is decoded to be judged: z (B, D), the mean of q or what explains it best.

    Args:
        model: the VAE.
        x: images (B, C, H, W).
        labels: of the images (B,), for a model with a condition.
        quick: whether it need not be exact where it has to be searched.
    """
    if not lacks_encoder(model):
        return model.given(labels).encode(x)[0]
    D = model.config.latent_dim
    n_steps = _STEPS if not quick else 0 if D <= MOST_DIMENSIONS else _QUICK_STEPS
    found = x.new_zeros(len(x), D)
    for label in labels.unique() if model.config.n_classes else [None]:
        here = slice(None) if label is None else labels == label
        given = model if label is None else model.given(int(label))
        found[here] = _best_places(given, x[here], n_steps)
    return found


def _best_places(model: VAE, x: Tensor, n_steps: int) -> Tensor:
    """The z (B, D) of the highest p(z) p(x|z) that is found from the best of some places.

    p(x|z) is the cross-entropy of the decoded mean, as of Bernoulli pixels, so that places under
    different likelihoods can be held against each other.
    """
    starts = _starts(model.config.latent_dim).to(x.dtype)
    with torch.no_grad():
        logit, base = _decoded(model, starts)
        costs = base[:, None] - logit @ x.flatten(1).T  # (M, B)
    best, z = costs.min(0).values, starts[costs.argmin(0)]
    place = z.clone().requires_grad_()
    optimiser = torch.optim.Adam([place], lr=_RATE)
    for _ in range(n_steps):
        with torch.enable_grad():
            logit, base = _decoded(model, place)
            cost = base - (logit * x.flatten(1)).sum(1)
            try:
                (place.grad,) = torch.autograd.grad(cost.sum(), place)
            except (RuntimeError, ValueError):  # it gives no gradient
                return z
        cost = cost.detach()
        z = torch.where((cost < best)[:, None], place.detach(), z)
        best = cost.minimum(best)
        optimiser.step()
    return z


def _starts(D: int) -> Tensor:
    if D > MOST_DIMENSIONS:
        return torch.randn(_N_STARTS, D, generator=torch.Generator().manual_seed(0))
    axis = torch.linspace(-_REACH, _REACH, round(_N_STARTS ** (1 / D)))
    return torch.cartesian_prod(*[axis] * D).reshape(-1, D)


def _decoded(model: VAE, z: Tensor) -> tuple[Tensor, Tensor]:
    """Of z (M, D): logits of the decoded means (M, n_pixels), and the cost of a black image (M,).

    An image's cost is -log p(x|z) - log p(z) up to a constant.
    """
    mean = model.likelihood.mean(model.decode(z)).clamp(LEAST_MEAN, 1 - LEAST_MEAN).flatten(1)
    return torch.logit(mean), z.square().sum(1) / 2 - torch.log1p(-mean).sum(1)


def said_of(latent_dim: int) -> str:
    """For the card of a file without an encoder."""
    if latent_dim <= MOST_DIMENSIONS:
        return "it holds no encoder: in place of q stand the moments of the exact p(z|x)"
    return (
        f"it holds no encoder, and k = {latent_dim} is too many to integrate p(z|x) over: every "
        "point stands at the prior, and only what is decoded says something"
    )


def _moments(log_joint: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each dimension, of places z (B, M, D) with log weights (B, M)."""
    weights = log_joint.softmax(1)[..., None]
    mean = (weights * z).sum(1)
    return mean, (weights * (z - mean[:, None]).square()).sum(1)
