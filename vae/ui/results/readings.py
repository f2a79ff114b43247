"""How another program's file is read: what its visitor chose, and what the data say of the rest."""

from collections.abc import Hashable
from dataclasses import replace

import numpy as np
import torch
from streamlit.delta_generator import DeltaGenerator

from vae import plots
from vae.data import catalogue
from vae.data.dataset import Dataset, to_unit
from vae.formats import AnyRun, ForeignRun
from vae.formats.card import Choices
from vae.formats.gate import Reading, Verdict, settle
from vae.formats.posterior import places
from vae.ui.results import loaded, waiting
from vae.ui.results.store import RESULTS
from vae.ui.session import readings

N_PICTURES = 8


def settled(
    run: AnyRun, name: str, split: str, place: DeltaGenerator | None = None
) -> tuple[AnyRun, Verdict | None]:
    """The run as it is best read, and whether the data agree.

    Shows how far it is. Nothing is asked of the data for a run of ours, nor where there are none
    at hand: then there is no verdict.

    Args:
        run: as it is listed.
        name, split: of the data that it is shown on.
        place: an `st.empty()` to show it in, as for `waiting.result`.

    Raises:
        UserError: its weights cannot be read, or it cannot be computed.
    """
    if not isinstance(run, ForeignRun):
        return run, None
    images, _ = loaded.at_hand(run, name, split)
    values = chosen(run)
    if images is None or not catalogue.describe(name).is_listed:  # which the model itself drew
        return as_chosen(run), None
    best, verdict = _best(run, images, name, split, place)
    if not values:
        return best, verdict
    # One thing is tried at a time: the rest stays as the data had it.
    known = {fact.name: fact.known for fact in best.facts}
    tried = _with(run, {**dict(best.choices), **values})
    tried, verdict = _best(tried, images, name, split, place)
    facts = [
        fact if fact.name in values else replace(fact, known=known.get(fact.name, fact.known))
        for fact in tried.facts
    ]
    return replace(tried, facts=tuple(facts)), verdict


def _best(
    run: ForeignRun, images: Dataset, name: str, split: str, place: DeltaGenerator | None
) -> tuple[ForeignRun, Verdict]:
    found, verdict = waiting.result(
        ("reading", loaded.weights(run), name, split, images.fingerprint),
        lambda progress: settle(run, images, progress),
        f"Reading {run.name}",
        place,
    )
    # The same weights may lie elsewhere by now: what was found is of them, and not of the file.
    read = replace(_with(run, dict(found.choices)), facts=found.facts)
    return read.bound(images), verdict


def as_chosen(run: AnyRun) -> AnyRun:
    """The run with what this visitor chose, whatever the data say."""
    return _with(run, chosen(run)) if isinstance(run, ForeignRun) else run


def chosen(run: ForeignRun) -> Choices:
    """What this visitor chose of what the file leaves open, by the fact's name."""
    offered = run.offered
    values = readings.chosen(run.name)
    return {name: value for name, value in values.items() if value in offered.get(name, ())}


def pictures(run: ForeignRun, images: Dataset, reading: Reading | None = None) -> np.ndarray:
    """The first images as the file decodes them at mu or, without an encoder, where they fit best.

    Shape (N_PICTURES, C, H, W) in [0, 1].

    Args:
        run: the file.
        images: that it is shown.
        reading: another one than the run's.
    """
    other = run if reading is None else _with(run, dict(reading.choices))
    key: Hashable = ("pictures", loaded.weights(other), images.fingerprint)

    def made() -> np.ndarray:
        x, labels = to_unit(images.images[:N_PICTURES]), images.labels[:N_PICTURES]
        with torch.no_grad():
            model = loaded.model(other)
            means = model.given(labels).decode_mean(places(model, x, labels)).numpy()
            return plots.pictures(means, model.config)

    return RESULTS.make(key, made)


def _with(run: ForeignRun, values: Choices) -> ForeignRun:
    if not values or run.read_with is None:
        return run
    # An upload is called otherwise than its file.
    return replace(run.read_with(values), name=run.name)
