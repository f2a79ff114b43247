"""Small networks of several kinds, trained for a second each, open and are read rightly.

The long table over all layouts is `python -m vae bench wild`; see `make`.
"""

import json
import os
from pathlib import Path

import pytest
import torch
from wild import make
from wild.layouts import Layout, of_line
from wild.networks import Author, Recipe
from wild.notation import mlp, stack
from wild.training import Length

from vae.bench import wild as bench

SHORT = Length(n_images=1400, epochs=20, batch=50, lr=5e-3, patient=True)
DIGITS = {"shape": (1, 8, 8), "dataset": "digits"}


def layout(tensors, container="state dict", kind="plain") -> Layout:
    return Layout("small", container, kind, "image", "gaussian", tuple(tensors))


SMALL = mlp("enc 64 64,mean 64 3,logvar 64 3,dec 3 64,out 64 64")
CONV = stack(
    "c3 c1 1 16,c3 c2 16 32,l fc_mu 128 4,l fc_var 128 4,l fc 4 128,t4 t1 32 16,t4 t2 16 1"
)
CASES = {
    "relu": (layout(SMALL), Recipe("enc relu", "mean", "logvar", "dec relu out", **DIGITS)),
    "log sigma": (
        layout(mlp("enc 64 64,mu 64 3,log_std 64 3,dec 3 64,out 64 64")),
        Recipe("enc relu", "mu", "log_std", "dec relu out", meaning="logsigma", **DIGITS),
    ),
    "fused": (
        layout(mlp("e.0 64 64,e.2 64 6,d.0 3 64,d.2 64 64")),
        Recipe("e.0 relu e.2", "flatten", "", "d.0 relu d.2", fused="chunked", **DIGITS),
    ),
    "convolutions": (
        layout(CONV),
        Recipe(
            "c1/s2p1 relu c2/s2p1 relu",
            "fc_mu",
            "fc_var",
            "fc to:32x2x2 t1^s2p1 relu t2^s2p1",
            **DIGITS,
        ),
    ),
    "conditional": (
        layout(mlp("enc 74 64,mu 64 2,logvar 64 2,dec 12 64,out 64 64"), kind="conditional"),
        Recipe("+y enc relu", "mu", "logvar", "+y dec relu out", n_classes=10, **DIGITS),
    ),
    "whole": (
        layout(SMALL, "whole pickled module"),
        Recipe("enc relu", "mean", "logvar", "dec relu out", **DIGITS),
    ),
    "beside an optimiser": (
        layout(SMALL, "dict with the state dict under model_state_dict"),
        Recipe("enc relu", "mean", "logvar", "dec relu out", **DIGITS),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("wild")


@pytest.mark.few(3)
@pytest.mark.parametrize("name", CASES)
def test_a_trained_network_is_read_as_the_class_that_made_it(folder, name):
    place = folder / name
    known = make.make(*CASES[name], place, SHORT)
    assert known["squared"] < known["constant"]  # it has learnt something
    row = bench.measure(place)
    assert row.outcome == bench.RIGHT, row.detail


@pytest.mark.slow
def test_the_measure_sees_a_wrong_reading(folder):
    """With numbers of another class beside it, no file is right."""
    place = folder / "other numbers"
    make.make(*CASES["relu"], place, SHORT)
    facts = json.loads((place / make.EXPECTED).read_text())
    (place / make.EXPECTED).write_text(json.dumps(facts | {"kl": 1.1 * facts["kl"]}))
    row = bench.measure(place)
    assert row.outcome in (bench.WRONG, bench.UNDECIDED)
    assert "kl" in row.detail


def test_what_is_no_vae_has_its_reason_looked_at(folder):
    codes = mlp("encoder.0 64 32,encoder.2 32 8,decoder.0 8 32,decoder.2 32 64")
    plain = Layout("ae", "state dict", "AE without variance", "image", "none", tuple(codes))
    make.make(plain, None, folder / "ae", SHORT)
    row = bench.measure(folder / "ae")
    assert row.outcome in (bench.REFUSED, bench.UNDECIDED), row.detail


def test_the_authors_network_computes_what_torch_does():
    """Against the same network written out by hand."""
    author = Author(dict(CONV), CASES["convolutions"][1])
    state = author.net.state_dict()
    assert list(state) == [name for name, _ in CONV]
    x = torch.rand(2, 1, 8, 8)
    h = torch.conv2d(x, state["c1.weight"], state["c1.bias"], 2, 1).relu()
    h = torch.conv2d(h, state["c2.weight"], state["c2.bias"], 2, 1).relu().flatten(1)
    mu = h @ state["fc_mu.weight"].T + state["fc_mu.bias"]
    torch.testing.assert_close(author.q(x)[0], mu)


def test_every_line_of_the_list_has_its_network():
    path = Path(os.environ.get("VAE_LAYOUTS", "layouts.jsonl"))
    if not path.is_file():
        pytest.skip("set VAE_LAYOUTS to a list of layouts")
    for name, of_file, recipe in make.everything(path):
        if recipe is not None:
            net = Author(of_file.torch_shapes(), recipe).net
            found = {key: tuple(value.shape) for key, value in net.state_dict().items()}
            assert found == of_file.torch_shapes(), name


def test_a_line_becomes_names_and_shapes():
    line = {
        "id": 7,
        "container": "Keras HDF5, weights only",
        "kind": "plain",
        "modality": "image",
        "q": "gaussian",
        "tensors": ["dense/bias 4 float32", "dense/kernel 3x4 float32"],
    }
    assert of_line(line).torch_shapes() == {"dense.weight": (4, 3), "dense.bias": (4,)}
