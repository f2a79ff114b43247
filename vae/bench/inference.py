"""What exact inference costs: against the points, against the grid's nodes, and beside estimates.

The contenders take turns on the same points, so that whatever else the machine does hits all alike;
a time is the median of its rounds. The baselines are a grid that is as fine everywhere as the
refined one is at its finest, and 500 importance samples per point.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae.bench.train import ROOT
from vae.core import gaussian
from vae.core.elbo import importance_weighted_bound
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset, to_unit
from vae.inference.density import Lattice, posterior_density
from vae.inference.quadrature import exact_posterior
from vae.runs import checkpoint
from vae.runs.files import write_atomic

_ROUNDS = 3
_POINTS = (25, 50, 100, 200, 400)
_NODES = (2_000, 4_000, 8_000, 16_000, 32_000)
_FINEST = 1 / 128  # of the grid that is fine everywhere: what most points of mnist-2d end with
_IMPORTANCE_SAMPLES = 500
_FEW = 4  # points for the contenders that take long


def main(as_json: bool, plot: Path | None = None) -> None:
    """Measures on mnist-2d, or on digits-2d where MNIST is not at hand, and prints the rows.

    Args:
        as_json: one JSON object a row.
        plot: an HTML file to write the two cost curves to.
    """
    name = "mnist" if catalogue.describe("mnist").is_here("test") else "digits"
    run = checkpoint.open_run(ROOT / "checkpoints" / f"{name}-2d")
    model, dataset = run.load_model().requires_grad_(False), catalogue.load(name, "test")
    rows = [*against_points(model, dataset), *against_nodes(model, dataset)]
    rows += [*one_point(model, dataset), peak_memory(run.path)]
    for row in rows:
        print(json.dumps(row) if as_json else _line(row), flush=True)
    if plot is not None:
        _write(plot, rows)


def against_points(model: VAE, dataset: Dataset) -> list[dict[str, Any]]:
    """Seconds of `exact_posterior` for more and more points."""
    lattice = Lattice(model)
    contenders: dict[int, Callable[[], Any]] = {}
    for n in _POINTS:
        x, mu, logvar = _encoded(model, dataset, n)

        def integrate(x: Tensor = x, mu: Tensor = mu, logvar: Tensor = logvar) -> Any:
            return exact_posterior(model, x, mu, logvar, lattice=lattice)

        contenders[n] = integrate
    times = _in_turns(contenders)
    cells = {n: int(work().n_nodes.sum()) for n, work in contenders.items()}
    return [
        {"what": "points", "n": n, "seconds": times[n], "ms_each": 1e3 * times[n] / n}
        | {"cells": cells[n], "slope": _slope(times)}
        for n in _POINTS
    ]


def against_nodes(model: VAE, dataset: Dataset) -> list[dict[str, Any]]:
    """Seconds to hold one point against more and more nodes."""
    x, _, _ = _encoded(model, dataset, 1)
    stream = torch.Generator().manual_seed(0)
    nodes = {n: gaussian.draw((n, 2), stream) for n in _NODES}
    contenders = {n: lambda z=z: posterior_density(model, x[0], 0.0, z) for n, z in nodes.items()}
    times = _in_turns(contenders)
    return [
        {"what": "nodes", "n": n, "seconds": times[n], "us_each": 1e6 * times[n] / n}
        | {"slope": _slope(times)}
        for n in _NODES
    ]


def one_point(model: VAE, dataset: Dataset) -> list[dict[str, Any]]:
    """A single point: refined, on an equally fine grid, and estimated; medians over points."""
    start = time.perf_counter()
    lattice = Lattice(model)
    x, mu, logvar = _encoded(model, dataset, _FEW)
    lattice.log_px_given_z(x[:1])
    preparing = time.perf_counter() - start
    side = round(2 * lattice.reach / _FINEST)
    middles = (torch.arange(side) + 0.5) * _FINEST - lattice.reach
    fine = torch.cartesian_prod(middles, middles)
    some = fine[:: len(fine) // 20_000]  # the whole would take a minute; its cost is linear
    eps = gaussian.noise_of_points(range(_FEW), _IMPORTANCE_SAMPLES, 2, 0)
    contenders: dict[Any, Callable[[], Any]] = {}
    for i in range(_FEW):
        one = slice(i, i + 1)
        contenders["refined", i] = lambda one=one: exact_posterior(
            model, x[one], mu[one], logvar[one], lattice=lattice
        )
        contenders["equally fine", i] = lambda i=i: posterior_density(model, x[i], 0.0, some)
        contenders["importance", i] = lambda one=one: importance_weighted_bound(
            model, x[one], eps[:, one]
        )
    times = _in_turns(contenders)
    scale = {"equally fine": len(fine) / len(some)}
    medians = {
        name: statistics.median(times[name, i] for i in range(_FEW)) * scale.get(name, 1)
        for name in ("refined", "equally fine", "importance")
    }
    return [
        {"what": "one point", "how": name, "seconds": seconds}
        | {"times_refined": seconds / medians["refined"], "lattice_seconds": preparing}
        for name, seconds in medians.items()
    ]


def peak_memory(path: Path) -> dict[str, Any]:
    """Of `evaluate --exact` on the first 1,000 points, above a bare `import torch`."""
    script = (
        "import re, sys; {} ; "
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    arguments = ["evaluate", str(path), "--exact", "--limit", "1000", "--json"]
    peaks = {}
    for name, body in (
        ("torch", "import torch"),
        ("exact", f"from vae.cli import main; main({arguments!r})"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script.format(body)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            env=os.environ,
        )
        peaks[name] = int(done.stdout.split()[-1]) / 1e3
    return {"what": "memory", "peak_mb": peaks["exact"]} | {
        "above_torch_mb": peaks["exact"] - peaks["torch"]
    }


def _encoded(model: VAE, dataset: Dataset, n: int) -> tuple[Tensor, Tensor, Tensor]:
    x = to_unit(dataset.images[:n])
    with torch.no_grad():
        return x, *model.encode(x)


def _in_turns(contenders: dict[Any, Callable[[], Any]]) -> dict[Any, float]:
    """Median seconds of each."""
    seconds: dict[Any, list[float]] = {name: [] for name in contenders}
    for _ in range(_ROUNDS):
        for name, work in contenders.items():
            start = time.perf_counter()
            with torch.no_grad():
                work()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _slope(times: dict[int, float]) -> float:
    """Of log seconds against log n: 1 where the cost is linear."""
    return float(np.polyfit(np.log(list(times)), np.log(list(times.values())), 1)[0])


def _line(row: dict[str, Any]) -> str:
    def text(value: Any) -> str:
        return f"{value:,.4g}" if isinstance(value, float) else str(value)

    return "  ".join(f"{name} {text(value)}" for name, value in row.items())


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=2, shared_yaxes=True)
    for column, what in ((1, "points"), (2, "nodes")):
        of = [row for row in rows if row["what"] == what]
        figure.add_scatter(
            x=[row["n"] for row in of],
            y=[row["seconds"] for row in of],
            mode="lines+markers",
            name=f"{what}: slope {of[0]['slope']:.2f}",
            row=1,
            col=column,
        )
        figure.update_xaxes(type="log", title={"text": what}, row=1, col=column)
    figure.update_yaxes(type="log").update_yaxes(title={"text": "seconds"}, row=1, col=1)
    write_atomic(path, figure.to_html(include_plotlyjs=True).encode())
