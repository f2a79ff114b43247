"""log p(x) of every point of a data set, and the gap that the bound leaves: equation (8)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae.core import gaussian
from vae.core.elbo import importance_weighted_bound
from vae.core.lattice import MOST_DIMENSIONS
from vae.core.model import VAE
from vae.data.dataset import Dataset, to_unit
from vae.inference.annealing import annealed_log_px
from vae.inference.condition import OWN_LABEL, Condition, by_class, labels_for
from vae.inference.density import Lattice
from vae.inference.quadrature import exact_posterior
from vae.training.distributed import rows_of, together

EXACT, IMPORTANCE_WEIGHTED, ANNEALED = METHODS = ("exact", "importance-weighted", "annealed")
TOLERANCE = 1e-3  # nats
USUAL_SAMPLES = 500  # per point, as most papers report log p(x)
_POINTS_AT_ONCE = 256
_INTEGRALS_AT_ONCE = 128  # few enough for a progress bar that moves
_ANNEALED_AT_ONCE = 32

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evidence:
    """log p(x) of N points and the ELBO beside it; float64, in nats per image.

    Attributes:
        dataset, split: whose points.
        method: one of METHODS.
        n_samples: importance samples or chains per point; 0 where it is exact.
        seed: of their noise.
        log_px: shape (N,); below log p(x) in expectation, by a little, where it is an estimate.
        error: shape (N,): of an integral as in `ExactPosterior`, or the standard error of an
            estimate. An estimate's error knows nothing of what its samples
            never met.
        elbo: shape (N,): exact too, or over the same importance samples; NaN where annealed.
        data_fingerprint: of the data set (`Dataset.fingerprint`); "" where it is not known.
        n_ended: of how many points the integral was ended before it stood still.
    """

    dataset: str
    split: str
    method: str
    n_samples: int
    seed: int
    log_px: np.ndarray
    error: np.ndarray
    elbo: np.ndarray
    data_fingerprint: str = ""
    n_ended: int = 0

    def __len__(self) -> int:
        return len(self.log_px)

    @property
    def gap(self) -> np.ndarray:
        """log p(x) - ELBO = KL(q(z|x), p(z|x)), shape (N,): equation (8)."""
        return self.log_px - self.elbo

    @property
    def how(self) -> str:
        """The method in words, for a caption."""
        early = (
            f", ended early for {self.n_ended:,} of {len(self):,} images" if self.n_ended else ""
        )
        return {
            EXACT: f"exact, by quadrature{early}",
            IMPORTANCE_WEIGHTED: f"importance-weighted, K = {self.n_samples:,}",
            ANNEALED: f"annealed importance sampling, {self.n_samples} chains",
        }[self.method]

    @property
    def doubt(self) -> str:
        """Of how many images the integral was ended early, and what theirs is; "" if of none."""
        if not self.n_ended:
            return ""
        return (
            f"Of {self.n_ended:,} of {len(self):,} images the integral was ended early, as it "
            "takes more cells than its budget or reaches beyond them: their log_px and gap are of "
            "the cells so far, and their error is what the last halving of these moved log_px or "
            "recon by, or infinite where that is not known."
        )

    def table(self) -> dict[str, np.ndarray]:
        """One column per quantity, one row per point, beside those of `Embedding.table`."""
        return {"log_px": self.log_px, "log_px_error": self.error, "gap": self.gap}

    def means(self) -> dict[str, float | int | None]:
        """log_px, its error, and gap over all points, as `evaluate` prints them; n_ended if any."""
        exact = self.method == EXACT
        # The points' draws are independent, so the mean's variance is theirs over n squared;
        # errors of a quadrature need not cancel.
        total = self.error.sum() if exact else math.sqrt(np.square(self.error).sum())
        error = float(total) / len(self)
        return {
            "log_px": float(self.log_px.mean()),
            "log_px_error" if exact else "log_px_stderr": error if math.isfinite(error) else None,
            "gap": float(self.gap.mean()) if np.isfinite(self.gap).all() else None,
            **({"n_ended": self.n_ended} if self.n_ended else {}),
        }


def offers_exact(model: VAE) -> bool:
    """Whether the latent space is small enough to integrate over."""
    return model.config.latent_dim <= MOST_DIMENSIONS


@torch.no_grad()
def exact(
    model: VAE,
    dataset: Dataset,
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
    shared: bool = False,
    condition: Condition = OWN_LABEL,
) -> Evidence:
    """`posterior.exact_posterior` of every point.

    Args:
        model: the VAE, of one or two latent dimensions.
        dataset: images of the model's shape.
        tolerance: in nats.
        progress: called with (points done, points in all); what it raises ends the work.
        shared, condition: as in `embedding.embed`.

    Raises:
        UserError: as `exact_posterior` and `condition.labels_for`, or images of another shape than
            the model's.
    """
    rows, labels = rows_of(len(dataset), shared), labels_for(model, dataset, condition)
    found = np.full((len(dataset), 4), math.nan)
    done = 0
    for given, own in by_class(model, labels, rows):
        encoded = [_encode(given, dataset, part)[1:] for part in own.split(_POINTS_AT_ONCE)]
        mu, logvar = map(torch.cat, zip(*encoded, strict=True))
        lattice = Lattice(given)
        for part in _by_place(mu).split(_INTEGRALS_AT_ONCE):
            x = to_unit(dataset.images[own[part]])
            result = exact_posterior(given, x, mu[part], logvar[part], tolerance, lattice)
            kl = gaussian.kl_to_standard_normal(mu[part].double(), logvar[part].double()).sum(1)
            found[own[part].numpy()] = torch.stack(
                [result.log_px, result.error, -result.recon - kl.cpu(), result.ended.double()], 1
            ).numpy()
            done += len(part)
            if progress:
                progress(done, len(rows))
    *columns, ended = together(found[rows.numpy()], shared).T
    return _evidence(dataset, EXACT, 0, 0, np.stack(columns, 1), int(ended.sum()))


@torch.no_grad()
def importance_weighted(
    model: VAE,
    dataset: Dataset,
    n_samples: int,
    seed: int = 0,
    progress: Progress | None = None,
    shared: bool = False,
    condition: Condition = OWN_LABEL,
) -> Evidence:
    """`elbo.importance_weighted_bound` with K = n_samples for every point.

    A point's noise comes from its own index. Arguments as in `embedding.embed`.
    """
    D, labels = model.config.latent_dim, labels_for(model, dataset, condition)
    results = [np.empty((0, 3))]
    # A chunk's noise is drawn whole, so it shrinks as K grows.
    chunk = max(1, min(_POINTS_AT_ONCE, 2**24 // (n_samples * D)))
    rows = rows_of(len(dataset), shared)
    for part in rows.split(chunk):
        x = to_unit(dataset.images[part]).to(model.device)
        eps = gaussian.noise_of_points(part.tolist(), n_samples, D, seed).to(model.device)
        found = importance_weighted_bound(model.given(labels[part]), x, eps)
        columns = torch.stack([found.bound, found.stderr, found.elbo], 1)
        results.append(columns.double().cpu().numpy())
        if progress and len(part):
            progress(int(part[-1]) + 1, len(dataset))
    whole = together(np.concatenate(results), shared)
    return _evidence(dataset, IMPORTANCE_WEIGHTED, n_samples, seed, whole)


def annealed(
    model: VAE,
    dataset: Dataset,
    n_temperatures: int,
    n_chains: int = 32,
    seed: int = 0,
    progress: Progress | None = None,
    shared: bool = False,
    condition: Condition = OWN_LABEL,
) -> Evidence:
    """`annealing.annealed_log_px` of every point; slow, and a reference for many dimensions.

    Arguments as there and in `embedding.embed`.
    """
    rows, labels = rows_of(len(dataset), shared), labels_for(model, dataset, condition)
    columns = np.empty((len(dataset), 3))
    parts = [
        (given, part)
        for given, own in by_class(model, labels, rows)
        for part in own.split(_ANNEALED_AT_ONCE)
        if len(part)
    ]
    n_before = 0
    for given, part in parts:

        def step(done: int, total: int, before: int = n_before, n: int = len(part)) -> None:
            if progress:
                progress(before + n * done // total, len(rows))

        x = to_unit(dataset.images[part]).to(model.device)
        # The first point's index keys the draws, so that a part does not depend on those before.
        stream = torch.Generator(model.device).manual_seed((seed << 32) + int(part[0]))
        found = annealed_log_px(
            given, x, stream, n_chains=n_chains, n_temperatures=n_temperatures, progress=step
        )
        nothing = torch.full_like(found.log_px, math.nan)
        values = torch.stack([found.log_px, found.stderr, nothing], 1)
        columns[part.numpy()] = values.double().cpu().numpy()
        n_before += len(part)
    whole = together(columns[rows.numpy()], shared)
    return _evidence(dataset, ANNEALED, n_chains, seed, whole)


def _encode(model: VAE, dataset: Dataset, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x = to_unit(dataset.images[rows])
    mu, logvar = model.encode(x.to(model.device))
    return x, mu.cpu(), logvar.cpu()


def _by_place(mu: Tensor) -> Tensor:
    """The rows in an order that keeps neighbours together: along a Z-curve (Morton, 1966)."""
    n, D = mu.shape
    # Ranks, not values: dense regions are told apart as well.
    ranks = mu.argsort(0).argsort(0) * 1024 // max(n, 1)  # (n, D), ten bits each
    code = torch.zeros(n, dtype=torch.int64)
    for bit in range(10):
        for d in range(D):
            code |= (ranks[:, d] >> bit & 1) << (bit * D + d)
    return code.argsort(stable=True)


def _evidence(
    dataset: Dataset,
    method: str,
    n_samples: int,
    seed: int,
    columns: np.ndarray,
    n_ended: int = 0,
) -> Evidence:
    log_px, error, elbo = np.ascontiguousarray(columns.T)
    origin = dataset.name, dataset.split, method, n_samples, seed
    return Evidence(*origin, log_px, error, elbo, dataset.fingerprint, n_ended)
