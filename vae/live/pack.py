"""What crosses to the browser, as bytes: a pack is a JSON header and arrays, little-endian.

    "ELBO", header length (uint32), header (JSON, padded to 8 bytes), the arrays

The header's "arrays" names each one with its dtype, shape and offset behind the header, a multiple
of 8. Its "id" names the content, so that a browser that has it is never sent it again.
"""

import dataclasses
import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vae.analysis.embedding import Embedding
from vae.config import VECTOR
from vae.core.likelihood import Measured
from vae.core.model import VAE, Encoder, LatticeEncoder
from vae.live.constants import MAGIC
from vae.live.program import Program, compile_given, compile_module
from vae.live.recording import NonFiniteWeights, ProgramError


def pack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Header and arrays (float32, float16, uint8, int32) as one string of bytes.

    The header gains "arrays" and, unless it has one, an "id" made of the content.
    """
    entries, parts, offset = {}, [], 0
    for name, array in arrays.items():
        data = (
            np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        )
        entries[name] = {"dtype": array.dtype.name, "shape": list(array.shape), "offset": offset}
        data += bytes(-len(data) % 8)
        parts.append(data)
        offset += len(data)
    header = {**header, "arrays": entries}
    if "id" not in header:
        content = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for part in parts:
            content.update(part)
        header["id"] = content.hexdigest()[:20]
    text = json.dumps(header, allow_nan=False).encode()
    text += b" " * (-(len(text) + 8) % 8)
    return b"".join([MAGIC.encode(), struct.pack("<I", len(text)), text, *parts])


def header_of(data: bytes) -> dict[str, Any]:
    """The header of a pack."""
    (length,) = struct.unpack("<I", data[4:8])
    return json.loads(data[8 : 8 + length])


def model_pack(model: VAE, dataset: str, half: bool = False) -> bytes:
    """The model as programs for the browser, with what its terms need.

    Args:
        model: the VAE, on any device.
        dataset: what it was trained on, which says how a drawing is to be prepared.
        half: weights as float16, half the size, where float16 can hold them.

    Raises:
        UnsupportedLayer: the decoder has a layer that the browser cannot run.
        NonFiniteWeights: a weight is NaN or infinite.
    """
    config = model.config
    decoder = _compiled(model.decoder, (config.latent_dim,), config.n_classes)
    for name, weight in model.likelihood.named_parameters():
        if not bool(weight.isfinite().all()):
            value = float(weight.detach()[~weight.isfinite()][0])
            raise NonFiniteWeights(
                f"likelihood.{name} (={value}) is not finite; load an earlier checkpoint"
            )
    header: dict[str, Any] = {
        "latent_dim": config.latent_dim,
        "image_shape": list(config.image_shape),
        "likelihood": config.likelihood,
        "logvar_x": 0.0,
        "drawing": _drawing(dataset, config.image_shape),
        "kind": config.kind,
        "n_classes": config.n_classes,  # of the one-hot label behind the input of both programs
        "decoder": decoder.header(),
        "encoder": None,
    }
    arrays = {"decoder": _weights(decoder, half)}
    if isinstance(model.likelihood, Measured):
        arrays |= _numbers(model.likelihood, config.image_shape)
        header |= {
            "families": list(model.likelihood.families),
            "features": [list(dataclasses.astuple(feature)) for feature in config.features],
        }
    elif hasattr(model.likelihood, "logvar_x"):
        header["logvar_x"] = float(torch.as_tensor(model.likelihood.logvar_x).detach())
    if config.kind == VECTOR:
        return pack(header, arrays)  # nobody draws a table with a pen
    try:
        encoder = _compiled(_encoder(model), config.image_shape, config.n_classes)
    except NonFiniteWeights:
        raise
    except ProgramError:
        pass  # then there is no pad to draw on, and all else is there
    else:
        header["encoder"] = encoder.header()
        # The moments of a lattice are differences of nearly equal numbers: float16 has none left.
        half = half and not isinstance(model.encoder, LatticeEncoder)
        arrays["encoder"] = _weights(encoder, half)
    return pack(header, arrays)


def _numbers(likelihood: Measured, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """What a likelihood knows of each number besides the decoder's output, each (C H W,)."""
    found = {}
    for name in ("logvar_x", "log_r"):
        values = getattr(likelihood, name, torch.zeros(()))
        found[name] = values.detach().float().cpu().expand(shape).flatten().numpy()
    return found


def _encoder(model: VAE) -> nn.Module:
    """The encoder as the browser runs it: nothing that is drawn there is missing or a count."""
    encoder = model.encoder
    if isinstance(encoder, Encoder) and encoder.reading is not None:
        return _OfRead(encoder)
    return encoder


class _OfRead(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.encoder.of_read(x, c)


def _compiled(network: nn.Module, input_shape: tuple[int, ...], n_classes: int) -> Program:
    if n_classes:
        return compile_given(network, input_shape, n_classes)
    return compile_module(network, input_shape)


def points_pack(
    embedding: Embedding, images: np.ndarray | None = None, **more: np.ndarray
) -> bytes:
    """Where the points are: mu and logvar, (N, D).

    Args:
        embedding: the points.
        images: as of `Dataset`, shape (N, C, H, W), if they are to go with them.
        more: other arrays, by name.
    """
    arrays = {"mu": embedding.mu, "logvar": embedding.logvar, **more}
    if images is not None:
        arrays["images"] = images
    return pack({}, arrays)


def _weights(program: Program, half: bool) -> np.ndarray:
    if half and np.abs(program.weights).max(initial=0) < np.finfo(np.float16).max:
        return program.weights.astype(np.float16)
    return program.weights


def _drawing(dataset: str, image_shape: tuple[int, int, int]) -> str:
    """How that data set's images were centred and scaled; see js/prepare.js."""
    if dataset == "digits":
        return "digits"
    if dataset == "sprites" or image_shape[1:] != (28, 28):
        return "plane"
    return "mnist"
