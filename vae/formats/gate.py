"""Whether the data agree with how a file was read; and the reading that they prefer.

What shapes cannot tell (`Fact`) is a small set of hypotheses. Each reading is scored on a few
hundred images, and a fact's default is overruled only by a clear margin, since a free search
takes a wrong reading for a hundredth of a nat.

Readings of different p(x|z) have to be held against each other, so that the score is on one scale:
-ELBO with the cross-entropy of the decoded mean, as of Bernoulli pixels. Its floor, the entropy of
the grey pixels themselves, is left out of what the relative margin is taken of.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from vae.config import ForeignModel, ModelConfig
from vae.core import gaussian
from vae.core.model import VAE
from vae.data.dataset import Dataset, to_unit
from vae.errors import UserError
from vae.formats.card import ALIKE, ASSUMED, CHOSEN, DATA, FILE, SIZE, Fact
from vae.formats.posterior import LEAST_MEAN, lacks_encoder, places
from vae.formats.run import ForeignRun, weights_kept
from vae.formats.wording import listed, nats
from vae.inference.density import MOST_DIMENSIONS

N_IMAGES = 200
MARGIN, RELATIVE_MARGIN = 1.5, 0.06  # nats per image; of what lies above the floor
SECONDS, SECONDS_WIDER = 25.0, 300.0  # of this thread, so that other work changes nothing
# That a slow model is searched with: for what shows in the picture, and for the bound.
_FEW_IMAGES, _FEWER_IMAGES = 16, 48
_SLOW = 0.05  # seconds of one reading
_CLEARLY = 0.7  # of what another size of image costs: better by so much
_N_SAMPLES = 4
_OUTSIDE, _MOST_OUTSIDE = 0.1, 0.05  # of [0, 1]; share of the pixels that may be so
# Of a batch norm's inputs from what it has seen, in deviations (0.03 to 0.2 where a file is read
# rightly); what one costs in the search, nats.
_MOST_APART, _OF_NORMS = 0.5, 20.0
# What explains each other is tried together: first what shows in the picture at mu, without noise,
# since under a wrong second head there is nothing but noise; then what shows in the bound.
_IN_PICTURE = (
    ("strides", "decoder strides", "label"),
    ("residual blocks", "activation before the blocks", "blocks enlarge", "upsampling", "norms"),
    ("input", "output", "heads", "hidden activation"),
)
_IN_BOUND = ("second head", "head activation")

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
    """

    passed: bool
    neg_elbo: float
    constant: float
    reasons: tuple[str, ...]
    better: tuple[Reading, ...]
    n_images: int


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
        return _Search(run, images, progress, SECONDS_WIDER if wider else SECONDS).settled()


def _of_size(run: ForeignRun, images: Dataset) -> ForeignRun:
    """The run read for the size of images that the data have, or at which it does best."""
    fact = next((f for f in run.facts if f.name == SIZE and f.known == ASSUMED), None)
    if fact is None or run.read_with is None:
        return run
    sides = {"x".join(map(str, images.image_shape[1:]))} & set(fact.values)
    value, known = next(iter(sides), fact.value), DATA if sides else ASSUMED
    if not sides:
        costs = {
            v: _of_constant(run.read_with({**dict(run.choices), SIZE: v}), images)
            for v in fact.values
        }
        best = min(costs, key=lambda v: costs[v])
        if costs[best] < _CLEARLY * costs[fact.value]:
            value, known = best, DATA
    if value != fact.value:
        run = run.read_with({**dict(run.choices), SIZE: value})
    facts = (replace(f, known=known) if f.name == SIZE else f for f in run.facts)
    return replace(run, facts=tuple(facts))


def _of_constant(run: ForeignRun, images: Dataset) -> float:
    """The cost of the picture at mu as a share of the constant image's, on a few images."""
    sample = _Sample.of(images, run.model_config, _FEW_IMAGES)
    try:
        return sample.score(run.load_model(), at_mu=True) / sample.constant
    except (UserError, RuntimeError, ValueError):
        return math.inf


class _Search:
    """The readings of one file on the same images and the same noise."""

    def __init__(
        self, run: ForeignRun, images: Dataset, progress: Progress | None, seconds: float
    ) -> None:
        self.run, self.progress, self.until = run, progress, time.thread_time() + seconds
        self.sample = _Sample.of(images, run.model_config, N_IMAGES)
        if run.card.no_encoder:  # what explains an image has to be searched
            self.sample = self.sample.fewer(_FEWER_IMAGES)
        self.searched_with = self.glanced_at = self.sample
        self.scores: dict[tuple[int, bool, tuple[tuple[str, str], ...]], float] = {}
        self.tried = self.planned = 0
        self.start = {fact.name: fact.value for fact in run.facts}
        self.open = [fact for fact in run.facts if len(fact.values) > 1 and fact.name != SIZE]

    def settled(self) -> tuple[ForeignRun, Verdict]:
        began = time.thread_time()
        self.score(self.start)
        if time.thread_time() - began > _SLOW:
            self.searched_with = self.sample.fewer(_FEWER_IMAGES)
            self.glanced_at = self.sample.fewer(_FEW_IMAGES)
        free = [fact for fact in self.open if fact.known not in (FILE, CHOSEN)]
        best = self._nearest_to_default(self._best(free))
        if self.score(best) >= self.sample.constant:
            best = dict(self.start)  # data that no reading explains do not decide between them
        around = self._around(best)
        other = self._nearest_to_default(self._best(self.open)) if free != self.open else best
        run = self._read(best)
        run = replace(run, facts=tuple(self._known(f, best, around) for f in run.facts))
        run = replace(run, choices=self._chosen(best))
        return run, self._verdict(run, best, [other, *({**best, n: v} for n, v in around)])

    def score(
        self, values: Mapping[str, str], sample: "_Sample | None" = None, at_mu: bool = False
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
        """The best reading: by the facts that explain each other, then one by one.

        Strides and sums are looked at first, and then last: what is found before they are right is
        worth little, and so is what is found of them while the rest is wrong.
        """
        pictures = [[fact for fact in free if fact.name in names] for names in _IN_PICTURE]
        bound = [fact for fact in free if fact.name in _IN_BOUND]
        shown = [fact for fact in free if fact not in bound]
        single = sum(len(fact.values) - 1 for fact in free)
        self.planned += sum(math.prod(len(f.values) for f in g) for g in (*pictures, bound) if g)
        self.planned += 4 * single
        orders = [pictures, pictures[::-1]] if pictures[0] or pictures[1] else [pictures]
        found = [self._in_picture(dict(self.start), order, shown) for order in orders]
        best = min(found, key=lambda values: self.score(values, self.glanced_at, True))
        for values in _combined(best, bound):
            best = self._better(best, values)
        return self._one_by_one(best, free)

    def _in_picture(
        self, best: dict[str, str], groups: list[list[Fact]], shown: list[Fact]
    ) -> dict[str, str]:
        """The best picture at mu, the groups of facts tried in this order."""
        for _ in range(2):
            before = dict(best)
            for group in groups:
                for values in _combined(best, group):
                    best = self._better(best, values, True)
            best = self._one_by_one(best, shown, True)
            if best == before:
                break
        return best

    def _one_by_one(
        self, best: dict[str, str], facts: list[Fact], at_mu: bool = False
    ) -> dict[str, str]:
        for _ in range(4):
            before = dict(best)
            for fact in facts:
                for value in fact.values:
                    best = self._better(best, {**best, fact.name: value}, at_mu)
            if best == before or time.thread_time() > self.until:
                break
        return best

    def _better(
        self, best: dict[str, str], values: dict[str, str], at_mu: bool = False
    ) -> dict[str, str]:
        if values == best or time.thread_time() > self.until:
            return best
        sample = self.glanced_at if at_mu else self.searched_with
        ours = self.score(best, sample, at_mu)
        return values if self.score(values, sample, at_mu) < ours else best

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
                f"image, instead of {nats(ours + floor, 1)}."
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
        if run.card.no_encoder and run.model_config.latent_dim > MOST_DIMENSIONS:
            yield f"{run.card.no_encoder[0].upper()}{run.card.no_encoder[1:]}."
        elif ours >= sample.constant:
            cost = (
                f"costs {nats(ours + sample.floor, 1)} nats per image"
                if ours < math.inf
                else "gives no finite numbers"
            )
            yield (
                f"On {len(sample.x)} of these images the model {cost}, and one constant image "
                f"for all costs {sample.constant + sample.floor:.1f}: it was trained on other "
                "data, or the file is meant otherwise."
            )
        model = run.load_model()
        apart = 0.0 if run.card.no_encoder else sample.norms_apart(model)
        if apart > _MOST_APART:
            yield (
                f"Its batch norms have seen other numbers than these images give them, {apart:.1f} "
                "standard deviations away: it was trained on other data, or is read wrongly before "
                "them."
            )
        low, high, share = sample.range_of(model)
        if share > _MOST_OUTSIDE:
            yield (
                f"Its pictures go from {low:.2f} to {high:.2f} and should be in [0, 1]: "
                f"{share:.0%} of the pixels lie outside."
            )


@dataclass(frozen=True)
class _Sample:
    """Images, labels, noise, and what they cost without a model."""

    x: Tensor  # (B, C, H, W) in [0, 1]
    labels: Tensor  # (B,)
    eps: Tensor  # (S, B, D)

    @classmethod
    def of(cls, images: Dataset, config: ForeignModel | ModelConfig, n: int) -> "_Sample":
        rows = torch.linspace(0, len(images) - 1, min(n, len(images))).long()
        some = replace(images, images=images.images[rows], labels=images.labels[rows])
        if some.image_shape != config.image_shape:
            some = some.resized(config.image_shape)
        eps = gaussian.noise_of_points(rows.tolist(), _N_SAMPLES, config.latent_dim, 0)
        return cls(to_unit(some.images), some.labels, eps)

    def fewer(self, n: int) -> "_Sample":
        """A part of it, for a search."""
        step = max(1, len(self.x) // n)
        return _Sample(self.x[::step], self.labels[::step], self.eps[:1, ::step])

    @cached_property
    def floor(self) -> float:
        """The entropy of the grey pixels, nats per image: no model costs less."""
        return float(_cross_entropy(self.x, self.x).mean())

    @cached_property
    def constant(self) -> float:
        """What the mean image costs, for all, above the floor."""
        mean = self.x.mean(0, keepdim=True).clamp(LEAST_MEAN, 1 - LEAST_MEAN)
        return float(_cross_entropy(self.x, mean).mean()) - self.floor

    @torch.no_grad()
    def score(self, model: VAE, at_mu: bool = False) -> float:
        """-ELBO above the floor, nats per image.

        At mu only the recon of the picture, and what speaks against it in the batch norms: to find
        a reading by, not to be shown.
        """
        if lacks_encoder(model):
            return self._score_of_decoder(model, at_mu)
        with _watched(model) as apart:
            model = model.given(self.labels)
            mu, logvar = model.encode(self.x)
            kl = 0 if at_mu else gaussian.kl_to_standard_normal(mu, logvar).sum(-1).mean()
            z = mu if at_mu else gaussian.reparameterise(mu, logvar, self.eps)
            mean = model.likelihood.mean(model.decode(z)).clamp(LEAST_MEAN, 1 - LEAST_MEAN)
        total = float(_cross_entropy(self.x, mean).mean() + kl) - self.floor
        if at_mu:
            total += _OF_NORMS * max(apart, default=0.0)
        return total if math.isfinite(total) else math.inf

    def _score_of_decoder(self, model: VAE, quick: bool) -> float:
        """What the images cost at the best z that are found, with -log p(z) up to a constant."""
        z = places(model, self.x, self.labels, quick)
        mean = model.given(self.labels).decode_mean(z).clamp(LEAST_MEAN, 1 - LEAST_MEAN)
        prior = 0 if quick else z.square().sum(1) / 2
        total = float((_cross_entropy(self.x, mean) + prior).mean()) - self.floor
        return total if math.isfinite(total) else math.inf

    @torch.no_grad()
    def range_of(self, model: VAE) -> tuple[float, float, float]:
        """The least and the most of the decoded means at mu, and the share far outside [0, 1]."""
        z = places(model, self.x, self.labels)
        mean = model.likelihood.mean(model.given(self.labels).decode(z))
        outside = ((mean < -_OUTSIDE) | (mean > 1 + _OUTSIDE)).float().mean()
        return float(mean.min()), float(mean.max()), float(outside)

    @torch.no_grad()
    def norms_apart(self, model: VAE) -> float:
        """How far the batch norms' inputs are from those that they have seen; see `_watched`."""
        with _watched(model) as apart:
            model = model.given(self.labels)
            mu, logvar = model.encode(self.x)
            model.decode(gaussian.reparameterise(mu, logvar, self.eps[:1]))
        return max(apart, default=0.0)


@contextmanager
def _watched(model: VAE) -> Iterator[list[float]]:
    """Of each batch norm that is used meanwhile: how far its inputs are from those it has seen.

    In standard deviations, the mean over channels. The running means in a file tell a wrong reading
    of what stands before them, whatever is said behind.
    """
    found: list[float] = []

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        x = inputs[0].transpose(0, 1).flatten(1)
        apart = (x.mean(1) - norm.running_mean).abs() / (norm.running_var + norm.eps).sqrt()
        found.append(float(apart.mean()))

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _cross_entropy(x: Tensor, mean: Tensor) -> Tensor:
    """-x log m - (1 - x) log(1 - m), summed over pixels; (..., C, H, W) -> (...), nats."""
    return -(torch.xlogy(x, mean) + torch.xlogy(1 - x, 1 - mean)).sum((-3, -2, -1))


def _margin(score: float) -> float:
    return max(MARGIN, RELATIVE_MARGIN * score) if math.isfinite(score) else 0.0


def _combined(best: dict[str, str], facts: list[Fact]) -> Iterator[dict[str, str]]:
    for values in itertools.product(*(fact.values for fact in facts)):
        yield best | dict(zip((fact.name for fact in facts), values, strict=True))
