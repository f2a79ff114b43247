"""Checkpoints of disentangling-vae."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from formats.state_dicts import Weights, close, images, opened, runs_in_the_browser

from vae.core.elbo import log_likelihood


def disvae(side: int = 32, channels: int = 1, k: int = 4) -> Weights:
    state, hidden = Weights(), 8
    state.layer("encoder.conv1", 5, channels, 4, 4)
    for name in ("conv2", "conv3", *(("conv_64",) if side == 64 else ())):
        state.layer(f"encoder.{name}", 5, 5, 4, 4)
    state.layer("encoder.lin1", hidden, 5 * 16)
    state.layer("encoder.lin2", hidden, hidden)
    state.layer("encoder.mu_logvar_gen", 2 * k, hidden)
    state.layer("decoder.lin1", hidden, k)
    state.layer("decoder.lin2", hidden, hidden)
    state.layer("decoder.lin3", 5 * 16, hidden)
    for name in (*(("convT_64",) if side == 64 else ()), "convT1", "convT2"):
        state.layer(f"decoder.{name}", 5, 5, 4, 4, transposed=True)
    state.layer("decoder.convT3", 5, channels, 4, 4, transposed=True)
    return state


@pytest.mark.parametrize(("side", "channels"), [(32, 1), (64, 1), (64, 3)])
def test_disentangling_vae_at_both_sizes(tmp_path, side, channels):
    state = disvae(side, channels)
    torch.save(dict(state), tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "specs.json").write_text(json.dumps({"loss": "betaH", "betaH_B": 4}))
    run, model = opened(tmp_path)
    h = x = images((channels, side, side))
    more = ("conv_64",) if side == 64 else ()
    for name in ("conv1", "conv2", "conv3", *more):
        h = F.relu(F.conv2d(h, *state.of(f"encoder.{name}"), stride=2, padding=1))
    h = h.flatten(1)
    for name in ("lin1", "lin2"):
        h = F.relu(F.linear(h, *state.of(f"encoder.{name}")))
    pairs = F.linear(h, *state.of("encoder.mu_logvar_gen")).view(-1, 4, 2)
    mu, logvar = model.encode(x)
    close(mu, pairs[..., 0])
    close(logvar, pairs[..., 1])
    h = mu
    for name in ("lin1", "lin2", "lin3"):
        h = F.relu(F.linear(h, *state.of(f"decoder.{name}")))
    h = h.view(-1, 5, 4, 4)
    for name in (*(f"convT{n}" for n in (("_64",) if side == 64 else ())), "convT1", "convT2"):
        h = F.relu(F.conv_transpose2d(h, *state.of(f"decoder.{name}"), 2, 1))
    close(model.decode(mu), F.conv_transpose2d(h, *state.of("decoder.convT3"), 2, 1))
    assert (run.card.model, run.card.implied_beta) == ("beta-VAE", 4)
    runs_in_the_browser(model)


@pytest.mark.parametrize(
    ("specs", "model", "beta"),
    [
        ({"loss": "VAE"}, "VAE", 1),
        ({"loss": "betaB", "betaB_G": 100}, "beta-VAE with a capacity", None),
        ({"loss": "factor", "factor_G": 6}, "FactorVAE", 1),
        ({"loss": "btcvae", "btcvae_B": 6}, "beta-TCVAE", 1),
        ({"loss": 7, "rec_dist": []}, "VAE", None),
        ({}, "VAE", None),
    ],
)
def test_disentangling_vaes_losses(tmp_path, specs, model, beta):
    torch.save(dict(disvae()), tmp_path / "model.pt")
    (tmp_path / "specs.json").write_text(json.dumps(specs))
    run, _ = opened(tmp_path)
    assert (run.card.model, run.card.implied_beta) == (model, beta)


def test_disentangling_vaes_gaussian_is_255_times_the_squared_error(tmp_path):
    torch.save(dict(disvae()), tmp_path / "model.pt")
    (tmp_path / "specs.json").write_text(json.dumps({"rec_dist": "gaussian", "loss": "VAE"}))
    _, model = opened(tmp_path)
    x = images((1, 32, 32))
    mu, _ = model.encode(x)
    error = 255 * (model.decode_mean(mu) - x).square().sum((1, 2, 3))
    constant = 1024 * math.log(2 * math.pi / 510) / 2
    close(-log_likelihood(model, x, mu).float(), error + constant)
