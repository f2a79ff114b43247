"""Files that pythae itself has written: one of each kind of model, read as pythae reads them.

pythae is needed for these tests alone; without it they are skipped.
"""

import warnings
from pathlib import Path

import pytest
import torch

from vae import formats
from vae.runs.checkpoint import CheckpointError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what it imports
    models = pytest.importorskip("pythae.models", reason="pythae is not installed")
    nn = pytest.importorskip("pythae.models.nn.benchmarks.mnist")

K = 4
GAUSSIAN = {  # models with a Gaussian encoder and the prior N(0, I), or another that is named
    "VAE": {},
    "BetaVAE": {"beta": 3.0},
    "IWAE": {"number_samples": 2},
    "MIWAE": {"number_samples": 2, "number_gradient_estimates": 2},
    "PIWAE": {"number_samples": 2, "number_gradient_estimates": 2},
    "CIWAE": {"number_samples": 2},
    "BetaTCVAE": {},
    "DisentangledBetaVAE": {"beta": 2.0, "C": 5.0},
    "FactorVAE": {},
    "INFOVAE_MMD": {},
    "VAMP": {},
    "HVAE": {"n_lf": 1},
    "VAEGAN": {},
    "VAE_IAF": {},
    "VAE_LinNF": {},
    "RHVAE": {},
    "MSSSIM_VAE": {},
    "Adversarial_AE": {},
}
OTHERS = ("AE", "WAE_MMD", "RAE_L2", "VQVAE", "SVAE", "PoincareVAE")


def config_class(name: str) -> type:
    return getattr(models, f"{name}Config", None) or getattr(models, f"{name}_Config")


def written(folder: Path, name: str, network: str = "", **settings):
    """A model of pythae's with its first weights, as its own `save` leaves it; and the model."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = config_class(name)(input_dim=(1, 28, 28), latent_dim=K, **settings)
        networks = {}
        if network:
            networks["encoder"] = getattr(nn, f"Encoder_{network}")(config)
            networks["decoder"] = nn.Decoder_Conv_AE_MNIST(config)
        model = getattr(models, name)(config, **networks).eval()
        model.save(str(folder))
    return model


@torch.no_grad()
def assert_same(run: formats.ForeignRun, theirs) -> None:
    """The same mu, logvar and decoded mean, to rounding."""
    ours = run.load_model()
    x = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    z = torch.randn(5, K, generator=torch.Generator().manual_seed(2))
    mu, logvar = ours.encode(x)
    encoded = theirs.encoder(x)
    torch.testing.assert_close(mu, encoded.embedding)
    torch.testing.assert_close(logvar, encoded.log_covariance)
    decoded = theirs.decoder(z).reconstruction.reshape(5, 1, 28, 28)
    torch.testing.assert_close(ours.likelihood.mean(ours.decode(z)), decoded)


@pytest.mark.parametrize("loss", ["bce", "mse"])
@pytest.mark.parametrize("name", GAUSSIAN)
def test_each_kind_of_model_is_read_as_pythae_reads_it(tmp_path, name, loss):
    theirs = written(tmp_path / "run", name, reconstruction_loss=loss, **GAUSSIAN[name])
    run = formats.open_run(tmp_path / "run")
    assert run.card.format == "pythae"
    assert_same(run, theirs)


@pytest.mark.parametrize("name", OTHERS)
def test_what_has_no_gaussian_posterior_is_refused(tmp_path, name):
    written(tmp_path / "run", name)
    with pytest.raises(CheckpointError):
        formats.open_run(tmp_path / "run")


@pytest.mark.parametrize("network", ["Conv_VAE_MNIST", "ResNet_VAE_MNIST"])
def test_its_networks_for_mnist_are_told_by_their_weights(tmp_path, network):
    """Networks that are given are pickled beside the weights, and that file is never opened."""
    if not hasattr(nn, f"Encoder_{network}"):
        pytest.skip(f"this pythae has no {network}")
    theirs = written(tmp_path / "run", "VAE", network, reconstruction_loss="bce")
    assert (tmp_path / "run" / "encoder.pkl").exists()
    assert_same(formats.open_run(tmp_path / "run"), theirs)


def test_implied_beta_is_what_its_loss_weighs(tmp_path):
    theirs = written(tmp_path / "run", "BetaVAE", beta=3.0, reconstruction_loss="bce")
    run = formats.open_run(tmp_path / "run")
    assert run.card.implied_beta == 3
    x = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(1)).round()
    torch.manual_seed(3)
    out = theirs({"data": x})
    # pythae's own loss is its reconstruction term plus beta times the KL that ours states.
    mu, logvar = run.load_model().encode(x)
    q = torch.distributions.Normal(mu, (logvar / 2).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(out.reg_loss, kl)
    torch.testing.assert_close(out.loss, out.recon_loss + 3 * kl)
