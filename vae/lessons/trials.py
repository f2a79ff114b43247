"""Small models of the digits, trained in about a second: what beta and free bits do to them."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from vae.analysis import diagnosis, measures
from vae.analysis.diagnosis import Diagnosis
from vae.analysis.embedding import Embedding, embed
from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.training.trainer import fit

DATA = "digits"  # comes with scikit-learn: no download
BETAS = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 30.0)
FREE_BITS = (0.0, 0.25, 0.5, 1.0)
EPOCHS = 16


@dataclass(frozen=True)
class Trial:
    """One small model and what became of it.

    Attributes:
        beta, free_bits: as it was trained.
        model: it.
        embedding: the held-out digits through it.
        found: its diagnosis.
    """

    beta: float
    free_bits: float
    model: VAE
    embedding: Embedding
    found: Diagnosis

    @property
    def recon(self) -> float:
        """The mean over the held-out digits, nats per image."""
        return float(self.embedding.means()["recon"])

    @property
    def kl(self) -> float:
        """The mean over the held-out digits, nats per image."""
        return float(self.embedding.means()["kl"])

    @property
    def is_collapsed(self) -> bool:
        """Whether z says next to nothing of x."""
        return self.found.verdict == diagnosis.COLLAPSED


@lru_cache(len(BETAS) * len(FREE_BITS))
def trial(beta: float, free_bits: float = 0.0) -> Trial:
    """Trains a model of two latent dimensions on the digits and diagnoses it.

    The same settings give the same model: the seeds are fixed.

    Args:
        beta: the weight of the KL.
        free_bits: the KL that each dimension has for nothing, in nats.

    Raises:
        UserError: a setting that `TrainConfig` refuses.
    """
    train, test = catalogue.load(DATA, "train"), catalogue.load(DATA, "test")
    config = TrainConfig(
        dataset=DATA, epochs=EPOCHS, learning_rate=5e-3, beta=beta, free_bits=free_bits
    )
    generator = torch.Generator().manual_seed(0)
    model = VAE(ModelConfig(image_shape=train.image_shape, hidden=(64,)), generator)
    metrics = [
        row for stats in fit(model, train.images, test.images, config) for row in stats.rows()
    ]
    embedding = embed(model, test)
    without_z = measures.cost_without_z(test, model.config.likelihood)
    measured = diagnosis.measure(embedding, cost_without_z=without_z, beta=beta, metrics=metrics)
    return Trial(beta, free_bits, model, embedding, diagnosis.diagnose(measured))
