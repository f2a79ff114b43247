"""The measurements against what others compute, and the verdict on models that are known."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from torch.distributions import Bernoulli, Normal

from vae import wording
from vae.analysis import aggregate, diagnosis, measures
from vae.config import VECTOR, ModelConfig, TrainConfig
from vae.data import catalogue
from vae.data.dataset import Dataset
from vae.figures import diagnosis as diagnosis_figures
from vae.runs import checkpoint, job

ROOT = Path(__file__).resolve().parents[2]


def measurements(run: checkpoint.Run) -> diagnosis.Measurements:
    embedding = run.load_embedding()
    images = catalogue.load(embedding.dataset, embedding.split)
    mu, logvar = torch.from_numpy(embedding.mu), torch.from_numpy(embedding.logvar)
    model = run.load_model().requires_grad_(False)
    return diagnosis.measure(
        embedding,
        aggregate.information(mu, logvar),
        aggregate.marginals(mu, logvar),
        aggregate.holes(mu, logvar),
        measures.calibration(model, embedding, images),
        measures.cost_without_z(images, run.model_config.likelihood),
        run.train_config.beta,
        run.load_metrics(),
    )


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """trained(beta, epochs, likelihood) -> the measurements of a small run on digits."""

    def train(beta: float, epochs: int, likelihood: str = "bernoulli") -> diagnosis.Measurements:
        path = tmp_path_factory.mktemp("trained") / "run"
        config = ModelConfig((1, 8, 8), hidden=(32,), likelihood=likelihood)
        for _ in job.train(path, config, TrainConfig("digits", epochs=epochs, beta=beta), "cpu"):
            pass
        return measurements(checkpoint.open_run(path))

    return train


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "continuous-bernoulli"])
def test_a_beta_of_100_is_called_collapsed(trained, likelihood):
    measured = trained(beta=100, epochs=4, likelihood=likelihood)
    told = diagnosis.diagnose(measured)
    assert told.verdict == diagnosis.COLLAPSED
    assert "collapsed: none of the latent dimensions is used" in told.paragraph
    assert "lower beta than 100" in told.paragraph
    assert told.findings[0].severity == diagnosis.BAD


@pytest.mark.parametrize("name", ["digits-2d", "sprites-2d"])
def test_what_ships_is_healthy(name):
    told = diagnosis.diagnose(measurements(checkpoint.open_run(ROOT / "checkpoints" / name)))
    assert told.verdict == diagnosis.HEALTHY
    assert "2 of 2 latent dimensions are in use" in told.paragraph
    assert "collapsed" not in told.paragraph
    assert all(finding.severity == diagnosis.NOTE for finding in told.findings)


def test_two_unused_dimensions_of_ten_are_named_and_no_collapse():
    run = checkpoint.open_run(ROOT / "checkpoints" / "mnist-10d")
    embedding = run.load_embedding()
    measured = diagnosis.measure(embedding, None, None, None, None, None, run.train_config.beta)
    told = diagnosis.diagnose(measured)
    assert told.verdict == diagnosis.HEALTHY
    assert "z2, z3 have collapsed onto the prior" in told.paragraph
    assert "8 of 10" in told.summary


def test_an_autoencoder_is_told_that_its_kl_is_missing(trained):
    told = diagnosis.diagnose(trained(beta=1e-4, epochs=30))
    assert told.verdict in (diagnosis.DOUBTFUL, diagnosis.BROKEN)
    assert "nats from the prior" in told.paragraph
    assert "Raise beta from 0.0001" in told.paragraph


def test_weights_that_diverged_are_one_sentence(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "run")
    embedding = run.load_embedding()
    embedding.recon[3] = math.nan
    measured = diagnosis.measure(embedding, None, None, None, None, None, run.train_config.beta)
    told = diagnosis.diagnose(measured)
    assert told.verdict == diagnosis.BROKEN
    assert told.paragraph.startswith("The -ELBO of 1 of 359 points is not finite, first that of")


def rows(test, train):
    return [
        {"epoch": epoch, "split": split, "neg_elbo": value}
        for epoch, pair in enumerate(zip(test, train, strict=True), 1)
        for split, value in zip(("test", "train"), pair, strict=True)
    ]


@pytest.mark.parametrize(
    ("test", "train", "sentence"),
    [
        ([100, 60, 50, 49.9], [100, 60, 50, 40], "it has overfitted"),
        ([100, 60, 50, 49.9], [100, 60, 50, 46.9], "slightly overfitted"),
        ([100, 50, 55, 60], [100, 50, 55, 60], "It was better at epoch 2: 50.00 nats held out"),
        ([100, 80, 70, 60], [100, 80, 70, 60], "still improving at its end, by 10.00 nats over"),
        ([100, 60, 50, 49.9], [101, 61, 51, 50.9], None),
        # Densities: the same curves around zero.
        ([40, 0, -10, -10.1], [40, 0, -10, -20], "it has overfitted"),
        ([40, 0, -10, -10.1], [41, 1, -9, -9.1], None),
    ],
)
def test_the_curves_are_read(tiny_run, tmp_path, test, train, sentence):
    run = checkpoint.open_run(ROOT / "checkpoints" / "digits-2d")
    measured = diagnosis.measure(
        *(run.load_embedding(), None, None, None, None, None),
        *(run.train_config.beta, rows(test, train)),
    )
    told = [
        f.sentence
        for f in diagnosis.diagnose(measured).findings
        if "more than" not in f.sentence or "trained on" in f.sentence
    ]
    found = [s for s in told if "far more" not in s]
    assert (sentence is None and not found) or (sentence and any(sentence in s for s in found))


def test_a_decoder_that_is_too_sure_is_told():
    run = checkpoint.open_run(ROOT / "checkpoints" / "digits-2d")
    p = np.random.default_rng(0).uniform(size=50_000)
    sure = measures.reliability(p, 0.5 + 0.5 * (p - 0.5))
    measured = diagnosis.measure(
        run.load_embedding(), None, None, None, sure, None, run.train_config.beta
    )
    told = diagnosis.diagnose(measured)
    assert told.verdict == diagnosis.DOUBTFUL
    assert "Pixels are 12.4% off" in told.paragraph


def test_units_by_both_definitions():
    mu = np.array([[1.0, 0.05], [-1.0, -0.05]], np.float32)
    kl = np.array([[2.0, 0.02], [1.0, 0.01]], np.float32)
    found = measures.units(mu, kl)
    assert found.variance == pytest.approx([1, 0.0025])
    assert found.kl == pytest.approx([1.5, 0.015])
    assert found.kl_sd == pytest.approx([0.5, 0.005])
    assert found.active_by_variance(0.01).tolist() == [True, False]
    assert found.active_by_kl(0.01).tolist() == [True, True]
    assert found.active_by_kl(0.02).tolist() == [True, False]  # the answer moves with the line


def test_units_of_what_is_not_finite_are_not_finite():
    mu, kl = np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32)
    mu[0, 0] = kl[0, 0] = np.inf
    found = measures.units(mu, kl)
    assert not np.isfinite([found.kl[0], found.kl_sd[0], found.variance[0]]).any()
    assert (found.kl[1], found.kl_sd[1], found.variance[1]) == (1, 0, 0)


def test_reliability_is_scikit_learns_curve():
    generator = np.random.default_rng(0)
    p = generator.uniform(size=20_000)
    x = (generator.uniform(size=20_000) < p**2).astype(float)
    found = measures.reliability(p, x, n_bins=10)
    observed, predicted = calibration_curve(x, p, n_bins=10)
    np.testing.assert_allclose(found.observed, observed)
    np.testing.assert_allclose(found.predicted, predicted)
    weights = np.histogram(p, 10, (0, 1))[0] / len(p)
    assert found.error == pytest.approx((weights * np.abs(observed - predicted)).sum())


def test_pixels_drawn_from_their_probabilities_are_calibrated_and_bins_may_be_empty():
    p = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) / 2
    torch.manual_seed(1)
    found = measures.reliability(p.numpy(), Bernoulli(p).sample().numpy())
    assert found.error < 0.01
    assert np.isnan(found.predicted[-1])
    assert found.count.sum() == 100_000


def test_residuals_of_a_normal_are_covered_and_wider_ones_are_not():
    r = np.random.default_rng(0).normal(size=200_000)
    found = measures.residuals(r)
    assert found.error < 0.005
    assert found.sd == pytest.approx(1, abs=0.01)
    wide = measures.residuals(2 * r)
    inside = [
        math.erf(float(Normal(0.0, 1.0).icdf(torch.tensor((1 + n) / 2))) / 2 / math.sqrt(2))
        for n in wide.nominal
    ]
    np.testing.assert_allclose(wide.covered, inside, atol=0.005)
    assert wide.error > 0.2


def test_the_cost_without_z_is_that_of_the_best_constant():
    images = torch.randint(0, 256, (50, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    data = Dataset("x", "all", images.to(torch.uint8), torch.zeros(50, dtype=torch.int64), ("x",))
    x = images.double() / 255
    binary = -Bernoulli(probs=x.mean(0), validate_args=False).log_prob(x).sum((1, 2, 3)).mean()
    assert measures.cost_without_z(data, "bernoulli") == pytest.approx(float(binary), rel=1e-6)
    sigma = (x - x.mean(0)).square().mean().sqrt()
    normal = -Normal(x.mean(0), sigma).log_prob(x).sum((1, 2, 3)).mean()
    assert measures.cost_without_z(data, "gaussian") == pytest.approx(float(normal), rel=1e-6)
    assert measures.cost_without_z(data, "continuous-bernoulli") is None


def test_the_cost_without_z_of_a_model_that_knows_the_label_is_that_of_a_constant_per_class():
    labels = torch.arange(60) % 3
    noise = torch.randint(0, 100, (60, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    images = (noise + 70 * labels[:, None, None, None]).to(torch.uint8)
    data = Dataset("x", "all", images, labels, ("a", "b", "c"))
    x = images.double() / 255
    mean = torch.stack([x[labels == c].mean(0) for c in range(3)])[labels]
    binary = -Bernoulli(probs=mean, validate_args=False).log_prob(x).sum((1, 2, 3)).mean()
    found = measures.cost_without_z(data, "bernoulli", True)
    assert found == pytest.approx(float(binary), rel=1e-6)
    assert found < measures.cost_without_z(data, "bernoulli") - 1
    sigma = (x - mean).square().mean().sqrt()
    normal = -Normal(mean, sigma).log_prob(x).sum((1, 2, 3)).mean()
    found = measures.cost_without_z(data, "gaussian", True)
    assert found == pytest.approx(float(normal), rel=1e-6)


def test_modified_z_is_near_the_standard_score_of_a_normal_and_outliers_do_not_stretch_it():
    values = np.random.default_rng(0).normal(3, 2, size=100_001)
    np.testing.assert_allclose(measures.modified_z(values), (values - 3) / 2, atol=0.05)
    values[0] = 1e9
    assert measures.modified_z(values)[1:].max() < 6
    assert (measures.modified_z(np.ones(5)) == 0).all()


def test_a_map_stands_beside_pca_of_the_same_points():
    digits = catalogue.load("digits", "test")
    images, labels = digits.images.numpy(), digits.labels.numpy()
    flat = images.reshape(len(images), -1).astype(float)
    components = PCA(2, svd_solver="full").fit_transform(flat)
    found = measures.beside_pca(components, labels, images)
    assert found.model == pytest.approx(found.pca)
    assert found.pca.silhouette == pytest.approx(silhouette_score(components, labels))
    assert found.chance == pytest.approx(np.bincount(labels).max() / len(labels))
    few = measures.beside_pca(components, labels, images, most=100)
    assert len(few.rows) == len(few.components) == 100


def test_one_class_has_no_silhouette():
    digits = catalogue.load("digits", "test")
    images = digits.images.numpy()
    mu = np.random.default_rng(0).normal(size=(len(images), 2))
    found = measures.beside_pca(mu, np.zeros(len(images), int), images)
    assert math.isnan(found.model.silhouette)


def test_the_figures_show_what_they_are_given():
    kl = np.array([0.001, 2.0])
    figure = diagnosis_figures.kl_of_units(
        kl, np.stack([kl / 2, kl, 2 * kl]), np.array([1e-4, 1.0]), ["z₁", "z₂"], 0.01
    )
    assert list(figure.data[0].x) == ["z₂", "z₁"]
    assert list(figure.data[0].y) == [2.0, 0.001]
    assert figure.layout.shapes[0].y0 == 0.01
    steps = diagnosis_figures.active_against_threshold(kl, kl, 0.01)
    assert [steps.data[0].y[0], steps.data[0].y[-1]] == [2, 0]
    z = np.array([-1.0, 0.0, 9.0])
    values = 10 + 2 * z
    line = diagnosis_figures.costs(values, z, 6.0, "recon").layout.shapes[0].x0
    assert line == pytest.approx(22)
    plane = diagnosis_figures.ratio_map(
        np.arange(16.0).reshape(4, 4) - 8, 2.0, ("a", "b"), np.zeros((5, 2)), np.ones((2, 2))
    )
    assert plane.data[0].z[2][1] == -2  # the second along a, the third along b
    assert np.isnan(plane.data[0].z[0][0])  # outside
    assert list(plane.data[-1].text) == ["1", "2"]


def test_what_is_no_image_is_not_spoken_of_as_one():
    run = checkpoint.open_run(ROOT / "checkpoints" / "digits-2d")
    words = wording.of(VECTOR)
    calibration = measures.residuals(2 * np.random.default_rng(0).normal(size=10_000))
    metrics = rows([100, 60, 50, 49.9], [100, 60, 50, 40])
    embedding = run.load_embedding()
    measured = diagnosis.measure(
        *(embedding, None, None, None, calibration, 90.0, 1.0), metrics, words=words
    )
    told = diagnosis.diagnose(measured).paragraph
    for part in ("nats of KL per point", "against one mean vector", "Features scatter 2.0"):
        assert part in told
    assert "Held-out points cost 9.9 nats more" in told
    assert not re.search("image|pixel|binarised", told, re.IGNORECASE)
