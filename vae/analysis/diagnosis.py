"""Is a checkpoint healthy? Measurements -> a Diagnosis in plain words, by rules that are named.

Each rule is one function below and each of its thresholds one constant. They are conventions: what
is near a threshold is told by the page's figures, not by the rule.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vae.analysis.aggregate import Holes, Information, Marginals
from vae.analysis.embedding import Embedding
from vae.analysis.measures import Reliability, Residuals, Units, modified_z, units
from vae.config import IMAGE
from vae.wording import IMAGES, Words

BAD, WARNING, NOTE = SEVERITIES = ("bad", "warning", "note")
COLLAPSED, BROKEN, DOUBTFUL, HEALTHY = ("Collapsed", "Broken", "With reservations", "Healthy")

INACTIVE = 0.01  # of Var_x[mu] (Burda et al., 2016), or nats of mean KL: a unit with less is unused
NEARLY_NOTHING = 0.2  # nats per image: a mean KL below tells hardly two groups of images apart
NO_BETTER = 0.005  # a -ELBO within that share of the mean image's is no better than it
# Of all that training has gained, -ELBO of the held-out images from the first epoch to the best:
OVERFITTED, SLIGHTLY_OVERFITTED = 0.15, 0.04  # held-out above training images at the end
PAST_BEST = 0.03  # the last epoch above the best
STILL_IMPROVING = 0.01  # gained over the last tenth of the epochs
MISMATCH = 1.0  # nats of KL(q(z), p(z))
SATURATED = 0.5  # nats: with I(x; z) so near log N the split says more of N than of the model
HOLLOW = 0.35  # share of the prior's mass in holes; 0.05 is what q(z) = p(z) gives
MISCALIBRATED = 0.05  # expected calibration error
SD_OF_RESIDUALS = (0.8, 1.25)  # 1 where the likelihood's s fits
NOT_NORMAL = 0.1  # mean distance of covered from nominal
OUTLYING = 6.0  # modified z of -ELBO; 3.5 is usual, but costs have a long upper tail
_MOST_NAMED = 8  # dimensions in a sentence


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        severity: one of SEVERITIES.
        sentence: what was found, with its numbers.
        advice: what to try; may be empty.
    """

    severity: str
    sentence: str
    advice: str = ""


@dataclass(frozen=True)
class Measurements:
    """What the rules look at.

    Attributes:
        embedding, units: of the data set looked at.
        information, marginals, holes: of its aggregate posterior; None where that is not finite.
        calibration, cost_without_z: None where the images are not at hand.
        beta: the factor on the KL that it was trained with.
        metrics: the rows of metrics.jsonl.
        is_given_label: the model is given each point's own label besides.
        words: for what the data are.
    """

    embedding: Embedding
    units: Units
    information: Information | None
    marginals: Marginals | None
    holes: Holes | None
    calibration: Reliability | Residuals | None
    cost_without_z: float | None
    beta: float
    metrics: Sequence[dict[str, Any]] = ()
    is_given_label: bool = False
    words: Words = IMAGES

    @property
    def constant(self) -> str:
        """What a model without z decodes to."""
        return f"one mean {self.words.kind}" + " per class" * self.is_given_label

    @property
    def unused(self) -> np.ndarray:
        """Which dimensions say nothing of x: they move with it too little, or cost too little."""
        active = self.units.active_by_variance(INACTIVE) & self.units.active_by_kl(INACTIVE)
        return ~active

    @property
    def is_collapsed(self) -> bool:
        """Whether z says nothing of x, or next to nothing."""
        return bool(self.unused.all()) or float(self.units.kl.sum()) < NEARLY_NOTHING


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong, worst first.

    Attributes:
        verdict: COLLAPSED, BROKEN, DOUBTFUL or HEALTHY.
        summary: one sentence with the main numbers.
        findings: by severity; empty if there is nothing to say.
    """

    verdict: str
    summary: str
    findings: tuple[Finding, ...]

    @property
    def paragraph(self) -> str:
        """All of it in plain words."""
        parts = [self.summary]
        for finding in self.findings:
            parts += [finding.sentence, finding.advice]
        return " ".join(filter(None, parts))


def diagnose(measured: Measurements) -> Diagnosis:
    """Applies every rule."""
    if not np.isfinite(measured.embedding.neg_elbo).all():
        findings = list(_not_finite(measured))
        return Diagnosis(BROKEN, "", tuple(findings))
    findings = [finding for rule in RULES for finding in rule(measured)]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    worst = findings[0].severity if findings else NOTE
    verdict = {BAD: BROKEN, WARNING: DOUBTFUL, NOTE: HEALTHY}[worst]
    if measured.is_collapsed:
        verdict = COLLAPSED
    return Diagnosis(verdict, _summary(measured), tuple(findings))


def _summary(m: Measurements) -> str:
    if m.is_collapsed:
        return ""
    D = m.embedding.latent_dim
    used = D - int(m.unused.sum())
    dimensions = "The one latent dimension is" if D == 1 else f"{used} of {D} latent dimensions are"
    text = f"{dimensions} in use; z costs {m.units.kl.sum():.2f} nats of KL per {m.words.point}"
    if m.cost_without_z is not None:
        saved = m.cost_without_z - float(m.embedding.recon.mean(dtype=np.float64))
        if saved > 0:
            text += f" and saves {saved:.1f} nats of recon against {m.constant}"
    return f"{text}."


def _not_finite(m: Measurements) -> Iterator[Finding]:
    bad = ~np.isfinite(m.embedding.neg_elbo)
    first = int(np.flatnonzero(bad)[0])
    yield Finding(
        BAD,
        f"The -ELBO of {bad.sum():,} of {len(bad):,} points is not finite, first that of point "
        f"{first:,}.",
        "The weights have diverged: train again with a lower learning rate or a smaller "
        "max_grad_norm.",
    )


def _collapse(m: Measurements) -> Iterator[Finding]:
    """All units unused, or some."""
    unused, D = np.flatnonzero(m.unused), m.embedding.latent_dim
    beta = m.beta
    if m.is_collapsed:
        all_of_them = "none of the latent dimensions is used"
        what = all_of_them if len(unused) == D else "the latent space is all but unused"
        lower = f"Train with a lower beta than {beta:g}"
        remedy = lower if beta > 1 else "Train with a longer KL warm-up"
        yield Finding(
            BAD,
            f"The posterior has collapsed: {what}. z costs {_little(m.units.kl.sum())} nats of KL "
            f"per {m.words.point} and says next to nothing of x: everything decodes to "
            f"{m.constant}.",
            f"{remedy}, or with free bits (0.25 nats per dimension is a beginning).",
        )
    elif len(unused):
        shown = ", ".join(f"z{d + 1}" for d in unused[:_MOST_NAMED])
        more = f" and {len(unused) - _MOST_NAMED} more" if len(unused) > _MOST_NAMED else ""
        have = "has" if len(unused) == 1 else "have"
        yield Finding(
            NOTE,
            f"{shown}{more} {have} collapsed onto the prior.",
            f"That does no harm: k = {D - len(unused)} would do as well. "
            "Free bits or a longer KL warm-up would put more to use.",
        )


def _little(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else "less than 0.001"


def _no_better_than_the_mean(m: Measurements) -> Iterator[Finding]:
    """What all the machinery buys over one mean image."""
    if m.cost_without_z is None or m.is_collapsed:
        return
    mean = float(m.embedding.neg_elbo.mean(dtype=np.float64))
    if mean > m.cost_without_z - NO_BETTER * abs(m.cost_without_z):
        yield Finding(
            BAD,
            f"Its -ELBO, {mean:.2f} nats per {m.words.point}, is no better than that of "
            f"{m.constant}, {m.cost_without_z:.2f}.",
            f"Raise beta from {m.beta:g} towards 1: the KL is most of the cost."
            if m.beta < 1
            else "Train longer, or look whether these are the data that it was trained on.",
        )


def _training(m: Measurements) -> Iterator[Finding]:
    """Over- and underfitting, from the curves, beside all that training has gained held out.

    Not beside the -ELBO itself: where p(x|z) is a density, that can be anything, 0 included.
    """
    held_out, training = (
        [row for row in m.metrics if row.get("split") == split] for split in ("test", "train")
    )
    if not held_out or not training:
        return
    last, fitted = held_out[-1]["neg_elbo"], training[-1]["neg_elbo"]
    best = min(held_out, key=lambda row: row["neg_elbo"])
    gained = max(held_out[0]["neg_elbo"] - best["neg_elbo"], 1.0)
    excess = (last - fitted) / gained
    if excess > SLIGHTLY_OVERFITTED:
        strong = excess > OVERFITTED
        binarised = "binarised input " * (m.words.kind == IMAGE)
        yield Finding(
            WARNING if strong else NOTE,
            f"Held-out {m.words.points} cost {last - fitted:.1f} nats more than those it was "
            f"trained on: it has {'' if strong else 'slightly '}overfitted.",
            f"A smaller network, more data, {binarised}or fewer epochs would help.",
        )
    if last - best["neg_elbo"] > PAST_BEST * gained:
        yield Finding(
            WARNING,
            f"It was better at epoch {best['epoch']}: {best['neg_elbo']:.2f} nats held out, "
            f"{last:.2f} at the end.",
            "Train with patience, which keeps the best weights.",
        )
    tenth = max(1, len(held_out) // 10)
    before = held_out[max(0, len(held_out) - 1 - tenth)]["neg_elbo"]
    if before - last > STILL_IMPROVING * gained:
        yield Finding(
            NOTE,
            f"It was still improving at its end, by {before - last:.2f} nats over the last "
            f"{'epoch' if tenth == 1 else f'{tenth} epochs'}.",
            "More epochs would help.",
        )


def _aggregate(m: Measurements) -> Iterator[Finding]:
    """q(z) against the prior."""
    if m.information is None or m.marginals is None or m.is_collapsed:
        return
    info, beta = m.information, m.beta
    saturated = info.mutual > info.ceiling - SATURATED
    # The dimensions' own KLs add up to no more than that of all, and know no ceiling.
    away = float(m.marginals.kl.sum())
    about = "at least "
    if not saturated and info.marginal - 2 * info.marginal_stderr > away:
        away, about = info.marginal, ""
    if away > MISMATCH:
        yield Finding(
            WARNING,
            f"The aggregate posterior is {about}{away:.2f} nats from the prior: "
            f"{m.words.points} sampled from the prior will not look like the data.",
            f"Raise beta from {beta:g} towards 1, or end the KL warm-up earlier."
            if beta < 1
            else "Longer training, or a larger encoder, lets the posteriors fill the prior.",
        )
    if saturated:
        yield Finding(
            NOTE,
            f"z tells nearly every {m.words.point} from all others: I(x; z) is at its ceiling, "
            f"log N = {info.ceiling:.2f} nats, so the split of the KL says little of the prior.",
        )
    if m.holes is not None and m.holes.share - 2 * m.holes.share_stderr > HOLLOW:
        yield Finding(
            WARNING,
            f"{m.holes.share:.0%} of the prior's mass lies where next to no data does.",
            "What is decoded there the model was never asked for: sample from q(z) instead.",
        )


def _pixels(m: Measurements) -> Iterator[Finding]:
    """The likelihood's own promise."""
    found, numbers, is_image = m.calibration, m.words.numbers, m.words.kind == IMAGE
    if isinstance(found, Residuals):
        low, high = SD_OF_RESIDUALS
        if not low < found.sd < high:
            yield Finding(
                WARNING,
                f"{numbers.capitalize()} scatter {found.sd:.2f} times as far around E[x|z] as the "
                "likelihood says.",
                f"{'Its s' if is_image else 'Their spread'} has not been fitted to these data: "
                "log p(x|z) in nats is off.",
            )
        elif found.error > NOT_NORMAL:
            wide = "one s for all of them" if is_image else "their spread"
            better = "A Bernoulli" if is_image else "Another"
            yield Finding(
                NOTE,
                f"The {numbers}' residuals are far from normal: {wide} is too wide for some and "
                "too narrow for others.",
                f"{better} likelihood may fit these {m.words.points} better.",
            )
    elif found is not None and found.error > MISCALIBRATED:
        yield Finding(
            WARNING,
            f"{numbers.capitalize()} are {found.error:.1%} off what the decoder says, on average.",
            "Overfitting, or other data than it was trained on, makes a decoder too sure.",
        )


def _outliers(m: Measurements) -> Iterator[Finding]:
    """Points that cost far more than the others."""
    n = int((modified_z(m.embedding.neg_elbo) > OUTLYING).sum())
    if n:
        points = "point costs" if n == 1 else "points cost"
        yield Finding(NOTE, f"{n:,} {points} far more than the others; Outliers shows which.", "")


RULES: tuple[Callable[[Measurements], Iterator[Finding]], ...] = (
    *(_collapse, _no_better_than_the_mean, _aggregate, _pixels, _training),
    _outliers,
)


def measure(
    embedding: Embedding,
    information: Information | None = None,
    marginals: Marginals | None = None,
    holes: Holes | None = None,
    calibration: Reliability | Residuals | None = None,
    cost_without_z: float | None = None,
    beta: float = 1.0,
    metrics: Sequence[dict[str, Any]] = (),
    is_given_label: bool = False,
    words: Words = IMAGES,
) -> Measurements:
    """Measurements with the units computed."""
    return Measurements(
        embedding,
        units(embedding.mu, embedding.kl_per_dim),
        information,
        marginals,
        holes,
        calibration,
        cost_without_z,
        beta,
        metrics,
        is_given_label,
        words,
    )
