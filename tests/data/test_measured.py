"""Wine, breast cancer, diabetes and the waves, against their sources."""

import dataclasses

import numpy as np
import pytest
import sklearn.datasets
import torch

from vae.analysis import prior
from vae.config import IMAGE, SERIES, VECTOR, ModelConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import DatasetError
from vae.features import Feature, as_measured

NAMES = [name for name in catalogue.NAMES if catalogue.describe(name).kind != IMAGE]


@pytest.mark.parametrize("name", NAMES)
def test_a_set_is_as_it_is_described(name):
    source, train, test = (
        catalogue.describe(name),
        *map(catalogue.load, [name] * 2, ("train", "test")),
    )
    assert len(train) == source.n_train
    for part in (train, test):
        assert part.images.dtype == torch.float32
        assert part.images.isfinite().all()
        assert (part.kind, part.image_shape) == (source.kind, source.image_shape)
        assert part.features == source.features
        assert len(part.class_names) == source.n_classes == len(part.labels.unique())
    numbers = train.images.transpose(1, 3).flatten(0, 2) if source.kind == SERIES else train.images
    numbers = numbers.reshape(-1, len(source.features))
    real = [f.kind in ("real", "positive") for f in source.features]
    torch.testing.assert_close(numbers.mean(0)[real], torch.zeros(sum(real)), rtol=0, atol=1e-4)
    whole = catalogue.load(name, "all")
    assert (len(whole), whole.kind) == (len(train) + len(test), source.kind)


@pytest.mark.parametrize(
    ("name", "loader"), [("wine", "load_wine"), ("breast-cancer", "load_breast_cancer")]
)
def test_its_values_are_those_of_scikit_learn(name, loader):
    found, expected = catalogue.load(name, "all"), getattr(sklearn.datasets, loader)()
    values = as_measured(found.images.flatten(1).numpy(), found.features)
    held_out = catalogue.is_held_out(len(values))
    in_order = np.concatenate([expected.data[~held_out], expected.data[held_out]])
    np.testing.assert_allclose(values, in_order, rtol=1e-5, atol=1e-4)


def test_waves_are_what_their_factors_say():
    found = catalogue.load("waves")
    series = as_measured(found.images[:, :, 0].numpy(), found.features)[:, 0]
    t = np.linspace(0, 1, series.shape[1])
    f, phase, damping = (
        found.factors[k].numpy()[:, None] for k in ("frequency", "phase", "damping")
    )
    clean = np.exp(-damping * t) * np.sin(2 * np.pi * f * t + phase)
    assert np.abs((series - clean).std() - 0.05) < 0.001


def config_of(name: str, **changes) -> ModelConfig:
    source = catalogue.describe(name)
    values = {"image_shape": source.image_shape, "kind": source.kind, "features": source.features}
    return ModelConfig(**(values | {"likelihood": "gaussian"} | changes))


def test_other_data_of_the_same_columns_are_standardised_as_the_model_s_were():
    data = catalogue.load("wine")
    others = tuple(Feature(f.name, f.kind, f.unit, f.mean + 1, 2 * f.scale) for f in data.features)
    read = data.read_by(config_of("wine", features=others))
    values = [as_measured(d.images.flatten(1).numpy(), d.features) for d in (data, read)]
    np.testing.assert_allclose(*values, rtol=1e-4)
    assert read.features == others
    assert data.read_by(config_of("wine")) is data


def test_data_of_other_columns_or_of_another_kind_are_told():
    for name in ("diabetes", "waves", "digits"):
        with pytest.raises(DatasetError, match="choose data"):
            catalogue.load(name).read_by(config_of("wine"))
    digits = ModelConfig((1, 8, 8))
    with pytest.raises(DatasetError, match="holds vectors, and this model reads images"):
        catalogue.load("wine").read_by(digits)
    assert catalogue.names_for(config_of("wine")) == ["wine"]
    assert catalogue.names_for(digits) == ["digits"]


def test_what_a_model_of_vectors_draws_itself_can_be_looked_at():
    model = VAE(config_of("wine", hidden=(8,)))
    drawn = prior.drawn(model, "drawn")
    source = catalogue.give("drawn", drawn)
    assert (source.kind, source.features) == (VECTOR, model.config.features)
    assert torch.equal(catalogue.load("drawn").images, drawn.images)
    bytes_ = dataclasses.replace(drawn, images=drawn.images.to(torch.uint8))
    with pytest.raises(DatasetError, match="must be float32 of shape"):
        catalogue.give("drawn", bytes_)


def test_no_numbers_are_drawn_as_pixels():
    with pytest.raises(DatasetError, match="no images"):
        catalogue.load("wine-binarised")


def test_the_kinds():
    assert {catalogue.describe(name).kind for name in NAMES} == {VECTOR, SERIES}
