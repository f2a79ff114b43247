"""The same network trained by several objectives: what each got, and what the bound cost."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from vae.analysis.aggregate import information
from vae.analysis.embedding import Embedding
from vae.config import ELBO, EVIDENCE, TrainConfig
from vae.inference.evidence import Evidence
from vae.wording import IMAGES, Words

_MOST_POINTS = 5000  # whose q make up q(z): each draw is held against all of them


class Outcome(NamedTuple):
    """What a training by one objective came to; means over the points, in nats per image.

    Attributes:
        objective: one of `config.OBJECTIVES`.
        neg_log_px: -log p(x), and `gap` between it and -ELBO; None where it is not known.
        neg_elbo, recon, kl: the terms of the bound.
        area: the share of the prior's mass that q(z) fills: exp(-KL(q(z), p(z))), which is exactly
            that where q(z) is the prior cut to a part of the latent space.
    """

    objective: str
    neg_log_px: float | None
    neg_elbo: float
    gap: float | None
    recon: float
    kl: float
    area: float


def outcome(train: TrainConfig, embedding: Embedding, evidence: Evidence | None) -> Outcome:
    """Of a run's held-out points."""
    means = embedding.means()
    known = evidence.means() if evidence else {"log_px": None, "gap": None}
    log_px = known["log_px"]
    return Outcome(
        train.objective,
        None if log_px is None else -log_px,
        means["neg_elbo"],
        known["gap"],
        means["recon"],
        means["kl"],
        filled(embedding),
    )


def filled(embedding: Embedding) -> float:
    """The share of the prior's mass that q(z) fills, from 0 to 1: see `Outcome`."""
    mu, logvar = (torch.from_numpy(v[:_MOST_POINTS]) for v in (embedding.mu, embedding.logvar))
    return min(1.0, math.exp(-information(mu, logvar).marginal))


def differ_in_objective_alone(first: TrainConfig, second: TrainConfig) -> bool:
    """Whether two trainings have all else in common that bears on what a model can learn."""
    free = {"objective": first.objective, "epochs": first.epochs, "seed": first.seed}
    free |= {name: getattr(first, name) for name in _OF_AN_OBJECTIVE}
    return dataclasses.asdict(first) == dataclasses.asdict(second) | free


# Settings that only some objectives read, or that each wants otherwise.
_OF_AN_OBJECTIVE = (
    *("importance_samples", "lattice_points", "elbo_share"),
    *("batch_size", "precision", "kl_warmup", "free_bits", "binarise", "max_grad_norm"),
)


def in_words(outcomes: Sequence[Outcome], words: Words = IMAGES) -> str:
    """What the bound cost, as a paragraph; "" where too little is known for one."""
    known = [
        (o.neg_log_px, o.gap, o) for o in outcomes if o.neg_log_px is not None and o.gap is not None
    ]
    bounds = [found for found in known if found[2].objective == ELBO]
    others = [found for found in known if found[2].objective != ELBO]
    if not bounds or not others:
        return ""
    (cost, gap, by_bound), (least, its_gap, best) = bounds[0], min(others)
    gain = cost - least
    name = "log p(x) itself" if best.objective == EVIDENCE else best.objective
    first = (
        f"Trained by the bound, the network explains {words.a_point} in {cost:.2f} nats; trained "
        f"by {name}, in {least:.2f}: "
    )
    first += (
        f"the bound cost {gain:.2f} nats. "
        if gain > 0
        else f"the bound cost nothing here ({gain:+.2f} nats). "
    )
    second = (
        f"The bound keeps posteriors that a Gaussian can follow: its gap is {gap:.2f} nats, that "
        f"of the other {its_gap:.2f}. "
        if its_gap > gap
        else f"Their gaps are {gap:.2f} and {its_gap:.2f} nats. "
    )
    third = (
        f"Of the prior's mass q(z) fills {by_bound.area:.0%} by the bound and {best.area:.0%} by "
        "the other."
    )
    return first + second + third
