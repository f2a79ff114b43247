"""VAEs of vectors against probabilistic PCA, whose optimum scikit-learn knows in closed form."""

import torch
from sklearn.decomposition import PCA

from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.inference.quadrature import exact_posterior
from vae.training.trainer import fit


def config_of(name: str, **changes) -> ModelConfig:
    source = catalogue.describe(name)
    values = {"image_shape": source.image_shape, "kind": source.kind, "features": source.features}
    return ModelConfig(**(values | {"likelihood": "gaussian"} | changes))


def trained(config: ModelConfig, name: str, **settings) -> VAE:
    train, test = catalogue.load(name, "train"), catalogue.load(name)
    model = VAE(config)
    for _ in fit(model, train.images, test.images, TrainConfig(name, **settings), "cpu"):
        pass
    return model.requires_grad_(False)


def test_a_linear_decoder_reaches_the_optimum_of_probabilistic_pca():
    train = catalogue.load("wine", "train")
    pca = PCA(2).fit(train.images.flatten(1).double().numpy())
    model = trained(
        config_of("wine", hidden=()), "wine", epochs=1500, batch_size=142, learning_rate=0.02
    )
    exact = exact_posterior(model, train.images, *model.encode(train.images))
    reached = pca.score(train.images.flatten(1).double().numpy())
    assert abs(float(exact.log_px.mean()) - reached) < 0.02


def test_a_column_that_is_missing_everywhere_changes_nothing_else():
    train, test = catalogue.load("wine", "train"), catalogue.load("wine")
    gone = [data.images.clone() for data in (train, test)]
    for images in gone:
        images[..., 4] = torch.nan
    found = []
    for images in (gone, [torch.where(x.isnan(), torch.nan, x) for x in gone]):
        model = VAE(config_of("wine", hidden=(8,)))
        *_, last = fit(model, *images, TrainConfig("wine", epochs=5), "cpu")
        found.append(last.test.neg_elbo)
    assert found[0] == found[1]
    assert torch.isfinite(torch.tensor(found)).all()


def test_a_vae_of_wine_costs_less_than_probabilistic_pca():
    train, test = catalogue.load("wine", "train"), catalogue.load("wine")
    x = test.images.flatten(1).double().numpy()
    ppca = -PCA(2).fit(train.images.flatten(1).double().numpy()).score(x)
    model = trained(config_of("wine", hidden=(32,)), "wine", epochs=300, batch_size=64)
    eps = torch.randn(256, len(test), 2, generator=torch.Generator().manual_seed(0))
    from vae.core.elbo import point_terms

    assert float(point_terms(model, test.images, eps).neg_elbo.mean()) < ppca
