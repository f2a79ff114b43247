"""Lesson: the price of an image in nats, KL against reconstruction, and what beta trades."""

import math

from vae.lessons.board import Board
from vae.lessons.kl_steps import number
from vae.lessons.lesson import POINT, Lesson, Part, Question, Step

RECON, KL = "recon", "KL"
_MOST = 4  # dimensions that are written out
_LOW, _HIGH = 0.1, 4.0  # beta of the two trials that are told


def recon(board: Board) -> float:
    """-E_q log p(x|z) of the point, as the tables state it, in nats."""
    return float(board.embedding.recon[board.index])


def kl_per_dim(board: Board) -> list[float]:
    """KL of each dimension, in nats."""
    return board.embedding.kl_per_dim[board.index].astype(float).tolist()


def kl(board: Board) -> float:
    """KL(q(z|x), p(z)) of the point, in nats."""
    return sum(kl_per_dim(board))


def dearest(board: Board) -> int:
    """The dimension with the greatest KL."""
    each = kl_per_dim(board)
    return each.index(max(each))


def _recon(board: Board) -> tuple[str, ...]:
    error = board.embedding.recon_stderr[board.index]
    return (
        rf"\text{{recon}} = {number(recon(board))} \pm {number(error)} \text{{ nats over }} "
        rf"{board.embedding.n_samples} \text{{ draws}}",
        rf"{number(recon(board) / board.n_pixels)} \text{{ nats per number of the image}}",
    )


def _each(board: Board) -> tuple[str, ...]:
    lines = []
    for d, value in enumerate(kl_per_dim(board)[:_MOST]):
        mu, sigma = float(board.mu[d]), float(board.sigma[d])
        lines.append(
            rf"\tfrac12 \left( ({number(mu)})^2 + {number(sigma)}^2 - 1 - \log {number(sigma)}^2 "
            rf"\right) = {number(value)} \quad (z_{{{d + 1}}})"
        )
    return (*lines, rf"\mathrm{{KL}} = {number(kl(board))} \text{{ nats}}")


def _sum(board: Board) -> tuple[str, ...]:
    total = recon(board) + kl(board)
    rank, n = board.embedding.rank(board.index), len(board.embedding)
    return (
        rf"{number(recon(board))} + {number(kl(board))} = {number(total)} \text{{ nats}}",
        rf"\text{{place {rank:,} of {n:,}, the costliest first}}",
    )


def _mean(board: Board) -> tuple[str, ...]:
    means = board.embedding.means()
    return (
        rf"\text{{now, on average: }} {number(means['recon'])} + {number(means['kl'])} = "
        rf"{number(means['neg_elbo'])} \text{{ nats}}",
    )


def _nats(board: Board) -> tuple[str, ...]:
    bits = (recon(board) + kl(board)) / math.log(2)
    return (
        rf"{number(recon(board) + kl(board))} \text{{ nats}} = {number(bits)} \text{{ bits}} "
        rf"\qquad \text{{the image as bytes: }} {8 * board.n_pixels:,} \text{{ bits}}",
    )


def _trade(board: Board) -> tuple[str, ...]:
    return tuple(
        rf"\beta = {beta:g}: \quad \text{{recon }} {number(found.recon)} + \text{{KL }} "
        rf"{number(found.kl)} = {number(found.recon + found.kl)} \text{{ nats}}"
        for beta in (_LOW, 1.0, _HIGH)
        for found in [board.trial_of(beta, 0.0)]
    )


LESSON = Lesson(
    key="price",
    title="The price",
    question="What does an image cost?",
    minutes=45,
    subject=POINT,
    symbols=("nats", "recon", "KL", "prior", "q", "-ELBO", "β", "μ", "σ"),
    steps=(
        Step(
            "recon",
            "What the decoder owes",
            Part.MAP,
            "Send the image by its $z$ alone. The decoder answers with $p(x|z)$, and what is "
            "missing has to be sent besides: $-\\log p(x|z)$, on average over the draws of $z$. "
            "With natural logarithms the unit is the nat.",
            r"\text{recon} = -E_{q} \log p(x|z)",
            _recon,
            do="Drag μ away from the encoder's: recon climbs at once.",
        ),
        Step(
            "kl",
            "What z itself costs",
            Part.MAP,
            "$z$ is not free either. Who receives it expects it from the prior $p(z) = N(0, I)$. A "
            "$q$ that is far from the centre, or much narrower than the prior, tells more, and "
            "costs more: the KL between the two, in closed form, equation (6).",
            r"\mathrm{KL}(q(z|x), p(z)) = \tfrac12 \sum_i \left( \mu_i^2 + \sigma_i^2 - 1 "
            r"- \log \sigma_i^2 \right)",
            _each,
            predict=Question(
                "dearer",
                "Which is the greater for this image, recon or KL?",
                lambda board: RECON if recon(board) > kl(board) else KL,
                lambda board: f"recon is {recon(board):.2f} nats, KL {kl(board):.2f}.",
                (RECON, KL),
            ),
            do="Pull σ to 1 and μ to 0: the KL is zero. And the image?",
        ),
        Step(
            "sum",
            "The bill",
            Part.MAP,
            "Both together are the price of the image, and the loss that training makes small: "
            "-ELBO. The two quarrel. A wider $q$ pays less KL and more recon.",
            r"L = \text{recon} + \mathrm{KL} = -\mathrm{ELBO}",
            _sum,
            do="Press Best q: the cheapest compromise for this image.",
        ),
        Step(
            "training",
            "How the bill shrinks",
            Part.FILM,
            "Training begins with weights drawn at random: every image lies near the centre, $z$ "
            "is cheap and says nothing. Then the classes move apart: KL climbs, since each nat of "
            "it saves more than a nat of recon. It ends where the next nat would save less.",
            r"L = \text{recon} + \mathrm{KL}",
            _mean,
            do="Press ▶, and watch one class as it finds its place.",
        ),
        Step(
            "nats",
            "Nats and bits",
            Part.MAP,
            "One nat is 1.44 bits. A number of nats always says of what it is: here of one image, "
            "summed over its pixels and over the latent dimensions, not averaged.",
            r"1 \text{ nat} = \log_2 e \text{ bits}",
            _nats,
        ),
        Step(
            "beta",
            "What β trades",
            Part.TRIALS,
            "Weigh the KL by $\\beta$ in training, and the quarrel ends elsewhere. Small: sharp "
            "images at any price of $z$. Large: a cheap $z$ that says little. Only $\\beta = 1$ is "
            "the bound. Each of these models is trained here, on the small digits.",
            r"L_\beta = \text{recon} + \beta \, \mathrm{KL}",
            _trade,
            predict=Question(
                "traded",
                "A model trained with $\\beta = 1$ pays some KL per image. How much does "
                f"one pay that was trained with $\\beta = {_LOW:g}$?",
                lambda board: board.trial_of(_LOW, 0.0).kl,
                lambda board: f"against {board.trial_of(1.0, 0.0).kl:.2f} nats with β = 1.",
                tolerance=0.3,
                least=0.3,
            ),
            do="Train some others, and see where they come to lie.",
        ),
    ),
    questions=(
        Question(
            "total",
            "What does the chosen image cost in all?",
            lambda board: recon(board) + kl(board),
            lambda board: f"{recon(board):.2f} nats of recon + {kl(board):.2f} of KL.",
            tolerance=0.003,
            least=0.05,
        ),
        Question(
            "centre",
            "What would the KL be with every μ at 0 and every σ as it is?",
            lambda board: kl(board) - 0.5 * float(board.mu.square().sum()),
            lambda board: (
                f"½ Σ μ² = {0.5 * float(board.mu.square().sum()):.2f} nats fall away "
                f"from {kl(board):.2f}."
            ),
            tolerance=0.02,
            least=0.05,
        ),
        Question(
            "dearest",
            "What does the costliest latent dimension of the image pay?",
            lambda board: max(kl_per_dim(board)),
            lambda board: f"it is z{dearest(board) + 1}, of {len(board.mu)}.",
            tolerance=0.02,
            least=0.02,
        ),
    ),
    beside="sum",
    teacher=(
        "Tell it as a story of two people who share a decoder and pay by the nat.",
        "Begin at the ledger below the machine; cover nothing, but speak of recon first.",
        "Drag σ slowly to 1 and let the class call out which of the two terms moves.",
        "Do the sum of equation (6) for one dimension by hand; it agrees to the third decimal.",
        "Choose the costliest image on Points: what is wrong with it?",
        "Say once, and often: nats per image. Other libraries average over pixels.",
        "β is not part of the bound. Ask what β = 0 would be. (An autoencoder.)",
        "With β = 4 the small model has nearly collapsed: that is lesson g.",
        "The map of a model with small β is wide, with holes between the classes.",
        "End with the question why the sum of just these two is the right price: lesson e.",
    ),
)
