"""Checkpoints of PyTorch-VAE."""

import math

import pytest
import torch
import torch.nn.functional as F
from formats.state_dicts import (
    close,
    images,
    lightning,
    opened,
    runs_in_the_browser,
    save_lightning,
)

from vae.core.elbo import log_likelihood
from vae.runs.checkpoint import CheckpointError


@pytest.mark.parametrize(
    ("colour", "pixels"), [((0.0, -0.15, -0.25), "[-1, 1]"), ((0.5, 0.43, 0.38), "[0, 1]")]
)
def test_pytorch_vae_reads_pixels_as_its_first_batch_norm_saw_them(tmp_path, colour, pixels):
    state = lightning(colour=colour)
    run, model = opened(save_lightning(tmp_path / "last.ckpt", state))
    assert run.card.pixels == pixels
    x = images((3, 64, 64))
    scaled = pixels == "[-1, 1]"
    h = 2 * x - 1 if scaled else x
    for i in range(5):
        h = F.conv2d(h, *state.of(f"encoder.{i}.0"), stride=2, padding=1)
        h = F.leaky_relu(state.normed(h, f"encoder.{i}.1"))
    mu, logvar = model.encode(x)
    close(mu, F.linear(h.flatten(1), *state.of("fc_mu")))
    close(logvar, F.linear(h.flatten(1), *state.of("fc_var")))
    h = F.linear(mu, *state.of("decoder_input")).view(-1, 8, 2, 2)
    for name in (*(f"decoder.{i}" for i in range(4)), "final_layer"):
        h = F.conv_transpose2d(h, *state.of(f"{name}.0"), 2, 1, 1)
        h = F.leaky_relu(state.normed(h, f"{name}.1"))
    mean = torch.tanh(F.conv2d(h, *state.of("final_layer.3"), padding=1))
    own = 2 * x - 1 if scaled else x
    close(model.decode(mu), (mean + 1) / 2 if scaled else mean)
    # Of variance 1 in its units; a density in ours is 2^n as high where those are half as wide.
    half = (own - mean).square().sum((1, 2, 3)) / 2 + x[0].numel() * math.log(2 * math.pi) / 2
    jacobian = x[0].numel() * math.log(2) if scaled else 0
    torch.testing.assert_close(-log_likelihood(model, x, mu).float(), half - jacobian)
    assert run.card.implied_beta is None
    assert "1.536" in " ".join(run.card.notes)
    runs_in_the_browser(model)


def test_pytorch_vaes_stored_weight_gives_the_implied_beta(tmp_path):
    stored = {"hyper_parameters": {"kld_weight": 0.001, "LR": 0.005}}
    path = save_lightning(tmp_path / "last.ckpt", lightning(), **stored)
    run, _ = opened(path)
    assert run.card.implied_beta == pytest.approx(0.001 * 3 * 64 * 64 / 2)


def test_pytorch_vae_that_no_data_set_fits_asks_for_one(tmp_path):
    run, _ = opened(save_lightning(tmp_path / "last.ckpt", lightning()))
    with pytest.raises(CheckpointError, match="--dataset"):
        run.usual_dataset()
