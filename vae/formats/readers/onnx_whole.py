"""One ONNX file with a whole VAE in it: cut in two where z enters, each half run by onnxruntime.

As `forward(x) -> (recon, mu, logvar)` is exported, in any order. Where noise is drawn, or is a
second input, z is the sum that it enters: mu + sigma * noise, whose two halves stand in the graph,
whatever the second head means. Where none is, z is mu.
"""

import dataclasses
from pathlib import Path

from torch import Tensor

from vae.formats.readers.onnx_graph import Graph, Value
from vae.formats.readers.onnx_pair import NAME, Session, pixels
from vae.formats.refusal import OWN_CLASS, Refusal, Step
from vae.formats.run import ForeignRun
from vae.formats.user_code.adapter import adapt
from vae.formats.wording import listed, printable

EXPORT_WHOLE = Step(
    "export it anew, where the model is, with forward(x) that returns recon, mu, logvar",
    "torch.onnx.export(model, (x,), 'vae.onnx', external_data=False)",
)
_SETTING = 'the metadata "{}": {} in the file'
_MEAN, _SECOND = ("mu", "mean", "loc"), ("var", "sigma", "std", "scale")
_SIDE_CHANNELS = ("Identity", "Cast", "Reshape", "Expand", "Unsqueeze", "Squeeze")
_LEAST = 1e-12  # of sigma


@dataclasses.dataclass(frozen=True)
class Cut:
    """Where a graph falls in two.

    Attributes:
        mu, second, z, recon: names of tensors.
        is_sigma: whether `second` is sigma itself, and no output that has to be understood.
    """

    mu: str
    second: str
    z: str
    recon: str
    is_sigma: bool


def open_whole(
    name: str, path: Path, graph: Graph, shapes: list[tuple[int, int, int]]
) -> ForeignRun:
    """The run of one file that leads from images to images.

    Args:
        name: of the run.
        path: the file.
        graph: it.
        shapes: image shapes to try where the input does not say one.

    Raises:
        CheckpointError: onnxruntime is not installed, the file is refused, or no place was found
            where z enters.
    """
    given = _Whole(path, graph, cut_of(path, graph))
    found = adapt(given, printable(str(path), 200), shapes, None, NAME, _SETTING)
    card = dataclasses.replace(
        found.card, network="encoder and decoder in one graph, run by onnxruntime"
    )
    card = dataclasses.replace(card, notes=(*card.notes, given.said))
    return ForeignRun(name, path, found.model.config, card, lambda: found.model)


def is_encoder(graph: Graph) -> bool:
    """Whether it leads from images to fewer numbers alone."""
    if not graph.inputs or graph.noise():
        return False
    first, ends = _inputs(graph)[0], _ends(graph)
    larger = any((_n_pixels(end) or 0) > (_n_pixels(first) or 0) > 0 for end in ends)
    return (len(first.sizes) > 2 or len(ends) > 1) and not larger and _recon(graph, first) is None


def is_whole(graph: Graph) -> bool:
    """Whether it leads from images to images, with what is between them."""
    many = len(graph.outputs) > 1 or len(graph.inputs) > 1 or bool(graph.noise())
    first = _inputs(graph)[0] if graph.inputs else None
    return first is not None and _recon(graph, first) is not None and (many or len(first.sizes) > 2)


def cut_of(path: Path, graph: Graph) -> Cut:
    """Where z enters. Raises CheckpointError, which says what is missing."""
    image, noise = _inputs(graph)
    recon = _recon(graph, image)
    if recon is None:
        raise Refusal(path, "leads from images to no image", _named(graph), EXPORT_WHOLE)
    drawn = [*graph.noise(), *noise]
    if set(drawn) & graph.before(recon.name):
        found = _of_noise(graph, recon.name, drawn)
    else:
        found = _of_outputs(graph, recon.name)
    if found is None:
        missing = f"where z enters was not found ({_named(graph)})"
        raise Refusal(path, "leads from images to images", missing, EXPORT_WHOLE)
    more = graph.before(recon.name, [found.z]) & {image.name, *drawn}
    if more:
        said = f"has a decoder that reads {printable(', '.join(sorted(more)), 80)} besides z"
        raise Refusal(path, said, "z alone gives no image", OWN_CLASS)
    return found


def _inputs(graph: Graph) -> tuple[Value, list[str]]:
    """The images, and what else is read."""
    by_size = sorted(graph.inputs, key=lambda value: (len(value.sizes), _n_pixels(value) or 0))
    return by_size[-1], [value.name for value in by_size[:-1]]


def _recon(graph: Graph, image: Value) -> Value | None:
    """The output that is an image: of as many pixels as the input; of several the furthest."""
    ends = _ends(graph)
    alike = [end for end in ends if _n_pixels(end) and _n_pixels(end) == _n_pixels(image)]
    if not alike:  # sizes that the file does not say: what other outputs, or noise, lead to
        others = {value.name for value in graph.outputs} | set(graph.noise())
        alike = [end for end in ends if len(graph.before(end.name) & others) > 1]
    return max(alike, key=lambda end: len(graph.before(end.name)), default=None)


def _ends(graph: Graph) -> list[Value]:
    """The outputs that lead to no other one."""
    before = {value.name: graph.before(value.name) - {value.name} for value in graph.outputs}
    return [v for v in graph.outputs if not any(v.name in names for names in before.values())]


def _of_noise(graph: Graph, recon: str, drawn: list[str]) -> Cut | None:
    """z = mu + sigma * noise."""
    leads = graph.before(recon)
    for node in graph.nodes:
        if node.op != "Add" or len(node.reads) != 2 or not leads & set(node.gives):
            continue
        is_noisy = [bool(graph.before(name) & set(drawn)) for name in node.reads]
        if is_noisy.count(True) != 1:
            continue
        mu, product = node.reads if is_noisy[1] else node.reads[::-1]
        made = graph.node_of(product)
        while made is not None and made.op in _SIDE_CHANNELS:
            made = graph.node_of(made.reads[0])
        if made is None or made.op != "Mul" or len(made.reads) != 2:
            continue
        quiet = [name for name in made.reads if not graph.before(name, drawn) & set(drawn)]
        if len(quiet) == 1 and not graph.before(mu) & set(drawn):
            return Cut(mu, quiet[0], node.gives[0], recon, True)
    return None


def _of_outputs(graph: Graph, recon: str) -> Cut | None:
    """z = mu, or what mu and the second output lead to together."""
    others = [value.name for value in graph.outputs if value.name != recon]
    leads = graph.before(recon)
    before = {name: len(graph.before(name)) for name in others}
    first = [name for name in others if name in leads]
    rest = [name for name in others if name not in leads]
    if len(first) > 1 and rest:  # z itself is an output, too
        first = sorted(first, key=lambda name: before[name])
    pair = [*first[:1], *rest[:1]] if rest else others[:2]
    if len(pair) < 2 or not first:
        return None
    mu, second = pair
    says = [any(word in name.lower() for word in _SECOND) for name in pair]
    if says == [True, False] and (second in leads or not rest):
        mu, second = second, mu
    if mu not in leads:
        return None
    image = _inputs(graph)[0].name
    order = [name for node in graph.nodes for name in node.gives if name in leads]
    for z in (mu, *order):
        if mu in graph.before(z) and image not in graph.before(recon, [z]) and z != recon:
            return Cut(mu, second, z, recon, False)
    return None


def _n_pixels(value: Value) -> int | None:
    sizes = [size for size in value.sizes[1:] if size]
    if not sizes or len(sizes) != len(value.sizes) - 1:
        return None
    total = 1
    for size in sizes:
        total *= size
    return total


def _named(graph: Graph) -> str:
    return f"outputs: {listed(value.name for value in graph.outputs)}"


class _Whole:
    """encode and decode by the two halves."""

    def __init__(self, path: Path, graph: Graph, cut: Cut) -> None:
        image, _ = _inputs(graph)
        first = image.sizes[:1]
        z = Value(cut.z, (*first, None), image.element)
        self._cut = cut
        self._encoder = Session(path, 2, graph.part([image], [cut.mu, cut.second]))
        self._decoder = Session(path, 1, graph.part([z], [cut.recon]))
        said = self._decoder.metadata
        self.likelihood, self.logvar_x = said.get("likelihood"), said.get("logvar_x")
        shape, self._channels_last = pixels(self._encoder.input_shape)
        self.image_shape = shape
        if "image_shape" in said:
            self.image_shape = said["image_shape"].lower().replace(",", "x").split("x")
        second = "sigma" if cut.is_sigma else "the log variance"
        names = [printable(name, 30) for name in (cut.mu, cut.second, cut.z)]
        self.said = f"found in its graph: mu is {names[0]}, {second} {names[1]}, z {names[2]}"

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mu and logvar, each (B, D)."""
        x = x.permute(0, 2, 3, 1) if self._channels_last and x.ndim == 4 else x
        mu, second = self._encoder.run(x)
        if self._cut.is_sigma:
            second = 2 * second.abs().clamp_min(_LEAST).log()
        return mu.flatten(1), second.expand(len(mu), *second.shape[1:]).flatten(1)

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's output for z (B, D)."""
        out = self._decoder.run(z)[0]
        return out.permute(0, 3, 1, 2) if self._channels_last and out.ndim == 4 else out
