"""Whether the data agree with how a file was read; and the reading that they prefer.

What shapes cannot tell (`Fact`) is a small set of hypotheses. Each reading is scored on a few
hundred images, and a fact's default is overruled only by a clear margin, since a free search
takes a wrong reading for a hundredth of a nat.

Readings of different p(x|z) have to be held against each other, so that the score is on one scale:
-ELBO with the cross-entropy of the decoded mean, as of Bernoulli pixels. Its floor, the entropy of
the grey pixels themselves, is left out of what the relative margin is taken of.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from vae import wording
from vae.core.lattice import MOST_DIMENSIONS
from vae.data.dataset import Dataset
from vae.errors import UserError
from vae.formats.card import ALIKE, ASSUMED, CHOSEN, DATA, FILE, NAMES, SIZE, SIZES, Fact
from vae.formats.descent import Descent, planned
from vae.formats.doubts import doubts
from vae.formats.run import ForeignRun, weights_kept
from vae.formats.sample import Sample
from vae.formats.wording import listed, nats

N_IMAGES = 200
MARGIN, RELATIVE_MARGIN = 1.5, 0.06  # nats per image; of what lies above the floor
SECONDS, SECONDS_WIDER = 25.0, 300.0  # of this thread, so that other work changes nothing
# That a slow model is searched with: for what shows in the picture, and for the bound.
_FEW_IMAGES, _FEWER_IMAGES = 16, 48
_SLOW = 0.03  # seconds of one reading
# Of what another size of image costs: better by so much; what is spent on each size.
_CLEARLY, _SECONDS_OF_SIZE = 0.7, 1.5
_MOST_OUTSIDE = 0.05  # share of the pixels that may lie outside [0, 1]
# Of a batch norm's inputs from what it has seen, in deviations: 0.03 to 0.2 where a file is read
# rightly.
_MOST_APART = 0.5
# Of the constant image's cost: a reading above it may not be the best one yet. How many beginnings
# may be of no use where a reading is good, poor, or explains nothing; times as many in minutes.
_MEDIOCRE, _PATIENCE, _MORE_PATIENCE = 0.7, (0, 12, 24), 8
_MOST_BETTER = 3  # changes taken once the search has ended

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Reading:
    """One way to read a file.

    Attributes:
        choices: the value of each fact, by its name.
        neg_elbo: on the images that were tried, nats per image, with the cross-entropy of the
            decoded mean as recon whatever p(x|z) is.
    """

    choices: tuple[tuple[str, str], ...]
    neg_elbo: float

    def changes(self, run: ForeignRun) -> dict[str, str]:
        """The facts, and their values here, that the run is not read with."""
        now = {fact.name: fact.value for fact in run.facts}
        return {name: value for name, value in self.choices if now.get(name) != value}


@dataclass(frozen=True)
class Verdict:
    """What a few images say of a model as it is read.

    Attributes:
        passed: whether its numbers can be shown without a warning.
        neg_elbo: as `Reading`.
        constant: the cross-entropy of the best constant image, nats per image.
        reasons: sentences that say why it did not pass.
        better: other readings that are better by the margin, the best first.
        n_images: that were looked at.
        doubts: of one that passed: sentences that say what is undecided and would change numbers.
    """

    passed: bool
    neg_elbo: float
    constant: float
    reasons: tuple[str, ...]
    better: tuple[Reading, ...]
    n_images: int
    doubts: tuple[str, ...] = ()


def settle(
    run: ForeignRun, images: Dataset, progress: Progress | None = None, wider: bool = False
) -> tuple[ForeignRun, Verdict]:
    """The run, read as the data prefer where the file leaves a choice, and what they say of it.

    What was chosen, or is how a person's own code says it, is never overruled: a better reading
    is offered.

    Args:
        run: as opened.
        images: that it is shown on, with labels for a conditional model; resized if need be.
        progress: called with (readings tried, readings in all); what it raises ends the work.
        wider: search for minutes instead of seconds.

    Returns:
        The run with its facts as they are known now, and the verdict.

    Raises:
        UserError: its weights cannot be read.
    """
    with weights_kept():
        run = _of_size(run, images)
        run, verdict = _Search(run, images, progress, wider).settled()
        return run.bound(images), verdict


def _of_size(run: ForeignRun, images: Dataset) -> ForeignRun:
    """The run read for the size of images that the data have, or at which it does best.

    Costs of images of different sizes are not on one scale, but their shares of what a constant
    image costs are.
    """
    fact = next((f for f in run.facts if f.name == SIZE and f.known in (ASSUMED, SIZES)), None)
    if fact is None or run.read_with is None:
        return run
    own = "x".join(map(str, images.image_shape[1:]))
    value = own if own in fact.values else fact.value
    # The layers speak for those before the data's own size, or for two alike.
    near = max(fact.values.index(value), 2 * (fact.known == ASSUMED))
    others = fact.values[:near] if own in fact.values else fact.values
    costs = {
        v: _of_constant(run.read_with({**dict(run.choices), SIZE: v}), images)
        for v in dict.fromkeys((*others, value))
        if others
    }
    best = min(costs, key=lambda v: costs[v], default=value)
    if best != value and costs[best] < _CLEARLY * costs[value]:
        value = best
    ours = costs.pop(value, 0.0)
    is_known = own in fact.values or value != fact.value
    known = DATA if is_known and all(ours < _CLEARLY * cost for cost in costs.values()) else ASSUMED
    if value != fact.value:
        run = run.read_with({**dict(run.choices), SIZE: value})
    facts = (replace(f, known=known) if f.name == SIZE else f for f in run.facts)
    return replace(run, facts=tuple(facts))


def _of_constant(run: ForeignRun, images: Dataset) -> float:
    """The cost of the best picture found in no time, as a share of the constant image's."""
    search = _Search(run, images, None)
    search.glanced_at = search.sample.fewer(_FEW_IMAGES)
    search.until = time.thread_time() + _SECONDS_OF_SIZE
    try:
        return search.descent().seen(search.start, search.free) / search.glanced_at.constant
    except (UserError, RuntimeError, ValueError):
        return math.inf


class _Search:
    """The readings of one file on the same images and the same noise."""

    def __init__(
        self, run: ForeignRun, images: Dataset, progress: Progress | None, wider: bool = False
    ) -> None:
        self.run, self.progress = run, progress
        self.until = time.thread_time() + (SECONDS_WIDER if wider else SECONDS)
        self.wider = wider
        self.words = wording.of(run.model_config.kind)
        self.n_labels = int(images.labels.max()) + 1 if len(images) else 0
        self.sample = Sample.of(images, run.model_config, N_IMAGES)
        if run.card.no_encoder:  # what explains an image has to be searched
            self.sample = self.sample.fewer(_FEWER_IMAGES)
        self.searched_with = self.glanced_at = self.sample
        self.scores: dict[tuple[int, bool, tuple[tuple[str, str], ...]], float] = {}
        self.tried = self.planned = 0
        self.start = {fact.name: fact.value for fact in run.facts}
        self.open = [fact for fact in run.facts if len(fact.values) > 1 and fact.name != SIZE]
        self.free = [fact for fact in self.open if fact.known not in (FILE, CHOSEN)]

    def settled(self) -> tuple[ForeignRun, Verdict]:
        began = time.thread_time()
        self.score(self.start)
        if time.thread_time() - began > _SLOW:
            self.searched_with = self.sample.fewer(_FEWER_IMAGES)
            self.glanced_at = self.sample.fewer(_FEW_IMAGES)
        free = self.free
        best = self._nearest_to_default(self._best(free))
        if self.score(best) >= self.sample.constant:
            best = dict(self.start)  # data that no reading explains do not decide between them
        best, around = self._with_better(best)
        other = self._nearest_to_default(self._best(self.open)) if free != self.open else best
        run = self._read(best)
        run = replace(run, facts=tuple(self._known(f, best, around) for f in run.facts))
        run = replace(run, choices=self._chosen(best))
        verdict = self._verdict(run, best, [other, *({**best, n: v} for n, v in around)])
        if verdict.passed:
            ours = self.score(best, self.searched_with)
            near = min(MARGIN, RELATIVE_MARGIN * self.sample.constant)  # of few pixels all is near
            said = doubts(self._as_named(run.facts), around, ours + near, self._seen, self.words)
            verdict = replace(verdict, doubts=said)
        return run, verdict

    def _as_named(self, facts: tuple[Fact, ...]) -> Iterator[Fact]:
        """The facts, of which names decide what the data do not speak against."""
        named = {(fact.name, fact.value) for fact in self.run.facts if fact.known == NAMES}
        for fact in facts:
            yield replace(fact, known=NAMES) if (fact.name, fact.value) in named else fact

    def _seen(self, values: Mapping[str, str]) -> tuple[float, Tensor]:
        return self.sample.seen(self._read(values).load_model())

    def score(
        self, values: Mapping[str, str], sample: Sample | None = None, at_mu: bool = False
    ) -> float:
        """-ELBO above the floor, nats per image; infinite where it cannot be computed."""
        sample = sample or self.sample
        key = len(sample.x), at_mu, tuple(sorted(values.items()))
        if key not in self.scores:
            self.tried += 1
            if self.progress:
                self.progress(self.tried, max(self.planned, self.tried))
            try:
                self.scores[key] = sample.score(self._read(values).load_model(), at_mu)
            except (UserError, RuntimeError, ValueError):
                if values == self.start:
                    raise
                self.scores[key] = math.inf
        return self.scores[key]

    def _read(self, values: Mapping[str, str]) -> ForeignRun:
        choices = self._chosen(values)
        if choices == self.run.choices or self.run.read_with is None:
            return self.run
        return self.run.read_with(dict(choices))

    def _chosen(self, best: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        changed = {k: v for k, v in best.items() if v != self.start[k]}
        return tuple(sorted((dict(self.run.choices) | changed).items()))

    def _best(self, free: list[Fact]) -> dict[str, str]:
        """The best reading, of other beginnings too where the first one leads to a poor one."""
        self.planned += planned(free)
        descent = self.descent()
        best = descent.best(self.start, free)
        return descent.anew(best, self.start, free, self._patience)

    def _patience(self, values: Mapping[str, str]) -> int:
        """How many beginnings may be of no use before a reading is taken for the best."""
        cost, constant = self.score(values), self.sample.constant
        if cost < constant and not self._is_odd(self._read(values)):
            poor = int(cost >= _MEDIOCRE * constant)
        else:
            poor = 2
        return _MORE_PATIENCE * max(_PATIENCE[poor], 2) if self.wider else _PATIENCE[poor]

    def descent(self) -> Descent:
        """A search that ends with this one's time."""
        return Descent(
            lambda values: self.score(values, self.glanced_at, True),
            lambda values: self.score(values, self.searched_with),
            self.until,
        )

    def _is_odd(self, run: ForeignRun) -> bool:
        """Whether the batch norms or the range of the pictures speak against a reading."""
        apart, (_, _, outside) = self._oddities(run)
        return apart > _MOST_APART or outside > _MOST_OUTSIDE

    def _oddities(self, run: ForeignRun) -> tuple[float, tuple[float, float, float]]:
        """`Sample.norms_apart` and `Sample.range_of` of a reading."""
        model = run.load_model()
        apart = 0.0 if run.card.no_encoder else self.sample.norms_apart(model)
        return apart, self.sample.range_of(model)

    def _nearest_to_default(self, best: dict[str, str]) -> dict[str, str]:
        """With the default of each fact for which no other value is better by the margin.

        Of other values that are as good as each other the first is taken: the likeliest.
        """
        lowest = self.score(best)
        if lowest == math.inf:
            return dict(self.start)
        for fact in self.open:
            if best[fact.name] == self.start[fact.name]:
                continue
            for value in (self.start[fact.name], *fact.values):
                allowed = ALIKE
                if value == self.start[fact.name]:
                    # Where no name speaks for it, it yields to less; it stays an assumption.
                    unnamed = fact.name == "second head" and fact.known == ASSUMED
                    allowed = MARGIN if unnamed else _margin(lowest)
                if self.score({**best, fact.name: value}) - lowest <= allowed:
                    best = {**best, fact.name: value}
                    break
        return best

    def _with_better(
        self, best: dict[str, str]
    ) -> tuple[dict[str, str], dict[tuple[str, str], float]]:
        """The best reading with each change that is still better by the margin; and those around.

        A search that time ended, or that saw fewer images, leaves some.
        """
        free = {fact.name for fact in self.free}
        around = self._around(best)
        for _ in range(_MOST_BETTER):
            left = {key: score for key, score in around.items() if key[0] in free}
            at = min(left, key=lambda key: left[key], default=None)
            ours = self.score(best, self.searched_with)
            if (
                at is None
                or left[at] >= self.sample.constant
                or ours - left[at] <= _margin(left[at])
            ):
                break
            best = {**best, at[0]: at[1]}
            around = self._around(best)
        return best, around

    def _around(self, best: dict[str, str]) -> dict[tuple[str, str], float]:
        """The score of each reading that differs from the best in one fact."""
        return {
            (fact.name, value): self.score({**best, fact.name: value}, self.searched_with)
            for fact in self.open
            for value in fact.values
            if value != best[fact.name]
        }

    def _known(
        self, fact: Fact, best: Mapping[str, str], around: Mapping[tuple[str, str], float]
    ) -> Fact:
        others = [score for (name, _), score in around.items() if name == fact.name]
        value = best.get(fact.name, fact.value)
        original = next((f for f in self.run.facts if f.name == fact.name), fact)
        if not others:
            return replace(fact, value=value, known=original.known)
        ours = self.score(best, self.searched_with)
        margin = min(others) - ours
        decided = margin > _margin(ours)
        if original.known in (FILE, CHOSEN):
            known = original.known
        elif decided and (value != original.value or original.known == ASSUMED):
            known = DATA
        elif value == original.value and margin >= ALIKE:
            known = original.known
        else:  # what names say is doubtful where the data do not bear it out
            known = ASSUMED
        return replace(
            fact, value=value, known=known, margin=margin if math.isfinite(margin) else None
        )

    def _verdict(
        self, run: ForeignRun, best: dict[str, str], others: list[dict[str, str]]
    ) -> Verdict:
        ours, floor = self.score(best), self.sample.floor
        nearby = self.score(best, self.searched_with)
        better: list[Reading] = []
        for values in others:
            there = self.score(values, self.searched_with)
            if nearby - there > _margin(there):
                better.append(Reading(self._chosen(values), self.score(values) + floor))
        better.sort(key=lambda reading: reading.neg_elbo)
        reasons = list(self._reasons(run, ours))
        if better:
            changed = ", ".join(f"{n}: {v}" for n, v in better[0].changes(run).items())
            reasons.append(
                f"Read otherwise ({changed}) it costs {nats(better[0].neg_elbo, 1)} nats per "
                f"{self.words.point}, instead of {nats(ours + floor, 1)}."
            )
        constant = self.sample.constant + floor
        n = len(self.sample.x)
        return Verdict(not reasons, ours + floor, constant, tuple(reasons), tuple(better), n)

    def _reasons(self, run: ForeignRun, ours: float) -> Iterator[str]:
        sample = self.sample
        if run.card.missing:
            yield (
                f"Nothing here reads {listed(run.card.missing)}, though the model seems to use it: "
                "then it is another network than the one that is shown."
            )
        if (n := run.model_config.n_classes) and self.n_labels > n:
            yield (
                f"It is read as conditional on a label of {n} classes, and these "
                f"{self.words.points} have {self.n_labels}: it was trained on other "
                "data, or the file is meant otherwise."
            )
        if run.card.no_encoder and run.model_config.latent_dim > MOST_DIMENSIONS:
            yield f"{run.card.no_encoder[0].upper()}{run.card.no_encoder[1:]}."
        elif ours >= sample.constant:
            cost = (
                f"costs {nats(ours + sample.floor, 1)} nats per {self.words.point}"
                if ours < math.inf
                else "gives no finite numbers"
            )
            points, point = ("vectors", "vector") if sample.vectors else ("images", "image")
            yield (
                f"On {len(sample.x)} of these {points} the model {cost}, and one constant {point} "
                f"for all costs {sample.constant + sample.floor:.1f}: it was trained on other "
                "data, or the file is meant otherwise."
            )
        apart, (low, high, outside) = self._oddities(run)
        if apart > _MOST_APART:
            yield (
                "Its batch norms have seen other numbers than these "
                f"{self.words.points} give them, {apart:.1f} standard deviations away: it was "
                "trained on other data, or is read wrongly before them."
            )
        if outside > _MOST_OUTSIDE:
            yield (
                f"Its pictures go from {low:.2f} to {high:.2f} and should be in [0, 1]: "
                f"{outside:.0%} of the pixels lie outside."
            )


def _margin(score: float) -> float:
    return max(MARGIN, RELATIVE_MARGIN * score) if math.isfinite(score) else 0.0
