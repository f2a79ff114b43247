"""Lesson: gradients through a random node. Equation (7): z(l), the mean over L, theta and phi."""

import math

from torch import Tensor

from vae.lessons.board import Board, derived
from vae.lessons.kl_steps import number
from vae.lessons.lesson import POINT, Lesson, Part, Question, Step

_DRAWS, _GRADIENTS = 4, 5  # of `loss_steps`
PHI, THETA, NEITHER = "φ", "θ", "neither"


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Of draws (L,), with the standard error."""
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def ratio(board: Board) -> float:
    """Of the variances of phi's slope: score function over pathwise."""
    slopes = board.slopes
    below = float(slopes.phi.var())
    return float(slopes.phi_score.var()) / below if below > 0 else math.inf


def _said(values: Tensor) -> str:
    mean, error = mean_and_error(values)
    return rf"{number(mean)} \pm {number(error)}"


def _tex(name: str) -> str:
    return rf"\texttt{{{name.replace('_', chr(92) + '_')}}}"


def _nodes(board: Board) -> tuple[str, ...]:
    mu, sigma, eps = board.mu[0], board.sigma[0], board.eps[0]
    return (
        rf"\mu_1 = {number(mu)} \quad \sigma_1 = {number(sigma)} \quad \varepsilon_1 = "
        rf"{number(eps)} \quad z_1 = {number(mu + eps * sigma)}",
        rf"\frac{{\partial z_1}}{{\partial \mu_1}} = 1 \qquad "
        rf"\frac{{\partial z_1}}{{\partial \sigma_1}} = \varepsilon_1 = {number(eps)}",
    )


def _before(board: Board) -> tuple[str, ...]:
    mu, sigma, eps = board.mu[0], board.sigma[0], board.eps[0]
    return (
        rf"z_1 \sim N({number(mu)}, {number(sigma)}^2): \quad \text{{this time }} "
        rf"{number(mu + eps * sigma)}",
    )


def _slope(weight: str, values: Tensor, autograd: float, exact: float | None) -> tuple[str, ...]:
    """A weight's name, and what draws, torch and where there is one the integral say of it."""
    integrated = "" if exact is None else rf" \qquad \text{{integrated: }} {number(exact)}"
    return (
        weight,
        rf"{len(values):,} \text{{ draws: }} {_said(values)} \qquad "
        rf"\text{{autograd: }} {number(autograd)}{integrated}",
    )


def _theta(board: Board) -> tuple[str, ...]:
    found = board.slopes
    weight = rf"\theta = \text{{decoder }} {_tex(found.theta_name)}"
    return _slope(weight, found.theta, found.theta_autograd, found.theta_exact)


def _phi(board: Board) -> tuple[str, ...]:
    found = board.slopes
    weight = rf"\varphi = \text{{encoder }} {_tex(found.phi_name)}"
    return _slope(weight, found.phi, found.phi_autograd, found.phi_exact)


def _score(board: Board) -> tuple[str, ...]:
    found = board.slopes
    return (
        rf"\text{{pathwise: }} {_said(found.phi)} \qquad \text{{score function: }} "
        rf"{_said(found.phi_score)}",
        rf"\text{{variance of a draw: }} {number(ratio(board))} \text{{ times as large}}",
    )


LESSON = Lesson(
    key="reparameterisation",
    title="Reparameterisation",
    question="How can one differentiate through a random draw?",
    minutes=50,
    subject=POINT,
    symbols=("z", "μ", "σ", "ε", "L", "E", "recon", "φ", "θ"),
    steps=(
        Step(
            "before",
            "A random node",
            Part.GRAPH,
            "To train, we need the slope of the loss with respect to each weight. It is carried "
            "backwards through the graph, from the loss to the weights. In the upper graph it "
            "comes as far as $z$, and stops: a draw from $q$ has no derivative.",
            r"z \sim q_\varphi(z|x) = N(\mu, \sigma^2)",
            _before,
            predict=Question(
                "blocked",
                "In the upper graph, whose slope cannot be had?",
                lambda board: PHI,
                lambda board: (
                    "every way from the loss back to the encoder passes through the draw "
                    f"z₁ = {float(board.mu[0] + board.eps[0] * board.sigma[0]):.3f}; the decoder "
                    f"lies "
                    "behind it."
                ),
                (PHI, THETA, NEITHER),
            ),
        ),
        Step(
            "after",
            "The noise outside",
            Part.GRAPH,
            "Draw the noise first, from a Gaussian that knows no weights. Then $z$ is an ordinary "
            "function of $\\mu$ and $\\sigma$, with ordinary derivatives, and the random node is "
            "an input like $x$. Nothing has changed in what $z$ is; equation (7).",
            r"z = \mu + \varepsilon\,\sigma, \qquad \varepsilon \sim N(0, I)",
            _nodes,
        ),
        Step(
            "mean",
            "The mean over L draws",
            Part.DRAWS,
            derived=derived(_DRAWS),
            do="Ten draws, then ten thousand: the error falls as 1 over the root of L.",
        ),
        Step(
            "theta",
            "The slope of θ",
            Part.SLOPES,
            "$q$ does not depend on the decoder's $\\theta$. So the gradient goes inside the "
            "expectation as it is: a mean of the decoder's own slopes, with or without "
            "reparameterisation. Here for the one weight that this image pulls at most.",
            r"\frac{\partial L}{\partial \theta} = -E_q\left[ \frac{\partial \log p_\theta(x|z)}"
            r"{\partial \theta} \right] \approx -\frac1L \sum_{l=1}^{L} \frac{\partial "
            r"\log p_\theta(x|z^{(l)})}{\partial \theta}",
            _theta,
        ),
        Step(
            "phi",
            "The slope of φ",
            Part.SLOPES,
            "The encoder's $\\varphi$ moves $\\mu$ and $\\sigma$, these move each $z^{(l)}$, and "
            "that moves the loss: the chain rule along the path, plus the KL's own slope, which is "
            "in closed form.",
            r"\frac{\partial L}{\partial \varphi} \approx -\frac1L \sum_{l=1}^{L} \frac{\partial "
            r"\log p(x|z^{(l)})}{\partial z} \left( \frac{\partial \mu}{\partial \varphi} "
            r"+ \varepsilon^{(l)} \frac{\partial \sigma}{\partial \varphi} \right) "
            r"+ \frac{\partial \mathrm{KL}}{\partial \varphi}",
            _phi,
        ),
        Step(
            "score",
            "Without the path",
            Part.SLOPES,
            "There is another way, which needs no derivative of the decoder: ask how the "
            "probability of each draw changes, and weigh by what the draw cost. Right on average, "
            "too, but the whole size of the reconstruction multiplies its noise.",
            r"\frac{\partial}{\partial \varphi} E_q f(z) = E_q\left[ f(z) \, \frac{\partial \log "
            r"q_\varphi(z|x)}{\partial \varphi} \right]",
            _score,
            predict=Question(
                "ratio",
                "How many times as many draws does it need for the same error?",
                ratio,
                lambda board: "the ratio of the two variances.",
                tolerance=0.5,
                least=1,
                unit="times",
            ),
        ),
        Step("clouds", "Draw by draw", Part.CLOUDS, derived=derived(_GRADIENTS)),
    ),
    questions=(
        Question(
            "z",
            "With the noise ε₁ = -2, what is z₁ of this image?",
            lambda board: float(board.mu[0] - 2 * board.sigma[0]),
            lambda board: f"{float(board.mu[0]):.3f} - 2 · {float(board.sigma[0]):.3f}.",
            unit="",
        ),
        Question(
            "error",
            "The mean over 1,000 draws has a standard error for φ's slope. What would it "
            "be over 100,000?",
            lambda board: mean_and_error(board.slopes.phi)[1] / 10,
            lambda board: (
                f"a tenth of {mean_and_error(board.slopes.phi)[1]:.3g}: 100 times the draws."
            ),
            tolerance=0.1,
            least=0,
            unit="nats per unit of the weight",
        ),
        Question(
            "same",
            "Which of the two slopes is the same without reparameterisation?",
            lambda board: THETA,
            lambda board: (
                "the draws do not depend on the decoder: "
                f"{board.slopes.theta_autograd:.3g} either way."
            ),
            (PHI, THETA, NEITHER),
        ),
    ),
    beside="after",
    teacher=(
        "Draw both graphs on the board before you open the page; numbers come second.",
        "Let somebody follow the arrow back from L with a finger and say where it stops.",
        "ε is an input like x: that one sentence is the lesson.",
        "Have the class compute one z from μ, σ and ε by hand, and check it on the page.",
        "θ is the easy one. Do it first, so that φ's difficulty stands out.",
        "One of the usual notes swaps θ and φ in just this place. Read that sentence aloud.",
        "Autograd and the mean over the same draws agree to the last digit: they are the same sum.",
        "The integral is another number: the difference is Monte Carlo error.",
        "The score function is not wrong, only noisy. It is what one uses for discrete z.",
        "With wide q (drag nothing, choose another point) the ratio falls: look for one.",
    ),
)
