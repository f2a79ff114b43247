"""Training with the label as a condition: what it gains, and what it needs."""

import pytest
import torch
from training.small import config, make

from vae.analysis.embedding import embed
from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.errors import UserError
from vae.inference.condition import labels_for
from vae.runs import job
from vae.runs.checkpoint import open_run
from vae.training.trainer import Trainer, fit


@pytest.fixture(scope="module")
def splits():
    return catalogue.load("digits", "train"), catalogue.load("digits", "test")


@pytest.fixture(scope="module")
def trained(splits):
    """The same small training with and without a condition, by n_classes."""
    train, test = splits
    models = {}
    for n in (0, 10):
        shape = ModelConfig((1, 8, 8), hidden=(64,), n_classes=n)
        models[n] = VAE(shape, torch.Generator().manual_seed(0))
        settings = TrainConfig("digits", 25, condition="label" if n else "none")
        labels = (train.labels, test.labels) if n else None
        list(fit(models[n], train.images, test.images, settings, "cpu", labels=labels))
    return models


def test_the_label_saves_held_out_nats(trained, splits):
    plain, conditional = (embed(trained[n], splits[1]) for n in (0, 10))
    assert conditional.neg_elbo.mean() < plain.neg_elbo.mean() - 2


def test_the_class_steers_the_picture(trained, splits):
    # Whoever classifies the pictures of z = 0 under each class by the data's own nearest class mean
    # reads that class.
    train, _ = splits
    means = torch.stack([train.images[train.labels == c].float().mean(0) / 255 for c in range(10)])
    pictures = torch.cat([trained[10].given(c).decode_mean(torch.zeros(1, 2)) for c in range(10)])
    nearest = torch.cdist(pictures.flatten(1), means.flatten(1)).argmin(1)
    assert nearest.tolist() == list(range(10))


def test_another_label_than_its_own_costs_a_point_more(trained, splits):
    _, test = splits
    own, three = embed(trained[10], test), embed(trained[10], test, condition=3)
    is_three = test.labels.numpy() == 3
    assert (own.neg_elbo[is_three] == three.neg_elbo[is_three]).all()
    assert (own.neg_elbo < three.neg_elbo)[~is_three].mean() > 0.95


def test_training_without_labels_is_refused(splits):
    train, test = splits
    with pytest.raises(UserError, match="label of 10 classes, so training needs the labels"):
        Trainer(make(n_classes=10), train.images, test.images, config(), "cpu")
    labels = train.labels, test.labels
    with pytest.raises(UserError, match="from 0 to 4"):
        Trainer(make(n_classes=5), train.images, test.images, config(), "cpu", labels)


def test_data_without_labels_are_refused(splits, tmp_path):
    _, test = splits
    one = torch.zeros_like(test.labels)
    catalogue.give("unlabelled-ones", type(test)("", "test", test.images, one, ("unlabelled",)))
    settings = TrainConfig("unlabelled-ones", 1, condition="label")
    with pytest.raises(UserError, match="unlabelled-ones has none"):
        job.create(tmp_path / "run", ModelConfig((1, 8, 8)), settings)
    with pytest.raises(UserError, match="have no labels; give one class"):
        labels_for(make(n_classes=10), catalogue.load("unlabelled-ones", "test"))


def test_a_job_takes_the_classes_from_the_data(tmp_path):
    settings = TrainConfig("digits", 1, 512, condition="label")
    list(job.train(tmp_path / "run", ModelConfig((1, 8, 8), hidden=(4,)), settings, "cpu"))
    run = open_run(tmp_path / "run")
    assert run.model_config.n_classes == 10
    fresh = embed(run.load_model(), catalogue.load("digits"))
    assert run.load_embedding().neg_elbo.tobytes() == fresh.neg_elbo.tobytes()
