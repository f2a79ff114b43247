"""Lesson: collapse, beta and free bits: break a model, diagnose it, mend it."""

import math

from vae.analysis.diagnosis import INACTIVE, units
from vae.lessons.board import Board
from vae.lessons.kl_steps import number
from vae.lessons.lesson import POINT, Lesson, Part, Question, Step
from vae.lessons.trials import Trial

HEALTHY_BETA, BROKEN_BETA, MENDING_BITS = 1.0, 8.0, 0.5
YES, NO = "yes", "no"


def healthy(board: Board) -> Trial:
    """Trained with the bound itself."""
    return board.trial_of(HEALTHY_BETA, 0.0)


def broken(board: Board) -> Trial:
    """Trained with a large beta."""
    return board.trial_of(BROKEN_BETA, 0.0)


def mended(board: Board) -> Trial:
    """As the broken one, with free bits."""
    return board.trial_of(BROKEN_BETA, MENDING_BITS)


def active(found: Trial) -> int:
    """How many of its dimensions say something of x."""
    measured = units(found.embedding.mu, found.embedding.kl_per_dim)
    is_active = measured.active_by_variance(INACTIVE) & measured.active_by_kl(INACTIVE)
    return int(is_active.sum())


def _bill(name: str, found: Trial) -> str:
    return (
        rf"\text{{{name}: recon }} {number(found.recon)} + \text{{KL }} {number(found.kl)} = "
        rf"{number(found.recon + found.kl)} \text{{ nats}} \qquad {active(found)} \text{{ of }} "
        rf"{found.embedding.latent_dim} \text{{ dimensions in use}}"
    )


def _why(board: Board) -> tuple[str, ...]:
    good, bad = healthy(board), broken(board)
    weighed = good.recon + BROKEN_BETA * good.kl
    return (
        rf"\text{{use }} z: \quad {number(good.recon)} + {BROKEN_BETA:g} \cdot {number(good.kl)} = "
        rf"{number(weighed)}",
        rf"\text{{give it up: }} \quad {number(bad.recon)} + {BROKEN_BETA:g} \cdot "
        rf"{number(bad.kl)} = {number(bad.recon + BROKEN_BETA * bad.kl)}",
    )


def _spread(board: Board) -> tuple[str, ...]:
    found = broken(board).embedding
    return (
        rf"\text{{all }} {len(found):,} \text{{ digits: }} |\mu| \le "
        rf"{number(float(abs(found.mu).max()))} \qquad \text{{mean }} \sigma = "
        rf"{number(float(found.sigma.mean()))}",
    )


def _free(board: Board) -> tuple[str, ...]:
    return (_bill("without", broken(board)), _bill(f"{MENDING_BITS:g} nats free", mended(board)))


def break_even(board: Board) -> float:
    """The beta from which on the healthy model's z costs more than it saves."""
    good, bad = healthy(board), broken(board)
    return (bad.recon - good.recon) / good.kl if good.kl > 0 else math.inf


LESSON = Lesson(
    key="collapse",
    title="Collapse",
    question="When does a model stop using its latent space?",
    minutes=45,
    subject=POINT,
    symbols=("KL", "recon", "prior", "posterior", "β", "free bits", "nats"),
    steps=(
        Step(
            "healthy",
            "A healthy one",
            Part.TRIALS,
            "A small model of the digits, trained here with $\\beta = 1$. Its classes lie apart, "
            "and both of its dimensions are in use: they pay KL, and save more recon than they "
            "cost.",
            r"L_\beta = \text{recon} + \beta\,\mathrm{KL}",
            lambda board: (_bill("β = 1", healthy(board)),),
        ),
        Step(
            "break",
            "Break it",
            Part.TRIALS,
            f"Now weigh the KL more: $\\beta = {BROKEN_BETA:g}$. Nothing else changes, not even "
            f"the "
            "weights that it begins with.",
            "",
            lambda board: (_bill(f"β = {BROKEN_BETA:g}", broken(board)),),
            predict=Question(
                "kl",
                f"How many nats of KL per image does a model trained with $\\beta = "
                f"{BROKEN_BETA:g}$ pay?",
                lambda board: broken(board).kl,
                lambda board: f"with β = 1 it pays {healthy(board).kl:.2f}.",
                tolerance=0.3,
                least=0.1,
            ),
            do="Choose other β: from which on does it happen?",
            trial=(BROKEN_BETA, 0.0),
        ),
        Step(
            "diagnose",
            "Diagnose it",
            Part.TRIALS,
            "Every digit has the same $q$, and that is the prior: the posterior has collapsed. The "
            "decoder learns that $z$ says nothing, and answers with one mean image.",
            r"q(z|x) = p(z) \text{ for all } x \;\Rightarrow\; \mathrm{KL} = 0",
            _spread,
            trial=(BROKEN_BETA, 0.0),
        ),
        Step(
            "why",
            "Why it gives up",
            Part.TRIALS,
            "It does what it was told: the weighted sum is smaller without $z$. To use $z$ pays "
            "only while $\\beta$ times its KL is less than the recon that it saves.",
            r"\beta\,\mathrm{KL} < \text{recon without } z - \text{recon with } z",
            _why,
            trial=(BROKEN_BETA, 0.0),
        ),
        Step(
            "free-bits",
            "Free bits",
            Part.TRIALS,
            "Give each dimension some KL for nothing: below that, its KL costs nothing, so there "
            "is no reason to give it up. The same $\\beta$, and the digits come apart again.",
            r"\text{recon} + \beta \sum_i \max(\lambda, \mathrm{KL}_i)",
            _free,
            predict=Question(
                "mends",
                f"With $\\beta = {BROKEN_BETA:g}$ and {MENDING_BITS:g} nats free in each "
                "dimension: is the model still collapsed?",
                lambda board: YES if mended(board).is_collapsed else NO,
                lambda board: (
                    f"it pays {mended(board).kl:.2f} nats of KL and has {active(mended(board))} "
                    "dimensions in use."
                ),
                (YES, NO),
            ),
            trial=(BROKEN_BETA, MENDING_BITS),
        ),
        Step(
            "mend",
            "Mend it",
            Part.TRIALS,
            "Three remedies: a smaller $\\beta$, free bits, or a longer warm-up, in which the "
            "weight of the KL climbs from 0. Which is best depends on what the space is for; "
            "Diagnose says what is wrong with your own.",
            "",
            lambda board: (
                _bill("β = 1", healthy(board)),
                _bill(f"β = {BROKEN_BETA:g}", broken(board)),
                _bill(f"β = {BROKEN_BETA:g}, free bits", mended(board)),
            ),
            do="Find settings with the smallest recon + KL.",
            trial=(BROKEN_BETA, MENDING_BITS),
        ),
    ),
    questions=(
        Question(
            "lost",
            f"How much recon per image was lost by β = {BROKEN_BETA:g}, against β = 1?",
            lambda board: broken(board).recon - healthy(board).recon,
            lambda board: f"{broken(board).recon:.2f} - {healthy(board).recon:.2f}.",
            tolerance=0.03,
            least=0.05,
        ),
        Question(
            "even",
            "Up to which β does the healthy model's z save more than it costs?",
            break_even,
            lambda board: (
                f"{broken(board).recon - healthy(board).recon:.2f} nats saved for "
                f"{healthy(board).kl:.2f} of KL."
            ),
            tolerance=0.03,
            least=0.03,
            unit="",
        ),
        Question(
            "active",
            f"How many dimensions does the model with β = {BROKEN_BETA:g} use?",
            lambda board: float(active(broken(board))),
            lambda board: (
                f"of {broken(board).embedding.latent_dim}; they pay "
                f"{broken(board).kl:.2g} nats together."
            ),
            least=0.4,
            tolerance=0,
            unit="",
        ),
    ),
    teacher=(
        "The models are trained on the server in about a second each, once for all who ask.",
        "Nothing is kept: no run appears on Train, so it works on a read-only server, too.",
        "Let the class bet at which β it collapses, then try the values from below.",
        "Show the decoded row of the collapsed model: it is the mean digit, everywhere.",
        "Collapse is not a bug of the code but the optimum of what was asked.",
        "Do the break-even by hand: saved recon over paid KL.",
        "Free bits are no magic: the model pays about what it is given free.",
        "Compare recon + KL, never the weighted loss: only that is a bound.",
        "On Train, repeat it with MNIST and a sweep of β: quick preset, a minute each.",
        "End on Diagnose with a checkpoint of theirs.",
    ),
)
