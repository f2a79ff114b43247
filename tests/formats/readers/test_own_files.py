"""The libraries' own files, where there are some: the figures are those of the library."""

import json
import os
from pathlib import Path

import pytest
from formats.state_dicts import opened, runs_in_the_browser

from vae import embed
from vae.analysis import measures
from vae.data import catalogue

ROOT = Path(__file__).resolve().parents[3]


def foreign_folder() -> Path | None:
    """Where the other libraries' own files are: beside the data, or beside the repository."""
    places = [ROOT.parent / "shared" / "foreign"]
    if data := os.environ.get("VAE_DATA"):
        places.insert(0, Path(data).parent / "foreign")
    return next((place for place in places if (place / "expected.json").is_file()), None)


FOREIGN = foreign_folder()
EXPECTED = json.loads((FOREIGN / "expected.json").read_text()) if FOREIGN else {}
HAS_MNIST = bool(os.environ.get("VAE_DATA"))


@pytest.mark.skipif(FOREIGN is None, reason="no folder of other libraries' checkpoints here")
@pytest.mark.skipif(not HAS_MNIST, reason="VAE_DATA names no folder with MNIST")
@pytest.mark.parametrize("name", EXPECTED)
def test_the_figures_are_those_of_the_library_that_wrote_the_file(name):
    expected = EXPECTED[name]
    run, model = opened(FOREIGN / name)
    shape = run.model_config.image_shape
    found = embed(model, catalogue.load("mnist").first(expected["n"]).resized(shape), n_samples=1)
    resized = shape != (1, 28, 28)
    means = found.means()
    assert means["kl"] == pytest.approx(expected["kl_nats"], rel=0.01, abs=0.005)
    assert means["kl_per_dim"] == pytest.approx(expected["kl_per_dim_nats"], rel=0.01, abs=0.005)
    recon = pytest.approx(expected["recon_at_mu"], rel=0.01 if resized else 0.005)
    assert means["recon_at_mu"] == recon
    for column in ("mu", "logvar"):
        first = pytest.approx(expected[f"{column}_first"], abs=2e-2 if resized else 1e-3)
        assert getattr(found, column)[0] == first


@pytest.mark.skipif(FOREIGN is None, reason="no folder of other libraries' checkpoints here")
@pytest.mark.skipif(not HAS_MNIST, reason="VAE_DATA names no folder with MNIST")
def test_how_many_units_are_active_depends_on_the_threshold_as_their_kl_says():
    expected = EXPECTED["disvae_btcvae_mnist"]
    run, model = opened(FOREIGN / "disvae_btcvae_mnist")
    data = catalogue.load("mnist").first(expected["n"]).resized(run.model_config.image_shape)
    found = embed(model, data, n_samples=1)
    units = measures.units(found.mu, found.kl_per_dim)
    counts = []
    for threshold in (1e-4, 1e-3, 1.5e-3, 1e-2, 0.1, 0.5, 0.6, 1.0, 1.5, 1.8, 2.0, 3.0):
        active = [kl > threshold for kl in expected["kl_per_dim_nats"]]
        assert units.active_by_kl(threshold).tolist() == active, threshold
        counts.append(sum(active))
    assert (counts[0], counts[3], counts[-1]) == (10, 8, 0)  # the answer moves with it


@pytest.mark.skipif(FOREIGN is None, reason="no folder of other libraries' checkpoints here")
def test_what_is_said_of_the_libraries_own_files():
    cards = {name: opened(FOREIGN / name)[0].card for name in EXPECTED}
    plain = "KL in nats per image; trained with BCE summed over pixels; implied beta 1"
    assert cards["pytorch_examples/mnist_vae.pt"].sentence() == plain
    assert cards["pythae_mlp2"].sentence() == plain
    tc = cards["disvae_btcvae_mnist"]
    assert tc.factors["total correlation"] == 6
    assert (tc.implied_beta, tc.latent_dim, tc.image_shape) == (1, 10, (1, 32, 32))
    assert "5 more on the total correlation" in " ".join(tc.notes)


@pytest.mark.skipif(FOREIGN is None, reason="no folder of other libraries' checkpoints here")
def test_the_libraries_own_files_run_in_the_browser_and_keep_their_names():
    for name in EXPECTED:
        run, model = opened(FOREIGN / name)
        runs_in_the_browser(model)
        assert run.name == Path(name).name
        assert run.train_config.held_out_dataset == "mnist"
        assert len(run.fingerprint()) == 64
        assert model.config == run.model_config
        assert (run.load_embedding(), run.load_metrics()) == (None, [])
        assert run.load_evidence("mnist", "test") is None
