"""Small trainings on few digits, for the tests of their parts."""

import torch

from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.training.trainer import EpochStats, fit

HIDDEN = {"mlp": (16,), "conv": (4, 8)}


def make(seed: int = 0, family: str = "mlp", likelihood: str = "bernoulli", **others) -> VAE:
    others = {"hidden": HIDDEN[family], **others}
    config = ModelConfig((1, 8, 8), family=family, likelihood=likelihood, **others)
    return VAE(config, torch.Generator().manual_seed(seed))


def digits(n_train: int = 100, n_test: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    train, test = (catalogue.load("digits", split).images for split in ("train", "test"))
    return train[:n_train], test[:n_test]


def config(epochs: int = 2, **others) -> TrainConfig:
    return TrainConfig("digits", epochs, **{"batch_size": 32, **others})


def train(model: VAE, train_config: TrainConfig, images=None, **others) -> list[EpochStats]:
    return list(fit(model, *(images or digits()), train_config, "cpu", **others))


def weights(model: VAE) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def numbers(stats: EpochStats) -> tuple:
    """All of an epoch's statistics but the times."""
    return stats.epoch, stats.train, stats.test, stats.beta, stats.lr


def still(model: VAE) -> VAE:
    """The model with posteriors that are points: neither order nor noise matters to a batch."""
    model.encoder.logvar.weight.data.zero_()
    model.encoder.logvar.bias.data.fill_(-100)
    return model


ONE_BATCH = {"schedule": "constant", "learning_rate": 0.01, "kl_warmup": 0, "batch_size": 20}
