"""Whatever somebody puts into a file of weights: it is read, or refused with a CheckpointError.

Nothing that a file brings along is run, nothing is unpacked beyond its own size, and nothing else
than one printable sentence comes out. `pytest -m slow` draws many more files.
"""

import json
import os
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from formats.hostile_files import (
    archive,
    damaged_pickle,
    examples,
    named,
    pythae,
    refusal,
    save,
    use_everything,
)
from fuzzing import damaged, fuzz
from hostile_names import is_text
from hypothesis import strategies as st

from vae import formats
from vae.config import ModelConfig
from vae.core.model import VAE
from vae.formats import ForeignRun


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


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("name", STATES)
def test_the_undamaged_files_are_used(tmp_path, name, container):
    path = tmp_path / "weights.pt"
    path.write_bytes(save(STATES[name](), container))
    assert use_everything(path)
    assert formats.open_run(path).card.format == name


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


def test_torchscript_without_weights_is_refused_as_such(tmp_path):
    parts = {"m/data.pkl": b"\x80\x02N.", "m/constants.pkl": b"\x80\x02).", "m/code/x.py": b""}
    assert "TorchScript program; there are no weights" in refusal(
        archive(tmp_path / "script.pt", parts)
    )


@pytest.mark.parametrize(
    "name", ["\n.pt", "a\x1b[31m.pt", "..pt", "x" * 250 + ".pt", "ünï.pt", "\u202e.pt", " .pt"]
)
def test_hostile_names_make_printable_sentences(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"nothing of use")
    assert is_text(refusal(path))
    path.write_bytes(save(examples()))
    run = formats.open_run(path)
    assert is_text(run.name)


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


@pytest.mark.few(1)
@pytest.mark.parametrize("name", STATES)
def test_a_damaged_file_is_used_or_refused(tmp_path, name):
    attack_reader(name, tmp_path, n=40, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", STATES)
def test_a_damaged_file_is_used_or_refused_many_times(tmp_path, name):
    attack_reader(name, tmp_path, n=2000)


def test_what_is_opened_is_another_librarys(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(save(examples()))
    assert isinstance(formats.open_run(path), ForeignRun)
