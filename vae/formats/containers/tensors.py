"""The tensors of a file, read without running anything that the file brings along.

    safetensors   one file, or shards with their index
    torch files   what `torch.save` writes, whole modules too; TorchScript; pickles of weights
    Keras         .h5, .weights.h5, .keras, if h5py is installed

A look at a file (`survey`) costs its directory and its pickle, not its weights.
"""

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

from vae.formats.containers import archives, hdf5, keras, shards, torch_files
from vae.formats.containers.factored import multiplied
from vae.formats.containers.surveyed import (
    MAX_FILE_BYTES,
    LayerFacts,
    Survey,
    damaged,
)
from vae.formats.refusal import LOOK, OTHER_FILE, SAVE_WEIGHTS, Refusal, Step
from vae.runs import headers
from vae.runs.checkpoint import CheckpointError

__all__ = ["PICKLED", "SUFFIXES", "LayerFacts", "Survey", "is_weights", "sha256", "survey"]

# How files of weights end. Any other file is opened by its own path.
SUFFIXES = (
    *(".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pth.tar", ".pt.tar", ".model"),
    *(".h5", ".hdf5", ".keras", ".safetensors.index.json"),
)
# As pickles end: of torch.save, or of anything.
PICKLED = (".pkl", ".pickle")

_ZIP_MAGIC = b"PK\x03\x04"
_TORCH_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # before torch 1.6
_POINTER = "a pointer of Git LFS in place of the file itself"
_FETCH = Step("fetch the file itself", "git lfs pull", "fetch the file itself, and choose that")
# What else people drop, by how it begins.
_KINDS = {
    b"\x93NUMPY": "an array of numpy",
    b"\x1f\x8b": "an archive of gzip",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"%PDF": "a PDF",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"version https://": _POINTER,
}
_CONTAINERS = {
    _ZIP_MAGIC: "a zip archive, as torch.save writes",
    b"\x80": "a pickle",
    hdf5.MAGIC: "an HDF5 file, as Keras saves",
}
_TORCH = (_ZIP_MAGIC, _TORCH_MAGIC)


def sha256(path: Path) -> str:
    """Of a file's bytes. Raises CheckpointError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise cannot_read(path, error) from error


def is_weights(path: Path) -> bool:
    """Whether a file is one of weights by its name; of a pickle, by how it begins."""
    name = path.name.lower()
    if name.endswith(PICKLED):
        try:
            if not path.is_file():  # opening a pipe would wait for ever
                return False
            with open(path, "rb") as file:
                return file.read(len(_TORCH_MAGIC)).startswith(_TORCH)
        except (OSError, ValueError):
            return False
    return name.endswith(SUFFIXES)


def survey(path: Path) -> Survey:
    """Names and shapes of the tensors in a file, whichever container it is.

    Raises:
        CheckpointError: it cannot be read, is too large, is no container of tensors, is damaged,
            or would run code; the message says which, and how to get at the weights.
    """
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            raise Refusal(path, "is no file", "only files are read", OTHER_FILE)
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise Refusal(
                path,
                f"has {size:,} bytes",
                f"at most {MAX_FILE_BYTES:,} are read, so without the optimiser's state",
                SAVE_WEIGHTS,
            )
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise cannot_read(path, error) from error
    except Refusal:
        raise
    except ValueError as error:  # a null character in the name
        raise Refusal(path, "has a name that no file can have", str(error), OTHER_FILE) from error
    try:
        found = multiplied(_survey(path, size, head))
    except CheckpointError:
        raise
    except Exception as error:  # whatever a parser met in a file that somebody else made
        raise damaged(path, error) from error
    return replace(found, again=partial(survey, path))


def _survey(path: Path, size: int, head: bytes) -> Survey:
    if headers.begins(head):  # first, as its length can begin as any other file does
        return shards.survey_one(path)
    if head.startswith(_ZIP_MAGIC):
        with archives.opened(path) as archive:
            if keras.is_archive(archive):
                return keras.survey_archive(path, archive)
            return torch_files.survey_zip(path, size, archive)
    if head.startswith(hdf5.MAGIC):
        return keras.survey_h5(path)
    if head[:1] == b"\x80":
        return torch_files.survey_pickle(path, size)
    if path.name.endswith(shards.INDEX):
        return shards.survey_index(path)
    kind = _kind(head)
    raise Refusal(
        path,
        f"is {kind}, and no file of weights",
        "those of torch.save, TorchScript, safetensors, Keras and ONNX are known",
        _FETCH if kind == _POINTER else OTHER_FILE,
    )


def kind_of(path: Path) -> str:
    """What a file is by how it begins: "an archive of zip, as torch.save writes", "a picture".

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        if not path.is_file():
            raise Refusal(path, "is no file", "only files are read", OTHER_FILE)
        with open(path, "rb") as file:
            return _kind(file.read(16))
    except OSError as error:
        raise cannot_read(path, error) from error


def _kind(head: bytes) -> str:
    if not head:
        return "an empty file"
    if headers.begins(head):
        return "a file of safetensors"
    known = {**_KINDS, **_CONTAINERS}
    kind = next((what for magic, what in known.items() if head.startswith(magic)), "")
    is_text = head.isascii() and b"\0" not in head
    return kind or ("a file of text" if is_text else "a file of bytes")


def cannot_read(path: str | Path, error: OSError) -> Refusal:
    """What is said of a file that the system does not give."""
    return Refusal(path, "cannot be read", error.strerror or type(error).__name__, LOOK)
