"""Any object with encode(x) -> (mu, logvar) and decode(z), as a VAE of ours.

    encode(x)   images (B, C, H, W) in [0, 1], or flattened (B, C*H*W) -> mu, logvar, each (B, D)
    decode(z)   (B, D) -> (B, C, H, W), (B, H, W) or (B, C*H*W)

The object may say more of itself; what it does not say is found by trying it on one batch, and said
on the card:

    image_shape   (C, H, W)
    likelihood    "bernoulli" or "continuous-bernoulli": decode gives logits, or ends with a
                  sigmoid; "gaussian": decode gives the mean
    logvar_x      of a Gaussian, the log variance of every pixel, a number [0: variance 1]

encode(x, y) and decode(z, y) make it a conditional model, with `n_classes`. A torch module with
forward(x) -> (recon, mu, logvar), in any order, will do instead (`forward`).

Without `likelihood`, an output that stays in [0, 1] is taken as the means of Bernoulli variables,
any other as their logits. Where the last thing that decode does is a sigmoid, the numbers before it
are the logits, exactly; else they are computed back from the means.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vae.config import LIKELIHOODS, ConfigError, ForeignModel
from vae.core.likelihood import Likelihood, fixed_gaussian, make_likelihood
from vae.core.model import VAE
from vae.formats.card import UNIT_GAUSSIAN, Card, Fact
from vae.formats.meanings import SECOND as MEANINGS
from vae.formats.shapes import text
from vae.formats.user_code.checks import (
    attribute,
    batch_of,
    check_images,
    check_methods,
    checked_moments,
    own_shape,
    places,
    tried,
)
from vae.formats.user_code.factory import RAISED
from vae.formats.user_code.forward import Traced
from vae.formats.user_code.interface import Conditional, interfaces, meaning_of
from vae.formats.user_code.readings import INPUT, SECOND, UNIT, Read, facts_of
from vae.formats.user_code.wrapped import Decoder, Encoder, Mismatch, modules_of
from vae.formats.wording import printable
from vae.runs.checkpoint import CheckpointError

SETTING = "model.{} = {}"  # how a person says more of a module


@dataclass(frozen=True)
class Adapted:
    """An object as a VAE, and how it was read."""

    model: VAE
    card: Card
    facts: tuple[Fact, ...] = ()


def adapt(
    given: Any,
    said: str,
    shapes: Iterable[tuple[int, int, int]],
    images: Tensor | None,
    format_: str,
    setting: str = SETTING,
    choices: Mapping[str, str] | None = None,
) -> Adapted:
    """Tries the object on one batch and wraps it.

    It is put into evaluation mode, with whatever modules it holds.

    Args:
        given: the object.
        said: what it is called in messages.
        shapes: (C, H, W) to try in this order, unless the object has an `image_shape`.
        images: real ones, uint8 (N, C, H, W), for the shape that they have.
        format_: for the card.
        setting: how more is said of such a model, with places for the name and the value.
        choices: values of some of its facts, by their names.

    Raises:
        CheckpointError: it cannot be used so; one sentence says what it did and what is expected.
    """
    if isinstance(given, VAE):
        return Adapted(given.eval(), _card_of_ours(given, format_))
    ways = list(interfaces(given))
    if not ways:
        check_methods(given, said)
    for part in modules_of(given):
        part.eval()
    shape = own_shape(given, said)
    failed: list[tuple[int, str, str]] = []
    refused: CheckpointError | None = None
    many = [shape] if shape else list(dict.fromkeys(shapes))
    with torch.random.fork_rng(devices=[]):  # trying it must not move anybody's random numbers
        for candidate in many:
            x = batch_of(candidate, images)
            for flat, way in itertools.product((False, True), ways):
                reading = f"{text(tuple(x.flatten(1).shape if flat else x.shape))}"
                subject = _Subject(way, said, format_, setting, choices or {}, given)
                try:
                    return _fitted(subject, candidate, flat, x, shape is None and len(many) > 1)
                except Mismatch as error:
                    if (last := (error.stage, reading, str(error))) not in failed:
                        failed.append(last)
                except CheckpointError as error:  # a forward may still do
                    refused = refused or error
    if refused is not None:
        raise refused
    # What came furthest was most likely meant.
    furthest = max(stage for stage, *_ in failed)
    best = [(reading, problem) for stage, reading, problem in failed if stage == furthest][:2]
    by_problem: dict[str, list[str]] = {}
    for reading, problem in best:
        by_problem.setdefault(problem, []).append(reading)
    listed = "; ".join(f"given {' or '.join(r)}, {problem}" for problem, r in by_problem.items())
    n_more = len(failed) - len(best)
    more = f"; nor would {n_more} other shapes do" if n_more > 1 else ""
    known = "" if shape else f"; say what it reads: {setting.format('image_shape', '(C, H, W)')}"
    raise CheckpointError(f"{said} could not be used: {listed}{more}{known}")


@dataclass(frozen=True)
class _Subject:
    """The object, and how messages and the card speak of it."""

    given: Any
    said: str
    format: str
    setting: str
    choices: Mapping[str, str]
    whole: Any  # the object, where `given` is a way to call it

    def set(self, name: str, value: str) -> str:
        """How a person says so."""
        return self.setting.format(name, value)


def _fitted(
    subject: _Subject, image_shape: tuple[int, int, int], flat: bool, x: Tensor, guessed: bool
) -> Adapted:
    given, said, choices = subject.given, subject.said, subject.choices
    encoder = Encoder(given, flat)
    mu, logvar = checked_moments(encoder, x, said)
    D = mu.shape[1]
    as_is = Decoder(given, image_shape, D)
    check_images(as_is, mu, said)
    meaning = meaning_of(given, x.flatten(1) if flat else x)
    n_classes = given.n_classes if isinstance(given, Conditional) else 0
    likelihood, told, notes = _likelihood(subject, as_is, places(mu))
    values = tried(2, "decode", lambda: as_is.call(places(mu)))
    low, high = float(values.min()), float(values.max())
    facts = facts_of(likelihood.name, low, high, as_is.gives_means, meaning, choices)
    decoder = as_is
    if choices or meaning != MEANINGS[0]:
        given = Read(given, {SECOND: meaning} | dict(choices))
        subject = replace(subject, given=given)
        encoder = Encoder(given, flat)
        mu, logvar = checked_moments(encoder, x, said)
        decoder = Decoder(given, image_shape, D)
        decoder.has_gradient = as_is.has_gradient
        likelihood, told, notes = _likelihood(subject, decoder, places(mu))
    if (logvar >= 0).all() and len(x) > 1:
        notes.append(
            f"every logvar was at least 0 on the {len(x)} images tried (up to "
            f"{float(logvar.max()):.3g}): if encode returns sigma or the variance, return its log"
        )
    if guessed:
        otherwise = subject.set("image_shape", "(C, H, W)")
        notes.insert(0, f"{text(image_shape)} was found by trying; {otherwise} says otherwise")
    if not decoder.has_gradient:
        notes.append("decode gives no gradients: what needs them cannot be computed")
    notes += _notes_on(given, n_classes)
    kind = type(subject.whole).__name__
    try:
        config = ForeignModel(image_shape, D, likelihood.name, kind, n_classes=n_classes)
    except ConfigError as error:
        raise CheckpointError(f"{said}: {error}") from error
    model = VAE.of_parts(config, encoder, decoder, likelihood.module).eval()
    n = model.n_parameters
    reads = "flattened images" if flat else "images"
    card = Card(
        format=subject.format,
        model=kind,
        network=f"{kind}, {n:,} parameters" if n else f"{kind}, whose parameters are not known",
        latent_dim=D,
        image_shape=image_shape,
        pixels=f"{choices.get(INPUT, UNIT)}, as {reads}",
        likelihood=told,
        trained_with="a loss that is not known",
        factors={"recon": None, "KL": None},
        notes=tuple(notes),
    )
    return Adapted(model, card, facts)


def _notes_on(given: Any, n_classes: int) -> list[str]:
    notes = []
    inner = given.given if isinstance(given, Read) else given
    if n_classes:
        form = f"as {inner.form}" if isinstance(inner, Conditional) else ""
        notes.append(f"it is given a label of {n_classes} classes {form}".strip())
        inner = inner.given
    if isinstance(inner, Traced):
        notes.append("mu, the second head and the decoder were found by following its forward")
    return notes


@dataclass(frozen=True)
class _Chosen:
    name: str
    module: Likelihood


def _likelihood(subject: _Subject, decoder: Decoder, z: Tensor) -> tuple[_Chosen, str, list[str]]:
    """p(x|z), what to say of it, and notes; sets how the decoder's output is taken."""
    given, said, notes = subject.given, subject.said, []
    wanted = attribute(given, "likelihood")
    if wanted is not None and not isinstance(wanted, str):
        notes.append(f"its likelihood is a {type(wanted).__name__}, no name, and was not read")
        wanted = None
    if wanted is not None and wanted not in LIKELIHOODS:
        raise CheckpointError(
            f"{said} has a likelihood (={printable(wanted)!r}) that is none of: "
            f"{', '.join(LIKELIHOODS)}"
        )
    as_gaussian = subject.set("likelihood", '"gaussian"')
    if wanted == "gaussian":
        logvar_x = attribute(given, "logvar_x")
        if logvar_x is None or (callable(logvar_x) and not isinstance(logvar_x, Tensor)):
            otherwise = subject.set("logvar_x", "log s^2")
            notes.append(f"no variance of a pixel is said, so 1; {otherwise} says otherwise")
            return _Chosen("gaussian", fixed_gaussian(1.0)), UNIT_GAUSSIAN, notes
        variance = _variance(logvar_x, said)
        told = f"Gaussian of variance {variance:.4g}, as its logvar_x says"
        return _Chosen("gaussian", fixed_gaussian(variance)), told, notes

    values = tried(2, "decode", lambda: decoder.call(z))
    finite = values[torch.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    spread = f"from {low:.3g} to {high:.3g} at {len(z)} places"
    _, before = tried(2, "decode", lambda: decoder.call_before_sigmoid(z))
    is_sigmoid = before is not None
    stays = low >= 0 and high <= 1
    decoder.gives_means = is_sigmoid or (wanted is None and stays)
    name = wanted or "bernoulli"
    chosen = _Chosen(name, make_likelihood(name))
    kind = {"bernoulli": "Bernoulli", "continuous-bernoulli": "Continuous Bernoulli"}[name]
    if is_sigmoid:
        told = f"{kind}: decode ends with a sigmoid, whose input is the logits"
    elif wanted is not None:
        told = f"{kind} on logits, as its likelihood says"
        if stays:
            notes.append(
                f"decode's values, {spread}, were taken as logits, as its likelihood says; "
                "if they are means, return logits, or end decode with torch.sigmoid"
            )
    else:
        told = f"Bernoulli, {'means' if stays else 'logits'}: decode's values were {spread}"
        if not stays and low > -0.5 and high < 1.5:
            notes.append(
                f"decode's values, {spread}, lie so near [0, 1] that they may be means of pixels: "
                f"then say {as_gaussian}"
            )
    return chosen, told if wanted else f"{told}; {as_gaussian} says otherwise", notes


def _variance(logvar_x: Any, said: str) -> float:
    try:
        value = float(logvar_x)
        if abs(value) < 50:
            return math.exp(value)
    except RAISED:
        pass
    raise CheckpointError(
        f"{said} has a logvar_x (={printable(repr(logvar_x), 80)}) that is not one number, the log "
        "variance of every pixel"
    )


def _card_of_ours(model: VAE, format_: str) -> Card:
    config = model.config
    return Card(
        format=format_,
        model="VAE",
        network=f"{config.family} {'-'.join(map(str, config.hidden))}".strip(),
        latent_dim=config.latent_dim,
        image_shape=config.image_shape,
        likelihood=f"{config.likelihood}, as its config says",
        trained_with="a loss that is not known",
        factors={"recon": None, "KL": None},
    )
