"""What a page asks, answered in one sentence for a point or a data set seen through a model."""

import numpy as np

from vae.analysis.embedding import Embedding
from vae.analysis.traversal import by_kl
from vae.wording import IMAGES, Words

NEIGHBOURS, LEAST_NEIGHBOURS = 20, 5  # fewer than 20 where they were over a tenth of the points
MOSTLY = 0.6  # of them are of one class: the point lies among its points
_SHORT = 2  # characters: classes called so are spoken of as "a 4", "the 0s"


def where(embedding: Embedding, index: int, words: Words = IMAGES) -> str:
    """Among which classes a point's mu lies, and what it costs.

    Args:
        embedding: N points.
        index: of the point, from 0 to N - 1.
        words: for what the data are.
    """
    cost, share = embedding.neg_elbo[index], (embedding.neg_elbo < embedding.neg_elbo[index]).mean()
    return (
        f"{_among(embedding, index)}costs {cost:.2f} nats, more than {share:.1%} of the "
        f"{words.points}: recon {embedding.recon[index]:.2f} + KL {embedding.kl[index]:.2f}."
    )


def _among(embedding: Embedding, index: int) -> str:
    names, labels = embedding.class_names, embedding.labels
    mu = embedding.mu.astype(np.float64)  # of a broken model they are beyond any float32 squared
    if not np.isfinite(mu[index]).all():
        return f"Point {index:,}, whose μ is not finite, "
    distance = np.square(mu - mu[index]).sum(1)
    nearest = np.argsort(distance, kind="stable")
    n = min(NEIGHBOURS, max(LEAST_NEIGHBOURS, len(mu) // 10))
    nearest = nearest[nearest != index][:n]
    if not (_has_classes(embedding) and len(nearest)):
        return f"Point {index:,} "
    counts = np.bincount(labels[nearest], minlength=len(names))
    first, second = np.argsort(-counts, kind="stable")[:2]
    if counts[first] >= MOSTLY * len(nearest):
        place = f"among {_many(names[first])}"
    else:
        place = f"where {_many(names[first])} and {_many(names[second])} mix"
    return f"Point {index:,}, {_one(names[labels[index]])} {place}, "


def _has_classes(embedding: Embedding) -> bool:
    return bool(embedding.labels.min() != embedding.labels.max())


def _one(name: str) -> str:
    if len(name) > _SHORT:
        return f"of class {name},"
    return f"{'an' if name in ('8', '11', '18') else 'a'} {name}"


def _many(name: str) -> str:
    return f"{name}s" if len(name) <= _SHORT else f"points of {name}"


def costs(embedding: Embedding, words: Words = IMAGES) -> str:
    """What points cost, which costs most, and how much of it is KL."""
    cost = embedding.neg_elbo
    worst = int(np.argmax(cost))
    mean, kl = (float(values.mean(dtype=np.float64)) for values in (cost, embedding.kl))
    of_kl = f" On average {kl / mean:.0%} of it is KL." if mean and 0 <= kl / mean <= 1 else ""
    name = embedding.class_names[embedding.labels[worst]]
    kind = f", {_one(name).rstrip(',')}," if _has_classes(embedding) else ""
    return (
        f"Half of the {len(cost):,} {words.points} cost less than {np.median(cost):.2f} nats; "
        f"point {worst:,}{kind} costs most, {cost[worst]:.2f}.{of_kl}"
    )


def dimensions(embedding: Embedding, unused: float, words: Words = IMAGES) -> str:
    """How the KL is shared among the latent dimensions.

    Args:
        embedding: N points.
        unused: mean KL in nats below which a dimension counts as unused.
        words: for what the data are.
    """
    order, kl = by_kl(embedding)
    D, used = len(kl), int((kl > unused).sum())
    if D == 1:
        return f"The one dimension costs {kl[0]:.2f} nats of KL per {words.point}."
    most = int(order[0])
    in_use = f"All {D} dimensions are" if used == D else f"{used} of {D} dimensions are"
    return (
        f"{in_use} in use; z{most + 1} carries most, {kl[most]:.2f} of the {kl.sum():.2f} nats of "
        f"KL per {words.point}."
    )


def gap(index: int, lost: float, by_the_best: float | None) -> str:
    """What q costs a point beyond -log p(x), equation (8).

    Args:
        index: of the point.
        lost: KL(q(z|x), p(z|x)) of the encoder's q, nats.
        by_the_best: of the best Gaussian that was found; None while it is not known.
    """
    text = f"On point {index:,} the encoder's q loses {max(lost, 0.0):.2f} nats"
    if by_the_best is None:
        return f"{text} of log p(x)."
    return f"{text} of log p(x); the best Gaussian would lose {max(by_the_best, 0.0):.2f}."
