"""Lesson: encode, sample, decode; the architecture of a VAE from x to x-hat."""

import torch

from vae.core.model import Encoder
from vae.lessons.board import Board
from vae.lessons.kl_steps import number
from vae.lessons.lesson import POINT, Lesson, Part, Question, Step

_MOST = 3  # dimensions that are written out


def layers(board: Board) -> tuple[int, ...]:
    """The widths from x through both networks to x-hat, as far as they are known."""
    hidden = tuple(board.model.config.hidden)
    D = board.embedding.latent_dim
    return (board.n_pixels, *hidden, D, *reversed(hidden), board.n_pixels)


def _posterior(board: Board) -> tuple[str, ...]:
    lines = [
        rf"\mu_{{{d + 1}}} = {number(board.mu[d])} \qquad \sigma_{{{d + 1}}} = "
        rf"{number(board.sigma[d])}"
        for d in range(min(_MOST, len(board.mu)))
    ]
    return (*lines, *([r"\dots"] if len(board.mu) > _MOST else []))


def draw(board: Board) -> torch.Tensor:
    """z of the point's first draw, (D,)."""
    return board.mu + board.sigma * board.eps


def _draw(board: Board) -> tuple[str, ...]:
    z = draw(board)
    return tuple(
        rf"z_{{{d + 1}}} = {number(board.mu[d])} + {number(board.sigma[d])} \cdot "
        rf"({number(board.eps[d])}) = {number(z[d])}"
        for d in range(min(_MOST, len(z)))
    )


def _decoded(board: Board) -> tuple[str, ...]:
    z = draw(board)
    return (
        rf"\log p(x|z) = {number(board.log_likelihood_at(z))} \text{{ nats at this }} z \qquad "
        rf"{number(board.log_likelihood_at(board.mu))} \text{{ at }} z = \mu",
    )


def n_weights(board: Board) -> tuple[int, int]:
    """Of the encoder and of the decoder."""
    networks = board.model.encoder, board.model.decoder
    encoder, decoder = (sum(p.numel() for p in network.parameters()) for network in networks)
    return encoder, decoder


def _architecture(board: Board) -> tuple[str, ...]:
    widths = " \\to ".join(f"{n:,}" for n in layers(board))
    model, counts = board.model, n_weights(board)
    lines = (
        rf"\varphi: {counts[0]:,} \text{{ weights}} \qquad \theta: {counts[1]:,} \text{{ weights}}",
    )
    is_ours = model.config.family == "mlp" and isinstance(model.encoder, Encoder)
    return (widths, *lines) if is_ours else lines


def mean_sigma(board: Board) -> float:
    """Of the point, over the dimensions."""
    return float(board.sigma.mean())


def _larger(board: Board) -> str:
    encoder, decoder = n_weights(board)
    if encoder == decoder:
        return "both alike"
    return "the encoder" if encoder > decoder else "the decoder"


LESSON = Lesson(
    key="autoencoder",
    title="Autoencoder",
    question="How does an image go through a variational autoencoder?",
    minutes=45,
    subject=POINT,
    symbols=("x", "encoder", "q", "μ", "σ", "ε", "z", "decoder", "φ", "θ", "k"),
    steps=(
        Step(
            "encode",
            "Encode",
            Part.MAP,
            "The encoder reads the image $x$ and answers with two numbers for each latent "
            "dimension: $\\mu$, where the image belongs, and $\\sigma$, how sure of that it is. "
            "Together they are a Gaussian, $q(z|x)$: the green ellipse on the map, at 1 and 2 "
            "$\\sigma$.",
            r"x \;\to\; q_\varphi(z|x) = N(\mu, \mathrm{diag}\,\sigma^2)",
            _posterior,
            predict=Question(
                "sigma",
                "A point of the data may have a wide $q$ or a narrow one. The prior has "
                "$\\sigma = 1$. How wide is $q$ of this image, on average over the dimensions?",
                mean_sigma,
                lambda board: "the mean of its σ.",
                tolerance=0.3,
                least=0.05,
                unit="",
            ),
            do="Click points in the middle of a class and at its border: whose ellipse is wider?",
        ),
        Step(
            "sample",
            "Sample",
            Part.MAP,
            "What goes on is not $\\mu$ but a draw: $\\mu$, and $\\sigma$ times a noise "
            "$\\varepsilon$ from a standard Gaussian. Each time another one. So the decoder cannot "
            "rely on a single place, and places beside each other must decode alike.",
            r"z = \mu + \varepsilon\,\sigma, \qquad \varepsilon \sim N(0, I)",
            _draw,
            do="Press Resample: μ and σ stay, the samples change.",
        ),
        Step(
            "decode",
            "Decode",
            Part.MAP,
            "The decoder makes of $z$ a distribution over images, $p(x|z)$; its mean is the "
            "picture that you see, $\\hat x$. How probable it makes the image that went in is its "
            "mark.",
            r"z \;\to\; p_\theta(x|z), \qquad \hat x = E[x|z]",
            _decoded,
        ),
        Step(
            "architecture",
            "The whole machine",
            Part.MAP,
            "From left to right beside the map: $x$, the encoder with its weights $\\varphi$, "
            "$\\mu$ and $\\sigma$, a draw $z$, the decoder with its weights $\\theta$, $\\hat x$. "
            "Training changes $\\varphi$ and $\\theta$, and nothing else. (One of the notes that "
            "this comes from swaps the two letters in a sentence.)",
            r"x \xrightarrow{\;\varphi\;} (\mu, \sigma) \xrightarrow{\;\varepsilon\;} "
            r"z = \mu + \varepsilon\sigma \xrightarrow{\;\theta\;} \hat x",
            _architecture,
            do="Drag μ, then σ, by the sliders: which picture follows which?",
        ),
        Step(
            "widen",
            "What the width does",
            Part.MAP,
            "With $\\sigma = 0$ this would be a plain autoencoder: a place for each image, and "
            "nothing between the places. The width makes neighbours overlap, and what overlaps "
            "must agree. That is why one can walk through this space.",
            r"\sigma \to 0: \quad z = \mu",
            do="Pull σ up until the samples are of several kinds.",
        ),
    ),
    questions=(
        Question(
            "draw",
            "With ε₁ = 1, where would the draw z₁ of this image lie?",
            lambda board: float(board.mu[0] + board.sigma[0]),
            lambda board: f"μ₁ + σ₁ = {float(board.mu[0]):.3f} + {float(board.sigma[0]):.3f}.",
            unit="",
        ),
        Question(
            "numbers",
            "How many numbers does the encoder answer with for one image?",
            lambda board: float(2 * len(board.mu)),
            lambda board: f"a μ and a σ for each of {len(board.mu)} dimensions.",
            least=0.4,
            tolerance=0,
            unit="",
        ),
        Question(
            "larger",
            "Which of the two networks has more weights?",
            _larger,
            lambda board: "φ has {:,} weights, θ {:,}.".format(*n_weights(board)),
            ("the encoder", "the decoder", "both alike"),
        ),
    ),
    teacher=(
        "Draw the machine on the board from left to right, and leave it there.",
        "Write φ under the encoder and θ under the decoder. The usual notes mix them up once.",
        "Ask for a volunteer to be ε: they call a number, the class computes z from μ and σ.",
        "Compare a point inside a class with one at a border: σ is how unsure the encoder is.",
        "A widespread error: the decoder does not sample pixels here; its mean is shown.",
        "Do not speak of training yet. Say only that both networks were adjusted together.",
        "Ask what happens with σ = 0. It is the bridge to the autoencoder they may know.",
        "Ask what happens with a huge σ: the samples show all the data, and nothing of x.",
        "With mnist-10d the map shows two of ten dimensions: use it to say that a map is a slice.",
        "End with: the machine has two wishes that quarrel. Their price is the next lesson.",
    ),
)
