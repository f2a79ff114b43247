"""The loss derived step by step, with one point's numbers put in: equations (6), (7) and (8).

Formulas are KaTeX, numbers are in nats and come from `inference.gap` and `inference.estimators`.
"""

import torch

from vae.inference.estimators import Gradient, GradientEstimates, variance_ratio
from vae.inference.gap import N_WEIGHTS, GapSplit, Inference
from vae.lessons.kl_steps import Step, number

FEW_DRAWS = 16  # behind the stored terms: the numbers that Explore and Points show


def steps(
    found: Inference,
    log_px_given_mu: float,
    log_prior_at_mu: float,
    eps: torch.Tensor,
    gradients: GradientEstimates,
    split: GapSplit | None = None,
) -> tuple[Step, ...]:
    """Bayes' rule to the gradients, for one image and the encoder's q.

    Args:
        found: what `inference.infer` found.
        log_px_given_mu: log p(x|z) at z = mu.
        log_prior_at_mu: log p(z) there.
        eps: the noise of the draw that the reparameterisation is shown on, shape (D,).
        gradients: of the loss at this q.
        split: the gap in two, where it has been computed.
    """
    return (
        _bayes(found, log_px_given_mu, log_prior_at_mu),
        _average(found),
        _bound(found, split),
        _closed_form(found),
        _reparameterisation(found, eps),
        _gradients(gradients),
        _many_samples(found),
    )


def _bayes(found: Inference, log_px_given_mu: float, log_prior_at_mu: float) -> Step:
    log_posterior = log_px_given_mu + log_prior_at_mu - found.log_px
    return Step(
        "Bayes",
        "How probable does the model find this image? Bayes' rule answers at every $z$, and always "
        "with the same number: the joint density over the posterior. At $z = \\mu$, say. But the "
        "posterior $p(z|x)$ is the very thing that nobody has"
        + (
            ", unless the latent space is so small that one can add up all of it, as here."
            if found.exact
            else ": below it is what the estimate of $\\log p(x)$ implies."
        ),
        r"\log p(x) = \log p(x|z) + \log p(z) - \log p(z|x) \quad \text{for every } z",
        (
            rf"{number(found.log_px)} = {number(log_px_given_mu)} + {_signed(log_prior_at_mu)} "
            rf"- {_signed(log_posterior)} \text{{ nats}}",
        ),
        "map",
    )


def _average(found: Inference) -> Step:
    return Step(
        "Two expectations",
        "What holds at every $z$ holds on average over any density of $z$. Take the encoder's "
        "$q(z|x)$ and add $\\log q - \\log q$: three averages appear. The first two are of what we "
        "can compute; the third is a KL between $q$ and the posterior. Equation (8).",
        r"\log p(x) = \underbrace{E_q \log p(x|z)}_{-\text{recon}} "
        r"- \mathrm{KL}(q(z|x), p(z)) + \mathrm{KL}(q(z|x), p(z|x))",
        (
            rf"{number(found.log_px)} \approx {number(-found.recon.mean[-1])} - {number(found.kl)} "
            rf"+ {number(found.gap)} \text{{ nats}} \qquad "
            rf"\text{{left over: }} {number(found.residual)} \pm {number(found.elbo_stderr)}",
        ),
        "sum",
    )


def _bound(found: Inference, split: GapSplit | None) -> Step:
    numbers = (
        rf"\mathrm{{ELBO}} = {number(found.elbo)} \;\le\; \log p(x) = {number(found.log_px)} "
        rf"\qquad \text{{gap }} {number(found.gap)} \text{{ nats}}",
    )
    if split is not None:
        numbers += (
            rf"{number(found.gap)} = \underbrace{{{number(split.amortisation)}}}"
            rf"_{{\text{{amortisation}}}} + \underbrace{{{number(split.approximation)}}}"
            r"_{\text{approximation}} \text{ nats}",
        )
    return Step(
        "The bound",
        "A KL is never below zero, so leaving the last one out leaves a lower bound, the ELBO. "
        "Pushing it up does two things at once: it makes the image more probable and draws $q$ "
        "towards $p(z|x)$. What stays open has two causes: the encoder does not find the best "
        "Gaussian for this image, and the posterior is no Gaussian with upright axes.",
        r"\log p(x) \ge \mathrm{ELBO} = E_q \log p(x|z) - \mathrm{KL}(q(z|x), p(z)), \qquad "
        r"L(\theta, \phi, x) = -\mathrm{ELBO}",
        numbers,
        "sum",
    )


def _closed_form(found: Inference) -> Step:
    each = found.kl_per_dim.tolist()
    shown = " + ".join(number(value) for value in each[:6]) + (r" + \dots" if len(each) > 6 else "")
    lines = tuple(
        rf"\tfrac12 \left( -\log {_squared(sigma)} - 1 + {_squared(sigma)} + {_squared(mu)} "
        rf"\right) = {number(value)} \quad (z_{{{d}}})"
        for d, (mu, sigma, value) in enumerate(
            zip(found.mu.tolist(), torch.exp(found.logvar / 2).tolist(), each, strict=True), 1
        )
        if d <= 2
    )
    return Step(
        "A closed form",
        "Both $q$ and the prior are Gaussians, so one of the two expectations needs no sampling: "
        "the logarithms are quadratic in $z$, and the mean of a square is variance plus squared "
        "mean. Equation (6), one term per latent dimension. The Gaussians page derives it.",
        r"\mathrm{KL}(q(z|x), p(z)) = \tfrac12 \sum_{i=1}^{k} "
        r"\left( -\log \sigma_i^2 - 1 + \sigma_i^2 + \mu_i^2 \right)",
        (*lines, rf"\mathrm{{KL}} = {shown} = {number(found.kl)} \text{{ nats}}"),
        "draws",
    )


def _reparameterisation(found: Inference, eps: torch.Tensor) -> Step:
    sigma = torch.exp(found.logvar / 2)
    z = found.mu + eps.to(found.mu) * sigma
    n = len(found.recon.values)
    lines = tuple(
        rf"z_{{{d + 1}}} = {number(found.mu[d])} + {_signed(float(eps[d]))} \cdot "
        rf"{number(sigma[d])} = {number(z[d])}"
        for d in range(min(2, len(z)))
    )
    return Step(
        "Reparameterisation",
        "The other expectation goes through the decoder and has no closed form. Draw $z$ from $q$ "
        "and average: Monte Carlo, with an error that falls as $1/\\sqrt{L}$. Written as "
        "$z = \\mu + \\varepsilon \\sigma$ the randomness stands outside: for a fixed "
        "$\\varepsilon$ the draw is a smooth function of $\\mu$ and $\\sigma$. Equation (7).",
        r"E_q \log p(x|z) \approx \frac1L \sum_{l=1}^{L} "
        r"\log p(x|\mu + \varepsilon_l \sigma), \qquad \varepsilon_l \sim N(0, I)",
        (
            *lines,
            rf"\text{{{FEW_DRAWS} draws: recon }} {number(found.recon.mean[FEW_DRAWS - 1])} \pm "
            rf"{number(found.recon.stderr[FEW_DRAWS - 1])} \qquad \text{{{n:,} draws: }} "
            rf"{number(found.recon.mean[-1])} \pm {number(found.recon.stderr[-1])}",
        ),
        "draws",
    )


def _gradients(gradients: GradientEstimates) -> Step:
    def mean(estimates: Gradient) -> str:
        values = estimates.mu[:, 0]
        error = values.std() / len(values) ** 0.5
        return rf"{number(values.mean())} \pm {number(error)}"

    ratio = variance_ratio(gradients.score, gradients.pathwise)
    L = len(gradients.pathwise.mu)
    return Step(
        "Gradients",
        "Training needs the slope of this average with respect to $\\mu$ and $\\sigma$. Through "
        "the reparameterised draw it is the decoder's own derivative. Without it there is the "
        "score function, which only asks how probable each draw was: right on average, too, but "
        "the reconstruction's whole size multiplies its noise.",
        r"\frac{\partial L}{\partial \mu} = E_\varepsilon\!\left[ -\frac{\partial \log p(x|z)}"
        r"{\partial z} \right] + \mu = E_q\!\left[ -\log p(x|z) \, \frac{z - \mu}{\sigma^2} "
        r"\right] + \mu",
        (
            rf"\frac{{\partial L}}{{\partial \mu_1}}: \quad {mean(gradients.pathwise)} "
            rf"\text{{ (pathwise)}} \qquad {mean(gradients.score)} \text{{ (score function)}} "
            rf"\qquad {L:,} \text{{ draws}}",
            rf"\text{{variance, score over pathwise: }} {number(ratio.mu)} \text{{ times for }} "
            rf"\mu, \; {number(ratio.log_sigma)} \text{{ times for }} \log \sigma",
        ),
        "gradients",
    )


def _many_samples(found: Inference) -> Step:
    bound, error = found.weighted(N_WEIGHTS)
    return Step(
        "A tighter bound",
        "Average the weights $p(x, z)/q(z|x)$ before taking the logarithm, and the bound climbs "
        "from the ELBO to $\\log p(x)$ as $K$ grows: slowly where $q$ is narrower than the "
        "posterior, and not within a lifetime where it misses one of its peaks.",
        r"\mathrm{ELBO} \le E \log \frac1K \sum_{k=1}^{K} \frac{p(x, z_k)}{q(z_k|x)} \le \log p(x)",
        (
            rf"K = {N_WEIGHTS:,}: \quad {number(bound)} \pm {number(error)} \qquad "
            rf"\text{{effective sample size }} {number(found.ess)}",
        ),
        "weights",
    )


def _signed(value: float) -> str:
    return _in_brackets(number(value))


def _squared(value: float) -> str:
    text = f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.2g}"
    return f"{_in_brackets(text)}^2"


def _in_brackets(text: str) -> str:
    return f"({text})" if text.startswith("-") else text
