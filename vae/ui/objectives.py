"""Runs of one network by several objectives: which they are, and what the bound cost."""

from vae.analysis import objectives
from vae.config import BEST, ELBO, EVIDENCE, IWAE
from vae.formats import AnyRun
from vae.runs.checkpoint import Run
from vae.runs.status import read_status
from vae.ui.results import evidence
from vae.ui.view import View

SHOWN = {  # in this order, with what a map is headed by
    ELBO: "The bound",
    IWAE: "The weighted bound",
    EVIDENCE: "log p(x) itself",
    BEST: "log p(x), then the bound",
}


def of_one_network(first: AnyRun, second: AnyRun) -> tuple[str, str] | None:
    """What was maximised in each, if they are runs of ours that differ in nothing else."""
    if not (isinstance(first, Run) and isinstance(second, Run)):
        return None
    trained = first.train_config, second.train_config
    if first.model_config != second.model_config:
        return None
    if not objectives.differ_in_objective_alone(*trained):
        return None
    return trained[0].objective, trained[1].objective


def family(run: Run, runs: list[Run]) -> dict[str, Run]:
    """The finished runs that differ from this one in the objective alone, by objective.

    Of several of one objective the run itself, or the first by name.
    """
    found: dict[str, Run] = {}
    for other in [run, *sorted(runs, key=lambda run: run.name)]:
        if of_one_network(run, other) and (
            other == run or read_status(other.path).state == "finished"
        ):
            found.setdefault(other.train_config.objective, other)
    return {name: found[name] for name in SHOWN if name in found}


def what_the_bound_cost(views: list[View]) -> str:
    """A paragraph, for views of a family; "" where log p(x) of too few is known."""
    known = [evidence.outcome(view) for view in views if evidence.found(view) is not None]
    return objectives.in_words(known, views[0].words)
