"""What a file of tensors is, where it is no VAE of images with a Gaussian q."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from vae.formats.containers.tensors import Survey
from vae.formats.readers.chains.blocks import Block, with_blocks
from vae.formats.readers.chains.layers import (
    CONV,
    LINEAR,
    MAIN,
    Layer,
    layers_of,
    says_mean,
    second_head,
    side,
    words,
)
from vae.formats.readers.chains.search import Structure
from vae.formats.readers.chains.units import reads
from vae.formats.refusal import (
    OWN_CLASS,
    SAVE_BOTH,
    SAVE_WEIGHTS,
    TRAIN,
    TRAIN_VECTORS,
    Refusal,
    Step,
)
from vae.formats.wording import listed, printable

_NO_Q = "there is no Gaussian q(z|x) to look at"
_NO_IMAGES = "only models of images open here"
Shapes = Mapping[str, tuple[int, ...]]

_CODEBOOK = re.compile(r"^(vq|codebook|quantis|quantiz|vectorquant|vector_quant|ema_?w$)")
_BLOCK = re.compile(r"shortcut|residual|res_?block|resnet|skip_?conn")
_OPTIMISER = ("exp_avg", "exp_avg_sq", "momentum_buffer", "max_exp_avg_sq", "square_avg")
_FLOW = re.compile(
    r"^(flows?|planars?|planarflows?|radials?|iafs?|maf|real_?nvp|nvp|sylvester|householder)$"
    r"|normali[sz]ingflow|coupling"
)
_OTHER_Q = {
    "alpha": "a Dirichlet q",
    "dirichlet": "a Dirichlet q",
    "concentration": "a Dirichlet q",
    "kappa": "a von Mises-Fisher q",
    "gumbel": "a categorical q",
    "categorical": "a categorical q",
}


@dataclass(frozen=True)
class Kind:
    """What a file holds instead.

    Attributes:
        what: with its sizes: "a VQ-VAE: a codebook of 512 vectors".
        missing, step: as of a `Refusal`.
    """

    what: str
    missing: str = _NO_Q
    step: Step = TRAIN

    def refusal(self, path: Path) -> Refusal:
        """What is said of the file."""
        return Refusal(path, f"holds {self.what}", self.missing, self.step)


def other_kind(survey: Survey) -> Kind | None:
    """What a file is by its names and shapes, if that is no Gaussian VAE of images; else None."""
    shapes = survey.shapes
    known = (_optimiser, _codebook, _recurrent, _attention, _other_axes, _other_q)
    for recognise in known:
        if (found := recognise(shapes)) is not None:
            return found
    return _residual(survey)


def without_q(survey: Survey) -> Kind | None:
    """What a file is in which no two heads were found: half a GAN, an autoencoder; else None."""
    layers = [layer for layer in layers_of(survey)[0] if layer.kind in MAIN]
    if not layers:
        return None
    return _gan(layers) or autoencoder(layers) or _classifier(layers) or _table(layers)


def of_table(structure: Structure) -> Kind:
    """What a VAE is whose inputs are no images."""
    first = (*structure.body, *structure.heads.mu)[0]
    label = structure.label.n_classes
    given = f" with a label of {label} classes" if label else ""
    return Kind(
        f"a VAE{given} of rows of {first.inputs} numbers, with k = {structure.heads.latent_dim}",
        f"{first.inputs} numbers are no square image, grey or coloured, of 8x8 or more",
        replace(OWN_CLASS, do="if they are an image, say its image_shape in the class"),
    )


def _optimiser(shapes: Shapes) -> Kind | None:
    state = [name for name in shapes if name.rpartition(".")[2] in _OPTIMISER]
    if not shapes or len(state) * 2 < len(shapes):
        return None
    what = f"an optimiser's state ({printable(state[0])} and the like)"
    return Kind(what, "there are no weights of a model in it", SAVE_WEIGHTS)


def _codebook(shapes: Shapes) -> Kind | None:
    for name, shape in shapes.items():
        found = [part.lstrip("_").lower() for part in name.split(".")]
        if len(shape) == 2 and any(_CODEBOOK.match(part) for part in found):
            n, d = shape
            return Kind(f"a VQ-VAE: a codebook of {n} vectors of {d} numbers ({printable(name)})")
    return None


def _recurrent(shapes: Shapes) -> Kind | None:
    for name, shape in shapes.items():
        if "weight_ih" not in name or len(shape) != 2:
            continue
        hidden = shapes.get(name.replace("weight_ih", "weight_hh"), (0, 0))[-1]
        kind = {4: "LSTM", 3: "GRU", 1: "RNN"}.get(shape[0] // max(1, hidden), "recurrent network")
        return Kind(
            f"a model of sequences: {'an' if kind in ('LSTM', 'RNN') else 'a'} {kind} that reads "
            f"{shape[1]} numbers at each step ({printable(name)})",
            _NO_IMAGES,
        )
    return None


def _attention(shapes: Shapes) -> Kind | None:
    for name in shapes:
        found = words(name)
        if "in_proj_weight" in name or {"attn", "attention"} & set(found) or "q_proj" in name:
            what = f"a network with attention ({printable(name)})"
            return Kind(what, "the shapes do not tell its order", OWN_CLASS)
    return None


def _other_axes(shapes: Shapes) -> Kind | None:
    for name, shape in shapes.items():
        if len(shape) in (3, 5) and name.endswith(".weight") and f"{name[:-6]}bias" in shapes:
            if shapes[f"{name[:-6]}bias"] == shape:
                continue  # a layer norm over whole images
            n = len(shape) - 2
            what = "sequences or sounds" if n == 1 else "volumes"
            return Kind(
                f"a model of {what}: convolutions along {n} {'axis' if n == 1 else 'axes'} "
                f"({printable(name)})",
                _NO_IMAGES,
            )
    return None


def _other_q(shapes: Shapes) -> Kind | None:
    for name, shape in shapes.items():
        if len(shape) == 2 and side(name) != "decoder":
            for word in words(name):
                if word in _OTHER_Q:
                    return Kind(f"a VAE with {_OTHER_Q[word]} ({printable(name)})")
        path = name.rpartition(".")[0]
        is_planar = {f"{path}.u", f"{path}.w", f"{path}.b"} <= shapes.keys()
        if is_planar or (any(map(_FLOW.search, words(name))) and side(name) != "decoder"):
            return Kind(
                f"a VAE with a flow behind q ({printable(name)})",
                "a Gaussian q(z|x) is looked at here, and this one is changed into another",
            )
    return None


def _residual(survey: Survey) -> Kind | None:
    for layer in with_blocks(layers_of(survey)[0]):
        if not isinstance(layer, Block) and _BLOCK.search(layer.path.lower()):
            what = f"a network with residual blocks ({printable(layer.path)})"
            return Kind(what, "the shapes do not tell what is added to what", OWN_CLASS)
    return None


def _gan(layers: Sequence[Layer]) -> Kind | None:
    names = {word for layer in layers for word in words(layer.path)}
    convs = [layer for layer in layers if layer.kind == CONV]
    if names & {"discriminator", "critic", "disc", "netd"} and not names & {"decoder", "decode"}:
        return Kind(f"a GAN's discriminator ({printable(layers[0].path)})")
    upwards = len(convs) == len(layers) and all(
        a.shape[1] == b.shape[0] for a, b in pairwise(convs)
    )
    if len(convs) > 2 and upwards and convs[-1].shape[1] in (1, 3) and convs[0].shape[0] > 3:
        k = convs[0].shape[0]
        return Kind(
            f"a generator alone, as of a GAN: transposed convolutions from {k} numbers to "
            f"{convs[-1].shape[1]} channels",
            "there is no encoder",
        )
    if (
        convs
        and convs[-1].shape[0] == 1
        and layers[-1] is convs[-1]
        and convs[0].shape[1] in (1, 3)
    ):
        down = all(a.shape[0] == b.shape[1] for a, b in pairwise(convs))
        if down and len(convs) == len(layers) and len(convs) > 2:
            return Kind("a GAN's discriminator: convolutions down to one number")
    return None


def autoencoder(layers: Sequence[Layer]) -> Kind | None:
    """Two chains that meet in the code, without a second head; None if they are none."""
    mains = [layer for layer in layers if layer.kind in MAIN]
    if any(second_head(layer.path) or says_mean(layer.path) for layer in mains):
        return None
    is_chain = _is_chain(mains)
    narrowest = min((x.shape[0] for x in mains if x.kind == LINEAR or is_chain), default=0)
    for at, (a, b) in enumerate(pairwise(mains)):
        given = {outputs for _, outputs, _ in a.ways(False)}
        if a.kind != b.kind or not given & {inputs for inputs, _, _ in b.ways(True)}:
            continue
        n = a.shape[0]
        named = side(a.path) == "encoder" and side(b.path) == "decoder"
        mirrored = is_chain or (a.kind == LINEAR and mains[0].shape[1] == mains[-1].shape[0])
        if (named and a.kind == LINEAR) or (
            n == narrowest and mirrored and 0 < at < len(mains) - 1
        ):
            code = f"k = {n}" if a.kind == LINEAR else f"a code of {n} channels"
            return Kind(
                f"an autoencoder with {code} and without a variance, or a VAE with a categorical "
                f"q: {printable(a.path)} gives the numbers that {printable(b.path)} reads"
            )
    return None


def _is_chain(mains: Sequence[Layer]) -> bool:
    """Whether each layer reads what the one before it gives, from an image back to one."""
    ends = {(first[1], first[0]) for first in (mains[0].ways(False) if mains else ())}
    for before, layer in pairwise(mains):
        ends = {
            (outputs, image)
            for given, image in ends
            for inputs, outputs, _ in layer.ways(True)
            if reads(before.kind == LINEAR, given, layer.kind, inputs)
        }
    if not mains or mains[0].kind != mains[-1].kind:
        return False
    return any(a == b and (mains[0].kind == LINEAR or a in (1, 3)) for a, b in ends)


def of_several_z(pairs: Sequence[tuple[Layer, Layer]]) -> Kind | None:
    """What a model is with heads besides those of one q; None without any."""
    if not pairs:
        return None
    named = listed([layer.path for pair in pairs for layer in pair])
    return Kind(
        f"a VAE with more than one latent vector, as a hierarchical one: {named} are heads, too",
        "one z with a Gaussian q(z|x) is looked at here",
        OWN_CLASS,
    )


def of_skips(decoder: Layer, encoder: Layer) -> Kind:
    """What a model is whose decoder reads the encoder's layers."""
    return Kind(
        f"a U-Net: {printable(decoder.path)} reads the channels of {printable(encoder.path)} too, "
        "beside those of the layer before it",
        "such a decoder is no function of z alone: what it shows came past z",
        OWN_CLASS,
    )


def _classifier(layers: Sequence[Layer]) -> Kind | None:
    """Layers that only get narrower, down to a few numbers."""
    last = layers[-1]
    if last.kind != LINEAR or any(side(layer.path) == "decoder" for layer in layers):
        return None
    widths = [layer.shape[0] for layer in layers if layer.kind == LINEAR]
    narrower = all(a >= b for a, b in pairwise(widths)) and widths[-1] <= 1000
    if not narrower or layers[0].shape[1] in widths:
        return None
    return Kind(
        f"a classifier or an encoder alone: {printable(last.path)} gives {last.shape[0]} numbers",
        "there is no decoder that gives an image",
        SAVE_BOTH,
    )


def _table(layers: Sequence[Layer]) -> Kind | None:
    """Few numbers in and out, in Linear layers alone."""
    if any(layer.kind != LINEAR for layer in layers):
        return None
    n_in = max((x.shape[1] for x in layers if side(x.path) != "decoder"), default=0)
    if layers[-1].shape[0] < 64 and min(layers[0].shape[1], n_in) < 64:
        return Kind(
            f"a network of rows of numbers: its first layer reads {layers[0].shape[1]} and its "
            f"last one gives {layers[-1].shape[0]}",
            "no two layers of it give the mean and the variance of a Gaussian q",
            TRAIN_VECTORS,
        )
    return None
