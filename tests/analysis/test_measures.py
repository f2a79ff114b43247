import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.manifold import trustworthiness
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from vae.analysis.measures import beside_pca, neighbourhood
from vae.data import catalogue


def test_both_figures_are_those_of_scikit_learn():
    digits = catalogue.load("digits", "test")
    images, labels = digits.images.numpy(), digits.labels.numpy()
    mu = PCA(2).fit_transform(images.reshape(len(images), -1))
    found = neighbourhood(mu, labels, images)
    expected = cross_val_score(KNeighborsClassifier(5), mu, labels, cv=LeaveOneOut()).mean()
    assert found.knn_accuracy == pytest.approx(expected, abs=1e-9)
    flat = images.reshape(len(images), -1).astype(float)
    assert found.trustworthiness == pytest.approx(trustworthiness(flat, mu, n_neighbors=12))


def test_the_images_themselves_are_their_best_map_and_noise_is_none():
    digits = catalogue.load("digits", "test")
    images, labels = digits.images.numpy(), digits.labels.numpy()
    flat = images.reshape(len(images), -1).astype(np.float32)
    assert neighbourhood(flat, labels, images).trustworthiness == pytest.approx(1)
    noise = np.random.default_rng(0).normal(size=(len(images), 2))
    found = neighbourhood(noise, labels, images)
    assert found.knn_accuracy < 0.2
    assert found.trustworthiness < 0.6


def test_a_number_that_is_missing_counts_as_the_mean_of_its_column():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 1, 1, 4)), rng.integers(0, 2, 60)
    x[rng.random(x.shape) < 0.2] = np.nan
    filled = SimpleImputer().fit_transform(x.reshape(60, 4))
    mu = filled[:, :2] + 0.1 * rng.normal(size=(60, 2))
    assert neighbourhood(mu, labels, x) == neighbourhood(mu, labels, filled)
    components = PCA(2, svd_solver="full").fit_transform(filled)
    assert np.allclose(beside_pca(mu, labels, x).components, components)


def test_too_few_points_are_told():
    with pytest.raises(ValueError, match="20 points are too few"):
        neighbourhood(np.zeros((20, 2)), np.zeros(20, int), np.zeros((20, 4)))
