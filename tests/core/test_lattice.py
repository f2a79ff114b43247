import itertools
from pathlib import Path

import pytest
import torch
from scipy.stats import qmc

from vae import config
from vae.config import ModelConfig
from vae.core.lattice import lattice, lattice_log_px
from vae.core.model import VAE
from vae.data import catalogue
from vae.errors import UserError
from vae.inference.quadrature import exact_posterior
from vae.runs.checkpoint import open_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("D", [1, 2])
def test_its_points_are_spread_evenly_over_the_priors_mass(D):
    shift = torch.rand(D, generator=torch.Generator().manual_seed(0))
    z = lattice(1024, D, shift)
    share = torch.distributions.Normal(0.0, 1.0).cdf(z)
    random = torch.rand(1024, D, generator=torch.Generator().manual_seed(1))
    assert qmc.discrepancy(share.numpy()) < qmc.discrepancy(random.numpy()) / 10
    assert z.mean(0).abs().max() < 0.01
    assert torch.allclose(z.square().mean(0), torch.ones(D), atol=0.02)
    assert torch.isfinite(lattice(16, D, torch.zeros(D))).all()


def test_a_line_or_a_plane_of_points_there_must_be():
    for n_points, D, said in ((4, 3, r"latent_dim \(=3\)"), (0, 2, "of 0 points")):
        with pytest.raises(UserError, match=said):
            lattice(n_points, D, torch.zeros(D))


def test_the_estimate_comes_from_below_and_nearer_with_more_points():
    model = open_run(ROOT / "checkpoints" / "digits-2d").load_model().requires_grad_(False)
    x = catalogue.to_unit(catalogue.load("digits").images[:40])
    exact = exact_posterior(model, x, *model.encode(x)).log_px
    draws = torch.Generator().manual_seed(3)
    bias = []
    for n_points in (16, 64, 256, 1024):
        estimates = torch.stack([lattice_log_px(model, x, n_points, draws) for _ in range(8)])
        bias.append((exact - estimates.mean(0)).mean().item())
    assert bias[0] > 0.5
    assert all(abs(more) < less / 4 for less, more in itertools.pairwise(bias))


@pytest.mark.parametrize("likelihood", config.LIKELIHOODS)
def test_along_a_line_too_it_is_log_px(likelihood):
    model = VAE(ModelConfig((1, 4, 4), 1, hidden=(32,), likelihood=likelihood))
    x = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        exact = exact_posterior(model, x, *model.encode(x)).log_px
    torch.testing.assert_close(lattice_log_px(model, x, 1024), exact, rtol=0, atol=1e-3)
