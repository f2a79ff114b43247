"""A folder for a static host, such as GitHub Pages: a page for each model, and an index of them."""

import base64
import html
import string
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import torch

from vae import plots
from vae.analysis import traversal
from vae.figures import sheets
from vae.live import export
from vae.live.export import ExportError, Shown
from vae.runs import files

INDEX = "index.html"
_OURS = '<meta name="generator" content="ELBO Room">'
_SIDE = 8  # decoded images along each side of a model's picture
_TAILS = 0.04  # of the prior beyond the picture's first and last column


def check(folder: Path) -> None:
    """Refuses a folder whose index is something else's. Raises ExportError."""
    index = folder / INDEX
    try:
        is_ours = _OURS in index.read_text(encoding="utf-8", errors="replace")[:2000]
    except OSError:
        return  # there is none; whoever writes there is told by the disk
    if not is_ours:
        raise ExportError(
            f"{index} is not one that was written here; name an empty folder, or move it away"
        )


def write_page(folder: Path, shown: Shown) -> tuple[str, int]:
    """Writes a model's page.

    Returns:
        Its entry for `write_index`, and its size in bytes.

    Raises:
        ProgramError, ExportError: as `export.page`; or its page would be the index.
        CheckpointError: it cannot be written.
        UserError: the model decodes to nothing that is finite.
    """
    if shown.name.lower() == "index":
        raise ExportError("a page called index would be in the index's place; rename it")
    entry = _entry(shown)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"cannot make {folder}: {error.strerror}") from error
    return entry, export.write(folder / f"{shown.name}.html", shown.page())


def write_index(folder: Path, entries: Sequence[str]) -> None:
    """Writes the page that links to the others. Raises CheckpointError if it cannot be written."""
    template = string.Template((Path(__file__).parent / "site.html").read_text(encoding="utf-8"))
    text = template.substitute(ours=_OURS, entries="\n".join(entries))
    files.write_atomic(folder / INDEX, text.encode())
    # GitHub would leave out what begins with an underscore, as a name may.
    files.write_atomic(folder / ".nojekyll", b"")


def _entry(shown: Shown) -> str:
    facts = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in shown.card()
    )
    picture = base64.b64encode(_picture(shown)).decode()
    name = html.escape(shown.name)
    return (
        f'<a href="{quote(shown.name)}.html"><img alt="What {name} decodes to" '
        f'src="data:image/png;base64,{picture}"><h2>{name}</h2><dl>{facts}</dl></a>'
    )


def _picture(shown: Shown) -> bytes:
    """What the model decodes to, over the plane of the two dimensions with the highest KL.

    A model with a condition is given one class after the other, row by row.
    """
    model, D = shown.model, shown.embedding.latent_dim
    places = torch.special.ndtri(torch.linspace(_TAILS, 1 - _TAILS, _SIDE, dtype=torch.float64))
    z = torch.zeros(_SIDE, _SIDE, D)
    first, *others = traversal.by_kl(shown.embedding)[0][:2].tolist()
    z[:, :, first] = places[None].float()
    for second in others:
        z[:, :, second] = places.flip(0)[:, None].float()
    n_classes = model.config.n_classes
    rows = [
        traversal.decode(model.given(row % n_classes) if n_classes else model, z[row])
        for row in range(_SIDE)
    ]
    return sheets.mosaic(plots.pictures(torch.stack(rows).numpy(), model.config))
