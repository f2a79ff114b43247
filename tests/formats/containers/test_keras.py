"""Keras's files: names, axes, and what the description says of the layers."""

import io
import os
import resource
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import damaged, fuzz
from hypothesis import strategies as st

from vae import formats
from vae.formats.containers import hdf5, hdf5_child, keras, pairs, tensors
from vae.runs.checkpoint import CheckpointError

h5py = pytest.importorskip("h5py")

from formats import keras_files  # noqa: E402
from formats.hostile_files import refusal, use_everything  # noqa: E402


def forked(path: Path, what: str, out, name: Path) -> int:
    """The child without starting Python: what is tested is what it does with the file."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
            hdf5_child._run(str(path), what, os.fdopen(os.dup(out.fileno()), "wb"))
            status = 0
        finally:
            os._exit(status)
    _, status, used = os.wait4(child, 0)
    assert used.ru_maxrss < 1_000_000 + _own_kilobytes()  # a fork begins with what is here
    return status


def _own_kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.fixture(autouse=True)
def run_by_fork(request, monkeypatch):
    """Of a file is asked what the child does with it: to start Python for each takes a second."""
    if sys.platform != "win32" and "child" not in request.fixturenames:
        monkeypatch.setattr(hdf5, "_run", forked)


@pytest.fixture
def child():
    """The process of its own that reads a file."""


PARTS = {"encoder": keras_files.encoder(), "decoder": keras_files.decoder()}


def write(path: Path, layout: str) -> None:
    match layout:
        case "Keras 2, whole":
            keras_files.write_legacy(path, PARTS, keras_files.vae_config())
        case "Keras 2, weights":
            keras_files.write_legacy(path, PARTS)
        case "Keras 3, weights":
            with h5py.File(path, "w") as file:
                keras_files.write_keras3(file, PARTS)
        case "Keras 3, archive":
            keras_files.write_archive(path, PARTS)
        case "Keras 3, archive of an early version":
            keras_files.write_archive(path, PARTS, named=False)
        case "Keras 3, compressed archive":
            keras_files.write_archive(path, PARTS, compression=zipfile.ZIP_DEFLATED)


LAYOUTS = {
    "Keras 2, whole": True,
    "Keras 2, weights": False,
    "Keras 3, weights": False,
    "Keras 3, archive": True,
    "Keras 3, archive of an early version": True,
    "Keras 3, compressed archive": True,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_weights_have_torchs_names_and_axes(tmp_path, layout):
    path = tmp_path / ("vae.keras" if "archive" in layout else "vae.h5")
    write(path, layout)
    survey = tensors.survey(path)
    assert survey.channels_last
    found, wanted = survey.load(), keras_files.expected(PARTS)
    assert set(found) == set(wanted)
    for name, tensor in found.items():
        assert torch.equal(tensor, torch.from_numpy(wanted[name].copy())), name
    assert list(survey.shapes)[:2] == ["encoder.conv2d.weight", "encoder.conv2d.bias"]
    assert bool(survey.modules) == LAYOUTS[layout]


def test_the_description_says_what_the_layers_are(tmp_path):
    write(tmp_path / "vae.h5", "Keras 2, whole")
    modules = tensors.survey(tmp_path / "vae.h5").modules
    said = {name: facts.kind for name, facts in modules.items()}
    assert said == {
        "encoder.input_layer": "Input",
        "encoder.conv2d": "Conv2d",
        "encoder.batch_normalization": "BatchNorm2d",
        "encoder.leaky_re_lu": "LeakyReLU",
        "encoder.flatten": "Flatten",
        "encoder.dense": "Linear",
        "encoder.dense.activation": "ReLU",
        "encoder.z_mean": "Linear",
        "encoder.z_log_var": "Linear",
        "encoder.sampling": "Sampling",
        "decoder.input_layer_1": "Input",
        "decoder.dense_1": "Linear",
        "decoder.dense_1.activation": "LeakyReLU",
        "decoder.reshape": "Reshape",
        "decoder.conv2d_transpose": "ConvTranspose2d",
        "decoder.conv2d_transpose.activation": "Sigmoid",
    }
    assert modules["encoder.input_layer"].values["shape"] == (1, 8, 8)
    assert modules["encoder.conv2d"].values["stride"] == (2, 2)
    assert modules["encoder.conv2d"].values["padding"] == "same"
    assert modules["encoder.batch_normalization"].values["eps"] == 0.001
    assert modules["encoder.leaky_re_lu"].values["negative_slope"] == 0.2
    assert modules["decoder.dense_1.activation"].values["negative_slope"] == 0.1
    assert modules["decoder.reshape"].values["shape"] == (4, 4, 4)
    assert modules["encoder.dense"].values["reads"] == ("encoder.flatten",)


def dense(*sizes: int) -> tuple[str, list[np.ndarray]]:
    return "Dense", keras_files.arrays(sizes, sizes[1:])


MLP = {
    "encoder": {
        "dense_1": dense(784, 12),
        "z_mean": dense(12, 2),
        "z_log_var": dense(12, 2),
    },
    "decoder": {"dense_2": dense(2, 12), "dense_3": dense(12, 784)},
}


def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """mu and the decoded mean as Keras computes them: x W + b."""

    def layer(part: str, name: str, h: np.ndarray) -> np.ndarray:
        kernel, bias = MLP[part][name][1]
        return h @ kernel + bias

    mu = layer("encoder", "z_mean", np.maximum(layer("encoder", "dense_1", x), 0))
    logits = layer("decoder", "dense_3", np.maximum(layer("decoder", "dense_2", mu), 0))
    return mu, 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("how", ["one file", "two files", "three files"])
def test_an_mlp_of_keras_opens_as_a_vae(tmp_path, how):
    folder = tmp_path / "run"
    folder.mkdir()
    if how != "two files":
        keras_files.write_legacy(folder / "vae.h5", MLP)
    if how != "one file":
        for name, layers in MLP.items():
            keras_files.write_legacy(folder / f"vae_{name}.h5", layers)
    run = formats.open_run(folder)
    model = run.load_model()
    x = np.random.default_rng(1).random((3, 784), dtype=np.float32)
    mu, mean = forward(x)
    with torch.no_grad():
        found, _ = model.encode(torch.from_numpy(x).view(3, 1, 28, 28))
        decoded = model.decode_mean(found)
    assert np.allclose(found.numpy(), mu, atol=1e-4)
    assert np.allclose(decoded.view(3, 784).numpy(), mean, atol=1e-3)


def test_a_pair_of_weights_of_keras_3_is_joined(tmp_path):
    for name, layers in PARTS.items():
        with h5py.File(tmp_path / f"{name}.weights.h5", "w") as file:
            keras_files.write_keras3(file, {name: layers})
    survey = pairs.survey_pair(tmp_path / "encoder.weights.h5", tmp_path / "decoder.weights.h5")
    assert set(survey.load()) == set(keras_files.expected(PARTS))


def test_without_h5py_a_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    write(tmp_path / "vae.h5", "Keras 2, weights")
    monkeypatch.setattr(hdf5, "is_installed", lambda: False)
    assert "pip install h5py" in refusal(tmp_path / "vae.h5")


def test_hdf5_of_another_program_keeps_its_names(tmp_path, child):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("fc1/weight", data=np.ones((3, 2), "f4"))
    survey = tensors.survey(tmp_path / "a.h5")
    assert (dict(survey.shapes), survey.channels_last) == ({"fc1.weight": (3, 2)}, False)


def external(file: h5py.File, outside: Path) -> None:
    file["dense/kernel"] = h5py.ExternalLink(str(outside), "secret")


def soft(file: h5py.File, _: Path) -> None:
    file["dense/kernel"] = h5py.SoftLink("/other/kernel")


def cycle(file: h5py.File, _: Path) -> None:
    group = file.create_group("dense")
    group["again"] = group


def twice(file: h5py.File, _: Path) -> None:
    file["other"] = file.create_dataset("kernel", data=np.ones((3, 3), "f4"))


def virtual(file: h5py.File, outside: Path) -> None:
    layout = h5py.VirtualLayout((3, 3), "f4")
    layout[:] = h5py.VirtualSource(str(outside), "secret", (3, 3))
    file.create_virtual_dataset("kernel", layout)


def elsewhere(file: h5py.File, outside: Path) -> None:
    file.create_dataset("kernel", (3, 3), "f4", external=[(str(outside), 0, 36)])


def terabyte(file: h5py.File, _: Path) -> None:
    file.create_dataset("kernel", (2**20, 2**18), "f4", chunks=(64, 64))


def unwritten(file: h5py.File, _: Path) -> None:
    file.create_dataset("kernel", (4000, 4000), "f4", chunks=(64, 64), fillvalue=1)


def large_chunk(file: h5py.File, _: Path) -> None:
    file.create_dataset("kernel", (2, 2), "f4", chunks=(2**14, 2**14), maxshape=(None, None))


def bomb(file: h5py.File, _: Path) -> None:
    zeros = np.zeros((3000, 3000), "f4")
    file.create_dataset("kernel", data=zeros, chunks=(3000, 1500), compression=9)


def deep(file: h5py.File, _: Path) -> None:
    file.create_dataset("/".join("a" * 60) + "/kernel", data=np.ones((3, 3), "f4"))


def many(file: h5py.File, _: Path) -> None:
    for i in range(120):
        file.create_group(str(i))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (external, "a link to another place"),
        (soft, "a link to another place"),
        (cycle, "in itself"),
        (twice, "a part twice"),
        (virtual, "in another file"),
        (elsewhere, "in another file"),
        (terabyte, "promises"),
        (unwritten, "promises"),
        (large_chunk, "larger pieces"),
        (bomb, "promises"),
        (deep, "nested deeper"),
        (many, "more parts"),
    ],
)
def test_hdf5_that_does_what_weights_never_do_is_refused(tmp_path, make, sentence, monkeypatch):
    monkeypatch.setattr(hdf5_child, "_MAX_OBJECTS", 100)
    outside = tmp_path / "outside.h5"
    with h5py.File(outside, "w") as file:
        file.create_dataset("secret", data=np.ones((3, 3), "f4"))
    path = tmp_path / "harm.h5"
    with h5py.File(path, "w") as file:
        make(file, outside)
    message = refusal(path)
    assert sentence in message
    assert "save the weights alone" in message


@pytest.mark.parametrize(
    "config", [b"{" * 100_000, b"[1]", b"\xff", b'{"config": {"layers": [1]}}']
)
def test_a_description_that_is_none_tells_nothing(tmp_path, config):
    write(tmp_path / "a.keras", "Keras 3, archive")
    with (
        zipfile.ZipFile(tmp_path / "a.keras") as old,
        zipfile.ZipFile(tmp_path / "b.keras", "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, config if name == "config.json" else old.read(name))
    survey = tensors.survey(tmp_path / "b.keras")
    assert (dict(survey.modules), len(survey.load())) == ({}, 16)


def test_an_archive_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(keras, "_MAX_UNPACKED", 2**24)
    write(tmp_path / "a.keras", "Keras 3, archive")
    with (
        zipfile.ZipFile(tmp_path / "a.keras") as old,
        zipfile.ZipFile(tmp_path / "b.keras", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        new.writestr("config.json", old.read("config.json"))
        with new.open("model.weights.h5", "w") as file:
            for _ in range(20):
                file.write(bytes(2**20))
    assert "unpacks to" in refusal(tmp_path / "b.keras")


def attack(folder: Path, n: int, **options) -> None:
    (folder / "run").mkdir()
    files = {}
    for layout in ("Keras 2, whole", "Keras 3, weights", "Keras 3, archive", "MLP"):
        path = folder / "whole"
        if layout == "MLP":
            keras_files.write_legacy(path, MLP)
        else:
            write(path, layout)
        files[layout] = path.read_bytes()

    def use(draw) -> None:
        path = folder / "run" / "vae.h5"
        layout = draw(st.sampled_from(sorted(files)))
        data = files[layout]
        if layout == "Keras 3, archive" and draw(st.booleans()):
            buffer = io.BytesIO()
            with (
                zipfile.ZipFile(io.BytesIO(data)) as old,
                zipfile.ZipFile(buffer, "w") as new,
            ):
                hit = draw(st.sampled_from(old.namelist()))
                for part in old.namelist():
                    inside = old.read(part)
                    new.writestr(part, damaged(draw, inside) if part == hit else inside)
            path.write_bytes(buffer.getvalue())
        else:
            path.write_bytes(damaged(draw, data))
        use_everything(path)

    fuzz(use, n, **options)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_damaged_file_of_keras_is_used_or_refused(tmp_path):
    attack(tmp_path, n=30, derandomize=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_damaged_file_of_keras_is_used_or_refused_many_times(tmp_path):
    attack(tmp_path, n=2000)


def test_a_child_that_crashes_is_a_sentence(tmp_path, monkeypatch):
    write(tmp_path / "vae.h5", "Keras 2, weights")
    monkeypatch.setattr(hdf5, "_run", lambda *_: -11)
    with pytest.raises(CheckpointError, match="gave up"):
        tensors.survey(tmp_path / "vae.h5")


def test_a_file_is_looked_at_once_while_it_stays_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "vae.h5"
    write(path, "Keras 2, weights")
    first, run, looks = tensors.survey(path), hdf5._run, []
    monkeypatch.setattr(hdf5, "_run", lambda *given: (looks.append(given[1]), run(*given))[1])
    assert tensors.survey(path).shapes == first.shapes
    assert looks == []
    keras_files.write_legacy(path, MLP)
    assert tensors.survey(path).shapes != first.shapes
    assert looks == ["list"]
    with pytest.raises(CheckpointError, match="changed"):
        first.load()
