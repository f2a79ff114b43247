"""What a lesson's numbers are of: the pair that is dragged, or the chosen point."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from streamlit.delta_generator import DeltaGenerator

from vae.data.dataset import to_unit
from vae.lessons import course, trials
from vae.lessons.board import N_DRAWS, Board
from vae.lessons.gaussian_pair import Pair
from vae.lessons.lesson import PAIR, Lesson
from vae.lessons.trials import Trial
from vae.ui.learn import pair
from vae.ui.results import inference, waiting
from vae.ui.view import View, chosen_view, point_picker


@dataclass(frozen=True)
class Shown:
    """What a lesson is told with.

    Attributes:
        subject: for its steps and questions.
        identity: another one where the numbers are others.
        view, index: the chosen point; None for a pair.
    """

    subject: Pair | Board
    identity: Hashable
    view: View | None = None
    index: int = 0


def of(lesson: Lesson, picker: DeltaGenerator) -> Shown:
    """The lesson's subject; ends the page, with a sentence, where there is no checkpoint.

    Args:
        lesson: that is told.
        picker: where the field of the point shall stand.
    """
    is_plain = lesson is course.FIRST
    if lesson.subject == PAIR:
        found = pair.current()
        return Shown(found, tuple(tuple(values.flatten().tolist()) for values in found))
    view = chosen_view()
    with picker:
        index = point_picker(view.embedding, "Picture" if is_plain else "Point")
    return Shown(_board(view, index), (view.key, index), view, index)


def trial(beta: float, free_bits: float) -> Trial:
    """A small model, trained once for all visitors. Raises UserError."""
    return waiting.result(
        ("trial", beta, free_bits),
        lambda progress: trials.trial(beta, free_bits),
        f"Training a small model with β = {beta:g}",
    )


def _board(view: View, index: int) -> Board:
    def gradients() -> Any:
        return inference.gradients(view, index, inference.of_point(view, index), N_DRAWS, 0)

    return Board(
        view.given(index),
        view.embedding,
        index,
        None if view.images is None else to_unit(view.images.images[index]),
        infer=lambda: inference.of_point(view, index),
        split=lambda: (
            inference.known_split(view, index)
            or inference.split(view, index, inference.of_point(view, index))
        ),
        gradients_of=gradients,
        slopes_of=lambda: inference.slopes(view, index, N_DRAWS),
        trial_of=trial,
    )
