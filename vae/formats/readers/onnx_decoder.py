"""One ONNX file that leads from z to images, without an encoder: what it decodes, and p(z|x)."""

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from vae.core.model import VAE
from vae.formats.posterior import PRIOR_ASSUMED, PosteriorEncoder, said_of
from vae.formats.readers.onnx_pair import NAME, Session, pixels
from vae.formats.refusal import BESIDE, EXPORT, Refusal
from vae.formats.run import ForeignRun
from vae.formats.user_code.adapter import adapt
from vae.formats.wording import printable

_SETTING = 'the metadata "{}": {} in the file'


def open_decoder(name: str, path: Path) -> ForeignRun:
    """The run of one file.

    Args:
        name: of the run.
        path: the file, with one input, z (B, k), and one output, images.

    Raises:
        CheckpointError: onnxruntime is not installed, or the file is damaged, too large, refused,
            or no such decoder.
    """
    given = _Decoder(path)
    found = adapt(given, printable(str(path), 200), [given.image_shape], None, NAME, _SETTING)
    parts = found.model.decoder, found.model.likelihood
    config = found.model.config
    model = VAE.of_parts(config, PosteriorEncoder(config, *parts), *parts).eval()
    card = dataclasses.replace(
        found.card,
        network="a decoder, run by onnxruntime",
        notes=(PRIOR_ASSUMED,),
        no_encoder=said_of(config.latent_dim),
    )
    return ForeignRun(name, path, config, card, lambda: model)


class _Decoder:
    """Decode by a session of onnxruntime; encode gives the prior, for a first try."""

    def __init__(self, path: Path) -> None:
        self._session = Session(path, n_outputs=1)
        k, *ones = self._session.input_shape[1:] or [None]
        if not isinstance(k, int) or any(side != 1 for side in ones):
            raise Refusal(
                path,
                f"reads {'x'.join(map(str, self._session.input_shape))}, not z (batch, k)",
                "an encoder is shown with its decoder",
                BESIDE,
            )
        self.latent_dim, self._ones = k, [1] * len(ones)
        said = self._session.metadata
        self.likelihood, self.logvar_x = said.get("likelihood"), said.get("logvar_x")
        sides = list(self._run(torch.zeros(1, k)).shape)
        shape, self._channels_last = pixels(
            [*sides[:1], 1, *sides[1:]] if len(sides) == 3 else sides
        )
        if shape is None or min(shape[1:]) < 2:
            raise Refusal(
                path,
                f"gives {'x'.join(map(str, shape or sides[1:]))} for one z",
                "that is no image, and only decoders of images can be shown",
                EXPORT,
            )
        self.image_shape = shape

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mu and logvar of the prior."""
        prior = x.new_zeros(len(x), self.latent_dim)
        return prior, prior.clone()

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's output for z (B, k), channels first."""
        out = self._run(z)
        return out.permute(0, 3, 1, 2) if self._channels_last else out

    def _run(self, z: Tensor) -> Tensor:
        return self._session.run(z.reshape(*z.shape, *self._ones))[0]
