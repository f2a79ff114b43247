"""Checkpoints of pythae."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from formats.state_dicts import (
    VAE_28,
    Weights,
    close,
    images,
    opened,
    pythae,
    pythae_mlp,
    runs_in_the_browser,
)

from vae import formats
from vae.core.elbo import log_likelihood
from vae.runs.checkpoint import CheckpointError


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_pythaes_default_network(tmp_path, loss):
    state = pythae_mlp()
    path = pythae(tmp_path / "run", state, **VAE_28, reconstruction_loss=loss)
    run, model = opened(path)
    x = images((1, 28, 28))
    h = F.relu(F.linear(x.flatten(1), *state.of("encoder.layers.0.0")))
    mu, logvar = model.encode(x)
    close(mu, F.linear(h, *state.of("encoder.embedding")))
    close(logvar, F.linear(h, *state.of("encoder.log_var")))
    h = F.relu(F.linear(mu, *state.of("decoder.layers.0.0")))
    mean = torch.sigmoid(F.linear(h, *state.of("decoder.layers.1.0")))
    close(model.decode_mean(mu).flatten(1), mean)
    recon = -log_likelihood(model, x, mu).float()
    if loss == "bce":
        close(recon, F.binary_cross_entropy(mean, x.flatten(1), reduction="none").sum(1))
    else:
        half = (mean - x.flatten(1)).square().sum(1) / 2
        close(recon, half + 784 * math.log(2 * math.pi) / 2)
        assert model.n_parameters == sum(t.numel() for t in state.values()) + 1
        assert not model.likelihood.logvar_x.requires_grad
    assert run.model_config.family == "pythae MLP"
    assert run.card.implied_beta == 1
    runs_in_the_browser(model)


@pytest.mark.parametrize(
    ("config", "model", "beta", "factors"),
    [
        ({"name": "BetaVAEConfig", "beta": 4.0}, "BetaVAE", 4, {"KL": 4}),
        ({"name": "IWAEConfig", "number_samples": 7}, "IWAE", 1, {"KL": 1}),
        ({"name": "VAMPConfig"}, "VAMP", 1, {"KL": 1}),
        (
            {"name": "BetaTCVAEConfig", "beta": 5.0},
            "BetaTCVAE",
            1,
            {"mutual information": 1, "total correlation": 5, "dimension-wise KL": 1},
        ),
        (
            {"name": "BetaTCVAEConfig", "alpha": 2.0},
            "BetaTCVAE",
            None,
            {"mutual information": 2, "total correlation": 1, "dimension-wise KL": 1},
        ),
        ({"name": "FactorVAEConfig"}, "FactorVAE", 1, {"KL": 1, "total correlation": 2}),
        (
            {"name": "DisentangledBetaVAEConfig", "C": 20},
            "DisentangledBetaVAE",
            None,
            {"|KL - capacity|": 10},
        ),
        ({"name": "VAEGANConfig"}, "VAEGAN", None, {"KL": None}),
        ({"name": "SomethingConfig"}, "Something", None, {"KL": None}),
        ({"name": "BetaVAEConfig", "beta": "much"}, "BetaVAE", 1, {"KL": 1}),
        ({"name": ["?"], "beta": 10**400}, "VAE", 1, {"KL": 1}),
    ],
)
def test_pythaes_other_models_are_named_with_what_their_loss_weighed(
    tmp_path, config, model, beta, factors
):
    config = VAE_28 | {"reconstruction_loss": "bce"} | config
    run, _ = opened(pythae(tmp_path / "run", pythae_mlp(), **config))
    assert (run.card.model, run.card.implied_beta) == (model, beta)
    assert run.card.factors == {"BCE summed over pixels": 1} | factors
    assert run.train_config.beta == (1 if beta is None else beta)
    assert json.loads(json.dumps(run.card.to_dict()))["sentence"] == run.card.sentence()


def conv_pythae(encoder, decoder, width: int, first: int, residual=None) -> Weights:
    """The names and kernels of pythae's benchmark networks, with fewer channels."""
    state = Weights()

    def block(name: str, n: int) -> None:
        for i in range(2):
            state.layer(f"{name}.{i}.conv_block.1", 2, n, 3, 3)
            state.layer(f"{name}.{i}.conv_block.3", n, 2, 1, 1)

    for i, (n_in, n_out, kernel) in enumerate(encoder):
        if kernel == "r":
            block(f"encoder.layers.{i}", n_in)
            continue
        state.layer(f"encoder.layers.{i}.0", n_out, n_in, kernel, kernel)
        if residual is None:
            state.norm(f"encoder.layers.{i}.1", n_out)
    state.layer("encoder.embedding", 2, width)
    state.layer("encoder.log_var", 2, width)
    name = "decoder.layers.0.0" if decoder[0][2] == 5 else "decoder.layers.0"
    state.layer(name, first, 2)
    for i, (n_in, n_out, kernel) in enumerate(decoder, start=1):
        if kernel == "r":
            block(f"decoder.layers.{i}", n_in)
            continue
        name = f"decoder.layers.{i}" if residual and i == 1 else f"decoder.layers.{i}.0"
        state.layer(name, n_in, n_out, kernel, kernel, transposed=True)
        if residual is None and i < len(decoder):
            state.norm(f"decoder.layers.{i}.1", n_out)
    return state


NETS = {
    "ConvNet for MNIST": (
        (1, 28, 28),
        conv_pythae(
            [(1, 3, 4), (3, 4, 4), (4, 5, 4), (5, 6, 4)],
            [(6, 5, 3), (5, 4, 3), (4, 1, 3)],
            6,
            6 * 16,
        ),
    ),
    "ConvNet for CIFAR": (
        (3, 32, 32),
        conv_pythae(
            [(3, 3, 4), (3, 4, 4), (4, 5, 4), (5, 6, 4)],
            [(6, 5, 4), (5, 4, 4), (4, 3, 4)],
            24,
            6 * 64,
        ),
    ),
    "ConvNet for CelebA": (
        (3, 64, 64),
        conv_pythae(
            [(3, 3, 4), (3, 4, 4), (4, 5, 4), (5, 6, 4)],
            [(6, 5, 5), (5, 4, 5), (4, 4, 5), (4, 3, 5)],
            96,
            6 * 64,
        ),
    ),
    "ResNet for MNIST": (
        (1, 28, 28),
        conv_pythae(
            [(1, 3, 4), (3, 4, 4), (4, 4, 3), (4, 4, "r")],
            [(4, 4, 3), (4, 4, "r"), (4, 3, 3), (3, 1, 3)],
            64,
            64,
            residual=True,
        ),
    ),
    "ResNet for CIFAR": (
        (3, 32, 32),
        conv_pythae(
            [(3, 3, 4), (3, 4, 4), (4, 4, 3), (4, 4, "r")],
            [(4, 4, "r"), (4, 3, 4), (3, 3, 4)],
            256,
            256,
            residual=True,
        ),
    ),
    "ResNet for CelebA": (
        (3, 64, 64),
        conv_pythae(
            [(3, 3, 4), (3, 4, 4), (4, 4, 3), (4, 4, 3), (4, 4, "r")],
            [(4, 4, 3), (4, 4, "r"), (4, 4, 5), (4, 3, 5), (3, 3, 4)],
            64,
            64,
            residual=True,
        ),
    ),
}


@pytest.mark.parametrize("family", NETS)
def test_pythaes_benchmark_networks_are_told_by_their_kernels(tmp_path, family):
    shape, state = NETS[family]
    config = VAE_28 | {"input_dim": list(shape), "reconstruction_loss": "bce"}
    run, model = opened(pythae(tmp_path / "run", state, **config))
    assert run.model_config.family == f"pythae {family}"
    assert run.model_config.image_shape == shape
    runs_in_the_browser(model)


def test_pythaes_convolutional_encoder_and_decoder_for_mnist(tmp_path):
    _, state = NETS["ConvNet for MNIST"]
    _, model = opened(pythae(tmp_path / "run", state, **VAE_28, reconstruction_loss="bce"))
    h = x = images((1, 28, 28))
    for i in range(4):
        h = F.conv2d(h, *state.of(f"encoder.layers.{i}.0"), stride=2, padding=1)
        h = F.relu(state.normed(h, f"encoder.layers.{i}.1"))
    mu, logvar = model.encode(x)
    close(mu, F.linear(h.flatten(1), *state.of("encoder.embedding")))
    close(logvar, F.linear(h.flatten(1), *state.of("encoder.log_var")))
    h = F.linear(mu, *state.of("decoder.layers.0")).reshape(-1, 6, 4, 4)
    for i, extra in ((1, 0), (2, 1), (3, 1)):
        h = F.conv_transpose2d(h, *state.of(f"decoder.layers.{i}.0"), 2, 1, extra)
        h = h if i == 3 else F.relu(state.normed(h, f"decoder.layers.{i}.1"))
    close(model.decode(mu), h)


def test_pythaes_residual_encoder(tmp_path):
    _, state = NETS["ResNet for MNIST"]
    _, model = opened(pythae(tmp_path / "run", state, **VAE_28, reconstruction_loss="bce"))
    h = x = images((1, 28, 28))
    for i in range(3):
        h = F.conv2d(h, *state.of(f"encoder.layers.{i}.0"), stride=2, padding=1)
    for i in range(2):
        block = f"encoder.layers.3.{i}.conv_block"
        inner = F.conv2d(F.relu(h), *state.of(f"{block}.1"), padding=1)
        h = h + F.conv2d(F.relu(inner), *state.of(f"{block}.3"))
    close(model.encode(x)[0], F.linear(h.flatten(1), *state.of("encoder.embedding")))


def test_pythae_without_its_config_says_what_was_assumed(tmp_path):
    run, _ = opened(pythae(tmp_path / "run", pythae_mlp()))
    assert run.model_config.likelihood == "gaussian"
    notes = " ".join(run.card.notes)
    assert "no model_config.json" in notes
    assert "1x28x28 was assumed" in notes


@pytest.mark.parametrize(
    ("drop", "config", "said"),
    [
        ("encoder.log_var.", {"name": "WAE_MMD_Config"}, "no logvar"),
        ("", {"name": "SVAEConfig"}, "no Gaussians"),
        ("", {"name": "PoincareVAEConfig"}, "no Gaussians"),
        ("", {"input_dim": [1, 9, 9]}, "784 pixels"),
        ("encoder.layers.", {}, "not among the library's own"),
        ("decoder.layers.0.0.weight", {}, "not among the library's own"),
    ],
)
def test_what_pythae_has_besides_gaussian_vaes_is_refused(tmp_path, drop, config, said):
    state = pythae_mlp()
    for name in [name for name in state if drop and name.startswith(drop)]:
        del state[name]
    path = pythae(tmp_path / "run", state, **(VAE_28 | config))
    with pytest.raises(CheckpointError, match=said):
        formats.open_run(path)
