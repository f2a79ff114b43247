"""Files that tests make of the state dicts of every format, and how they are opened."""

import io
import json
import pickletools
import shlex
import shutil
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from fuzzing import damaged
from hostile_names import is_text
from hypothesis import strategies as st

from vae import formats
from vae.cli.commands import parser
from vae.formats.refusal import Refusal
from vae.formats.user_code import module
from vae.runs.checkpoint import CheckpointError

ROOT = Path(__file__).resolve().parents[2]


def examples() -> dict[str, torch.Tensor]:
    shapes = {"fc1": (5, 16), "fc21": (2, 5), "fc22": (2, 5), "fc3": (5, 2), "fc4": (16, 5)}
    return named(shapes)


def named(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    state = {}
    for name, shape in shapes.items():
        transposed = name.startswith("decoder.convT") or (
            len(shape) == 4 and name.startswith(("decoder.", "final_layer.0"))
        )
        state[f"{name}.weight"] = torch.full(shape, 0.1)
        state[f"{name}.bias"] = torch.zeros(shape[1 if transposed else 0])
    return state


def pythae() -> dict[str, torch.Tensor]:
    return named(
        {
            "encoder.layers.0.0": (5, 16),
            "encoder.embedding": (2, 5),
            "encoder.log_var": (2, 5),
            "decoder.layers.0.0": (5, 2),
            "decoder.layers.1.0": (16, 5),
        }
    )


def save(state: dict, container: str = "zip", under: str | None = None) -> bytes:
    if container == "safetensors":
        return safetensors.torch.save({name: t.contiguous() for name, t in state.items()})
    buffer = io.BytesIO()
    whole = state if under is None else {"epoch": 1, under: state}
    torch.save(whole, buffer, _use_new_zipfile_serialization=container == "zip")
    return buffer.getvalue()


def use_everything(path: Path) -> bool:
    """Opens a file as the pages and the command line do; True if it was used, not refused."""
    runs, broken = formats.list_runs(path.parent)
    assert len(runs) + len(broken) == 1
    for name, sentence in broken.items():
        assert is_text(name)
        assert is_text(sentence)
    try:
        run = formats.open_run(path)
        model = run.load_model().given(0)
        with torch.no_grad():
            mu, logvar = model.encode(torch.zeros(1, *run.model_config.image_shape))
            model.decode_mean(mu)
        assert mu.shape == logvar.shape == (1, run.model_config.latent_dim)
        json.dumps(run.card.to_dict())
        assert all(is_text(text) for text in run.card.facts().values())
        assert run.train_config.beta is not None
    except CheckpointError as error:
        said(error)
        return False
    return True


def said(error: CheckpointError) -> None:
    """A refusal is one line that any terminal can print, not a copy of the file, and leads on."""
    assert is_text(str(error))
    assert len(str(error)) < 3000
    leads_on(error)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        formats.open_run(path).load_model()
    said(caught.value)
    return str(caught.value)


def leads_on(error: CheckpointError) -> None:
    """A refusal says what was found, what is missing and what to do; what is typed can be."""
    assert isinstance(error, Refusal)
    assert all((error.found, error.missing, error.step.do))
    can_be_typed(error.command)
    told = error.for_visitor()
    folder = str(Path(error.path).parent)
    assert folder in (".", "/", "") or folder not in str(told)
    assert "python -m vae" not in str(told)
    can_be_typed(told.command)


def can_be_typed(command: str) -> None:
    program, *arguments = shlex.split(command) or [""]
    if command.startswith("python -m vae "):
        parser().parse_args(arguments[2:])
    elif command.startswith("streamlit run app.py -- "):
        module.parse_arguments(arguments[3:])
    elif program == "pip":
        assert arguments[1] in (ROOT / "pyproject.toml").read_text()
    elif program and not shutil.which(program):
        compile(command, "", "exec")


def archive(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return path


def parts_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def damaged_pickle(draw, data: bytes) -> bytes:
    """The archive around it is whole: what is wrong is in the pickle."""
    parts = parts_of(data)
    pickle_ = parts["archive/data.pkl"]
    if draw(st.booleans()):  # an operation put in, taken out or doubled
        places = [at for _, _, at in pickletools.genops(pickle_)]
        at, end = sorted(draw(st.tuples(*[st.sampled_from(places)] * 2)))
        piece = pickle_[at:end][:400]
        pickle_ = draw(
            st.sampled_from([pickle_[:at] + pickle_[end:], pickle_[:end] + piece + pickle_[end:]])
        )
    else:
        pickle_ = damaged(draw, pickle_)
    parts["archive/data.pkl"] = pickle_
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)
    return buffer.getvalue()
