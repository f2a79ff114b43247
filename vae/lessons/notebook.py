"""A step of the course in a notebook: its text, formulas and numbers, and the figure beside it."""

from typing import Any

import plotly.graph_objects as go

from vae.analysis.embedding import embed
from vae.core import gaussian
from vae.data import catalogue
from vae.errors import UserError
from vae.figures import explore, gaussians, lessons
from vae.lessons import course, gaussian_pair
from vae.lessons.board import Board, board
from vae.lessons.gaussian_pair import Pair
from vae.lessons.lesson import PAIR, Lesson, Part, Step, Told
from vae.runs import checkpoint


class Page:
    """A step that a notebook displays: Markdown with formulas, and a figure where there is one.

    Attributes:
        lesson, step: of the course.
        told: the step with its subject's numbers.
        figure: what stands beside it; None for a part that lives in the app alone.
    """

    def __init__(self, lesson: Lesson, step: Step, told: Told, figure: go.Figure | None) -> None:
        self.lesson, self.step, self.told, self.figure = lesson, step, told, figure

    @property
    def markdown(self) -> str:
        """The text, the formula and the numbers, as Markdown with formulas between dollar signs."""
        number = self.lesson.steps.index(self.step) + 1
        head = f"#### {self.lesson.title}, {number}: {self.step.title}"
        formulas = filter(None, (self.told.formula, *self.told.numbers))
        return "\n\n".join([head, self.told.text, *(f"$${line}$$" for line in formulas)])

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """What Jupyter, VS Code, Colab and marimo ask an object for."""
        return {"text/markdown": self.markdown, "text/plain": self.markdown}

    def _ipython_display_(self) -> None:
        from IPython.display import Markdown, display  # pyright: ignore[reportMissingImports]

        display(Markdown(self.markdown))
        if self.figure is not None:
            display(self.figure)


def show(lesson: str, step: str = "", subject: Pair | Board | None = None) -> Page:
    """A step of the course, to be displayed as the last line of a notebook's cell.

        vae.lessons.show("closed-form", step="cyclic")

    Args:
        lesson, step: their keys, as in the app's links; the first step if none is named.
        subject: whose numbers the step is told with. By default two Gaussians that differ in
            everything, or the first held-out digit, seen through the model `digits-2d`.

    Raises:
        UserError: there is no such lesson or step, the subject is not of the lesson's kind, or the
            default model is not there.
    """
    found = course.lesson(lesson)
    chosen = found.step(step) if step else found.steps[0]
    if subject is None:
        subject = gaussian_pair.tilted(2) if found.subject == PAIR else _first_digit()
    if not isinstance(subject, Pair if found.subject == PAIR else Board):
        kind = (
            "a Pair (vae.lessons.gaussian_pair.pair)"
            if found.subject == PAIR
            else ("a Board (vae.lessons.board.board)")
        )
        raise UserError(f"the lesson {lesson!r} is told with {kind}, not {type(subject).__name__}")
    return Page(found, chosen, chosen.tell(subject), _figure(chosen, subject))


def _first_digit() -> Board:
    run = checkpoint.open_run(checkpoint.folder() / "digits-2d")
    images = catalogue.load("digits", "test")
    model = run.load_model()
    return board(model, run.load_embedding() or embed(model, images), 0, images)


def _figure(step: Step, subject: Pair | Board) -> go.Figure | None:
    """What stands beside the step, still: a notebook has no live panel."""
    if isinstance(subject, Pair):
        return _line_between(subject)
    if step.part in (Part.PLACES, Part.MAP) and subject.embedding.latent_dim == 2:
        return explore.latent_map(
            *(subject.embedding, subject.embedding.mu, "label", ("z₁", "z₂")),
            prior_centre=subject.embedding.mu[0] * 0,
            selected=subject.index,
        )
    if step.part == Part.GRAPH:
        mu, sigma, eps = (float(v[0]) for v in (subject.mu, subject.sigma, subject.eps))
        values = {"mu": mu, "sigma": sigma, "eps": eps, "z": mu + sigma * eps}
        return lessons.computation_graph({name: f"{v:.3f}" for name, v in values.items()})
    if step.part == Part.SLOPES:
        found = subject.slopes
        return lessons.slopes(
            {"θ": found.theta.numpy(), "φ": found.phi.numpy()},
            {"θ": found.theta_autograd, "φ": found.phi_autograd},
        )
    return None


def _line_between(pair: Pair) -> go.Figure:
    """Both densities along the first dimension: their marginals there."""
    first = pair.with_dimensions(1)
    x = first.places
    densities = [gaussian.full_log_prob(x, *q).exp().numpy() for q in (first[:2], first[2:])]
    ways = first, first.swapped
    integrands = [gaussian.kl_integrand(x, *way).numpy() for way in ways]
    return gaussians.line(
        x[:, 0].numpy(), (densities[0], densities[1]), (integrands[0], integrands[1])
    )
