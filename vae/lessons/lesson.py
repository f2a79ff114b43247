"""What a lesson is made of: Lesson, Step and Question. Texts are Markdown, formulas KaTeX.

A step is told with the numbers of its subject: a `Pair` of Gaussians, or a point on a `Board`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vae.errors import UserError
from vae.lessons import kl_steps
from vae.lessons.glossary import GLOSSARY

PAIR, POINT = "pair", "point"  # what a lesson's numbers are of


class Part:
    """The live parts that can stand beside a step."""

    PLACES = "places"  # the map, and what a place of it decodes to
    MAP = "map"  # the map and the whole live panel
    PLANE = "plane"  # two Gaussians to be dragged
    POSTERIOR = "posterior"  # p(z|x) under q, and equation (8)
    WEIGHTS = "weights"  # the importance-weighted bound against K
    GRAPH = "graph"  # the graph of the computation, before and after reparameterisation
    DRAWS = "draws"  # both terms as draws arrive
    SLOPES = "slopes"  # the gradients with respect to one weight of each network
    CLOUDS = "clouds"  # the gradients with respect to mu and sigma, draw by draw
    TRIALS = "trials"  # small models, trained here and now
    FILM = "film"  # how the checkpoint's own map came to be, epoch by epoch
    ALL = (PLACES, MAP, PLANE, POSTERIOR, WEIGHTS, GRAPH, DRAWS, SLOPES, CLOUDS, TRIALS, FILM)


class Told(NamedTuple):
    """A step with its subject's numbers.

    Attributes:
        text: Markdown, why the step holds.
        formula: KaTeX, what it says of any subject; "" for none.
        numbers: KaTeX, the same with this subject's numbers, an entry per line.
    """

    text: str
    formula: str
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """Something to be answered, and checked against the numbers that are live.

    Attributes:
        key: names it within its lesson.
        text: Markdown.
        answer: of the subject: a number, or one of the choices.
        why: of the subject: a sentence, what the answer comes from.
        choices: what can be chosen; none where a number is asked for.
        tolerance: how far a number may be from the answer, as a share of it.
        least: how far it may be at any rate.
        unit: of the number.
    """

    key: str
    text: str
    answer: Callable[[Any], float | str]
    why: Callable[[Any], str]
    choices: tuple[str, ...] = ()
    tolerance: float = 0.02
    least: float = 0.01
    unit: str = "nats"

    def judge(self, subject: Any, given: float | str) -> "Verdict":
        """Whether an answer is right, and the sentence that says so with the number."""
        answer = self.answer(subject)
        if isinstance(answer, str):
            is_right = given == answer
        else:
            allowed = max(self.least, self.tolerance * abs(answer))
            is_right = math.isfinite(float(given)) and abs(float(given) - answer) <= allowed
        return Verdict(is_right, f"it is {self.said(answer)}: {self.why(subject)}")

    def said(self, value: float | str) -> str:
        """An answer in words."""
        return value if isinstance(value, str) else f"{readable(value)} {self.unit}".strip()


class Verdict(NamedTuple):
    """Of an answer.

    Attributes:
        is_right: whether it is.
        sentence: the right answer and where it comes from, to stand behind a comma.
    """

    is_right: bool
    sentence: str


@dataclass(frozen=True)
class Step:
    """One thought of a lesson.

    Attributes:
        key: names it in a link.
        title: a few words.
        part: the live part that stands beside it, one of `Part`.
        text, formula: as in `Told`.
        numbers: of the subject: the lines of `Told`.
        derived: of the subject: the step of a derivation that says all three.
        predict: what is asked before the numbers are shown.
        do: what to do with the live part.
        trial: beta and free bits of the small model that the part TRIALS begins with.
        tools: of the panel, that the part PLACES offers.
    """

    key: str
    title: str
    part: str
    text: str = ""
    formula: str = ""
    numbers: Callable[[Any], tuple[str, ...]] | None = None
    derived: Callable[[Any], kl_steps.Step] | None = None
    predict: Question | None = None
    do: str = ""
    trial: tuple[float, float] = (1.0, 0.0)
    tools: tuple[str, ...] = ()

    def tell(self, subject: Any) -> Told:
        """The step with the subject's numbers. Raises UserError where they cannot be had."""
        if self.derived is not None:
            step = self.derived(subject)
            return Told(self.text or step.text, step.formula, step.numbers)
        return Told(self.text, self.formula, self.numbers(subject) if self.numbers else ())


@dataclass(frozen=True)
class Lesson:
    """A class hour.

    Attributes:
        key: names it in a link.
        title: two or three words.
        question: that it answers.
        minutes: that it takes in class.
        subject: what its numbers are of: PAIR or POINT.
        symbols: names in `GLOSSARY`, in the order in which they come up.
        steps: in order.
        questions: three, at its end.
        teacher: ten lines for whoever teaches it.
        beside: the step whose part stands beside the questions; the last one if none is named.
    """

    key: str
    title: str
    question: str
    minutes: int
    subject: str
    symbols: tuple[str, ...]
    steps: tuple[Step, ...]
    questions: tuple[Question, ...]
    teacher: tuple[str, ...]
    beside: str = ""
    by_key: dict[str, Step] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if unknown := [name for name in self.symbols if name not in GLOSSARY]:
            raise UserError(f"the glossary has no {', '.join(unknown)}: add it there")
        if not self.beside:
            object.__setattr__(self, "beside", self.steps[-1].key)
        object.__setattr__(self, "by_key", {step.key: step for step in self.steps})

    def step(self, key: str) -> Step:
        """Raises UserError for a step that there is not."""
        if key not in self.by_key:
            raise UserError(
                f"the lesson {self.key!r} has no step {key!r}; its steps are "
                f"{', '.join(self.by_key)}"
            )
        return self.by_key[key]


def readable(value: float) -> str:
    """A number as a sentence has it."""
    if not math.isfinite(value):
        return "no finite number"
    if value == round(value) and abs(value) < 1e6:
        return f"{value:,.0f}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
