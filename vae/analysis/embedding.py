"""A data set seen through a model: Embedding, one row per point."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch

from vae.core import gaussian
from vae.core.elbo import decodes_at_once, log_likelihood, point_terms
from vae.core.model import VAE
from vae.data.dataset import Dataset, to_unit
from vae.inference.condition import OWN_LABEL, Condition, labels_for
from vae.training import distributed

# Draws per point behind `recon`: its standard error is then a quarter of the draws' spread.
N_SAMPLES = 16


@dataclass(frozen=True)
class Embedding:
    """mu, logvar and the terms of N points; arrays of float32, terms in nats per image.

    Attributes:
        dataset, split: what was embedded.
        n_samples, seed: S and the seed of `gaussian.noise_of_points` behind `recon`.
        class_names: the name of each label.
        mu, logvar: of q(z|x), shape (N, D).
        kl_per_dim: shape (N, D).
        recon: Monte Carlo estimate of -E_q log p(x|z), shape (N,).
        recon_stderr: its standard error, shape (N,).
        recon_at_mu: -log p(x|z = mu), no sampling, shape (N,).
        labels: int64, shape (N,).
        factors: known factors of variation, each (N,).
        data_fingerprint: of the data set (`Dataset.fingerprint`); "" where it is not known.
    """

    dataset: str
    split: str
    n_samples: int
    seed: int
    class_names: tuple[str, ...]
    mu: np.ndarray
    logvar: np.ndarray
    kl_per_dim: np.ndarray
    recon: np.ndarray
    recon_stderr: np.ndarray
    recon_at_mu: np.ndarray
    labels: np.ndarray
    factors: dict[str, np.ndarray] = field(default_factory=dict)
    data_fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.mu)

    @property
    def latent_dim(self) -> int:
        """D."""
        return self.mu.shape[1]

    @property
    def sigma(self) -> np.ndarray:
        """Standard deviations of q(z|x), shape (N, D); inf where float32 cannot hold one."""
        with np.errstate(over="ignore"):
            return np.exp(self.logvar / 2)

    @property
    def kl(self) -> np.ndarray:
        """KL(q(z|x), p(z)), shape (N,)."""
        return self.kl_per_dim.sum(1)

    @property
    def neg_elbo(self) -> np.ndarray:
        """recon + kl, shape (N,)."""
        return self.recon + self.kl

    @property
    def kl_share(self) -> np.ndarray:
        """How much of -ELBO is KL, shape (N,); not finite where -ELBO is 0, as it may be."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.kl / self.neg_elbo

    def rank(self, index: int) -> int:
        """The point's place by -ELBO, 1 for the costliest."""
        return int((self.neg_elbo > self.neg_elbo[index]).sum()) + 1

    def means(self) -> dict[str, Any]:
        """The means over all points: n, recon, recon_at_mu, kl, kl_per_dim, neg_elbo."""
        return {
            "n": len(self),
            "recon": _mean(self.recon),
            "recon_at_mu": _mean(self.recon_at_mu),
            "kl": _mean(self.kl_per_dim.sum(1, dtype=np.float64)),
            "kl_per_dim": self.kl_per_dim.mean(0, dtype=np.float64).tolist(),
            "neg_elbo": _mean(self.recon) + _mean(self.kl_per_dim.sum(1, dtype=np.float64)),
        }

    def table(self) -> dict[str, np.ndarray]:
        """One column per quantity, one row per point, as `terms` and the downloads write it.

        The columns are called as on screen, dimensions from z1 on; but for -ELBO, as what begins
        with a minus is a formula to a spreadsheet.
        """
        names = np.array(self.class_names, dtype=object)
        columns = {
            "index": np.arange(len(self)),
            "label": names[self.labels],
            "recon": self.recon,
            "KL": self.kl,
            "neg_ELBO": self.neg_elbo,
        }
        for name, values in (("KL", self.kl_per_dim), ("mu", self.mu), ("sigma", self.sigma)):
            columns |= {f"{name}_z{d + 1}": values[:, d] for d in range(self.latent_dim)}
        return columns


ARRAYS = tuple(f.name for f in fields(Embedding) if f.type is np.ndarray)


@torch.no_grad()
def embed(
    model: VAE,
    dataset: Dataset,
    n_samples: int = N_SAMPLES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    shared: bool = False,
    condition: Condition = OWN_LABEL,
) -> Embedding:
    """Encodes every point and estimates its terms, in pieces of bounded memory.

    A point's row does not depend on the others: its noise comes from its own index.

    Args:
        model: the VAE, on any device.
        dataset: images of the model's shape.
        n_samples: S, at least 1.
        seed: of the noise.
        progress: called with (points done, points in all).
        shared: in a group of processes (`training.distributed`), all of which call this, each
            computes its share of the points; the first has the whole result, the others
            their own rows.
        condition: what a model with a condition is given: each point's own label, or a class.

    Raises:
        UserError: images of another shape than the model's, or as `condition.labels_for`.
    """
    labels = labels_for(model, dataset, condition)
    D = model.config.latent_dim
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS if name != "labels"}
    chunk = max(1, decodes_at_once(model) // n_samples)
    for rows in distributed.rows_of(len(dataset), shared).split(chunk):
        x = to_unit(dataset.images[rows]).to(model.device)
        given = model.given(labels[rows])
        mu, logvar = given.encode(x)
        eps = gaussian.noise_of_points(rows.tolist(), n_samples, D, seed).to(model.device)
        terms = point_terms(given, x, eps)
        values = {
            "mu": mu,
            "logvar": logvar,
            "recon_at_mu": -log_likelihood(given, x, mu),
            **terms._asdict(),
        }
        for name, value in values.items():
            columns[name].append(value.cpu().numpy())
        if progress and len(rows):
            progress(int(rows[-1]) + 1, len(dataset))
    whole = {
        name: distributed.together(np.concatenate(parts), shared) for name, parts in columns.items()
    }
    return Embedding(
        dataset=dataset.name,
        split=dataset.split,
        n_samples=n_samples,
        seed=seed,
        class_names=dataset.class_names,
        labels=dataset.labels.numpy(),
        factors={name: values.numpy() for name, values in dataset.factors.items()},
        data_fingerprint=dataset.fingerprint,
        **whole,
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64))
