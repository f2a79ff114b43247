"""How many of the checkpoints that people really have are opened, and are they read rightly?

It measures a folder that `tests/wild/make.py` made: one folder a checkpoint, each with the file and
`expected.json`, which holds what the class that made it says of two hundred test images. The
numbers compared are means over these images, of the KL, of the cross-entropy of the image decoded
at mu, and of its squared error; a file is right if all are within 1 %.
"""

import itertools
import json
import re
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from vae import formats
from vae.config import VECTOR
from vae.data.dataset import Dataset, to_unit
from vae.errors import UserError
from vae.features import REAL, Feature
from vae.formats import ForeignRun, gate
from vae.formats.card import ASSUMED, Choices, Fact
from vae.formats.containers.tensors import sha256
from vae.formats.gate import Verdict

EXPECTED, ARRAYS = "expected.json", "arrays.safetensors"
WITHIN = 0.01
_FLOOR = 0.02  # nats, or squared pixels: less than that apart is the same
_EPS = 1e-6

RIGHT, UNDECIDED, WRONG = "right", "undecided, and said so", "wrong in silence"
REFUSED, OTHER_REASON = "refused for the right reason", "refused for another reason"
NOT_OPENED = "not opened"
_HEADINGS = {
    RIGHT: "right",
    UNDECIDED: "said",
    WRONG: "silent",
    NOT_OPENED: "closed",
    REFUSED: "refused",
    OTHER_REASON: "otherwise",
}
IMAGE_KINDS = ("plain", "conditional")  # image models with a Gaussian q


@dataclass(frozen=True)
class Row:
    """What came of one file.

    Attributes:
        key: the name of its folder.
        kind, container: as the list of layouts words them.
        outcome: one of the six above.
        warned: the gate did not pass.
        seconds, processor_s: to open and to settle it, by the clock and of one processor.
        detail: what is to know of it, in a line.
        offered: where it is undecided, the right reading is among those offered.
    """

    key: str
    kind: str
    container: str
    outcome: str
    warned: bool
    seconds: float
    processor_s: float
    detail: str
    offered: bool = False


def main(as_json: bool, folder: Path | None, verbose: bool = False, wider: bool = False) -> None:
    """Prints a table of the folder's checkpoints, by kind and by container.

    Args:
        as_json: one JSON object a file instead.
        folder: as `tests/wild/make.py` made it.
        verbose: a line for each file, too.
        wider: the gate may search for minutes, as on a machine that is busy with other work.

    Raises:
        UserError: nothing of the kind is in there.
    """
    if folder is None or not (places := sorted(folder.glob(f"*/{EXPECTED}"))):
        raise UserError(
            "wild needs a folder of made checkpoints: python tests/wild/make.py LAYOUTS FOLDER, "
            "then python -m vae bench wild FOLDER"
        )
    rows: list[Row] = []
    seen: dict[tuple[str, str], Row] = {}  # the same file in two places is measured once
    for place in places:
        file = place.parent / json.loads(place.read_text(encoding="utf-8"))["file"]
        same = place.read_text(encoding="utf-8"), sha256(file) if file.is_file() else str(file)
        if same not in seen:
            seen[same] = measure(place.parent, wider)
        row = replace(seen[same], key=place.parent.name)
        rows.append(row)
        if as_json:
            print(json.dumps(asdict(row)), flush=True)
        elif verbose:
            print(_line(row), flush=True)
    if not as_json:
        print("\n".join(_table(rows)))


def measure(place: Path, wider: bool = False) -> Row:
    """Opens one checkpoint, lets the gate settle how it is read, and compares."""
    known = json.loads((place / EXPECTED).read_text(encoding="utf-8"))
    row = Row(place.name, known["kind"], known["container"], "", False, 0.0, 0.0, "")
    path, images = place / known["file"], _images(place, known)
    started, busy = time.perf_counter(), time.process_time()

    def timed(row: Row) -> Row:
        seconds, processor_s = time.perf_counter() - started, time.process_time() - busy
        return replace(row, seconds=seconds, processor_s=processor_s)

    try:
        run = formats.open_run(path)
        if not isinstance(run, ForeignRun):
            raise UserError("it was taken for a run of ours")
        verdict = None
        if known["expect"] == "decoder":
            run.load_model()
        else:
            shown = images or _random_images(run)
            run, verdict = gate.settle(run, shown, wider=wider)
    except UserError as error:
        row = replace(timed(row), detail=str(error))
        said = str(error).replace(str(path), "").replace(str(place), "").partition("it holds ")[0]
        return replace(row, outcome=_refused(known, said))
    row = timed(row)
    if verdict is not None:
        row = replace(row, warned=not verdict.passed)
    if known["expect"] == "decoder":
        return _compare_decoder(row, run, place)
    if images is None:
        return _opened_though_none(row, verdict)
    return _compare(row, run, verdict, images, known)


def _refused(known: Mapping[str, Any], message: str) -> str:
    if known["expect"] != "refused":
        return NOT_OPENED
    return REFUSED if re.search(known["reason"], message, re.IGNORECASE) else OTHER_REASON


def _opened_though_none(row: Row, verdict: Verdict | None) -> Row:
    """What is no image model was opened as one: then the gate has to say that it is none."""
    reasons = "; ".join(verdict.reasons) if verdict else ""
    return replace(row, outcome=UNDECIDED if row.warned else WRONG, detail=f"opened; {reasons}")


def _compare(
    row: Row, run: ForeignRun, verdict: Verdict | None, images: Dataset, known: Mapping[str, Any]
) -> Row:
    apart = _apart(run, images, known)
    if not apart:
        return replace(row, outcome=RIGHT, detail="; ".join(verdict.reasons) if verdict else "")
    assumed = [fact for fact in run.facts if fact.known == ASSUMED]
    said = row.warned or _offers(run, images, known, _values_of(run, assumed, 2))
    better = [dict(reading.choices) for reading in (verdict.better if verdict else ())]
    offered = _offers(run, images, known, [*better, *_values_of(run, run.facts, 1)])
    taken = ", ".join(f"{fact.name} {fact.value} ({fact.known})" for fact in run.facts)
    reasons = "; ".join(verdict.reasons) if verdict else ""
    detail = f"{apart}; read as: {taken}; {reasons}"
    return replace(row, outcome=UNDECIDED if said else WRONG, detail=detail, offered=offered)


def _values_of(run: ForeignRun, facts: Iterable[Fact], most: int) -> list[Choices]:
    """The readings that differ from a run's in one of these facts, or in at most two."""
    chosen, facts = dict(run.choices), list(facts)
    one = [{fact.name: value} for fact in facts for value in fact.values if value != fact.value]
    two = (a | b for a, b in itertools.combinations(one, 2) if a.keys() != b.keys())
    return [chosen | changed for changed in (one if most == 1 else (*one, *two))]


def _offers(
    run: ForeignRun, images: Dataset, known: Mapping[str, Any], readings: Iterable[Choices]
) -> bool:
    """Whether one of the readings is right."""
    if run.read_with is None:
        return False
    for choices in readings:
        try:
            if not _apart(run.read_with(choices), images, known):
                return True
        except (UserError, RuntimeError):  # a value that does not go with the others
            continue
    return False


@torch.no_grad()
def _apart(run: ForeignRun, images: Dataset, known: Mapping[str, Any]) -> str:
    """Which numbers are more than 1 % from what they should be; "" if none is."""
    model = run.load_model()
    is_table = images.kind == VECTOR
    if is_table and images.image_shape == tuple(model.config.image_shape):
        images = images.read_by(model.config)
    x = to_unit(images.images)
    if bool(model.config.n_classes) != bool(known["n_classes"]):
        return f"{model.config.n_classes} classes instead of {known['n_classes']}"
    if tuple(x.shape[1:]) != tuple(model.config.image_shape):
        return f"it reads {model.config.image_shape}, not {tuple(x.shape[1:])}"
    model = model.given(images.labels)
    mu, logvar = model.encode(x)
    mean = model.likelihood.mean(model.decode(mu))
    kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)
    if is_table:  # in units of each column's variance
        error = ((mean - x).square() / x.var(0)).flatten(1).sum(1)
        return _said_apart({"kl": kl, "squared": error}, known)
    nll = F.binary_cross_entropy(mean.clamp(_EPS, 1 - _EPS), x, reduction="none")
    values = {
        "kl": kl,
        "nll": nll.flatten(1).sum(1),
        "squared": (mean - x).square().flatten(1).sum(1),
    }
    return _said_apart(values, known)


def _said_apart(values: Mapping[str, Tensor], known: Mapping[str, Any]) -> str:
    found = {name: value.mean().item() for name, value in values.items()}
    wrong = [
        f"{name} {value:.2f} instead of {known[name]:.2f}"
        for name, value in found.items()
        if not abs(value - known[name]) <= max(WITHIN * abs(known[name]), _FLOOR)
    ]
    return ", ".join(wrong)


@torch.no_grad()
def _compare_decoder(row: Row, run: ForeignRun, place: Path) -> Row:
    arrays = load_file(place / ARRAYS)
    model = run.load_model()
    z, wanted = arrays["mu"], arrays["mean"].float()
    if z.shape[1] != model.config.latent_dim:
        return replace(row, outcome=WRONG, detail=f"k = {model.config.latent_dim}")
    mean = model.likelihood.mean(model.decode(z))
    if mean.shape != wanted.shape:
        return replace(row, outcome=WRONG, detail=f"images of {tuple(mean.shape[1:])}")
    error = (mean - wanted).abs().mean().item()
    outcome = RIGHT if error < WITHIN * wanted.abs().mean().item() else WRONG
    return replace(row, outcome=outcome, detail=f"pixels {error:.4f} apart on average")


def _images(place: Path, known: Mapping[str, Any]) -> Dataset | None:
    if "images" not in known:
        return None
    arrays = load_file(place / known["images"])
    names = tuple(map(str, range(10)))
    more: dict[str, Any] = {}
    if "columns" in arrays:
        told = enumerate(arrays["columns"].tolist())
        features = tuple(Feature(f"x{i}", REAL, "", *of, *of[:2]) for i, of in told)
        more = {"kind": VECTOR, "features": features}
    return Dataset(known["dataset"], "test", arrays["images"], arrays["labels"], names, **more)


def _random_images(run: ForeignRun) -> Dataset:
    """Grey noise, to show to what should not have been opened."""
    generator = torch.Generator().manual_seed(0)
    shape = (200, *run.model_config.image_shape)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return Dataset("noise", "test", images, torch.zeros(200, dtype=torch.int64), ("0",))


def _line(row: Row) -> str:
    warned = ", warned" if row.warned else ""
    offered = ", the right reading offered" if row.offered else ""
    start = f"{row.key} ({row.kind}; {row.container}): {row.outcome}{warned}{offered}"
    return f"{start}, {row.seconds:.1f} s{': ' if row.detail else ''}{row.detail}"


def _table(rows: list[Row]) -> Iterator[str]:
    """Lines of text: the list and our own variants, each by kind and by container."""
    groups = {"layouts of the list": "layout-", "variants of our own": "variant-"}
    for title, start in groups.items():
        part = [row for row in rows if row.key.startswith(start)]
        if not part:
            continue
        yield ""
        yield f"{title}: {len(part)} files"
        yield _cells("", ("files", "opened", *_HEADINGS.values(), "alarms"))
        yield from _block("by kind", part, "kind")
        yield from _block("by container", part, "container")
        yield _cells("all", _counts(part))
        images = [row for row in part if row.kind in IMAGE_KINDS]
        if images:
            n, wrong = len(images), sum(row.outcome == WRONG for row in images)
            opened = sum(row.outcome in (RIGHT, UNDECIDED, WRONG) for row in images)
            yield (
                f"image models with a Gaussian q: {opened} of {n} opened ({opened / n:.0%}), "
                f"{sum(row.outcome == RIGHT for row in images)} right, {wrong} wrong in silence"
            )
            clock, busy = [r.seconds for r in images], [r.processor_s for r in images]
            yield (
                f"time for one of those: median {statistics.median(clock):.2f} s, worst "
                f"{max(clock):.2f} s; of a processor {statistics.median(busy):.2f} s, worst "
                f"{max(busy):.2f} s"
            )
    yield ""
    yield "; ".join(f"{heading}: {outcome}" for outcome, heading in _HEADINGS.items())
    yield "opened: the first three together; alarms: right, and the gate warns none the less"


def _block(title: str, rows: list[Row], field: str) -> Iterator[str]:
    yield title
    for value in sorted({getattr(row, field) for row in rows}):
        yield _cells(f"  {value}", _counts([row for row in rows if getattr(row, field) == value]))


def _counts(rows: list[Row]) -> tuple[str, ...]:
    n = {outcome: sum(row.outcome == outcome for row in rows) for outcome in _HEADINGS}
    opened = n[RIGHT] + n[UNDECIDED] + n[WRONG]
    alarms = sum(row.outcome == RIGHT and row.warned for row in rows)
    return tuple(map(str, (len(rows), opened, *n.values(), alarms)))


def _cells(start: str, cells: tuple[str, ...]) -> str:
    return f"{start[:50]:<50}" + "".join(f"{cell:>9}" for cell in cells)
