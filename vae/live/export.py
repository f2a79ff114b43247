"""One HTML file with the map, the panel and the model in it: no network, no Python."""

import base64
import gzip
import html
import json
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import plotly.offline

from vae import formats, wording
from vae.analysis import axes as map_axes
from vae.analysis import traversal
from vae.analysis.axes import Layout, Projection
from vae.analysis.embedding import Embedding, embed
from vae.config import ForeignModel, ModelConfig
from vae.core import gaussian
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset, DatasetError
from vae.errors import UserError
from vae.figures import explore as figures
from vae.figures import theme
from vae.formats import AnyRun, ForeignRun
from vae.inference.condition import OWN_LABEL, Condition, said
from vae.live import pack, source
from vae.live import panel as told
from vae.runs import files
from vae.runs.checkpoint import Run

# Above this many weights the page holds them in half precision: what ships moves by 0.003 nats at
# most on average, and by 0.03 at a single point.
HALF_ABOVE = 100_000
MOST_BYTES = 200_000_000  # of a page: what a laptop's browser unpacks in some seconds
_MOST_NOISE_BYTES = 4_000_000
_PLOTLY_BYTES = 1_470_000  # of plotly.js, packed


class ExportError(UserError):
    """A page cannot be made; the message says what is missing and how to get it."""


@dataclass(frozen=True)
class Opening:
    """What a page shows first.

    Attributes:
        axes: of the map; None: the two dimensions with the highest KL.
        point: the index of the chosen one.
        colour: of the map's points: "label" or one of `theme.TERMS`.
        q: what was set by hand for that point, {"mu": [...], "sigma": [...]}; None: the encoder's.
        settings: of the panel, such as {"S": 16, "manifold": True}.
        zoom: the part of the map, {"x": [from, to], "y": [from, to]}; either may be left out.
    """

    axes: Projection | Layout | None = None
    point: int = 0
    colour: str = "label"
    q: dict[str, list[float]] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    zoom: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Shown:
    """What a page is made of; see `page`."""

    name: str
    model: VAE
    embedding: Embedding
    images: Dataset | None
    trained_on: str | None = None

    def page(self) -> str:
        """The page. Raises ProgramError, ExportError as `page`."""
        return page(self.model, self.embedding, self.name, self.images, self.trained_on)

    def card(self) -> list[tuple[str, str]]:
        """Facts of the model: what each is, and what it is here."""
        half = self.model.n_parameters > HALF_ABOVE
        return _card(self.model, self.embedding, self.trained_on, half)


def of_run(run: AnyRun) -> Shown:
    """What the page of a trained run is made of: its model and its held-out set.

    Of another library's checkpoint, the images of its usual data set, resized to what it reads.

    Raises:
        CheckpointError: the run cannot be read.
        ExportError: it holds no embedding, and its data set is not at hand to make one.
        DatasetError: the data set of another library's checkpoint cannot be had.
    """
    model = run.load_model()
    if isinstance(run, ForeignRun):
        images = catalogue.load(run.usual_dataset()).read_by(run.model_config)
        return Shown(run.name, model, embed(model, images), images)
    images = _images(run)
    embedding = run.load_embedding(images.fingerprint if images else None)
    if images and embedding and len(images) != len(embedding):  # of a file that names no data
        images = None
    if embedding is None:
        if images is None:
            name = run.train_config.held_out_dataset
            raise ExportError(
                f"{run.path} holds no embedding, and the data set '{name}' is not in "
                f"{catalogue.folder()} to make one; run `python -m vae export {run.path}` where "
                "the data are, or train the run again"
            )
        embedding = embed(model, images)
    return Shown(run.name, model, embedding, images, run.train_config.held_out_dataset)


def page(
    model: VAE,
    embedding: Embedding,
    name: str,
    images: Dataset | None = None,
    trained_on: str | None = None,
    condition: Condition = OWN_LABEL,
    class_names: tuple[str, ...] | None = None,
    opening: Opening | None = None,
) -> str:
    """The page of any model.

    Args:
        model: the VAE.
        embedding: the points of the map.
        name: the page's title.
        images: the data set behind the embedding; without it the panel has no x to compare with.
        trained_on: the data set whose way to centre and scale a drawing follows.
        condition: what a model with a condition was given for that embedding.
        class_names: of that condition; None: those of the data.
        opening: what it shows first.

    Raises:
        ProgramError: the model cannot be run in a browser.
        ExportError: the page would be too large.
    """
    if too_large := is_too_large(rough_size(model, embedding, images)):
        raise ExportError(too_large)
    half = model.n_parameters > HALF_ABOVE
    done = f" {images.note}." if images is not None and images.note else ""
    model_pack = pack.model_pack(model, trained_on or embedding.dataset, half)
    noise = _noise(embedding)
    points_pack = pack.points_pack(
        embedding,
        None if images is None else images.images.numpy(),
        labels=embedding.labels.astype(np.int32),
        **({} if noise is None else {"eps": noise}),
    )
    opening = opening or Opening()
    axes = opening.axes or _axes(embedding)
    names = class_names or embedding.class_names
    given = f"given {said(condition, names)}; " if model.config.n_classes else ""
    words = wording.of(model.config.kind)
    told_page = {
        "name": name,
        "card": _card(model, embedding, trained_on, half),
        "caption": (
            f"{len(embedding):,} {words.points} of {embedding.dataset} ({embedding.split}) at "
            f"their μ, the mean of q(z|x); {given}{_curves(axes)}. "
            f"{_gestures(axes)} Terms are in nats per {words.point}, "
            f"equation (6){_own_draws(embedding)}.{done}"
        ),
        "class_names": list(embedding.class_names),
        "classes": told.classes(model.config.n_classes, names, condition),
        "figures": _figures(embedding, axes),
        "plane": told.plane(axes),
        "opening": {
            "point": opening.point,
            "colour": opening.colour,
            "q": opening.q,
            "settings": opening.settings,
            "zoom": opening.zoom,
        },
        "ranges": told.ranges(embedding),
        "n_samples": embedding.n_samples,
        "model": pack.header_of(model_pack)["id"],
        "points": pack.header_of(points_pack)["id"],
    }
    parts = {
        "page": json.dumps(told_page).encode(),
        "plotly": plotly.offline.get_plotlyjs().encode(),
        "css": source.css("live").encode(),
        "model": model_pack,
        "points": points_pack,
    }
    template = string.Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(f"{name} - ELBO Room"),
        # Base64 holds no "<": nothing that a file says can end the element or be read as markup.
        parts="\n".join(
            f'<script type="text/plain" id="part-{part}">{_packed(data)}</script>'
            for part, data in parts.items()
        ),
        module=source.module("page.js"),
    )


class Page(str):
    """An HTML page that a notebook displays in a frame."""

    def _repr_html_(self) -> str:
        # A page in a frame of its own keeps its styles and the notebook's apart.
        return (
            f'<iframe srcdoc="{html.escape(self, quote=True)}" sandbox="allow-scripts" '
            'style="width:100%;height:860px;border:0" title="ELBO Room"></iframe>'
        )


def show(model: str | Path | AnyRun | VAE | Any, dataset: str | Dataset | None = None) -> Page:
    """The exported page of a checkpoint or a model, for the end of a notebook's cell.

    Args:
        model: a checkpoint of any library or its path, a VAE, or any object with
            encode(x) -> (mu, logvar) and decode(z), as `vae.as_vae` takes it.
        dataset: what the map shows: a data set, or a name (its held-out split). May be left out
            for a checkpoint, whose own held-out set it is then.

    Raises:
        ExportError: a model without a data set, or a checkpoint that `of_run` cannot show.
        CheckpointError, DatasetError, ProgramError: as `of_run`, and of the data set.
    """
    is_file = isinstance(model, str | Path)
    run = formats.open_run(model) if is_file else model
    is_run = isinstance(run, Run | ForeignRun)
    if dataset is None and is_run:
        return Page(of_run(run).page())
    if dataset is None:
        raise ExportError("a model needs a data set to show: give one, or its name, as `dataset`")
    images = catalogue.load(dataset) if isinstance(dataset, str) else dataset
    if isinstance(run, VAE):
        return Page(page(run, embed(run, images), "A variational autoencoder", images))
    if isinstance(run, Run):
        model, trained_on = run.load_model(), run.train_config.held_out_dataset
        return Page(page(model, embed(model, images), run.name, images, trained_on))
    if not is_run:
        run = formats.of_object(model, images)
    model, images = run.load_model(), images.read_by(run.model_config)
    return Page(page(model, embed(model, images), run.name, images))


def write(path: Path, text: str) -> int:
    """Writes a page whole or not at all; returns its size in bytes."""
    data = text.encode()
    files.write_atomic(path, data)
    return len(data)


def rough_size(model: VAE, embedding: Embedding, images: Dataset | None) -> int:
    """About how many bytes the page has: said beforehand, as making it takes a moment."""
    weights = model.n_parameters * (2 if model.n_parameters > HALF_ABOVE else 4)
    # Weights and places hardly compress, pictures of digits to about a fifth; base64 adds a third.
    pixels = 0 if images is None else images.images.numel() // 5
    points = 40 * len(embedding) + _noise_bytes(embedding)
    return (_PLOTLY_BYTES + weights + points + pixels) * 4 // 3


def is_too_large(n_bytes: int) -> str:
    """Why a page of that `rough_size` cannot be made, if it is more than MOST_BYTES; else ""."""
    if n_bytes <= MOST_BYTES:
        return ""
    return (
        f"as one HTML file this would be {n_bytes / 1e6:,.0f} MB, and browsers open "
        f"{MOST_BYTES / 1e6:,.0f} at most; choose a smaller model or fewer images"
    )


def _images(run: Run) -> Dataset | None:
    """The held-out images, if they are at hand and of the model's shape."""
    try:
        if not catalogue.describe(run.train_config.held_out_dataset).is_here("test"):
            return None
        images = catalogue.load(run.train_config.held_out_dataset)
    except DatasetError:
        return None
    return images if images.is_read_by(run.model_config) else None


def _noise_bytes(embedding: Embedding) -> int:
    """Of the draws behind the stored terms, which the page carries; 0 if they would be too much."""
    n_bytes = len(embedding) * embedding.n_samples * embedding.latent_dim * 2
    return n_bytes if n_bytes <= _MOST_NOISE_BYTES else 0


def _noise(embedding: Embedding) -> np.ndarray | None:
    """Those draws as float16, (N, S, D), by which the page gives the stored terms, or None."""
    if not _noise_bytes(embedding):
        return None
    D, S = embedding.latent_dim, embedding.n_samples
    noise = gaussian.noise_of_points(range(len(embedding)), S, D, embedding.seed)
    return noise.transpose(0, 1).numpy().astype(np.float16)


def _curves(axes: Projection | Layout) -> str:
    if isinstance(axes, Layout):
        return f"in a {axes.name}: neighbours stay near, but no place on it can be decoded"
    if axes.is_line:
        return "above them q, and dotted the prior p(z), each as a share of its peak"
    return "q at 1 and 2 σ; dotted: the prior p(z) at 1, 2 and 3 σ"


def _gestures(axes: Projection | Layout) -> str:
    if isinstance(axes, Layout):
        return "Hover or click a point."
    return "Hover to decode, click a point, or drag q anywhere."


def _own_draws(embedding: Embedding) -> str:
    if _noise_bytes(embedding):
        return ""
    return "; recon is of other draws than in the tables, so they differ by its error"


def _figures(embedding: Embedding, axes: Projection | Layout) -> dict[str, Any]:
    positions = axes.places(embedding).astype(np.float32)
    return {
        colour: json.loads(
            figures.latent_map(
                embedding,
                positions,
                colour,
                axes.titles,
                prior_centre=axes.prior_centre,
                is_strip=axes.is_line,
            ).to_json()  # pyright: ignore[reportArgumentType]
        )
        for colour in ("label", *theme.TERMS)
    }


def _axes(embedding: Embedding) -> Projection:
    """The two latent dimensions with the highest KL, in order; the one there is, if so."""
    if embedding.latent_dim == 1:
        return map_axes.line()
    chosen = tuple(sorted(traversal.by_kl(embedding)[0][:2].tolist()))
    return map_axes.dimensions(embedding.latent_dim, chosen)


def _card(
    model: VAE, embedding: Embedding, trained_on: str | None, half: bool
) -> list[tuple[str, str]]:
    means, config = embedding.means(), model.config
    words = wording.of(config.kind)
    return [
        ("trained on", trained_on or "not stated"),
        ("latent", f"k = {config.latent_dim}"),
        ("p(x|z)", config.likelihood),
        ("network", _network(config)),
        ("parameters", f"{model.n_parameters:,}" + (", here in half precision" if half else "")),
        (
            f"shown {words.points}",
            f"recon {means['recon']:.2f} + KL {means['kl']:.2f} = "
            f"-ELBO {means['neg_elbo']:.2f} nats per {words.point}",
        ),
    ]


def _network(config: ModelConfig | ForeignModel) -> str:
    if isinstance(config, ForeignModel):  # of which the widths may not be known
        return f"{config.family} {'-'.join(map(str, config.hidden))}".strip()
    return config.network


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
