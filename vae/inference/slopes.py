"""The gradient of the loss with respect to one weight of each network, draw by draw.

Training moves the weights: phi, the encoder's, and theta, the decoder's. Equation (7) says what
each draw has to say of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vae.core import gaussian
from vae.core.model import VAE
from vae.errors import UserError
from vae.inference.estimators import Gradient, gradient_estimates

_NODES = 24  # per dimension, of the quadrature
_MOST_DIMENSIONS = 2  # for it


class Slopes(NamedTuple):
    """dL/dw of one image for one weight w of the encoder and one of the decoder, in nats per unit.

    Each is the weight that the image pulls at most.

    Attributes:
        phi_name, theta_name: of the weights, with their place: "mu.weight[0, 17]".
        phi: what each draw says of dL/dphi through z = mu + eps * sigma, (L,), float64.
        phi_score: what it says by the score function, (L,).
        theta: what each draw says of dL/dtheta, (L,).
        phi_autograd, theta_autograd: torch's gradients of the mean loss of the same draws.
        phi_exact, theta_exact: torch's gradients of the loss integrated over q; None beyond two
            latent dimensions.
    """

    phi_name: str
    theta_name: str
    phi: Tensor
    phi_score: Tensor
    theta: Tensor
    phi_autograd: float
    theta_autograd: float
    phi_exact: float | None
    theta_exact: float | None


def slopes(model: VAE, x: Tensor, eps: Tensor) -> Slopes:
    """The gradients of L = recon + KL, equation (6), for one weight of each network.

    Of theta every draw's slope is -d log p(x|z) / dtheta at its own z: q does not depend on theta,
    so the gradient goes inside the expectation as it is. Of phi it is the chain rule through mu and
    log sigma, whose gradients `gradient_estimates` has draw by draw.

    Args:
        model: the VAE; its weights stay as they are.
        x: one image, shape (C, H, W), in [0, 1].
        eps: standard normal noise, shape (L, D).

    Raises:
        UserError: a network without a weight that the loss depends on, or as `gradient_estimates`.
    """
    of_draws = _gradients(model, x, eps, torch.full((len(eps),), 1 / len(eps)))
    places = _most_pulled(of_draws[0], "encoder"), _most_pulled(of_draws[1], "decoder")

    (mu, mu_by_w), (logvar, logvar_by_w) = _along(
        model.encoder, places[0], lambda network: tuple(v[0] for v in network(x[None]))
    )
    estimates = gradient_estimates(model, x, mu, logvar, eps)
    z = gaussian.reparameterise(mu, logvar, eps.to(mu))  # (L, D)

    def log_likelihood_of(network: Callable[[Tensor], Tensor]) -> tuple[Tensor]:
        return (model.likelihood.log_prob(x, network(z)).sum((-3, -2, -1)),)

    ((_, by_theta),) = _along(model.decoder, places[1], log_likelihood_of)

    def at_the_places(gradients: _Gradients) -> list[float]:
        return [float(g[name][at]) for g, (name, at) in zip(gradients, places, strict=True)]

    def chained(gradient: Gradient) -> Tensor:
        by_mu, by_log_sigma = mu_by_w.double(), logvar_by_w.double() / 2
        return gradient.mu @ by_mu + gradient.log_sigma @ by_log_sigma  # (L,)

    phi_name, theta_name = (f"{name}[{', '.join(map(str, at))}]" for name, at in places)
    phi_autograd, theta_autograd = at_the_places(of_draws)
    phi_exact = theta_exact = None
    if len(mu) <= _MOST_DIMENSIONS:
        nodes = gaussian.gauss_hermite(_NODES, len(mu))
        phi_exact, theta_exact = at_the_places(_gradients(model, x, *nodes))
    return Slopes(
        phi_name=phi_name,
        theta_name=theta_name,
        phi=chained(estimates.pathwise),
        phi_score=chained(estimates.score),
        theta=-by_theta.double(),
        phi_autograd=phi_autograd,
        theta_autograd=theta_autograd,
        phi_exact=phi_exact,
        theta_exact=theta_exact,
    )


_Weight = tuple[str, tuple[int, ...]]  # the name of a tensor of weights, and the place in it
_Gradients = tuple[dict[str, Tensor], dict[str, Tensor]]  # of the encoder and of the decoder


def _gradients(model: VAE, x: Tensor, eps: Tensor, weights: Tensor) -> _Gradients:
    """Torch's gradients of KL and the weighted sum of the draws' recon, by the weights' names."""
    # Of copies: others may use the model at this very moment.
    phi, theta = (
        {
            name: parameter.detach().clone().requires_grad_()
            for name, parameter in network.named_parameters()
            if parameter.is_floating_point()
        }
        for network in (model.encoder, model.decoder)
    )
    with torch.enable_grad():
        mu, logvar = functional_call(model.encoder, phi, (x[None],))
        z = gaussian.reparameterise(mu[0], logvar[0], eps.to(mu))
        raw = functional_call(model.decoder, theta, (z,))
        log_px_given_z = model.likelihood.log_prob(x, raw).sum((-3, -2, -1))
        recon = -(log_px_given_z * weights.to(mu)).sum()
        loss = recon + gaussian.kl_to_standard_normal(mu, logvar).sum()
        copies = [*phi.values(), *theta.values()]
        found = list(torch.autograd.grad(loss, copies, allow_unused=True))
    of_phi, of_theta = found[: len(phi)], found[len(phi) :]
    return (
        {name: g for name, g in zip(phi, of_phi, strict=True) if g is not None},
        {name: g for name, g in zip(theta, of_theta, strict=True) if g is not None},
    )


def _most_pulled(gradients: dict[str, Tensor], which: str) -> _Weight:
    """The single weight with the steepest gradient; a bias only if there is nothing else."""
    matrices = {name: g for name, g in gradients.items() if g.ndim > 1} or gradients
    if not matrices:
        raise UserError(f"the {which} has no weight that the loss depends on")
    name = max(matrices, key=lambda known: float(matrices[known].abs().max()))
    place = torch.unravel_index(matrices[name].abs().argmax(), matrices[name].shape)
    return name, tuple(int(i) for i in place)


def _along(
    network: nn.Module, weight: _Weight, of: Callable[[Callable[..., Any]], tuple[Tensor, ...]]
) -> list[tuple[Tensor, Tensor]]:
    """Each tensor that `of` makes of the network, and its derivative by the one weight.

    Autograd goes backwards, from one number to all weights; from one weight to all numbers it comes
    by going back twice: what it gives is linear in what it was given, with the derivative as slope.
    """
    name, place = weight
    copy = network.get_parameter(name).detach().clone().requires_grad_()
    found = []
    with torch.enable_grad():
        for values in of(lambda *inputs: functional_call(network, {name: copy}, inputs)):
            given, back = torch.zeros_like(values, requires_grad=True), None
            if values.requires_grad:  # else nothing of it is of the copy, or of any weight
                (back,) = torch.autograd.grad(
                    values, copy, given, create_graph=True, allow_unused=True
                )
            slope = torch.zeros_like(values)
            if back is not None and back.requires_grad:
                (slope,) = torch.autograd.grad(back[place], given, retain_graph=True)
            found.append((values.detach(), slope))
    return found
