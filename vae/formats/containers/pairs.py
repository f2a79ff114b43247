"""An encoder and a decoder in two files, as one model: names begin "encoder." and "decoder."."""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from vae.formats.containers import tensors
from vae.formats.containers.surveyed import LayerFacts, Survey
from vae.formats.refusal import SAVE_BOTH, Refusal

_ENCODER = re.compile(r"enc(oder)?(?![a-z])|encoder", re.I)
_DECODER = re.compile(r"dec(oder)?(?![a-z])|decoder", re.I)
_WORDS = {"enc": "dec", "Enc": "Dec", "ENC": "DEC"}


def decoder_of(path: Path) -> Path | None:
    """The file beside an encoder's that is called as it is, but for a decoder; None if none is."""
    return _beside(path, _ENCODER, _WORDS)


def encoder_of(path: Path) -> Path | None:
    """The file beside a decoder's that is called as it is, but for an encoder; None if none is."""
    return _beside(path, _DECODER, {there: here for here, there in _WORDS.items()})


def pair_among(files: Iterable[Path]) -> tuple[Path, Path] | None:
    """The encoder and the decoder among the files of one folder; None without one of each."""
    files = list(files)
    encoders = [path for path in files if _ENCODER.search(path.name)]
    decoders = [path for path in files if _DECODER.search(path.name) and path not in encoders]
    if len(encoders) != 1 or len(decoders) != 1:
        return None
    return encoders[0], decoders[0]


def survey_pair(encoder: Path, decoder: Path) -> Survey:
    """The survey of two files as of one. Raises CheckpointError."""
    found = {"encoder": tensors.survey(encoder), "decoder": tensors.survey(decoder)}
    if len({part.channels_last for part in found.values()}) > 1:
        raise Refusal(
            encoder,
            f"and {decoder.name} are of different libraries",
            "the two files of a model are saved by one",
            SAVE_BOTH,
        )
    heads = {name: "" if _begins(part, name) else f"{name}." for name, part in found.items()}

    def numbers() -> Mapping[str, Tensor]:
        return {
            heads[name] + key: tensor
            for name, part in found.items()
            for key, tensor in part.numbers().items()
        }

    parts = [(heads[name], part) for name, part in found.items()]
    return Survey(
        encoder,
        found["encoder"].container,
        {head + key: shape for head, part in parts for key, shape in part.shapes.items()},
        {**found["decoder"].told, **found["encoder"].told},
        modules={
            head + path: facts for head, part in parts for path, facts in part.modules.items()
        },
        channels_last=found["encoder"].channels_last,
        more_files=(*found["encoder"].more_files, decoder, *found["decoder"].more_files),
        numbers=numbers,
        again=partial(survey_pair, encoder, decoder),
    )


def _modules(part: Survey) -> Iterable[tuple[str, LayerFacts]]:
    return part.modules.items()


def _begins(part: Survey, name: str) -> bool:
    return all(key.startswith(f"{name}.") for key in part.shapes)


def _beside(path: Path, word: re.Pattern[str], other: Mapping[str, str]) -> Path | None:
    if not word.search(path.name):
        return None
    for here, there in other.items():
        beside = path.with_name(path.name.replace(here, there))
        if beside != path and beside.is_file():
            return beside
    return None
