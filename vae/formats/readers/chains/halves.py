"""Half of a VAE in a file of its own: a decoder without its encoder, or an encoder alone."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vae.formats import refusal
from vae.formats.containers.tensors import Survey
from vae.formats.readers.chains.layers import (
    EMBEDDING,
    LINEAR,
    MAIN,
    Layer,
    says_label,
    side,
)
from vae.formats.readers.chains.plan import square_of
from vae.formats.readers.chains.search import (
    Heads,
    Label,
    Path,
    Structure,
    dressed,
    from_z,
    heads_of,
    to_heads,
)
from vae.formats.readers.chains.units import Step, Unit, norms_of, units_of
from vae.formats.readers.kinds import Kind
from vae.formats.wording import printable

_SURE = 784  # pixels of a vector that is an image though no name says so
_GENERATOR = re.compile(r"(^|[^a-z])(generator|netg|[a-z]*gan)([^a-z]|$)")
_BESIDE = refusal.Step(
    "put the decoder's file beside it, as encoder.pt and decoder.pt of one folder",
    "python -m vae evaluate FOLDER",
    "choose the encoder's and the decoder's files together",
)
_SORTED = "safetensors"  # by name
_DCGAN = "main"  # its tutorial's name of a Sequential


def decoder_alone(survey: Survey, layers: Sequence[Layer], n_classes: int = 0) -> Structure | None:
    """The decoder that is all of a file; None if there is something else, or a GAN by its names.

    Every layer is in one chain from z to an image, in the order of declaration if the container
    keeps it; only a copy of the last layer may be left over, which gives the variance of x.

    Args:
        survey: of the file.
        layers: its layers.
        n_classes: of a one-hot label beside z, which shapes do not tell; 0 for none.

    Returns:
        A structure without an encoder: in place of heads stands z.
    """
    if is_generator(survey, layers) or any(side(x.path) == "encoder" for x in layers):
        return None
    is_named = _says_decoder(survey, layers)
    in_order = not survey.container.startswith(_SORTED)
    plain = Label(n_classes, 0, n_classes)
    for label in [plain] if n_classes else [*_labels(layers), plain]:
        made = label.decoder_layer
        mains = [x for x in layers if x.kind in MAIN and x is not made]
        units = [unit for unit in units_of(layers) if made not in unit]
        for unit in units[:1] if in_order else units:
            for path, k in _chains(unit[0], label.decoder, units):
                places = [step.layer.place for step in path]
                if in_order and places != sorted(places):
                    continue
                if _is_whole(path, mains, k, is_named):
                    z = Step(replace(unit[0], kind=LINEAR), k, k)
                    found = Structure((), Heads((z,), (z,), ""), path, label)
                    return dressed(found, layers, norms_of(layers))
    return None


def _chains(first: Layer, extra: int, units: Sequence[Unit]) -> Iterator[tuple[Path, int]]:
    """Chains from what a layer could read as z, with its size k, the longest first."""
    for inputs, _, transposed in first.ways(True):
        k = inputs - extra
        if k >= 1 and (first.kind == LINEAR or transposed):
            yield from ((path, k) for _, path in from_z(k, extra, units) if path[0].layer == first)


def is_generator(survey: Survey, layers: Sequence[Layer]) -> bool:
    """Whether names say that it is a GAN's generator."""
    said = [survey.path.stem, *survey.under, survey.prefix, *(layer.path for layer in layers)]
    if any(_GENERATOR.search(text.lower()) for text in said):
        return True
    return all(layer.path.startswith(f"{_DCGAN}.") for layer in layers)


def encoder_alone(layers: Sequence[Layer]) -> Kind | None:
    """The encoder that is all of a file; None if it is none."""
    units = units_of(layers)
    n_layers = sum(len(unit) for unit in units)
    for at, heads in heads_of(units):
        if not heads.second:
            continue  # any network may end in so many numbers
        for body in _bodies(heads, units, at):
            steps = (*body, *heads.mu)
            image = _image_of(steps[0])
            if image and len(steps) + len(heads.second) == n_layers:
                last = " and ".join(path[-1].layer.path for path in (heads.mu, heads.second))
                return Kind(
                    f"an encoder alone, from {image} to k = {heads.latent_dim} means and as many "
                    f"more numbers ({printable(last)})",
                    "there is no decoder beside it",
                    _BESIDE,
                )
    return None


def _bodies(heads: Heads, units: Sequence[Unit], at: int) -> Iterator[Path]:
    yield from (body for _, body, joined in to_heads(heads, 0, units, at) if not joined)


def _image_of(first: Step) -> str:
    if not first.is_flat:
        return {1: "grey images", 3: "colour images"}.get(first.inputs, "")
    channels, width = square_of(first.inputs)
    return f"images of {channels}x{width}x{width}" if width else ""


def _is_whole(path: Path, mains: Sequence[Layer], k: int, is_named: bool) -> bool:
    last = path[-1]
    used = {step.layer.path for step in path}
    rest = [layer for layer in mains if layer.path not in used]
    if any((x.kind, x.shape, x.bias) != _kind(last.layer) for x in rest) or len(rest) > 1:
        return False
    if not last.is_flat:
        return last.outputs in (1, 3)
    channels, width = square_of(last.outputs)
    pixels = channels * width * width
    return pixels > k and (is_named or pixels >= _SURE)


def _kind(layer: Layer) -> tuple[str, tuple[int, ...], int]:
    return layer.kind, layer.shape, layer.bias


def _says_decoder(survey: Survey, layers: Sequence[Layer]) -> bool:
    said = (survey.path.stem, survey.prefix, *survey.under, *(layer.path for layer in layers))
    return any(side(text) == "decoder" for text in said)


def _labels(layers: Sequence[Layer]) -> Iterator[Label]:
    """Labels that a layer of their own makes numbers of."""
    for layer in layers:
        if layer.kind == EMBEDDING:
            yield Label(layer.shape[0], 0, layer.shape[1], None, layer)
        elif layer.kind == LINEAR and says_label(layer.path):
            yield Label(layer.shape[1], 0, layer.shape[0], None, layer)
