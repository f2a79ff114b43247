"""Lesson: why the KL between two Gaussians has a closed form; equations (1) to (6)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae.core import gaussian
from vae.lessons import kl_steps
from vae.lessons.gaussian_pair import Pair
from vae.lessons.kl_steps import MOST_SHOWN, matrix, number, sampled, vector
from vae.lessons.lesson import PAIR, Lesson, Part, Question, Step

N_DRAWS = 10_000
_QUESTION, _DENSITIES, _RATIO, _FIRST, _SECOND, _TOGETHER, _OTHER_WAY, _SPECIAL = range(8)


class Draws(NamedTuple):
    """L draws x of P, as they are away from its mean.

    Attributes:
        away: x - mu1, (L, k).
        by_1, by_2: S1^-1 (x - mu1) and S2^-1 (x - mu1), (L, k).
    """

    away: Tensor
    by_1: Tensor
    by_2: Tensor


def draws(pair: Pair, n: int = N_DRAWS, seed: int = 0) -> Draws:
    """Those behind `kl_steps.steps` of the same n and seed. Raises UserError as `kl_parts`."""
    L1, L2 = gaussian.cholesky(pair.cov1, "cov1"), gaussian.cholesky(pair.cov2, "cov2")
    eps = gaussian.draw((n, pair.k), torch.Generator().manual_seed(seed)).to(L1.dtype)
    away = eps @ L1.mT  # (L, k)
    return Draws(away, *(torch.cholesky_solve(away.mT, factor).mT for factor in (L1, L2)))


def difference_by_2(pair: Pair) -> Tensor:
    """S2^-1 (mu1 - mu2), (k,)."""
    L2 = gaussian.cholesky(pair.cov2, "cov2")
    return torch.cholesky_solve((pair.mu1 - pair.mu2)[:, None], L2)[:, 0]


def _of(place: int):
    return lambda pair: kl_steps.steps(pair, N_DRAWS)[place]


def _mean(values: Tensor) -> str:
    return sampled(values.mean(), values.std() / math.sqrt(len(values)), len(values))


def _one_draw(pair: Pair) -> tuple[str, ...]:
    drawn = draws(pair)
    square = number(drawn.away[0] @ drawn.by_1[0])
    first = (rf"x - \mu_1 = {vector(drawn.away[0])}",) if pair.k <= MOST_SHOWN else ()
    return (
        *first,
        rf"(x-\mu_1)^\top \Sigma_1^{{-1}} (x-\mu_1) = {square} = \mathrm{{tr}}\,({square})",
    )


def _in_a_circle(pair: Pair) -> tuple[str, ...]:
    drawn = draws(pair)
    product = torch.outer(drawn.by_1[0], drawn.away[0])  # S1^-1 (x - mu1) (x - mu1)'
    shown = rf" = \mathrm{{tr}} {matrix(product)}" if pair.k in (2, 3) else ""
    return (rf"{number(drawn.away[0] @ drawn.by_1[0])}{shown} = {number(product.trace())}",)


def _outer_product(pair: Pair) -> tuple[str, ...]:
    away = draws(pair).away
    found = away.mT @ away / len(away)
    if pair.k > MOST_SHOWN:
        worst = number((found - pair.cov1).abs().max())
        return (rf"\text{{{len(away):,} draws: no entry is off by more than }} {worst}",)
    return (
        rf"\text{{{len(away):,} draws: }} {matrix(found)} \qquad \Sigma_1 = {matrix(pair.cov1)}",
    )


def _cross_terms(pair: Pair) -> tuple[str, ...]:
    cross = draws(pair).away @ difference_by_2(pair)
    return (
        rf"\text{{one draw: }} {number(cross[0])} \qquad {_mean(cross)}",
        r"\text{the other one is its mirror image: the same number}",
    )


def _trace(pair: Pair) -> tuple[str, ...]:
    drawn = draws(pair)
    parts = gaussian.kl_parts(*pair)
    return (
        rf"\mathrm{{tr}}\left( \Sigma_1 \Sigma_2^{{-1}} \right) = {number(parts.trace)} \qquad "
        + _mean((drawn.away * drawn.by_2).sum(-1)),
    )


def _mahalanobis(pair: Pair) -> tuple[str, ...]:
    parts = gaussian.kl_parts(*pair)
    first = (rf"\mu_1-\mu_2 = {vector(pair.mu1 - pair.mu2)} \qquad ",) if pair.k <= 3 else ("",)
    return (
        first[0] + r"(\mu_1-\mu_2)^\top \Sigma_2^{-1} (\mu_1-\mu_2) = " + number(parts.mahalanobis),
    )


def _diagonal_case(pair: Pair) -> tuple[str, ...]:
    """Equation (6) for P's own diagonal, whatever Q is."""
    each = gaussian.kl_to_standard_normal(pair.mu1[None], pair.cov1.diagonal().log()[None])[0]
    summed = " + ".join(map(number, each)) + " = " if 1 < pair.k <= 6 else ""
    return (
        rf"\text{{with }} P\text{{'s mean and variances: }} {summed}{number(each.sum())} "
        r"\text{ nats}",
    )


def _kl(pair: Pair) -> float:
    return float(gaussian.kl_between(*pair))


def _kl_back(pair: Pair) -> float:
    return float(gaussian.kl_between(*pair.swapped))


FORWARD, BACKWARD, EQUAL = "KL(P, Q)", "KL(Q, P)", "both are equal"


def _greater(pair: Pair) -> str:
    there, back = _kl(pair), _kl_back(pair)
    if math.isclose(there, back, rel_tol=1e-6, abs_tol=1e-9):
        return EQUAL
    return FORWARD if there > back else BACKWARD


def _both(pair: Pair) -> str:
    return f"KL(P, Q) is {_kl(pair):.3f} nats, KL(Q, P) {_kl_back(pair):.3f}."


LESSON = Lesson(
    key="closed-form",
    title="Closed form",
    question="Why does the KL between two Gaussians need no integral?",
    minutes=50,
    subject=PAIR,
    symbols=("P, Q", "μ", "Σ", "k", "E", "tr", "KL", "nats", "φ", "θ"),
    steps=(
        Step(
            "question",
            "The question",
            Part.PLANE,
            derived=_of(_QUESTION),
            predict=Question(
                "greater",
                "Draws come from P or from Q. Which of the two KLs is the greater?",
                _greater,
                _both,
                (FORWARD, BACKWARD, EQUAL),
            ),
            do="Drag a mean, or an axis by its end.",
        ),
        Step("densities", "Two logarithms", Part.PLANE, derived=_of(_DENSITIES)),
        Step(
            "expectations",
            "Two expectations",
            Part.PLANE,
            derived=_of(_RATIO),
            do="Make Q larger in every direction: the logarithm of the volumes' ratio grows.",
        ),
        Step(
            "scalar",
            "A number is its own trace",
            Part.PLANE,
            "The first squared distance is a number: a row times a matrix times a column. A number "
            "is a matrix of one entry, and the trace of that is the number.",
            r"(x-\mu_1)^\top \Sigma_1^{-1} (x-\mu_1) "
            r"= \mathrm{tr}\left( (x-\mu_1)^\top \Sigma_1^{-1} (x-\mu_1) \right)",
            _one_draw,
        ),
        Step(
            "cyclic",
            "A trace may be read in a circle",
            Part.PLANE,
            "The last factor may come first: $\\mathrm{tr}(ABC) = \\mathrm{tr}(CAB)$. The row and "
            "the column now stand side by side, and make a matrix, their outer product.",
            r"\mathrm{tr}\left( (x-\mu_1)^\top \Sigma_1^{-1} (x-\mu_1) \right) "
            r"= \mathrm{tr}\left( \Sigma_1^{-1} (x-\mu_1)(x-\mu_1)^\top \right)",
            _in_a_circle,
        ),
        Step(
            "outer",
            "The mean outer product",
            Part.PLANE,
            "A trace is a sum, so the expectation moves inside it, past $\\Sigma_1^{-1}$, which is "
            "not random. What it meets is the mean outer product: by definition the covariance.",
            r"E_P\left[ (x-\mu_1)(x-\mu_1)^\top \right] = \Sigma_1",
            _outer_product,
            do="Tilt P: the entry off the diagonal follows.",
        ),
        Step(
            "identity",
            "The trace of the identity",
            Part.PLANE,
            derived=_of(_FIRST),
            predict=Question(
                "k",
                "What is the mean squared distance of P's draws from P's own mean, measured "
                "in P's standard deviations?",
                lambda pair: float(pair.k),
                lambda pair: f"the trace of the identity in {pair.k} dimensions, whatever P is.",
                unit="",
            ),
        ),
        Step(
            "cross",
            "Two terms that vanish",
            Part.PLANE,
            "The second distance is from the other's mean. Go by way of $\\mu_1$: the square of a "
            "sum has two cross terms. Each is linear in $x - \\mu_1$, whose mean is zero, and all "
            "else in it is fixed. So both vanish on average, though not for any one draw.",
            r"E_P\left[ (x-\mu_1)^\top \right] \Sigma_2^{-1} (\mu_1-\mu_2) = 0",
            _cross_terms,
        ),
        Step(
            "trace",
            "The trace of both covariances",
            Part.PLANE,
            "What is left of the square are two terms. The first is P's spread, in Q's standard "
            "deviations: the same four moves as before, but the covariance now meets the other's "
            "inverse.",
            r"E_P (x-\mu_1)^\top \Sigma_2^{-1} (x-\mu_1) "
            r"= \mathrm{tr}\left( \Sigma_2^{-1} \Sigma_1 \right)",
            _trace,
        ),
        Step(
            "mahalanobis",
            "The Mahalanobis term",
            Part.PLANE,
            "The second is the way between the means, squared, in Q's standard deviations. Nothing "
            "in it is random.",
            r"E_P (\mu_1-\mu_2)^\top \Sigma_2^{-1} (\mu_1-\mu_2) "
            r"= (\mu_1-\mu_2)^\top \Sigma_2^{-1} (\mu_1-\mu_2)",
            _mahalanobis,
            do="Lay one mean on the other: the term is zero.",
        ),
        Step("second", "From the other's mean", Part.PLANE, derived=_of(_SECOND)),
        Step("together", "Put together", Part.PLANE, derived=_of(_TOGETHER)),
        Step("other-way", "The other way", Part.PLANE, derived=_of(_OTHER_WAY)),
        Step(
            "diagonal",
            "Against the prior",
            Part.PLANE,
            "A VAE's encoder gives a diagonal $P = q(z|x)$, and its prior is $Q = p(z) = N(0, I)$. "
            "The determinant is then a product, the trace a sum, and the KL falls apart into one "
            "term per dimension: equation (6), the second term of the loss.",
            r"\mathrm{KL}\left( N(\mu, \mathrm{diag}\,\sigma^2), N(0, I) \right) = \tfrac12 "
            r"\sum_{i=1}^{k} \left( -\log \sigma_i^2 - 1 + \sigma_i^2 + \mu_i^2 \right)",
            _diagonal_case,
        ),
    ),
    questions=(
        Question(
            "value",
            "What is KL(P, Q) now? Add up the four terms.",
            _kl,
            lambda pair: (
                "half of "
                + " + ".join(f"({float(term):.3f})" for term in gaussian.kl_parts(*pair))
                + "."
            ),
        ),
        Question(
            "identical",
            "If Q were laid upon P, how large would the trace term alone be?",
            lambda pair: float(pair.k),
            lambda pair: (
                "the covariance meets its own inverse, and the trace of the identity is "
                "the number of dimensions."
            ),
            unit="",
        ),
        Question(
            "direction",
            "Which way costs more?",
            _greater,
            _both,
            (FORWARD, BACKWARD, EQUAL),
        ),
    ),
    teacher=(
        "Begin with the plane alone: let the class say which way costs more before any formula.",
        "The map is the integrand of equation (1): where a draw costs, and where it gains.",
        "Write the two log densities on the board; the class says what cancels.",
        "The trace looks like a trick. Say what it is for: the random part stands in one place.",
        "Ask for the cyclic property in words before you show it: who may stand first?",
        "At the identity, make P thin and tilted: k does not move. That is the surprise.",
        "The cross terms vanish on average only: show one draw's number beside the mean.",
        "Near-singular Gaussians make one direction explode and the other not: use the preset.",
        "End at the diagonal case and open lesson c, where the same terms are a digit's price.",
        "φ is the encoder's, θ the decoder's; one of the usual notes swaps them once.",
    ),
)
