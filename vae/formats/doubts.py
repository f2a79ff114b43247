"""What the data leave undecided of a reading, said by how much its numbers would be others."""

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from vae.formats.card import ASSUMED, Fact
from vae.wording import IMAGES, Words

_KL, _PICTURE = 0.05, 0.1  # shares of the mean KL and of the pictures: less is not worth a word
_LEAST_KL = 0.1  # nats per image, of which a share is taken
_LIKELY = 4  # values of a fact, which are in order: others are too rare to speak of

Seen = Callable[[Mapping[str, str]], tuple[float, Tensor]]


def doubts(
    facts: Iterable[Fact],
    around: Mapping[tuple[str, str], float],
    most: float,
    seen: Seen,
    words: Words = IMAGES,
) -> tuple[str, ...]:
    """One sentence for each assumed fact that another value would change the numbers with.

    Args:
        facts: as they are taken; of those that are not assumed nothing is said.
        around: the cost of each reading that differs in one fact, by its name and value.
        most: what a reading may cost that the data do not rule out.
        seen: the mean KL in nats per image and the decoded images of a reading, by its values.
        words: what a sentence calls the images.
    """
    facts = list(facts)
    best = {fact.name: fact.value for fact in facts}
    found = []
    ours: tuple[float, Tensor] | None = None
    for fact in facts:
        likely = fact.values[:_LIKELY]
        near = [v for (n, v), cost in around.items() if n == fact.name and cost <= most]
        near = [value for value in near if value in likely]
        if fact.known != ASSUMED or not near:
            continue
        ours = ours or seen(best)
        there = {value: seen({**best, fact.name: value}) for value in near}
        apart = {value: _apart(ours, other) for value, other in there.items()}
        value = max(apart, key=lambda value: max(apart[value][0] / _KL, apart[value][1] / _PICTURE))
        kl, picture = apart[value]
        changed = []
        if kl > _KL:
            was = f"{ours[0]:.2f} nats per {words.point}"
            changed.append(f"KL is {there[value][0]:.2f} instead of {was}")
        if picture > _PICTURE:
            changed.append(f"the decoded {words.points} differ by {picture:.0%}")
        if changed:
            found.append(
                f"{fact.name.capitalize()}: {fact.value} is assumed; if it is {value}, which the "
                f"data do not rule out, {' and '.join(changed)}."
            )
    return tuple(found)


def _apart(a: tuple[float, Tensor], b: tuple[float, Tensor]) -> tuple[float, float]:
    """How far a reading is from another one in KL and in pictures, as shares of the latter's."""
    kl = abs(b[0] - a[0]) / max(a[0], _LEAST_KL)
    return kl, float((b[1] - a[1]).norm() / a[1].norm().clamp(min=1e-6))
