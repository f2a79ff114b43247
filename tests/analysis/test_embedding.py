import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import distributions

from vae.analysis.embedding import ARRAYS, Embedding, embed
from vae.config import LIKELIHOODS, ModelConfig, TrainConfig
from vae.core import elbo, gaussian
from vae.core.model import VAE
from vae.data import catalogue
from vae.training.trainer import fit


def make(likelihood: str = "bernoulli", family: str = "mlp", latent_dim: int = 3) -> VAE:
    config = ModelConfig((1, 8, 8), latent_dim, family, (6,), likelihood=likelihood)
    model = VAE(config, torch.Generator().manual_seed(0))
    for parameter in model.decoder.parameters():
        parameter.data.mul_(3)
    return model


def digits(n: int = 40) -> catalogue.Dataset:
    return catalogue.load("digits", "test").first(n)


def reordered(dataset: catalogue.Dataset, rows: list[int]) -> catalogue.Dataset:
    return dataclasses.replace(dataset, images=dataset.images[rows], labels=dataset.labels[rows])


def columns(embedding: Embedding) -> dict[str, np.ndarray]:
    return {name: getattr(embedding, name) for name in ARRAYS}


def assert_same(found: Embedding, expected: dict[str, np.ndarray]) -> None:
    for name, values in columns(found).items():
        np.testing.assert_allclose(values, expected[name], rtol=2e-5, atol=2e-5, err_msg=name)


# Rows


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_row_holds_what_torch_distributions_say(likelihood):
    model, data = make(likelihood), digits(20)
    found = embed(model, data, n_samples=5, seed=7)

    x = data.images.float() / 255
    with torch.no_grad():
        mu, logvar = model.encode(x)
        q = distributions.Normal(mu, (logvar / 2).exp())
        eps = gaussian.noise_of_points(range(20), 5, 3, seed=7)

        def log_p(z):
            out = model.decode(z).double()  # torch's continuous Bernoulli needs it near 1/2
            p = {
                "bernoulli": lambda: distributions.Bernoulli(logits=out, validate_args=False),
                "continuous-bernoulli": lambda: distributions.ContinuousBernoulli(logits=out),
                "gaussian": lambda: distributions.Normal(out, math.exp(-1)),
            }[likelihood]()
            return p.log_prob(x.expand_as(out)).sum((-3, -2, -1)).numpy()

        samples, at_mu = log_p(mu + eps * q.stddev), log_p(mu)
        kl = distributions.kl_divergence(q, distributions.Normal(torch.zeros_like(mu), 1.0))
    expected = {
        "mu": mu.numpy(),
        "logvar": logvar.numpy(),
        "kl_per_dim": kl.numpy(),
        "recon": -samples.mean(0),
        "recon_stderr": samples.std(0, ddof=1) / math.sqrt(5),
        "recon_at_mu": -at_mu,
        "labels": data.labels.numpy(),
    }
    assert set(columns(found)) == set(expected)
    for name, values in columns(found).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)
        assert values.dtype == (np.int64 if name == "labels" else np.float32)
    np.testing.assert_allclose(found.sigma, q.stddev.numpy(), rtol=1e-5)
    np.testing.assert_allclose(found.kl, kl.sum(1).numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.neg_elbo, found.recon + found.kl, rtol=1e-6)
    assert (len(found), found.latent_dim) == (20, 3)


def test_an_embedding_says_what_it_is_of():
    data = catalogue.load("sprites", "test").first(12)
    config = ModelConfig((1, 32, 32), 2, "conv", (4, 4))
    found = embed(VAE(config), data, n_samples=3, seed=9)
    assert (found.dataset, found.split) == ("sprites", "test")
    assert (found.n_samples, found.seed) == (3, 9)
    assert found.class_names == data.class_names
    assert {name: values.tolist() for name, values in found.factors.items()} == {
        name: values.tolist() for name, values in data.factors.items()
    }


# A point's terms do not depend on its companions


@pytest.mark.parametrize("family", ["mlp", "conv"])
def test_a_points_terms_do_not_depend_on_its_batch(family):
    model, data = make(family=family), digits(40)
    whole = embed(model, data, n_samples=4, seed=1)
    assert_same(embed(model, data.first(7), 4, 1), {n: v[:7] for n, v in columns(whole).items()})
    x = catalogue.to_unit(data.images)
    with torch.no_grad():
        for i in (0, 23, 39):
            terms = elbo.point_terms(
                model, x[i : i + 1], gaussian.noise_of_points([i], 4, 3, seed=1)
            )
            for name, value in terms._asdict().items():
                np.testing.assert_allclose(
                    value[0].numpy(), getattr(whole, name)[i], rtol=2e-5, atol=2e-5
                )


def test_a_points_terms_do_not_depend_on_its_order():
    model, data = make(), digits(40)
    whole = embed(model, data, n_samples=4, seed=1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).tolist()
    x = catalogue.to_unit(data.images[order])
    with torch.no_grad():
        terms = elbo.point_terms(model, x, gaussian.noise_of_points(order, 4, 3, seed=1))
    for name, value in terms._asdict().items():
        np.testing.assert_allclose(
            value.numpy(), getattr(whole, name)[order], rtol=2e-5, atol=2e-5, err_msg=name
        )
    # What needs no noise is the same even where the point has got another index.
    again = embed(model, reordered(data, order), n_samples=4, seed=1)
    for name in ("mu", "logvar", "kl_per_dim", "recon_at_mu", "labels"):
        np.testing.assert_allclose(
            getattr(again, name), getattr(whole, name)[order], rtol=2e-5, atol=2e-5
        )


@pytest.mark.parametrize("numbers_at_once", [1, 64 * 4 * 7, 64 * 4 * 39])
def test_a_points_terms_do_not_depend_on_the_pieces(monkeypatch, numbers_at_once):
    model, data = make(), digits(40)
    whole = columns(embed(model, data, n_samples=4, seed=1))
    monkeypatch.setattr(elbo, "_NUMBERS_AT_ONCE", numbers_at_once)
    seen = []
    assert_same(embed(model, data, 4, 1, lambda *done: seen.append(done)), whole)
    size = max(1, numbers_at_once // 64 // 4)
    assert seen == [(min(end, 40), 40) for end in range(size, 40 + size, size)]


def test_the_seed_changes_the_noise_and_nothing_else():
    model, data = make(), digits(40)
    first, again, other = (embed(model, data, 4, seed) for seed in (0, 0, 1))
    for name in ARRAYS:
        assert np.array_equal(getattr(first, name), getattr(again, name))
        noisy = name in ("recon", "recon_stderr")
        assert np.array_equal(getattr(first, name), getattr(other, name)) != noisy


def test_more_samples_come_closer_by_the_standard_error():
    model, data = make(), digits(40)
    few, many = embed(model, data, 16), embed(model, data, 1024, seed=1)
    z = (few.recon - many.recon) / np.hypot(few.recon_stderr, many.recon_stderr)
    assert np.abs(z).max() < 6  # Student's t with 15 degrees of freedom, 40 draws
    assert 0.5 < np.sqrt(np.mean(z**2)) < 2
    np.testing.assert_allclose(
        np.median(few.recon_stderr / many.recon_stderr), math.sqrt(1024 / 16), rtol=0.2
    )


def test_no_gradient_is_kept():
    model = make()
    embed(model, digits(3))
    assert all(parameter.grad is None for parameter in model.parameters())


# Means, tables, ranks


def test_per_point_terms_average_to_the_loss_that_training_reports():
    train, test = (catalogue.load("digits", split) for split in ("train", "test"))
    model = make()
    for seed, likelihood in enumerate(LIKELIHOODS):
        model = make(likelihood)
        *_, last = fit(model, train.images, test.images, TrainConfig("digits", 2, seed=seed), "cpu")
        means = embed(model, test, n_samples=1, seed=seed).means()
        assert means["n"] == 359
        assert means["recon"] == pytest.approx(last.test.recon, rel=1e-5)
        assert means["kl"] == pytest.approx(last.test.kl, rel=1e-5)
        assert means["neg_elbo"] == pytest.approx(last.test.neg_elbo, rel=1e-5)


def test_means_are_those_of_the_rows():
    found = embed(make(), digits(40))
    means = found.means()
    assert set(means) == {"n", "recon", "recon_at_mu", "kl", "kl_per_dim", "neg_elbo"}
    for name in ("recon", "recon_at_mu", "kl", "neg_elbo"):
        assert means[name] == pytest.approx(getattr(found, name).mean(), rel=1e-6)
        assert isinstance(means[name], float)
    assert means["kl_per_dim"] == pytest.approx(found.kl_per_dim.mean(0).tolist(), rel=1e-6)
    assert sum(means["kl_per_dim"]) == pytest.approx(means["kl"], rel=1e-9)
    assert means["recon"] + means["kl"] == pytest.approx(means["neg_elbo"], rel=1e-12)


def test_the_table_has_a_column_for_every_quantity():
    found = embed(make(latent_dim=2), digits(40))
    table = found.table()
    assert list(table) == [
        *("index", "label", "recon", "KL", "neg_ELBO"),
        *("KL_z1", "KL_z2", "mu_z1", "mu_z2", "sigma_z1", "sigma_z2"),
    ]
    assert all(column.shape == (40,) for column in table.values())
    assert table["index"].tolist() == list(range(40))
    assert table["label"].tolist() == [found.class_names[i] for i in found.labels]
    for d in range(2):
        assert np.array_equal(table[f"KL_z{d + 1}"], found.kl_per_dim[:, d])
        assert np.array_equal(table[f"mu_z{d + 1}"], found.mu[:, d])
        assert np.array_equal(table[f"sigma_z{d + 1}"], np.exp(found.logvar[:, d] / 2))
    np.testing.assert_allclose(table["recon"] + table["KL"], table["neg_ELBO"])
    np.testing.assert_allclose(table["KL_z1"] + table["KL_z2"], table["KL"], rtol=1e-6)


def test_the_costliest_point_has_rank_1():
    found = embed(make(), digits(40))
    ranks = [found.rank(i) for i in range(40)]
    assert sorted(ranks) == list(range(1, 41))
    assert ranks[int(np.argmax(found.neg_elbo))] == 1
    assert ranks[int(np.argmin(found.neg_elbo))] == 40
    by_rank = found.neg_elbo[np.argsort(ranks)]
    assert (np.diff(by_rank) <= 0).all()


def test_equal_points_share_the_better_rank():
    found = embed(make(), digits(4))
    zero = np.zeros_like(found.kl_per_dim)
    recon = np.array([5, 7, 7, 9], dtype=np.float32)
    tied = dataclasses.replace(found, recon=recon, kl_per_dim=zero)
    assert [tied.rank(i) for i in range(4)] == [4, 2, 2, 1]


# Errors


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"the images are 1x32x32, .* reads 1x8x8"):
        embed(make(), catalogue.load("sprites").first(3))
