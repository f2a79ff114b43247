"""Lesson: from Bayes' rule to the bound, and why a small loss closes the gap. Equation (8)."""

from vae.lessons.board import Board, derived
from vae.lessons.kl_steps import number
from vae.lessons.lesson import POINT, Lesson, Part, Question, Step

_BAYES, _AVERAGE, _BOUND, _CLOSED = range(4)
NO_Z, SOME_Z = "log p(x)", "KL(q(z|x), p(z|x))"


def bayes_at(board: Board, scale: float) -> tuple[float, float, float]:
    """log p(x|z), log p(z) and log p(z|x) at z = mu + scale sigma, in nats."""
    found = board.inference
    z = found.mu + scale * (found.logvar / 2).exp()
    likelihood, prior = board.log_likelihood_at(z), board.log_prior_at(z)
    return likelihood, prior, likelihood + prior - found.log_px


def _everywhere(board: Board) -> tuple[str, ...]:
    lines = []
    for scale, name in ((0.0, r"\mu"), (1.0, r"\mu + \sigma"), (2.0, r"\mu + 2\sigma")):
        likelihood, prior, posterior = bayes_at(board, scale)
        lines.append(
            rf"z = {name}: \quad {number(likelihood)} + ({number(prior)}) - ({number(posterior)}) "
            rf"= {number(likelihood + prior - posterior)}"
        )
    return tuple(lines)


def _definition(board: Board) -> tuple[str, ...]:
    found = board.inference
    return (rf"\mathrm{{KL}}(q(z|x), p(z|x)) = {number(found.gap)} \text{{ nats}}",)


def best_elbo(board: Board) -> float:
    """What the ELBO would be if the encoder found the best Gaussian, in nats."""
    return board.inference.elbo + board.gap_split.amortisation


def _closing(board: Board) -> tuple[str, ...]:
    found, split = board.inference, board.gap_split
    best = best_elbo(board)
    return (
        rf"\text{{encoder's }} q: \quad {number(found.log_px)} = {number(found.elbo)} + "
        rf"{number(found.gap)}",
        rf"\text{{best Gaussian: }} \quad {number(best + split.approximation)} = "
        rf"{number(best)} + {number(split.approximation)}",
    )


LESSON = Lesson(
    key="bound",
    title="The bound",
    question="Why is recon + KL the right thing to make small?",
    minutes=50,
    subject=POINT,
    symbols=("posterior", "q", "prior", "log p(x)", "KL", "E", "-ELBO", "gap", "θ", "φ"),
    steps=(
        Step(
            "wish",
            "What we want of q",
            Part.POSTERIOR,
            "Which $z$ could have made this image? The true answer is the posterior $p(z|x)$, the "
            "contours at the right. The encoder's $q(z|x)$ is to come close to it; how far it is, "
            "a KL says.",
            r"\mathrm{KL}(q(z|x), p(z|x)) = E_q\left[ \log q(z|x) - \log p(z|x) \right]",
            _definition,
            do="Choose other points: of which images is the posterior narrow, of which bent?",
        ),
        Step("bayes", "Bayes", Part.POSTERIOR, derived=derived(_BAYES)),
        Step(
            "constant",
            "The term without z",
            Part.POSTERIOR,
            "Take other places. Likelihood, prior and posterior all change, and what they add up "
            "to does not: $\\log p(x)$ has no $z$ in it. So its average over $q$ is itself, and it "
            "may leave the expectation.",
            r"E_q \log p(x) = \log p(x)",
            _everywhere,
            predict=Question(
                "without-z",
                "Which of these does not change when the encoder, and so q, does?",
                lambda board: NO_Z,
                lambda board: (
                    f"it is {board.inference.log_px:.2f} nats with whatever q; the KL is "
                    f"{board.inference.gap:.2f} with this one."
                ),
                (NO_Z, SOME_Z),
            ),
        ),
        Step("average", "Three averages", Part.POSTERIOR, derived=derived(_AVERAGE)),
        Step("bound", "The bound", Part.POSTERIOR, derived=derived(_BOUND)),
        Step("closed-form", "One of them in closed form", Part.POSTERIOR, derived=derived(_CLOSED)),
        Step(
            "closing",
            "Closing the gap",
            Part.POSTERIOR,
            "The left side does not know $\\varphi$. Whatever the encoder wins on the ELBO, the "
            "gap loses: to make $L$ small by $\\varphi$ is to move $q$ towards the posterior. By "
            "$\\theta$ it also makes the image more probable. The best Gaussian for this image was "
            "searched: its ELBO is higher, its gap smaller by as much.",
            r"\log p_\theta(x) = \mathrm{ELBO}(\theta, \varphi) "
            r"+ \mathrm{KL}(q_\varphi(z|x), p_\theta(z|x))",
            _closing,
            predict=Question(
                "gap",
                "By how many nats does the ELBO of this image fall short of $\\log p(x)$?",
                lambda board: board.inference.gap,
                lambda board: (
                    f"log p(x) = {board.inference.log_px:.2f}, ELBO = {board.inference.elbo:.2f}."
                ),
                tolerance=0.3,
                least=0.2,
            ),
        ),
    ),
    questions=(
        Question(
            "gap",
            "How large is the gap of the chosen image?",
            lambda board: board.inference.gap,
            lambda board: (
                f"log p(x) - ELBO = {board.inference.log_px:.2f} - ({board.inference.elbo:.2f})."
            ),
            tolerance=0.05,
            least=0.1,
        ),
        Question(
            "elbo",
            "If the encoder found the best Gaussian for it, what would its ELBO be?",
            best_elbo,
            lambda board: (
                f"log p(x) less the {board.gap_split.approximation:.2f} nats that no "
                "Gaussian can win."
            ),
            tolerance=0.005,
            least=0.2,
        ),
        Question(
            "who",
            "Which weights can change log p(x)?",
            lambda board: "θ only",
            lambda board: (
                f"the decoder's; with this decoder it is {board.inference.log_px:.2f} "
                "nats, whatever φ is."
            ),
            ("φ only", "θ only", "both"),
        ),
    ),
    teacher=(
        "This is the hour for the board; the page is there to put numbers under each line.",
        "Begin with a point whose contours are a banana: no ellipse fits it.",
        "Let the class name the posterior before Bayes: who knows it? Nobody, hence the bound.",
        "At the constant, have somebody choose another multiple of σ; the sum will not move.",
        "Write the three averages under each other and ask which can be computed.",
        "The KL is never negative: one line by Jensen if they know it, else lesson d.",
        "The bars of equation (8) have one length; that is the identity, not a coincidence.",
        "φ moves only the boundary between ELBO and gap. θ moves the end.",
        "With more than two latent dimensions the integral is an estimate: say so.",
        "Point 11 of digits-2d is a 2 that the encoder takes for a 5: use it to lead to lesson h.",
    ),
)
