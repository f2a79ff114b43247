"""What can be measured of a checkpoint's health: its units, its map, its pixels, its outliers.

What the measurements amount to is told by `vae.analysis.diagnosis`.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from vae.analysis.embedding import Embedding
from vae.config import IMAGE, ModelConfig
from vae.core import gaussian
from vae.core.elbo import decodes_at_once
from vae.core.likelihood import Gaussian, Measured, likelihood_of
from vae.core.model import VAE
from vae.data.dataset import Dataset, to_unit
from vae.errors import UserError
from vae.inference.condition import OWN_LABEL, Condition, labels_for


class Neighbourhood(NamedTuple):
    """How much of the images' neighbourhoods a latent space keeps.

    Attributes:
        knn_accuracy: share of the points whose label is that of most of their nearest others.
        trustworthiness: 1 if no point has neighbours in the latent space that are far in pixels.
    """

    knn_accuracy: float
    trustworthiness: float


def neighbourhood(
    mu: np.ndarray, labels: np.ndarray, images: np.ndarray, k: int = 5, n_neighbours: int = 12
) -> Neighbourhood:
    """Leave-one-out nearest-neighbour accuracy, and trustworthiness (Venna & Kaski, 2001).

    Memory grows with the square of N: about 2 GB for 10,000 points.

    Args:
        mu: where the points lie, shape (N, D).
        labels: shape (N,).
        images: any numbers, shape (N, ...); their distance is Euclidean. One that is missing (NaN)
            counts as the mean of the other points'.
        k: neighbours that vote.
        n_neighbours: whose trustworthiness is asked.

    Raises:
        UserError: too few points for so many neighbours.
    """
    N = len(mu)
    if min(k, n_neighbours) < 1 or max(k, 2 * n_neighbours) >= N:
        raise UserError(f"{N} points are too few for {k} and {n_neighbours} neighbours")
    # Asked about no point in particular, each is left out of its own neighbours.
    others = NearestNeighbors(n_neighbors=k).fit(mu).kneighbors(return_distance=False)
    votes = labels[others]  # (N, k)
    winners = np.array([np.bincount(row).argmax() for row in votes])
    flat = _filled(images).astype(np.float32)
    return Neighbourhood(
        float((winners == labels).mean()),
        float(trustworthiness(flat, mu, n_neighbors=n_neighbours)),
    )


def _filled(x: np.ndarray) -> np.ndarray:
    """Points as rows, float64, (N, n): what is missing has the mean of its column."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    missing = np.isnan(flat)
    if not missing.any():
        return flat
    means = np.where(missing, 0, flat).sum(0) / np.maximum((~missing).sum(0), 1)
    return np.where(missing, means, flat)


class Map(NamedTuple):
    """How well one map keeps what belongs together.

    Attributes:
        knn_accuracy, trustworthiness: as in Neighbourhood.
        silhouette: how much nearer a point's own class is than the next, -1 to 1 (Rousseeuw, 1987);
            NaN where there are not two classes.
    """

    knn_accuracy: float
    trustworthiness: float
    silhouette: float


class MapsCompared(NamedTuple):
    """The latent space beside the principal components of the same images.

    Attributes:
        model: of mu.
        pca: of as many principal components of the pixels.
        chance: share of the points that the largest class has.
        rows: which points, drawn from all, shape (n,).
        components: where PCA puts them, (n, at most D).
    """

    model: Map
    pca: Map
    chance: float
    rows: np.ndarray
    components: np.ndarray


def beside_pca(
    mu: np.ndarray, labels: np.ndarray, images: np.ndarray, most: int = 2000, seed: int = 0
) -> MapsCompared:
    """Neighbourhoods on the map of mu and on that of PCA, for the same points.

    Args:
        mu: shape (N, D).
        labels: shape (N,).
        images: as there.
        most: points that are looked at, at most: work and memory grow with their square.
        seed: of their choice.

    Raises:
        UserError: as `neighbourhood`.
    """
    N, D = mu.shape
    rows = np.sort(np.random.default_rng(seed).permutation(N)[:most])
    mu, labels, images = mu[rows], labels[rows], images[rows]
    flat = _filled(images)
    components = PCA(min(D, *flat.shape), svd_solver="full", random_state=0).fit_transform(flat)
    return MapsCompared(
        model=_map(mu, labels, images),
        pca=_map(components, labels, images),
        chance=float(np.unique(labels, return_counts=True)[1].max() / len(labels)),
        rows=rows,
        components=components,
    )


def _map(places: np.ndarray, labels: np.ndarray, images: np.ndarray) -> Map:
    found = neighbourhood(places, labels, images)
    divides = 1 < len(np.unique(labels)) < len(labels)
    return Map(*found, float(silhouette_score(places, labels)) if divides else math.nan)


class Units(NamedTuple):
    """What each latent dimension does over a data set.

    Attributes:
        kl: mean KL of the dimension, shape (D,), nats per image.
        kl_sd: its standard deviation over the points, (D,).
        kl_quantiles: its 5th, 50th and 95th percentile, (3, D).
        variance: Var_x[mu] of the dimension, (D,).
    """

    kl: np.ndarray
    kl_sd: np.ndarray
    kl_quantiles: np.ndarray
    variance: np.ndarray

    def active_by_variance(self, threshold: float) -> np.ndarray:
        """Which dimensions move with x (Burda et al., 2016, section 5.2), bool (D,)."""
        return self.variance > threshold

    def active_by_kl(self, threshold: float) -> np.ndarray:
        """Which dimensions cost more than `threshold` nats on average, bool (D,)."""
        return self.kl > threshold


def units(mu: np.ndarray, kl_per_dim: np.ndarray) -> Units:
    """Means and spreads over the points; not finite where one of them is not.

    Args:
        mu: shape (N, D).
        kl_per_dim: shape (N, D), nats.
    """
    kl = kl_per_dim.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return Units(
            kl=kl.mean(0),
            kl_sd=kl.std(0),
            kl_quantiles=np.percentile(kl, (5, 50, 95), axis=0),
            variance=mu.astype(np.float64).var(0),
        )


class Reliability(NamedTuple):
    """Whether pixels are as bright as the model says: one entry per bin of what it says.

    Attributes:
        count: pixels in the bin, shape (n_bins,).
        predicted: their mean E[x|z], NaN in an empty bin.
        observed: their mean x.
    """

    count: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error, 0 to 1 (Naeini et al., 2015)."""
        return float(np.nansum(self.count * np.abs(self.observed - self.predicted))) / float(
            self.count.sum()
        )


class Residuals(NamedTuple):
    """Whether pixels scatter as the model says: r = (x - E[x|z]) / s against N(0, 1).

    Attributes:
        edges, density: their histogram, shapes (n_bins + 1,) and (n_bins,).
        mean, sd: 0 and 1 where the model is right.
        nominal, covered: the share that central intervals should hold, and do, each (n,).
    """

    edges: np.ndarray
    density: np.ndarray
    mean: float
    sd: float
    nominal: np.ndarray
    covered: np.ndarray

    @property
    def error(self) -> float:
        """The mean distance of `covered` from `nominal`, 0 to 1 (Kuleshov et al., 2018)."""
        return float(np.abs(self.covered - self.nominal).mean())


def reliability(predicted: np.ndarray, observed: np.ndarray, n_bins: int = 15) -> Reliability:
    """Bins of equal width over [0, 1].

    Args:
        predicted, observed: one value per pixel, in [0, 1], of the same shape.
        n_bins: how many.
    """
    predicted, observed = predicted.ravel(), observed.ravel()
    bins = np.clip((predicted * n_bins).astype(int), 0, n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    sums = [np.bincount(bins, values, minlength=n_bins) for values in (predicted, observed)]
    means = [np.where(count > 0, total / np.maximum(count, 1), np.nan) for total in sums]
    return Reliability(count, *means)


def residuals(standardised: np.ndarray, n_bins: int = 81) -> Residuals:
    """The distribution of standardised residuals, of any shape."""
    r = standardised.ravel().astype(np.float64)
    edges = np.linspace(-4, 4, n_bins + 1)
    density = np.histogram(r, edges)[0] / len(r) / np.diff(edges)
    nominal = np.linspace(0.05, 0.95, 19)
    half_width = torch.special.ndtri(torch.from_numpy((1 + nominal) / 2)).numpy()
    covered = np.searchsorted(np.sort(np.abs(r)), half_width, side="right") / len(r)
    return Residuals(edges, density, float(r.mean()), float(r.std()), nominal, covered)


@torch.no_grad()
def calibration(
    model: VAE,
    embedding: Embedding,
    dataset: Dataset,
    most: int = 1000,
    seed: int = 0,
    condition: Condition = OWN_LABEL,
) -> Reliability | Residuals:
    """The likelihood against the pixels, with one z ~ q(z|x) for each image.

    Args:
        model: the VAE.
        embedding: the data set seen through it.
        dataset: the images.
        most: images that are looked at, at most.
        seed: of their choice; z is the first draw behind the stored terms.
        condition: as in `embed`, and the one that the embedding was made with.

    Returns:
        Residuals where p(x|z) is normal or of numbers of several kinds, each in units of its own
        standard deviation; Reliability of pixels, and of numbers that are all 0 or 1.

    Raises:
        UserError: the model's output is not finite.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(embedding))[:most])
    n_at_once = decodes_at_once(model)
    predicted, observed, spreads = [], [], []
    labels = labels_for(model, dataset, condition)
    for part in np.array_split(rows, -(-len(rows) // n_at_once)):
        mu, logvar = (torch.from_numpy(v[part]) for v in (embedding.mu, embedding.logvar))
        eps = gaussian.noise_of_points(part.tolist(), 1, embedding.latent_dim, embedding.seed)[0]
        z = gaussian.reparameterise(mu, logvar, eps).to(model.device)
        given = model.given(labels[torch.from_numpy(part)])
        raw = given.decode(z)
        predicted.append(model.likelihood.mean(raw).cpu().numpy())
        if isinstance(model.likelihood, Measured):
            spreads.append(model.likelihood.variance(raw).sqrt().cpu().numpy())
        observed.append(to_unit(dataset.images[torch.from_numpy(part)]).numpy())
    p, x = np.concatenate(predicted), np.concatenate(observed)
    if not np.isfinite(p).all():
        raise UserError("the decoder's output is not finite")
    if isinstance(model.likelihood, Gaussian):
        return residuals((x - p) * math.exp(-float(model.likelihood.logvar_x) / 2))
    if isinstance(model.likelihood, Measured):
        seen = ~np.isnan(x)
        if set(model.likelihood.families) == {"bernoulli"}:
            return reliability(p[seen], x[seen])
        return residuals((x[seen] - p[seen]) / np.concatenate(spreads)[seen])
    return reliability(p, x)


def cost_without_z(dataset: Dataset, likelihood: str, is_given_label: bool = False) -> float | None:
    """-log p(x) of the best model that knows nothing of x but the mean image, nats per image.

    A VAE whose -ELBO is no lower has learnt nothing else.

    Args:
        dataset: the images.
        likelihood: of `config.LIKELIHOODS`, or MEASURED_LIKELIHOODS.
        is_given_label: the model knows each image's label as well: it has a mean image per class.

    Returns:
        None for the continuous Bernoulli, whose best mean has no closed form.
    """
    labels = dataset.labels if is_given_label else torch.zeros_like(dataset.labels)
    groups = [dataset.images[labels == label] for label in labels.unique()]
    shares = [len(x) / len(dataset) for x in groups]
    if dataset.kind != IMAGE:
        return _cost_of_constants(dataset, likelihood, labels)
    if likelihood == "bernoulli":
        # The cross-entropy is linear in x, so that grey pixels cost what their mean does.
        means = [(x.sum(0, dtype=torch.float64) / (255 * len(x))).clamp(0, 1) for x in groups]
        costs = [-(torch.xlogy(m, m) + torch.xlogy(1 - m, 1 - m)).sum() for m in means]
        return float(sum(share * cost for share, cost in zip(shares, costs, strict=True)))
    if likelihood == "gaussian":
        within = [_mean_variance(x) for x in groups]
        s2 = sum(share * variance for share, variance in zip(shares, within, strict=True))
        n = math.prod(dataset.image_shape)
        return n * (gaussian.LOG_2PI + math.log(max(s2, 1e-12)) + 1) / 2
    return None


def _cost_of_constants(dataset: Dataset, likelihood: str, labels: torch.Tensor) -> float:
    """The same of vectors and series: the best constants of their likelihood, by a search."""
    shape = dataset.image_shape
    config = ModelConfig(shape, likelihood=likelihood, kind=dataset.kind, features=dataset.features)
    groups, of = labels.unique(return_inverse=True)
    x, found = dataset.images.double(), likelihood_of(config).double()
    raw = torch.zeros(len(groups), *shape, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [raw, *found.parameters()], max_iter=200, line_search_fn="strong_wolfe"
    )

    def cost() -> torch.Tensor:
        return -found.log_prob(x, raw[of]).sum() / len(x)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = cost()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return float(cost().detach())


def _mean_variance(images: torch.Tensor) -> float:
    """Of the pixels over the images, a channel at a time: doubles take eight times the room."""
    of_channels = [to_unit(x).double().var(0, correction=0) for x in images.unbind(1)]
    return float(torch.stack(of_channels).mean())


def modified_z(values: np.ndarray) -> np.ndarray:
    """How far each value lies from the median, in units that outliers do not stretch.

    0.6745 (v - median) / median absolute deviation: about standard deviations where the values are
    normal, and above 3.5 an outlier (Iglewicz & Hoaglin, 1993).

    Args:
        values: shape (N,).

    Returns:
        Shape (N,); 0 where there is no deviation.
    """
    away = values.astype(np.float64) - np.median(values)
    deviation = np.median(np.abs(away))
    return 0.6745 * away / deviation if deviation > 0 else np.zeros(len(values))
