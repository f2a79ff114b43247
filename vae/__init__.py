"""ELBO Room's library: variational autoencoders whose every term can be looked at.

Usable from a notebook without Streamlit. Terms are per point and in nats; nothing is averaged
before the caller asks for it.

    from vae import ModelConfig, TrainConfig, VAE, datasets, fit, embed

Every function that takes a VAE takes any object with encode(x) -> (mu, logvar) and decode(z), too,
once that is wrapped:

    from vae import as_vae
    embed(as_vae(model, dataset), dataset)
"""

from vae.analysis.embedding import Embedding, embed
from vae.config import ModelConfig, TrainConfig
from vae.core.elbo import PointTerms, importance_weighted_bound, point_terms
from vae.core.lattice_encoder import fit_lattice_encoder
from vae.core.model import VAE
from vae.data import catalogue as datasets
from vae.formats import as_vae
from vae.inference.evidence import Evidence
from vae.inference.quadrature import exact_posterior
from vae.training.trainer import EpochStats, fit

__all__ = [
    "VAE",
    "Embedding",
    "EpochStats",
    "Evidence",
    "ModelConfig",
    "PointTerms",
    "TrainConfig",
    "as_vae",
    "datasets",
    "embed",
    "exact_posterior",
    "fit",
    "fit_lattice_encoder",
    "importance_weighted_bound",
    "point_terms",
]
