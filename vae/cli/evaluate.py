"""Commands that measure a checkpoint on a data set: evaluate, terms."""

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vae import wording
from vae.analysis.embedding import N_SAMPLES, Embedding, embed
from vae.cli.common import (
    DEVICE,
    Commands,
    add_model_arguments,
    dataset_name,
    fact_line,
    fit_to_model,
    open_checkpoint,
    progress_bar,
    settled,
    show,
    writing,
)
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset
from vae.errors import UserError
from vae.formats import AnyRun, ForeignRun
from vae.inference import evidence
from vae.inference.condition import OWN_LABEL, Condition, chosen_class, said
from vae.inference.evidence import Evidence
from vae.runs import checkpoint, files
from vae.runs.checkpoint import CheckpointError
from vae.training import distributed
from vae.training.device import choose_device

_MAX_SAMPLES = 1_000_000
_MOMENTS = ("mu", "logvar")


def add(commands: Commands) -> None:
    """Adds these commands."""
    evaluate = commands.add(
        "evaluate",
        _evaluate,
        "print the mean terms of a checkpoint on a data set",
        "recon is -E_q log p(x|z), recon_at_mu the same at z = mu without sampling, neg_elbo "
        "their bound recon + kl; bits_per_dim is neg_elbo per pixel and channel in bits, "
        "or per number of a vector or a series.",
    )
    terms = commands.add(
        "terms",
        _terms,
        "write the terms of every point as CSV or Parquet",
        "Columns: index, label, recon, KL, neg_ELBO, then KL, mu and sigma of each dimension; with "
        "--log-px also log_px, its error and the gap.",
    )
    _add_common(evaluate)
    _add_common(terms)
    terms.add_argument(
        "--log-px",
        action="store_true",
        help="also log_px, its error and the gap: exact where k is at most 2, else with 500 "
        "importance samples, or by the method that is named",
    )
    terms.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="ending in .csv or .parquet [CSV on standard output]",
    )
    evaluate.add_argument(
        "--neighbours",
        action="store_true",
        help="also print leave-one-out 5-nearest-neighbour accuracy on mu, and trustworthiness",
    )
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")


def _add_common(command: argparse.ArgumentParser) -> None:
    add_model_arguments(command, "PATH")
    command.add_argument("--dataset", metavar="NAME", help="[the one it was trained on]")
    command.add_argument("--split", default="test", help="test (held out), train or all [test]")
    command.add_argument("--limit", type=int, metavar="N", help="only the first N points")
    command.add_argument(
        "--condition",
        metavar="CLASS",
        help="what a model with a condition is given for all points, by name or number [each "
        "point's own label]",
    )
    command.add_argument(
        "--samples", type=int, default=N_SAMPLES, metavar="S", help="draws behind recon [16]"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws [0]")
    command.add_argument("--device", help=DEVICE)
    method = command.add_mutually_exclusive_group()
    method.add_argument(
        "--exact",
        action="store_true",
        help="also integrate log p(x) over the latent plane (k up to 2), and print the gap",
    )
    method.add_argument(
        "--importance-samples",
        type=int,
        metavar="K",
        help="also estimate log p(x) with K importance samples per point, with its standard error",
    )
    method.add_argument(
        "--ais",
        type=int,
        metavar="T",
        help="also estimate log p(x) by annealed importance sampling over T temperatures, "
        "32 chains per point; slow",
    )


def _evaluate(options: argparse.Namespace) -> None:
    with distributed.group(options.device) as device:
        run, model, dataset, condition, embedding = _embed(options, device)
        result: dict[str, Any] = embedding.means()
        if model.config.n_classes:
            result = {"condition": said(condition, dataset.class_names)} | result
        result["bits_per_dim"] = result["neg_elbo"] / (dataset.images[0].numel() * math.log(2))
        if found := _evidence(options, run, model, dataset, condition):
            result |= found.means()
        if distributed.rank() > 0:
            return
    if options.neighbours:
        from vae.analysis.measures import neighbourhood  # scikit-learn takes a while to load

        images, labels = dataset.images.numpy(), dataset.labels.numpy()
        result |= neighbourhood(embedding.mu, labels, images)._asdict()
    words = wording.of(model.config.kind)
    doubt = words.said(found.doubt) if found else ""
    card = run.card if isinstance(run, ForeignRun) else None
    if options.json:
        if doubt:
            result["doubt"] = doubt
        if card is not None:
            result |= {"card": card.to_dict(), "images": dataset.note or "as they are"}
            facts = run.facts if isinstance(run, ForeignRun) else ()
            result["facts"] = [asdict(fact) for fact in facts]
            # Of the first image: what another library can be held against without sampling.
            result |= {f"{name}_first": getattr(embedding, name)[0].tolist() for name in _MOMENTS}
        show(json.dumps(result))
        return
    if card is not None:
        for name, text in card.facts().items():
            show(f"{name:14} {text}")
        for fact in run.facts if isinstance(run, ForeignRun) else ():
            show(f"{fact.name:14} {words.said(fact_line(fact))}")
        show(words.said(card.sentence()))
    for name, value in result.items():
        if isinstance(value, list):
            value = " ".join(f"{v:.4f}" for v in value)
        elif isinstance(value, float):
            value = f"{value:.4f}"
        show(f"{name:14} {value}")
    if doubt:
        show(doubt)


def _terms(options: argparse.Namespace) -> None:
    suffix = options.output.suffix if options.output else ".csv"
    if suffix not in (".csv", ".parquet"):
        raise UserError(f"--output (={options.output}) must end in .csv or .parquet")
    from vae.analysis import (
        tables,  # pandas takes half a second that the other commands need not wait
    )

    with distributed.group(options.device) as device:
        run, model, dataset, condition, embedding = _embed(options, device)
        if options.log_px and not (options.exact or options.importance_samples or options.ais):
            options.exact = evidence.offers_exact(model)
            options.importance_samples = None if options.exact else evidence.USUAL_SAMPLES
        found = _evidence(options, run, model, dataset, condition)
        if distributed.rank() > 0:
            return
    data = (tables.as_csv if suffix == ".csv" else tables.as_parquet)(embedding, found)
    if options.output:
        files.write_atomic(options.output, data)
    else:
        with writing("standard output"):
            sys.stdout.write(data.decode())


def _evidence(
    options: argparse.Namespace, run: AnyRun, model: VAE, dataset: Dataset, condition: Condition
) -> Evidence | None:
    """log p(x) of each point by the method that the options name; None if they name none.

    That of a whole split is kept in the run's folder, where the pages find it, too; that of points
    under another label than their own is not.
    """
    is_whole = options.limit is None and condition == OWN_LABEL
    origin = dataset.name, dataset.split, dataset.fingerprint
    kept = run.load_evidence(*origin) if is_whole else None
    if kept is not None and _is_asked_for(kept, options) and len(kept) == len(dataset):
        return kept
    with progress_bar("point", desc="log p(x)", leave=False) as (_, progress):
        if options.exact:
            found = evidence.exact(
                model, dataset, progress=progress, shared=True, condition=condition
            )
        elif options.importance_samples is not None:
            found = evidence.importance_weighted(
                model,
                dataset,
                options.importance_samples,
                options.seed,
                progress,
                True,
                condition,
            )
        elif options.ais is not None:
            return evidence.annealed(
                model,
                dataset,
                options.ais,
                seed=options.seed,
                progress=progress,
                shared=True,
                condition=condition,
            )
        else:
            return None
    # An estimate does not take the place of the integral.
    is_better = kept is None or kept.method != evidence.EXACT or options.exact
    is_kept = isinstance(run, checkpoint.Run)  # others' folders are left as they are
    if is_kept and is_whole and is_better and distributed.rank() == 0:
        try:
            checkpoint.save_evidence(run, found)
        except CheckpointError:
            pass  # it is printed all the same
    return found


def _is_asked_for(kept: Evidence, options: argparse.Namespace) -> bool:
    if options.exact:
        return kept.method == evidence.EXACT
    K = options.importance_samples
    asked = (evidence.IMPORTANCE_WEIGHTED, K, options.seed)
    return K is not None and (kept.method, kept.n_samples, kept.seed) == asked


def _embed(
    options: argparse.Namespace, device: torch.device | None
) -> tuple[AnyRun, VAE, Dataset, Condition, Embedding]:
    for name in ("limit", "samples", "importance_samples", "ais"):
        value = getattr(options, name, None)
        if value is not None and not 1 <= value <= _MAX_SAMPLES:
            option = name.replace("_", "-")
            raise UserError(f"--{option} (={value}) must be from 1 to {_MAX_SAMPLES}")
    if not 0 <= options.seed < 2**63:
        raise UserError(f"--seed (={options.seed}) must be from 0 to {2**63 - 1}")
    run = open_checkpoint(options)
    dataset = catalogue.load(dataset_name(options, run), options.split)
    whole = dataset
    if options.limit is not None:
        dataset = dataset.first(options.limit)
    run = settled(run, whole)
    dataset = fit_to_model(dataset, run)
    model = run.load_model().to(device or choose_device(options.device))
    condition: Condition = OWN_LABEL
    if options.condition is not None:
        condition = chosen_class(model, dataset, options.condition)
    with progress_bar("point", desc="terms", leave=False) as (_, progress):
        embedding = embed(model, dataset, options.samples, options.seed, progress, True, condition)
    return run, model, dataset, condition, embedding
