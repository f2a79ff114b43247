"""Lesson: what the encoder misses: other peaks, amortisation, and what importance weights tell."""

import torch

from vae.errors import UserError
from vae.inference.gap import N_WEIGHTS
from vae.lessons.board import Board, derived
from vae.lessons.kl_steps import number
from vae.lessons.lesson import POINT, Lesson, Part, Question, Step

_MANY_SAMPLES = 6  # of `loss_steps`
_BANANA = 3.0  # standard deviations of q: a peak further away is another one
AMORTISATION, APPROXIMATION = "amortisation", "approximation"
YES, NO = "yes", "no"


def peak_distance(board: Board) -> float:
    """From q's mu to the highest peak of p(z|x), in q's standard deviations. Raises UserError."""
    found = board.inference
    if found.exact is None:
        raise UserError(
            f"with {len(found.mu)} latent dimensions p(z|x) is not integrated, so its peak is not "
            "known; choose a model with one or two"
        )
    away = (found.exact.mode[0].to(found.mu) - found.mu) / (found.logvar / 2).exp()
    return float(torch.linalg.vector_norm(away))


def greater_part(board: Board) -> str:
    """Of the gap."""
    split = board.gap_split
    return AMORTISATION if split.amortisation > split.approximation else APPROXIMATION


def short(board: Board) -> float:
    """What the bound of all weighted samples lacks of log p(x), in nats."""
    found = board.inference
    return found.log_px - float(found.weighted(N_WEIGHTS)[0])


def _peak(board: Board) -> tuple[str, ...]:
    found = board.inference
    distance = peak_distance(board)
    assert found.exact is not None
    shown = zip(found.mu.tolist(), found.exact.mode[0].tolist(), strict=True)
    return (
        *(
            rf"\mu_{{{d}}} = {number(mu)} \qquad \text{{highest peak: }} {number(mode)}"
            for d, (mu, mode) in enumerate(shown, 1)
        ),
        rf"{number(distance)} \; \sigma \text{{ apart}}",
    )


def _gap(board: Board) -> tuple[str, ...]:
    found = board.inference
    return (
        rf"{number(found.log_px)} - ({number(found.elbo)}) \approx {number(found.gap)} "
        r"\text{ nats}",
    )


def _split(board: Board) -> tuple[str, ...]:
    split = board.gap_split
    return (
        rf"{number(split.amortisation + split.approximation)} = "
        rf"\underbrace{{{number(split.amortisation)}}}"
        rf"_{{\text{{amortisation}}}} + \underbrace{{{number(split.approximation)}}}"
        r"_{\text{approximation}} \text{ nats}",
    )


def _weighted(board: Board) -> tuple[str, ...]:
    found = board.inference
    return tuple(
        rf"K = {K:,}: \quad {number(found.weighted(K)[0])} \text{{ nats}}"
        for K in (1, 10, 100, 1000)
    )


def _samples(board: Board) -> tuple[str, ...]:
    found = board.inference
    worth = rf"\text{{{N_WEIGHTS:,} samples are worth }} {number(found.ess)}"
    if found.exact is None:
        return (worth, r"\log p(x) \text{ is known by these samples alone}")
    return (worth, rf"\text{{still short of }} \log p(x): \; {number(short(board))}")


LESSON = Lesson(
    key="misses",
    title="What it misses",
    question="What does the encoder not see?",
    minutes=45,
    subject=POINT,
    symbols=("posterior", "q", "gap", "log p(x)", "-ELBO", "K", "nats"),
    steps=(
        Step(
            "shape",
            "An ellipse for a banana",
            Part.POSTERIOR,
            "The contours are the true posterior, the ellipses $q$: a Gaussian with upright axes, "
            "whatever shape the posterior has. What it cannot follow, it pays for: the gap.",
            r"\log p(x) - \mathrm{ELBO} = \mathrm{KL}(q(z|x), p(z|x))",
            _gap,
            do="Choose points 31, 33 and 100: whose contours does an ellipse fit?",
        ),
        Step(
            "peak",
            "Another peak",
            Part.POSTERIOR,
            "Sometimes the posterior has several peaks, and the encoder sits on a lower one: it "
            "takes a 4 for a 0, say. The KL from $q$ forgives that: it only asks whether the "
            "posterior is there where $q$ is.",
            r"z^* = \arg\max_z \; p(x|z)\,p(z)",
            _peak,
            predict=Question(
                "other",
                f"Does the encoder's μ lie more than {_BANANA:g} of its σ away from the "
                "highest peak, for this image?",
                lambda board: YES if peak_distance(board) > _BANANA else NO,
                lambda board: f"it is {peak_distance(board):.1f} σ away.",
                (YES, NO),
            ),
        ),
        Step(
            "amortisation",
            "Two reasons for a gap",
            Part.POSTERIOR,
            "One encoder answers for all images in one step; a search for this one image could "
            "find a better Gaussian. That is the amortisation gap. What even the best Gaussian of "
            "the family lacks is the approximation gap.",
            r"\text{gap} = "
            r"\underbrace{\mathrm{ELBO}(q^*) - \mathrm{ELBO}(q)}_{\text{amortisation}} + "
            r"\underbrace{\mathrm{KL}(q^*, p(z|x))}_{\text{approximation}}",
            _split,
            predict=Question(
                "part",
                "Which part of this image's gap is the greater?",
                greater_part,
                lambda board: (
                    f"amortisation is {board.gap_split.amortisation:.2f} nats, "
                    f"approximation {board.gap_split.approximation:.2f}."
                ),
                (AMORTISATION, APPROXIMATION),
            ),
        ),
        Step(
            "weights",
            "Importance weights",
            Part.WEIGHTS,
            "Draw $K$ samples from $q$ and weigh each by how much more probable the model finds it "
            "than $q$ does. The logarithm of the mean weight is a bound, too, and climbs with "
            "$K$: with one sample it is the ELBO.",
            r"\mathcal{L}_K = E \log \frac1K \sum_{k=1}^{K} \frac{p(x, z_k)}{q(z_k|x)}",
            _weighted,
        ),
        Step(
            "samples",
            "What the weights do not know",
            Part.WEIGHTS,
            "Samples from $q$ never meet a peak that $q$ does not cover. The bound then stays "
            "below $\\log p(x)$, and its standard error says nothing of that. The effective sample "
            "size is a warning, not a proof.",
            r"\mathrm{ESS} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2}",
            _samples,
            do="Anneal from the prior: chains that begin everywhere find the other peak.",
        ),
        Step(
            "tighter",
            "A tighter bound",
            Part.WEIGHTS,
            derived=derived(_MANY_SAMPLES),
        ),
    ),
    questions=(
        Question(
            "win",
            "How many nats could a better encoder win for this image, with the same decoder?",
            lambda board: board.gap_split.amortisation,
            lambda board: (
                "the amortisation gap; the other "
                f"{board.gap_split.approximation:.2f} nats no Gaussian with upright axes can win."
            ),
            tolerance=0.05,
            least=0.1,
        ),
        Question(
            "ess",
            f"How many equally weighted samples are the {N_WEIGHTS:,} from q worth?",
            lambda board: board.inference.ess,
            lambda board: "the square of the weights' sum over the sum of their squares.",
            tolerance=0.05,
            least=1,
            unit="samples",
        ),
        Question(
            "short",
            "By how much does the bound with all of them fall short of log p(x)?",
            short,
            lambda board: (
                f"log p(x) is {board.inference.log_px:.2f} nats."
                if board.inference.exact
                else "with so many dimensions log p(x) is known by these samples alone."
            ),
            tolerance=0.1,
            least=0.1,
        ),
    ),
    beside="amortisation",
    teacher=(
        "Open digits-2d at point 11: a 2 whose encoder's q lies among the fives.",
        "Let the class draw the posterior they expect before you show the contours.",
        "The KL from q to p is forgiving about peaks; lesson d's direction question returns here.",
        "Ask how a better encoder could help, and how a better family could. That is the split.",
        "A trained encoder of MNIST takes another peak for a third; mnist-2d's lattice does not.",
        "At K = 1 the weights are the ELBO: check both numbers on the page.",
        "Ask whether the standard error should be believed. It should not, here.",
        "Anneal takes a few seconds; begin it before you talk.",
        "The whole-set section on Inference shows all gaps, the worst first: a good exercise.",
        "Close with the machine on the board from lesson b: which arrow was this hour about?",
    ),
)
