"""The KL between two Gaussians derived step by step, with a pair's own numbers put in.

Formulas are KaTeX, numbers are in nats and come from `vae.core.gaussian`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vae.core import gaussian
from vae.core.gaussian import KLParts, KLSample
from vae.lessons.gaussian_pair import Pair

MOST_SHOWN = 3  # dimensions; a larger matrix is not written out


@dataclass(frozen=True)
class Loss:
    """The terms of one point, in nats per image: where the KL of equation (6) enters the loss.

    Attributes:
        point: its index.
        recon: -E_q log p(x|z).
        kl: KL(q(z|x), p(z)) over all latent dimensions.
    """

    point: int
    recon: float
    kl: float


@dataclass(frozen=True)
class Step:
    """One step of the derivation.

    Attributes:
        title: a few words.
        text: Markdown, why the step holds.
        formula: KaTeX, what it says of any pair.
        numbers: KaTeX, the same with this pair's numbers; one entry per line.
        shown: the part of the page that shows it: "map", "terms", "samples" or "special".
    """

    title: str
    text: str
    formula: str
    numbers: tuple[str, ...]
    shown: str


def steps(
    pair: Pair, n_samples: int = 10_000, seed: int = 0, loss: Loss | None = None
) -> tuple[Step, ...]:
    """Equations (1) to (6) for the pair, in order.

    Args:
        pair: P and Q.
        n_samples: L, behind the numbers that check a step by sampling from P.
        seed: of those samples.
        loss: the terms of the point whose posterior P is, if it is one.

    Raises:
        UserError: as `gaussian.kl_parts`.
    """
    there, back = gaussian.kl_parts(*pair), gaussian.kl_parts(*pair.swapped)
    generator = torch.Generator().manual_seed(seed)
    sample = gaussian.sample_kl(*pair, n_samples, generator)
    return (
        _question(pair, there, back),
        _densities(pair),
        _ratio(pair, there),
        _first_expectation(pair, there, sample, n_samples),
        _second_expectation(there, sample, n_samples),
        _together(there, sample, n_samples),
        _other_way(there, back),
        _special(pair, loss),
    )


def number(value: Tensor | float) -> str:
    """A term as the page writes it: three decimals, or four digits where they would not do."""
    value = float(value)
    if not math.isfinite(value):  # of a training that diverged
        return r"\text{not a number}" if math.isnan(value) else rf"{'-' * (value < 0)}\infty"
    if abs(value) >= 1e4:
        mantissa, exponent = f"{value:.3e}".split("e")
        return rf"{mantissa} \times 10^{{{int(exponent)}}}"
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text


def _question(pair: Pair, there: KLParts, back: KLParts) -> Step:
    numbers = (
        rf"\mathrm{{KL}}(P, Q) = {number(there.kl)} \text{{ nats}} \qquad "
        rf"\mathrm{{KL}}(Q, P) = {number(back.kl)} \text{{ nats}}",
    )
    if pair.k <= MOST_SHOWN:
        numbers = (
            rf"\mu_1 = {vector(pair.mu1)} \quad \Sigma_1 = {matrix(pair.cov1)} \qquad "
            rf"\mu_2 = {vector(pair.mu2)} \quad \Sigma_2 = {matrix(pair.cov2)}",
            *numbers,
        )
    return Step(
        "The question",
        "Somebody draws $x$ from $P$, and we describe it as if it came from $Q$. At this $x$ that "
        "costs $\\log P(x) - \\log Q(x)$ nats more than the truth would: a loss where $P$ is the "
        "denser, a gain where $Q$ is. The KL is the mean cost of a draw, equation (1).",
        r"\mathrm{KL}(P, Q) = \int P(x) \, \log\frac{P(x)}{Q(x)} \, dx "
        r"= E_P\left[\log P(x) - \log Q(x)\right]",
        numbers,
        "map",
    )


def _densities(pair: Pair) -> Step:
    return Step(
        "Two densities",
        "Both are Gaussians in $k$ dimensions. Their logarithm is a constant, the volume "
        "$\\log|\\Sigma|$, and a squared distance from the mean, measured in standard deviations.",
        r"\log P(x) = -\tfrac12 \left[\, k \log 2\pi + \log|\Sigma_1| "
        r"+ (x-\mu_1)^\top \Sigma_1^{-1} (x-\mu_1) \right], "
        r"\qquad \log Q(x) \text{ alike with } \mu_2, \Sigma_2",
        (
            rf"k = {pair.k} \qquad \log|\Sigma_1| = {number(gaussian.log_det(pair.cov1))} \qquad "
            rf"\log|\Sigma_2| = {number(gaussian.log_det(pair.cov2))}",
        ),
        "map",
    )


def _ratio(pair: Pair, there: KLParts) -> Step:
    log_det_1, log_det_2 = (number(gaussian.log_det(cov)) for cov in (pair.cov1, pair.cov2))
    return Step(
        "Their ratio",
        "Subtract one from the other: $k \\log 2\\pi$ goes, and the two volumes do not depend on "
        "$x$. What is left to average over $P$ are the two squared distances, equation (2).",
        r"\mathrm{KL}(P, Q) = \tfrac12 \left[\, \log\frac{|\Sigma_2|}{|\Sigma_1|} "
        r"- E_P (x-\mu_1)^\top \Sigma_1^{-1} (x-\mu_1) "
        r"+ E_P (x-\mu_2)^\top \Sigma_2^{-1} (x-\mu_2) \right]",
        (
            rf"\log\frac{{|\Sigma_2|}}{{|\Sigma_1|}} = {log_det_2} - {_signed(log_det_1)} "
            rf"= {number(there.log_det_ratio)}",
        ),
        "terms",
    )


def _first_expectation(pair: Pair, there: KLParts, sample: KLSample, n_samples: int) -> Step:
    return Step(
        "From its own mean",
        "A number is the trace of itself, and a trace may be read in a circle, so the mean moves "
        "inside and becomes $P$'s covariance. It meets its own inverse: however long, thin or "
        "turned $P$ is, its draws lie $k$ squared standard deviations from its mean. Equation (3).",
        r"E_P (x-\mu_1)^\top \Sigma_1^{-1} (x-\mu_1) "
        r"= \mathrm{tr}\left( \Sigma_1^{-1} E_P (x-\mu_1)(x-\mu_1)^\top \right) "
        r"= \mathrm{tr}\left( \Sigma_1^{-1} \Sigma_1 \right) = k",
        (
            rf"k = {number(-there.minus_k)} \qquad "
            + sampled(sample.quadratic_1, sample.quadratic_1_stderr, n_samples),
        ),
        "samples",
    )


def _second_expectation(there: KLParts, sample: KLSample, n_samples: int) -> Step:
    return Step(
        "From the other's mean",
        "Go by way of $\\mu_1$: $x - \\mu_2 = (x - \\mu_1) + (\\mu_1 - \\mu_2)$. The mixed "
        "products have mean zero, since $E_P(x - \\mu_1) = 0$. The spread of $P$ gives the trace, "
        "as in the step before, and the way between the means is no longer random. Equation (4).",
        r"E_P (x-\mu_2)^\top \Sigma_2^{-1} (x-\mu_2) = \mathrm{tr}\left( \Sigma_1 \Sigma_2^{-1} "
        r"\right) + (\mu_1-\mu_2)^\top \Sigma_2^{-1} (\mu_1-\mu_2)",
        (
            rf"{number(there.trace)} + {number(there.mahalanobis)} "
            rf"= {number(there.trace + there.mahalanobis)} \qquad "
            + sampled(sample.quadratic_2, sample.quadratic_2_stderr, n_samples),
        ),
        "samples",
    )


def _together(there: KLParts, sample: KLSample, n_samples: int) -> Step:
    return Step(
        "Put together",
        "Equations (3) and (4) into equation (2), and the integral has become four terms: two "
        "volumes, the dimension, the spread of $P$ as $Q$ sees it, and the way between the means. "
        "Equation (5). Averaging $\\log P(x) - \\log Q(x)$ over draws from $P$ must agree.",
        r"\mathrm{KL}(P, Q) = \tfrac12 \left[\, \log\frac{|\Sigma_2|}{|\Sigma_1|} - k "
        r"+ \mathrm{tr}\left( \Sigma_1 \Sigma_2^{-1} \right) "
        r"+ (\mu_1-\mu_2)^\top \Sigma_2^{-1} (\mu_1-\mu_2) \right]",
        (
            rf"\tfrac12 \left[\, {_four(there)} \right] = {number(there.kl)} \text{{ nats}} \qquad "
            + sampled(sample.kl, sample.kl_stderr, n_samples),
        ),
        "terms",
    )


def _other_way(there: KLParts, back: KLParts) -> Step:
    return Step(
        "The other way",
        "Exchange the two. The volumes change sign, the spread of $Q$ is now measured by $P$, and "
        "so is the way between the means. Nothing makes the two sums agree: a narrow $P$ inside a "
        "wide $Q$ costs little, the wide one described by the narrow one costs much.",
        r"\mathrm{KL}(Q, P) = \tfrac12 \left[\, \log\frac{|\Sigma_1|}{|\Sigma_2|} - k "
        r"+ \mathrm{tr}\left( \Sigma_2 \Sigma_1^{-1} \right) "
        r"+ (\mu_2-\mu_1)^\top \Sigma_1^{-1} (\mu_2-\mu_1) \right]",
        (
            rf"\tfrac12 \left[\, {_four(back)} \right] = {number(back.kl)} \text{{ nats}}",
            rf"\mathrm{{KL}}(P, Q) - \mathrm{{KL}}(Q, P) = {number(there.kl - back.kl)} "
            r"\text{ nats}",
        ),
        "terms",
    )


def _special(pair: Pair, loss: Loss | None) -> Step:
    numbers: tuple[str, ...] = ()
    text = (
        "A VAE's encoder gives a diagonal $P = q(z|x)$, and its prior is $Q = p(z) = N(0, I)$: the "
        "determinant is a product, the trace a sum, and the KL falls apart into one term per "
        "dimension. Equation (6), and it enters the loss of a point as its second term: "
        "$L(\\theta, \\phi, x) = -E_q \\log p(x|z) + \\mathrm{KL}(q, p)$."
    )
    if pair.is_special:
        each = gaussian.kl_to_standard_normal(pair.mu1[None], pair.cov1.diagonal().log()[None])[0]
        summed = " + ".join(map(number, each)) + " = " if pair.k > 1 else ""
        numbers = (rf"\mathrm{{KL}}(q, p) = {summed}{number(each.sum())} \text{{ nats}}",)
        if loss is not None:
            numbers += (
                rf"L = {number(loss.recon)} + {number(loss.kl)} = {number(loss.recon + loss.kl)} "
                rf"\text{{ nats: point {loss.point}}}",
            )
            if abs(float(each.sum()) - loss.kl) > 5e-4:
                text += " (The loss counts every latent dimension, the pair above only some.)"
    else:
        lacking = "its Q is not N(0, I)" if pair.is_diagonal else "a covariance is not diagonal"
        text += f" This pair is no such case: {lacking}."
    return Step(
        "Against the prior",
        text,
        r"\mathrm{KL}\left( N(\mu, \mathrm{diag}\,\sigma^2), N(0, I) \right) = \tfrac12 "
        r"\sum_{i=1}^{k} \left( -\log \sigma_i^2 - 1 + \sigma_i^2 + \mu_i^2 \right)",
        numbers,
        "special",
    )


def _four(parts: KLParts) -> str:
    return (
        rf"{number(parts.log_det_ratio)} - {number(-parts.minus_k)} + {number(parts.trace)} "
        rf"+ {number(parts.mahalanobis)}"
    )


def sampled(mean: Tensor, stderr: Tensor, n_samples: int) -> str:
    """What draws say, with the standard error."""
    return rf"\text{{{n_samples:,} draws say }} {number(mean)} \pm {number(stderr)}"


def _signed(text: str) -> str:
    return f"({text})" if text.startswith("-") else text


def _entry(value: Tensor) -> str:
    return f"{float(value):.4g}"


def vector(values: Tensor) -> str:
    """A column of numbers (k,) in KaTeX."""
    if len(values) == 1:
        return _entry(values[0])
    return r"\begin{pmatrix}" + r" \\ ".join(map(_entry, values)) + r"\end{pmatrix}"


def matrix(values: Tensor) -> str:
    """A matrix (k, k) in KaTeX."""
    if len(values) == 1:
        return _entry(values[0, 0])
    rows = (" & ".join(map(_entry, row)) for row in values)
    return r"\begin{pmatrix}" + r" \\ ".join(rows) + r"\end{pmatrix}"
