"""Whatever somebody puts into a file of weights: it is read, or refused with a CheckpointError.

Nothing that a file brings along is run, nothing is unpacked beyond its own size, and nothing else
than one printable sentence comes out. `pytest -m slow` draws many more files.
"""

import io
import json
import os
import pickle
import pickletools
import resource
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from fuzzing import damaged, fuzz
from hypothesis import strategies as st

from vae import formats
from vae.checkpoint import CheckpointError
from vae.config import ModelConfig
from vae.formats import ForeignRun, tensors
from vae.model import VAE


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


def disvae() -> dict[str, torch.Tensor]:
    return named(
        {
            "encoder.conv1": (2, 1, 4, 4),
            "encoder.conv2": (2, 2, 4, 4),
            "encoder.conv3": (2, 2, 4, 4),
            "encoder.lin1": (3, 32),
            "encoder.lin2": (3, 3),
            "encoder.mu_logvar_gen": (4, 3),
            "decoder.lin1": (3, 2),
            "decoder.lin2": (3, 3),
            "decoder.lin3": (32, 3),
            "decoder.convT1": (2, 2, 4, 4),
            "decoder.convT2": (2, 2, 4, 4),
            "decoder.convT3": (2, 1, 4, 4),
        }
    )


def lightning() -> dict[str, torch.Tensor]:
    state = named(
        {
            "encoder.0.0": (4, 1, 3, 3),
            "encoder.1.0": (3, 4, 3, 3),
            "fc_mu": (2, 12),
            "fc_var": (2, 12),
            "decoder_input": (12, 2),
            "decoder.0.0": (3, 4, 3, 3),
            "final_layer.0": (4, 4, 3, 3),
            "final_layer.3": (1, 4, 3, 3),
        }
    )
    for name, n in {"encoder.0": 4, "encoder.1": 3, "decoder.0": 4, "final_layer": 4}.items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.1.{part}"] = torch.ones(n)
    return state


def native() -> dict[str, torch.Tensor]:
    return dict(VAE(ModelConfig((1, 4, 4), hidden=(3,))).state_dict())


STATES = {
    "pytorch/examples": examples,
    "pythae": pythae,
    "disentangling-vae": disvae,
    "PyTorch-VAE": lightning,
    "ELBO Room": native,
}
CONFIGS = {
    "model_config.json": {
        "name": "BetaVAEConfig",
        "input_dim": [1, 4, 4],
        "latent_dim": 2,
        "beta": 2.0,
        "reconstruction_loss": "bce",
    },
    "specs.json": {
        "loss": "btcvae",
        "btcvae_B": 6,
        "rec_dist": "bernoulli",
        "img_size": [1, 32, 32],
    },
}


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
        assert name.isprintable()
        assert sentence.isprintable()
    try:
        run = formats.open_run(path)
        model = run.load_model()
        with torch.no_grad():
            mu, logvar = model.encode(torch.zeros(1, *run.model_config.image_shape))
            model.decode_mean(mu)
        assert mu.shape == logvar.shape == (1, run.model_config.latent_dim)
        json.dumps(run.card.to_dict())
        assert all(text.isprintable() for text in run.card.facts().values())
        assert run.train_config.beta is not None
    except CheckpointError as error:
        said(error)
        return False
    return True


def said(error: CheckpointError) -> None:
    """A refusal is one line that any terminal can print, and not a copy of the file."""
    assert str(error).isprintable()
    assert len(str(error)) < 3000


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        formats.open_run(path).load_model()
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("name", STATES)
def test_the_undamaged_files_are_used(tmp_path, name, container):
    path = tmp_path / "weights.pt"
    path.write_bytes(save(STATES[name](), container))
    assert use_everything(path)
    assert formats.open_run(path).card.format == name


# Code.


class Bait:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


class Opens:
    """The same by way of a method that pickle calls: for BUILD and NEWOBJ."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce_ex__(self, protocol):
        return (os.open, (str(self.path), os.O_CREAT))


PLACES: dict[str, Callable[[object], object]] = {
    "all of it": lambda bait: bait,
    "a whole module": lambda bait: [torch.nn.Linear(2, 2), bait],
    "beside the weights": lambda bait: {"state_dict": examples(), "hyper_parameters": bait},
    "among the weights": lambda bait: examples() | {"fc1.weight": bait},
    "as a key": lambda bait: examples() | {(bait,): torch.zeros(1)},
    "as the state of an OrderedDict": lambda bait: with_metadata(bait),
    "deep in a list": lambda bait: {"state_dict": examples(), "callbacks": [[{"x": (bait,)}]]},
}


def with_metadata(bait: object) -> OrderedDict:
    state = OrderedDict(examples())
    state._metadata = {"": bait}
    return state


@pytest.mark.parametrize("kind", [Bait, Opens])
@pytest.mark.parametrize("container", ["zip", "legacy", "pickle", "protocol 5"])
@pytest.mark.parametrize("place", PLACES)
def test_code_in_any_place_is_refused_and_not_run(tmp_path, place, container, kind):
    created = tmp_path / "created"
    value = PLACES[place](kind(created))
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "model.pt"
    if container in ("zip", "legacy"):
        torch.save(value, path, _use_new_zipfile_serialization=container == "zip")
    else:
        path.write_bytes(pickle.dumps(value, protocol=2 if container == "pickle" else 5))
    for opened in (path, folder):
        assert "state_dict()" in refusal(opened)
    runs, broken = formats.list_runs(tmp_path)
    assert (runs, set(broken)) == ([], {"run"})
    assert not created.exists()
    with warnings.catch_warnings():  # the bait does bite
        warnings.simplefilter("ignore")
        if container in ("zip", "legacy"):
            torch.load(path, weights_only=False)
        else:
            pickle.loads(path.read_bytes())
    assert created.exists()


@pytest.mark.parametrize("name", ["encoder.pkl", "decoder.pkl", "model.joblib", "net.pickle"])
def test_pickled_code_is_refused_with_the_way_to_the_weights(tmp_path, name):
    created = tmp_path / "created"
    (tmp_path / name).write_bytes(pickle.dumps(Bait(created)))
    for path in (tmp_path / name, tmp_path):
        message = refusal(path)
        assert "torch.save(model.state_dict()" in message
        assert "model.pt" in message
    assert not created.exists()


def test_pickled_code_beside_the_weights_is_left_alone(tmp_path):
    created = tmp_path / "created"
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("encoder.pkl", "decoder.pkl"):
        (folder / name).write_bytes(pickle.dumps(Bait(created)))
    (folder / "model.pt").write_bytes(save(pythae(), under="model_state_dict"))
    (folder / "model_config.json").write_text(json.dumps(CONFIGS["model_config.json"]))
    assert formats.open_run(folder).load_model().config.latent_dim == 2
    assert not created.exists()


def test_torchscript_is_refused(tmp_path):
    parts = {"m/data.pkl": b"\x80\x02N.", "m/constants.pkl": b"\x80\x02).", "m/code/x.py": b""}
    assert "TorchScript" in refusal(archive(tmp_path / "script.pt", parts))


# Sizes.


def archive(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return path


def parts_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    parts = parts_of(save(examples()))
    parts["archive/data/0"] = bytes(300_000_000)
    path = archive(tmp_path / "bomb.pt", parts, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "compressed" in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_parts_that_overlap_are_not_unpacked(tmp_path):
    """A directory may name the same bytes a thousand times."""
    data = bytearray(save(examples()))
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        largest = max(file.infolist(), key=lambda part: part.file_size)
        start = file.start_dir
    end = data.rindex(b"PK\x05\x06")
    entry = bytes(data[start : start + 46 + struct.unpack_from("<H", data, start + 28)[0]])
    copies = b""
    for i in range(2000):
        name = f"archive/data/{i + 100}".encode()
        head = bytearray(entry[:46])
        struct.pack_into("<LL", head, 20, largest.file_size, largest.file_size)
        struct.pack_into("<HHH", head, 28, len(name), 0, 0)
        struct.pack_into("<L", head, 42, largest.header_offset)
        copies += bytes(head) + name
    directory = bytes(data[start : start + sum_of_directory(data, start, end)]) + copies
    n = struct.unpack_from("<H", data, end + 10)[0] + 2000
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, n, n, len(directory), start, 0)
    path = tmp_path / "overlap.pt"
    path.write_bytes(bytes(data[:start]) + directory + tail)
    assert not use_everything(path)


def sum_of_directory(data: bytes, start: int, end: int) -> int:
    at = start
    while data[at : at + 4] == b"PK\x01\x02":
        lengths = struct.unpack_from("<HHH", data, at + 28)
        at += 46 + sum(lengths)
    return min(at, end) - start


def changed_pickle(state: dict, old: bytes, new: bytes) -> dict[str, bytes]:
    parts = parts_of(save(state))
    assert old in parts["archive/data.pkl"]
    parts["archive/data.pkl"] = parts["archive/data.pkl"].replace(old, new)
    return parts


def test_a_tensor_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    # BININT1 80 for the 5 x 16 numbers of fc1, and its shape.
    parts = changed_pickle(examples(), b"KPt", b"J\x00\x00\x00\x40t")
    assert "promises" in refusal(archive(tmp_path / "reach.pt", parts))


def test_a_tensor_that_is_larger_than_its_numbers_is_refused(tmp_path):
    parts = changed_pickle(examples(), b"K\x05K\x10\x86", b"M\xff\xffM\xff\xff\x86")
    assert "larger than the numbers" in refusal(archive(tmp_path / "wide.pt", parts))


def test_a_tensor_repeated_by_a_stride_of_zero_is_refused(tmp_path):
    state = examples()
    state["fc1.weight"] = torch.zeros(1).expand(5, 16)
    path = tmp_path / "thin.pt"
    torch.save(state, path)
    assert "larger than the numbers" in refusal(path)


def test_a_storage_of_a_terabyte_is_not_allocated(tmp_path):
    data = save(examples(), "legacy")
    assert b"KPN" in data
    path = tmp_path / "huge.pt"
    path.write_bytes(data.replace(b"KPN", b"\x8a\x06\x00\x00\x00\x00\x00\x01N"))
    assert "truncated" in refusal(path)


def pickled(*operations: bytes) -> bytes:
    return b"\x80\x02" + b"".join(operations) + b"."


@pytest.mark.parametrize(
    "data",
    {
        "a bytearray of a terabyte": pickled(
            b"cbuiltins\nbytearray\n", b"\x8a\x06\x00\x00\x00\x00\x00\x01", b"\x85R"
        ),
        "a key nested deeper than a hash can follow": pickled(
            b"}", b")" + b"\x85" * 500_000, b"K\x01", b"s"
        ),
        "a list in itself": pickled(b"]q\x00h\x00a"),
        "lists of lists of lists": pickled(b"]q\x00", *[b"](h\x00h\x00eq\x00"] * 200),
        "more operations than weights take": pickled(b"N0" * 1_500_000, b"N"),
        "more than there is on the stack": pickled(b"R"),
        "no end": b"\x80\x02}",
        "nothing": b"",
        "a stream within a stream": pickled(b"}") * 3,
        "a storage by another name": pickled(b"X\x07\x00\x00\x00storageK\x01K\x01K\x01K\x01tQ"),
        "a text of two gigabytes": b"\x80\x02X\xff\xff\xff\x7fabc.",
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize("container", ["zip", "bare"])
def test_a_pickle_that_is_a_trap_is_refused(tmp_path, data, container):
    _, bytes_ = data
    path = tmp_path / "trap.pt"
    if container == "zip":
        archive(path, {"a/data.pkl": bytes_, "a/version": b"3\n", "a/byteorder": b"little"})
    else:
        path.write_bytes(bytes_)
    assert not use_everything(path)


def test_too_many_tensors_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "MAX_TENSORS", 9)
    for container in ("zip", "legacy", "safetensors"):
        path = tmp_path / f"{container}.pt"
        path.write_bytes(save(examples(), container))
        assert "at most 9" in refusal(path)


def test_too_large_a_file_is_refused(tmp_path):
    path = tmp_path / "sparse.pt"
    with open(path, "wb") as file:
        file.truncate(tensors.MAX_FILE_BYTES + 1)
    assert "at most" in refusal(path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = examples()
    state["fc3.bias"][1] = float("nan")
    path = tmp_path / "nan.pt"
    path.write_bytes(save(state))
    assert "'fc3.bias' holds NaN" in refusal(path)


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, container):
    data = save(examples(), container)
    path = tmp_path / "weights.pt"
    for end in {*range(0, len(data), max(1, len(data) // 60)), len(data) - 1}:
        path.write_bytes(data[:end])
        assert not use_everything(path), end


def test_a_file_that_changes_between_the_look_and_the_load_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(save(examples()))
    run = formats.open_run(path)
    path.write_bytes(save(pythae()))
    with pytest.raises(CheckpointError, match="changed"):
        run.load_model()
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot read"):
        run.load_model()


# Names and links.


@pytest.mark.parametrize(
    "name", ["\n.pt", "a\x1b[31m.pt", "..pt", "x" * 250 + ".pt", "ünï.pt", "\u202e.pt", " .pt"]
)
def test_hostile_names_make_printable_sentences(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"nothing of use")
    assert refusal(path).isprintable()
    path.write_bytes(save(examples()))
    run = formats.open_run(path)
    assert run.name.isprintable()


@pytest.mark.parametrize("path", ["\0.pt", "x" * 5000, "x/" * 3000])
def test_impossible_paths_are_refused(path):
    assert refusal(Path(path))


def test_hostile_tensor_names_make_printable_sentences(tmp_path):
    state = {"\n\x1b[2J": torch.zeros(2), "x" * 10_000: torch.zeros(1)}
    path = tmp_path / "names.pt"
    for container in ("zip", "legacy", "safetensors"):
        path.write_bytes(save(state, container))
        assert len(refusal(path)) < 1000


def test_links_out_of_the_folder_are_not_listed(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "secret.pt").write_bytes(save(examples()))
    (inside / "link.pt").symlink_to(outside / "secret.pt")
    (inside / "dangling.pt").symlink_to(outside / "nothing.pt")
    (inside / "circle.pt").symlink_to(inside / "circle.pt")
    (inside / "folder").mkdir()
    (inside / "folder/model.pt").symlink_to(outside / "secret.pt")
    (inside / "whole").symlink_to(outside)
    (inside / "good.pt").write_bytes(save(examples()))
    (inside / "alias.pt").symlink_to(inside / "good.pt")
    runs, broken = formats.list_runs(inside)
    assert [run.name for run in runs] == ["alias.pt", "good.pt"]
    assert set(broken) == {"link.pt", "dangling.pt", "circle.pt", "folder", "whole"}
    for name in ("link.pt", "folder", "whole"):
        assert "leads out of" in broken[name]


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    runs, broken = formats.list_runs(tmp_path)
    assert (runs, set(broken)) == ([], {"pipe.pt", "folder.pt"})


# Files that chance makes.

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([10**400, -1, 0, 2**63]),
        st.floats(),
        st.text(max_size=20),
        st.sampled_from(["VAEConfig", "SVAEConfig", "mse", "gaussian", "laplace", "betaB"]),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)
sizes = st.sampled_from([0, 1, 2, 3, 4, 5, 12, 16, 32, 64])


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


def reshaped(draw, state: dict) -> dict:
    """A sound file whose tensors have other shapes, types or names, or are gone."""
    state = dict(state)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(state)))
        how = draw(st.sampled_from(["shape", "shape", "remove", "rename", "swap", "type", "value"]))
        if how == "shape":
            state[name] = torch.zeros(draw(st.lists(sizes, max_size=5).filter(is_small)))
        elif how == "remove" and len(state) > 1:
            del state[name]
        elif how == "rename":
            stem, _, last = name.rpartition(".")
            new = st.sampled_from([f"{stem}.9.{last}", f"x.{name}", f"{name}.weight", "", stem])
            state[draw(new | st.text(max_size=8))] = state.pop(name)
        elif how == "swap":
            other = draw(st.sampled_from(sorted(state)))
            state[name] = state[other].clone()
        elif how == "type":
            dtype = st.sampled_from([torch.float16, torch.float64, torch.int64, torch.bool])
            state[name] = state[name].to(draw(dtype))
        else:
            state[name] = state[name] + draw(st.sampled_from([1e38, float("inf"), -1.0]))
    return state


def is_small(shape: list[int]) -> bool:
    n = 1
    for size in shape:
        n *= max(size, 1)
    return n < 100_000


ATTACKS = ("random", "damaged", "pickle", "reshaped", "reshaped", "json")


def attack_reader(name: str, folder: Path, n: int, **options) -> None:
    whole = STATES[name]()
    files = {container: save(whole, container) for container in ("zip", "legacy", "safetensors")}
    run = folder / "run"
    run.mkdir()
    path = run / "model.pt"

    def open_damaged(draw: Callable) -> None:
        attack = draw(st.sampled_from(ATTACKS))
        container = draw(st.sampled_from(sorted(files)))
        for config, told in CONFIGS.items():
            changed = dict(told)
            if attack == "json":
                changed[draw(st.sampled_from(sorted(told)))] = draw(values)
            (run / config).write_text(json.dumps(changed))
        if attack == "random":
            head = draw(
                st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x10" + bytes(7) + b"{"])
            )
            path.write_bytes(head + draw(st.binary(max_size=2000)))
        elif attack == "damaged":
            path.write_bytes(damaged(draw, files[container]))
        elif attack == "pickle":
            path.write_bytes(damaged_pickle(draw, files["zip"]))
        elif attack == "reshaped":
            under = draw(st.sampled_from([None, "state_dict", "model_state_dict"]))
            path.write_bytes(save(reshaped(draw, whole), container, under))
        else:
            path.write_bytes(files[container])
        use_everything(path.parent)

    fuzz(open_damaged, n, **options)


@pytest.mark.parametrize("name", STATES)
def test_a_damaged_file_is_used_or_refused(tmp_path, name):
    attack_reader(name, tmp_path, n=80, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", STATES)
def test_a_damaged_file_is_used_or_refused_many_times(tmp_path, name):
    attack_reader(name, tmp_path, n=2000)


def test_what_is_opened_is_another_librarys(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(save(examples()))
    assert isinstance(formats.open_run(path), ForeignRun)
