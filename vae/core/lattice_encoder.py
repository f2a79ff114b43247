"""An encoder that nobody trains: q(z|x) is p(z|x) round its highest peak, read off a lattice.

An encoder of layers has to learn from the training images where each belongs, and of new ones it
takes many for another peak of p(z|x) than the highest. With one or two latent dimensions nothing
has to be learnt. What the decoder draws at the points z_m of a lattice of the prior is part of the
encoder, which holds an image against all of them:

    log p(x|z_m) = s(x) . eta(z_m) - A(z_m) + b(x)

The points have equal weight under the prior, so that, but for a constant, these are the logarithms
of the shares of p(z|x) at them. The mean and the variance of the shares near the best point are mu
and sigma^2. Where p(z|x) is narrower than the points are apart, its logarithm is divided by a
softness first, and the variance afterwards.
"""

import itertools
import math
from dataclasses import replace

import torch
from torch import Tensor

from vae.config import LATTICE, ModelConfig
from vae.core import gaussian
from vae.core.elbo import decodes_at_once, point_terms
from vae.core.lattice import MOST_DIMENSIONS, lattice
from vae.core.model import VAE, LatticeEncoder
from vae.errors import UserError

MOST_NUMBERS = 2**28  # of what is decoded on the lattice: 1 GB
N_IMAGES = 1000  # that the width of the window and the softness are chosen by
# Of the window, in units of the prior's sigma: the wider ones are for posteriors that are wide.
WIDTHS = (0.05, 0.1, 0.2, 0.4, 0.8, 3.2)
SOFTNESSES = (1.0, 2.0, 4.0, 8.0)


def check_fits(config: ModelConfig) -> None:
    """Raises UserError, with the reason, for a model that can have no lattice encoder."""
    if config.latent_dim > MOST_DIMENSIONS:
        reason = f"it has {config.latent_dim} latent dimensions, and a lattice covers 1 or 2"
    elif config.n_classes:
        reason = "it is conditional on a label, and each class would need a lattice of its own"
    elif config.features:
        reason = f"it reads a {config.kind}, and this is made for images"
    elif math.prod(config.image_shape) * LatticeEncoder.N_POINTS > MOST_NUMBERS:
        reason = f"its images have more than {MOST_NUMBERS // LatticeEncoder.N_POINTS:,} numbers"
    else:
        return
    raise UserError(f"this model can have no lattice encoder: {reason}")


@torch.no_grad()
def fit_lattice_encoder(model: VAE, x: Tensor, seed: int = 0) -> VAE:
    """The same decoder with an encoder that reads p(z|x) off a lattice.

    Args:
        model: a VAE of images with one or two latent dimensions and no condition.
        x: images by whose -ELBO the width of the window and the softness are chosen,
            (B, C, H, W), B at least 1.
        seed: of the noise of that -ELBO.

    Returns:
        Another VAE, on the CPU, whose decoder and likelihood are copies.

    Raises:
        UserError: as `check_fits`.
    """
    check_fits(model.config)
    with torch.random.fork_rng(devices=[]):  # torch's own layers draw weights when they are made
        made = VAE(replace(model.config, encoder=LATTICE)).eval()
    made.decoder.load_state_dict(model.decoder.state_dict())
    made.likelihood.load_state_dict(model.likelihood.state_dict())
    encoder, D = made.encoder, model.config.latent_dim
    assert isinstance(encoder, LatticeEncoder)
    encoder.places.copy_(lattice(LatticeEncoder.N_POINTS, D, torch.full((D,), 0.5)))
    parts = [
        made.likelihood.terms(made.decode(z), torch.float32)
        for z in encoder.places.split(decodes_at_once(made))
    ]
    eta = torch.cat([part[0] for part in parts])  # (M, N)
    eta -= eta.mean(0)  # which adds the same to the scores of all points
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        U, S, V = torch.svd_lowrank(eta, encoder.rank, niter=4)
    # Half of the scale to each, so that both are well within half precision.
    encoder.down.weight.copy_((V * S.sqrt()).T)
    weight, bias = U * S.sqrt(), -torch.cat([part[1] for part in parts])
    eps = gaussian.draw((4, len(x), D), torch.Generator().manual_seed(seed))

    def take(width: float, softness: float) -> None:
        encoder.width.fill_(width)
        encoder.softness.fill_(softness)
        encoder.score.weight.copy_(weight / softness)
        encoder.score.bias.copy_(bias / softness)

    costs = {}
    for pair in itertools.product(WIDTHS, SOFTNESSES):
        take(*pair)
        costs[pair] = float(point_terms(made, x, eps).neg_elbo.mean())
    take(*min(costs, key=costs.__getitem__))
    return made
