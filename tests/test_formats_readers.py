"""Other libraries' checkpoints are read as what they are, and give the numbers those libraries do.

The files under `foreign` were written and evaluated by the libraries themselves. The others are
written here, with the names and shapes that each library's source gives its layers; what they
should compute is written out beside them in torch's own functions.
"""

import json
import math
import os
from itertools import pairwise
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from vae import checkpoint, cli, datasets, diagnostics, embed, formats
from vae.checkpoint import CheckpointError
from vae.config import ConfigError, ForeignModel, ModelConfig
from vae.elbo import log_likelihood
from vae.formats import ForeignRun, tensors
from vae.formats.shapes import of_pixels
from vae.live.program import compile_module
from vae.model import VAE

ROOT = Path(__file__).resolve().parent.parent


def foreign_folder() -> Path | None:
    """Where the other libraries' own files are: beside the data, or beside the repository."""
    places = [ROOT.parent / "shared" / "foreign"]
    if data := os.environ.get("VAE_DATA"):
        places.insert(0, Path(data).parent / "foreign")
    return next((place for place in places if (place / "expected.json").is_file()), None)


FOREIGN = foreign_folder()
EXPECTED = json.loads((FOREIGN / "expected.json").read_text()) if FOREIGN else {}
HAS_MNIST = bool(os.environ.get("VAE_DATA"))


class Weights(dict):
    """A state dict of random numbers, layer by layer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def layer(self, name: str, *shape: int, transposed: bool = False) -> None:
        """Weight of that shape and a bias for each output."""
        scale = math.prod(shape[1:]) ** -0.5
        self[f"{name}.weight"] = torch.randn(shape, generator=self.generator) * scale
        n_outputs = shape[1] if transposed else shape[0]
        self[f"{name}.bias"] = torch.randn(n_outputs, generator=self.generator) * 0.1

    def norm(self, name: str, n: int) -> None:
        """A batch norm that has seen data."""
        for part in ("weight", "running_var"):
            self[f"{name}.{part}"] = torch.rand(n, generator=self.generator) + 0.5
        for part in ("bias", "running_mean"):
            self[f"{name}.{part}"] = torch.randn(n, generator=self.generator) * 0.3
        self[f"{name}.num_batches_tracked"] = torch.tensor(17)

    def of(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self[f"{name}.weight"], self[f"{name}.bias"]

    def normed(self, x: torch.Tensor, name: str) -> torch.Tensor:
        running = (self[f"{name}.running_mean"], self[f"{name}.running_var"])
        return F.batch_norm(x, *running, *self.of(name))


def opened(path: Path) -> tuple[ForeignRun, VAE]:
    run = formats.open_run(path)
    assert isinstance(run, ForeignRun)
    model = run.load_model()
    assert not model.training
    return run, model


def images(shape: tuple[int, int, int], n: int = 3) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(3))


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def runs_in_the_browser(model: VAE) -> None:
    compile_module(model.decoder, (model.config.latent_dim,))
    compile_module(model.encoder, model.config.image_shape)


# The libraries' own files.


@pytest.mark.skipif(FOREIGN is None, reason="no folder of other libraries' checkpoints here")
@pytest.mark.skipif(not HAS_MNIST, reason="VAE_DATA names no folder with MNIST")
@pytest.mark.parametrize("name", EXPECTED)
def test_the_figures_are_those_of_the_library_that_wrote_the_file(name):
    expected = EXPECTED[name]
    run, model = opened(FOREIGN / name)
    shape = run.model_config.image_shape
    found = embed(model, datasets.load("mnist").first(expected["n"]).resized(shape), n_samples=1)
    resized = shape != (1, 28, 28)
    means = found.means()
    assert means["kl"] == pytest.approx(expected["kl_nats"], rel=0.01, abs=0.005)
    assert means["kl_per_dim"] == pytest.approx(expected["kl_per_dim_nats"], rel=0.01, abs=0.005)
    recon = pytest.approx(expected["recon_at_mu"], rel=0.01 if resized else 0.005)
    assert means["recon_at_mu"] == recon
    for column in ("mu", "logvar"):
        first = pytest.approx(expected[f"{column}_first"], abs=2e-2 if resized else 1e-3)
        assert getattr(found, column)[0] == first


@pytest.mark.skipif(FOREIGN is None, reason="no folder of other libraries' checkpoints here")
@pytest.mark.skipif(not HAS_MNIST, reason="VAE_DATA names no folder with MNIST")
def test_how_many_units_are_active_depends_on_the_threshold_as_their_kl_says():
    expected = EXPECTED["disvae_btcvae_mnist"]
    run, model = opened(FOREIGN / "disvae_btcvae_mnist")
    data = datasets.load("mnist").first(expected["n"]).resized(run.model_config.image_shape)
    found = embed(model, data, n_samples=1)
    units = diagnostics.units(found.mu, found.kl_per_dim)
    counts = []
    for threshold in (1e-4, 1e-3, 1.5e-3, 1e-2, 0.1, 0.5, 0.6, 1.0, 1.5, 1.8, 2.0, 3.0):
        active = [kl > threshold for kl in expected["kl_per_dim_nats"]]
        assert units.active_by_kl(threshold).tolist() == active, threshold
        counts.append(sum(active))
    assert (counts[0], counts[3], counts[-1]) == (10, 8, 0)  # the answer moves with it


@pytest.mark.skipif(FOREIGN is None, reason="no folder of other libraries' checkpoints here")
def test_what_is_said_of_the_libraries_own_files():
    cards = {name: opened(FOREIGN / name)[0].card for name in EXPECTED}
    plain = "KL in nats per image; trained with BCE summed over pixels; implied beta 1"
    assert cards["pytorch_examples/mnist_vae.pt"].sentence() == plain
    assert cards["pythae_mlp2"].sentence() == plain
    tc = cards["disvae_btcvae_mnist"]
    assert tc.factors["total correlation"] == 6
    assert (tc.implied_beta, tc.latent_dim, tc.image_shape) == (1, 10, (1, 32, 32))
    assert "5 more on the total correlation" in " ".join(tc.notes)


@pytest.mark.skipif(FOREIGN is None, reason="no folder of other libraries' checkpoints here")
def test_the_libraries_own_files_run_in_the_browser_and_keep_their_names():
    for name in EXPECTED:
        run, model = opened(FOREIGN / name)
        runs_in_the_browser(model)
        assert run.name == Path(name).name
        assert run.train_config.held_out_dataset == "mnist"
        assert len(run.fingerprint()) == 64
        assert model.config == run.model_config
        assert (run.load_embedding(), run.load_metrics()) == (None, [])
        assert run.load_evidence("mnist", "test") is None


# pytorch/examples.


def examples_vae(n_pixels: int = 784, hidden: int = 12, k: int = 3) -> Weights:
    state = Weights()
    for name, shape in {
        "fc1": (hidden, n_pixels),
        "fc21": (k, hidden),
        "fc22": (k, hidden),
        "fc3": (hidden, k),
        "fc4": (n_pixels, hidden),
    }.items():
        state.layer(name, *shape)
    return state


@pytest.mark.parametrize(
    ("n_pixels", "shape"), [(784, (1, 28, 28)), (3072, (3, 32, 32)), (30, (1, 1, 30))]
)
def test_pytorch_examples_at_any_size(tmp_path, n_pixels, shape):
    state = examples_vae(n_pixels)
    torch.save(dict(state), tmp_path / "any name.bin")
    run, model = opened(tmp_path / "any name.bin")
    x = images(shape)
    h = F.relu(F.linear(x.flatten(1), *state.of("fc1")))
    mu, logvar = model.encode(x)
    close(mu, F.linear(h, *state.of("fc21")))
    close(logvar, F.linear(h, *state.of("fc22")))
    logits = F.linear(F.relu(F.linear(mu, *state.of("fc3"))), *state.of("fc4"))
    close(model.decode(mu).flatten(1), logits)
    bce = F.binary_cross_entropy(torch.sigmoid(logits), x.flatten(1), reduction="none").sum(1)
    close(-log_likelihood(model, x, mu).float(), bce)
    config = run.model_config
    assert (config.image_shape, config.latent_dim, config.hidden) == (shape, 3, (12,))
    assert config.likelihood == "bernoulli"
    assert model.n_parameters == sum(t.numel() for t in state.values())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module.model."])
@pytest.mark.parametrize("under", [None, "state_dict", "model_state_dict", "anything"])
def test_wrappers_around_a_state_dict_are_taken_off(tmp_path, prefix, under):
    state = {prefix + name: tensor for name, tensor in examples_vae().items()}
    optimiser = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    whole = state if under is None else {"epoch": 3, "optimizer": optimiser, under: state}
    torch.save(whole, tmp_path / "weights.pth")
    run, model = opened(tmp_path / "weights.pth")
    assert run.card.format == "pytorch/examples"
    close(model.encoder.mu.weight, examples_vae()["fc21.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_any_precision_in_any_container_is_read_as_float32(tmp_path, dtype, container):
    state = {name: tensor.to(dtype) for name, tensor in examples_vae().items()}
    path = tmp_path / "weights.pt"
    if container == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=container == "zip")
    _, model = opened(path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.encoder.mu.weight, state["fc21.weight"].float())


def test_parameters_and_shared_views_are_read_too(tmp_path):
    state = {name: torch.nn.Parameter(tensor) for name, tensor in examples_vae().items()}
    whole = torch.randn(40, 12)
    state["fc21.weight"], state["fc22.weight"] = whole[:3], whole[3:6]
    torch.save(state, tmp_path / "weights.pt")
    _, model = opened(tmp_path / "weights.pt")
    assert torch.equal(model.encoder.logvar.weight, whole[3:6])


# pythae.


def pythae(folder: Path, state: Weights, **config) -> Path:
    folder.mkdir()
    torch.save({"model_state_dict": dict(state)}, folder / "model.pt")
    if config:
        (folder / "model_config.json").write_text(json.dumps(config))
    return folder


def pythae_mlp(n_pixels: int = 784, hidden: int = 10, k: int = 2) -> Weights:
    state = Weights()
    state.layer("encoder.layers.0.0", hidden, n_pixels)
    state.layer("encoder.embedding", k, hidden)
    state.layer("encoder.log_var", k, hidden)
    state.layer("decoder.layers.0.0", hidden, k)
    state.layer("decoder.layers.1.0", n_pixels, hidden)
    return state


VAE_28 = {"name": "VAEConfig", "input_dim": [1, 28, 28], "latent_dim": 2}


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
        ("", {"name": "SVAEConfig"}, "another prior"),
        ("", {"name": "PoincareVAEConfig"}, "another prior"),
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


# disentangling-vae.


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


# PyTorch-VAE.


def lightning(widths=(4, 5, 6, 7, 8), k: int = 3, colour=(0.0, -0.15, -0.25)) -> Weights:
    state = Weights()
    n_in = 3
    for i, n_out in enumerate(widths):
        state.layer(f"encoder.{i}.0", n_out, n_in, 3, 3)
        state.norm(f"encoder.{i}.1", n_out)
        n_in = n_out
    # What the running mean tends to, for images of that mean colour.
    weight, bias = state.of("encoder.0.0")
    state["encoder.0.1.running_mean"] = weight.sum((2, 3)) @ torch.tensor(colour) + bias
    state.layer("fc_mu", k, 4 * widths[-1])
    state.layer("fc_var", k, 4 * widths[-1])
    state.layer("decoder_input", 4 * widths[-1], k)
    back = widths[::-1]
    for i, (n_in, n_out) in enumerate(pairwise(back)):
        state.layer(f"decoder.{i}.0", n_in, n_out, 3, 3, transposed=True)
        state.norm(f"decoder.{i}.1", n_out)
    state.layer("final_layer.0", back[-1], back[-1], 3, 3, transposed=True)
    state.norm("final_layer.1", back[-1])
    state.layer("final_layer.3", 3, back[-1], 3, 3)
    return state


def save_lightning(path: Path, state: Weights, **more) -> Path:
    torch.save(
        {
            "epoch": 9,
            "global_step": 1234,
            "pytorch-lightning_version": "1.5.6",
            "state_dict": {f"model.{name}": tensor for name, tensor in state.items()},
            "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}}],
            "lr_schedulers": [{"gamma": 0.95}],
            **more,
        },
        path,
    )
    return path


@pytest.mark.parametrize(
    ("colour", "pixels"),
    [((0.0, -0.15, -0.25), "[-1, 1]"), ((0.5, 0.43, 0.38), "[0, 1]")],
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


# Our own weights without their folder.


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig((1, 28, 28), hidden=(9, 5)),
        ModelConfig((1, 8, 8), latent_dim=3, hidden=()),
        ModelConfig((3, 32, 32), hidden=(7,), likelihood="gaussian"),
        ModelConfig((1, 28, 28), family="conv", hidden=(4, 6)),
        ModelConfig((1, 8, 8), family="conv", hidden=(4,), likelihood="gaussian"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_our_own_bare_weights(tmp_path, config, suffix):
    model = VAE(config)
    path = tmp_path / f"bare{suffix}"
    if suffix == ".pt":
        torch.save(model.state_dict(), path)
    else:
        safetensors.torch.save_file(model.state_dict(), path)
    run, loaded = opened(path)
    assert run.model_config == config
    assert run.card.format == "ELBO Room"
    x = images(config.image_shape)
    with torch.no_grad():
        for found, wanted in zip(loaded.encode(x), model.encode(x), strict=True):
            assert torch.equal(found, wanted)


# Opening and listing.


def test_our_run_folder_is_opened_as_before(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "run")
    assert formats.open_run(run.path) == run
    assert formats.open_run(run.path / "model.safetensors") == run


def test_one_broken_entry_does_not_hide_the_others(tiny_run, tmp_path):
    tiny_run(tmp_path / "ours")
    torch.save(dict(examples_vae()), tmp_path / "examples.pt")
    pythae(tmp_path / "theirs", pythae_mlp(), **VAE_28)
    (tmp_path / "broken.pt").write_bytes(b"not weights")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("of no interest")
    (tmp_path / ".hidden.pt").write_bytes(b"")
    runs, broken = formats.list_runs(tmp_path)
    assert [run.name for run in runs] == ["examples.pt", "ours", "theirs"]
    assert set(broken) == {"broken.pt", "empty"}


def test_a_folder_of_lightnings_is_looked_into(tmp_path):
    (tmp_path / "version_0/checkpoints").mkdir(parents=True)
    save_lightning(tmp_path / "version_0/checkpoints/epoch=9.ckpt", lightning())
    run, _ = opened(tmp_path / "version_0")
    assert run.name == "version_0"
    save_lightning(tmp_path / "version_0/checkpoints/last.ckpt", lightning())
    with pytest.raises(CheckpointError, match="2 files of weights"):
        formats.open_run(tmp_path / "version_0")


def test_a_folder_that_does_not_exist_holds_no_checkpoints(tmp_path):
    assert formats.list_runs(tmp_path / "nowhere") == ([], {})
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        formats.open_run(tmp_path / "nowhere")


def test_an_unknown_file_lists_what_it_holds_and_the_nearest_format(tmp_path):
    state = examples_vae()
    state["fc5.weight"] = torch.zeros(2, 5)
    torch.save(dict(state), tmp_path / "odd.pt")
    with pytest.raises(CheckpointError) as caught:
        formats.open_run(tmp_path / "odd.pt")
    for part in ("pytorch/examples", "10 of whose 10", "fc1.weight 12x784", "fc5.weight 2x5"):
        assert part in str(caught.value)


def test_a_card_is_a_list_of_facts(tmp_path):
    torch.save(dict(examples_vae()), tmp_path / "weights.pt")
    facts = opened(tmp_path / "weights.pt")[0].card.facts()
    assert facts["format"] == "pytorch/examples, VAE"
    assert facts["implied β"] == "1"
    assert facts["reads"] == "1x28x28, pixels in [0, 1]"


def test_the_fingerprint_changes_with_the_weights(tmp_path):
    state = examples_vae()
    torch.save(dict(state), tmp_path / "weights.pt")
    before = formats.open_run(tmp_path / "weights.pt").fingerprint()
    state["fc1.bias"][0] += 1
    torch.save(dict(state), tmp_path / "weights.pt")
    assert formats.open_run(tmp_path / "weights.pt").fingerprint() != before


@pytest.mark.parametrize(
    ("n", "shape"),
    [(784, (1, 28, 28)), (3072, (3, 32, 32)), (4096, (1, 64, 64)), (7, (1, 1, 7)), (1, (1, 1, 1))],
)
def test_the_shape_of_so_many_pixels(n, shape):
    assert of_pixels(n) == shape


@pytest.mark.parametrize(
    "values",
    [
        {"image_shape": (2, 8, 8)},
        {"image_shape": (1, 8)},
        {"latent_dim": 0},
        {"likelihood": "laplace"},
        {"family": ""},
        {"hidden": (0,)},
    ],
)
def test_a_foreign_models_config_is_checked(values):
    good = {"image_shape": (1, 8, 8), "latent_dim": 2, "likelihood": "gaussian", "family": "x"}
    ForeignModel(**good)
    with pytest.raises(ConfigError, match=next(iter(values))):
        ForeignModel(**(good | values))


def test_the_parts_of_a_model_are_its_own(tmp_path):
    config = ForeignModel((1, 8, 8), 2, "bernoulli", "mine", (4,))
    made = VAE(ModelConfig((1, 8, 8), hidden=(4,)))
    model = VAE.of_parts(config, made.encoder, made.decoder, made.likelihood)
    x = images((1, 8, 8))
    assert torch.equal(model.encode(x)[0], made.encode(x)[0])
    assert model.n_parameters == made.n_parameters
    assert model.device.type == "cpu"
    with pytest.raises(ValueError, match="8x8"):
        model.encode(images((1, 9, 9)))


def test_a_survey_reads_no_weights(tmp_path):
    torch.save(dict(examples_vae()), tmp_path / "weights.pt")
    survey = tensors.survey(tmp_path / "weights.pt")
    assert survey.shapes["fc1.weight"] == (12, 784)
    assert survey.container == "torch.save"
    assert checkpoint.CheckpointError is CheckpointError


# From the command line.


@pytest.fixture
def theirs(tmp_path, monkeypatch) -> Path:
    """A folder of checkpoints that holds two of other libraries', for 8 x 8 digits and unknown."""
    torch.save(dict(examples_vae(64, k=2)), tmp_path / "examples.pt")
    save_lightning(tmp_path / "last.ckpt", lightning())
    monkeypatch.setenv("VAE_CHECKPOINTS", str(tmp_path))
    return tmp_path


def test_evaluate_tells_the_card_beside_the_terms(theirs, capsys):
    arguments = ["evaluate", str(theirs / "examples.pt"), "--limit", "5"]
    assert cli.main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["card"]["format"] == "pytorch/examples"
    assert told["card"]["implied_beta"] == 1
    assert (len(told["mu_first"]), told["images"]) == (2, "as they are")
    assert cli.main(arguments) == 0
    assert "trained with   BCE summed over pixels" in capsys.readouterr().out


def test_evaluate_says_that_images_were_resized(theirs, capsys):
    arguments = ["evaluate", str(theirs / "last.ckpt"), "--limit", "2", "--samples", "1"]
    assert cli.main(arguments) == 2
    assert "--dataset" in capsys.readouterr().err
    assert cli.main([*arguments, "--dataset", "digits", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "resized" in err
    assert "resized" in json.loads(out)["images"]


def test_terms_and_log_px_of_another_librarys_model_leave_its_folder_alone(theirs, capsys):
    before = sorted(theirs.iterdir())
    assert cli.main(["terms", str(theirs / "examples.pt"), "--log-px", "--limit", "3"]) == 0
    assert "log_px" in capsys.readouterr().out.splitlines()[0]
    assert cli.main(["evaluate", str(theirs / "examples.pt"), "--importance-samples", "2"]) == 0
    assert sorted(theirs.iterdir()) == before


def test_list_names_the_format_and_export_writes_a_page(theirs, capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    assert "pytorch/examples" in out
    assert "PyTorch-VAE" in out
    page = theirs / "page.html"
    assert cli.main(["export", str(theirs / "examples.pt"), "--html", str(page)]) == 0
    assert page.stat().st_size > 1_000_000
