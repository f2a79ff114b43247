"""A search of what a file leaves open for the values that cost the least on the data.

Facts are changed one by one, those that explain each other together. Where that ends in a reading
that explains nothing, it begins anew from values drawn at random: with the wrong strides no
activation is any better than another one, so that a descent may end far from the best reading.
"""

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from vae.formats.card import Fact

Values = dict[str, str]  # of each fact, by its name

# What explains each other is tried together: first what shows in the picture at mu, without noise,
# since under a wrong second head there is nothing but noise; then what shows in the bound.
_IN_PICTURE = (
    ("strides", "decoder strides", "label"),
    ("residual blocks", "activation before the blocks", "blocks enlarge", "upsampling", "norms"),
    ("input", "output", "heads", "hidden activation"),
)
_IN_BOUND = ("second head", "head activation")
_ODD = (0.3, 0.6, 1.0)  # of the facts are drawn where the search begins anew


class Descent:
    """From one reading to better ones, until time is up.

    Args:
        glance: what a reading costs by its picture alone; quick.
        score: what it costs.
        until: `time.thread_time()` at which nothing more is tried.
    """

    def __init__(
        self,
        glance: Callable[[Mapping[str, str]], float],
        score: Callable[[Mapping[str, str]], float],
        until: float,
    ) -> None:
        self.glance, self.score, self.until = glance, score, until
        self.random = random.Random(0)

    @property
    def is_late(self) -> bool:
        """Whether time is up."""
        return time.thread_time() > self.until

    def best(self, start: Values, free: Sequence[Fact]) -> Values:
        """The best reading: by the facts that explain each other, then one by one.

        Strides and sums are looked at first, and then last: what is found before they are right is
        worth little, and so is what is found of them while the rest is wrong.

        Args:
            start: a value of every fact.
            free: those that may be changed.
        """
        pictures = [[fact for fact in free if fact.name in names] for names in _IN_PICTURE]
        shown = _shown(free)
        orders = [pictures, pictures[::-1]] if pictures[0] or pictures[1] else [pictures]
        found = [self._in_picture(start, order, shown) for order in orders]
        return self._in_bound(min(found, key=self.glance), free)

    def anew(
        self,
        best: Values,
        start: Values,
        free: Sequence[Fact],
        patience: Callable[[Values], int],
    ) -> Values:
        """The best of what is found from other beginnings, or what was found before.

        Args:
            best: what was found before.
            start: as of `best`; the first beginning, the others are drawn.
            free: the facts that may be changed.
            patience: how many beginnings in a row may be of no use where a reading was found.
        """
        shown, of_no_use, begin = _shown(free), 0, start
        lowest, most = math.inf, patience(best)
        while not self.is_late and shown and of_no_use < most:
            found = self._steepest(begin, shown)
            begin = self._drawn(start, shown)
            of_no_use += 1
            if self.glance(found) < lowest:
                lowest = self.glance(found)
                found = self._in_bound(found, free)
                if self.score(found) < self.score(best):
                    best, of_no_use, most = found, 0, patience(found)
        return best

    def _drawn(self, start: Values, shown: Sequence[Fact]) -> Values:
        """A beginning with some of the facts as usual, since few files are odd in all."""
        odd = self.random.choice(_ODD)
        return start | {
            fact.name: self.random.choice(fact.values)
            for fact in shown
            if self.random.random() < odd
        }

    def seen(self, start: Values, free: Sequence[Fact]) -> float:
        """What the best picture costs that is found on the quick."""
        return self.glance(self._steepest(start, _shown(free)))

    def _in_picture(self, best: Values, groups: list[list[Fact]], shown: Sequence[Fact]) -> Values:
        """The best picture at mu, the groups of facts tried in this order."""
        for _ in range(2):
            before = best
            for group in groups:
                for values in combined(best, group):
                    best = self._better(best, values, self.glance)
            best = self._one_by_one(best, shown, self.glance)
            if best == before:
                break
        return best

    def _in_bound(self, best: Values, free: Sequence[Fact]) -> Values:
        """A reading of which the picture is found, with what shows in the bound."""
        for values in combined(best, [fact for fact in free if fact.name in _IN_BOUND]):
            best = self._better(best, values, self.score)
        return self._one_by_one(best, free, self.score)

    def _steepest(self, best: Values, shown: Sequence[Fact]) -> Values:
        """The best picture that changes of one fact at a time lead to, in an order drawn."""
        before: Values = {}
        while best != before and not self.is_late:
            before = best
            best = self._one_by_one(
                best, self.random.sample(list(shown), len(shown)), self.glance, 1
            )
        return best

    def _one_by_one(
        self,
        best: Values,
        facts: Sequence[Fact],
        cost: Callable[[Values], float],
        rounds: int = 4,
    ) -> Values:
        for _ in range(rounds):
            before = best
            for fact in facts:
                for value in fact.values:
                    best = self._better(best, {**best, fact.name: value}, cost)
            if best == before or self.is_late:
                break
        return best

    def _better(self, best: Values, values: Values, cost: Callable[[Values], float]) -> Values:
        if values == best or self.is_late:
            return best
        return values if cost(values) < cost(best) else best


def planned(free: Sequence[Fact]) -> int:
    """About how many readings are tried."""
    groups = [[f for f in free if f.name in names] for names in (*_IN_PICTURE, _IN_BOUND)]
    several = sum(math.prod(len(fact.values) for fact in group) for group in groups if group)
    return several + 4 * sum(len(fact.values) - 1 for fact in free)


def combined(best: Values, facts: Sequence[Fact]) -> Iterator[Values]:
    """Every combination of the values of some facts, the others as they are."""
    for values in itertools.product(*(fact.values for fact in facts)):
        yield best | dict(zip((fact.name for fact in facts), values, strict=True))


def _shown(free: Sequence[Fact]) -> list[Fact]:
    return [fact for fact in free if fact.name not in _IN_BOUND]
